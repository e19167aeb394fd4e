"""The comparators, as a plug-in of Alembic's autogenerate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.plugins import Plugin
from alembic.util import to_list
from sqlalchemy import Table

from sillar.migrations.autogenerate import columns, constraints, defined, stock
from sillar.migrations.autogenerate.assembly import Assembly
from sillar.migrations.autogenerate.catalog import TableKey, catalog_for
from sillar.migrations.autogenerate.comparison import Comparison
from sillar.migrations.autogenerate.items import rendering
from sillar.migrations.autogenerate.renames import RenameAnswers, Renames

NAME: Final = "sillar.autogenerate"
PLUGINS: Final = (
    "alembic.autogenerate.*",
    "~alembic.autogenerate.types",
    "~alembic.autogenerate.defaults",
    "~alembic.autogenerate.constraints",
    "~alembic.autogenerate.comments",
    "~alembic.autogenerate.checkconstraint_byname",
    NAME,
)
"""Alembic's own, without those that ours replace."""
_REPLACED: Final = ("alembic.autogenerate", "alembic.ext.checkconstraint_byname")
ANSWERS: Final = "sillar_renames"
"""Key of Alembic's options: a :class:`RenameAnswers`."""


def _read(context: AutogenContext, upgrade_ops: ops.UpgradeOps, schemas: set[str | None]) -> Any:
    inspector = context.inspector
    options = context.migration_context
    assert context.connection is not None
    catalog = catalog_for(context.connection)
    found: dict[str, dict[Any, Any]] = {kind: {} for kind in stock.KINDS}
    for schema in schemas:
        names = [
            name
            for name in inspector.get_table_names(schema=schema)
            if (schema, name) != (options.version_table_schema, options.version_table)
            and context.run_name_filters(name, "table", {"schema_name": schema})
        ]
        read: dict[str, Any] = catalog.read(inspector, schema, names)
        for kind, each in read.items():
            if each is NotImplementedError or not found[kind]:
                found[kind] = each
            else:
                found[kind].update(each)
    tables = model_tables(context)
    answers = context.opts.get(ANSWERS) or RenameAnswers()
    renames = Renames(context, catalog, found, tables, answers)
    renames.find()
    stock.keep_tables(inspector, found)
    stock.escape_reflected(inspector)
    stock.rename_tables(inspector, schemas, renames.renamed_tables)
    live = found["columns"]
    comparison = Comparison(context, catalog, tables, [key for key in tables if key in live], renames)
    comparison.keep()
    stock.escape_texts(context)
    context.opts["render_item"] = rendering(context.opts.get("render_item"))
    return stock.CONTINUE


def _assemble(context: AutogenContext, upgrade_ops: ops.UpgradeOps, schemas: set[str | None]) -> Any:
    comparison = Comparison.of(context)
    assert comparison is not None
    Assembly(comparison, comparison.renames, to_list(context.metadata), schemas).assemble(upgrade_ops)
    return stock.CONTINUE


def model_tables(context: AutogenContext) -> dict[TableKey, Table]:
    """The models' tables, with None for the default schema."""
    assert context.dialect is not None
    default = context.dialect.default_schema_name
    return {
        (None if table.schema == default else table.schema, table.name): table
        for table in context.table_key_to_table.values()
    }


def setup(plugin: Plugin) -> None:
    """Add the comparators."""
    add = plugin.add_autogenerate_comparator
    add(_read, "schema", "sillar_read", priority=stock.FIRST)
    add(_assemble, "schema", "sillar_assemble", priority=stock.LAST)
    columns.setup(plugin)
    constraints.setup(plugin)
    defined.setup(plugin)
    add(stock.compare_nullable, "column", "nullable")
    add(constraints.compare_foreign_keys, "table", "foreignkeys")


def with_ours(plugins: Sequence[str]) -> list[str]:
    """A list of plug-ins that an ``env.py`` gives, with ours in place of those of Alembic's that it replaces.

    Args:
        plugins: as Alembic takes them. One that has ours, or ``~sillar.autogenerate``, stays as it is.
    """
    if NAME in plugins or f"~{NAME}" in plugins:
        return list(plugins)
    return [*PLUGINS, *(each for each in plugins if not each.lstrip("~").startswith(_REPLACED))]


def register() -> None:
    """Make the plug-in known to Alembic, once."""
    from alembic.runtime import plugins

    if NAME not in plugins._all_plugins:
        setup(Plugin(NAME))
