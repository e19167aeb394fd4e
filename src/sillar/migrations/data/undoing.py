"""``undo_batches``: a run backwards, batch by batch, as its journal has it."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import structlog
from sqlalchemy import Table, and_, delete, false, func, or_, select, update
from sqlalchemy.engine import Connection

from sillar.errors import MigrationStateError, UsageError
from sillar.migrations.data.expression import condition, value_expression
from sillar.migrations.data.journal import UNDOING, UNDONE, BatchJournal, RunState
from sillar.migrations.data.key import Key
from sillar.migrations.data.place import Place, open_place
from sillar.migrations.data.report import BatchReport
from sillar.migrations.data.tables import compared, load_table, require_columns
from sillar.migrations.data.throttle import Brake, Throttle
from sillar.migrations.data.whole import dry_context, offline_context
from sillar.migrations.progress import Progress, Report, silent

_log = structlog.get_logger("sillar.migrations")


def undo_batches(
    bind: Any, name: str, *, throttle: Throttle | None = None, progress: Report | None = None
) -> BatchReport:
    """Undo a run by what it declared (``undo=``, ``keep_old=``), its last batch first, each in its own transaction.
    Interrupted anywhere, the next call goes on. A run that was not finished is undone as far as it had come.

    Rows that were inserted into the ranges of the run meanwhile are undone as well, unless ``undo_where`` leaves them
    out.

    Args:
        bind: ``alembic.op`` or a connection, as for `batched_update`.
        name: of the run.
        throttle: pauses, replicas and load; the batches are those of the run.
        progress: is told after each batch.

    Raises:
        UsageError: the run declared nothing to undo it by, or somebody else wrote rows in the
            ranges of a copy; nothing was changed.
        MigrationStateError: there is no such run.
    """
    if offline_context(bind) is not None:
        raise UsageError(f"undoing {name!r} follows the journal in the database; it cannot be written with --sql")
    if dry_context(bind) is not None:
        _log.warning("undoing batches is left out of the dry run", run=name)
        return BatchReport(name, "dry")
    with open_place(bind) as place:
        return Undoing(place, BatchJournal(name, place.schema), progress or silent).run(throttle or Throttle())


class Undoing:
    """One call.

    Args:
        place: where.
        journal: of the run.
        progress: is told after each batch.
    """

    def __init__(self, place: Place, journal: BatchJournal, progress: Report) -> None:
        self._place, self._journal, self._progress = place, journal, progress
        self._rows_now = self._batches_now = 0
        self._longest = 0.0
        with place.transaction() as connection:
            found = journal.load(connection) if journal.exists(connection) else None
            if found is None:
                raise MigrationStateError(f"the journal has no run {journal.name!r}: nothing to undo")
            self._state: RunState = found
            self._undo: Any = found.detail["undo"]
            if self._undo is None:
                raise UsageError(
                    f"{found.detail['summary']} ({journal.name!r}) declared nothing to undo it by: declare undo= or"
                    " keep_old= when it runs; or repair the rows by another batched_update, and remove the run with"
                    " forget_batches()"
                )
            schema, table = found.detail["undo_table"]
            self._table: Table = load_table(connection, f"{schema}.{table}" if schema else table)
        columns = require_columns(self._table, found.detail["undo_key"], "key")
        self._key = Key(tuple(compared(place, columns)), place.dialect.compares_rows)

    def run(self, throttle: Throttle) -> BatchReport:
        """To its end."""
        began, resumed = perf_counter(), self._state.state in (UNDOING, UNDONE)
        with self._place.transaction() as connection:
            if not resumed:
                self._refuse_rows_of_others(connection)
            if self._state.state != UNDONE:
                self._journal.set_state(connection, UNDOING)
        with Brake(throttle, self._place, 1) as brake:
            has_more = self._state.state != UNDONE
            while has_more:
                brake.wait(self._journal.name)
                for attempt in self._place.attempts():
                    with attempt:
                        has_more = self._batch()
                brake.pause()
        with self._place.transaction() as connection:
            self._journal.set_state(connection, UNDONE)
        report = BatchReport(
            name=self._journal.name,
            state=UNDONE,
            rows_done=self._rows_now,
            rows_done_now=self._rows_now,
            batches=self._state.last_number,
            batches_now=self._batches_now,
            passes=self._state.pass_number,
            rows_before=self._state.rows_done,
            resumed=resumed,
            duration_seconds=perf_counter() - began,
            waited_seconds=brake.waited_seconds,
            longest_batch_seconds=self._longest,
        )
        _log.info("batches undone", **report.as_dict())
        return report

    def _batch(self) -> bool:
        began = perf_counter()
        with self._place.transaction() as connection:
            batch = self._journal.last_to_undo(connection)
            if batch is None:
                return False
            if not self._journal.mark_undone(connection, batch.number):  # another process has
                return True
            between = [self._key.between(batch.low, batch.high)]
            # A later pass went over the ranges of those before it again, and changed other rows there.
            ends = self._journal.ends_of_passes(connection, batch.pass_number)
            between += [self._key.between(end, None) for end in ends]
            rows = self._apply(connection, and_(*between))
        self._rows_now += rows
        self._batches_now += 1
        self._longest = max(self._longest, perf_counter() - began)
        self._progress(Progress(f"undo {self._journal.name}", self._rows_now, self._state.rows_done, "rows"))
        return True

    def _apply(self, connection: Connection, between: Any) -> int:
        where = self._undo["where"]
        conditions = [between] if where is None else [between, condition(where)]
        assigned = self._undo.get("set")
        if assigned is not None:
            values = [(self._table.c[name], value_expression(sql)) for name, sql in assigned.items()]
            return connection.execute(update(self._table).ordered_values(*values).where(*conditions)).rowcount
        return connection.execute(delete(self._table).where(*conditions)).rowcount

    def _refuse_rows_of_others(self, connection: Connection) -> None:
        """What was copied is deleted by ranges: nobody else may have written there."""
        if "set" in self._undo:
            return
        ends = self._journal.ends_of_passes(connection, self._state.pass_number + 1)
        within = or_(false(), *(self._key.between(None, end) for end in ends))
        counted = select(func.count()).select_from(self._table).where(within)
        if self._undo["where"] is not None:
            counted = counted.where(condition(self._undo["where"]))
        rows = connection.execute(counted).scalar_one()
        if rows > self._state.rows_done:
            raise UsageError(
                f"{self._journal.name!r} copied {self._state.rows_done} rows, and {rows} rows of {self._table.name} are"
                f" in its ranges now: somebody else wrote at least {rows - self._state.rows_done} of them. Nothing was"
                " deleted. Delete the rows yourself and remove the run with forget_batches(); or copy with an"
                " undo_where= that leaves such rows out"
            )
