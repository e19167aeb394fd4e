"""What the parts of an ``ALTER TABLE`` do on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sillar.migrations.lint import model
from sillar.migrations.lint.dialect import DialectRules
from sillar.migrations.lint.finding import Severity
from sillar.migrations.lint.model import Column, Constraint, Index
from sillar.migrations.lint.postgresql.casts import TypeChange, type_change
from sillar.migrations.lint.postgresql.defaults import Volatility, volatility
from sillar.migrations.lint.tokens import Lexicon

POSTGRESQL = Lexicon(dollar_quotes=True, folds_lower=True)


class Alterations:
    """Looks at the parts of ``ALTER TABLE``.

    Args:
        rules: of the revision.
    """

    def __init__(self, rules: DialectRules) -> None:
        self.rules = rules
        self.context = rules.context
        self.not_valid: dict[tuple[str, str], int | None] = {}
        self.transaction: int | None = None
        self.locked = False
        self._checks: dict[type, Callable[[str, Any], None]] = {
            model.AddColumn: self._add_column,
            model.AlterType: self._alter_type,
            model.SetNotNull: self._set_not_null,
            model.AddConstraint: self._add_constraint,
            model.ValidateConstraint: self._validate,
            model.DropColumn: self._drop_column,
            model.RenameColumn: self._rename_column,
            model.SetExpression: self._set_expression,
            model.DropConstraint: self._drop_constraint,
            model.EnforceConstraint: self._enforce,
            model.Rewrite: self._rewrite,
            model.AttachPartition: self._attach,
            model.DetachPartition: self._detach,
        }

    def check(self, table: str, part: model.Part, transaction: int | None, *, locked: bool = False) -> None:
        """Find what is unsafe in one part.

        Args:
            table: that is altered.
            part: what is done to it.
            transaction: that it runs in.
            locked: something else in the transaction locks the table.
        """
        self.transaction, self.locked = transaction, locked
        check = self._checks.get(type(part))
        if check is not None:
            check(table, part)

    # --- columns -----------------------------------------------------------------------------------------------------

    def _add_column(self, table: str, part: model.AddColumn) -> None:
        column = part.column
        where = f"{table}.{column.name}"
        self.check_type(table, column)
        if column.type is not None and column.type.name in self.context.facts.domains:
            what = f"{where} {column.type}"
            self.context.find("domain-column-rewrites", what, table=table, subject=column.name, column=column)
        elif column.generated == "stored":
            self.context.find("generated-column-rewrites", where, table=table, subject=column.name, column=column)
        elif column.identity:
            self.context.find("identity-column-rewrites", where, table=table, subject=column.name, column=column)
        elif column.default is not None and column.generated is None:
            self._default(table, column)
        elif column.not_null and column.generated is not None:
            self.context.find("set-not-null-scans", where, table=table, subject=column.name)
        elif column.not_null:
            self.context.find("column-required", where, table=table, subject=column.name, column=column)
        for constraint in column.constraints:
            if constraint.kind == "foreign key" and column.default is None:
                continue  # there is nothing to check: all rows have NULL
            self._constraint(table, constraint, column=column)

    def _default(self, table: str, column: Column) -> None:
        where = f"{table}.{column.name} DEFAULT {column.default}"
        kind = volatility(column.default or "", POSTGRESQL)
        if kind is Volatility.VOLATILE:
            self.context.find("volatile-default", where, table=table, subject=column.name, column=column)
        elif kind is Volatility.UNKNOWN:
            self.context.find(
                "volatile-default", f"{where}, if that function is volatile", table=table, subject=column.name,
                severity=Severity.WARNING, column=column,
            )  # fmt: skip
        elif self.context.facts.before(11):
            self.context.find("default-rewrites", where, table=table, subject=column.name, column=column)

    def _set_expression(self, table: str, part: model.SetExpression) -> None:
        fact = self.context.facts.table(table)
        known = fact.column(part.name) if fact is not None else None
        if known is None or known.generated != "virtual":
            self.context.find("generated-column-rewrites", f"{table}.{part.name}", table=table, subject=part.name)

    def check_type(self, table: str, column: Column) -> None:
        """Find types that are better not used."""
        type_ = column.type
        if type_ is None or type_.array:
            return
        where = f"{table}.{column.name} {type_}"
        if type_.name == "json":
            self.context.find("json-without-equality", where, table=table, subject=column.name)
        elif type_.name == "char":
            self.context.find("char-padded", where, table=table, subject=column.name)

    def _alter_type(self, table: str, part: model.AlterType) -> None:
        fact = self.context.facts.table(table)
        known = fact.column(part.name) if fact is not None else None
        change = type_change(
            known.type if known is not None else None,
            part.type,
            column=part.name,
            using=part.using,
            time_zone=self.context.facts.time_zone,
            version=self.context.facts.version,
        )
        self.check_type(table, Column(part.name, part.type))
        old = known.type if known is not None else None
        where = f"{table}.{part.name} {'from ' + str(old) + ' ' if old is not None else ''}to {part.type}"
        details: dict[str, Any] = {"column": part.name, "type": part.type, "old_type": old, "using": part.using}
        if change is TypeChange.REWRITE:
            self.context.find("type-change-rewrites", where, table=table, subject=part.name, **details)
        elif change is TypeChange.UNKNOWN:
            self.context.find(
                "type-change-rewrites",
                f"{where}, whose present type is not known (the lint knows it with a database at hand)",
                table=table,
                subject=part.name,
                **details,
            )
        elif change is TypeChange.INDEXES and self._is_indexed(table, part.name):
            self.context.find("type-change-rebuilds-indexes", where, table=table, subject=part.name, **details)

    def _is_indexed(self, table: str, column: str) -> bool:
        fact = self.context.facts.table(table)
        if fact is None or not fact.complete:
            return True
        keys: list[Index | Constraint] = list(fact.indexes.values())
        keys += [each for each in fact.constraints if each.kind in ("primary key", "unique")]
        return any(column in each.columns for each in keys)

    def _set_not_null(self, table: str, part: model.SetNotNull) -> None:
        fact = self.context.facts.table(table)
        known = fact.column(part.name) if fact is not None else None
        if known is not None and known.not_null:
            return
        if fact is not None and fact.proves_not_null(part.name) and not self.context.facts.before(12):
            return
        self.context.find("set-not-null-scans", f"{table}.{part.name}", table=table, subject=part.name)

    def _drop_column(self, table: str, part: model.DropColumn) -> None:
        self.rules.column_dropped(table, part.name)
        if part.cascade:
            self.context.find("drop-cascade", f"{table}.{part.name}", table=table, subject=part.name)

    def _rename_column(self, table: str, part: model.RenameColumn) -> None:
        self.rules.column_renamed(table, part.name, part.new_name)

    # --- constraints -------------------------------------------------------------------------------------------------

    def _add_constraint(self, table: str, part: model.AddConstraint) -> None:
        self._constraint(table, part.constraint)

    def _constraint(self, table: str, constraint: Constraint, **details: Any) -> None:
        name = constraint.name or f"{constraint.kind} ({', '.join(constraint.columns) or constraint.expression})"
        where = f"{name} of {table}"
        if not constraint.enforced:
            return
        if constraint.not_valid:
            self.not_valid[table, constraint.name or ""] = self.transaction
            return
        rules = {
            "foreign key": "foreign-key-without-not-valid",
            "check": "check-without-not-valid",
            "unique": "unique-without-index",
            "primary key": "unique-without-index",
            "exclude": "exclusion-constraint",
            "not null": "set-not-null-scans",
        }
        if constraint.using_index is not None:
            if constraint.kind == "primary key":
                self._primary_key_nulls(table, constraint.using_index)
            return
        subject = constraint.name or ", ".join(constraint.columns) or None
        self.context.find(rules[constraint.kind], where, table=table, subject=subject, constraint=constraint, **details)

    def _drop_constraint(self, table: str, part: model.DropConstraint) -> None:
        if part.cascade:
            self.context.find("drop-cascade", f"{part.name} of {table}", table=table, subject=part.name)

    def _enforce(self, table: str, part: model.EnforceConstraint) -> None:
        """Enforcing a key checks all rows, and there is no NOT VALID for it."""
        what = f"ENFORCED {part.name} of {table}"
        remedy = "drop it, add it NOT VALID, and validate it in a transaction of its own"
        self.context.find("foreign-key-without-not-valid", what, table=table, subject=part.name, remedy=remedy)

    def _primary_key_nulls(self, table: str, index: str) -> None:
        """PRIMARY KEY USING INDEX sets its columns NOT NULL, which reads the table if nothing proves it."""
        fact = self.context.facts.table(table)
        known = fact.indexes.get(index.lower()) if fact is not None else None
        if fact is None or known is None:
            return
        for name in known.columns:
            column = fact.column(name)
            if column is not None and not column.not_null and not fact.proves_not_null(name):
                self.context.find("set-not-null-scans", f"{table}.{name}", table=table, subject=name)

    def _validate(self, table: str, part: model.ValidateConstraint) -> None:
        fact = self.context.facts.table(table)
        known = [] if fact is None else [each for each in fact.constraints if each.name == part.name]
        if known and not known[0].not_valid:
            return  # it is valid already: nothing is read
        added = self.not_valid.get((table, part.name), 0)
        if self.locked or (added != 0 and added is not None and added == self.transaction):
            self.context.find("validate-in-same-transaction", f"{part.name} of {table}", table=table, subject=part.name)

    # --- the table ---------------------------------------------------------------------------------------------------

    def _rewrite(self, table: str, part: model.Rewrite) -> None:
        self.context.find("table-rewritten", f"{part.what.upper()} of {table}", table=table)

    def check_default_partition(self, table: str, part: str) -> None:
        """Find that the partition of all other rows is read: one of them may belong into the new one."""
        parent = self.context.facts.table(table)
        default = parent.default_partition if parent is not None else None
        fact = self.context.facts.table(default) if default is not None else None
        if fact is None or any(each.kind == "check" and not each.not_valid for each in fact.constraints):
            return
        self.context.find("default-partition-scans", f"{default} for {part} of {table}", table=default)

    def _attach(self, table: str, part: model.AttachPartition) -> None:
        self.check_default_partition(table, part.name)
        child = self.context.facts.table(part.name)
        if child is not None and any(each.kind == "check" and not each.not_valid for each in child.constraints):
            return
        self.context.find("attach-partition-scans", f"{part.name} to {table}", table=part.name)

    def _detach(self, table: str, part: model.DetachPartition) -> None:
        if not part.concurrently:
            self.context.find("detach-partition-locks", f"{part.name} from {table}", table=table)
        elif self.transaction is not None:
            self.context.find("concurrently-in-transaction", f"DETACH PARTITION {part.name}")
