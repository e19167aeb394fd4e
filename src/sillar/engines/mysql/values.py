"""Values on their way to and from MySQL.

To the server: enums give their value, dict, list and Json are JSON text, a UUID is its text of 36 characters, an aware
datetime becomes naive UTC. From the server: TIMESTAMP is an aware UTC datetime, DATETIME a naive one as it is stored,
TIME a timedelta, BIT an int, JSON (MySQL) decoded; what Python has no date for (zero dates) is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeAlias
from uuid import UUID

from asyncmy.constants import FIELD_TYPE

from sillar.engines.connection import PlannedShape, RowShape
from sillar.errors import ParameterError
from sillar.query.json import Json, decode, encode

Converter: TypeAlias = Callable[[Any], Any]

DECIMALS: Final = frozenset({0, 246})  # field types DECIMAL and NEWDECIMAL
_NATIVE: Final[frozenset[type]] = frozenset({int, float, str, bytes, Decimal, datetime, date, timedelta})
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


class _UnfitError(ValueError):
    """Why a value cannot be a parameter; never with the value."""


# --- parameters ---


def _int(value: int) -> int:
    if not _INT_MIN <= value <= _INT_MAX:
        raise _UnfitError("is an integer beyond 64 bits; store it as DECIMAL or text")
    return value


def _float(value: float) -> float:
    if not math.isfinite(value):
        raise _UnfitError("is NaN or infinite, which this engine has no value for; store NULL")
    return value


def _str(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _UnfitError("is text with lone surrogates, which is no Unicode") from None
    return value


def _decimal(value: Decimal) -> Decimal:
    if not value.is_finite():
        raise _UnfitError("is a NaN or infinite decimal, which this engine has no value for; store NULL")
    return value


def _datetime(value: datetime) -> datetime:
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _time(value: time) -> time:
    if value.tzinfo is not None:
        raise _UnfitError("is a time with a time zone, which this engine has no type for")
    return value


def _json(value: Any) -> str:
    return _str(encode(value))


def _same(value: Any) -> Any:
    return value


_ENCODERS: Final[dict[type, Converter]] = {
    type(None): _same,
    bool: _same,
    bytes: _same,
    date: _same,
    timedelta: _same,
    int: _int,
    float: _float,
    str: _str,
    Decimal: _decimal,
    datetime: _datetime,
    time: _time,
    UUID: str,
    Json: lambda value: _str(value.text()),
    dict: _json,
    list: _json,
    bytearray: bytes,
    memoryview: bytes,
}


def _encoder(value: Any) -> Converter:
    """The encoder for a value whose type itself is not listed."""
    if isinstance(value, Enum):
        return lambda member: _encoded(member.value)
    for kind in type(value).__mro__[1:-1]:
        encoder = _ENCODERS.get(kind)
        if encoder is _same:
            return kind
        if encoder is not None:
            return lambda given: encoder(kind(given)) if kind in (int, float, str) else encoder(given)
    raise _UnfitError(f"is a {type(value).__name__}, which no column takes; convert it first")


def _encoded(value: Any) -> Any:
    return (_ENCODERS.get(type(value)) or _encoder(value))(value)


def encode_parameters(args: Sequence[Any], names: Sequence[str] = ()) -> tuple[Any, ...]:
    """The values as the driver takes them.

    Args:
        args: in order.
        names: of the parameters, for messages.

    Raises:
        ParameterError: a value cannot be stored; the message names the parameter, never the value.
    """
    encoders = _ENCODERS
    try:
        return tuple([(encoders.get(type(value)) or _encoder(value))(value) for value in args])
    except (_UnfitError, ParameterError, TypeError, ValueError):
        pass
    for number, value in enumerate(args):
        which = f":{names[number]}" if number < len(names) else str(number + 1)
        try:
            _encoded(value)
        except _UnfitError as error:
            raise ParameterError(f"parameter {which} {error}") from None
        except ParameterError as error:
            raise ParameterError(f"parameter {which}: {error}") from None
        except (TypeError, ValueError) as error:
            raise ParameterError(f"parameter {which} cannot be encoded ({type(error).__name__})") from None
    raise AssertionError("unreachable: one of the values was refused above")


def identifier(name: str) -> str:
    """A quoted identifier."""
    escaped = name.replace("`", "``")
    return f"`{escaped}`"


# --- results ---


def _moment(value: Any) -> datetime | None:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None


def _date_or_none(value: Any) -> Any:
    return None if isinstance(value, str) else value  # the driver's text protocol leaves zero dates as they come


def _decoded(value: Any) -> Any:
    return None if value is None else decode(value)


def _bits(value: bytes | None) -> int | None:
    return None if value is None else int.from_bytes(value, "big")


_DECODERS: Final[dict[int, Converter]] = {
    FIELD_TYPE.TIMESTAMP: _moment,
    FIELD_TYPE.JSON: _decoded,
    FIELD_TYPE.BIT: _bits,
}
_TEXT_DECODERS: Final[dict[int, Converter]] = {
    **_DECODERS,
    FIELD_TYPE.DATETIME: _date_or_none,
    FIELD_TYPE.DATE: _date_or_none,
}


class ResultShape:
    """The columns of a result and what its values still need.

    Attributes:
        shape: the columns.
        decode: of one row; None where the driver's values are right as they are.
    """

    __slots__ = ("decode", "shape")

    def __init__(self, description: Sequence[Any], *, binary: bool) -> None:
        decimals = frozenset(str(column[0]) for column in description if column[1] in DECIMALS)
        self.shape: RowShape = RowShape([str(column[0]) for column in description], _NATIVE, decimals)
        decoders = _DECODERS if binary else _TEXT_DECODERS
        converters = tuple(
            (index, decoders[column[1]]) for index, column in enumerate(description) if column[1] in decoders
        )
        self.decode: Callable[[Sequence[Any]], Sequence[Any]] | None = _row_decoder(converters) if converters else None

    @classmethod
    def planned(cls, shape: PlannedShape) -> ResultShape:
        """Of a plan, whose shape says what becomes of the rows."""
        made = cls.__new__(cls)
        made.shape, made.decode = shape, shape.decode
        return made

    def rows(self, rows: Sequence[Any]) -> Sequence[Any]:
        """The rows with their values decoded."""
        return rows if self.decode is None else [self.decode(row) for row in rows]


def _row_decoder(converters: tuple[tuple[int, Converter], ...]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    def apply(row: Sequence[Any]) -> Sequence[Any]:
        values = list(row)
        for index, convert in converters:
            values[index] = convert(values[index])
        return values

    return apply


class ResultShapes:
    """The shapes of all results of one node, shared by its connections: row makers are compiled once. Bounded."""

    __slots__ = ("_shapes", "_size_max")

    def __init__(self, size_max: int = 2000) -> None:
        self._shapes: dict[Any, ResultShape] = {}
        self._size_max = size_max

    def get(self, description: tuple[Any, ...], *, binary: bool) -> ResultShape:
        """The shape for what the driver says of the columns."""
        key = (binary, *[column[:2] for column in description])
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= self._size_max:
                del self._shapes[next(iter(self._shapes))]
            shape = self._shapes[key] = ResultShape(description, binary=binary)
        return shape
