"""Parameter values as SQLite stores them.

SQLite has integers of 64 bits, floating-point numbers, text and blobs; everything else is stored as text that sorts and
compares as it should. Declare such columns TEXT: a column declared DECIMAL or NUMERIC turns digits into floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, Final
from uuid import UUID

from sillar.errors import ParameterError
from sillar.query.json import Json
from sillar.query.json import encode as json_text

_PLAIN: Final = frozenset({int, str, bytes, NoneType})


def encode(args: Sequence[Any]) -> Sequence[Any]:
    """The values as sqlite3 binds them; ``args`` itself where nothing is to be done.

    Raises:
        ParameterError: NaN (SQLite would store NULL), or a type that has no form in SQLite.
    """
    for value in args:
        if type(value) not in _PLAIN:
            return [value if type(value) in _PLAIN else _ENCODERS.get(type(value), _other)(value) for value in args]
    return args


def _float(value: float) -> float:
    if value != value:
        raise ParameterError("SQLite cannot store NaN: it would become NULL; bind None, or store the text 'NaN'")
    return value


def _decimal(value: Decimal) -> str:
    if value.is_nan():
        raise ParameterError("a Decimal NaN has no value to store; bind None")
    return str(value)


def _datetime(value: datetime) -> str:
    if value.tzinfo is not None:
        value = value.astimezone(UTC)
    return value.isoformat(timespec="microseconds")


def _other(value: Any) -> Any:
    """Subclasses of the known types, and enumerations."""
    if isinstance(value, Enum):
        return encode((value.value,))[0]
    for known, encoder in _ENCODERS.items():
        if isinstance(value, known):
            return encoder(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes(value)
    raise ParameterError(
        f"SQLite has no form for a parameter of type {type(value).__name__}; it takes None, bool, int, float, str,"
        " bytes, Decimal, UUID, datetime, date, time, Enum, dict, list and Json(…)"
    )


_ENCODERS: Final[dict[type, Callable[[Any], Any]]] = {
    float: _float,
    bool: int,
    datetime: _datetime,  # before date, whose subclass it is
    date: date.isoformat,
    time: time.isoformat,
    Decimal: _decimal,
    UUID: str,
    dict: json_text,
    list: json_text,
    Json: Json.text,
    bytearray: bytes,
    memoryview: bytes,
}
