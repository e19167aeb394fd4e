"""The operations of one comparison in the order in which they can be done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from alembic.operations import ops
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Enum,
    ForeignKeyConstraint,
    MetaData,
    PrimaryKeyConstraint,
    UniqueConstraint,
)

from sillar.migrations.autogenerate import stock
from sillar.migrations.autogenerate.batches import batched
from sillar.migrations.autogenerate.catalog import Catalog, TableKey
from sillar.migrations.autogenerate.catalog.catalog import checks_of
from sillar.migrations.autogenerate.comparison import Comparison
from sillar.migrations.autogenerate.declarations import Declared
from sillar.migrations.autogenerate.defined import by_text, dropped_exclusions
from sillar.migrations.autogenerate.enums import Enums, model_enums
from sillar.migrations.autogenerate.filters import Filters
from sillar.migrations.autogenerate.identities import identified
from sillar.migrations.autogenerate.names import name_constraints
from sillar.migrations.autogenerate.operations import ConvertColumnOp, TableIndexOps
from sillar.migrations.autogenerate.renames import Renames
from sillar.migrations.autogenerate.routines import RowSecurity, compare_functions, compare_sequences
from sillar.migrations.autogenerate.text import as_text, mentions
from sillar.migrations.autogenerate.views import Views

Operations = list[ops.MigrateOperation]
_ORDER: Final[tuple[type[Any], ...]] = (
    ops.DropConstraintOp,
    ops.DropIndexOp,
    ops.AddColumnOp,
    ops.AlterColumnOp,
    ops.DropColumnOp,
    ops.AddConstraintOp,
    ops.CreateIndexOp,
)


class Assembly:
    """Puts together what all comparators found.

    Args:
        comparison: of the tables.
        renames: of tables and columns.
        metadata: the models'.
        schemas: that are compared.
    """

    def __init__(
        self,
        comparison: Comparison,
        renames: Renames,
        metadata: Sequence[MetaData],
        schemas: Iterable[str | None],
    ) -> None:
        self.comparison, self.renames, self.schemas = comparison, renames, sorted(schemas, key=lambda each: each or "")
        self.catalog: Catalog = comparison.catalog
        self.metadata = metadata
        self.declared = Declared.together(metadata)
        self.filters = Filters(comparison.context)
        self.rebuilt: set[str] = set()

    def assemble(self, upgrade: ops.UpgradeOps) -> None:
        """Put what Alembic collected, and the rest, in order."""
        tables = self._tables(upgrade.ops)
        first, last = Operations(), Operations()
        if "enums" in self.catalog.declares:
            models = model_enums(self.comparison.tables, self.catalog.dialect)
            enums = Enums(self.catalog, models, self.comparison.tables, self.renames)
            before, after = enums.operations(self.schemas)
            first += before
            last += after
            self.rebuilt = enums.rebuilt
            tables = [each for each in tables if not _is_settled(each, enums.defaults)]
        with self.catalog.printing(list(self.comparison.tables.values())):
            for schema in self.schemas:
                before, after = self._beside(schema, tables)
                first, last = [*before, *first], [*last, *after]
        self.renames.refuse_open()
        upgrade.ops[:] = [*first, *self.renames.operations, *tables, *last]

    # --- beside the tables ------------------------------------------------------------------------------------------

    def _beside(self, schema: str | None, tables: Operations) -> tuple[Operations, Operations]:
        first, last = Operations(), Operations()
        declares, complete = self.catalog.declares, self.declared.complete
        early_functions, late_functions = Operations(), Operations()
        if "functions" in declares:
            functions = [each for each in self.declared.functions if self._schema(each.schema) == schema]
            gone, made = compare_functions(self.catalog, schema, functions, "functions" in complete, self.filters)
            used = self._table_texts()
            for each in made:
                early = any(mentions(text, each.what[2]) for text in used)  # type: ignore[attr-defined]
                (early_functions if early else late_functions).append(each)
            last += gone
        if "sequences" in declares:
            sequences = self._sequences(schema)
            is_complete = bool(sequences) or "sequences" in complete
            made, gone = compare_sequences(self.catalog, schema, sequences, is_complete, self.filters)
            first += made
            last = gone + last
        first += early_functions
        if "views" in declares:
            views = Views(
                self.catalog,
                schema,
                [each for each in self.declared.views if self._schema(each.schema) == schema],
                "views" in complete,
                self.filters,
            )
            before, after = views.operations(
                lambda text: any(mentions(text, name) for name in self._touched(tables)), self.renames.in_view
            )
            first = before + first
            last = late_functions + after + last
        else:
            last = late_functions + last
        if "policies" in declares:
            security = RowSecurity(
                self.catalog,
                schema,
                self.comparison.tables,
                self.declared.policies,
                self.declared.row_security,
                "policies" in complete,
                self.filters,
            )
            before, after = security.operations()
            first = before + first
            last = last + after
        return first, last

    def _schema(self, schema: str | None) -> str | None:
        return None if schema == self.catalog.dialect.default_schema_name else schema

    def _sequences(self, schema: str | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for metadata in self.metadata:
            for sequence in metadata._sequences.values():
                if self._schema(sequence.schema) == schema:
                    found[sequence.name] = sequence
        return found

    def _table_texts(self) -> list[str]:
        """What tables of the models compute: it needs its functions before."""
        found = []
        for table in self.comparison.tables.values():
            for column in table.columns:
                default: Any = column.server_default
                if default is not None:
                    found.append(str(default.sqltext if isinstance(default, Computed) else getattr(default, "arg", "")))
            found += [str(each.sqltext) for each in checks_of(table, self.catalog.dialect)]
            found += [str(expression) for index in table.indexes for expression in index.expressions]
        return found

    def _touched(self, tables: Operations) -> set[str]:
        """Tables for which views are in the way: dropped or copied, or with a column that is dropped or converted."""
        names = set(self.rebuilt)
        for each in tables:
            if isinstance(each, ops.DropTableOp) or (
                isinstance(each, ops.ModifyTableOps)
                and (
                    self.catalog.copies_tables
                    or any(
                        isinstance(change, ops.DropColumnOp)
                        or (isinstance(change, ops.AlterColumnOp) and change.modify_type is not None)
                        for change in each.ops
                    )
                )
            ):
                names.add(str(each.table_name))
        if self.catalog.copies_tables:
            names |= {old[1] for old in self.renames.renamed_tables}
            names |= {key[1] for key, _, _ in self.renames.renamed_columns}
        return names

    # --- tables -----------------------------------------------------------------------------------------------------

    def _tables(self, found: Sequence[ops.MigrateOperation]) -> Operations:
        """New tables, changed ones, dropped ones; in each, what depends is dropped first and made last."""
        created, changed, dropped = Operations(), Operations(), list[ops.DropTableOp]()
        late: list[ops.MigrateOperation] = []
        indexes_dropped: dict[tuple[Any, Any], ops.MigrateOperation] = {}
        live = {(key[0], key[1]) for key in self.comparison.inspector.info_cache.get("alembic_columns", {})}
        drops = {(each.schema, each.table_name) for each in found if isinstance(each, ops.DropTableOp)}
        for each in found:
            if isinstance(each, ops.DropTableOp):
                dropped.append(each)
            elif isinstance(each, ops.ModifyTableOps):
                key = (each.schema, each.table_name)
                if key in drops:
                    made = [inner.reverse() for inner in each.ops]
                    indexes_dropped[key] = TableIndexOps(each.table_name, made, schema=each.schema, created=False)
                elif key in live:
                    changed += self._modified(each)
                else:
                    created.append(TableIndexOps(each.table_name, each.ops, schema=each.schema, created=True))
            elif isinstance(each, ops.CreateTableOp):
                _lift_checks(each, self.catalog)
                created.append(each)
                keys = self._late_keys(each, created)
                name_constraints(each.table_name, keys)
                late += keys
            else:
                created.append(each)
        gone: Operations = []
        for each in self._drop_order(dropped, gone):
            inner = self._made_again(each, indexes_dropped.get((each.schema, each.table_name)))
            gone += [inner, each] if inner is not None else [each]
        return [*created, *late, *changed, *gone]

    def _made_again(self, table: ops.DropTableOp, indexes: ops.MigrateOperation | None) -> ops.MigrateOperation | None:
        """What is made behind a table that is dropped when that is undone: its indexes, its exclusion constraints."""
        exclusions = dropped_exclusions(self.comparison, (table.schema, str(table.table_name)))
        if not exclusions:
            return indexes
        listed = [*(indexes.indexes if isinstance(indexes, TableIndexOps) else ()), *exclusions]
        return TableIndexOps(table.table_name, listed, schema=table.schema, created=False)

    def _late_keys(self, table: ops.CreateTableOp, created: Operations) -> list[ops.MigrateOperation]:
        """Foreign keys of a new table to one that is made after it, or that is told to be added later."""
        late: list[ops.MigrateOperation] = []
        made = {(each.schema, each.table_name) for each in created if isinstance(each, ops.CreateTableOp)}
        if self.catalog.copies_tables:  # SQLite asks for the other table when rows come
            return late
        for constraint in [each for each in table.columns if isinstance(each, ForeignKeyConstraint)]:
            other = constraint.referred_table
            key = (other.schema, other.name)
            known = key in made or (self._schema(other.schema), other.name) in self.renames.found["columns"]
            if known and not constraint.use_alter:
                continue
            table.columns = [each for each in table.columns if each is not constraint]
            table.columns = [
                _without_keys(each, constraint) if isinstance(each, Column) else each for each in table.columns
            ]
            late.append(ops.CreateForeignKeyOp.from_constraint(constraint))
        return late

    def _drop_order(self, dropped: list[ops.DropTableOp], gone: Operations) -> list[ops.DropTableOp]:
        """Tables that refer to others, before these. Of a circle, keys are dropped first: they come into ``gone``."""
        left = sorted(dropped, key=lambda each: str(each.table_name))
        names = {(each.schema, str(each.table_name)) for each in left}
        refers: dict[tuple[Any, str], set[tuple[Any, str]]] = {key: set() for key in names}
        for key in names:
            for constraint in stock.kept(self.comparison.inspector, "foreign_keys", key):
                other = (constraint["referred_schema"], constraint["referred_table"])
                if other in names and other != key:
                    refers[key].add(other)
        order: list[ops.DropTableOp] = []
        while left:
            free = [
                each
                for each in left
                if not any(
                    (each.schema, str(each.table_name)) in refers[other.schema, str(other.table_name)] for other in left
                )
            ]
            if not free:
                free = left[:1]
                gone += [] if self.catalog.copies_tables else _cut(free[0], left[1:])
            order += free
            left = [each for each in left if each not in free]
        return order

    def _modified(self, changes: ops.ModifyTableOps) -> Operations:
        key = (changes.schema, str(changes.table_name))
        if not self.catalog.copies_tables:
            name_constraints(key[1], changes.ops)
        live = self.comparison.live_columns(key)
        inner = [by_text(identified(each, live, self.catalog.dialect), self.catalog) for each in changes.ops]
        if self.catalog.converts_using:
            inner = [each for change in inner for each in self._converted(key, change)]
        added = {each.column.name for each in inner if isinstance(each, ops.AddColumnOp)}
        inner = sorted(inner, key=lambda change: _rank(change, added))
        if self.comparison.context.opts.get("render_as_batch") and self.catalog.copies_tables:
            return batched(self.comparison, self.renames, changes, inner)
        changes.ops = [each for change in inner for each in self._with_index(key, change)]
        return [changes]

    def _with_index(self, key: TableKey, change: ops.MigrateOperation) -> list[ops.MigrateOperation]:
        """A new foreign key, after the index that the engine would make by itself: with it, the downgrade drops it."""
        if not self.catalog.keys_make_indexes or not isinstance(change, ops.CreateForeignKeyOp):
            return [change]
        table = self.comparison.tables[key]
        columns = list(change.local_cols)
        listed: list[Iterable[Any]] = [index.columns for index in table.indexes]
        listed += [
            each.columns for each in table.constraints if isinstance(each, (UniqueConstraint, PrimaryKeyConstraint))
        ]
        if any([column.name for column in each][: len(columns)] == columns for each in listed):
            return [change]
        return [ops.CreateIndexOp(str(change.constraint_name), change.source_table, columns, schema=key[0]), change]

    def _converted(self, key: TableKey, change: ops.MigrateOperation) -> list[ops.MigrateOperation]:
        """How PostgreSQL converts values between kinds of types; a default is out of the way meanwhile."""
        if not isinstance(change, ops.AlterColumnOp) or change.modify_type is None or change.existing_type is None:
            return [change]
        before, after = change.existing_type, change.modify_type
        if (
            before._type_affinity is after._type_affinity
            and not isinstance(before, Enum)
            and not isinstance(after, Enum)
        ):
            return [change]
        compiler = self.catalog.dialect.type_compiler_instance
        name = self.catalog.dialect.identifier_preparer.quote(change.column_name)

        def using(source: Any, target: Any) -> str:
            through = "::text" if isinstance(source, Enum) or isinstance(target, Enum) else ""
            return f"{name}{through}::{compiler.process(target)}"

        existing = change.existing_server_default
        if existing in (None, False):
            return [ConvertColumnOp.of(change, using(before, after), using(after, before))]
        options: dict[str, Any] = {"schema": change.schema, "existing_nullable": change.existing_nullable}
        without = ops.AlterColumnOp(
            change.table_name,
            change.column_name,
            existing_type=before,
            existing_server_default=existing,
            modify_server_default=None,
            **options,
        )
        target = change.modify_server_default
        if target is False:
            model = self.comparison.tables[key].c[change.column_name]
            target = model.server_default
        change.modify_server_default, change.existing_server_default = False, None
        steps: list[ops.MigrateOperation] = [
            without,
            ConvertColumnOp.of(change, using(before, after), using(after, before)),
        ]
        if target is not None:
            steps.append(
                ops.AlterColumnOp(
                    change.table_name,
                    change.column_name,
                    existing_type=after,
                    existing_server_default=None,
                    modify_server_default=target,
                    **options,
                )
            )
        return steps


def _rank(change: ops.MigrateOperation, added: set[str]) -> float:
    if isinstance(change, ops.DropColumnOp) and change.column_name in added:
        return _ORDER.index(ops.AddColumnOp) - 0.5
    if isinstance(change, ops.DropConstraintOp) and change.constraint_type == "foreignkey":
        return -1
    if isinstance(change, ops.AddColumnOp) and change.column.computed is not None:
        return _ORDER.index(ops.DropColumnOp) + 0.5  # it reads what the others are then
    if isinstance(change, ops.CreateForeignKeyOp):
        return len(_ORDER)
    return next((place for place, kind in enumerate(_ORDER) if isinstance(change, kind)), len(_ORDER))


def _is_settled(changes: ops.MigrateOperation, defaults: set[tuple[TableKey, str]]) -> bool:
    """Take changes of defaults out that are made with the type. Returns whether nothing is left."""
    if not isinstance(changes, ops.ModifyTableOps) or isinstance(changes, TableIndexOps) or not defaults:
        return False
    key = (changes.schema, str(changes.table_name))
    for change in changes.ops:
        if isinstance(change, ops.AlterColumnOp) and (key, change.column_name) in defaults:
            change.modify_server_default = False
    changes.ops = [each for each in changes.ops if not isinstance(each, ops.AlterColumnOp) or each.has_changes()]
    return not changes.ops


def _lift_checks(table: ops.CreateTableOp, catalog: Catalog) -> None:
    """Have checks that stand at columns stand at the table: Alembic writes no others."""
    items: list[Any] = []
    each: Any
    for each in table.columns:
        checks = (
            [item for item in each.constraints if isinstance(item, CheckConstraint)] if isinstance(each, Column) else []
        )
        if checks:
            copied: Any = each._copy()
            copied.constraints = {item for item in copied.constraints if not isinstance(item, CheckConstraint)}
            items += [copied, *(CheckConstraint(as_text(catalog.check_text(item)), name=item.name) for item in checks)]
        else:
            items.append(each)
    table.columns = items


def _cut(table: ops.DropTableOp, others: Iterable[ops.DropTableOp]) -> Operations:
    """Drop the foreign keys of others to a table; what makes these tables again is without them, then."""
    cut = Operations()
    for other in others:
        made: Any = other._reverse
        if made is None:
            continue
        for constraint in [each for each in made.columns if isinstance(each, ForeignKeyConstraint)]:
            if constraint.referred_table.name != table.table_name or constraint.referred_table.schema != table.schema:
                continue
            cut.append(ops.DropConstraintOp.from_constraint(constraint))
            made.columns = [each for each in made.columns if each is not constraint]
            made.columns = [
                _without_keys(each, constraint) if isinstance(each, Column) else each for each in made.columns
            ]
    return cut


def _without_keys(column: Column[Any], constraint: ForeignKeyConstraint) -> Column[Any]:
    """A copy of a column that does not bring its foreign key with it."""
    if not any(key.constraint is constraint for key in column.foreign_keys):
        return column
    copied: Column[Any] = column._copy()
    copied.foreign_keys.clear()
    copied.constraints.clear()
    return copied
