"""Column types for annotations: what a field of a pydantic model, dataclass or Struct is in a table or a document.

Nothing of those packages is imported: classes are known by what they derive from, and by the names of their fields.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final, ForwardRef, Literal, NewType, TypeVar, Union, get_args, get_origin
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Double,
    Interval,
    LargeBinary,
    Numeric,
    String,
    Time,
    Uuid,
)
from sqlalchemy import Enum as EnumType
from sqlalchemy.dialects import mysql
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType

from sillar.errors import UsageError

_NONE: Final = type(None)
_SQL_WITHOUT_ARRAYS: Final = ("mysql", "mariadb", "sqlite")


class NativeValue(UserDefinedType[Any]):
    """A value of the driver's own type, which passes through as it is: an ``ObjectId``, a ``DBRef``.

    Args:
        type_name: what the engine calls it.
    """

    cache_ok = True

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def get_col_spec(self, **options: Any) -> str:
        """Its name; no SQL engine has such a column."""
        return self.type_name

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self


class EnumValue(TypeDecorator[Any]):
    """The value of an enumeration whose values are not text; rows give back its members.

    Args:
        kind: the enumeration.
        of: the column type of its values.
    """

    impl = JSON
    cache_ok = True

    def __init__(self, kind: type[Enum], of: TypeEngine[Any]) -> None:
        super().__init__()
        self.kind, self.of = kind, of
        self.impl = of  # type: ignore[assignment]  # an instance here, as SQLAlchemy makes it one itself

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value.value if isinstance(value, Enum) else value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else self.kind(value)

    def copy(self, **options: Any) -> EnumValue:
        return EnumValue(self.kind, self.of)

    def __repr__(self) -> str:
        return f"EnumValue({self.kind.__name__}, {self.of!r})"


class Moment(TypeDecorator[datetime]):
    """A point in time where columns have no time zone: kept in UTC, and given back as such."""

    impl = mysql.DATETIME(fsp=6)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC).replace(tzinfo=None)
        return value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value.replace(tzinfo=UTC)


class MomentText(TypeDecorator[datetime]):
    """A point in time as text: the one that a session's own parameters are stored as where there is no other type."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        if not isinstance(value, datetime):
            return value
        if value.tzinfo is not None:
            value = value.astimezone(UTC)
        return value.isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        if value is None:
            return None
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class DecimalText(TypeDecorator[Decimal]):
    """An exact decimal where the engine has no such type: text, as a session's own parameters are stored.

    Orders and sums are those of floating point there, so what such operators compare with is bound as a number.
    """

    impl = String(80)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return str(value) if isinstance(value, Decimal) else value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else Decimal(str(value))

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self if op in _EQUALITY else Numeric()


class UuidText(TypeDecorator[UUID]):
    """A UUID where the engine has no such type: its text of 36 characters, as a session's own parameters are stored
    (SQLAlchemy's ``Uuid`` leaves the hyphens out, and reads both)."""

    impl = CHAR(36)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return str(value) if isinstance(value, UUID) else value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else UUID(str(value))


_EQUALITY: Final = (operators.eq, operators.ne, operators.in_op, operators.not_in_op)

_SCALARS: Final[dict[type, Callable[[], TypeEngine[Any]]]] = {
    bool: Boolean,
    int: BigInteger,
    float: Double,
    str: String,
    bytes: LargeBinary,
    bytearray: LargeBinary,
    memoryview: LargeBinary,
    Decimal: lambda: Numeric().with_variant(DecimalText(), "sqlite"),
    datetime: lambda: (
        DateTime(timezone=True).with_variant(Moment(), "mysql", "mariadb").with_variant(MomentText(), "sqlite")
    ),
    date: Date,
    time: Time,
    timedelta: Interval,
    UUID: lambda: Uuid().with_variant(UuidText(), *_SQL_WITHOUT_ARRAYS),
}
"""By the first class of an annotation's MRO that is here."""

_NAMED: Final[dict[str, Callable[[], TypeEngine[Any]]]] = {
    "bson.objectid.ObjectId": lambda: NativeValue("objectId"),
    "bson.dbref.DBRef": lambda: NativeValue("dbRef"),
    "bson.timestamp.Timestamp": lambda: NativeValue("timestamp"),
    "bson.regex.Regex": lambda: NativeValue("regex"),
    "bson.decimal128.Decimal128": lambda: NativeValue("decimal"),
    "beanie.odm.fields.Link": lambda: NativeValue("dbRef"),
    "pathlib.PurePath": String,
    "ipaddress._IPAddressBase": String,
    "pydantic.networks.EmailStr": String,
    "pydantic.networks.IPvAnyAddress": String,
    "pydantic.networks._BaseUrl": String,
    "pydantic.networks._BaseMultiHostUrl": String,
    "pydantic.types.SecretStr": String,
    "pydantic.types.SecretBytes": LargeBinary,
    "pydantic_core._pydantic_core.Url": String,
}
"""Classes of packages that are not imported here."""


def column_type(annotation: Any, *, field: str = "") -> tuple[TypeEngine[Any], bool]:
    """The column type of an annotation, and whether it takes NULL.

    ``int`` is a 64-bit integer. A list of scalars is an array, and JSON on SQL engines without arrays; what has an
    inner structure (a model, dataclass, Struct, ``dict``, a union of several types, ``Any``) is JSON.

    Args:
        annotation: a resolved one, as ``typing.get_type_hints`` gives it.
        field: named in the error.

    Returns:
        the type, and whether None is among its values.

    Raises:
        UsageError: no column holds such a thing.
    """
    bare = _bare(annotation)
    if bare is Any or bare is object:
        return JSON(), True
    if bare is _NONE:
        return JSON(none_as_null=True), True
    if _is_union(bare):
        members = [each for each in map(_bare, get_args(bare)) if each is not _NONE]
        found = [column_type(each, field=field) for each in members]
        nullable = len(members) < len(get_args(bare)) or any(takes_null for _, takes_null in found)
        return _one_of(kind for kind, _ in found), nullable
    if get_origin(bare) is Literal:
        values = get_args(bare)
        kinds = {type(each) for each in values if each is not None}
        return _one_of(column_type(kind, field=field)[0] for kind in kinds), None in values
    found_type = _class_type(bare, field)
    if found_type is None:
        named = f"the field {field!r}" if field else "the annotation"
        raise UsageError(
            f"{named} is annotated {_said(annotation)}, for which there is no column type; annotate it with a scalar,"
            " a list, a dict or a model, or exclude it from the table"
        )
    return found_type, False


def _class_type(annotation: Any, field: str) -> TypeEngine[Any] | None:
    kind = get_origin(annotation) or annotation
    if not isinstance(kind, type):
        return None
    if issubclass(kind, Enum):
        return _enum_type(kind, field)
    if hasattr(kind, "_fields") and issubclass(kind, tuple):
        return JSON()
    for each in kind.__mro__:
        known = _SCALARS.get(each) or _NAMED.get(f"{each.__module__}.{each.__qualname__}")
        if known is not None:
            return known()
    if _is_structure(kind) or issubclass(kind, Mapping):
        return JSON()
    if issubclass(kind, Collection):
        return _array_type(get_args(annotation), field)
    return None


def _array_type(arguments: tuple[Any, ...], field: str) -> TypeEngine[Any]:
    """Of one scalar type: an array; else JSON."""
    members = {each for each in arguments if each is not Ellipsis}
    if len(members) != 1:
        return JSON()
    item, nullable = column_type(members.pop(), field=field)
    if nullable or isinstance(item, (JSON, ARRAY)):
        return JSON()
    kind: TypeEngine[Any] = ARRAY(item)
    return kind.with_variant(JSON(), *_SQL_WITHOUT_ARRAYS)


def _enum_type(kind: type[Enum], field: str) -> TypeEngine[Any]:
    """By value, as pydantic and the document engines store it, not by name, as SQLAlchemy does unless told."""
    values = [each.value for each in kind]
    if values and all(isinstance(value, str) for value in values):
        return EnumType(
            kind, values_callable=lambda each: [member.value for member in each], native_enum=False, length=None
        )
    return EnumValue(kind, _one_of(column_type(type(value), field=field)[0] for value in values))


def _one_of(kinds: Iterable[TypeEngine[Any]]) -> TypeEngine[Any]:
    """The type itself where there is one, JSON where there are several."""
    found = list(kinds)
    first = found[0] if found else JSON()
    return first if all(repr(each) == repr(first) for each in found) else JSON()


def _is_structure(kind: type) -> bool:
    """A pydantic model, dataclass or msgspec Struct."""
    marks = ("__pydantic_fields__", "model_fields", "__struct_fields__")
    return dataclasses.is_dataclass(kind) or any(hasattr(kind, mark) for mark in marks)


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _bare(annotation: Any) -> Any:
    """Without ``Annotated``, ``NewType``, type aliases and bounded type variables around it."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif isinstance(annotation, TypeVar) and annotation.__bound__ is not None:
            annotation = annotation.__bound__
        elif annotation is None:
            return _NONE
        else:
            return annotation


def _said(annotation: Any) -> str:
    if isinstance(annotation, (str, ForwardRef)):
        name = annotation if isinstance(annotation, str) else annotation.__forward_arg__
        return f"{name!r}, which is not resolved (typing.get_type_hints does that)"
    return str(getattr(annotation, "__name__", annotation))


def without_none(annotation: Any) -> Any:
    """``X`` for ``X | None`` and ``Annotated[X, …]``."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return without_none(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return without_none(rest[0]) if len(rest) == 1 else Any
    return annotation
