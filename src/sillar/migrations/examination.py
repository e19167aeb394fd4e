"""The safety lint before an upgrade: what is about to run, on the tables that there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from sillar.capabilities import Capability
from sillar.errors import DatabaseError
from sillar.migrations.migration import Migration
from sillar.migrations.policy import Gate

if TYPE_CHECKING:
    from sillar.migrations.lint import LintReport, TableFacts
    from sillar.migrations.manager import MigrationManager

_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.2

_logger = structlog.get_logger(__name__)


async def examine(migrations: MigrationManager, gate: Gate, target: str) -> list[str]:
    """Look at what is pending; returns what to warn of, which is logged, too.

    What the policy refuses is left with the gate, which refuses it under the migrators' lock: whoever waits there may
    find it applied. An empty database is not looked at: there is nothing in it that could be harmed.

    Args:
        migrations: of the database.
        gate: takes the findings that stand in the way.
        target: up to where.
    """
    gate.findings, gate.examined = {}, None
    if gate.policy.lint == "off":
        return []
    pending = await migrations.pending(target)
    if not pending:
        return []
    warnings: list[str] = []
    refuses = gate.policy.lint == "error"
    own = migrations.runner.own_tables
    if await _is_empty(migrations, own):  # before the lint is imported
        facts = None
    else:
        facts, dialect = await _facts(migrations)
    if facts is not None and set(facts.tables) - own:
        report, unknown = await _linted(migrations, pending, facts, dialect)
        if refuses:
            warnings += [
                f"{each} is not linted: its statements depend on what it reads when it runs" for each in unknown
            ]
            gate.findings = {
                each.version: [finding for finding in each.findings if finding.blocks] for each in report.revisions
            }
        warnings += report.lines()
        for warning in warnings:
            _logger.warning("migration may hurt a running service", database=migrations.database, finding=warning)
    if refuses:
        gate.examined = frozenset(each.version for each in pending)
    return warnings


async def _is_empty(migrations: MigrationManager, own: frozenset[str]) -> bool:
    """Whether a database certainly has no tables but those of migrations."""
    if Capability.SQL not in migrations.capabilities or migrations.tenant is not None:
        return False
    async with migrations.connection() as connection:
        names = await connection.run_sync(lambda bind: inspect(bind).get_table_names())
    return not set(names) - own


async def _linted(
    migrations: MigrationManager, pending: list[Migration], facts: TableFacts, dialect: str
) -> tuple[LintReport, list[str]]:
    """The findings, and the versions whose statements nobody knows without running them."""
    from sillar.migrations.lint.report import lint_migrations, name_in_commands, read_operations

    unread = await read_operations(migrations, pending, whatever=True)
    rows = migrations.config.large_table_rows
    report = lint_migrations(
        pending,
        dialect=dialect,
        facts=facts,
        large_table_rows=rows,
        unread=unread,
        database=name_in_commands(migrations),
    )
    return report, list(unread)


async def _facts(migrations: MigrationManager) -> tuple[TableFacts, str]:
    """What the database has. A table that another migrator drops meanwhile is no reason to give up."""
    from sillar.migrations.lint.report import read_plan_facts

    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await read_plan_facts(migrations)
        except (DatabaseError, SQLAlchemyError):
            if attempt == _ATTEMPTS:
                raise
            await asyncio.sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable: the last attempt returns or raises")


__all__ = ["examine"]
