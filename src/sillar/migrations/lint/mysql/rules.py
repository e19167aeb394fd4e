"""What is unsafe on MySQL and MariaDB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from sillar.migrations.lint import model
from sillar.migrations.lint.changes import check_change
from sillar.migrations.lint.context import Context
from sillar.migrations.lint.dialect import DialectRules
from sillar.migrations.lint.facts import TableFact, fold
from sillar.migrations.lint.model import Column, Constraint, Index
from sillar.migrations.lint.mysql.online import Cost, default_cost, is_per_row, modification_cost
from sillar.migrations.lint.tokens import Lexicon

_COPIED = {"convert charset", "partition", "add partitions", "system versioning"}
_EMPTIED = {"drop partition", "truncate partition"}
_OFF = {"0", "off", "false"}
_PERMITS = {"INSTANT": Cost.INSTANT, "INPLACE": Cost.SHARED, "NOCOPY": Cost.ONLINE}


class MySQLRules(DialectRules):
    """Looks at one revision for MySQL."""

    names: ClassVar[tuple[str, ...]] = ("mysql",)
    lexicon: ClassVar[Lexicon] = Lexicon(backslash_escapes=True, double_quoted_strings=True, hash_comments=True)
    is_mariadb: ClassVar[bool] = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._foreign_keys = True
        self._rows_written: str | None = None
        self._table_work: dict[str, int] = {}

    def checks(self) -> dict[type, Callable[[Any], None]]:
        """What looks at which kind of statement."""
        return {
            model.AlterTable: self._alter_table,
            model.CreateTable: self._create_table,
            model.CreateIndex: self._create_index,
            model.DropIndex: lambda action: self._commits(action.table or ""),
            model.Drop: self._drop,
            model.Rename: self._rename,
            model.Maintain: self._maintain,
            model.Change: self._change,
            model.Setting: self._setting,
        }

    # --- ALTER TABLE -------------------------------------------------------------------------------------------------

    def _alter_table(self, action: model.AlterTable) -> None:
        self._commits(action.table)
        if self._refused(action):
            return
        forced = action.algorithm == "COPY" or action.lock in ("SHARED", "EXCLUSIVE")
        if forced:
            asked = f"ALGORITHM={action.algorithm}" if action.algorithm == "COPY" else f"LOCK={action.lock}"
            self.context.find("table-copied", f"{asked} of {action.table}", table=action.table)
        for part in action.parts:
            self._check_part(action, part, forced=forced)
        if action.parts and max(self._cost(action, part) for part in action.parts) in (
            Cost.ONLINE, Cost.REBUILD, Cost.SHARED, Cost.COPY,
        ):  # fmt: skip
            self._note_work(action.table)

    def _note_work(self, table: str) -> None:
        count = self._table_work[fold(table)] = self._table_work.get(fold(table), 0) + 1
        if count == 2:
            self.context.find("separate-alters", table, table=table)

    def _refused(self, action: model.AlterTable) -> bool:
        """Whether the server refuses the statement, because it asks for a way that there is not."""
        limit = _PERMITS.get(action.algorithm, Cost.UNKNOWN)
        if action.lock == "NONE":
            limit = min(limit, Cost.REBUILD)
        if limit is Cost.UNKNOWN:
            return False
        for part in action.parts:
            cost = self._cost(action, part)
            if cost is not Cost.UNKNOWN and cost > limit:
                asked = ", ".join(
                    f"{name}={value}"
                    for name, value in (("ALGORITHM", action.algorithm), ("LOCK", action.lock))
                    if value
                )
                self.context.find("algorithm-refused", f"{asked} of {action.table}", table=action.table)
                return True
        return False

    def _cost(self, action: model.AlterTable, part: model.Part) -> Cost:
        """What one part costs."""
        match part:
            case model.AddColumn(column):
                return self._added_cost(column, part.position)
            case model.DropColumn(name):
                return self._dropped_cost(action.table, name)
            case model.ModifyColumn():
                return self._modified_cost(action.table, part)
            case model.AddConstraint(constraint):
                return self._constraint_cost(constraint)
            case model.DropConstraint(kind="primary key"):
                return Cost.REBUILD if _adds_primary_key(action) else Cost.COPY
            case model.EnforceConstraint():
                return Cost.COPY
            case model.AddIndex(index):
                return Cost.SHARED if index.kind or self._indexes_expression(action, index) else Cost.ONLINE
            case model.Rewrite(what, value):
                if what in _COPIED or (what == "engine" and value.lower() != "innodb"):
                    return Cost.COPY
                return Cost.INSTANT if what in _EMPTIED else Cost.REBUILD
        return Cost.INSTANT

    def _indexes_expression(self, action: model.AlterTable, index: Index) -> bool:
        """Whether its keys are computed while it is built: an expression, or a virtual column of the same ALTER."""
        virtual = {
            fold(part.column.name)
            for part in action.parts
            if isinstance(part, model.AddColumn) and part.column.generated == "virtual"
        }
        return any(column.startswith("(") or fold(column) in virtual for column in index.columns)

    def _old_server(self) -> bool:
        return self.context.facts.before(10, 4) if self.is_mariadb else self.context.facts.before(8, 0, 29)

    def _added_cost(self, column: Column, position: str) -> Cost:
        if column.generated == "stored":
            return Cost.COPY
        if column.identity:
            return Cost.SHARED
        worst = Cost.INSTANT if column.generated else default_cost(column, mariadb=self.is_mariadb)
        if column.has("unique"):
            worst = max(worst, Cost.ONLINE)
        if any(each.kind == "check" and each.enforced for each in column.constraints) and not self.is_mariadb:
            worst = Cost.COPY
        if (
            column.has("foreign key")
            and self._foreign_keys
            and not self.context.facts.before(9 if not self.is_mariadb else 10)
        ):
            worst = Cost.COPY
        if self._old_server() and (position or self.context.facts.before(8, 0, 12)):
            worst = max(worst, Cost.REBUILD)
        return worst

    def _dropped_cost(self, table: str, name: str) -> Cost:
        fact = self.context.facts.table(table)
        if fact is not None and fold(name) in map(fold, fact.key_columns()):
            return Cost.COPY
        return Cost.REBUILD if self._old_server() else Cost.INSTANT

    def _modified_cost(self, table: str, part: model.ModifyColumn) -> Cost:
        fact = self.context.facts.table(table)
        old = fact.column(part.name) if fact is not None else None
        indexes: list[Index | Constraint] = [] if fact is None else [*fact.indexes.values(), *fact.constraints]
        return modification_cost(
            old,
            part.column,
            mariadb=self.is_mariadb,
            charset=fact.charset if fact is not None else None,
            indexed=any(fold(part.name) in map(fold, each.columns) for each in indexes),
            moved=fact is None or _moves(fact, part),
        )

    def _constraint_cost(self, constraint: Constraint) -> Cost:
        if constraint.kind == "foreign key":
            return Cost.COPY if self._foreign_keys else Cost.INSTANT
        if constraint.kind == "check":
            return Cost.COPY if constraint.enforced else Cost.INSTANT
        return Cost.REBUILD if constraint.kind == "primary key" else Cost.ONLINE

    # --- parts -------------------------------------------------------------------------------------------------------

    def _check_part(self, action: model.AlterTable, part: model.Part, *, forced: bool) -> None:
        table, cost = action.table, self._cost(action, part)
        match part:
            case model.AddColumn(column):
                self._add_column(table, column, cost)
            case model.DropColumn(name):
                self.column_dropped(table, name)
                self._by_cost(table, f"DROP COLUMN {table}.{name}", cost)
            case model.RenameColumn(name, new_name):
                self.column_renamed(table, name, new_name)
            case model.ModifyColumn():
                self._modify(table, part, cost)
            case model.RenameTable(new_name):
                self.table_renamed(table, new_name)
            case model.AddConstraint(constraint) if constraint.kind == "foreign key" and cost is Cost.COPY:
                what = f"{constraint.name or 'the key'} of {table}"
                self.context.find(
                    "foreign-key-copies-table", what, table=table, subject=constraint.name, constraint=constraint
                )
            case model.AddConstraint(constraint) if not _drops_primary_key(action):
                what = f"{constraint.name or constraint.kind} of {table}"
                self._by_cost(table, what, cost, constraint=constraint)
            case model.DropConstraint(kind="primary key"):
                if cost is Cost.COPY:
                    self.context.find("drop-primary-key", table, table=table)
                else:
                    self._by_cost(table, f"the primary key of {table}", cost)
            case model.AddIndex(index) if index.kind:
                self.context.find(
                    "fulltext-index-blocks-writes", f"{index.name} on {table}", table=table, subject=index.name
                )
            case model.AddIndex(index) if cost is Cost.SHARED:
                remedy = "add a VIRTUAL column of the expression, which is instant, and index it in an ALTER of its own"
                what = f"{index.name or 'an index'} on {table}"
                self.context.find("index-blocks-writes", what, table=table, subject=index.name, remedy=remedy)
            case model.EnforceConstraint(name):
                self._by_cost(table, f"{name} of {table}", cost)
            case model.Rewrite("drop partition" | "truncate partition", value):
                self.context.find("truncate", f"partition {value} of {table}", table=table)
            case model.Rewrite(what, value):
                if not forced:
                    self._by_cost(table, f"{what} {value} of {table}".replace("  ", " "), cost)
            case model.Unknown():
                self.unknown(part)

    def _by_cost(self, table: str, what: str, cost: Cost, **details: Any) -> None:
        if cost is Cost.COPY:
            self.context.find("table-copied", what, table=table, **details)
        elif cost is Cost.REBUILD:
            self.context.find("table-rebuilt", what, table=table, **details)

    def _add_column(self, table: str, column: Column, cost: Cost) -> None:
        where = f"{table}.{column.name}"
        if column.not_null and column.default is None and not column.identity and column.generated is None:
            self.context.find("column-required", where, table=table, subject=column.name, column=column)
        if column.generated == "stored":
            self.context.find("generated-column-rewrites", where, table=table, subject=column.name)
        elif column.identity:
            remedy = "copy to a new table that has it, online (gh-ost, pt-online-schema-change) or in a quiet hour"
            self.context.find("identity-column-rewrites", where, table=table, subject=column.name, remedy=remedy)
        elif default_cost(column, mariadb=self.is_mariadb) is Cost.COPY and column.generated is None:
            rule = "volatile-default" if is_per_row(column.default or "") else "default-rewrites"
            where += f" DEFAULT {column.default}"
            self.context.find(rule, where, table=table, subject=column.name, column=column)
        elif cost is Cost.COPY and column.has("foreign key"):
            self.context.find("foreign-key-copies-table", where, table=table, subject=column.name)
        else:
            self._by_cost(table, where, cost)

    def _modify(self, table: str, part: model.ModifyColumn, cost: Cost) -> None:
        column = part.column
        if fold(part.name) != fold(column.name):
            self.column_renamed(table, part.name, column.name)
        fact = self.context.facts.table(table)
        old = fact.column(part.name) if fact is not None else None
        old_type = old.type if old is not None else None
        where = f"{table}.{part.name} {f'from {old_type} ' if old_type is not None else ''}to {column.type}"
        details: dict[str, Any] = {"column": part.name, "type": column.type, "old_type": old_type, "definition": column}
        if old_type is not None and column.type is not None and old_type.name == column.type.name == "enum":
            gone = [value.strip("'") for value in old_type.arguments if value not in column.type.arguments]
            if gone:
                self.context.find(
                    "enum-value-removed", f"{', '.join(gone)} of {table}.{part.name}", table=table, subject=part.name
                )
        if cost is Cost.UNKNOWN:
            where += ", whose present definition is not known (the lint knows it with a database at hand)"
            self.context.find("type-change-rewrites", where, table=table, subject=part.name, **details)
        elif cost is Cost.COPY:
            self.context.find("type-change-rewrites", where, table=table, subject=part.name, **details)
        elif cost is Cost.REBUILD:
            self.context.find("table-rebuilt", where, table=table, subject=part.name)

    # --- other statements --------------------------------------------------------------------------------------------

    def _create_table(self, action: model.CreateTable) -> None:
        self._commits(action.table)
        if action.replaces:
            self.dropped("table", action.table)
        change = model.Change("insert", action.table, sources=action.sources)
        check_change(change, self.context, set(), reading_locks=True)

    def _create_index(self, action: model.CreateIndex) -> None:
        self._commits(action.table)
        asked = model.AlterTable(action.table, (model.AddIndex(action.index),), action.algorithm, action.lock)
        self._alter_table(asked)

    def _drop(self, action: model.Drop) -> None:
        self._commits(*(action.names if action.what == "table" else ()))
        for name in action.names:
            self.dropped(action.what, name)

    def _rename(self, action: model.Rename) -> None:
        self._commits(action.name)
        if fold(action.name) not in map(fold, action.others):
            self.table_renamed(action.name, action.new_name)

    def _maintain(self, action: model.Maintain) -> None:
        rules = {"truncate": "truncate", "lock": "lock-table", "optimize": "table-rebuilt"}
        rule = rules.get(action.what)
        for table in action.tables:
            if rule is not None:
                self.context.find(rule, f"{action.what.upper()} of {table}", table=table)
        if action.mode == "GLOBAL":
            self.context.find("lock-table", "FLUSH TABLES WITH READ LOCK")

    def _change(self, action: model.Change) -> None:
        if not self.context.is_new(action.table):
            self._rows_written = action.table
        check_change(action, self.context, set(), reading_locks=True)

    def _commits(self, *tables: str) -> None:
        """DDL commits: rows that were written before it stay."""
        if self._rows_written is not None:
            what = f"rows of {self._rows_written} are written before DDL of {', '.join(tables) or 'something else'}"
            self.context.find("ddl-commits-implicitly", what)
            self._rows_written = None

    def _setting(self, action: model.Setting) -> None:
        value = action.value.strip("'\"").lower()
        if action.name == "foreign_key_checks":
            self._foreign_keys = value not in _OFF


class MariaDBRules(MySQLRules):
    """Looks at one revision for MariaDB."""

    names: ClassVar[tuple[str, ...]] = ("mariadb",)
    is_mariadb: ClassVar[bool] = True


def _adds_primary_key(action: model.AlterTable) -> bool:
    return any(isinstance(part, model.AddConstraint) and part.constraint.kind == "primary key" for part in action.parts)


def _drops_primary_key(action: model.AlterTable) -> bool:
    return any(isinstance(part, model.DropConstraint) and part.kind == "primary key" for part in action.parts)


def _moves(fact: TableFact, part: model.ModifyColumn) -> bool:
    """Whether the column comes to stand elsewhere."""
    names = [name for name in fact.columns if name != fold(part.name)]
    here = list(fact.columns).index(fold(part.name)) if fold(part.name) in fact.columns else -1
    if not part.position:
        return False
    if part.position == "first":
        return here != 0
    after = fold(part.position.removeprefix("after "))
    return after not in names or names.index(after) + 1 != here
