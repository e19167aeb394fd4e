"""The loop over the batches of one run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, ClassVar, Final

import structlog
from sqlalchemy import ColumnElement, Table, select
from sqlalchemy.engine import Connection

from sillar.errors import MigrationStateError
from sillar.migrations.data.journal import FINISHED, RUNNING, UNDONE, BatchJournal, JournaledBatch, RunState
from sillar.migrations.data.key import Key, KeyValue
from sillar.migrations.data.place import Place
from sillar.migrations.data.report import BatchReport
from sillar.migrations.data.throttle import Brake, Throttle
from sillar.migrations.progress import Progress, Report

_log = structlog.get_logger("sillar.migrations")
_LOG_EVERY_SECONDS: Final = 10.0


class Work(ABC):
    """What a run does to the rows of one batch.

    Attributes:
        kind: the word for it in logs.
        table: whose key is gone along.
        key: its columns.
        verified: rows that :meth:`count_remaining` counts are gone when the run has finished.
        repeats_conflicts: a batch that meets a unique index may succeed in another attempt.
    """

    kind: ClassVar[str]
    table: Table
    key: Key
    verified: bool
    repeats_conflicts: bool = False

    @abstractmethod
    def detail(self) -> dict[str, Any]:
        """What the journal keeps: ``fingerprint`` and ``summary`` of the call, and what undoing needs."""

    @abstractmethod
    def pending(self, pass_number: int) -> ColumnElement[bool] | None:
        """Rows that this pass goes along; None: all."""

    @abstractmethod
    def apply(self, connection: Connection, between: Any, high: KeyValue, pass_number: int) -> int:
        """Do it to the rows of one range; returns to how many."""

    def count_different(self, connection: Connection) -> int | None:
        """Rows that are done and have other values than they should; None where nobody knows."""
        return None

    @abstractmethod
    def count_all(self, connection: Connection) -> int:
        """Rows that a run is to go over when it begins."""

    @abstractmethod
    def count_remaining(self, connection: Connection) -> int | None:
        """Rows that are still to be done; None where nothing tells them from others."""


@dataclass
class BatchRun:
    """One call.

    Args:
        place: where.
        work: what.
        journal: of the run.
        batch_rows: rows of the key's index in each batch.
        throttle: how fast.
        progress: is told after each batch.
        passes_max: how often one call goes through the table to catch up.
        counts: count rows before and after.
    """

    place: Place
    work: Work
    journal: BatchJournal
    batch_rows: int
    throttle: Throttle
    progress: Report
    passes_max: int
    counts: bool
    state: RunState = field(init=False)
    _began: float = 0.0
    _logged: float = 0.0
    _rows_now: int = 0
    _batches_now: int = 0
    _longest: float = 0.0

    def run(self) -> BatchReport:
        """Begin it or go on with it, to its end."""
        self._began = self._logged = perf_counter()
        with self.place.transaction() as connection:
            self.journal.create(connection)
        resumed, finished_before = self._open()
        with Brake(self.throttle, self.place, self.batch_rows) as brake:
            passes, remaining = 1, None
            if finished_before:
                remaining = self._remaining(wanted=self.work.verified)
                finished_before = not (self.work.verified and remaining)
                if not finished_before:
                    self._next_pass()
            while not finished_before:
                self._go_through(brake)
                remaining = self._remaining(wanted=self.work.verified or self.counts)
                if not (self.work.verified and remaining):
                    break
                if passes >= self.passes_max:
                    raise MigrationStateError(
                        f"{remaining} rows of {self.journal.name!r} are still to be done after {passes} passes:"
                        " somebody goes on writing them as before. What is done is kept. Deploy the code that"
                        " writes both, or a trigger, then call again"
                    )
                passes += 1
                self._next_pass()
        with self.place.transaction() as connection:
            self.journal.set_state(connection, FINISHED)
        with self.place.transaction() as connection:
            different = self.work.count_different(connection) if self.counts or self.work.verified else None
        report = self._report(resumed, remaining, different, brake.waited_seconds)
        if different:
            _log.warning("rows that are there have other values", run=self.journal.name, rows=different)
        if finished_before:
            _log.warning("batches were finished before, nothing is done", run=self.journal.name)
        else:
            _log.info("batches finished", **report.as_dict())
        return report

    # --- the run ------------------------------------------------------------------------------------------------------

    def _open(self) -> tuple[bool, bool]:
        """Find the run in the journal or begin it; whether it was begun before, and whether it was finished."""
        detail = self.work.detail()
        found: RunState | None = None
        for attempt in self.place.attempts(conflicts=True):  # another process may begin it at the same time
            with attempt, self.place.transaction() as connection:
                found = self.journal.load(connection)
                if found is not None and found.state == UNDONE:
                    self.journal.forget(connection)
                    found = None
                if found is None:
                    rows_before = self.work.count_all(connection) if self.counts else None
                    self.state = self.journal.begin(connection, {**detail, "rows_before": rows_before})
        if found is None:
            return False, False
        self.state = found
        if found.state not in (RUNNING, FINISHED):
            raise MigrationStateError(
                f"{self.journal.name!r} is being undone: finish that first (undo_batches), then call again"
            )
        if found.detail["fingerprint"] != detail["fingerprint"]:
            raise MigrationStateError(
                f"the journal has another run under the name {self.journal.name!r} ({found.detail['summary']},"
                f" {found.state}); this is {detail['summary']}. Give it another name=, finish that one, or remove it"
                " with forget_batches()"
            )
        return True, found.state == FINISHED

    def _reload(self) -> None:
        with self.place.transaction() as connection:
            found = self.journal.load(connection)
        if found is None or found.state not in (RUNNING, FINISHED):
            raise MigrationStateError(
                f"{self.journal.name!r} was {'removed' if found is None else found.state} by another process meanwhile"
            )
        self.state = found

    def _next_pass(self) -> None:
        with self.place.transaction() as connection:
            self.journal.next_pass(connection, self.state.pass_number)
        self._reload()

    def _remaining(self, *, wanted: bool) -> int | None:
        if not wanted:
            return None
        with self.place.transaction() as connection:
            return self.work.count_remaining(connection)

    # --- its batches --------------------------------------------------------------------------------------------------

    def _go_through(self, brake: Brake) -> None:
        """Batch after batch, until no key is above the last one."""
        has_more = True
        while has_more:
            brake.wait(self.journal.name)
            began = perf_counter()
            for attempt in self.place.attempts(conflicts=self.work.repeats_conflicts):
                with attempt:
                    has_more = self._batch(brake.rows)
            seconds = perf_counter() - began
            if has_more:
                brake.batch_took(seconds)
                self._tell()
                brake.pause()

    def _batch(self, rows: int) -> bool:
        """One transaction; whether there was anything left."""
        state, began, started_at = self.state, perf_counter(), datetime.now(UTC).replace(tzinfo=None, microsecond=0)
        with self.place.transaction() as connection:
            overtaken = not self.journal.claim(connection, state.last_number)
            if not overtaken:
                high = self._find_high(connection, rows)
                if high is None:
                    connection.rollback()
                    return False
                between = self.work.key.between(state.cursor, high)
                done = self.work.apply(connection, between, high, state.pass_number)
                batch = JournaledBatch(state.last_number + 1, state.pass_number, state.cursor, high, done)
                self.journal.add(connection, batch, started_at)
        if overtaken:  # by a process that was thought dead, or one beside this
            self._reload()
            return self.state.state == RUNNING
        self.state.last_number, self.state.cursor = batch.number, high
        self.state.rows_done += done
        self._rows_now += done
        self._batches_now += 1
        self._longest = max(self._longest, perf_counter() - began)
        return True

    def _find_high(self, connection: Connection, rows: int) -> KeyValue | None:
        """The key of the last row of the next batch."""
        columns = self.work.key.columns
        found = select(*columns).select_from(self.work.table)
        if self.state.cursor is not None:
            found = found.where(self.work.key.between(self.state.cursor, None))
        pending = self.work.pending(self.state.pass_number)
        if pending is not None:
            found = found.where(pending)
        row = connection.execute(found.order_by(*columns).offset(rows - 1).limit(1)).first()
        if row is None:  # fewer are left
            row = connection.execute(found.order_by(*(column.desc() for column in columns)).limit(1)).first()
        return None if row is None else tuple(row)

    # --- what is told -------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        total = self.state.detail.get("rows_before")
        self.progress(Progress(self.journal.name, self.state.rows_done, total, "rows"))
        now = perf_counter()
        if now - self._logged >= _LOG_EVERY_SECONDS:
            self._logged = now
            _log.info(
                "batches",
                run=self.journal.name,
                rows_done=self.state.rows_done,
                rows_remaining=None if total is None else max(0, total - self.state.rows_done),
                rows_per_second=round(self._rows_now / (now - self._began), 1),
                pass_number=self.state.pass_number,
            )

    def _report(
        self, resumed: bool, remaining: int | None, different: int | None, waited_seconds: float
    ) -> BatchReport:
        return BatchReport(
            name=self.journal.name,
            state=FINISHED,
            rows_done=self.state.rows_done,
            rows_done_now=self._rows_now,
            batches=self.state.last_number,
            batches_now=self._batches_now,
            passes=self.state.pass_number,
            rows_before=self.state.detail.get("rows_before"),
            rows_remaining=remaining,
            rows_different=different,
            resumed=resumed,
            duration_seconds=perf_counter() - self._began,
            waited_seconds=waited_seconds,
            longest_batch_seconds=self._longest,
        )
