"""Safe sequences for SQLite."""

from __future__ import annotations

import re
from collections.abc import Callable

from sillar.migrations.lint.model import Column
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

_NUMBERS = re.compile(r"INT|REAL|FLOA|DOUB|NUM|DEC|BOOL", re.IGNORECASE)


class SQLiteKitchen(Kitchen):
    """Writes recipes for one finding."""

    def add_column(self) -> Recipe | None:
        """A column that SQLite adds, and what makes it the one that is wanted."""
        column = self.details.get("column")
        if not isinstance(column, Column) or column.has("primary key") or column.has("foreign key"):
            return None
        name, type_ = self.quoted(column.name), str(column.type) if column.type is not None else ""
        start = f"ALTER TABLE {self.table} ADD COLUMN {name} {type_}".rstrip()
        drop = [execute(f"ALTER TABLE {self.table} DROP COLUMN {name}")]
        message = f"add {self.plain_table}.{column.name}"
        if column.generated is not None:
            add = execute(f"{start} GENERATED ALWAYS AS ({column.default}) VIRTUAL")
            return Recipe("add-column", (revision(f"{message}, computed when it is read", [add], drop),))
        if column.has("unique"):
            if column.not_null or column.default is not None:
                return None  # all rows would be alike
            return Recipe("add-column", (revision(message, [execute(start)], drop), self._unique(column)))
        if column.default is None or column.default.lower() == "null":
            zero = "0" if _NUMBERS.search(type_) else "''"
            comment = "# the value of rows that are there, and of those that old code writes: yours to say"
            add = execute(f"{start} NOT NULL DEFAULT {zero}")
            return Recipe("add-column", (revision(f"{message} with a default", [comment, add], drop),))
        return Recipe("add-column", (self._kept(column, start, drop), self._filled(column)))

    def _unique(self, column: Column) -> RecipeRevision:
        index = self.quoted(f"{self.plain_table}_{column.name}_key")
        lines = [
            acknowledged("index-blocks-writes", self.finding.table, "every row has NULL in it: it is built in no time"),
            execute(f"CREATE UNIQUE INDEX {index} ON {self.table} ({self.quoted(column.name)})"),
        ]
        return revision(f"{column.name} is unique", lines, [execute(f"DROP INDEX {index}")])

    def _kept(self, column: Column, start: str, drop: list[str]) -> RecipeRevision:
        """A default that is computed, by a trigger: SQLite adds no column with such a one."""
        name, trigger = self.quoted(column.name), self.quoted(f"{self.plain_table}_{column.name}_default")
        body = f"UPDATE {self.table} SET {name} = {column.default} WHERE {self._same()}"  # noqa: S608 (quoted names)
        lines = [
            execute(start),
            execute(f"CREATE TRIGGER {trigger} AFTER INSERT ON {self.table} WHEN NEW.{name} IS NULL BEGIN {body}; END"),
        ]
        undo = [execute(f"DROP TRIGGER {trigger}"), *drop]
        return revision(f"add {self.plain_table}.{column.name}, with its default by a trigger", lines, undo)

    def _filled(self, column: Column) -> RecipeRevision:
        return self.filled(column.name, column.default or "", f"{self.quoted(column.name)} IS NULL", verify=True)

    def _same(self) -> str:
        return " AND ".join(f"{self.quoted(key)} = NEW.{self.quoted(key)}" for key in self.keys)

    def rename_column(self) -> Recipe | None:
        """Both names beside each other, kept alike by triggers, until nobody uses the old one."""
        name, new = self.finding.subject or "", str(self.details.get("new"))
        known = self.fact.column(name) if self.fact is not None else None
        if known is None or self._is_used(name) or (known.not_null and known.default is None) or known.generated:
            return None
        this, that = self.quoted(name), self.quoted(new)
        given, differ = f"coalesce(NEW.{that}, NEW.{this})", f"WHEN NEW.{this} IS NOT NEW.{that}"
        changes = {
            "insert": ("INSERT", "", f"{this} = {given}, {that} = {given}"),
            "new": (f"UPDATE OF {that}", differ, f"{this} = NEW.{that}"),
            "old": (f"UPDATE OF {this}", differ, f"{that} = NEW.{this}"),
        }
        names = {when: self.quoted(f"{self.plain_table}_{name}_{when}") for when in changes}
        triggers = [
            execute(
                f"CREATE TRIGGER {names[when]} AFTER {event} ON {self.table} {condition} BEGIN"  # noqa: S608 (quoted)
                f" UPDATE {self.table} SET {change} WHERE {self._same()}; END"
            )
            for when, (event, condition, change) in changes.items()
        ]
        drop = [execute(f"DROP TRIGGER {each}") for each in names.values()]
        add = execute(f"ALTER TABLE {self.table} ADD COLUMN {that} {known.type or ''}".rstrip())
        contract = [
            acknowledged("drop-column", self.finding.table, f"deployed code reads and writes {new} alone"),
            *drop,
            execute(f"ALTER TABLE {self.table} DROP COLUMN {this}"),
        ]
        return Recipe(
            "rename-column",
            (
                revision(
                    f"add {self.plain_table}.{new} beside {name}",
                    [add, *triggers],
                    [*drop, execute(f"ALTER TABLE {self.table} DROP COLUMN {that}")],
                ),
                self.filled(new, this, f"{that} IS NULL AND {this} IS NOT NULL"),
                revision(f"drop {self.plain_table}.{name}", contract, NO_WAY_BACK),
            ),
            (
                f"deploy code that uses {new} alone before the last revision",
                f"{new} has neither a default nor NOT NULL afterwards: SQLite gives a column these in batch mode alone",
            ),
        )

    def _is_used(self, column: str) -> bool:
        """Whether something else speaks of the column: SQLite would not drop it."""
        assert self.fact is not None  # the caller has looked
        word = re.compile(rf"\b{re.escape(column)}\b", re.IGNORECASE)
        fact = self.fact
        texts = [*self.facts.views.values(), *(each.expression for each in fact.constraints)]
        columns = [each.columns for each in fact.constraints] + [each.columns for each in fact.indexes.values()]
        return any(word.search(text) for text in texts) or any(column in each for each in columns)

    def backfill(self) -> Recipe | None:
        """The same rows in batches."""
        return backfill(self)

    def drop_table(self) -> Recipe | None:
        """Renamed away, so that there is a way back; dropped in a later release."""
        return drop_table(self)


RECIPES: dict[str, Callable[[SQLiteKitchen], Recipe | None]] = {
    "column-cannot-be-added": SQLiteKitchen.add_column,
    "rename-column": SQLiteKitchen.rename_column,
    "unbounded-change": SQLiteKitchen.backfill,
    "drop-table": SQLiteKitchen.drop_table,
}
