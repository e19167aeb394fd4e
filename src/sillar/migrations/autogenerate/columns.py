"""Types and defaults of columns."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.plugins import Plugin
from alembic.util import sqla_compat
from sqlalchemy import Column, Table
from sqlalchemy.types import NullType

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.comparison import Comparison


def compare_type(
    context: AutogenContext,
    alteration: ops.AlterColumnOp,
    schema: str | None,
    table: str,
    name: str,
    live: Column[Any],
    model: Column[Any],
) -> Any:
    """Whether a column has another type than the model's."""
    asked = context.opts.get("compare_type", True)
    if asked is False:
        return stock.STOP
    alteration.existing_type = live.type
    if isinstance(live.type, NullType) or isinstance(model.type, NullType):
        return stock.CONTINUE
    differs: bool | None = None
    if callable(asked):
        differs = asked(context.migration_context, live, model, live.type, model.type)
    if differs is None:
        comparison = Comparison.of(context)
        assert comparison is not None
        differs = comparison.types.get(((schema, str(table)), str(name)), False)
    if differs:
        alteration.modify_type = model.type
    return stock.STOP


def compare_default(
    context: AutogenContext,
    alteration: ops.AlterColumnOp,
    schema: str | None,
    table: str,
    name: str,
    live: Column[Any],
    model: Column[Any],
) -> Any:
    """Whether the server fills a column with something else than the model says."""
    owner: Any = model.table
    if owner._autoincrement_column is model or model.autoincrement is True:
        alteration.kw["autoincrement"] = True
    elif model.autoincrement is False:
        alteration.kw["autoincrement"] = False
    asked = context.opts.get("compare_server_default", True)
    if asked is False or (live.server_default is None and model.server_default is None):
        return stock.STOP
    alteration.existing_server_default = live.server_default
    comparison = Comparison.of(context)
    assert comparison is not None
    place = ((schema, str(table)), str(name))
    if sqla_compat._server_default_is_identity(live.server_default, model.server_default):
        impl: Any = context.migration_context.impl
        _, _, differs = impl._compare_identity_default(model.server_default, live.server_default)
    elif callable(asked) and place in comparison.defaults:
        differs = _asked(asked, context, live, model)
        differs = comparison.defaults[place] if differs is None else differs
    else:
        differs = comparison.defaults.get(place, False)
    if differs:
        alteration.modify_server_default = model.server_default
    return stock.STOP


def _asked(asked: Any, context: AutogenContext, live: Column[Any], model: Column[Any]) -> bool | None:
    """What a function of the user's says."""
    from alembic.autogenerate.compare.server_defaults import _render_server_default_for_compare

    rendered = _render_server_default_for_compare(model.server_default, context)
    found: Any = live.server_default
    answer: bool | None = asked(
        context.migration_context,
        live,
        model,
        found.arg.text if found is not None else None,
        model.server_default,
        rendered,
    )
    return answer


def compare_comment(
    context: AutogenContext,
    alteration: ops.AlterColumnOp,
    schema: str | None,
    table: str,
    name: str,
    live: Column[Any],
    model: Column[Any],
) -> Any:
    """Whether a column has another comment than the model's."""
    if _is_escaped(live.comment, model.comment):
        alteration.existing_comment = live.comment  # MySQL forgets what a change of the column does not say
        return stock.STOP
    return stock.compare_column_comment(context, alteration, schema, table, name, live, model)


def compare_table_comment(
    context: AutogenContext,
    changes: ops.ModifyTableOps,
    schema: str | None,
    table: str,
    live: Table | None,
    model: Table | None,
) -> Any:
    """Whether a table has another comment than the model's."""
    if live is not None and model is not None and _is_escaped(live.comment, model.comment):
        return stock.STOP
    return stock.compare_table_comment(context, changes, schema, table, live, model)


def _is_escaped(live: str | None, model: str | None) -> bool:
    """Whether the comment was written with backslashes where PostgreSQL wants none, as Tortoise does."""
    return live is not None and model is not None and live == model.translate(_ESCAPES)


_ESCAPES = {ord("\\"): "\\\\", ord("\n"): "\\n", ord("\r"): "\\r", ord('"'): '\\"'}


def setup(plugin: Plugin) -> None:
    """Add the comparators."""
    plugin.add_autogenerate_comparator(compare_type, "column", "types")
    plugin.add_autogenerate_comparator(compare_default, "column", "server_default")
    plugin.add_autogenerate_comparator(compare_comment, "column", "comments")
    plugin.add_autogenerate_comparator(compare_table_comment, "table", "comments")
