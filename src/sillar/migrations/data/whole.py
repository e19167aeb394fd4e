"""What is not done in batches: written down with ``--sql``, or within the one transaction of a dry run."""

from __future__ import annotations

from typing import Any, Final

import structlog
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Select

from sillar.migrations.data.place import context_of
from sillar.migrations.data.report import BatchReport
from sillar.migrations.migration import OFFLINE_NOTE

_log = structlog.get_logger("sillar.migrations")
DRY_ROWS_MAX: Final = 10_000
"""What more rows than these would be changed is left out of a dry run: they would be locked until its end."""


def offline_context(bind: Any) -> MigrationContext | None:
    """The context of a revision that is only written down (``--sql``)."""
    context = context_of(bind)
    return context if context is not None and context.as_sql else None


def dry_context(bind: Any) -> MigrationContext | None:
    """The context of a revision in a dry run of Sillar's."""
    context = context_of(bind)
    run = getattr(context.environment_context, "run", None) if context is not None else None
    return context if getattr(run, "dry", False) else None


def write_offline(context: MigrationContext, name: str, statement: Any) -> BatchReport:
    """Write one plain statement, and that it is one."""
    context.impl.static_output(
        f"-- {name.replace(chr(10), ' ')}: {OFFLINE_NOTE}: it locks all of its rows until it"
        "\n-- commits, and has no journal. Run the migration online where the table is large."
    )
    context.execute(statement)
    return BatchReport(name, "offline")


def run_dry(context: MigrationContext, name: str, statement: Any, counted: Select[Any]) -> BatchReport:
    """Run one plain statement in the transaction that is rolled back, unless it is too large for that."""
    connection = context.connection
    assert connection is not None
    rows = connection.execute(counted).scalar_one()
    if rows > DRY_ROWS_MAX:
        _log.warning("batches are left out of the dry run", run=name, rows=rows, rows_max=DRY_ROWS_MAX)
        return BatchReport(name, "dry", rows_before=rows, rows_remaining=rows)
    done = connection.execute(statement).rowcount
    return BatchReport(name, "dry", rows_done=done, rows_done_now=done, rows_before=rows)
