"""SQLAlchemy types that store and give what Tortoise's fields store and give, on every engine.

Where SQLAlchemy's own type does that it is used as it is; the others are :class:`Converted`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any, Final, cast

from sqlalchemy import (
    CHAR,
    JSON,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Dialect,
    Double,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Text,
    Time,
    Uuid,
)
from sqlalchemy.dialects.mysql import DATETIME
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine, UserDefinedType
from tortoise import fields, timezone
from tortoise.fields import Field
from tortoise.fields.data import JSON_DUMPS, JSON_LOADS, CharEnumFieldInstance, IntEnumFieldInstance

_MYSQL: Final = ("mysql", "mariadb")


class Verbatim(UserDefinedType[Any]):
    """A type of the server's whose values the driver takes and gives as they are."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **options: Any) -> str:
        """How DDL spells it."""
        return self.name


class Converted(TypeDecorator[Any]):
    """Values as a field of Tortoise converts them.

    Args:
        field: it converts.
        impl: the type under it.
        variants: other types under it, with the name of SQLAlchemy's dialect.
    """

    impl = Verbatim
    cache_ok = True

    def __init__(
        self, field: Field[Any], impl: TypeEngine[Any], variants: tuple[tuple[str, TypeEngine[Any]], ...] = ()
    ) -> None:
        super().__init__("")
        self.field = field
        self.impl = cast(Any, impl)
        self.variants = variants

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The type under it for a dialect."""
        name = "mysql" if dialect.name in _MYSQL else dialect.name
        return dialect.type_descriptor(dict(self.variants).get(name, self.impl_instance))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """As the stock client stores it."""
        if value is None:
            return None
        stored = self.field.to_db_value(value, self.field.model)
        if isinstance(stored, (date, time)):
            return _stored(stored, dialect.name)
        return str(stored) if dialect.name == "sqlite" and isinstance(self.field, fields.DecimalField) else stored

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """As the field reads it."""
        return self.field.to_python_value(value)


class ConvertedDocument(Converted):
    """A JSON document with an encoder, a decoder or a model class of its own."""

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Plain JSON values, which the type under it encodes."""
        return None if value is None else json.loads(self.field.to_db_value(value, self.field.model))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """As the field reads its text."""
        return None if value is None else self.field.to_python_value(json.dumps(value))


def _stored(value: date | time, dialect: str) -> Any:
    """A date or time as Tortoise's own clients send it."""
    if dialect == "sqlite":
        return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
    if dialect in _MYSQL and isinstance(value, (datetime, time)) and value.tzinfo is not None:
        if isinstance(value, datetime) and timezone.get_use_tz():
            value = value.astimezone(timezone.get_default_timezone())
        return value.replace(tzinfo=None)
    return value


def _decimal(field: Any) -> TypeEngine[Any]:
    number = Numeric(field.max_digits, field.decimal_places)
    return number.with_variant(Converted(field, String(40)), "sqlite")


def _document(field: Any) -> TypeEngine[Any]:
    plain = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    own = field.encoder is not JSON_DUMPS or field.decoder is not JSON_LOADS or hasattr(field.field_type, "model_dump")
    if not own:
        return plain
    return ConvertedDocument(field, JSON(none_as_null=True), (("postgresql", JSONB(none_as_null=True)),))


def _moment(field: Any) -> TypeEngine[Any]:
    variants = (("mysql", DATETIME(fsp=6)), ("sqlite", Verbatim("TIMESTAMP")))
    return Converted(field, DateTime(timezone=True), variants)


def _hour(field: Any) -> TypeEngine[Any]:
    return Converted(field, Time(timezone=True), (("mysql", Verbatim("TIME(6)")), ("sqlite", Verbatim("TIME"))))


_TYPES: Final[dict[type, Callable[[Any], TypeEngine[Any]]]] = {
    IntEnumFieldInstance: lambda field: Converted(field, SmallInteger()),
    CharEnumFieldInstance: lambda field: Converted(field, String(field.max_length)),
    fields.BigIntField: lambda field: BigInteger().with_variant(Integer(), "sqlite"),
    fields.SmallIntField: lambda field: SmallInteger(),
    fields.IntField: lambda field: Integer(),
    fields.CharField: lambda field: String(field.max_length),
    fields.TextField: lambda field: Text(),
    fields.BooleanField: lambda field: Boolean(),
    fields.DecimalField: _decimal,
    fields.DatetimeField: _moment,
    fields.DateField: lambda field: Date(),
    fields.TimeField: _hour,
    fields.TimeDeltaField: lambda field: Converted(field, BigInteger()),
    fields.FloatField: lambda field: Double(),
    fields.JSONField: _document,
    fields.UUIDField: lambda field: Uuid().with_variant(Converted(field, CHAR(36)), *_MYSQL, "sqlite"),
    fields.BinaryField: lambda field: LargeBinary(),
}


def column_type(field: Field[Any]) -> TypeEngine[Any]:
    """The SQLAlchemy type for a field of Tortoise.

    A field class of somebody else's that converts values itself, or that Tortoise has for one engine alone (arrays,
    text search), is asked for every value.
    """
    kind = type(field)
    for known in kind.__mro__:
        if known in _TYPES:
            found = _TYPES[known](field)
            converts = any(
                getattr(kind, name) is not getattr(known, name) for name in ("to_db_value", "to_python_value")
            )
            return Converted(field, found) if converts and not isinstance(found, Converted) else found
    spelled = field.get_db_field_types() or {}
    variants = tuple((name, Verbatim(text)) for name, text in spelled.items() if name)
    return Converted(field, Verbatim(field.SQL_TYPE), variants)
