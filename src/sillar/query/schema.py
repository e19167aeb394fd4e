"""Declared models against the live schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from sqlalchemy import Index, Table, UniqueConstraint

from sillar.errors import UsageError
from sillar.query.binding import ModelBinding, binding_of, plain
from sillar.query.live import LiveTable

if TYPE_CHECKING:
    from sillar.execution.statements import Statements

DifferenceKind: TypeAlias = Literal[
    "missing table", "missing column", "type", "nullability", "primary key", "missing unique index"
]


@dataclass(frozen=True, slots=True)
class SchemaDifference:
    """Where a model and the live schema disagree.

    Attributes:
        kind: ``missing table``, ``missing column``, ``type``, ``nullability``, ``primary key`` or
            ``missing unique index``.
        model: name of the model.
        table: its table.
        column: the column, or several joined by commas; empty where it is about the table.
        message: both sides.
    """

    kind: DifferenceKind
    model: str
    table: str
    column: str
    message: str

    def __str__(self) -> str:
        return f"{self.model}: {self.message}"


async def check_models(session: Statements, *models: Any) -> list[SchemaDifference]:
    """What of the models' declarations is otherwise in the database now. Asks the catalogue; changes nothing.

    Compared are tables, columns, kinds of types (not lengths), NULL, primary keys, and the unique indexes that models
    declare or whose columns upserts go by. On MongoDB the validator, the indexes and a sample of 200 documents say what
    is there: a field that none of them has counts as missing.

    Args:
        session: of the database where their tables are; outside a transaction on MongoDB.
        models: whatever a ``QueryBuilder`` takes: SQLAlchemy, Tortoise, Beanie and bound classes, tables.

    Raises:
        UsageError: something that is no model, or is no single table.
    """
    bindings = [binding_of(model) for model in models]
    tables = [_table(binding) for binding in bindings]
    live = await session.live_tables([(str(table.name), table.schema) for table in tables])
    found: list[SchemaDifference] = []
    for binding, table, now in zip(bindings, tables, live, strict=True):
        found += _missing(binding, table) if now is None else _differences(binding, table, now)
    return found


async def validate_models(session: Statements, *models: Any) -> None:
    """Raise if :func:`check_models` finds anything.

    Raises:
        UsageError: lists every difference.
    """
    found = await check_models(session, *models)
    if found:
        listed = "\n".join(f"- {each}" for each in found)
        raise UsageError(
            f"the models and the schema of {session.database_name!r} differ in {len(found)} places; migrate the"
            f" database or correct the models:\n{listed}"
        )


def _table(binding: ModelBinding[Any]) -> Table:
    table = binding.table
    if not isinstance(table, Table):
        raise UsageError(f"{binding.name} is no single table, so there is nothing in the schema to compare it with")
    return table


def _missing(binding: ModelBinding[Any], table: Table) -> list[SchemaDifference]:
    message = f"there is no table {table.fullname!r}"
    return [SchemaDifference("missing table", binding.name, str(table.name), "", message)]


def _differences(binding: ModelBinding[Any], table: Table, live: LiveTable) -> Iterator[SchemaDifference]:
    def difference(kind: DifferenceKind, column: str, message: str) -> SchemaDifference:
        return SchemaDifference(kind, binding.name, str(table.name), column, message)

    key = tuple(str(plain(binding.columns[attribute]).name) for attribute in binding.key)
    for column in (plain(each) for each in binding.columns.values()):
        name = str(column.name)
        now = live.columns.get(name)
        if now is None:
            if live.complete:
                near = get_close_matches(name, live.columns, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(live.columns)}"
                yield difference("missing column", name, f"{table.name} has no column {name!r}; {hint}")
            continue
        families = live.families_of(column.type)
        if families is not None and now.family and now.family not in families:
            said = f"{table.name}.{name} is {now.type_name}, and the model declares {column.type!r}"
            yield difference("type", name, said)
        nullable = bool(getattr(column, "nullable", True))
        if name not in key and now.nullable is not None and now.nullable != nullable and not now.generated:
            said = "takes NULL, and the model does not" if now.nullable else "refuses NULL, and the model takes it"
            yield difference("nullability", name, f"{table.name}.{name} {said}")
    yield from _keys(table, live, key, difference)


def _keys(table: Table, live: LiveTable, key: tuple[str, ...], difference: Any) -> Iterator[SchemaDifference]:
    if key and set(key) != set(live.key):
        said = ", ".join(key)
        if not live.key:
            yield difference("primary key", said, f"{table.name} has no primary key, and the model says ({said})")
        else:
            now = ", ".join(live.key)
            yield difference(
                "primary key", said, f"the primary key of {table.name} is ({now}), and the model says ({said})"
            )
    wanted = [tuple(str(each.name) for each in columns) for columns in _unique_columns(table)]
    if key and set(key) != set(live.key):
        wanted.append(key)
    for columns in dict.fromkeys(wanted):
        if not live.is_unique(frozenset(columns)):
            said = ", ".join(columns)
            message = f"no unique index of {table.name} is on ({said}), by which upserts would know a row"
            yield difference("missing unique index", said, message)


def _unique_columns(table: Table) -> Iterator[list[Any]]:
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            yield list(constraint.columns)
    for index in table.indexes:
        if isinstance(index, Index) and index.unique and index.columns:
            yield list(index.columns)
