"""What is unsafe on SQLite."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from sillar.migrations.lint import model
from sillar.migrations.lint.changes import check_change
from sillar.migrations.lint.dialect import DialectRules
from sillar.migrations.lint.facts import TableFact, fold
from sillar.migrations.lint.finding import Severity
from sillar.migrations.lint.model import Column
from sillar.migrations.lint.tokens import Lexicon

_CONSTANT = re.compile(r"'(?:[^']|'')*'|[-+]?[\d.]+(e[-+]?\d+)?|null|true|false|x'[^']*'", re.IGNORECASE)
_OFF = {"off", "0", "no", "false"}


class SQLiteRules(DialectRules):
    """Looks at one revision."""

    names: ClassVar[tuple[str, ...]] = ("sqlite",)
    lexicon: ClassVar[Lexicon] = Lexicon(brackets=True)

    def checks(self) -> dict[type, Callable[[Any], None]]:
        """What looks at which kind of statement."""
        return {
            model.AlterTable: self._alter_table,
            model.CreateIndex: self._create_index,
            model.Drop: self._drop,
            model.Maintain: self._maintain,
            model.Change: self._change,
            model.Setting: self._setting,
        }

    # --- ALTER TABLE -------------------------------------------------------------------------------------------------

    def _alter_table(self, action: model.AlterTable) -> None:
        table = action.table
        for part in action.parts:
            match part:
                case model.AddColumn(column):
                    self._add_column(table, column)
                case model.DropColumn(name):
                    self.column_dropped(table, name)
                    self._column_in_use(table, name)
                case model.RenameColumn(name, new_name):
                    self.column_renamed(table, name, new_name)
                case model.RenameTable(new_name):
                    if self._copy_of(new_name) != table:
                        self.table_renamed(table, new_name)
                case model.Unknown():
                    self.unknown(part)

    def _add_column(self, table: str, column: Column) -> None:
        """What ``sqlite3AlterFinishAddColumn`` refuses."""
        default = (column.default or "").strip()
        fact = self.context.facts.table(table)
        is_empty = fact is not None and fact.rows == 0
        why = ""
        if column.has("primary key"):
            why = "is a primary key"
        elif column.has("unique"):
            why = "is unique"
        elif column.generated == "stored":
            why = "is stored and generated"
        elif column.generated is None and not is_empty:
            if column.not_null and default.lower() in ("", "null"):
                why = "is NOT NULL without a default"
            elif default and not _CONSTANT.fullmatch(default):
                why = f"has a default that is not constant ({default})"
            elif default and column.has("foreign key") and self.context.facts.foreign_keys is not False:
                why = "refers to another table and has a default"
        if why:
            self.context.find(
                "column-cannot-be-added",
                f"{table}.{column.name} {why}",
                table=table,
                subject=column.name,
                column=column,
            )
        elif column.not_null and not default and column.generated is None:
            self.context.find("column-required", f"{table}.{column.name}", table=table, subject=column.name)

    def _column_in_use(self, table: str, name: str) -> None:
        fact = self.context.facts.table(table)
        if fact is None:
            return
        word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
        users = [f"constraint {each.kind}" for each in fact.constraints if fold(name) in map(fold, each.columns)]
        users += [f"check {each.expression}" for each in fact.constraints if word.search(each.expression)]
        users += [
            f"index {each.name}"
            for each in fact.indexes.values()
            if any(word.search(column) for column in each.columns) or word.search(each.where)
        ]
        about = re.compile(rf"\b{re.escape(table)}\b", re.IGNORECASE)
        users += [
            f"view {view}"
            for view, text in self.context.facts.views.items()
            if about.search(text) and word.search(text)
        ]
        if users:
            what = f"{table}.{name} ({', '.join(users)})"
            self.context.find("column-in-use", what, table=table, subject=name)

    # --- batch mode --------------------------------------------------------------------------------------------------

    def _copy_of(self, table: str) -> str | None:
        """The table that the revision creates, fills and renames to ``table`` after dropping it: batch mode."""
        made = {each.action.table for each in self.context.statements if isinstance(each.action, model.CreateTable)}
        dropped = False
        for statement in self.context.statements:
            action = statement.action
            if isinstance(action, model.Drop) and action.what == "table":
                dropped = dropped or fold(table) in map(fold, action.names)
            elif isinstance(action, model.AlterTable) and action.table in made and dropped:
                names = [part.new_name for part in action.parts if isinstance(part, model.RenameTable)]
                if fold(table) in map(fold, names):
                    return action.table
        return None

    def _drop(self, action: model.Drop) -> None:
        for name in action.names:
            copy = self._copy_of(name) if action.what == "table" else None
            if copy is not None:
                self._batch(name, copy)
            elif action.what != "trigger":
                self.dropped(action.what, name)

    def _batch(self, table: str, copy: str) -> None:
        self.context.find("batch-copies-table", table, table=table)
        old, new = self.context.facts.table(table), self.context.facts.table(copy)
        if old is None or not old.complete:
            return
        if new is not None:
            self._columns_lost(table, old, new)
        children = [
            each.name
            for each in self.context.facts.tables.values()
            if any(fold(key.referred_table or "") == fold(table) for key in each.constraints) and not each.created
        ]
        if children and self.context.facts.foreign_keys is not False:
            what = f"{table}, which {', '.join(children)} refer to"
            self.context.find("batch-deletes-children", what, table=table)
        made = {
            each.action.name
            for each in self.context.statements
            if isinstance(each.action, model.CreateObject) and each.action.what == "trigger"
        }
        lost = sorted(old.triggers - made)
        if lost:
            self.context.find("batch-drops-triggers", f"{', '.join(lost)} of {table}", table=table)

    def _columns_lost(self, table: str, old: TableFact, new: TableFact) -> None:
        """What the copy has not, and what it has that running code does not fill."""
        for key, column in old.columns.items():
            if key not in new.columns:
                self.column_dropped(table, column.name)
        for key, column in new.columns.items():
            plain = column.default is None and column.generated is None and not column.has("primary key")
            if key not in old.columns and column.not_null and plain:
                self.context.find("column-required", f"{table}.{column.name}", table=table, subject=column.name)

    # --- other statements --------------------------------------------------------------------------------------------

    def _create_index(self, action: model.CreateIndex) -> None:
        if self.context.is_large(action.table):
            self.context.find(
                "index-blocks-writes",
                f"{action.index.name} on {action.table}",
                table=action.table,
                subject=action.index.name,
                severity=Severity.WARNING,
                remedy="run it in a quiet hour: a file has one writer, and the index is built by it",
            )

    def _maintain(self, action: model.Maintain) -> None:
        if action.what == "vacuum" and self.transaction is not None:
            self.context.find("outside-transaction-only", "VACUUM")

    def _change(self, action: model.Change) -> None:
        check_change(action, self.context, set())

    def _setting(self, action: model.Setting) -> None:
        if action.name != "pragma foreign_keys" or not action.value:
            return
        if self.transaction is not None:
            self.context.find("pragma-in-transaction", f"PRAGMA foreign_keys = {action.value}")
        else:
            self.context.facts.foreign_keys = action.value.strip().lower() not in _OFF
