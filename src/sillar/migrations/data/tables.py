"""Tables as the database has them, and whether a key of theirs can be gone along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Float, MetaData, Table, TableClause, column, literal, or_, select, table, type_coerce
from sqlalchemy.engine import Connection
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.inspection import inspect
from sqlalchemy.types import NullType

from sillar.errors import UsageError
from sillar.migrations.data.place import Place

TableName = str | TableClause
"""``orders``, ``sales.orders``, or a table of SQLAlchemy's."""


def split_name(name: TableName) -> tuple[str | None, str]:
    """Schema and name."""
    if isinstance(name, TableClause):
        return name.schema, name.name
    schema, _, short = name.rpartition(".")
    if not short:
        raise UsageError(f"{name!r} is no table")
    return schema or None, short


def load_table(connection: Connection, name: TableName) -> Table:
    """A table with the columns and types that the database has; one of SQLAlchemy's tables as it is.

    Raises:
        UsageError: there is no such table.
    """
    if isinstance(name, Table):
        return name
    schema, short = split_name(name)
    try:
        return Table(short, MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)
    except NoSuchTableError as error:
        raise UsageError(f"there is no table {name!r} in this database") from error


def offline_table(name: TableName, columns: Sequence[str]) -> TableClause:
    """A table of which only the names are known."""
    if isinstance(name, TableClause):
        return name
    schema, short = split_name(name)
    return table(short, *(column(each) for each in columns), schema=schema)


def require_columns(found: TableClause, names: Sequence[str], what: str) -> list[Column[Any]]:
    """The columns of these names.

    Raises:
        UsageError: some are not there, or none is named.
    """
    missing = [name for name in names if name not in found.c]
    if missing or not names:
        problem = f"{found.name} has no column {', '.join(missing)}" if missing else "no column is named"
        raise UsageError(f"{what}: {problem}; it has {', '.join(found.c.keys())}")
    return [found.c[name] for name in names]  # type: ignore[misc]


def load_key(place: Place, found: Table, names: Sequence[str]) -> list[Any]:
    """The columns of a key that batches can go along: never NULL, exact, and the first of an index.

    Raises:
        UsageError: they are not.
    """
    columns = require_columns(found, names, "key")
    label = f"key ({', '.join(names)}) of {found.name}"
    inexact = [each.name for each in columns if isinstance(each.type, Float) and not each.type.asdecimal]
    if inexact:
        raise UsageError(
            f"{label}: {', '.join(inexact)} is a floating point number, which has no exact text; take another key"
        )
    connection = place.connection
    if not is_indexed(connection, found, names):
        raise UsageError(
            f"{label}: no index begins with these columns, so each batch would read the whole table; take the primary"
            " key, or create an index first"
        )
    nullable = [each for each in columns if each.nullable or (each.primary_key and place.dialect.keys_as_stored)]
    if nullable:
        empty = select(literal(1)).select_from(found).where(or_(*(each.is_(None) for each in nullable))).limit(1)
        if connection.execute(empty).first() is not None:
            raise UsageError(
                f"{label}: there are rows with NULL in it, which no range holds; take a key that is NOT NULL"
            )
    return compared(place, columns)


def compared(place: Place, columns: Sequence[Any]) -> list[Any]:
    """Columns of a key as they are compared: where keys go as the database has them, without their types."""
    return [type_coerce(each, NullType()) for each in columns] if place.dialect.keys_as_stored else list(columns)


def is_indexed(connection: Connection, found: Table, names: Sequence[str]) -> bool:
    """Whether an index of all rows begins with these columns."""
    inspector, schema = inspect(connection), found.schema
    candidates: list[Sequence[Any]] = [inspector.get_pk_constraint(found.name, schema)["constrained_columns"]]
    candidates += [each["column_names"] for each in inspector.get_unique_constraints(found.name, schema)]
    candidates += [
        each["column_names"]
        for each in inspector.get_indexes(found.name, schema)
        if not any(option.endswith("_where") for option in each.get("dialect_options", {}))
    ]
    return any(list(columns)[: len(names)] == list(names) for columns in candidates)
