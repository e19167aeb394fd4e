"""What is unsafe on PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from sillar.migrations.lint import model
from sillar.migrations.lint.changes import check_change
from sillar.migrations.lint.context import Context
from sillar.migrations.lint.dialect import DialectRules
from sillar.migrations.lint.facts import fold
from sillar.migrations.lint.model import Statement
from sillar.migrations.lint.postgresql.alterations import POSTGRESQL, Alterations
from sillar.migrations.lint.tokens import Lexicon

TABLES_LOCKED_MAX = 2
_HARMLESS_LOCKS = {"ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE"}
_OUTSIDE_ONLY = {
    "vacuum", "vacuum full", "alter system", "create tablespace", "drop tablespace", "create subscription",
    "drop subscription",
}  # fmt: skip
_NOT_LOCKING = (model.ValidateConstraint, model.Unknown)
_WHOLE = {"schema", "database", "system"}


class PostgreSQLRules(DialectRules):
    """Looks at one revision."""

    names: ClassVar[tuple[str, ...]] = ("postgresql",)
    lexicon: ClassVar[Lexicon] = POSTGRESQL
    squawk: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._alterations = Alterations(self)
        self._locked: dict[int, set[str]] = {}
        self._enum_values_added: dict[str, int] = {}
        self._enums_away: dict[str, tuple[str, ...]] = {}
        self._types_away: set[str] = set()

    def checks(self) -> dict[type, Callable[[Any], None]]:
        """What looks at which kind of statement."""
        return {
            model.AlterTable: self._alter_table,
            model.CreateTable: self._create_table,
            model.CreateIndex: self._create_index,
            model.DropIndex: self._drop_index,
            model.Drop: self._drop,
            model.Rename: self._rename,
            model.AddEnumValue: self._add_enum_value,
            model.RenameEnumValue: self._rename_enum_value,
            model.CreateObject: self._create_object,
            model.Maintain: self._maintain,
            model.Change: self._change,
            model.Setting: self._setting,
        }

    def check(self, statement: Statement) -> None:
        """Find what is unsafe in a statement. The facts are still those from before it."""
        self.transaction = statement.transaction
        self._values_used(statement)
        super().check(statement)

    # --- tables ------------------------------------------------------------------------------------------------------

    def _alter_table(self, action: model.AlterTable) -> None:
        for part in action.parts:
            if isinstance(part, model.Unknown):
                self.unknown(part)
            elif isinstance(part, model.RenameTable):
                self._rename(model.Rename("table", action.table, part.new_name))
            elif isinstance(part, model.RowSecurity):
                self._row_security(action.table, part)
            else:
                self._alterations.check(action.table, part, self.transaction, locked=self._is_held(action, part))
        locking = [part for part in action.parts if not isinstance(part, _NOT_LOCKING)]
        if locking:
            referred = {
                part.constraint.referred_table
                for part in locking
                if isinstance(part, model.AddConstraint) and part.constraint.referred_table
            }
            self._lock(action.table, *sorted(referred))

    def _is_held(self, action: model.AlterTable, part: model.Part) -> bool:
        """Whether DDL before a part, or another part beside it, holds a lock until the end of the transaction."""
        beside = any(other is not part and not isinstance(other, _NOT_LOCKING) for other in action.parts)
        return beside or bool(self._locked.get(self.transaction or 0))

    def _lock(self, *tables: str) -> None:
        if self.transaction is None:
            return
        held = self._locked.setdefault(self.transaction, set())
        before = len(held)
        held.update(fold(table) for table in tables if not self.context.is_new(table))
        if before <= TABLES_LOCKED_MAX < len(held):
            self.context.find("many-tables-locked", f"{', '.join(sorted(held))} in one transaction")

    def _create_table(self, action: model.CreateTable) -> None:
        if action.partition_of is not None and not action.is_default:
            self._alterations.check_default_partition(action.partition_of, action.table)
        locked = self._locked.get(self.transaction or 0, set())
        if locked:
            check_change(model.Change("insert", action.table, sources=action.sources), self.context, locked)
        for column in action.columns:
            self._alterations.check_type(action.table, column)

    def _row_security(self, table: str, part: model.RowSecurity) -> None:
        fact = self.context.facts.table(table)
        policies = bool(fact is not None and fact.policies) or any(
            each.what == "policy" and fold(each.table or "") == fold(table) for each in self._created()
        )
        if part.enabled and not policies:
            self.context.find("row-security-without-policy", table, table=table)

    def _created(self) -> Iterable[model.CreateObject]:
        """What the revision creates besides tables."""
        return (each.action for each in self.context.statements if isinstance(each.action, model.CreateObject))

    # --- indexes -----------------------------------------------------------------------------------------------------

    def _create_index(self, action: model.CreateIndex) -> None:
        name = action.index.name or "an index"
        where = f"{name} on {action.table}"
        fact = self.context.facts.table(action.table)
        if action.only and (fact is None or fact.partitioned):
            return  # partitions get theirs one by one
        if not action.concurrently:
            self.context.find(
                "index-blocks-writes", where, table=action.table, subject=action.index.name, index=action.index
            )
            self._lock(action.table)
            return
        if self.transaction is not None:
            self.context.find("concurrently-in-transaction", where, subject=action.index.name, index=action.index)
        if fact is not None and fact.partitioned:
            self.context.find("concurrently-on-partitioned-table", where, subject=action.index.name)

    def _drop_index(self, action: model.DropIndex) -> None:
        for name in action.names:
            owner = self.context.facts.index_owner(name)
            if action.concurrently:
                if self.transaction is not None:
                    self.context.find("concurrently-in-transaction", name, subject=name)
            else:
                table = owner.name if owner is not None else None
                index = owner.indexes[fold(name)] if owner is not None else None
                self.context.find("drop-index-locks", name, table=table, subject=name, index=index)

    def column_renamed(self, table: str, name: str, new_name: str) -> None:
        """A column is renamed; where another takes its name in the same transaction, running code sees no gap."""
        renamed = [
            (fold(part.name), fold(part.new_name))
            for each in self.context.statements
            if isinstance(each.action, model.AlterTable) and each.transaction == self.transaction is not None
            if fold(each.action.table) == fold(table)
            for part in each.action.parts
            if isinstance(part, model.RenameColumn)
        ]
        if not (fold(name) in {new for _, new in renamed} or fold(new_name) in {old for old, _ in renamed}):
            super().column_renamed(table, name, new_name)

    # --- other objects -----------------------------------------------------------------------------------------------

    def _drop(self, action: model.Drop) -> None:
        for name in action.names:
            if action.what == "database":
                self._outside(f"DROP DATABASE {name}")
            if not self._comes_back(action.what, name) and fold(name) not in self._types_away:
                self.dropped(action.what, name, cascade=action.cascade)
        if action.what == "table":
            self._lock(*action.names)

    def _comes_back(self, what: str, name: str) -> bool:
        """Whether the same transaction creates it anew, or created it itself: nobody sees it missing."""
        for each in self.context.statements:
            action = each.action
            if each.transaction is None or each.transaction != self.transaction:
                continue
            created = isinstance(action, model.CreateObject) and fold(action.name) == fold(name) and action.what
            if created == what or (what == "table" and created == "view"):
                return True
            renamed = _new_name(action, what)
            if renamed is not None and fold(renamed) == fold(name):
                return True
        return False

    def _takes_a_place(self, action: model.Rename) -> bool:
        """Whether something was renamed away in the same transaction to make room."""
        return any(
            isinstance(each.action, model.Rename)
            and each.transaction == self.transaction is not None
            and (each.action.what, fold(each.action.name)) == (action.what, fold(action.new_name))
            for each in self.context.statements
        )

    def _rename(self, action: model.Rename) -> None:
        if action.what == "type":
            self._types_away.add(fold(action.new_name))
            values = self.context.facts.enums.get(fold(action.name))
            if values is not None:
                self._enums_away[fold(action.name)] = values
        if action.what == "table":
            self._lock(action.name)
        if self._comes_back(action.what, action.name) or self._takes_a_place(action):
            return
        if action.what == "table":
            self.table_renamed(action.name, action.new_name)
        else:
            self.context.find("rename-object", f"{action.what} {action.name} to {action.new_name}", subject=action.name)

    def _create_object(self, action: model.CreateObject) -> None:
        if action.what == "database":
            self._outside(f"CREATE DATABASE {action.name}")
        before = self._enums_away.get(fold(action.name), ())
        gone = [value for value in before if value not in action.values]
        if action.what == "type" and gone:
            self.context.find(
                "enum-value-removed",
                f"{', '.join(gone)} of {action.name}",
                subject=action.name,
                values=action.values,
                gone=gone,
            )

    # --- enums -------------------------------------------------------------------------------------------------------

    def _add_enum_value(self, action: model.AddEnumValue) -> None:
        if self.transaction is None:
            return
        made_here = any(
            isinstance(each.action, model.CreateObject) and each.transaction == self.transaction
            and (each.action.what, fold(each.action.name)) == ("type", fold(action.type))
            for each in self.context.statements
        )  # fmt: skip
        if made_here and not self.context.facts.before(17):
            return
        self._enum_values_added[action.value] = self.transaction
        if self.context.facts.before(12):
            self.context.find("enum-value-in-transaction", f"{action.value} of {action.type}", subject=action.type)

    def _values_used(self, statement: Statement) -> None:
        if isinstance(statement.action, (model.AddEnumValue, model.RenameEnumValue)):
            return
        for value, transaction in list(self._enum_values_added.items()):
            if transaction == statement.transaction and value in statement.strings:
                del self._enum_values_added[value]
                self.context.find("enum-value-used-in-transaction", repr(value), subject=value)

    def _rename_enum_value(self, action: model.RenameEnumValue) -> None:
        self.context.find(
            "enum-value-removed", f"{action.value} of {action.type} becomes {action.new_value}", subject=action.type
        )

    # --- the rest ----------------------------------------------------------------------------------------------------

    def _maintain(self, action: model.Maintain) -> None:
        what = action.what
        where = f"{what.upper()} of {', '.join(action.tables) or 'everything'}"
        partitioned = any(fact.partitioned for table in action.tables if (fact := self.context.facts.table(table)))
        if what in _OUTSIDE_ONLY or (what == "reindex" and (action.mode in _WHOLE or partitioned)):
            self._outside(where)
        if action.concurrently and what == "reindex" and self.transaction is not None:
            self.context.find("concurrently-in-transaction", where)
        for table in action.tables:
            if what in ("vacuum full", "cluster", "set tablespace"):
                self.context.find("table-rewritten", where, table=table)
            elif what == "reindex" and not action.concurrently and action.mode not in _WHOLE:
                owner = self.context.facts.index_owner(table) if action.mode == "index" else None
                self.context.find("reindex-blocks", where, table=owner.name if owner is not None else table)
            elif what == "refresh" and not action.concurrently:
                self.context.find("refresh-blocks", where, table=table)
            elif what == "truncate":
                self.context.find("truncate", where, table=table)
            elif what == "lock" and action.mode not in _HARMLESS_LOCKS:
                self.context.find("lock-table", where, table=table)
            elif what == "domain":
                self._domain(table)
        if what == "reindex" and action.mode in _WHOLE and not action.concurrently:
            self.context.find("reindex-blocks", where)
        if not action.tables and what in ("vacuum full", "cluster", "set tablespace"):
            self.context.find("table-rewritten", where)

    def _domain(self, name: str) -> None:
        facts, key = self.context.facts, fold(name)
        users = [
            table
            for table in facts.tables.values()
            if any(column.type is not None and column.type.name == key for column in table.columns.values())
        ]
        created = any(each.what == "domain" and fold(each.name) == key for each in self._created())
        if created or (not users and key in facts.domains):
            return
        largest = max(users, key=lambda table: table.rows or 0).name if users else None
        self.context.find("domain-constraint-scans", name, table=largest, subject=name)

    def _outside(self, where: str) -> None:
        if self.transaction is not None:
            self.context.find("outside-transaction-only", where)

    def _change(self, action: model.Change) -> None:
        check_change(action, self.context, self._locked.get(self.transaction or 0, set()))

    def _setting(self, action: model.Setting) -> None:
        if action.name == "lock_timeout" and re.fullmatch(r"0\s*(ms|s|min)?", action.value.strip()):
            self.context.find("lock-timeout-off")
        if action.name == "timezone":
            self.context.facts.time_zone = action.value


def _new_name(action: model.Action, what: str) -> str | None:
    """The name that a table, a type, … gets."""
    if isinstance(action, model.Rename):
        return action.new_name if action.what == what else None
    if isinstance(action, model.AlterTable) and what == "table":
        return next((part.new_name for part in action.parts if isinstance(part, model.RenameTable)), None)
    return None
