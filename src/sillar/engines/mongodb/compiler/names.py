"""Names on this side: collections, fields, and which column is ``_id``."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy.sql.schema import Column

from sillar.engines.mongodb.compiler.refusal import unsupported

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")


def collection_of(table: Any) -> str:
    """The collection of a table: its name; a schema is refused, for a database is chosen by configuration.

    Raises:
        UnsupportedCapabilityError: there is no such collection name.
    """
    name = str(table.name)
    if getattr(table, "schema", None):
        raise unsupported("a table with a schema", "leave the schema out; the database is the one of the configuration")
    if not name or "$" in name or "\0" in name or name.startswith("system."):
        raise unsupported("this table's name as a collection", "collection names have no $ and no NUL")
    return name


def id_column(table: Any) -> str | None:
    """Key of the column that is ``_id``: what ``table.info["sillar_id"]`` says, else a primary key called ``id``."""
    info = getattr(table, "info", {})
    if "sillar_id" in info:
        return None if info["sillar_id"] is None else str(info["sillar_id"])
    column = table.c.get("id")
    return "id" if column is not None and column.primary_key else None


def field_of(column: Any, table: Any) -> str:
    """The dotted path of a column in its documents.

    Raises:
        UnsupportedCapabilityError: the name cannot be a field.
    """
    if column.key == id_column(table):
        return "_id"
    given = getattr(column, "info", {}).get("sillar_field")
    parts = str(given).split(".") if given else [str(column.name)]
    for part in parts:
        if not part or part.startswith("$") or "\0" in part or "." in part or part.startswith("__"):
            raise unsupported(
                "this column's name as a field", "fields begin with neither $ nor __ and have no dots; use sillar_field"
            )
    return ".".join(parts)


def safe_fields(names: list[str]) -> list[str]:
    """A field for each output column: its name where that is plain and given once, else one by position."""
    fields = []
    for index, name in enumerate(names):
        plain = _PLAIN.match(name) and names.count(name) == 1
        fields.append(name if plain else f"__c{index}")
    return fields


def is_required(column: Any) -> bool:
    """Whether a column is declared NOT NULL."""
    return isinstance(column, Column) and (column.primary_key or not column.nullable)
