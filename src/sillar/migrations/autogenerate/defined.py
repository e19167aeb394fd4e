"""Constraints that Alembic cannot compare or make: exclusion constraints, primary keys, unique ones with INCLUDE.

They are made and dropped by their text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.plugins import Plugin
from sqlalchemy import Constraint, Dialect, Table

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.catalog import Catalog, TableKey
from sillar.migrations.autogenerate.catalog.catalog import definition_of, exclusions_of
from sillar.migrations.autogenerate.comparison import Comparison
from sillar.migrations.autogenerate.operations import executed, quoted

_NAME_LENGTH_MAX: Final = 63


class AddDefinedOp(ops.AddConstraintOp):
    """Adds a constraint by its text.

    Args:
        table_name: of its table.
        constraint_name: its own.
        definition: what stands behind the name.
        schema: of the table.
    """

    constraint_type = "defined"

    def __init__(self, table_name: str, constraint_name: str, definition: str, *, schema: str | None = None) -> None:
        self.table_name, self.constraint_name, self.definition = table_name, constraint_name, definition
        self.schema = schema

    def reverse(self) -> DropDefinedOp:
        """Drop it."""
        return DropDefinedOp(self.table_name, self.constraint_name, self.definition, schema=self.schema)

    def to_constraint(self, migration_context: Any = None) -> Constraint:
        """None of SQLAlchemy's: it is known by its text."""
        raise NotImplementedError

    def to_diff_tuple(self) -> Any:
        """As ``compare_metadata`` gives it."""
        return ("add_constraint", self.table_name, self.constraint_name, self.definition)


class DropDefinedOp(ops.DropConstraintOp):
    """Drops a constraint that is made by its text."""

    def __init__(self, table_name: str, constraint_name: str, definition: str, *, schema: str | None = None) -> None:
        super().__init__(constraint_name, table_name, schema=schema)
        self.definition = definition

    def reverse(self) -> AddDefinedOp:
        """Add it."""
        return AddDefinedOp(self.table_name, str(self.constraint_name), self.definition, schema=self.schema)

    def to_diff_tuple(self) -> Any:
        """As ``compare_metadata`` gives it."""
        return ("remove_constraint", self.table_name, self.constraint_name, self.definition)


def compare_exclusions(
    context: AutogenContext,
    changes: ops.ModifyTableOps,
    schema: str | None,
    table: str,
    live: Table | None,
    model: Table | None,
) -> Any:
    """Exclusion constraints by name, or by text where the model gives no name."""
    comparison = Comparison.of(context)
    assert comparison is not None
    key = (schema, str(table))
    remaining = dict(comparison.exclusions.get(key, {}))
    if live is None or model is None or not (remaining or exclusions_of(model)):
        return stock.CONTINUE
    added = {}
    for constraint, definition in _definitions(comparison, model).items():
        name = comparison.final_name(constraint)
        found = next((each for each, text in remaining.items() if name in (None, each) and text == definition), None)
        if found is not None:
            del remaining[found]
        elif _is_included(context, constraint, name, reflected=False):
            added[name or _name(table, constraint)] = definition
    for name, definition in remaining.items():
        if _is_included(context, None, name, reflected=True):
            changes.ops.append(DropDefinedOp(str(table), name, definition, schema=schema))
    for name, definition in added.items():
        changes.ops.append(AddDefinedOp(str(table), name, definition, schema=schema))
    return stock.CONTINUE


def compare_primary_keys(
    context: AutogenContext,
    changes: ops.ModifyTableOps,
    schema: str | None,
    table: str,
    live: Table | None,
    model: Table | None,
) -> Any:
    """Primary keys by their columns, where one can be exchanged without more ado."""
    comparison = Comparison.of(context)
    assert comparison is not None
    if live is None or model is None or not comparison.catalog.exchanges_primary_keys:
        return stock.CONTINUE
    found = stock.kept(comparison.inspector, "pk_constraint", (schema, str(table))) or {}
    before = list(found.get("constrained_columns", ()))
    after = [column.name for column in model.primary_key.columns]
    key, kind = model.primary_key, cast("Any", "primary_key_constraint")
    if set(before) == set(after) or not context.run_object_filters(key, key.name, kind, False, live.primary_key):
        return stock.CONTINUE
    if before:
        changes.ops.append(DropDefinedOp(str(table), found["name"], _primary(context, before), schema=schema))
    if after:
        name = comparison.final_name(key) or f"{table}_pkey"
        changes.ops.append(AddDefinedOp(str(table), name, _primary(context, after), schema=schema))
    return stock.CONTINUE


def _primary(context: AutogenContext, columns: Sequence[str]) -> str:
    assert context.dialect is not None
    return f"PRIMARY KEY ({', '.join(map(context.dialect.identifier_preparer.quote, columns))})"


def _is_included(context: AutogenContext, constraint: Any, name: str | None, *, reflected: bool) -> bool:
    kind: Any = "exclude_constraint"
    return context.run_object_filters(constraint, name, kind, reflected, None)


def _definitions(comparison: Comparison, model: Table) -> dict[Constraint, str]:
    with comparison.catalog.printing(list(comparison.tables.values())):
        printed = comparison.catalog.print_exclusions(model)
    if printed is None:
        printed = [definition_of(each, comparison.catalog.dialect) for each in exclusions_of(model)]
    return dict(zip(exclusions_of(model), printed, strict=True))


def _name(table: str, constraint: Any) -> str:
    columns = "_".join(re.sub(r"\W+", "_", str(each[1])) for each in constraint._render_exprs)
    return f"ex_{table}_{columns}"[:_NAME_LENGTH_MAX]


def dropped_exclusions(comparison: Comparison, key: TableKey) -> list[ops.MigrateOperation]:
    """What makes the exclusion constraints of a table again that is dropped: SQLAlchemy does not read them."""
    found = comparison.exclusions.get(key, {})
    return [AddDefinedOp(key[1], name, definition, schema=key[0]) for name, definition in found.items()]


def by_text(change: ops.MigrateOperation, catalog: Catalog) -> ops.MigrateOperation:
    """A unique constraint with INCLUDE by its text: Alembic makes a table of the other columns alone, and fails."""
    is_unique = isinstance(change, ops.CreateUniqueConstraintOp) or (
        isinstance(change, ops.DropConstraintOp) and change.constraint_type == "unique"
    )
    if not is_unique or not catalog.unique_needs_text:
        return change
    constraint: Any = change.to_constraint()  # type: ignore[attr-defined]
    if not constraint.dialect_options[catalog.dialect.name].get("include"):
        return change
    definition = _with_include(constraint, catalog.dialect)
    made = AddDefinedOp(constraint.table.name, str(constraint.name), definition, schema=constraint.table.schema)
    return made.reverse() if isinstance(change, ops.DropConstraintOp) else made


def _with_include(constraint: Any, dialect: Dialect) -> str:
    include = constraint.dialect_options[dialect.name]["include"]
    constraint.dialect_options[dialect.name]["include"] = None
    listed = ", ".join(dialect.identifier_preparer.quote(getattr(each, "name", each)) for each in include)
    head, columns, rest = re.split(r"(\([^)]*\))", definition_of(constraint, dialect), maxsplit=1)
    return f"{head}{columns} INCLUDE ({listed}){rest}"


@stock.renders(AddDefinedOp)
def _render_add(context: AutogenContext, operation: AddDefinedOp) -> str:
    assert context.dialect is not None
    name = context.dialect.identifier_preparer.quote(operation.constraint_name)
    table = quoted(context.dialect, operation.schema, operation.table_name)
    return executed(context, f"ALTER TABLE {table} ADD CONSTRAINT {name} {operation.definition}")


@stock.renders(DropDefinedOp)
def _render_drop(context: AutogenContext, operation: DropDefinedOp) -> str:
    assert context.dialect is not None
    name = context.dialect.identifier_preparer.quote(str(operation.constraint_name))
    table = quoted(context.dialect, operation.schema, operation.table_name)
    return executed(context, f"ALTER TABLE {table} DROP CONSTRAINT {name}")


def setup(plugin: Plugin) -> None:
    """Add the comparators."""
    plugin.add_autogenerate_comparator(compare_primary_keys, "table", "sillar_primary_keys")
    plugin.add_autogenerate_comparator(compare_exclusions, "table", "sillar_exclusions")
