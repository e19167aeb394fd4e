"""Changes of tables of SQLite: in a batch, with what a copied table would lose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic.operations import ops

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.catalog.catalog import LOST
from sillar.migrations.autogenerate.comparison import Comparison
from sillar.migrations.autogenerate.names import name_constraints
from sillar.migrations.autogenerate.operations import BatchOps, ExecuteOp, Statement, is_unnamed_check
from sillar.migrations.autogenerate.renames import Renames
from sillar.migrations.autogenerate.text import with_name


def batched(
    comparison: Comparison, renames: Renames, changes: ops.ModifyTableOps, inner: Sequence[ops.MigrateOperation]
) -> list[ops.MigrateOperation]:
    """The changes of one table, of which indexes are made outside of the batch.

    A table that is copied loses its triggers, its indexes by expressions, and checks without a name; these are put
    back. An index is made by itself: a batch forgets expressions and the order of its columns.
    """
    key = (changes.schema, str(changes.table_name))
    drops = [each for each in inner if isinstance(each, ops.DropIndexOp)]
    creates = [each for each in inner if isinstance(each, ops.CreateIndexOp)]
    rest = [each for each in inner if not isinstance(each, (ops.DropIndexOp, ops.CreateIndexOp))]
    before, after = _unnamed_checks(comparison, key, rest)
    conventions = name_constraints(str(changes.table_name), [each for each in rest if not is_unnamed_check(each)])
    if not rest:
        return [*drops, *creates]
    kept = _kept(comparison, renames, key, {str(each.index_name) for each in drops})
    batch = BatchOps(
        changes.table_name,
        rest,
        schema=changes.schema,
        conditions=after,
        conditions_undone=before,
        conventions=conventions,
        computed=_computed(comparison, key, rest),
        repairs=_repairs(comparison, key, rest),
        options={"sqlite_autoincrement": True} if key[1] in comparison.autoincremented else {},
    )
    return [*drops, *[each.reverse() for each in kept], batch, *kept, *creates]


def _kept(comparison: Comparison, renames: Renames, key: Any, dropped: set[str]) -> list[ExecuteOp]:
    """Triggers and indexes by expressions, which are put back after the copy, in both directions."""
    kept = []
    quote = comparison.catalog.dialect.identifier_preparer.quote
    for each in stock.kept(comparison.inspector, "indexes", key):
        if None in each["column_names"] and each["name"] not in dropped:
            definition = comparison.definitions[key][each["name"]]
            unique = "UNIQUE " if definition.startswith("UNIQUE ") else ""
            created = (
                f"CREATE {unique}INDEX {quote(each['name'])} ON {quote(key[1])} {definition.removeprefix('UNIQUE ')}"
            )
            kept.append(_put_back("index", each["name"], created, f"DROP INDEX {quote(each['name'])}"))
    old_names = {new: old for old, new in renames.renamed_tables.items()}
    triggers = comparison.triggers.get(old_names.get(key, key)[1], {})
    for name, created in triggers.items():
        for place, old, new in renames.renamed_columns:
            created = with_name(created, old, new) if place == key else created
        created = with_name(created, old_names[key][1], key[1]) if key in old_names else created
        kept.append(_put_back("trigger", name, created, f"DROP TRIGGER {quote(name)}"))
    return kept


def _columns(change: ops.DropConstraintOp) -> tuple[str, ...]:
    constraint: Any = change.to_constraint()
    return tuple(column.name for column in constraint.columns)


def _computed(comparison: Comparison, key: Any, changes: Sequence[ops.MigrateOperation]) -> list[ops.MigrateOperation]:
    live = comparison.live_table(key)
    changed = {each.column_name for each in changes if isinstance(each, (ops.DropColumnOp, ops.AlterColumnOp))}
    found: list[ops.MigrateOperation] = []
    for column in live.columns if live is not None else ():
        if column.computed is not None and column.name not in changed:
            found.append(ops.DropColumnOp.from_column_and_tablename(key[0], key[1], column))
            found.append(ops.AddColumnOp.from_column_and_tablename(key[0], key[1], column))
    return found


def _repairs(comparison: Comparison, key: Any, changes: Sequence[ops.MigrateOperation]) -> list[ops.MigrateOperation]:
    """What SQLAlchemy does not read of the table, and a copy of it would be without."""
    repairs: list[ops.MigrateOperation] = []
    dropped = {
        _columns(change)
        for change in changes
        if isinstance(change, ops.DropConstraintOp) and not is_unnamed_check(change)
    }
    gone = {change.column_name for change in changes if isinstance(change, ops.DropColumnOp)}
    for each in stock.kept(comparison.inspector, "foreign_keys", key):
        columns = each["constrained_columns"]
        if LOST not in each or tuple(columns) in dropped or gone.intersection(columns):
            continue
        name = f"fk_{key[1]}_{'_'.join(columns)}"
        repairs.append(ops.DropConstraintOp(name, key[1], type_="foreignkey"))
        repairs.append(
            ops.CreateForeignKeyOp(
                name, key[1], each["referred_table"], columns, each["referred_columns"], **each["options"]
            )
        )
    for each in stock.kept(comparison.inspector, "unique_constraints", key):
        columns = each["column_names"]
        if LOST in each and tuple(columns) not in dropped and not gone.intersection(columns):
            repairs.append(ops.CreateUniqueConstraintOp(f"uq_{key[1]}_{'_'.join(columns)}", key[1], columns))
    return repairs


def _put_back(kind: str, name: str, created: str, dropped: str) -> ExecuteOp:
    return ExecuteOp((f"keep_{kind}", name), [Statement(created)], [Statement(dropped)])


def _unnamed_checks(
    comparison: Comparison, key: Any, changes: Sequence[ops.MigrateOperation]
) -> tuple[list[str], list[str]]:
    """Conditions of checks without a name, before and after."""
    before = [
        each["sqltext"] for each in stock.kept(comparison.inspector, "check_constraints", key) if each["name"] is None
    ]
    after = list(before)
    for change in changes:
        if not is_unnamed_check(change):
            continue
        if isinstance(change, ops.DropConstraintOp):
            constraint: Any = change.to_constraint()
            after.remove(comparison.catalog.check_text(constraint))
        else:
            assert isinstance(change, ops.CreateCheckConstraintOp)
            added: Any = change.to_constraint()
            after.append(comparison.catalog.check_text(added))
    return before, after
