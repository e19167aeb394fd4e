"""What a model class is to a query: a table, its columns by attribute, its relations, and how rows become instances.

Model kinds: SQLAlchemy declarative classes, plain tables (any ``FromClause``: tables, aliases, subqueries, CTEs),
pydantic models, dataclasses and msgspec Structs under :func:`bind_model`, and whatever an entry point of the group
``sillar.models`` knows (Tortoise, Beanie). An entry point is named after the package that the ORM's own base class
comes from, and leads to a function ``model class → ModelBinding``.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

import msgspec
import pydantic
import sqlalchemy
from sqlalchemy import Column, FromClause, MetaData, Table
from sqlalchemy.sql.elements import ColumnElement

from sillar.errors import UsageError
from sillar.query.annotations import column_type

T = TypeVar("T")
GROUP: Final = "sillar.models"
NAME_BYTES_MAX: Final = 63
"""PostgreSQL cuts longer names off without an error, and two that begin alike would be one."""

MakeInstances = Callable[[Sequence[str]], Callable[[Sequence[Any]], Any]]
"""``attribute names → (values in that order → instance)``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Through:
    """The table between two models.

    Attributes:
        table: the table.
        pairs: columns that are equal: (name in it, name in the table of the target).
    """

    table: Table
    pairs: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Relation:
    """A way from one model to another.

    Attributes:
        target: the other model.
        pairs: columns that are equal: (name in this table, name in the other one, or in the one between).
        through: the table between, where many have many.
    """

    target: Any
    pairs: tuple[tuple[str, str], ...]
    through: Through | None = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ModelBinding(Generic[T]):
    """A model class as queries see it. Its identity is part of the key of compiled statements.

    Attributes:
        model: the class, or the table itself.
        source: what stands in FROM.
        columns: attribute → column, in the order of a full row.
        key: attributes of the primary key; empty where there is none.
        relations: by attribute; None where SQLAlchemy knows them.
        into: what full rows become: the class, or None for dicts.
        make: makes instances where the class is not simply called with its fields.
        entity: instances belong to an ORM session, so rows of a plain session are not made into them.
    """

    model: Any
    source: Any
    columns: Mapping[str, ColumnElement[Any]]
    key: tuple[str, ...]
    relations: Mapping[str, Relation] | None = None
    into: Any = None
    make: MakeInstances | None = None
    entity: bool = False
    narrowed: WeakKeyDictionary[Any, Any] = dataclasses.field(default_factory=WeakKeyDictionary, repr=False)
    """Owned by the builder: the step that reads only the columns of a class, by that class."""

    @property
    def table(self) -> Any:
        """What stands in FROM as a Core element: the table of a mapped class."""
        return getattr(self.source, "__table__", self.source)

    @property
    def name(self) -> str:
        """For messages."""
        return getattr(self.model, "__name__", None) or str(getattr(self.source, "name", "the query"))

    def column(self, attribute: str) -> ColumnElement[Any]:
        """The column of an attribute.

        Raises:
            UsageError: there is none of that name; the nearest one is suggested.
        """
        found = self.columns.get(attribute)
        if found is None:
            raise UsageError(unknown_column(attribute, self))
        return found

    def selected(self, attribute: str) -> ColumnElement[Any]:
        """The column of an attribute, under the attribute's name in the result."""
        column = self.column(attribute)
        return column if getattr(plain(column), "name", None) == attribute else column.label(attribute)

    def over(self, source: FromClause) -> ModelBinding[T]:
        """The same model read from something with the same columns (an alias)."""
        columns = {name: source.corresponding_column(typing.cast(Any, plain(c))) for name, c in self.columns.items()}
        missing = [name for name, column in columns.items() if column is None]
        if missing:
            raise UsageError(f"{source} lacks the columns {', '.join(missing)} of {self.name}")
        return dataclasses.replace(self, source=source, columns=typing.cast(Any, columns), relations={})


class Instances:
    """Stands for a model class whose instances are not made by calling it with its fields: a target of ``into``."""

    __slots__ = ("_make", "model")

    def __init__(self, binding: ModelBinding[Any]) -> None:
        assert binding.make is not None
        self.model, self._make = binding.model, binding.make

    @classmethod
    def of(cls, binding: ModelBinding[Any]) -> Instances:
        """The one for a binding: the same object every time, so that what is compiled for it is found again."""
        found = _instances.get(binding)
        if found is None:
            found = _instances[binding] = cls(binding)
        return found

    def maker(self, columns: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
        """Makes an instance of the values of these columns, in their order."""
        return self._make(columns)


_instances: WeakKeyDictionary[ModelBinding[Any], Instances] = WeakKeyDictionary()


@dataclasses.dataclass(frozen=True, slots=True)
class Keyed:
    """A target of ``into``: each row becomes ``(item, *values)``, the last ``count`` columns being the values.

    Attributes:
        into: what the columns before them become.
        count: how many columns stand behind those of the item.
    """

    into: Any
    count: int


def unknown_column(name: object, binding: ModelBinding[Any]) -> str:
    """The message for a name that is no attribute of a model."""
    shown = repr(name)[:80]
    near = get_close_matches(str(name), binding.columns, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(binding.columns)}"
    return f"{binding.name} has no column {shown}; {hint}"


def plain(column: Any) -> ColumnElement[Any]:
    """The column of a table behind an ORM attribute; a column itself is one."""
    clause = column.__clause_element__() if hasattr(column, "__clause_element__") else column
    return typing.cast("ColumnElement[Any]", clause._deannotate() if hasattr(clause, "_deannotate") else clause)


_bindings: WeakKeyDictionary[Any, ModelBinding[Any]] = WeakKeyDictionary()
"""Registry: model class or table → binding. A model is looked at once."""


def binding_of(model: type[T] | FromClause | Any) -> ModelBinding[T]:
    """The binding of a model.

    Raises:
        UsageError: it is none that a query can be built on; the message says how to bind it.
    """
    try:
        found = _bindings.get(model)
    except TypeError:  # not hashable, or no weak references: no model
        found = None
    if found is None:
        found = _found(model)
        _bindings[model] = found
    return found


def _found(model: Any) -> ModelBinding[Any]:
    if isinstance(model, FromClause):
        return _of_table(model)
    if isinstance(model, type):
        mapper: Any = sqlalchemy.inspect(model, raiseerr=False)
        if mapper is not None and hasattr(mapper, "column_attrs"):
            return _of_mapped(model, mapper)
        for kind in model.__mro__:
            resolve = _resolver(kind.__module__.partition(".")[0])
            if resolve is not None:
                return typing.cast("ModelBinding[Any]", resolve(model))
    name = getattr(model, "__name__", type(model).__name__)
    raise UsageError(
        f"{name} is not bound to a table: decorate it with @bind_model('table_name', key='id'), or give a SQLAlchemy"
        " class or Table, a Tortoise model or a Beanie document"
    )


@cache
def _resolver(package: str) -> Callable[[Any], Any] | None:
    for point in entry_points(group=GROUP):
        if point.name == package:
            return typing.cast("Callable[[Any], Any]", point.load())
    return None


def _of_table(table: FromClause) -> ModelBinding[Any]:
    columns = {str(column.key): column for column in table.c}
    return ModelBinding(table, table, columns, tuple(str(column.key) for column in table.primary_key))


def _of_mapped(model: Any, mapper: Any) -> ModelBinding[Any]:
    columns = {}
    for attribute in mapper.column_attrs:
        column = getattr(model, attribute.key)
        columns[attribute.key] = column
    primary = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    return ModelBinding(model, model, columns, tuple(primary), into=model, entity=True)


# --- classes without a table of their own ----------------------------------------------------------------------------


def bind_model(
    table: str | Table,
    *,
    key: str | Sequence[str] = "id",
    schema: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Callable[[type[T]], type[T]]:
    """Bind a pydantic model, dataclass or msgspec Struct to a table or collection: a class decorator.

    Args:
        table: its name; or a SQLAlchemy ``Table`` that has the columns.
        key: attributes of the primary key.
        schema: of the table, where it is not the default one.
        columns: attribute → name of its column, where they differ.

    Raises:
        UsageError: the class has no fields to go by, a field of a type that no column takes, or no field for a key.
    """

    def bind(model: type[T]) -> type[T]:
        _bindings[model] = _of_record(
            model, table, (key,) if isinstance(key, str) else tuple(key), schema, columns or {}
        )
        return model

    return bind


def record_annotations(model: type[Any]) -> dict[str, Any] | None:
    """The fields of a record class with their annotations; None for a class of another kind."""
    if issubclass(model, pydantic.BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    if issubclass(model, msgspec.Struct):
        return {field.name: field.type for field in msgspec.structs.fields(model)}
    if dataclasses.is_dataclass(model):
        hints = typing.get_type_hints(model)
        return {field.name: hints[field.name] for field in dataclasses.fields(model) if field.init}
    return None


def _of_record(
    model: type[T], table: str | Table, key: tuple[str, ...], schema: str | None, names: Mapping[str, str]
) -> ModelBinding[T]:
    annotations = record_annotations(model)
    if annotations is None:
        raise UsageError(f"{model.__name__} is no pydantic model, dataclass or msgspec Struct; bind_model takes those")
    for attribute in (*key, *names):
        if attribute not in annotations:
            near = get_close_matches(attribute, annotations, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(annotations)}"
            raise UsageError(f"{model.__name__} has no field {attribute!r}; {hint}")
    if isinstance(table, Table):
        chosen = table
    else:
        made = [
            _column(model, attribute, names.get(attribute, attribute), annotation, primary=attribute in key)
            for attribute, annotation in annotations.items()
        ]
        chosen = Table(checked_name(table), MetaData(), *made, schema=schema and checked_name(schema))
    columns: dict[str, ColumnElement[Any]] = {}
    for attribute in annotations:
        column = chosen.c.get(names.get(attribute, attribute))
        if column is None:
            raise UsageError(f"the table {chosen.name} has no column for the field {attribute!r} of {model.__name__}")
        columns[attribute] = column
    return ModelBinding(model, chosen, columns, key, relations={}, into=model)


def _column(model: type[Any], attribute: str, name: str, annotation: Any, *, primary: bool) -> Column[Any]:
    kind, nullable = column_type(annotation, field=f"{model.__name__}.{attribute}")
    return Column(checked_name(name), kind, primary_key=primary, nullable=nullable and not primary)


def checked_name(name: str) -> str:
    """A name of a table, column or label that every engine takes as it is; it is quoted where it is sent.

    Raises:
        UsageError: empty, over 63 bytes, or with characters that no engine takes.
    """
    if not isinstance(name, str) or not name:
        raise UsageError("a name of a table, column or label is a text of at least one character")
    if len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        raise UsageError(
            f"the name {name[:20]!r}… has more than {NAME_BYTES_MAX} bytes, which engines cut off or refuse"
        )
    if "\x00" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise UsageError(f"the name {name!r} has a character that no engine takes (NUL, or a lone surrogate)")
    return name
