"""How items are written in a file, where Alembic's way would not run, or not run twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from alembic.autogenerate.api import AutogenContext
from sqlalchemy import ARRAY, DefaultClause, Enum, Text
from sqlalchemy.dialects import postgresql

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.enums import native_enum

Render: TypeAlias = Callable[[str, Any, AutogenContext], "str | Literal[False]"]


def render_item(kind: str, item: Any, context: AutogenContext) -> str | Literal[False]:
    """How an item is written; False: as Alembic writes it.

    A named enum type of PostgreSQL is made by itself, so a column of it does not make it again. Types of PostgreSQL
    that have a type within them are spelled wrongly by Alembic for other engines. Of a default that begins or ends with
    a quote, Alembic leaves that out.
    """
    if kind == "server_default" and isinstance(item, DefaultClause) and isinstance(item.arg, str):
        return repr(item.arg)
    if kind != "type":
        return False
    if isinstance(item, Enum):
        found = native_enum(item, context.dialect)
        if found is None:
            return False
        context.imports.add("from sqlalchemy.dialects import postgresql")
        labels = ", ".join(map(repr, found.enums))
        schema = f", schema={found.schema!r}" if found.schema else ""
        return f"postgresql.ENUM({labels}, name={found.name!r}{schema}, create_type=False)"
    if item._variant_mapping:
        return False
    if isinstance(item, postgresql.JSON) and type(item.astext_type) is Text:
        context.imports.add("from sqlalchemy.dialects import postgresql")
        return f"postgresql.{type(item).__name__}()"
    if isinstance(item, ARRAY):
        context.imports.add("from sqlalchemy.dialects import postgresql")
        dimensions = f", dimensions={item.dimensions}" if item.dimensions else ""
        return f"postgresql.ARRAY({stock.render_type(item.item_type, context)}{dimensions})"
    return False


class _Chain:
    """First the user's function, then ours."""

    def __init__(self, own: Render) -> None:
        self.own = own

    def __call__(self, kind: str, item: Any, context: AutogenContext) -> str | Literal[False]:
        rendered = self.own(kind, item, context)
        return render_item(kind, item, context) if rendered is False else rendered


def rendering(own: Render | None) -> Render:
    """The function that Alembic asks how items are written.

    Args:
        own: the user's, which comes first.
    """
    if own is None or own is render_item:
        return render_item
    return own if isinstance(own, _Chain) else _Chain(own)
