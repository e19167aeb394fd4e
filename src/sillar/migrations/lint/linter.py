"""The safety lint: what would hurt a running service."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import structlog

from sillar.errors import UsageError
from sillar.migrations.lint.acknowledgement import acknowledge
from sillar.migrations.lint.context import LARGE_TABLE_ROWS, Context
from sillar.migrations.lint.dialect import DialectRules
from sillar.migrations.lint.facts import TableFact, TableFacts, fold
from sillar.migrations.lint.finding import Finding
from sillar.migrations.lint.model import Action, AddColumn, AlterTable, Statement
from sillar.migrations.lint.mysql.rules import MariaDBRules, MySQLRules
from sillar.migrations.lint.postgresql.rules import PostgreSQLRules
from sillar.migrations.lint.reader import read_statement, read_statements
from sillar.migrations.lint.sqlite.rules import SQLiteRules
from sillar.migrations.lint.squawk import ask_squawk
from sillar.migrations.lint.tokens import split_statements
from sillar.migrations.migration import MigrationOperation

_logger = structlog.get_logger("sillar.migrations.lint")
_DIALECTS: dict[str, type[DialectRules]] = {
    name: rules for rules in (PostgreSQLRules, MySQLRules, MariaDBRules, SQLiteRules) for name in rules.names
}


def lint(
    statements: Sequence[MigrationOperation],
    *,
    dialect: str,
    facts: TableFacts | None = None,
    created: Collection[str] = (),
    source: str = "",
    large_table_rows: int = LARGE_TABLE_ROWS,
) -> list[Finding]:
    """Find what is unsafe in one revision, in the order of its statements.

    Args:
        statements: of the revision, as they are sent.
        dialect: ``postgresql``, ``mysql``, ``mariadb`` or ``sqlite``.
        facts: what the database has, see ``read_facts``; None: every table counts as large, and no column is known.
        created: tables that revisions before this one, which are not applied yet either, create: nobody reads them.
        source: text of the revision file, for its acknowledgements.
        large_table_rows: rows from which on a table counts as large; locking one of less is a warning, and of less than
            a hundredth of it nothing.

    Raises:
        UsageError: there are no rules for that dialect.
    """
    linter = Linter(dialect, facts, large_table_rows=large_table_rows, squawk=False)
    for table in created:
        linter.facts.tables.setdefault(linter.facts.key(table), TableFact(table, rows=0)).created = True
    return linter.lint(statements, source)


class Linter:
    """Looks at revisions one after the other: what an earlier one creates is new to the later ones.

    Args:
        dialect: that they are written in.
        facts: what the database has before them; None: nothing is known.
        large_table_rows: rows from which on a table counts as large.
        squawk: ask it, too, where it is installed and the dialect is its own.

    Attributes:
        facts: what the database has after the revisions that were looked at.
        notes: why something was not looked at.

    Raises:
        UsageError: there are no rules for that dialect.
    """

    def __init__(
        self,
        dialect: str,
        facts: TableFacts | None = None,
        *,
        large_table_rows: int = LARGE_TABLE_ROWS,
        squawk: bool = True,
    ) -> None:
        self._rules = _rules_of(dialect)
        self._dialect = dialect
        self._large_table_rows = large_table_rows
        self._squawk = squawk and self._rules.squawk
        self.facts = facts.copy() if facts is not None else TableFacts()
        self.notes: list[str] = []

    def lint(self, statements: Sequence[MigrationOperation], source: str = "") -> list[Finding]:
        """Find what is unsafe in the next revision.

        Args:
            statements: of the revision, as they are sent.
            source: text of the revision file, for its acknowledgements.
        """
        read = read_statements(statements, self._rules.lexicon)
        context = Context(read, self.facts, self._dialect, self._large_table_rows)
        rules = self._rules(context)
        for statement in read:
            context.statement = statement
            rules.check(statement)
            _note_columns(context, statement)
            self.facts.apply(statement.action)
        findings = context.findings
        if self._squawk:
            asked = ask_squawk(read, dialect=self._dialect, version=self.facts.version)
            findings = sorted([*findings, *asked.findings], key=lambda finding: finding.statement)
            if asked.note:
                _logger.debug(asked.note)
                self.notes.append(asked.note)
        return acknowledge(findings, source, self._dialect)


def _note_columns(context: Context, statement: Statement) -> None:
    action = statement.action
    if isinstance(action, AlterTable):
        for part in action.parts:
            if isinstance(part, AddColumn):
                context.columns_added.add((fold(action.table), fold(part.column.name)))


def _rules_of(dialect: str) -> type[DialectRules]:
    try:
        return _DIALECTS[dialect]
    except KeyError:
        raise UsageError(f"the lint has no rules for {dialect!r}; it has for {', '.join(_DIALECTS)}") from None


def planned_statements(script: str, dialect: str, *, in_transaction: bool = False) -> list[MigrationOperation]:
    """The statements of an SQL script.

    Args:
        script: the text.
        dialect: that it is written in.
        in_transaction: whether a script without ``BEGIN`` and ``COMMIT`` is run in one transaction; ``psql`` does not.

    Raises:
        UsageError: there are no rules for that dialect.
    """
    texts = split_statements(script, _rules_of(dialect).lexicon)
    return [MigrationOperation(text, in_transaction=in_transaction, line=line) for text, line in texts]


def read_statement_action(sql: str, dialect: str) -> Action:
    """What a statement does, for ``facts_from``."""
    return read_statement(sql, _rules_of(dialect).lexicon).action
