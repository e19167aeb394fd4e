"""Indexes, unique and check constraints of a table."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.plugins import Plugin
from sqlalchemy import CheckConstraint, Column, Index, MetaData, Table, UniqueConstraint

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.comparison import Comparison
from sillar.migrations.autogenerate.text import as_text, mentions


def compare_indexes(
    context: AutogenContext,
    changes: ops.ModifyTableOps,
    schema: str | None,
    table: str,
    live: Table | None,
    model: Table | None,
) -> Any:
    """Indexes by name, then by what the server says they are."""
    comparison = Comparison.of(context)
    assert comparison is not None
    wanted: dict[str, Index] = {}
    if model is not None:
        wanted = {str(comparison.final_name(each)): each for each in sorted(model.indexes, key=lambda e: str(e.name))}
    if live is None:
        for index in wanted.values():
            if context.run_object_filters(index, index.name, "index", False, None):
                changes.ops.append(ops.CreateIndexOp.from_index(index))
        return stock.CONTINUE
    comparison.live_tables[schema, str(table)] = live
    present = _live_indexes(context, comparison, (schema, str(table)), live, model)
    changed = comparison.indexes.get((schema, str(table)), set())
    for name, found in present.items():
        if name in wanted:
            continue
        if context.run_object_filters(found, name, "index", True, None):
            changes.ops.append(ops.DropIndexOp.from_index(found))
    for name, index in wanted.items():
        before = present.get(name)
        if before is None:
            if context.run_object_filters(index, index.name, "index", False, None):
                changes.ops.append(ops.CreateIndexOp.from_index(index))
        elif name in changed and context.run_object_filters(index, index.name, "index", False, before):
            changes.ops.append(ops.DropIndexOp.from_index(before))
            changes.ops.append(ops.CreateIndexOp.from_index(index))
    return stock.CONTINUE


def _live_indexes(
    context: AutogenContext,
    comparison: Comparison,
    key: tuple[str | None, str],
    live: Table,
    model: Table | None,
) -> dict[str, Index]:
    """The indexes of a table that stand for themselves: none that a constraint made."""
    uniques = {each["name"] for each in stock.kept(comparison.inspector, "unique_constraints", key)}
    wanted = {str(each.name) for each in model.indexes} if model is not None else set()
    found = {}
    for each in stock.kept(comparison.inspector, "indexes", key):
        name = each["name"]
        if each.get("duplicates_constraint") or not context.run_name_filters(
            name, "index", {"table_name": key[1], "schema_name": key[0]}
        ):
            continue
        if each["unique"] and name in uniques and name not in wanted:
            continue
        if model is not None and name not in wanted and comparison.catalog.is_implied_index(each, model):
            continue
        index = next((index for index in live.indexes if index.name == name), None)
        if index is not None:
            found[name] = index
    return found


def compare_uniques(
    context: AutogenContext,
    changes: ops.ModifyTableOps,
    schema: str | None,
    table: str,
    live: Table | None,
    model: Table | None,
) -> Any:
    """Unique constraints by name, or by columns where one side has no name."""
    if live is None or model is None:
        return stock.CONTINUE
    comparison = Comparison.of(context)
    assert comparison is not None
    key = (schema, str(table))
    index_names = {str(each.name) for each in model.indexes if each.unique}
    remaining = [
        each
        for each in stock.kept(comparison.inspector, "unique_constraints", key)
        if context.run_name_filters(each["name"], "unique_constraint", {"table_name": table, "schema_name": schema})
        and each["name"] not in index_names
    ]
    added: list[UniqueConstraint] = []
    for constraint in (each for each in model.constraints if isinstance(each, UniqueConstraint)):
        name = comparison.final_name(constraint)
        columns = sorted(column.name for column in constraint.columns)
        found = next(
            (
                each
                for each in remaining
                if sorted(each["column_names"]) == columns
                and (name is None or each["name"] is None or each["name"] == name)
                and comparison.catalog.unique_options(constraint) == comparison.catalog.live_unique_options(each)
            ),
            None,
        )
        if found is None:
            added.append(constraint)
        else:
            remaining.remove(found)
    for each in remaining:
        constraint = _unique(live, each)
        if context.run_object_filters(constraint, constraint.name, "unique_constraint", True, None):
            changes.ops.append(ops.DropConstraintOp.from_constraint(constraint))
    for constraint in sorted(added, key=lambda e: [column.name for column in e.columns]):
        if context.run_object_filters(constraint, constraint.name, "unique_constraint", False, None):
            changes.ops.append(ops.AddConstraintOp.from_constraint(constraint))
    return stock.CONTINUE


def _unique(live: Table, found: Any) -> UniqueConstraint:
    """A unique constraint that was read: MySQL's inspector gives an index instead."""
    table = Table(live.name, MetaData(), *(Column(each.name, each.type) for each in live.columns), schema=live.schema)
    options = {key: value for key, value in found.get("dialect_options", {}).items() if value}
    options |= {key: found[key] for key in ("deferrable", "initially") if found.get(key)}
    return UniqueConstraint(*(table.c[name] for name in found["column_names"]), name=found["name"], **options)


def compare_checks(
    context: AutogenContext,
    changes: ops.ModifyTableOps,
    schema: str | None,
    table: str,
    live: Table | None,
    model: Table | None,
) -> Any:
    """Check constraints by name and by what the server says they are."""
    if live is None or model is None:
        return stock.CONTINUE
    comparison = Comparison.of(context)
    assert comparison is not None
    for pair in comparison.checks.get((schema, str(table)), []):
        before = None
        if pair.live is not None:
            before = CheckConstraint(as_text(pair.live["sqltext"]), name=pair.live["name"], table=live)
        if pair.model is None:
            assert before is not None
            if context.run_object_filters(before, before.name, "check_constraint", True, None):
                changes.ops.append(ops.DropConstraintOp.from_constraint(before))
        elif context.run_object_filters(pair.model, pair.model.name, "check_constraint", False, before):
            if before is not None:
                changes.ops.append(ops.DropConstraintOp.from_constraint(before))
            # of its text: an expression would attach each copy of the constraint to the model's table
            condition = as_text(comparison.catalog.check_text(pair.model))
            name = comparison.final_name(pair.model)
            changes.ops.append(ops.CreateCheckConstraintOp(name, table, condition, schema=schema))
    return stock.CONTINUE


def compare_computed(
    context: AutogenContext,
    changes: ops.ModifyTableOps,
    schema: str | None,
    table: str,
    live: Table | None,
    model: Table | None,
) -> Any:
    """A column that is computed otherwise is dropped and added: it has no values of its own.

    So is one that reads a column that gets another type: PostgreSQL would refuse that.
    """
    comparison = Comparison.of(context)
    assert comparison is not None
    if live is None or model is None:
        return stock.CONTINUE
    retyped = {each.column_name for each in changes.ops if isinstance(each, ops.AlterColumnOp) and each.modify_type}
    listed = {each.index_name for each in changes.ops if isinstance(each, (ops.DropIndexOp, ops.CreateIndexOp))}
    for (place, name), differs in comparison.computed.items():
        if place != (schema, str(table)):
            continue
        if not differs and not (comparison.catalog.converts_using and _reads(model.c[name], retyped)):
            continue
        if not context.run_object_filters(model.c[name], name, "column", False, live.c[name]):
            continue
        changes.ops += [
            ops.DropColumnOp.from_column_and_tablename(schema, table, live.c[name]),
            ops.AddColumnOp.from_column_and_tablename(schema, table, model.c[name]),
        ]
        for index in live.indexes:
            if name in index.columns and index.name not in listed:
                changes.ops.append(ops.DropIndexOp.from_index(index))
        for index in model.indexes:
            if name in index.columns and index.name not in listed:
                changes.ops.append(ops.CreateIndexOp.from_index(index))
    return stock.CONTINUE


def compare_foreign_keys(
    context: AutogenContext,
    changes: ops.ModifyTableOps,
    schema: str | None,
    table: str,
    live: Table | None,
    model: Table | None,
) -> Any:
    """As Alembic does, but the default schema by its name is the default schema."""
    before = list(changes.ops)
    answer = stock.compare_foreign_keys(context, changes, schema, table, live, model)
    assert context.dialect is not None
    default = context.dialect.default_schema_name
    dropped = {
        _signature(each, default): each for each in changes.ops[len(before) :] if isinstance(each, ops.DropConstraintOp)
    }
    for each in [each for each in changes.ops[len(before) :] if isinstance(each, ops.CreateForeignKeyOp)]:
        found = dropped.get(_signature(each, default))
        if found is not None:
            changes.ops.remove(found)
            changes.ops.remove(each)
    return answer


def _signature(change: Any, default: str | None) -> tuple[Any, ...]:
    constraint: Any = change.to_constraint()
    places = tuple(each.target_fullname.removeprefix(f"{default}.") for each in constraint.elements)
    actions = (constraint.onupdate, constraint.ondelete, constraint.deferrable, constraint.initially)
    return (
        tuple(column.name for column in constraint.columns),
        places,
        *((each or "NO ACTION").upper() if isinstance(each, str | None) else each for each in actions),
    )


def _reads(column: Column[Any], names: set[str]) -> bool:
    assert column.computed is not None
    return any(mentions(str(column.computed.sqltext), name) for name in names)


def setup(plugin: Plugin) -> None:
    """Add the comparators."""
    plugin.add_autogenerate_comparator(compare_uniques, "table", "sillar_uniques")
    plugin.add_autogenerate_comparator(compare_checks, "table", "sillar_checks")
    plugin.add_autogenerate_comparator(compare_indexes, "table", "sillar_indexes")
    plugin.add_autogenerate_comparator(compare_computed, "table", "sillar_computed")
