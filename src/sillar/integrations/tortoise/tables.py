"""A Tortoise model as a SQLAlchemy table, for queries that are built with SQLAlchemy Core.

Nothing here needs a connection, and no engine or driver is imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Column, MetaData, Table
from tortoise import fields, timezone
from tortoise.fields import Field
from tortoise.fields.relational import BackwardFKRelation, ForeignKeyFieldInstance, ManyToManyFieldInstance
from tortoise.models import Model

from sillar.errors import UsageError
from sillar.integrations.tortoise import private
from sillar.integrations.tortoise.columns import column_type

Make = Callable[[Sequence[str]], Callable[[Sequence[Any]], Any]]


@dataclass(frozen=True, slots=True)
class Through:
    """The table between two models.

    Attributes:
        table: with these two columns.
        local: its column that refers to the model itself.
        remote: its column that refers to the target.
    """

    table: Table
    local: str
    remote: str


@dataclass(frozen=True, slots=True)
class Relation:
    """A way from one model to another.

    Attributes:
        target: the other model.
        local: column of the model's own table.
        remote: column of the target's table that equals it; with ``through``, that the table between refers to.
        many: one row may have several there.
        through: the table between, for many-to-many.
    """

    target: type[Model]
    local: str
    remote: str
    many: bool = False
    through: Through | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TortoiseBinding:
    """A model as queries see it. There is one for each model.

    Attributes:
        model: the class.
        table: its table. Types store and give what Tortoise stores and gives on each engine; Tortoise's defaults of
            fields are defaults of the columns.
        attributes: attribute → key of the column, in the order of the table.
        primary_key: attribute of the primary key.
        relations: by attribute: foreign keys, one-to-one, their other sides, many-to-many.
        make: attributes → (values in that order, as the types of the table give them → instance). The instance counts
            as saved; without all attributes it is partial, as after ``only()``.
    """

    model: type[Model]
    table: Table
    attributes: Mapping[str, str]
    primary_key: str
    relations: Mapping[str, Relation]
    make: Make


_bindings: WeakKeyDictionary[type[Model], tuple[bool, TortoiseBinding]] = WeakKeyDictionary()


def binding_of(model: type[Model]) -> TortoiseBinding:
    """The binding of a model class.

    Tortoise need not be initialised for a model without relations; it has to be for the others, because only then it
    knows their targets and the columns of foreign keys: ``TortoiseIntegration.open``, or without any database
    ``Tortoise.init_models``.

    Raises:
        UsageError: it is not, or the model is abstract.
    """
    initialised = private.is_initialised(model)
    kept = _bindings.get(model)
    if kept is None or kept[0] is not initialised:
        kept = _bindings[model] = (initialised, _bound(model, initialised))
    return kept[1]


def _bound(model: type[Model], initialised: bool) -> TortoiseBinding:
    meta = private.meta_of(model)
    if meta.abstract:
        raise UsageError(f"{model.__name__} is abstract: it has no table")
    if not initialised and meta.fetch_fields:
        raise UsageError(
            f"{model.__name__} has relations ({', '.join(sorted(meta.fetch_fields))}), which Tortoise resolves when it"
            " is initialised: await TortoiseIntegration(manager).open(…) first"
        )
    attributes = dict(meta.fields_db_projection)
    table = Table(
        meta.db_table or model.__name__.lower(),
        MetaData(),
        *(_column(name, meta.fields_map[attribute]) for attribute, name in attributes.items()),
        schema=meta.schema,
    )
    relations = {
        name: relation for name, field in meta.fields_map.items() if (relation := _relation(model, field)) is not None
    }
    return TortoiseBinding(model, table, attributes, meta.pk_attr, relations, _maker(model, attributes))


def _column(name: str, field: Field[Any]) -> Column[Any]:
    defaults: dict[str, Any] = {}
    if isinstance(field, (fields.DatetimeField, fields.TimeField)) and (field.auto_now or field.auto_now_add):
        defaults["default"] = _now(field)
        if field.auto_now:
            defaults["onupdate"] = _now(field)
    elif field.default is not None and not inspect.iscoroutinefunction(field.default):
        defaults["default"] = _fresh(field.default) if callable(field.default) else field.default
    return Column(
        name,
        column_type(field),
        primary_key=field.pk,
        nullable=field.null,
        autoincrement=bool(field.pk and field.generated),
        **defaults,
    )


def _now(field: Field[Any]) -> Callable[[], Any]:
    if isinstance(field, fields.TimeField):
        return lambda: field.to_python_value(timezone.now().time())
    return lambda: field.to_python_value(timezone.now())


def _fresh(default: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: default()  # SQLAlchemy looks at the signature, which a class or builtin may not have


def _relation(model: type[Model], field: Field[Any]) -> Relation | None:
    if isinstance(field, ManyToManyFieldInstance):
        target = field.related_model
        local, remote = private.meta_of(model).db_pk_column, private.meta_of(target).db_pk_column
        through = Table(
            field.through,
            MetaData(),
            Column(field.backward_key, _key_type(model), nullable=False),
            Column(field.forward_key, _key_type(target), nullable=False),
            schema=field.through_schema,
        )
        return Relation(target, local, remote, True, Through(through, field.backward_key, field.forward_key))
    if isinstance(field, BackwardFKRelation):
        many = not isinstance(field, fields.BackwardOneToOneRelation)
        return Relation(field.related_model, _column_name(field.to_field_instance), field.relation_source_field, many)
    if isinstance(field, ForeignKeyFieldInstance):
        assert field.source_field is not None  # Tortoise fills it when it resolves relations
        own = private.meta_of(model).fields_map[field.source_field]
        return Relation(field.related_model, _column_name(own), _column_name(field.to_field_instance))
    return None


def _key_type(model: type[Model]) -> Any:
    return column_type(private.meta_of(model).pk)


def _column_name(field: Field[Any]) -> str:
    return field.source_field or field.model_field_name


def _maker(model: type[Model], attributes: Mapping[str, str]) -> Make:
    def make(names: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
        unknown = [name for name in names if name not in attributes]
        if unknown:
            raise UsageError(f"{model.__name__} has no column {', '.join(map(repr, unknown))}")
        partial = not attributes.keys() <= set(names)
        wanted = tuple(names)

        def instance(values: Sequence[Any]) -> Any:
            made = private.saved_instance(model, partial=partial)
            for name, value in zip(wanted, values, strict=True):
                object.__setattr__(made, name, value)
            return made

        return instance

    return make
