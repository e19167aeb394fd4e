"""The one writer of a database: its thread batches the statements of many callers into one transaction."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any, Final

from sillar import errors
from sillar.engines.sqlite.jobs import Job, JobState
from sillar.engines.sqlite.statement import Route
from sillar.engines.sqlite.worker import Hold, Worker, result_code

_SLOW_SECONDS: Final = 0.01  # a statement that ever took longer runs in a transaction of its own
_BATCH_SECONDS_MAX: Final = 0.025
_SHARED_SETS_MAX: Final = 50  # parameter sets of one caller that may share a transaction with others
_CONTRACT_PRAGMAS: Final = (
    "automatic_index = on",
    "case_sensitive_like = off",
    "cell_size_check = off",
    "defer_foreign_keys = off",
    "hard_heap_limit = 0",
    "ignore_check_constraints = off",
    "legacy_alter_table = off",
    "locking_mode = normal",
    "recursive_triggers = off",
    "reverse_unordered_selects = off",
    "writable_schema = off",
)


class Writer(Worker):
    """Runs writes: those of several callers together, a transaction of one caller alone.

    A batch is one transaction, ``BEGIN IMMEDIATE … COMMIT``. Its callers hear of it once it is committed, with one
    wake-up of the loop. A statement that fails undoes itself (SQLite's statement journal is a savepoint around each
    statement; work of several statements gets a savepoint of ours). Where SQLite rolls the whole transaction back (an
    interrupted write, a full disk, ``ON CONFLICT ROLLBACK``, a deferred foreign key at COMMIT), the other callers'
    statements, of which nobody has heard yet, run once more, each in a transaction of its own. A statement runs alone
    the first time, and always once it was slow: neighbours do not wait for it.

    Attributes:
        batches_total, batched_total: transactions with callers' statements, and statements in them.
        batch_max_seen: most statements in one of them.
        replays_total: batches that were rolled back and run one by one.
        closing: begins no more transactions of callers.
    """

    def __init__(self, *args: Any, batch_max: int, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.batches_total = self.batched_total = self.batch_max_seen = self.replays_total = self.restores_total = 0
        self.closing = False
        self._batch_max = batch_max

    def serve(self) -> None:
        queue: SimpleQueue[Job | Hold | None] = self.queue
        stop = False
        while not stop:
            work = [queue.get()]
            while len(work) < self._batch_max and not queue.empty():
                work.append(queue.get())
            stop = None in work
            self._work([item for item in work if item is not None])
            del work
        self._checkpoint()

    # --- order --------------------------------------------------------------------------------------------------------

    def _work(self, work: Sequence[Job | Hold]) -> None:
        """Everything in its turn; neighbours that may share a transaction do."""
        batch: list[Job] = []
        for item in work:
            if isinstance(item, Job) and _shares(item):
                batch.append(item)
                continue
            if batch:
                self._run_batch(batch)
                batch = []
            if isinstance(item, Hold):
                self._serve_hold(item)
            elif item.outside or (item.statement is not None and item.statement.route is not Route.WRITE):
                self._run_outside(item)
            else:
                self._run_batch([item])
        if batch:
            self._run_batch(batch)

    # --- batches ------------------------------------------------------------------------------------------------------

    def _run_batch(self, jobs: Sequence[Job]) -> None:
        while jobs:
            jobs = self._run_transaction(jobs)

    def _run_transaction(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """One transaction for as many of the jobs as its time allows. Returns the rest."""
        dispatch = self._dispatch
        try:
            self.ensure_open()
            connection = self.connection
            self.patiently(
                lambda: connection.execute("BEGIN IMMEDIATE"),
                lambda: all(job.state is not JobState.WAITING for job in jobs),
            )
        except Exception as error:
            self._fail(jobs, error)
            return ()
        done: list[Job] = []
        rest: Sequence[Job] = ()
        now = started = time.perf_counter()
        for number, job in enumerate(jobs, 1):
            if not dispatch.claim(job, self):
                continue
            if job.several:
                self._attempt_in_savepoint(job)
            else:
                self.attempt(job)
            dispatch.finish(job)
            done.append(job)
            before, now = now, time.perf_counter()
            statement = job.statement
            if statement is not None:
                longest = statement.seconds_longest
                # A decaying maximum: a run that was slow by chance (waiting for the interpreter) is forgotten.
                statement.seconds_longest = now - before if longest is None else max(now - before, longest / 2)
            if job.error is not None and not connection.in_transaction:
                self._replay(done, jobs[number:])
                return ()
            if now - started > _BATCH_SECONDS_MAX:
                rest = jobs[number:]
                break
        self._commit(connection, done)
        return rest

    def _commit(self, connection: sqlite3.Connection, done: list[Job]) -> None:
        try:
            self.patiently(lambda: connection.execute("COMMIT"), lambda: False)
        except sqlite3.Error as error:
            self._roll_back()
            applied = [job for job in done if job.error is None]
            if result_code(error) & 0xFF == sqlite3.SQLITE_CONSTRAINT and len(applied) > 1:
                self._replay(done, ())  # a deferred constraint: only whoever broke it shall fail
                return
            for job in applied:
                job.error = error
        else:
            if any(job.statement is None or job.statement.changes_schema for job in done):
                self.proofs.invalidate()
        self._count(len(done))
        self._dispatch.deliver(done)

    def _replay(self, done: Sequence[Job], rest: Sequence[Job]) -> None:
        """The transaction was rolled back: whoever failed hears of it, the others run again one by one."""
        self.replays_total += 1
        again: list[Job] = []
        settled: list[Job] = []
        for job in done:
            if job.error is not None:
                settled.append(job)
            elif job.expired_seconds is not None:
                job.error = errors.StatementTimeoutError(
                    f"the statement was not committed within its {job.expired_seconds:g} s and was rolled back"
                )
                settled.append(job)
            else:
                self._dispatch.reopen(job)
                again.append(job)
        self._dispatch.deliver(settled)
        for job in (*again, *rest):
            self._run_batch([job])

    def _attempt_in_savepoint(self, job: Job) -> None:
        connection = self.connection
        try:
            connection.execute("SAVEPOINT sillar_caller")
            self.attempt(job)
            if not connection.in_transaction:
                return
            if job.error is not None:
                connection.execute("ROLLBACK TO sillar_caller")
            connection.execute("RELEASE sillar_caller")
        except sqlite3.Error as error:
            job.error = job.error or error

    def _fail(self, jobs: Sequence[Job], error: Exception) -> None:
        """Nothing of these jobs ran."""
        failed = []
        for job in jobs:
            if self._dispatch.claim(job, self):
                job.error = error
                self._dispatch.finish(job)
                failed.append(job)
        self._dispatch.deliver(failed)

    def _count(self, statements: int) -> None:
        self.batches_total += 1
        self.batched_total += statements
        self.jobs_total += statements
        self.batch_max_seen = max(self.batch_max_seen, statements)

    # --- alone --------------------------------------------------------------------------------------------------------

    def _run_outside(self, job: Job) -> None:
        """Outside any transaction of ours: VACUUM, settings, and the reads of a database in memory."""
        self.run_alone(job)
        statement = job.statement
        if job.outside or (statement is not None and statement.route is Route.ALONE):
            self.proofs.invalidate()
            if statement is not None and statement.verb != "vacuum":
                self._restore()
        self._dispatch.deliver((job,))

    def _serve_hold(self, hold: Hold) -> None:
        """One caller has the writer alone until its transaction ends."""
        begin = hold.begin
        if self.closing:
            if self._dispatch.claim(begin, self):
                begin.error = errors.PoolClosedError(f"{self.file.address} is closing")
                self._dispatch.finish(begin)
                self._dispatch.deliver((begin,))
            return
        self.run_alone(begin)
        if begin.error is None and begin.state is JobState.FINISHED:
            hold.begun = True
            self._dispatch.deliver((begin,))
            while (job := hold.queue.get()) is not None:
                if self._dispatch.claim(job, self):
                    self.jobs_total += 1
                    self.attempt(job)
                    self._dispatch.finish(job)
                    if hold.changes_schema:
                        self.proofs.invalidate()
                    self._dispatch.deliver((job,))
                del job
        else:
            self._dispatch.deliver((begin,))
        self._roll_back()
        if hold.query_only and not hold.restore and self._connection is not None:
            self._connection.execute("PRAGMA query_only = 0")
        if hold.restore:
            self._restore()
            self.proofs.invalidate()

    # --- the session contract -----------------------------------------------------------------------------------------

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self._give_connection_up()

    def _restore(self) -> None:
        """Nobody inherits settings, attached files or temporary tables: a file is opened anew."""
        self.restores_total += 1
        if not self.file.in_memory:
            self._give_connection_up()
            with contextlib.suppress(errors.UnavailableError):  # the next caller tries again, and hears why
                self.ensure_open()
            return
        connection = self.connection
        self._roll_back()
        for _, name, _ in connection.execute("PRAGMA database_list").fetchall():
            if name not in ("main", "temp"):
                connection.execute(f'DETACH "{name}"')
        for kind, name in connection.execute("SELECT type, name FROM temp.sqlite_schema").fetchall():
            if kind in ("table", "view", "trigger") and not name.startswith("sqlite_"):
                connection.execute(f'DROP {kind} IF EXISTS temp."{name.replace(chr(34), chr(34) * 2)}"')
        for pragma in _CONTRACT_PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        self.file.configure(connection, query_only=self.file.read_only)

    def _give_connection_up(self) -> None:
        if not self.file.in_memory:
            self.close_connection()

    def _checkpoint(self) -> None:
        """Move the log into the file, so that the file alone is the database. Others may use it: then the log stays."""
        if self._connection is not None and not self.file.in_memory:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def begin_write(worker: Worker, job: Job) -> None:
    """Begin a transaction that holds SQLite's write lock from the start, so that it cannot fail half-way for want of
    it."""
    connection = worker.connection
    connection.execute("BEGIN IMMEDIATE" if not job.hold.query_only else "BEGIN")
    if job.hold.query_only:
        connection.execute("PRAGMA query_only = 1")
    job.hold.raw = connection


def _shares(job: Job) -> bool:
    """Whether a job may run in one transaction with other callers' jobs."""
    statement = job.statement
    if statement is None or statement.route is not Route.WRITE or statement.seconds_longest is None:
        return False
    if job.several and (not statement.is_single or len(job.args) > _SHARED_SETS_MAX):
        return False
    return statement.seconds_longest < _SLOW_SECONDS and not statement.changes_schema
