"""The canonical encoding: bytes that are the same for the same row, whichever engine it came from.

The specification is ``docs/copying.md``, "Canonical encoding". A value is a tag of one byte, the length of what follows
in 8 bytes (big-endian), and the value. A row is its values in the order of the source's columns. A table is the sum of
the SHA-256 of its rows, as numbers modulo 2^256: so the order of rows, which collations differ about, does not matter,
and rows that are there twice count twice.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from hashlib import sha256
from typing import Any, Final

from sillar.migrations.copying.model import ColumnType, Kind
from sillar.migrations.copying.values import parsed_json

Encode = Callable[[Any], bytes]
EncodeColumn = Callable[[Sequence[Any]], list[bytes]]

NULL: Final = b"N" + bytes(8)
MODULUS: Final = 1 << 256
BUCKETS: Final = 4096
_SHORT: Final = 256
_NAN: Final = bytes.fromhex("7ff8000000000000")
_NAN32: Final = bytes.fromhex("7fc00000")


class _Heads(dict[int, bytes]):
    """Tag and length of a value, by its length in bytes; those of short ones are kept."""

    def __init__(self, tag: bytes) -> None:
        super().__init__()
        self._tag = tag

    def __missing__(self, length: int) -> bytes:
        found = self._tag + length.to_bytes(8, "big")
        if length < _SHORT:
            self[length] = found
        return found


class CanonicalJSON(str):
    """JSON text that :func:`written_json` has written."""

    __slots__ = ()


def decimal_text(value: Decimal) -> str:
    """The number in digits, without exponent, zeros at either end, or a negative zero."""
    if not value.is_finite():
        return "NaN" if value.is_nan() else "Infinity" if value > 0 else "-Infinity"
    shown = format(value, "f")
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    return "0" if shown == "-0" or not value else shown


def canonical_json(value: str) -> str:
    """JSON with sorted keys, no blanks, and numbers by their value: ``1``, ``1.0`` and ``10e-1`` are the same."""
    if type(value) is CanonicalJSON:
        return value
    try:
        found = _plain(_parsed(value))
    except ValueError:  # of all that is not as simple, and of what is no JSON
        found = None
    return written_json(parsed_json(value)) if found is None else found


def plain_json(value: Any) -> str | None:
    """The canonical JSON of a value that has nothing but texts, integers, plain floats, lists and dictionaries with
    texts as keys; None for another one."""
    try:
        return _plain(value)
    except (TypeError, ValueError):
        return None


def written_json(value: Any) -> str:
    """The canonical JSON of a value."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{written_json(str(key))}:{written_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written_json, value)) + "]"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return decimal_text(Decimal(repr(value)) if isinstance(value, float) else Decimal(value))


def _exact_float(text: str) -> float:
    number = float(text)
    if repr(number) != text:
        raise ValueError
    return number


def _no_constant(name: str) -> Any:
    raise ValueError


_parsed: Final = json.JSONDecoder(parse_float=_exact_float, parse_constant=_no_constant).decode
_written: Final = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
).encode
_DOUBTFUL: Final = re.compile(r"\d\.0(?!\d)|\d[eE]")
"""What a float may look like in other words than those of :func:`decimal_text`."""


def _plain(value: Any) -> str | None:
    found = _written(value)
    return None if _DOUBTFUL.search(found) else found


# --- a column's values ------------------------------------------------------------------------------------------------


def _framed(tag: bytes, encode: Encode, values: Sequence[Any]) -> list[bytes]:
    heads = _HEADS[tag]
    return [NULL if value is None else heads[len(given := encode(value))] + given for value in values]


def _texts(tag: bytes, encode: Callable[[Any], str], values: Sequence[Any]) -> list[bytes]:
    heads = _HEADS[tag]
    try:
        return [NULL if value is None else heads[len(given := encode(value).encode())] + given for value in values]
    except UnicodeEncodeError:  # a lone surrogate
        return _framed(tag, lambda value: encode(value).encode("utf-8", "surrogatepass"), values)


def _ascii(tag: bytes, values: Sequence[Any]) -> list[bytes]:
    heads = _HEADS[tag]
    return [NULL if value is None else heads[len(value)] + value.encode() for value in values]


def _booleans(values: Sequence[Any]) -> list[bytes]:
    heads = _HEADS[b"B"]
    yes, no = heads[1] + b"\1", heads[1] + b"\0"
    return [NULL if value is None else yes if value else no for value in values]


def _floats(tag: bytes, pack: Callable[[float], bytes], nan: bytes, values: Sequence[Any]) -> list[bytes]:
    head = _HEADS[tag][len(nan)]
    # + 0.0: a negative zero is zero
    return [NULL if value is None else head + (pack(value + 0.0) if value == value else nan) for value in values]


def _uuids(values: Sequence[Any]) -> list[bytes]:
    head, from_hex = _HEADS[b"U"][16], bytes.fromhex
    return [NULL if value is None else head + from_hex(value.replace("-", "")) for value in values]


def _same(value: Any) -> Any:
    return value


def _unpadded(value: str) -> str:
    return value.rstrip(" ")


_HEADS: Final = {
    tag: _Heads(tag) for tag in (b"B", b"I", b"D", b"F", b"f", b"T", b"X", b"d", b"t", b"m", b"i", b"U", b"J", b"O")
}
_COLUMNS: Final[dict[Kind, EncodeColumn]] = {
    Kind.BOOLEAN: _booleans,
    Kind.INTEGER: partial(_framed, b"I", b"%d".__mod__),
    Kind.DECIMAL: partial(_texts, b"D", decimal_text),
    Kind.FLOAT: partial(_floats, b"F", struct.Struct(">d").pack, _NAN),
    Kind.FLOAT32: partial(_floats, b"f", struct.Struct(">f").pack, _NAN32),
    Kind.TEXT: partial(_texts, b"T", _same),
    Kind.ENUM: partial(_texts, b"T", _same),
    Kind.BYTES: partial(_framed, b"X", _same),
    Kind.DATE: partial(_ascii, b"d"),
    Kind.TIME: partial(_ascii, b"t"),
    Kind.MOMENT: partial(_ascii, b"m"),
    Kind.INSTANT: partial(_ascii, b"i"),
    Kind.UUID: _uuids,
    Kind.JSON: partial(_texts, b"J", canonical_json),
    Kind.NATIVE: partial(_texts, b"O", _same),
}


def column_encoder(kind: ColumnType) -> EncodeColumn:
    """The encoder of the values of a column."""
    if kind.fixed and kind.kind in (Kind.TEXT, Kind.ENUM):
        return partial(_texts, b"T", _unpadded)
    return _COLUMNS[kind.kind]


def value_encoder(kind: ColumnType) -> Encode:
    """The encoder of one value."""
    encode = column_encoder(kind)
    return lambda value: encode((value,))[0]


class RowEncoder:
    """Encodes rows.

    Args:
        types: of the columns, in order.
    """

    __slots__ = ("_encoders",)

    def __init__(self, types: Sequence[ColumnType]) -> None:
        self._encoders = [column_encoder(kind) for kind in types]

    def __call__(self, row: Sequence[Any]) -> bytes:
        """The bytes of a row."""
        return b"".join(next(iter(self.columns([row]))))

    def columns(self, rows: Sequence[Sequence[Any]]) -> list[tuple[bytes, ...]]:
        """Of each row the bytes of its values, encoded column by column."""
        if not rows:
            return []
        columns = zip(*rows, strict=True)
        encoded = [encode(column) for encode, column in zip(self._encoders, columns, strict=True)]
        return list(zip(*encoded, strict=True))


class TableSums:
    """The checksum of a table, and if it is asked for of the parts that its rows fall into by the hash of their key.

    The parts tell where two tables differ without comparing an order.

    Args:
        types: of the columns, in order.
        key_places: where in a row the key is; None: no parts are kept.

    Attributes:
        rows: how many.
        total: the sum of the hashes of all rows.
        parts: of each part, the sum.
    """

    __slots__ = ("_encode", "_key_places", "parts", "rows", "total")

    def __init__(self, types: Sequence[ColumnType], key_places: Sequence[int] | None = None) -> None:
        self._key_places = None if key_places is None else tuple(key_places)
        self._encode = RowEncoder(types)
        self.rows = self.total = 0
        self.parts = [0] * (0 if key_places is None else BUCKETS)

    def hashed(self, rows: Sequence[Sequence[Any]]) -> list[tuple[int, bytes]]:
        """Of each row the number of the part that it belongs to, and its SHA-256."""
        found = []
        places = self._key_places
        for values in self._encode.columns(rows):
            digest = sha256(b"".join(values)).digest()
            key = sha256(b"".join([values[place] for place in places])).digest() if places else digest
            found.append(((key[0] << 8 | key[1]) % BUCKETS, digest))
        return found

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Count rows."""
        if self._key_places is None:
            number_of, join = int.from_bytes, b"".join
            total = sum([number_of(sha256(join(values)).digest(), "big") for values in self._encode.columns(rows)])
        else:
            parts, total = self.parts, 0
            for part, digest in self.hashed(rows):
                number = int.from_bytes(digest, "big")
                total += number
                parts[part] = (parts[part] + number) % MODULUS
        self.rows += len(rows)
        self.total = (self.total + total) % MODULUS

    @property
    def checksum(self) -> str:
        """The sum as hexadecimal text."""
        return f"{self.total:064x}"
