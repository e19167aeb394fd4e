"""All of a schema as text, so that two states of a database can be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from sqlalchemy import func, inspect, select, table, text
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector

from sillar.migrations.sql.dialects import dialect_of

_VERSION_COLUMN: Final = "version_num"


def snapshot(connection: Connection, ignored: Collection[str] = (), schema: str | None = None) -> dict[str, str]:
    """What is in a schema: the name of each thing, and its definition.

    The order of columns is left out: a column that is dropped and made again stands behind the others.

    Args:
        connection: to the database.
        ignored: tables that do not count; Alembic's, under whatever name, never does.
        schema: None: the default one.
    """
    found = dict(_all(inspect(connection), set(ignored), schema))
    for statement in dialect_of(connection.dialect.name).catalogue_queries:
        for name, definition in connection.execute(text(statement), {"schema": schema}):
            found[str(name)] = str(definition)
    return found


def counts(connection: Connection, ignored: Collection[str] = (), schema: str | None = None) -> dict[str, int]:
    """The number of rows of each table."""
    return {
        name: connection.execute(select(func.count()).select_from(table(name, schema=schema))).scalar_one()
        for name in _tables(inspect(connection), ignored, schema)
    }


def _tables(inspector: Inspector, ignored: Collection[str], schema: str | None) -> list[str]:
    names = sorted({*inspector.get_table_names(schema=schema)} - {*ignored})
    columns = inspector.get_multi_columns(schema=schema, filter_names=names)
    return [name for name in names if [each["name"] for each in columns[schema, name]] != [_VERSION_COLUMN]]


def _all(inspector: Inspector, ignored: set[str], schema: str | None) -> Iterator[tuple[str, str]]:
    kinds: dict[str, Any] = {
        "column": inspector.get_multi_columns(schema=schema),
        "primary key": inspector.get_multi_pk_constraint(schema=schema),
        "foreign key": inspector.get_multi_foreign_keys(schema=schema),
        "unique constraint": inspector.get_multi_unique_constraints(schema=schema),
        "check": inspector.get_multi_check_constraints(schema=schema),
        "index": inspector.get_multi_indexes(schema=schema),
        "comment": _comments(inspector, schema),
    }
    for name in _tables(inspector, ignored, schema):
        yield f"table {name}", ""
        for kind, by_table in kinds.items():
            entries = by_table.get((schema, name), [])
            for entry in entries if isinstance(entries, list) else [entries]:
                if any(entry.values()):
                    own = entry.get("name") or ",".join(entry.get("constrained_columns", ())) or "without a name"
                    yield f"{kind} {own} of {name}", _shown(entry)
    for view in inspector.get_view_names(schema=schema):
        yield f"view {view}", str(inspector.get_view_definition(view, schema=schema))
    if hasattr(inspector, "get_enums"):
        for enum in inspector.get_enums(schema=schema):
            yield f"enum {enum['name']}", ", ".join(enum["labels"])


def _comments(inspector: Inspector, schema: str | None) -> dict[Any, Any]:
    if not inspector.dialect.supports_comments:
        return {}
    found: dict[Any, Any] = dict(inspector.get_multi_table_comment(schema=schema))
    return found


def _shown(entry: dict[str, Any]) -> str:
    shown = {key: repr(value) for key, value in entry.items() if key != "name" and value not in (None, [], {})}
    return ", ".join(f"{key}={shown[key]}" for key in sorted(shown))


__all__ = ["counts", "snapshot"]
