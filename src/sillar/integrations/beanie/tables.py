"""Documents as tables of SQLAlchemy Core, for queries that are compiled to aggregation pipelines."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from beanie import Document, UnionDoc, View
from sqlalchemy import Column, DateTime, Double, MetaData, Table
from sqlalchemy.types import TypeDecorator, TypeEngine

from sillar.errors import UsageError
from sillar.integrations.beanie.models import is_model
from sillar.integrations.beanie.private import (
    VIRTUAL,
    collection_name,
    discriminator,
    has_revision,
    is_initialized,
    parse,
)
from sillar.query.annotations import column_type
from sillar.query.binding import ModelBinding

MakeDocuments = Callable[[Sequence[str]], Callable[[Sequence[Any]], Any]]
_KEY: Final = "id"
_REVISION: Final = "revision_id"


class StoredDate(TypeDecorator[date]):
    """A date as Beanie stores it: midnight UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        if isinstance(value, date) and not isinstance(value, datetime):
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        return value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value.date() if isinstance(value, datetime) else value


class StoredDuration(TypeDecorator[timedelta]):
    """A duration as Beanie stores it: seconds."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value.total_seconds() if isinstance(value, timedelta) else value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else timedelta(seconds=value)


@dataclass(frozen=True, slots=True)
class BeanieBinding:
    """A document class as queries see it.

    Attributes:
        document: the class.
        table: named after the collection, with a column for each stored field. ``info["sillar_id"]`` is the name of the
            column that is ``_id``; a column that has another name than its attribute says that one in
            ``info["sillar_attribute"]``.
        attributes: attribute → name of its column (the name of the field in the collection; ``id`` for ``_id``).
        make: attribute names → (values in that order → document). Documents are made as Beanie's own queries make them.
        discriminator: field and value of documents of just this class, where several share the collection.
    """

    document: type[Any]
    table: Table
    attributes: dict[str, str]
    make: MakeDocuments
    discriminator: tuple[str, str] | None = None


def binding_of(document: type[Any]) -> BeanieBinding:
    """The table of a document or view. Needs no ``init_beanie``; only making instances does.

    Raises:
        UsageError: it is neither, or a field has a type that no column takes.
    """
    if not is_model(document) or issubclass(document, UnionDoc):
        raise UsageError(
            f"{getattr(document, '__name__', document)} is no Beanie document or view; of a union, query its documents"
        )
    columns: list[Column[Any]] = []
    attributes: dict[str, str] = {}
    stored: dict[str, str] = {}
    for attribute, field in document.model_fields.items():
        excluded = field.exclude is True and not (attribute == _REVISION and has_revision(document))
        if excluded or _is_virtual(field.annotation):
            continue
        is_key = attribute == _KEY and not issubclass(document, View)
        name = _KEY if is_key else field.alias or attribute
        kind, nullable = _column_type(field.annotation, f"{document.__name__}.{attribute}")
        info = {} if name == attribute else {"sillar_attribute": attribute}
        columns.append(Column(name, kind, primary_key=is_key, nullable=nullable and not is_key, info=info))
        attributes[attribute] = name
        stored[attribute] = "_id" if is_key else name
    info = {} if issubclass(document, View) else {"sillar_id": _KEY}
    table = Table(collection_name(document), MetaData(), *columns, info=info)
    found = discriminator(document) if issubclass(document, Document) else None
    return BeanieBinding(document, table, attributes, _maker(document, stored, found), found)


def model_binding(document: type[Any]) -> ModelBinding[Any]:
    """What the query builder takes for a document: the function that the entry point ``sillar.models`` names."""
    found = binding_of(document)
    columns = {attribute: found.table.c[name] for attribute, name in found.attributes.items()}
    key = tuple(str(column.key) for column in found.table.primary_key)
    return ModelBinding(document, found.table, columns, key, relations={}, into=document, make=found.make)


def _maker(document: type[Any], stored: Mapping[str, str], found: tuple[str, str] | None) -> MakeDocuments:
    def make(names: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
        if not is_initialized(document):
            raise UsageError(
                f"{document.__name__} is not initialized, so no instances can be made: await"
                " BeanieIntegration(manager).open(…) first, or read rows into another class with into="
            )
        unknown = [name for name in names if name not in stored]
        if unknown:
            raise UsageError(f"{document.__name__} has no stored field {unknown[0]!r}; it has {', '.join(stored)}")
        keys = [stored[name] for name in names]
        parsed = parse(document)

        def one(values: Sequence[Any]) -> Any:
            return parsed(dict(zip(keys, values, strict=True)))

        return one

    return make


def _column_type(annotation: Any, field: str) -> tuple[TypeEngine[Any], bool]:
    members = [each for each in _members(annotation) if each is not type(None)]
    if len(members) == 1 and isinstance(members[0], type):
        nullable = column_type(annotation, field=field)[1]
        if issubclass(members[0], timedelta):
            return StoredDuration(), nullable
        if issubclass(members[0], date) and not issubclass(members[0], datetime):
            return StoredDate(), nullable
    return column_type(annotation, field=field)


def _members(annotation: Any) -> tuple[Any, ...]:
    """What stands in an optional or a union; else the annotation alone."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    arguments = typing.get_args(annotation)
    return arguments if type(None) in arguments else (annotation,)


def _is_virtual(annotation: Any) -> bool:
    """Whether it is a link from the other side, which is not stored."""
    if (typing.get_origin(annotation) or annotation) is VIRTUAL:
        return True
    return any(_is_virtual(each) for each in typing.get_args(annotation))
