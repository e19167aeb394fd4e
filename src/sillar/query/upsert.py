"""INSERT … that updates the row it would collide with: one spelling, rendered as each engine says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import FromClause, Insert, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ClauseElement, ColumnClause, ColumnElement
from sqlalchemy.sql.visitors import InternalTraversal

INCOMING = "excluded"
"""The name under which SQL knows the row that was to be inserted."""


def incoming(table: Table) -> FromClause:
    """The row that was to be inserted, for the expressions of an upsert."""
    return table.alias(INCOMING)


class OnConflict(ClauseElement):
    """What stands behind the values of an upsert.

    Args:
        key: names of the columns whose equality is the collision.
        assignments: column name → its new value; empty: the row that is there stays as it is.
    """

    __visit_name__ = "sillar_on_conflict"
    stringify_dialect = "sqlite"
    inherit_cache = True
    _traverse_internals = [  # noqa: RUF012 - as SQLAlchemy's own elements have it
        ("key", InternalTraversal.dp_string_list),
        ("names", InternalTraversal.dp_string_list),
        ("values", InternalTraversal.dp_clauseelement_list),
    ]

    def __init__(self, key: Sequence[str], assignments: Mapping[str, ColumnElement[Any]]) -> None:
        self.key = list(key)
        self.names = list(assignments)
        self.values = list(assignments.values())

    def get_children(self, **options: Any) -> Any:
        return self.values


@compiles(OnConflict, "postgresql")
@compiles(OnConflict, "sqlite")
def _on_conflict(element: OnConflict, compiler: Any, **options: Any) -> str:
    quote = compiler.preparer.quote
    key = ", ".join(map(quote, element.key))
    if not element.names:
        return f"ON CONFLICT ({key}) DO NOTHING"
    return f"ON CONFLICT ({key}) DO UPDATE SET {_assignments(element, compiler, options)}"


@compiles(OnConflict, "mysql")
@compiles(OnConflict, "mariadb")
def _on_duplicate_key(element: OnConflict, compiler: Any, **options: Any) -> str:
    quote = compiler.preparer.quote
    if not element.names:
        first = quote(element.key[0])
        return f"ON DUPLICATE KEY UPDATE {first} = {first}"
    as_values = OnConflict(element.key, dict(zip(element.names, map(_as_values, element.values), strict=True)))
    return f"ON DUPLICATE KEY UPDATE {_assignments(as_values, compiler, options)}"


def _assignments(element: OnConflict, compiler: Any, options: Mapping[str, Any]) -> str:
    """Columns of the table are qualified, so that they are told from those of the incoming row."""
    settings = {**options, "include_table": True, "use_schema": False}
    return ", ".join(
        f"{compiler.preparer.quote(name)} = {compiler.process(value.self_group(), **settings)}"
        for name, value in zip(element.names, element.values, strict=True)
    )


class _Values(ColumnElement[Any]):
    """``VALUES(column)``: what MySQL and MariaDB both take for the incoming row."""

    inherit_cache = True
    __visit_name__ = "sillar_values"

    def __init__(self, column: ColumnClause[Any]) -> None:
        self.column, self.type = column, column.type


@compiles(_Values)
def _values(element: _Values, compiler: Any, **options: Any) -> str:
    return f"VALUES({compiler.preparer.quote(element.column.name)})"


def _as_values(value: ColumnElement[Any]) -> ColumnElement[Any]:
    def replaced(element: Any, **options: Any) -> Any:
        if isinstance(element, ColumnClause) and getattr(element.table, "name", None) == INCOMING:
            return _Values(element)
        return None

    found: ColumnElement[Any] = visitors.replacement_traverse(value, {}, replaced)
    return found


def with_upsert(statement: Insert, key: Sequence[str], assignments: Mapping[str, ColumnElement[Any]]) -> Insert:
    """An INSERT as an upsert; for engines without SQL the same stands in the execution option ``sillar_upsert``."""
    upsert = statement._generate()
    upsert._post_values_clause = OnConflict(key, assignments)
    return upsert.execution_options(sillar_upsert={"key": list(key), "update": dict(assignments) or None})
