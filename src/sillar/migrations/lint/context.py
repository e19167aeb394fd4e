"""What the checks of one revision share: where they are, what is known, and how a finding is made."""

from __future__ import annotations

from typing import Any

from sillar.migrations.lint.catalogue import RULES
from sillar.migrations.lint.facts import TableFact, TableFacts, fold
from sillar.migrations.lint.finding import Finding, Hazard, Severity
from sillar.migrations.lint.model import Statement

LARGE_TABLE_ROWS = 100_000
HARMLESS_SHARE = 100  # a table of a hundredth of that is done with before anybody notices


class Context:
    """The revision that is looked at.

    Args:
        statements: all of it.
        facts: what is known before it; changed as statements are passed.
        dialect: that it is written in.
        large_table_rows: rows from which on a table counts as large.
    """

    def __init__(
        self, statements: list[Statement], facts: TableFacts, dialect: str, large_table_rows: int = LARGE_TABLE_ROWS
    ) -> None:
        self.statements = statements
        self.facts = facts
        self.dialect = dialect
        self.large_table_rows = large_table_rows
        self.findings: list[Finding] = []
        self.statement: Statement | None = None
        self.columns_added: set[tuple[str, str]] = set()

    def is_new(self, table: str) -> bool:
        """Whether the revisions that are looked at have made the table: nobody reads it yet."""
        fact = self.facts.table(table)
        return fact is not None and fact.created

    def is_large(self, table: str | None) -> bool:
        """Whether the table is known to be large."""
        rows = self._rows(table)
        return rows is not None and rows >= self.large_table_rows

    def _rows(self, table: str | None) -> int | None:
        fact = self.facts.table(table) if table else None
        return fact.rows if fact is not None else None

    def find(
        self,
        rule: str,
        what: str = "",
        *,
        table: str | None = None,
        subject: str | None = None,
        severity: Severity | None = None,
        remedy: str = "",
        remark: str = "",
        **details: Any,
    ) -> None:
        """Add a finding, unless the table is new or too small for it to matter.

        Args:
            rule: name of the rule.
            what: what would happen here; the rule's reason follows.
            table: that it is about.
            subject: the column, index, … in it.
            severity: other than the rule's.
            remedy: other than the rule's.
            remark: behind the reason, in parentheses.
            details: for a recipe.
        """
        known = RULES[rule]
        if table is not None and self.is_new(table) and known.hazard is not Hazard.CARE:
            return
        grade = severity or known.severity
        rows = self._rows(table)
        if known.hazard is Hazard.SIZE and rows is not None:
            if rows * HARMLESS_SHARE < self.large_table_rows:
                return
            if rows < self.large_table_rows and grade is Severity.ERROR:
                grade = Severity.WARNING
        remark = f" ({remark})" if remark else ""
        size = _size(self.facts.table(table) if table else None) if known.hazard is Hazard.SIZE and table else ""
        statement = self.statement
        self.findings.append(
            Finding(
                rule,
                grade,
                f"{what}: {known.why}{remark}{size}" if what else f"{known.why}{remark}{size}",
                remedy or known.remedy,
                table,
                subject,
                statement.number if statement else 0,
                statement.sql if statement else "",
                self.dialect,
                line=statement.line if statement else None,
                details=details,
            )
        )

    def added_here(self, table: str, column: str) -> bool:
        """Whether the revision has added that column itself."""
        return (fold(table), fold(column)) in self.columns_added


def _size(fact: TableFact | None) -> str:
    if fact is None or fact.rows is None:
        return " (size not known)"
    size = f", {_bytes(fact.bytes)}" if fact.bytes else ""
    return f" (about {fact.rows:,} rows{size})"


def _bytes(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.0f} TB"
