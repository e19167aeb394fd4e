"""The schema that Tortoise's ``generate_schemas`` makes, as SQLAlchemy metadata: what migrations are generated from.

It has types of SQLAlchemy's alone, so that files which are generated from it run without Tortoise and without Sillar.
How names of indexes and keys are made is not documented by Tortoise; they are taken from its ``BaseSchemaGenerator``,
and the tests compare what it makes on every engine with what is made here.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

from sqlalchemy import (
    CHAR,
    JSON,
    TIMESTAMP,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.types import TypeEngine, to_instance
from tortoise import fields
from tortoise.apps import Apps
from tortoise.backends.base.schema_generator import BaseSchemaGenerator
from tortoise.converters import encoders
from tortoise.exceptions import ConfigurationError
from tortoise.fields import Field
from tortoise.fields.data import IntEnumFieldInstance
from tortoise.fields.relational import ManyToManyFieldInstance
from tortoise.indexes import Index as TortoiseIndex
from tortoise.models import Model

from sillar.errors import UsageError
from sillar.integrations.tortoise import private

DEFAULT_APP: Final = "models"
_MYSQL: Final = ("mysql", "mariadb")
_DIALECTS: Final = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite"}
"""SQLAlchemy's name → Tortoise's."""


class SpelledDefault(ColumnElement[Any]):
    """A default that is spelled for each engine.

    Args:
        spelled: SQL by SQLAlchemy's name of the dialect.
    """

    inherit_cache = False

    def __init__(self, spelled: dict[str, str]) -> None:
        self.spelled = spelled


@compiles(SpelledDefault)
def _compile_default(element: SpelledDefault, compiler: Any, **options: Any) -> str:
    return element.spelled[compiler.dialect.name if compiler.dialect.name in element.spelled else "sqlite"]


def models_metadata(models: Iterable[type[Model]]) -> MetaData:
    """The tables of models, those between them, indexes, keys, defaults and comments.

    Relations are resolved if Tortoise is not initialised yet: all models then are of one app, whose label their
    relations name.

    Raises:
        UsageError: a relation leads nowhere, or the models are of several apps and Tortoise is not initialised.
    """
    concrete = [model for model in models if not private.meta_of(model).abstract]
    _resolve(concrete)
    metadata = MetaData()
    tables = {private.meta_of(model).db_table for model in concrete}
    for model in concrete:
        _table(model, metadata)
    for model in concrete:
        meta = private.meta_of(model)
        for name in sorted(meta.m2m_fields):
            field = cast("ManyToManyFieldInstance[Any]", meta.fields_map[name])
            if not field._generated and field.through not in tables:
                _through(model, field, metadata)
    return metadata


def _resolve(models: Sequence[type[Model]]) -> None:
    waiting = [model for model in models if not private.is_initialised(model)]
    if not waiting:
        return
    labels = set()
    for model in waiting:
        meta = private.meta_of(model)
        labels |= {meta.app} if meta.app else set()
        for name in meta.fetch_fields:
            target = getattr(meta.fields_map[name], "model_name", None)
            if isinstance(target, str):
                labels.add(target.split(".")[0])
    if len(labels) > 1:
        raise UsageError(
            f"the Tortoise models are of several apps ({', '.join(sorted(labels))}): only Tortoise's configuration says"
            " which is of which; call Tortoise.init_models for each before the models are read"
        )
    modules = list(dict.fromkeys(model.__module__ for model in models))
    try:
        Apps(None, cast(Any, None)).init_app(next(iter(labels), DEFAULT_APP), [sys.modules[each] for each in modules])
    except ConfigurationError as error:
        raise UsageError(f"the relations of the Tortoise models lead nowhere: {error}") from error


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(model: type[Model], metadata: MetaData) -> Table:
    meta = private.meta_of(model)
    name = meta.db_table or model.__name__.lower()
    names = BaseSchemaGenerator(cast(Any, None))
    items: list[Any] = []
    indexed: list[str] = []
    for attribute, column in meta.fields_db_projection.items():
        field = meta.fields_map[attribute]
        items.append(_column(model, field, column))
        reference: Any = getattr(field, "reference", None)
        if reference is not None and reference.db_constraint:
            other = private.meta_of(reference.related_model)
            target = reference.to_field_instance.source_field or reference.to_field_instance.model_field_name
            key = names._get_fk_name(name, column, other.db_table, target)
            items.append(_key(column, _place(other), target, reference.on_delete, key))
        if field.index and not field.pk:
            indexed.append(column)
    for group in meta.unique_together or ():
        columns = [meta.fields_map[each].source_field or each for each in group]
        items.append(UniqueConstraint(*columns, name=names._get_index_name("uid", model, columns)))
    table = Table(
        name,
        metadata,
        *items,
        schema=meta.schema,
        comment=meta.table_description or None,
        sqlite_autoincrement=bool(meta.pk.generated),
    )
    for column in indexed:
        Index(names._get_index_name("idx", model, [column]), table.c[column])
    for declared in meta.indexes or ():
        _index(model, table, declared, names)
    return table


def _column(model: type[Model], field: Field[Any], name: str) -> Column[Any]:
    reference: Any = getattr(field, "reference", None)
    comment = (reference or field).description
    generated = bool(field.pk and field.generated)
    kind = schema_type(field)
    if generated and isinstance(field, fields.IntField):
        kind = kind.with_variant(Integer(), "sqlite")
    return Column(
        name,
        kind,
        primary_key=field.pk,
        nullable=field.null and not field.pk,
        unique=True if field.unique and not field.pk else None,
        autoincrement=generated,
        server_default=_default(model, field),
        comment=comment or None,
    )


def _default(model: type[Model], field: Field[Any]) -> Any:
    if not field.has_db_default():
        return None
    default: Any = field.db_default
    if hasattr(default, "get_sql"):
        spelled = {name: str(default.get_sql(dialect=own)) for name, own in _DIALECTS.items()}
    else:
        stored = field.to_db_value(default, model)
        text_of: Any = encoders.get(type(stored), encoders[str])
        spelled = dict.fromkeys(_DIALECTS, str(text_of(stored)))
        if isinstance(stored, bool):
            spelled["postgresql"] = str(stored).lower()
    return SpelledDefault(spelled)


def _key(column: str, place: str, target: str, ondelete: str, name: str) -> ForeignKeyConstraint:
    return ForeignKeyConstraint([column], [f"{place}.{target}"], ondelete=str(ondelete), name=name)


def _place(meta: Any) -> str:
    return f"{meta.schema}.{meta.db_table}" if meta.schema else str(meta.db_table)


def _through(model: type[Model], field: ManyToManyFieldInstance[Any], metadata: MetaData) -> None:
    names = BaseSchemaGenerator(cast(Any, None))
    items: list[Any] = []
    for key, owner in ((field.backward_key, model), (field.forward_key, field.related_model)):
        meta = private.meta_of(owner)
        items.append(Column(key, schema_type(meta.pk), nullable=False))
        if field.db_constraint:
            name = names._get_fk_name(field.through, key, meta.db_table, meta.db_pk_column)
            items.append(_key(key, _place(meta), meta.db_pk_column, field.on_delete, name))
    schema = private.meta_of(model).schema
    table = Table(field.through, metadata, *items, schema=schema, comment=field.description or None)
    if field.unique:
        columns = [field.backward_key, field.forward_key]
        Index(names._get_index_name("uidx", field.through, columns), *(table.c[each] for each in columns), unique=True)


def _index(model: type[Model], table: Table, declared: Any, names: BaseSchemaGenerator) -> None:
    meta = private.meta_of(model)
    if not isinstance(declared, TortoiseIndex):
        columns = [meta.fields_map[each].source_field or each for each in declared]
        Index(names._get_index_name("idx", model, columns), *(table.c[each] for each in columns))
        return
    name = declared.index_name(names, model)
    options: dict[str, Any] = {}
    if declared.INDEX_TYPE in ("FULLTEXT", "SPATIAL"):
        options = {f"{dialect}_prefix": declared.INDEX_TYPE for dialect in _MYSQL}
    elif declared.INDEX_TYPE:
        options["postgresql_using"] = declared.INDEX_TYPE.lower()
    where = re.match(r"\s*WHERE\s+(.*)", declared.extra or "", re.I | re.S)
    if where is not None:
        options |= {f"{dialect}_where": text(where.group(1)) for dialect in ("postgresql", "sqlite")}
    expressions = [table.c[each] if each in table.c else text(each) for each in declared.field_names]
    Index(name, *expressions, _table=table, **options)


# --- types ------------------------------------------------------------------------------------------------------------

_TYPES: Final[dict[type, Callable[[Any], TypeEngine[Any]]]] = {
    IntEnumFieldInstance: lambda field: SmallInteger(),
    fields.BigIntField: lambda field: BigInteger(),
    fields.SmallIntField: lambda field: SmallInteger(),
    fields.IntField: lambda field: Integer(),
    fields.CharField: lambda field: String(field.max_length),
    fields.TextField: lambda field: Text().with_variant(mysql.LONGTEXT(), *_MYSQL),
    fields.BooleanField: lambda field: Boolean().with_variant(Integer(), "sqlite"),
    fields.DecimalField: lambda field: Numeric(field.max_digits, field.decimal_places).with_variant(
        String(40), "sqlite"
    ),
    fields.DatetimeField: lambda field: (
        DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), *_MYSQL).with_variant(TIMESTAMP(), "sqlite")
    ),
    fields.DateField: lambda field: Date(),
    fields.TimeField: lambda field: Time(timezone=True).with_variant(mysql.TIME(fsp=6), *_MYSQL),
    fields.TimeDeltaField: lambda field: BigInteger(),
    fields.FloatField: lambda field: Double().with_variant(sqlite.REAL(), "sqlite"),
    fields.JSONField: lambda field: JSON().with_variant(postgresql.JSONB(), "postgresql"),
    fields.UUIDField: lambda field: Uuid().with_variant(CHAR(36), *_MYSQL, "sqlite"),
    fields.BinaryField: lambda field: LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL),
}
_ALIASES: Final = {
    "int": "integer",
    "bool": "boolean",
    "decimal": "numeric",
    "varchar": "character varying",
    "char": "character",
    "timestamptz": "timestamp with time zone",
    "timetz": "time with time zone",
}


def schema_type(field: Field[Any]) -> TypeEngine[Any]:
    """The type of a field's column, as SQLAlchemy spells what Tortoise spells.

    Raises:
        UsageError: a field of somebody else's has a type that SQLAlchemy has no word for.
    """
    kind = type(field)
    own = kind.__dict__.get("SQL_TYPE")
    for known in kind.__mro__ if own is None or kind in _TYPES else ():
        if known in _TYPES:
            return _TYPES[known](field)
    found: TypeEngine[Any] | None = None
    for name, module in (("postgresql", postgresql), ("mysql", mysql), ("sqlite", sqlite)):
        spelled = field.get_for_dialect(_DIALECTS[name], "SQL_TYPE")
        made = _spelled_type(str(spelled), module.dialect().ischema_names)
        if found is None:
            found = made
        elif made is not None and repr(made) != repr(found):
            found = found.with_variant(made, *(_MYSQL if name in _MYSQL else (name,)))
    if found is None:
        raise UsageError(
            f"{kind.__name__}.SQL_TYPE is {field.SQL_TYPE!r}, which SQLAlchemy has no type for: give the field class a"
            " SQL_TYPE that it knows"
        )
    return found


def _spelled_type(spelled: str, names: dict[str, Any]) -> TypeEngine[Any] | None:
    match = re.fullmatch(r"\s*([A-Za-z ]+?)\s*(?:\(([\d, ]+)\))?\s*((?:\[\])*)\s*", spelled)
    if match is None:
        return None
    word = match.group(1).lower()
    found = next((names[each] for each in (word, _ALIASES.get(word, word), word.upper()) if each in names), None)
    if found is None:
        return None
    arguments = [int(each) for each in (match.group(2) or "").replace(" ", "").split(",") if each]
    options = {"timezone": True} if word in ("timestamptz", "timetz") and inspect.isclass(found) else {}
    made: TypeEngine[Any] = to_instance(found(*arguments, **options))
    return postgresql.ARRAY(made, dimensions=match.group(3).count("[]")) if match.group(3) else made
