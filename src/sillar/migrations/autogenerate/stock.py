"""The names of Alembic that it does not document and that the comparison needs, in one place; a contract test holds
them at both ends of the supported range."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from alembic.autogenerate import render
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.compare.comments import _compare_column_comment, _compare_table_comment
from alembic.autogenerate.compare.constraints import _compare_foreign_keys, _compare_nullable
from alembic.autogenerate.compare.util import _InspectorConv
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Table, TextClause, text
from sqlalchemy.engine.reflection import Inspector

from sillar.migrations.autogenerate.text import as_text

F = TypeVar("F", bound=Callable[..., Any])
CONTINUE: Final = PriorityDispatchResult.CONTINUE
STOP: Final = PriorityDispatchResult.STOP
FIRST: Final = DispatchPriority.FIRST
LAST: Final = DispatchPriority.LAST
compare_foreign_keys: Final[Any] = _compare_foreign_keys
compare_nullable: Final[Any] = _compare_nullable

KINDS: Final = (
    "columns",
    "pk_constraint",
    "foreign_keys",
    "indexes",
    "unique_constraints",
    "table_comment",
    "check_constraints",
    "table_options",
)
"""What Alembic reads of a table, and keeps in the inspector's cache under ``alembic_<kind>``."""


def read_tables(inspector: Inspector, schema: str | None, names: Sequence[str]) -> dict[str, dict[Any, Any]]:
    """All that Alembic reads of tables, as it reads it: kind → (schema, table) → what was found."""
    available = set(names)
    _InspectorConv(inspector).pre_cache_tables(schema, list(names), available)
    found: dict[str, Any] = {}
    for kind in KINDS:
        read = inspector.info_cache.pop(f"alembic_{kind}", {})
        found[kind] = read if read is NotImplementedError else dict(read)
    return found


def keep_tables(inspector: Inspector, found: dict[str, dict[Any, Any]]) -> None:
    """Have Alembic take these instead of reading."""
    for kind, each in found.items():
        inspector.info_cache[f"alembic_{kind}"] = each


def rename_tables(
    inspector: Any, schemas: Iterable[str | None], renamed: dict[tuple[str | None, str], tuple[str | None, str]]
) -> None:
    """Have the inspector list tables by their new names."""
    if not renamed:
        return
    listed = {
        schema: [renamed.get((schema, name), (schema, name))[1] for name in inspector.get_table_names(schema=schema)]
        for schema in schemas
    }
    inspector.get_table_names = lambda schema=None, **_: listed[schema]


def escape_texts(context: AutogenContext) -> None:
    """Have texts written as ``sqlalchemy.text()`` reads them: Alembic writes ``':x'`` as it stands, which is a
    parameter then. Once for each implementation of a dialect."""
    impl: Any = context.migration_context.impl
    if "render_ddl_sql_expr" in vars(impl):
        return
    render_expression = impl.render_ddl_sql_expr

    def escaped(expression: Any, **options: Any) -> str:
        rendered: str = render_expression(expression, **options)
        if impl.dialect.identifier_preparer._double_percents:
            rendered = rendered.replace("%%", "%")
        return rendered if options.get("is_index") else as_text(rendered)

    impl.render_ddl_sql_expr = escaped


def escape_reflected(inspector: Any) -> None:
    """Have tables that are reflected keep texts with colons in them: SQLAlchemy takes ``' :x'`` for a parameter."""
    reflect = inspector.reflect_table

    def reflected(table: Table, *arguments: Any, **options: Any) -> None:
        reflect(table, *arguments, **options)
        holders: list[tuple[Any, str]] = []
        for column in table.columns:
            holders += [(column.server_default, "arg"), (column.server_default, "sqltext")]
        holders += [(each, "sqltext") for each in table.constraints]
        for holder, name in holders:
            found = getattr(holder, name, None)
            if isinstance(found, TextClause) and found._bindparams:
                setattr(holder, name, text(as_text(found.text)))

    inspector.reflect_table = reflected


def kept(inspector: Inspector, kind: str, key: tuple[str | None, str]) -> Any:
    """What is kept of one table; empty where nothing is."""
    found = inspector.info_cache.get(f"alembic_{kind}")
    return [] if found is None or found is NotImplementedError else found.get(key, [])


def prefix(context: AutogenContext) -> str:
    """``op.`` or ``batch_op.``."""
    return render._alembic_autogenerate_prefix(context)


def in_batch(context: AutogenContext) -> bool:
    """Whether what is rendered stands in a batch."""
    return context._has_batch


render_operation: Final[Any] = render.render_op
renderers: Final[Any] = render.renderers


def renders(kind: type[Any]) -> Callable[[F], F]:
    """A decorator: a function writes operations of a kind."""
    decorate: Callable[[F], F] = renderers.dispatch_for(kind)
    return decorate


render_type: Final[Any] = render._repr_type
render_server_default: Final[Any] = render._render_server_default
compare_column_comment: Final[Any] = _compare_column_comment
compare_table_comment: Final[Any] = _compare_table_comment
