"""Inserts, upserts, updates and deletes of a builder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, overload

import msgspec
import pydantic
import sqlalchemy
from sqlalchemy import JSON, Table
from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnElement
from sqlalchemy.sql.expression import SQLColumnExpression

from sillar.capabilities import Capability
from sillar.errors import ParameterError, UsageError
from sillar.query.binding import ModelBinding, plain, record_annotations, unknown_column
from sillar.query.composed import Composed
from sillar.query.parts import QueryPart, clause, composed
from sillar.query.terminals import Terminals
from sillar.query.upsert import incoming, with_upsert

T = TypeVar("T")
_VALUES_MAX: Final = 30_000
V1 = TypeVar("V1")
V2 = TypeVar("V2")
V3 = TypeVar("V3")


class WriteQuery(Terminals[T], Generic[T]):
    """A statement that writes. ``execute`` runs it; with :meth:`returning` it gives rows like any query."""

    __slots__ = ("_binding", "_build", "_composed", "_head", "_into", "_parts", "_returning")

    def __init__(
        self,
        binding: ModelBinding[Any],
        head: tuple[Any, ...],
        parts: Sequence[QueryPart],
        build: Callable[[], Any],
    ) -> None:
        self._binding = binding
        self._head, self._parts, self._build = head, tuple(parts), build
        self._returning: tuple[Any, ...] | None = None
        self._into: Any = None
        self._composed: Composed | None = None

    @overload
    def returning(self, a: SQLColumnExpression[V1], /) -> WriteQuery[tuple[V1]]: ...
    @overload
    def returning(self, a: SQLColumnExpression[V1], b: SQLColumnExpression[V2], /) -> WriteQuery[tuple[V1, V2]]: ...
    @overload
    def returning(
        self, a: SQLColumnExpression[V1], b: SQLColumnExpression[V2], c: SQLColumnExpression[V3], /
    ) -> WriteQuery[tuple[V1, V2, V3]]: ...
    @overload
    def returning(self) -> WriteQuery[T]: ...
    @overload
    def returning(self, *fields: SQLColumnExpression[Any] | str) -> WriteQuery[tuple[Any, ...]]: ...
    def returning(self, *fields: Any) -> Any:
        """Give the written rows: whole ones, or tuples of these columns. Needs an engine with RETURNING."""
        names: Iterable[Any] = fields or self._binding.columns
        chosen = tuple(self._binding.selected(each) if isinstance(each, str) else each for each in names)
        step = QueryPart("returning", [clause(each) for each in chosen], lambda statement: statement.returning(*chosen))
        query: WriteQuery[Any] = WriteQuery(self._binding, self._head, (*self._parts, step), self._build)
        query._returning = chosen
        query._into = tuple if fields else self._into
        return query

    def into(self, kind: type[V1]) -> WriteQuery[V1]:
        """Make the returned rows into a dataclass, msgspec Struct, pydantic model, NamedTuple or scalar type."""
        query: WriteQuery[Any] = WriteQuery(self._binding, self._head, self._parts, self._build)
        query._returning, query._into = self._returning, kind
        return query

    @property
    def statement(self) -> Any:
        """The SQLAlchemy statement that this is."""
        return self.composed().build()

    def composed(self) -> Composed:
        """The shape and the values.

        Raises:
            ParameterError: a value has a type that its column does not take.
        """
        found = self._composed
        if found is None:
            found = self._composed = composed((self._binding, *self._head), self._parts, self._built)
        return found

    def entity_statement(self) -> Any:
        """The statement that an ``AsyncSession`` runs."""
        return self.statement

    def needs(self) -> list[tuple[Capability, str]]:
        if self._returning is None:
            return []
        if self._head[0] == "update":
            return [(Capability.UPDATE_RETURNING, "read the rows by their key, before or after, in one transaction")]
        return [(Capability.RETURNING, "read the rows by their key afterwards, in one transaction")]

    def _built(self) -> Any:
        statement = self._build()
        for each in self._parts:
            statement = each.apply(statement)
        return statement

    def __repr__(self) -> str:
        return f"<WriteQuery {self._head[0]} {self._binding.name}>"


# --- values ---------------------------------------------------------------------------------------------------------


def row_values(binding: ModelBinding[Any], row: Any) -> dict[str, Any]:
    """Attribute → value of a mapping, or of an instance of the model.

    Raises:
        UsageError: a name that is no column.
        ParameterError: neither a mapping nor an instance.
    """
    if isinstance(row, Mapping):
        for name in row:
            if name not in binding.columns:
                raise UsageError(unknown_column(name, binding))
        return dict(row)
    if isinstance(binding.model, type) and isinstance(row, binding.model):
        if record_annotations(type(row)) is not None or binding.make is not None:
            return {name: getattr(row, name) for name in binding.columns}
        raise UsageError(f"add an instance of {binding.name} to an AsyncSession; insert() takes a mapping")
    raise ParameterError(f"a row of {binding.name} is a mapping or an instance of it, not {type(row).__name__}")


def _assigned(binding: ModelBinding[Any], values: Mapping[str, Any]) -> dict[str, ClauseElement]:
    """Column name → expression; plain values become parameters of the column's type."""
    found: dict[str, ClauseElement] = {}
    for name, value in values.items():
        column = _column(binding, name)
        if isinstance(value, ClauseElement) or hasattr(value, "__clause_element__"):
            found[column.name] = clause(value)
        else:
            if type(value) not in _AS_THEY_ARE and isinstance(column.type, JSON):
                value = _structure(value)
            found[column.name] = BindParameter(None, value, type_=column.type, unique=True)
    return found


_AS_THEY_ARE: Final = frozenset({int, str, float, bool, type(None)})


def _structure(value: Any) -> Any:
    """A model, dataclass or Struct as what JSON is made of; what it is made of already stays."""
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Mapping):
        return {name: _structure(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_structure(each) for each in value]
    if isinstance(value, msgspec.Struct) or dataclasses.is_dataclass(value):
        return msgspec.to_builtins(value)
    return value


def _column(binding: ModelBinding[Any], attribute: str) -> Any:
    """The column of the table behind an attribute."""
    return plain(binding.column(attribute))


def table_of(binding: ModelBinding[Any]) -> Table:
    """The table that is written.

    Raises:
        UsageError: an alias, a subquery, or a class over several tables.
    """
    table = binding.table
    if not isinstance(table, Table):
        raise UsageError(f"{binding.name} is no single table, and cannot be written")
    return table


# --- the four writes -------------------------------------------------------------------------------------------------


def insert(binding: ModelBinding[Any], rows: Sequence[Any]) -> WriteQuery[Any]:
    """INSERT of one row, or of several in one statement.

    Raises:
        UsageError: no rows, or rows with different columns.
    """
    table = table_of(binding)
    assigned, names = _rows(binding, rows)

    def build() -> Any:
        if len(assigned) == 1:
            return sqlalchemy.insert(table).values(assigned[0])
        return sqlalchemy.insert(table).values(assigned)

    parts = [QueryPart("values", list(each.values()), _same) for each in assigned]
    return WriteQuery(binding, ("insert", names, len(assigned)), parts, build)


def upsert(
    binding: ModelBinding[Any],
    rows: Sequence[Any],
    key: Sequence[str],
    update: Sequence[str] | Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None,
) -> WriteQuery[Any]:
    """INSERT that updates the row with the same key instead.

    Raises:
        UsageError: no key, an unknown name, or a key column without a value.
    """
    table = table_of(binding)
    assigned, names = _rows(binding, rows)
    key = tuple(key) or binding.key
    if not key:
        raise UsageError(f"{binding.name} has no primary key; say with key= by which columns a row is known")
    key_names = [_column(binding, each).name for each in key]
    for each in key_names:
        if each not in names:
            raise UsageError(f"the rows to upsert have no value for {each!r}, which is in the key")
    excluded = incoming(table)
    changes: dict[str, ClauseElement]
    if callable(update):
        columns = {name: excluded.c[_column(binding, name).key] for name in binding.columns}
        changes = _assigned(binding, update(_Incoming(binding, columns)))
    elif isinstance(update, Mapping):
        changes = _assigned(binding, update)
    else:
        chosen = (
            [name for name in names if name not in key_names]
            if update is None
            else [_column(binding, name).name for name in update]
        )
        by_name = {column.name: column for column in excluded.c}
        changes = {name: by_name[name] for name in chosen}

    def build() -> Any:
        return with_upsert(
            sqlalchemy.insert(table).values(assigned[0] if len(assigned) == 1 else assigned),
            key_names,
            changes,  # type: ignore[arg-type]
        )

    parts = [QueryPart("values", list(each.values()), _same) for each in assigned]
    parts.append(QueryPart("on conflict", list(changes.values()), _same, tuple(key_names), tuple(changes)))
    return WriteQuery(binding, ("upsert", names, len(assigned)), parts, build)


def update(binding: ModelBinding[Any], where: Sequence[QueryPart], values: Mapping[str, Any]) -> WriteQuery[Any]:
    """UPDATE of the rows that the conditions find.

    Raises:
        UsageError: nothing to set, or an unknown name.
    """
    table = table_of(binding)
    assigned = _assigned(binding, values)
    if not assigned:
        raise UsageError("update() takes at least one column with its new value")
    parts = [QueryPart("set", list(assigned.values()), lambda statement: statement.values(assigned)), *where]
    return WriteQuery(binding, ("update", tuple(assigned)), parts, lambda: sqlalchemy.update(table))


def delete(binding: ModelBinding[Any], where: Sequence[QueryPart]) -> WriteQuery[Any]:
    """DELETE of the rows that the conditions find."""
    table = table_of(binding)
    return WriteQuery(binding, ("delete",), where, lambda: sqlalchemy.delete(table))


def _rows(binding: ModelBinding[Any], rows: Sequence[Any]) -> tuple[list[dict[str, ClauseElement]], tuple[str, ...]]:
    if not rows:
        raise UsageError("there are no rows to write")
    values = len(rows) * len(row_values(binding, rows[0]))
    if values > _VALUES_MAX:
        raise ParameterError(
            f"{len(rows)} rows in one statement have {values} parameters, and {_VALUES_MAX} is what every engine takes;"
            " use session.bulk_insert() or session.bulk_upsert()"
        )
    found = [_assigned(binding, row_values(binding, row)) for row in rows]
    names = tuple(found[0])
    for number, each in enumerate(found, 1):
        if each.keys() != found[0].keys():
            raise UsageError(f"row {number} has other columns than row 1; give all the same ones (None for no value)")
    return [{name: each[name] for name in names} for each in found], names


def _same(statement: Any) -> Any:
    return statement


class _Incoming:
    """The row that was to be inserted: its columns by attribute."""

    __slots__ = ("_binding", "_columns")

    def __init__(self, binding: ModelBinding[Any], columns: Mapping[str, ColumnElement[Any]]) -> None:
        self._binding, self._columns = binding, columns

    def __getattr__(self, name: str) -> ColumnElement[Any]:
        if name not in self._columns:
            raise UsageError(unknown_column(name, self._binding))
        return self._columns[name]

    __getitem__ = __getattr__
