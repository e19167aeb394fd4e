"""Rows into objects: constructors compiled once per shape of a result and target type.

A field is converted only where the engine does not give its type by itself (SQLite has no uuid, MySQL no bool, …).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import typing
from collections.abc import Callable, Sequence
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from itertools import starmap
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
import pydantic

from sillar.engines.connection import DocumentShape, RowShape
from sillar.errors import ResultError
from sillar.query.annotations import without_none
from sillar.query.binding import Instances, Keyed

T = TypeVar("T")
_MAKERS_MAX: Final = 100
_MISFITS: Final = (ValueError, TypeError, ArithmeticError, msgspec.ValidationError)  # the last: a ValueError of late
MakeRows = Callable[[Sequence[Any]], list[Any]]


class RowMaker:
    """Makes objects of one type from rows of one shape.

    Attributes:
        one: makes one object of one row.
        many: makes a list of them.
    """

    __slots__ = ("many", "one")

    def __init__(self, one: Callable[[Any], Any], many: MakeRows) -> None:
        self.one, self.many = one, many


def row_maker(shape: RowShape, into: Any, validate: bool | None = None) -> RowMaker:
    """The constructor for rows of ``shape`` into ``into``, compiled now or taken from the shape.

    Args:
        shape: the columns.
        into: None (dicts), a dataclass, msgspec Struct, pydantic model or NamedTuple (columns by field name), or a
            scalar type (the first column).
        validate: check the type of every value. None: pydantic models yes, all others no.

    Raises:
        ResultError: a required field has no column, or the type cannot be made from rows.
    """
    key = (into, validate)
    maker: RowMaker | None = shape.makers.get(key)
    if maker is None:
        if len(shape.makers) >= _MAKERS_MAX:  # types that are made while the program runs
            shape.makers.clear()
        maker = shape.makers[key] = _guarded(_compile(shape, into, validate), shape, into)
    return maker


def _guarded(maker: RowMaker, shape: RowShape, into: Any) -> RowMaker:
    """Turns the errors of constructors into ResultError; a try block costs nothing until it is needed."""
    if into is None:
        return maker
    make_one, make_many = maker.one, maker.many

    def one(row: Any) -> Any:
        try:
            return make_one(row)
        except _MISFITS as error:
            raise _misfit(shape, into, error) from None  # the cause quotes the value

    def many(rows: Sequence[Any]) -> list[Any]:
        try:
            return make_many(rows)
        except _MISFITS as error:
            raise _misfit(shape, into, error) from None  # the cause quotes the value

    return RowMaker(one, many)


def _misfit(shape: RowShape, into: Any, error: Exception) -> ResultError:
    if isinstance(error, pydantic.ValidationError):
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
    elif isinstance(error, msgspec.ValidationError):
        problems = str(error)
    else:
        problems = type(error).__name__ + " while a value was converted"
    return ResultError(f"a row with the columns ({', '.join(shape.columns)}) does not fit {_name(into)}: {problems}")


def _compile(shape: RowShape, into: Any, validate: bool | None) -> RowMaker:
    if isinstance(shape, DocumentShape):
        from sillar.execution.document_rows import document_maker  # it takes the conversions below

        return document_maker(shape, into, validate)
    columns = shape.columns
    if into is None:
        _refuse_namesakes(columns)
        return RowMaker(
            lambda row: dict(zip(columns, row, strict=True)),
            lambda rows: [dict(zip(columns, row, strict=True)) for row in rows],
        )
    if into is tuple:
        return RowMaker(tuple, lambda rows: list(map(tuple, rows)))
    if isinstance(into, Keyed):
        return _keyed(shape, into, validate)
    if isinstance(into, Instances):
        make = into.maker(columns)
        return RowMaker(make, lambda rows: list(map(make, rows)))
    if isinstance(into, type) and issubclass(into, pydantic.BaseModel):
        if validate is False:
            return _of_mapping(columns, lambda values: into.model_construct(**values))
        return _of_mapping(columns, into.model_validate)
    fields = _fields(into)
    if fields is None:
        return _scalar(shape, into, validate)
    if validate:
        return _of_mapping(columns, lambda values: msgspec.convert(values, into, strict=False))
    return _positional(shape, into, fields)


def _keyed(shape: RowShape, into: Keyed, validate: bool | None) -> RowMaker:
    """An item of the first columns, and the values of the last ones."""
    count = len(shape.columns) - into.count
    make = row_maker(RowShape(shape.columns[:count], shape.native, shape.decimals), into.into, validate).one

    def one(row: Any) -> Any:
        values = tuple(row)
        return make(values[:count]), *values[count:]

    return RowMaker(one, lambda rows: [one(row) for row in rows])


def _refuse_namesakes(columns: tuple[str, ...]) -> None:
    """A dict has one value per name: the other one would be lost without a word."""
    if len(set(columns)) != len(columns):
        twice = sorted({name for name in columns if columns.count(name) > 1})
        raise ResultError(
            f"the result has more than one column named {', '.join(twice)}; give each a name of its own (AS)"
        )


def _of_mapping(columns: tuple[str, ...], make: Callable[[dict[str, Any]], Any]) -> RowMaker:
    def one(row: Any) -> Any:
        return make(dict(zip(columns, row, strict=True)))

    return RowMaker(one, lambda rows: [one(row) for row in rows])


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    annotation: Any
    required: bool
    keyword_only: bool = False


def _fields(into: Any) -> list[_Field] | None:
    """The fields of a record type in the order of its constructor; None for a scalar type."""
    if not isinstance(into, type):
        return None
    if issubclass(into, msgspec.Struct):
        keyword_only = _takes_keywords_only(into)
        return [_Field(f.name, f.type, f.required, keyword_only) for f in msgspec.structs.fields(into)]
    if dataclasses.is_dataclass(into):
        hints = typing.get_type_hints(into)
        return [
            _Field(
                f.name,
                hints[f.name],
                f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
                bool(f.kw_only),
            )
            for f in dataclasses.fields(into)
            if f.init
        ]
    names = getattr(into, "_fields", None)
    if issubclass(into, tuple) and names:
        hints = typing.get_type_hints(into)
        defaults = getattr(into, "_field_defaults", {})
        return [_Field(name, hints.get(name, Any), name not in defaults) for name in names]
    return None


def _takes_keywords_only(into: Any) -> bool:
    return any(p.kind is p.KEYWORD_ONLY for p in inspect.signature(into).parameters.values())


def _positional(shape: RowShape, into: Any, fields: list[_Field]) -> RowMaker:
    """``lambda row: into(row[0], convert(row[2]), …)``, written as source so that each row costs one call."""
    index = {name: position for position, name in enumerate(shape.columns)}
    missing = [field.name for field in fields if field.required and field.name not in index]
    if missing:
        raise ResultError(_missing(missing, shape, into))
    present = [field for field in fields if field.name in index]
    converters = {field.name: _column_converter(shape, field.name, field.annotation) for field in present}
    in_order = tuple(field.name for field in present) == shape.columns and len(present) == len(fields)
    if in_order and not any(converters.values()) and not any(field.keyword_only for field in fields):
        return RowMaker(lambda row: into(*row), lambda rows: list(starmap(into, rows)))
    names: dict[str, Any] = {"into": into}
    arguments = []
    skipped = False
    for number, field in enumerate(fields):
        if field.name not in index:
            skipped = True
            continue
        value = f"row[{index[field.name]}]"
        convert = converters[field.name]
        if convert is not None:
            names[f"convert{number}"] = convert
            value = f"convert{number}({value})"
        arguments.append(f"{field.name}={value}" if skipped or field.keyword_only else value)
    source = f"lambda row: into({', '.join(arguments)})"
    one = eval(source, names)  # noqa: S307 - the names are fields of a class, the rest is written here
    many = eval(f"lambda rows: [into({', '.join(arguments)}) for row in rows]", names)  # noqa: S307 - as above
    return RowMaker(one, many)


def _missing(missing: list[str], shape: RowShape, into: Any) -> str:
    hints = []
    for name in missing:
        near = get_close_matches(name, shape.columns, 1)
        hints.append(f"{name} (did you mean the column {near[0]}? select it AS {name})" if near else name)
    columns = ", ".join(shape.columns)
    return f"{_name(into)} needs fields that the result has no column for: {', '.join(hints)}; columns: {columns}"


def _scalar(shape: RowShape, into: Any, validate: bool | None) -> RowMaker:
    if not _is_scalar(into):
        raise ResultError(
            f"rows cannot be made into {_name(into)}; use a dataclass, msgspec Struct, pydantic model, NamedTuple or"
            " scalar type"
        )
    if validate:
        return RowMaker(
            lambda row: msgspec.convert(row[0], into, strict=False),
            lambda rows: [msgspec.convert(row[0], into, strict=False) for row in rows],
        )
    convert = _column_converter(shape, shape.columns[0], into) if shape.columns else None
    if convert is None:
        return RowMaker(lambda row: row[0], lambda rows: [row[0] for row in rows])
    return RowMaker(lambda row: convert(row[0]), lambda rows: [convert(row[0]) for row in rows])


def _is_scalar(into: Any) -> bool:
    kind = without_none(into)
    origin = typing.get_origin(kind) or kind
    return (
        kind is Any
        or origin in _CONVERTERS
        or origin in (int, float, str, bytes, list, dict)
        or (isinstance(origin, type) and issubclass(origin, Enum))
    )


# --- conversion of single values --------------------------------------------------------------------------------------


def _to_uuid(value: Any) -> Any:
    if value is None or isinstance(value, UUID):
        return value
    return UUID(bytes=bytes(value)) if isinstance(value, (bytes, bytearray)) else UUID(value)


def _to_decimal(value: Any) -> Any:
    return value if value is None or isinstance(value, Decimal) else Decimal(str(value))


def _to_datetime(value: Any) -> Any:
    return dt.datetime.fromisoformat(value) if isinstance(value, str) else value


def _to_date(value: Any) -> Any:
    if isinstance(value, str):
        return dt.date.fromisoformat(value[:10])
    return value.date() if isinstance(value, dt.datetime) else value


def _to_time(value: Any) -> Any:
    if isinstance(value, str):
        return dt.time.fromisoformat(value)
    if isinstance(value, dt.timedelta):
        return (dt.datetime.min + value).time()
    return value


def _to_timedelta(value: Any) -> Any:
    return dt.timedelta(seconds=value) if isinstance(value, (int, float)) else value


def _to_bool(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) else bool(int(value))


_CONVERTERS: Final[dict[Any, Callable[[Any], Any]]] = {
    UUID: _to_uuid,
    Decimal: _to_decimal,
    dt.datetime: _to_datetime,
    dt.date: _to_date,
    dt.time: _to_time,
    dt.timedelta: _to_timedelta,
    bool: _to_bool,
}


def _column_converter(shape: RowShape, column: str, annotation: Any) -> Callable[[Any], Any] | None:
    """The conversion for one column, or None."""
    kind = without_none(annotation)
    if column in shape.decimals and kind in _OF_DECIMAL:
        return _OF_DECIMAL[kind]
    return _converter(annotation, shape.native)


def _decimal_to_int(value: Any) -> Any:
    """``sum(bigint)`` is numeric; a fraction is not dropped silently."""
    if value is None:
        return None
    if value != (whole := int(value)):
        raise ValueError("a fraction where a whole number was asked for")
    return whole


def _decimal_to_float(value: Any) -> Any:
    return None if value is None else float(value)


_OF_DECIMAL: Final[dict[Any, Callable[[Any], Any]]] = {int: _decimal_to_int, float: _decimal_to_float}


def _converter(annotation: Any, native: frozenset[type]) -> Callable[[Any], Any] | None:
    """The conversion of a value to what a field says, or None where the engine's value is right as it is."""
    kind = without_none(annotation)
    origin = typing.get_origin(kind) or kind
    if kind is Any or origin in native or not isinstance(origin, type):
        if origin in (list, dict) and typing.get_args(kind) and not _all_native(kind, native):
            return _to_structure(kind)
        return None
    if origin in _CONVERTERS:
        return _CONVERTERS[origin]
    if issubclass(origin, Enum):
        return lambda value: value if value is None or isinstance(value, origin) else origin(value)
    return _to_structure(kind)


def _all_native(kind: Any, native: frozenset[type]) -> bool:
    return all(part is Any or (typing.get_origin(part) or part) in native for part in typing.get_args(kind))


def _to_structure(kind: Any) -> Callable[[Any], Any]:
    """A list, dict or nested record, from JSON text or from what the driver decoded."""
    decoder = msgspec.json.Decoder(kind, strict=False)

    def convert(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, (str, bytes)):
            return decoder.decode(value)
        return msgspec.convert(value, kind, strict=False)

    return convert


def _name(into: Any) -> str:
    return getattr(into, "__qualname__", str(into))
