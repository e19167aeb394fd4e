"""Kinds of values: what a SQLAlchemy type is on this side, how its values are written and read."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from bson import Decimal128
from sqlalchemy import types as sqltypes
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from sillar.engines.mongodb.compiler.refusal import unsupported
from sillar.errors import DataError, ParameterError

Reader = Callable[[Any], Any]


class Kind(StrEnum):
    """What a value is: comparisons and arithmetic depend on it, as in SQL."""

    INT = "integer"
    FLOAT = "float"
    DECIMAL = "decimal"
    TEXT = "text"
    BOOL = "boolean"
    TIME = "time of day"
    DATE = "date"
    DATETIME = "timestamp"
    INTERVAL = "interval"
    BINARY = "binary"
    UUID = "uuid"
    ENUM = "enum"
    ARRAY = "array"
    JSON = "json"
    OPAQUE = "a type of the user's"
    UNKNOWN = "unknown"


NUMBERS: Final = frozenset({Kind.INT, Kind.FLOAT, Kind.DECIMAL})
SCALARS: Final = frozenset(set(Kind) - {Kind.ARRAY, Kind.JSON, Kind.UNKNOWN})
"""Kinds that never hold an array, so that MongoDB's conditions, which look into arrays, mean the same."""
ORDERED: Final = SCALARS - {Kind.BINARY, Kind.ENUM}
"""Kinds that MongoDB orders as PostgreSQL does. Binary data goes by length first, an enum by its text."""

_KINDS: Final[tuple[tuple[type[Any], Kind], ...]] = (
    (sqltypes.Boolean, Kind.BOOL),
    (sqltypes.Enum, Kind.ENUM),
    (sqltypes.Integer, Kind.INT),
    (sqltypes.Float, Kind.FLOAT),
    (sqltypes.Numeric, Kind.DECIMAL),
    (sqltypes.String, Kind.TEXT),
    (sqltypes.DateTime, Kind.DATETIME),
    (sqltypes.Date, Kind.DATE),
    (sqltypes.Time, Kind.TIME),
    (sqltypes.Interval, Kind.INTERVAL),
    (sqltypes.LargeBinary, Kind.BINARY),
    (sqltypes.BINARY, Kind.BINARY),
    (sqltypes.VARBINARY, Kind.BINARY),
    (sqltypes.Uuid, Kind.UUID),
    (sqltypes.JSON, Kind.JSON),
    (sqltypes.ARRAY, Kind.ARRAY),
    (sqltypes.NullType, Kind.UNKNOWN),
)
_DIALECT: Final = DefaultDialect()


def kind_of(given: TypeEngine[Any]) -> Kind:
    """The kind of a type; a decorated type is what it decorates."""
    if isinstance(given, TypeDecorator) and not isinstance(given, sqltypes.Interval):
        return kind_of(given.impl_instance)
    return next((kind for known, kind in _KINDS if isinstance(given, known)), Kind.OPAQUE)


# --- writing ----------------------------------------------------------------------------------------------------------


def writer_of(given: TypeEngine[Any]) -> Reader:
    """What turns a caller's value of this type into the one that is sent. None passes everywhere."""
    kind = kind_of(given)
    write = _WRITERS.get(kind, _as_given)
    if kind is Kind.ARRAY and isinstance(given, sqltypes.ARRAY):
        write = _array(writer_of(given.item_type))
    if kind is Kind.TIME and getattr(given, "timezone", False):
        raise unsupported("a time of day with a time zone", "store it as text, or as a timestamp")
    if isinstance(given, TypeDecorator) and not isinstance(given, sqltypes.Interval):
        process = given.process_bind_param
        return lambda value: _optional(write)(process(value, _DIALECT))
    if isinstance(given, sqltypes.Enum):
        write = _enum(given)
    elif kind is Kind.OPAQUE:
        write = given.bind_processor(_DIALECT) or _as_given
    return _optional(write)


def _optional(write: Reader) -> Reader:
    return lambda value: None if value is None else write(value)


def _as_given(value: Any) -> Any:
    return value


def _of(*accepted: type[Any], name: str, but: type[Any] | None = None) -> Reader:
    def check(value: Any) -> Any:
        if not isinstance(value, accepted) or (but is not None and isinstance(value, but)):
            raise ParameterError(f"a value of type {type(value).__name__} was given where {name} is compared or stored")
        return value

    return check


def _float(value: Any) -> float:
    return float(_of(int, float, Decimal, name="a float", but=bool)(value))


def _decimal(value: Any) -> Decimal:
    value = _of(int, float, Decimal, name="a decimal", but=bool)(value)
    return value if isinstance(value, Decimal) else Decimal(str(value))


def _uuid(value: Any) -> UUID:
    try:
        return value if isinstance(value, UUID) else UUID(_of(str, name="a uuid")(value))
    except ValueError:
        raise ParameterError("a text was given that is not a uuid") from None


def _enum(given: sqltypes.Enum) -> Reader:
    of: TypeEngine[Any] = given
    process = of.bind_processor(_DIALECT)

    def write(value: Any) -> Any:
        try:
            stored = value if process is None else process(value)
        except LookupError:
            stored = None
        if stored not in given.enums:
            raise ParameterError(f"a value of type {type(value).__name__} is none of the enum's")
        return stored

    return write


def _array(item: Reader) -> Reader:
    check = _of(list, tuple, set, frozenset, name="an array")
    return lambda value: [item(each) for each in check(value)]


def _json(value: Any) -> Any:
    if value is sqltypes.JSON.NULL:
        raise unsupported("JSON's null apart from NULL", "they are the same in MongoDB; use None")
    return value


_WRITERS: Final[Mapping[Kind, Reader]] = {
    Kind.INT: _of(int, name="an integer", but=bool),
    Kind.FLOAT: _float,
    Kind.DECIMAL: _decimal,
    Kind.TEXT: _of(str, name="text"),
    Kind.BOOL: _of(bool, name="a boolean"),
    Kind.DATETIME: _of(dt.datetime, name="a timestamp"),
    Kind.DATE: _of(dt.date, name="a date", but=dt.datetime),
    Kind.TIME: _of(dt.time, name="a time of day"),
    Kind.INTERVAL: _of(dt.timedelta, name="an interval"),
    Kind.BINARY: _of(bytes, bytearray, memoryview, name="binary data"),
    Kind.UUID: _uuid,
    Kind.JSON: _json,
}


# --- reading ----------------------------------------------------------------------------------------------------------


def reader_of(given: TypeEngine[Any], kind: Kind) -> Reader | None:
    """What turns a stored value into the caller's, or None where it is right as it comes."""
    if kind_of(given) is not kind:
        return _READERS.get(kind)
    if isinstance(given, TypeDecorator) and not isinstance(given, sqltypes.Interval):
        inner, process = reader_of(given.impl_instance, kind), given.process_result_value
        return lambda value: process(value if inner is None or value is None else inner(value), _DIALECT)
    if kind in (Kind.ENUM, Kind.OPAQUE):
        return given.result_processor(_DIALECT, None)
    if kind is Kind.DATETIME and not getattr(given, "timezone", False):
        return _without_zone
    if kind is Kind.DECIMAL and not getattr(given, "asdecimal", True):
        return _read_float
    if kind is Kind.FLOAT and getattr(given, "asdecimal", False):
        return _read_decimal
    if kind is Kind.UUID and not getattr(given, "as_uuid", True):
        return _read_text
    if kind is Kind.ARRAY and isinstance(given, sqltypes.ARRAY):
        item = reader_of(given.item_type, kind_of(given.item_type))
        return None if item is None else _items(item)
    return _READERS.get(kind)


def _items(item: Reader) -> Reader:
    return lambda value: None if value is None else [None if each is None else item(each) for each in value]


def _without_zone(value: Any) -> Any:
    return value.replace(tzinfo=None) if isinstance(value, dt.datetime) else value


def _read_int(value: Any) -> Any:
    if type(value) is int or value is None:
        return value
    if isinstance(value, (float, Decimal)):
        if math.isfinite(value) and value == int(value) and abs(int(value)) < 2**63:
            return int(value)
        raise DataError("an integer is out of range: it needs more than 64 bits", code=None)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _read_float(value: Any) -> Any:
    return float(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else value


def _read_decimal(value: Any) -> Any:
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return Decimal(str(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _read_text(value: Any) -> Any:
    return None if value is None else str(value)


def _read_date(value: Any) -> Any:
    return dt.date.fromisoformat(value) if isinstance(value, str) else value


def _read_time(value: Any) -> Any:
    return dt.time.fromisoformat(value) if isinstance(value, str) else value


def _read_interval(value: Any) -> Any:
    if isinstance(value, Decimal):
        return dt.timedelta(microseconds=int(value * 1_000_000))
    return dt.timedelta(seconds=value) if isinstance(value, (int, float)) else value


_READERS: Final[Mapping[Kind, Reader]] = {
    Kind.INT: _read_int,
    Kind.FLOAT: _read_float,
    Kind.DECIMAL: _read_decimal,
    Kind.DATE: _read_date,
    Kind.TIME: _read_time,
    Kind.INTERVAL: _read_interval,
}
