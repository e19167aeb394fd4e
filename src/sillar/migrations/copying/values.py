"""Values between two engines: one Python form for each kind, and the ways from one kind to another.

========  =============================================================================================================
boolean   ``bool``
integer   ``int``
decimal   ``Decimal``, NaN and infinities included
float     ``float``; float32 a ``float`` that has been rounded to 32 bits
text      ``str``; enum, too
bytes     ``bytes``
date      ``str``: ``2026-11-26``; beyond the years 1 to 9999 as its engine writes it
time      ``str``: ``23:59:59.5``, without zeros at the end of the fraction
moment    ``str``: ``2026-11-26 23:59:59.5``, the same
instant   the same, in UTC
uuid      ``str`` of 36 characters, lower case
json      ``str``: any JSON text of the value
native    ``str``: what the engine itself writes and reads
========  =============================================================================================================

Times are texts, because every engine writes them exactly, and Python's own types end at the year 9999, have no infinity
and no zero date.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias
from uuid import UUID

from sillar.migrations.copying.model import ColumnType, Kind

Convert: TypeAlias = Callable[[Any], Any]

_PLAIN_DATE: Final = re.compile(r"(?!0000)\d{4}-(?!00)\d\d-(?!00)\d\d", re.ASCII)
_PLAIN_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?", re.ASCII)
_OFFSET: Final = re.compile(r"(?:Z|[+-]\d\d(?::?\d\d)?(?::\d\d)?)$", re.ASCII)
_COMMON_MOMENT: Final = re.compile(
    r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8]) (?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?",
    re.ASCII,
)
"""A date and time whose day is in every month."""
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DIGITS_MAX: Final = 131_072
"""Before the point of a decimal: as many as PostgreSQL has, which has the most. Written out, more could fill memory."""
_PLAIN_LENGTH: Final = 10
_IN_EVERY_MONTH, _LAST_MONTH = "28", "12"


class UnfitError(ValueError):
    """Why a value cannot be carried, and what to do about it; never with the value.

    Args:
        reason: continues "the value …".
        remedy: what somebody can do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


# --- into the form of a kind ------------------------------------------------------------------------------------------


def boolean(value: Any) -> bool:
    """From 0 and 1, and the usual words."""
    if value in (0, 1):
        return bool(value)
    word = str(value).strip().lower()
    if word in ("t", "true", "yes", "on", "1"):
        return True
    if word in ("f", "false", "no", "off", "0"):
        return False
    raise UnfitError("is neither true nor false", "correct it in the source, or declare the column an integer there")


def integer(value: Any) -> int:
    """From whole numbers of any type, and their text."""
    if type(value) is int:
        return value
    try:
        if isinstance(value, (float, Decimal)):
            whole = int(value)
            if whole != value:
                raise ValueError
            return whole
        if isinstance(value, (str, int)):  # a bool, or a driver's own kind of integer
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise UnfitError("is no whole number", "correct it in the source, or change the type of its column there")


def real(value: Any) -> float:
    """From numbers and their text."""
    if type(value) is float:
        return value
    if not isinstance(value, (bytes, bytearray)):
        try:
            number = float(value)
        except (ValueError, TypeError, OverflowError):
            pass
        else:
            if isinstance(value, int) and int(number) != value:
                raise UnfitError("is a whole number of more than 53 bits in a column of floating-point numbers",
                                 "declare the column an integer in the source")  # fmt: skip
            return number
    raise UnfitError("is no number", "correct it in the source, or change the type of its column there")


def real32(value: Any) -> float:
    """The nearest number of 32 bits."""
    number = real(value)
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        raise UnfitError("is beyond the range of 32-bit numbers", "widen the column") from None
    return rounded


def decimal(value: Any) -> Decimal:
    """From numbers and their text; a binary float counts as the shortest decimal that means it."""
    try:
        found = value if type(value) is Decimal else Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        raise UnfitError("is no decimal number", "correct it in the source, or change the type of its column") from None
    if not -_DIGITS_MAX <= found.adjusted() <= _DIGITS_MAX:
        raise UnfitError(f"is beyond the {_DIGITS_MAX} digits that any engine has", "correct it in the source")
    return found


def text(value: Any) -> str:
    """From text, and from numbers as they are written."""
    if type(value) is str:
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        raise UnfitError("is bytes in a column of text", "correct it in the source, or change the type of its column")
    if isinstance(value, float):
        return repr(value)
    return str(value)


def octets(value: Any) -> bytes:
    """From bytes alone."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise UnfitError("is no bytes in a column of bytes", "correct it in the source, or change the type of its column")


def date(value: Any) -> str:
    """From a date's text; a time of day is dropped only if it is midnight."""
    given = str(value)
    if len(given) == _PLAIN_LENGTH and _PLAIN_DATE.fullmatch(given):
        return given
    day, _, rest = given.replace("T", " ").partition(" ")
    if rest and not rest.strip("0:.") and _PLAIN_DATE.fullmatch(day):
        return day
    if rest or not re.fullmatch(r"[\d-]+|-?infinity", day):
        if given.endswith(" BC"):
            return given
        raise UnfitError("is no date", "correct it in the source, or change the type of its column")
    return day


def time(value: Any) -> str:
    """From a time's text, without zeros at the end of the fraction."""
    given = str(value)
    if len(given) == len("23:59"):
        given += ":00"
    return given.rstrip("0").rstrip(".") if "." in given else given


def moment(value: Any) -> str:
    """From the text of a date and time without an offset."""
    given = str(value)
    if given[10:11] == "T":
        given = f"{given[:10]} {given[11:]}"
    if len(given) == _PLAIN_LENGTH and _PLAIN_DATE.fullmatch(given):
        return f"{given} 00:00:00"
    if len(given) == len("2026-11-26 23:59"):
        given += ":00"
    if "." in given:
        era = " BC" if given.endswith(" BC") else ""
        given = given.removesuffix(era).rstrip("0").rstrip(".") + era if era else given.rstrip("0").rstrip(".")
    return given


def instant(value: Any) -> str:
    """From the text of a date and time with an offset; without one it counts as UTC."""
    given = str(value)
    for utc in ("+00", "+00:00"):
        if given.endswith(utc) and len(given) > _PLAIN_LENGTH + len(utc):
            return moment(given.removesuffix(utc))
    era = " BC" if given.endswith(" BC") else ""
    plain = given.removesuffix(" BC")
    offset = _OFFSET.search(plain, _PLAIN_LENGTH + 1)
    if offset is None:
        return moment(given)
    if not offset[0].strip("Z+-0:"):
        return moment(plain[: offset.start()] + era)
    try:
        return written(datetime.fromisoformat(given).astimezone(UTC))
    except (ValueError, OverflowError):
        raise UnfitError("is no point in time that can be brought to UTC", "correct it in the source") from None


def written(value: datetime) -> str:
    """A ``datetime`` as text; an offset is left out."""
    return moment(value.replace(tzinfo=None).isoformat(sep=" "))


def uuid(value: Any) -> str:
    """From the text of a UUID in any of its forms, and from 16 bytes."""
    if type(value) is str and _UUID.fullmatch(value):
        return value
    if type(value) is UUID:
        return str(value)
    try:
        if isinstance(value, bytes):
            return str(UUID(bytes=value))
        return str(UUID(str(value)))
    except ValueError:
        raise UnfitError("is no UUID", "correct it in the source, or change the type of its column") from None


def json_text(value: Any) -> str:
    """From JSON text; numbers that an engine has taken for numbers are their text."""
    if isinstance(value, (bytes, bytearray)):
        raise UnfitError("is bytes in a column of JSON", "store it as text in the source")
    return value if isinstance(value, str) else repr(value)


def as_kind(kind: ColumnType) -> Convert:
    """What brings any engine's value into the form of a kind; raises :class:`UnfitError`."""
    return _INTO[kind.kind]


_INTO: Final[dict[Kind, Convert]] = {
    Kind.BOOLEAN: boolean,
    Kind.INTEGER: integer,
    Kind.DECIMAL: decimal,
    Kind.FLOAT: real,
    Kind.FLOAT32: real32,
    Kind.TEXT: text,
    Kind.BYTES: octets,
    Kind.DATE: date,
    Kind.TIME: time,
    Kind.MOMENT: moment,
    Kind.INSTANT: instant,
    Kind.UUID: uuid,
    Kind.JSON: json_text,
    Kind.ENUM: text,
    Kind.NATIVE: text,
}


# --- whether a value is what every engine has -------------------------------------------------------------------------


def plain_date(value: str) -> bool:
    """Whether a date is one of the calendar, and of the years 1 to 9999."""
    if len(value) != _PLAIN_LENGTH or _PLAIN_DATE.fullmatch(value) is None:
        return False
    if value[8:] <= _IN_EVERY_MONTH and value[5:7] <= _LAST_MONTH:
        return True
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def plain_time(value: str) -> bool:
    """Whether it is a time of day below 24:00."""
    return _PLAIN_TIME.fullmatch(value) is not None


def plain_moment(value: str) -> bool:
    """Whether it is a date and time of the years 1 to 9999."""
    return _COMMON_MOMENT.fullmatch(value) is not None or (
        plain_date(value[:10]) and value[10:11] == " " and plain_time(value[11:])
    )


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_parse: Final = json.JSONDecoder(parse_float=decimal, parse_constant=_no_constant).decode


def parsed_json(value: str) -> Any:
    """The value of JSON text, with numbers exact.

    Raises:
        UnfitError: it is no JSON.
    """
    try:
        return _parse(value)
    except UnfitError:
        raise UnfitError("has a number in its JSON that no engine has", "correct it in the source") from None
    except (ValueError, RecursionError):
        raise UnfitError("is no JSON", "correct it in the source, or declare the column text there") from None
