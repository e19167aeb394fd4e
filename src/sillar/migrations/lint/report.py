"""The lint over a plan: several revisions, one after the other, on one database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from sillar.capabilities import Capability
from sillar.errors import MigrationFileError, UsageError
from sillar.migrations.lint.acknowledgement import acknowledge
from sillar.migrations.lint.context import LARGE_TABLE_ROWS, Context
from sillar.migrations.lint.facts import TableFacts
from sillar.migrations.lint.finding import Finding, Severity
from sillar.migrations.lint.linter import Linter, planned_statements
from sillar.migrations.lint.literals import written_statements
from sillar.migrations.lint.live import dialect_of, read_collection_facts, read_facts
from sillar.migrations.lint.mongodb.rules import DocumentLinter
from sillar.migrations.lint.recipes import recipe_for
from sillar.migrations.migration import Migration
from sillar.migrations.scripts import source_of

if TYPE_CHECKING:
    from sillar.migrations.manager import MigrationManager

_NO_RESULT = re.compile(r"NoneType|MockConnection")  # what a script without a database gets for an answer
_REFLECTED = re.compile(r'reflect the table "([^"]+)"')  # batch mode, which copies that table
_NAMED_RECIPE = re.compile(r" \(recipes?: [\w, -]+\)")


@dataclass(frozen=True, slots=True)
class RevisionFindings:
    """What was found in one revision.

    Attributes:
        version: of the revision; the file's name for a script.
        name: what it does, in a line.
        path: the file.
        findings: in the order of the statements.
    """

    version: str
    name: str
    path: Path | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class LintReport:
    """What was found in a plan.

    Attributes:
        revisions: in the order in which they are applied.
        dialect: that they are written in.
        facts: what was known of the database before them; None: nothing.
        notes: what may be of interest when something is missing: squawk was not there, …
    """

    revisions: tuple[RevisionFindings, ...]
    dialect: str
    facts: TableFacts | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [finding for revision in self.revisions for finding in revision.findings]

    @property
    def blocking(self) -> list[Finding]:
        """The errors that nobody has acknowledged."""
        return [finding for finding in self.findings if finding.blocks]

    @property
    def unacknowledged(self) -> list[Finding]:
        """The errors and warnings that nobody has acknowledged."""
        return [each for each in self.findings if each.acknowledged is None and each.severity is not Severity.HINT]

    def lines(self, *, hints: bool = False) -> list[str]:
        """What is shown to people: one line for each finding that is not acknowledged, with its file and line first.

        Args:
            hints: show hints, too.
        """
        return [
            str(finding) if finding.path else f"{revision.version}: {finding}"
            for revision in self.revisions
            for finding in revision.findings
            if finding.acknowledged is None and (hints or finding.severity is not Severity.HINT)
        ]

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` shows."""
        return {
            "dialect": self.dialect,
            "revisions": [
                {
                    "version": revision.version,
                    "name": revision.name,
                    "path": str(revision.path) if revision.path is not None else None,
                    "findings": [finding.as_json() for finding in revision.findings],
                }
                for revision in self.revisions
            ],
            "errors": len(self.blocking),
            "notes": list(self.notes),
        }


def lint_migrations(
    migrations: Sequence[Migration],
    *,
    dialect: str,
    facts: TableFacts | None = None,
    large_table_rows: int = LARGE_TABLE_ROWS,
    squawk: bool = True,
    unread: Mapping[str, str] | None = None,
    database: str | None = None,
) -> LintReport:
    """Find what is unsafe in migrations, each with its ``operations``, in the order in which they are applied.

    What an earlier one creates is new to the later ones, too.

    Args:
        migrations: as ``MigrationManager.plan()`` returns them.
        dialect: that they are written in; ``mongodb`` for migrations of documents.
        facts: what the database has; None: nothing is known.
        large_table_rows: rows from which on a table counts as large.
        squawk: ask it, too, where it is installed and the dialect is its own.
        unread: versions whose operations are not known without running them, and why: see ``read_operations``.
        database: its configured name, for the commands in the findings; None: the default one.

    Raises:
        UsageError: there are no rules for that dialect.
    """
    linter: Linter | DocumentLinter
    if dialect == DocumentLinter.dialect:
        linter = DocumentLinter(facts, large_table_rows=large_table_rows)
    else:
        linter = Linter(dialect, facts, large_table_rows=large_table_rows, squawk=squawk)
    revisions = []
    for migration in migrations:
        source = source_of(migration.path) if migration.path is not None else ""
        if unread and migration.version in unread:
            why = unread[migration.version]
            context = Context([], linter.facts, dialect, large_table_rows)
            context.find("revision-not-read", remark=why)
            if batch := _REFLECTED.search(why):
                context.find("batch-copies-table", batch[1], table=batch[1])
            found = acknowledge([*context.findings, *linter.lint(written_statements(source))], source, dialect)
        else:
            found = linter.lint(migration.operations, source)
        place = migration.place if migration.path is not None else ""
        command = _command(migration.version, database)
        named = tuple(_placed(each, place, command, facts) for each in found)
        revisions.append(RevisionFindings(migration.version, migration.name, migration.path, named))
    return LintReport(tuple(revisions), dialect, facts, tuple(dict.fromkeys(linter.notes)))


async def lint_plan(
    manager: MigrationManager,
    target: str = "heads",
    *,
    migrations: Sequence[Migration] | None = None,
    squawk: bool = True,
) -> LintReport:
    """Find what is unsafe in what is about to be applied to a database, with the sizes of its tables.

    Args:
        manager: of the database.
        target: up to where.
        migrations: others than what is pending up to the target; read, unless they have their operations.
        squawk: ask it, too, where it is installed.
    """
    planned = list(migrations) if migrations is not None else await manager.pending(target)
    if not planned:
        return LintReport((), "")
    unread = await read_operations(manager, [each for each in planned if not each.operations])
    facts, dialect = await read_plan_facts(manager)
    rows = manager.config.large_table_rows
    return lint_migrations(
        planned,
        dialect=dialect,
        facts=facts,
        large_table_rows=rows,
        squawk=squawk,
        unread=unread,
        database=name_in_commands(manager),
    )


def name_in_commands(manager: MigrationManager) -> str | None:
    """The name by which a command has to choose the manager's database; None: it is the default one."""
    return manager.database if manager.database != manager.databases.default_database else None


async def read_operations(
    manager: MigrationManager, planned: Sequence[Migration], *, whatever: bool = False
) -> dict[str, str]:
    """Give each migration its operations; returns why, by version, for those that nobody knows without running them.

    Args:
        manager: of the database.
        planned: the migrations.
        whatever: also those that are wrong in another way, which a run will tell.

    Raises:
        MigrationFileError: a file is wrong.
    """
    unread: dict[str, str] = {}
    for migration in planned:
        try:
            migration.operations = await manager.runner.operations(migration.version)
        except MigrationFileError as error:
            cause = error.__cause__
            why = "it uses the connection itself" if _NO_RESULT.search(str(cause)) else str(cause).partition("\n")[0]
            if (
                not whatever
                and not isinstance(cause, (CommandError, SQLAlchemyError))
                and not _NO_RESULT.search(str(cause))
            ):
                raise
            unread[migration.version] = why
    return unread


def _command(what: str, database: str | None) -> str:
    chosen = f" -d {quote(database)}" if database is not None else ""
    return f"sillar lint {quote(what)}{chosen}"


def _placed(finding: Finding, path: str, command: str | None, facts: TableFacts | None) -> Finding:
    """The finding with its file, and with the command that writes its recipe; without one no recipe is spoken of."""
    if command is not None and recipe_for(finding, facts) is not None:
        return replace(finding, path=path, command=f"{command} --write-recipe {finding.rule}")
    return replace(finding, path=path, remedy=_NAMED_RECIPE.sub("", finding.remedy))


async def read_plan_facts(manager: MigrationManager) -> tuple[TableFacts, str]:
    """What a manager's database knows of its tables, and the dialect whose rules hold for it."""
    if Capability.SQL in manager.capabilities:
        async with manager.connection() as connection:
            return await connection.run_sync(read_facts), await connection.run_sync(dialect_of)
    from sillar.migrations.mongodb.store import DocumentStore

    async with manager.opened() as opened:
        store = DocumentStore(opened.executor(manager.database))
        return await read_collection_facts(store.driver_database), DocumentLinter.dialect


def lint_files(
    files: Sequence[Path],
    *,
    dialect: str,
    facts: TableFacts | None = None,
    large_table_rows: int = LARGE_TABLE_ROWS,
    squawk: bool = True,
    database: str | None = None,
) -> LintReport:
    """Find what is unsafe in SQL scripts, in the order in which they are given; as ``lint_migrations``.

    Raises:
        UsageError: a file cannot be read, or there are no rules for that dialect.
    """
    linter = Linter(dialect, facts, large_table_rows=large_table_rows, squawk=squawk)
    revisions = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file} cannot be read ({type(error).__name__})") from error
        found = linter.lint(planned_statements(text, dialect), text)
        command = _command(str(file), database) if facts is not None else None
        named = tuple(_placed(each, str(file), command, facts) for each in found)
        revisions.append(RevisionFindings(file.name, file.stem, file, named))
    return LintReport(tuple(revisions), dialect, facts, tuple(dict.fromkeys(linter.notes)))
