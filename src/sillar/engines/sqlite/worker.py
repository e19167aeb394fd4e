"""A thread with a SQLite connection of its own."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from sillar import errors
from sillar.engines.sqlite.file import DatabaseFile
from sillar.engines.sqlite.jobs import Dispatch, Job
from sillar.engines.sqlite.lookup import LookupProofs

T = TypeVar("T")
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_RECOVERY})
_WAIT_SECONDS_MIN, _WAIT_SECONDS_MAX = 0.001, 0.05


class Hold:
    """The exclusive use of a worker for one transaction: a queue that the worker serves before any other.

    Attributes:
        begin: the job that begins the transaction.
        query_only: SQLite refuses writes for its length.
        task, since: who holds it, and from when (loop time).
        restore: the session settings may have been changed.
        changes_schema: a statement of it may have changed tables or indexes.
        begun: the transaction is open as far as its owner knows.
        raw: the driver's connection while the hold lasts.
    """

    __slots__ = ("begin", "begun", "changes_schema", "query_only", "queue", "raw", "restore", "since", "task")

    def __init__(self, begin: Job, *, query_only: bool = False) -> None:
        self.begin = begin
        begin.hold = self
        self.query_only = query_only
        self.queue: SimpleQueue[Job | None] = SimpleQueue()
        self.task: Any = None
        self.since = 0.0
        self.restore = self.changes_schema = self.begun = False
        self.raw: sqlite3.Connection | None = None

    def put(self, job: Job) -> None:
        """Run a job inside the transaction."""
        job.hold = self
        self.queue.put(job)

    def end(self) -> None:
        """No more jobs: the worker cleans up and goes on with the others."""
        self.queue.put(None)


class Worker:
    """Runs the jobs of a queue, one at a time, on a connection that it opens itself.

    The thread is a daemon: a process may exit without closing it.

    Args:
        name: of the thread.
        open_connection: opens the connection, in the thread.
        queue: where jobs come from; None ends the thread. Workers may share one.
    """

    def __init__(
        self,
        name: str,
        open_connection: Callable[[], sqlite3.Connection],
        queue: SimpleQueue[Any],
        *,
        file: DatabaseFile,
        dispatch: Dispatch,
        proofs: LookupProofs,
        busy_seconds: float,
    ) -> None:
        self.file = file
        self.queue = queue
        self.proofs = proofs
        self.jobs_total = 0
        self._open = open_connection
        self._dispatch = dispatch
        self._busy_seconds = busy_seconds
        self._connection: sqlite3.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection; for use in the thread."""
        if self._connection is None:
            raise errors.ConnectionLostError("the connection is closed", safe_to_retry=True)
        return self._connection

    @property
    def cursor(self) -> sqlite3.Cursor:
        """One cursor for all statements that are read to their end; for use in the thread."""
        if self._cursor is None:
            raise errors.ConnectionLostError("the connection is closed", safe_to_retry=True)
        return self._cursor

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def interrupt(self) -> None:
        """Stop the statement that runs now. Called from other threads, under the dispatch's lock."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed in this instant
                self._connection.interrupt()

    def patiently(self, step: Callable[[], T], given_up: Callable[[], bool]) -> T:
        """Try a step again while another process or connection holds the lock it needs, up to the busy timeout.

        SQLite's own busy handler is not used: no interrupt reaches it.

        Args:
            step: has no effect when it fails with SQLITE_BUSY.
            given_up: nobody waits for it any more.
        """
        deadline: float | None = None
        delay = _WAIT_SECONDS_MIN
        while True:
            try:
                return step()
            except sqlite3.OperationalError as error:
                now = time.monotonic()
                if deadline is None:
                    deadline = now + self._busy_seconds
                if result_code(error) not in _BUSY or now >= deadline or given_up():
                    raise
            time.sleep(delay)
            delay = min(delay * 2, _WAIT_SECONDS_MAX)

    def attempt(self, job: Job) -> None:
        """Run a claimed job; its result or error stays on it."""
        try:
            hold = job.hold
            if hold is not None and hold.begun and not job.committing and not self.connection.in_transaction:
                raise transaction_lost()
            job.result = job.perform(self, job)
        except Exception as error:
            job.error = error

    def run_alone(self, job: Job) -> None:
        """Run a job by itself, waiting for locks of others, and tell its caller."""
        if not self._dispatch.claim(job, self):
            return
        self.jobs_total += 1

        def step() -> None:
            job.error = None
            self.attempt(job)
            if isinstance(job.error, sqlite3.OperationalError):
                raise job.error

        try:
            self.ensure_open()
            self.patiently(step, lambda: job.withdrawn)
        except Exception as error:
            job.error = error
        self._dispatch.finish(job)

    def ensure_open(self) -> None:
        """Open the connection if it is not open.

        Raises:
            ConnectError: it cannot be opened.
        """
        if self._connection is None:
            self._connection = self._open()
            self._cursor = self._connection.cursor()

    def close_connection(self) -> None:
        """Close the connection; the next job opens another one."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.close()

    def serve(self) -> None:
        """Run jobs until the queue says to stop."""
        while (job := self.queue.get()) is not None:
            self.run_alone(job)
            self._dispatch.deliver((job,))
            self._look_for_proof(job)
            del job

    def _look_for_proof(self, job: Job) -> None:
        statement = job.statement
        if statement is None or statement.table is None or job.error is not None or job.hold is not None:
            return
        if statement.checked_generation != self.proofs.generation and self._connection is not None:
            try:
                self.proofs.prove(self._connection, statement, job.args)
            except sqlite3.Error:
                return  # the schema changed meanwhile, or a lock is held: no proof, and the statement runs here

    def _main(self) -> None:
        try:
            self.serve()
        finally:
            self.close_connection()


def result_code(error: sqlite3.Error) -> int:
    """SQLite's extended result code, or 0 for an error of the sqlite3 module itself."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code


def transaction_lost() -> errors.StatementError:
    """The error of statements in a transaction that SQLite itself has rolled back."""
    return errors.UnknownStatementError(
        "SQLite has rolled this transaction back after an earlier error (interrupt, full disk, ON CONFLICT ROLLBACK);"
        " nothing of it is kept: leave the transaction and run it again",
        code="SQLITE_ABORT_ROLLBACK",
    )
