"""Safe sequences for MySQL and MariaDB."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from sillar.migrations.lint.model import Column, ColumnType, Constraint
from sillar.migrations.lint.recipes.recipe import (
    NO_WAY_BACK,
    Kitchen,
    Recipe,
    RecipeRevision,
    acknowledged,
    execute,
    revision,
)
from sillar.migrations.lint.recipes.shared import backfill, drop_table

ZEROS = {
    **dict.fromkeys(("tinyint", "smallint", "mediumint", "integer", "bigint", "numeric", "boolean"), "0"),
    **dict.fromkeys(("float", "real", "double precision"), "0"),
    **dict.fromkeys(("char", "varchar"), "''"),
    **dict.fromkeys(("datetime", "timestamp"), "'2000-01-01'"),
    "date": "'2000-01-01'",
}


class MySQLKitchen(Kitchen):
    """Writes recipes for one finding."""

    quote_mark = "`"

    def foreign_key(self) -> Recipe | None:
        """Without the check of all rows, which copies the table; orphans are looked for before."""
        constraint = self.details.get("constraint")
        if not isinstance(constraint, Constraint) or not constraint.text or constraint.referred_table is None:
            return None
        name = constraint.name or f"fk_{self.plain_table}_{'_'.join(constraint.columns)}"
        pairs = list(zip(constraint.columns, constraint.referred_columns, strict=False))
        joined = " AND ".join(f"c.{self.quoted(mine)} = p.{self.quoted(other)}" for mine, other in pairs)
        given = " AND ".join(f"c.{self.quoted(mine)} IS NOT NULL" for mine, _ in pairs)
        orphans = (
            f"SELECT 1 FROM {self.table} c LEFT JOIN {self.quoted(constraint.referred_table)} p ON {joined}"  # noqa: S608 (quoted names)
            f" WHERE {given} AND p.{self.quoted(pairs[0][1])} IS NULL LIMIT 1"
        )
        looked = [
            "if not op.get_context().as_sql:",
            f"    orphan = op.get_bind().execute(sa.text({orphans!r})).first()",
            f"    assert orphan is None, 'rows of {self.plain_table} refer to what is not there: resolve them'",
        ]
        add = [
            *looked,
            execute("SET SESSION foreign_key_checks = 0"),
            execute(f"ALTER TABLE {self.table} ADD CONSTRAINT {self.quoted(name)} {constraint.text}"),
            execute("SET SESSION foreign_key_checks = 1"),
            "# once more: for rows written between the first look and the key",
            *looked,
        ]
        drop = [execute(f"ALTER TABLE {self.table} DROP FOREIGN KEY {self.quoted(name)}")]
        return Recipe("foreign-key", (revision(f"add {name} without copying {self.plain_table}", add, drop),))

    def default(self) -> Recipe | None:
        """A default for new rows; the old ones are filled in batches."""
        column = self.details.get("column")
        if not isinstance(column, Column) or column.default is None:
            return None
        name = self.quoted(column.name)
        add = [
            execute(f"ALTER TABLE {self.table} ADD COLUMN {name} {column.type}"),
            execute(f"ALTER TABLE {self.table} ALTER COLUMN {name} SET DEFAULT {column.default}"),
        ]
        drop = [execute(f"ALTER TABLE {self.table} DROP COLUMN {name}")]
        fill = self.filled(column.name, column.default, f"{name} IS NULL", verify=True)
        return Recipe(
            "volatile-default",
            (
                revision(f"add {self.plain_table}.{column.name} with a default for new rows", add, drop),
                fill,
            ),
        )

    def required(self) -> Recipe | None:
        """With a default, which costs nothing, until all code writes it."""
        column = self.details.get("column")
        zero = self._zero(column.type) if isinstance(column, Column) else None
        if not isinstance(column, Column) or zero is None:
            return None
        name, type_ = self.quoted(column.name), self.typed(column.type)
        add = execute(f"ALTER TABLE {self.table} ADD COLUMN {name} {type_} NOT NULL DEFAULT {zero}")
        drop = [execute(f"ALTER TABLE {self.table} DROP COLUMN {name}")]
        comment = "# the value of rows that are there, and of those that old code writes: yours to say"
        without = [execute(f"ALTER TABLE {self.table} ALTER COLUMN {name} DROP DEFAULT")]
        undo = [execute(f"ALTER TABLE {self.table} ALTER COLUMN {name} SET DEFAULT {zero}")]
        return Recipe(
            "not-null",
            (
                revision(f"add {self.plain_table}.{column.name} with a default", [comment, add], drop),
                revision(f"{self.plain_table}.{column.name} without a default", without, undo),
            ),
            (f"deploy code that writes {column.name} between the two",),
        )

    def _zero(self, type_: ColumnType | None) -> str | None:
        return ZEROS.get(type_.name) if type_ is not None else None

    def drop_column(self) -> Recipe | None:
        """Rows may come without it first; then the column goes, which is instant."""
        name = self.finding.subject or ""
        known = self._plain(name)
        if known is None:
            return None
        quoted = self.quoted(name)
        definition = f"{self.typed(known.type)}{' NOT NULL' if known.not_null else ''}"
        drop = [
            acknowledged("drop-column", self.finding.table, f"deployed code does not know {name}"),
            execute(f"ALTER TABLE {self.table} DROP COLUMN {quoted}"),
        ]
        steps = [revision(f"drop {self.plain_table}.{name}", drop, NO_WAY_BACK)]
        if known.not_null and known.default is None:
            relax = [execute(f"ALTER TABLE {self.table} ALTER COLUMN {quoted} SET DEFAULT {self._zero(known.type)}")]
            undo = [execute(f"ALTER TABLE {self.table} ALTER COLUMN {quoted} DROP DEFAULT")]
            steps.insert(0, revision(f"rows may come without {self.plain_table}.{name}", relax, undo))
        note = f"deploy code that does not know {name} before the last revision (it was {definition})"
        return Recipe("drop-column", tuple(steps), (note,))

    def rename_table(self) -> Recipe | None:
        """A view of the new name first; it and the table change places in one statement."""
        new = str(self.details.get("new"))
        if self.fact is not None and (self.fact.triggers or "." in new):
            return None
        old, named, away = self.table, self.quoted(new), self.quoted(f"{new}_view")
        view = execute(f"CREATE VIEW {named} AS SELECT * FROM {old}")  # noqa: S608 (quoted names)
        swap = [
            acknowledged("rename-table", None, f"deployed code uses {new} alone, which is there before and after"),
            acknowledged("drop-view", None, f"it was a view of {self.plain_table}, whose place it has taken"),
            execute(f"RENAME TABLE {named} TO {away}, {old} TO {named}"),
            execute(f"DROP VIEW {away}"),
        ]
        back = [execute(f"RENAME TABLE {named} TO {old}"), view]
        return Recipe(
            "rename-table",
            (
                revision(f"view {new} of {self.plain_table}", [view], [execute(f"DROP VIEW {named}")]),
                revision(f"rename {self.plain_table} to {new}, in place of the view", swap, back),
            ),
            (f"deploy code that uses {new} alone between the two",),
        )

    # --- one column in the place of another --------------------------------------------------------------------------

    def column_type(self) -> Recipe | None:
        """A column of the new type, kept by triggers, filled, swapped in."""
        name, type_ = self.finding.subject or "", self.details.get("type")
        known, definition = self._plain(name), self.details.get("definition")
        if known is None or not isinstance(type_, ColumnType) or not isinstance(definition, Column):
            return None
        if definition.identity or definition.generated or definition.name != name:
            return None
        return Recipe("column-type", tuple(self._exchanged(known, definition)))

    def _plain(self, column: str) -> Column | None:
        """What is known of a column that no key speaks of, and that rows can come without; None if it is not such."""
        fact = self.fact
        known = fact.column(column) if fact is not None else None
        if fact is None or known is None or known.type is None or known.identity or known.generated:
            return None
        others = [each for table in self.facts.tables.values() for each in table.constraints]
        word = re.compile(rf"\b{re.escape(column)}\b", re.IGNORECASE)
        keyed = any(column in each.columns or word.search(each.expression) for each in fact.constraints)
        referred = any(each.referred_table == fact.name and column in each.referred_columns for each in others)
        if keyed or referred or (known.not_null and known.default is None and self._zero(known.type) is None):
            return None
        return known

    def _filled_column(self, known: Column, column: Column, triggers: list[str]) -> list[RecipeRevision]:
        """A column beside another one: kept by triggers, filled, never null if it is not to be, with its indexes."""
        name, new = self.quoted(known.name), self.quoted(column.name)
        type_ = self.typed(column.type)
        drop = [execute(f"DROP TRIGGER {self._trigger(known, when)}") for when in ("insert", "update")]
        add = execute(f"ALTER TABLE {self.table} ADD COLUMN {new} {type_}")
        undo = [*drop, execute(f"ALTER TABLE {self.table} DROP COLUMN {new}")]
        where = f"{new} IS NULL AND {name} IS NOT NULL"
        revisions = [
            revision(f"add {self.plain_table}.{column.name}, kept by triggers", [add, *triggers], undo),
            self.filled(column.name, name, where),
        ]
        definition = type_ + (" NOT NULL" if column.not_null else "")
        definition += f" DEFAULT {column.default}" if column.default is not None else ""
        if definition != type_:
            reason = "rows are read and written meanwhile"
            lines = [
                acknowledged("table-rebuilt", self.finding.table, reason),
                execute(f"ALTER TABLE {self.table} MODIFY COLUMN {new} {definition}"),
            ]
            loose = [execute(f"ALTER TABLE {self.table} MODIFY COLUMN {new} {type_}")]
            revisions.append(revision(f"{self.plain_table}.{column.name} is as {known.name}", lines, loose))
        return revisions + self._indexes_alike(known.name, column.name)

    def _indexes_alike(self, name: str, new: str) -> list[RecipeRevision]:
        assert self.fact is not None  # the caller has looked
        revisions = []
        for index in self.fact.indexes.values():
            if name not in index.columns or index.kind:
                continue
            alike = self.quoted(f"{index.name}_new")
            columns = ", ".join(self.quoted(new if column == name else column) for column in index.columns)
            add = execute(f"ALTER TABLE {self.table} ADD {'UNIQUE ' if index.unique else ''}INDEX {alike} ({columns})")
            drop = execute(f"ALTER TABLE {self.table} DROP INDEX {alike}")
            revisions.append(revision(f"index {index.name}_new", [add], [drop]))
        return revisions

    def _trigger(self, known: Column, when: str) -> str:
        return self.quoted(f"{self.plain_table}_{known.name}_{when}")

    def _keeping(self, known: Column, insert: str, update: str) -> list[str]:
        return [
            execute(
                f"CREATE TRIGGER {self._trigger(known, when)} BEFORE {when.upper()} ON {self.table}"
                f" FOR EACH ROW SET {what}"
            )
            for when, what in (("insert", insert), ("update", update))
        ]

    def _optional(self, known: Column) -> list[str]:
        """Rows may come without the column."""
        if not known.not_null or known.default is not None:
            return []
        zero = self._zero(known.type)
        return [execute(f"ALTER TABLE {self.table} ALTER COLUMN {self.quoted(known.name)} SET DEFAULT {zero}")]

    def _exchanged(self, known: Column, definition: Column) -> list[RecipeRevision]:
        """The triggers hold before and after the columns change names: no row is written to one of them alone."""
        name = known.name
        new, old = f"{name}_new", f"{name}_old"
        kept = f"NEW.{self.quoted(new)} = NEW.{self.quoted(name)}"
        this, that = self.quoted(name), self.quoted(new)
        swap = [
            *self._optional(known),
            acknowledged("rename-column", self.finding.table, f"{name} is there before and after, in one statement"),
            execute(f"ALTER TABLE {self.table} RENAME COLUMN {this} TO {that}, RENAME COLUMN {that} TO {this}"),
            *(execute(f"DROP TRIGGER {self._trigger(known, when)}") for when in ("insert", "update")),
            execute(f"ALTER TABLE {self.table} RENAME COLUMN {that} TO {self.quoted(old)}"),
        ]
        contract = [
            acknowledged("drop-column", self.finding.table, f"nobody uses {old}: {name} has taken its place"),
            execute(f"ALTER TABLE {self.table} DROP COLUMN {self.quoted(old)}"),
        ]
        column = replace(definition, name=new)
        return [
            *self._filled_column(known, column, self._keeping(known, kept, kept)),
            revision(f"put {new} in the place of {name}", swap, NO_WAY_BACK),
            revision(f"drop {self.plain_table}.{old}", contract, NO_WAY_BACK),
        ]

    def rename_column(self) -> Recipe | None:
        """Both names beside each other, kept alike by triggers, until nobody uses the old one."""
        name, new = self.finding.subject or "", str(self.details.get("new"))
        known = self._plain(name)
        if known is None:
            return None
        old_q, new_q = f"NEW.{self.quoted(name)}", f"NEW.{self.quoted(new)}"
        was = f"OLD.{self.quoted(new)}"
        insert = f"{old_q} = COALESCE({new_q}, {old_q}), {new_q} = COALESCE({new_q}, {old_q})"
        update = f"{old_q} = IF({new_q} <=> {was}, {old_q}, {new_q}), {new_q} = {old_q}"
        contract = [
            acknowledged("drop-column", self.finding.table, f"deployed code reads and writes {new} alone"),
            *(execute(f"DROP TRIGGER {self._trigger(known, when)}") for when in ("insert", "update")),
            execute(f"ALTER TABLE {self.table} DROP COLUMN {self.quoted(name)}"),
        ]
        triggers = [*self._optional(known), *self._keeping(known, insert, update)]
        beside = replace(known, name=new, not_null=False, default=None)
        last = [revision(f"drop {self.plain_table}.{name}", contract, NO_WAY_BACK)]
        if known.not_null or known.default is not None:
            default = f" DEFAULT {known.default}" if known.default is not None else ""
            null = " NOT NULL" if known.not_null else ""
            tight = [
                acknowledged("table-rebuilt", self.finding.table, "rows are read and written meanwhile"),
                execute(
                    f"ALTER TABLE {self.table} MODIFY COLUMN {self.quoted(new)} {self.typed(known.type)}{null}{default}"
                ),
            ]
            last.append(revision(f"{self.plain_table}.{new} is as {name} was", tight, NO_WAY_BACK))
        return Recipe(
            "rename-column",
            (*self._filled_column(known, beside, triggers), *last),
            (f"deploy code that uses {new} alone before {self.plain_table}.{name} is dropped",),
        )

    def backfill(self) -> Recipe | None:
        """The same rows in batches."""
        return backfill(self)

    def drop_table(self) -> Recipe | None:
        """Renamed away, so that there is a way back; dropped in a later release."""
        return drop_table(self)


RECIPES: dict[str, Callable[[MySQLKitchen], Recipe | None]] = {
    "column-required": MySQLKitchen.required,
    "drop-column": MySQLKitchen.drop_column,
    "rename-column": MySQLKitchen.rename_column,
    "rename-table": MySQLKitchen.rename_table,
    "foreign-key-copies-table": MySQLKitchen.foreign_key,
    "volatile-default": MySQLKitchen.default,
    "default-rewrites": MySQLKitchen.default,
    "type-change-rewrites": MySQLKitchen.column_type,
    "unbounded-change": MySQLKitchen.backfill,
    "drop-table": MySQLKitchen.drop_table,
}
