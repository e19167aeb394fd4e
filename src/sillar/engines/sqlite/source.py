"""Where sessions get their connections to a SQLite database: light ones, at once, over one writer and several
readers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar

from sillar import errors
from sillar.capabilities import Capabilities
from sillar.config import ConnectionPoolConfig, SQLiteConfig
from sillar.context import remaining_seconds
from sillar.engines.connection import DriverConnection
from sillar.engines.health import PoolHealth
from sillar.engines.sqlite import backup
from sillar.engines.sqlite.connection import SQLiteConnection
from sillar.engines.sqlite.figures import SQLiteFigures, figures_of, health_of
from sillar.engines.sqlite.file import DatabaseFile
from sillar.engines.sqlite.inline import InlineReader
from sillar.engines.sqlite.jobs import Dispatch, Job
from sillar.engines.sqlite.lookup import LookupProofs
from sillar.engines.sqlite.operations import begin_read
from sillar.engines.sqlite.snapshots import SnapshotHold, SnapshotReaders
from sillar.engines.sqlite.worker import Hold, Worker
from sillar.engines.sqlite.writer import Writer, begin_write


class SQLiteSource:
    """The writer, the readers and the inline reader of one database, and the light connections over them.

    Acquiring never waits: a light connection is a view. What waits is the work: a transaction for the writer, a
    statement for the writer while somebody holds it alone, a stream for a reader of its own; first come, first
    served, bounded in number and time by the pool's ``waiting_max`` and ``connection_timeout``.

    A database in memory lives in a single connection: every statement runs on the writer's thread.
    """

    is_routed: ClassVar[bool] = False

    def __init__(self, config: SQLiteConfig, capabilities: Capabilities, *, name: str = "") -> None:
        self.name = name or config.database
        self.file = DatabaseFile(config)
        self.options = config.connection_options
        self.pool = config.pool or ConnectionPoolConfig()
        self.capabilities = capabilities
        self.proofs = LookupProofs()
        self.inline: InlineReader | None = None
        self.dispatch: Dispatch
        self.writer: Writer
        self.holds: set[Hold] = set()
        self.writer_holds = 0  # of them, those that have or await the writer
        self._idle = asyncio.Event()
        self.readers: list[Worker] = []
        self._reads: SimpleQueue[Any] = SimpleQueue()
        self.snapshots: SnapshotReaders
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False
        self._spare: list[SQLiteConnection] = []
        self.leased = self.acquired_total = 0
        self.timeouts_total = self.refused_total = 0

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the file and start the threads, in the running loop. Does nothing if it is open.

        Raises:
            ConnectError: the file cannot be opened.
            UnknownDatabaseError: its folder is missing, or it is no SQLite database.
        """
        if self._loop is not None and not self._closing:
            return
        loop = asyncio.get_running_loop()
        self.dispatch = Dispatch(loop, self.file.address)
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        settings: dict[str, Any] = {
            "file": self.file,
            "dispatch": self.dispatch,
            "proofs": self.proofs,
            "busy_seconds": self.options.busy_timeout,
        }
        self._reads = SimpleQueue()
        self.writer = Writer(
            "sillar-sqlite-writer", self.file.open_writer, SimpleQueue(), batch_max=self.options.batch_max, **settings
        )
        self.writer.start()
        try:
            self.inline = await self._on_writer(self._open_connections)
        except BaseException:
            self.writer.queue.put(None)
            raise
        self._loop = loop
        if not self.file.in_memory:
            for number in range(1, self.options.readers + 1):
                self.readers.append(self._reader(f"sillar-sqlite-reader-{number}", self._reads, settings))
        self.snapshots = SnapshotReaders(
            lambda number: self._reader(f"sillar-sqlite-snapshot-{number}", SimpleQueue(), settings),
            self.dispatch,
            limit=self.pool.max_connections,
            waiting_max=self.pool.waiting_max,
            numbers=self.numbers,
        )

    async def close(self, drain_seconds: float | None = None) -> None:
        """Refuse new work, wait for what runs, then end the threads and close the file.

        Args:
            drain_seconds: how long transactions and statements may take to end; None is the configured
                ``drain_timeout``. Then they are interrupted and rolled back.
        """
        if self._loop is None or self._closing:
            return
        self._closing = True
        drain = self.pool.drain_timeout if drain_seconds is None else drain_seconds
        workers: list[Worker] = [self.writer, *self.readers, *self.snapshots.workers()]
        deadline = self._loop.time() + drain
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain):
                await self._idle.wait()
        self.writer.closing = True
        for hold in list(self.holds):
            self.end_hold(hold)
        self.writer.queue.put(None)
        for _ in self.readers:
            self._reads.put(None)
        for worker in self.snapshots.workers():
            worker.queue.put(None)
        while any(worker.is_alive() for worker in workers):
            if self._loop.time() >= deadline:
                for worker in workers:
                    worker.interrupt()
            await asyncio.sleep(0.002)
        if self.inline is not None:
            self.inline.close()
            self.inline = None
        self.readers.clear()
        self._spare.clear()
        self._loop = None

    @property
    def is_open(self) -> bool:
        """Whether it serves."""
        return self._loop is not None and not self._closing

    # --- connections ------------------------------------------------------------------------------------------------

    def try_acquire(self, read: Any = None) -> SQLiteConnection | None:
        """A light connection, or None while the source is not open."""
        if self._loop is None or self._closing:
            return None
        self.leased += 1
        self.acquired_total += 1
        connection = self._spare.pop() if self._spare else SQLiteConnection(self)
        connection.leased = True
        return connection

    async def acquire_connection(self, timeout_seconds: float | None = None, read: Any = None) -> SQLiteConnection:
        """A light connection, at once. Its waits for the writer or for a reader of its own take ``timeout_seconds`` at
        most.

        Raises:
            PoolClosedError: the source is closed or closing.
        """
        connection = self.try_acquire()
        if connection is None:
            raise self.closed_error()
        connection.patience_seconds = timeout_seconds
        return connection

    def release_connection(self, connection: DriverConnection[Any]) -> None:
        """Take a light connection back. A transaction that is still open is rolled back.

        Raises:
            UsageError: it is not leased.
        """
        if not connection.leased:
            raise errors.UsageError(f"a connection to {self.name} was released twice")
        assert isinstance(connection, SQLiteConnection)
        self.leased -= 1
        if connection.give_back() and len(self._spare) < 1000:
            self._spare.append(connection)

    # --- work -------------------------------------------------------------------------------------------------------

    def submit_read(self, job: Job) -> None:
        """Run a job on any reader (in memory: on the writer)."""
        job.future = self.dispatch.loop.create_future()
        (self.writer.queue if self.file.in_memory else self._reads).put(job)

    def submit_write(self, job: Job) -> None:
        """Run a job on the writer."""
        job.future = self.dispatch.loop.create_future()
        self.writer.queue.put(job)

    def limit_wait(self, connection: SQLiteConnection) -> tuple[float, Callable[[], BaseException]] | None:
        """How long a statement of ``connection`` may wait for the writer while others hold it; None when nobody does.

        Raises:
            NestedAcquireError: the holder is the calling task itself, outside its transaction.
            PoolExhaustedError: too many wait already.
        """
        if not self.writer_holds:
            return None
        self._refuse_nested()
        self._refuse_crowd()
        seconds = self.patience(connection)
        return seconds, lambda: self._timeout_error(seconds)

    async def hold_writer(self, connection: SQLiteConnection, *, query_only: bool) -> Hold:
        """The writer for one transaction alone, with the transaction begun.

        Raises:
            PoolTimeoutError, PoolExhaustedError, NestedAcquireError, PoolClosedError, LockTimeoutError, ReadOnlyError
        """
        self._require_open()
        hold = Hold(Job(begin_write, None), query_only=query_only)
        if self.writer_holds:
            self._refuse_nested()
            self._refuse_crowd()
        hold.task = asyncio.current_task()
        hold.begin.future = self.dispatch.loop.create_future()
        seconds = self.patience(connection)
        self._register(hold)
        self.writer.queue.put(hold)
        try:
            await self.dispatch.result(hold.begin, None, (seconds, lambda: self._timeout_error(seconds)))
        except BaseException:
            self.end_hold(hold)
            raise
        hold.since = self.dispatch.loop.time()
        return hold

    async def hold_snapshot(self, connection: SQLiteConnection, *, begin: bool) -> Hold:
        """A reader for one caller alone, with a read transaction begun if ``begin``.

        Raises:
            PoolTimeoutError, PoolExhaustedError, NestedAcquireError, PoolClosedError
        """
        self._require_open()
        reader = await self.snapshots.acquire(self.patience(connection))
        hold = SnapshotHold(Job(begin_read, None), reader, self.snapshots)
        hold.task = asyncio.current_task()
        hold.since = self.dispatch.loop.time()
        self._register(hold)
        if begin:
            hold.begin.future = self.dispatch.loop.create_future()
            hold.put(hold.begin)
            try:
                await self.dispatch.result(hold.begin)
            except BaseException:
                self.end_hold(hold)
                raise
            hold.begun = True
        return hold

    def end_hold(self, hold: Hold) -> None:
        """No more jobs of this transaction or stream come."""
        if hold in self.holds:
            self.holds.remove(hold)
            self.writer_holds -= not isinstance(hold, SnapshotHold)
            if not self.holds:
                self._idle.set()
            hold.end()

    def patience(self, connection: SQLiteConnection) -> float:
        """Seconds that a caller may wait its turn: the least of its own limit, the configured one, and the deadline."""
        limits = [self.pool.connection_timeout]
        if connection.patience_seconds is not None:
            limits.append(connection.patience_seconds)
        remaining = remaining_seconds()
        if remaining is not None:
            limits.append(max(0.0, remaining))
        return min(limits)

    # --- backup -----------------------------------------------------------------------------------------------------

    async def backup(self, target: Path, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Copy the database to a file while it is in use: one consistent state, checked before it gets its name.

        With a write-ahead log the copy is of one snapshot, and readers and writers go on meanwhile. Without one (and in
        memory) writers wait.

        Args:
            target: replaced if it exists.
            progress: called in a thread with the pages left and the pages of all.

        Raises:
            DiskFullError, ConnectError: the copy cannot be written.
            StatementError: the database is damaged.
        """
        self._require_open()
        work = backup.copy_to(Path(target), progress)
        if self.file.in_memory or self.options.journal_mode != "wal":
            await self._on_writer(work)
            return
        connection = SQLiteConnection(self)
        hold = await self.hold_snapshot(connection, begin=True)
        try:
            job = Job(work, None)
            job.future = self.dispatch.loop.create_future()
            hold.put(job)
            await self.dispatch.result(job)
        finally:
            self.end_hold(hold)

    async def restore(self, source: Path) -> None:
        """Replace the whole content of the database by that of a file, in one transaction. Readers see the old or the
        new one.

        Raises:
            UnknownDatabaseError: the file is missing, damaged or no SQLite database. Nothing was changed.
        """
        self._require_open()
        await self._on_writer(backup.copy_from(Path(source)))

    # --- figures ----------------------------------------------------------------------------------------------------

    def figures(self) -> SQLiteFigures:
        """What the threads did so far."""
        return figures_of(self)

    def stats(self) -> PoolHealth:
        """The figures in the form that all sources of connections share."""
        return health_of(self)

    async def health_check(self) -> PoolHealth:
        """The figures, and whether a reader answers. In memory, with its one thread, it waits its turn."""
        connection = self.try_acquire()
        if connection is not None:
            try:
                await connection.ping()
            finally:
                self.release_connection(connection)
        return self.stats()

    def numbers(self) -> str:
        """How busy it is, for messages."""
        now = self.dispatch.loop.time()
        parts = [f"{self.dispatch.limited} waiting for the writer", f"{self.snapshots.leased} readers leased"]
        holding = [hold for hold in self.holds if hold.since and not isinstance(hold, SnapshotHold)]
        if holding:
            oldest = min(holding, key=lambda hold: hold.since)
            task = f" by task {oldest.task.get_name()}" if oldest.task is not None else ""
            parts.append(f"the writer held{task} for {now - oldest.since:.1f} s")
        return f"database {self.name!r}: {', '.join(parts)}"

    def closed_error(self) -> errors.PoolClosedError:
        """The error for callers that come too late or too early."""
        state = "closing" if self._closing and self._loop is not None else "not open"
        return errors.PoolClosedError(f"database {self.name!r} is {state}")

    # --- within -----------------------------------------------------------------------------------------------------

    def _register(self, hold: Hold) -> None:
        self.holds.add(hold)
        self.writer_holds += not isinstance(hold, SnapshotHold)
        self._idle.clear()

    def _require_open(self) -> None:
        if not self.is_open:
            raise self.closed_error()

    def _refuse_nested(self) -> None:
        task = asyncio.current_task()
        if any(hold.task is task and not isinstance(hold, SnapshotHold) for hold in self.holds):
            raise errors.NestedAcquireError(
                f"{self.numbers()}; this very task holds the writer in an open transaction and would wait for itself;"
                " run the statement in that transaction, or end it first"
            )

    def _refuse_crowd(self) -> None:
        if self.dispatch.limited >= self.pool.waiting_max:
            self.refused_total += 1
            raise errors.PoolExhaustedError(
                f"{self.numbers()}; waiting_max={self.pool.waiting_max} wait already; keep transactions shorter,"
                " or shed load"
            )

    def _timeout_error(self, seconds: float) -> errors.PoolTimeoutError:
        self.timeouts_total += 1
        error = errors.PoolTimeoutError(
            f"{self.numbers()}; the writer was not free within {seconds:.1f} s; keep transactions shorter, or raise"
            " connection_timeout"
        )
        error.retry_after_seconds = 1.0
        return error

    def _reader(self, name: str, queue: SimpleQueue[Any], settings: dict[str, Any]) -> Worker:
        worker = Worker(name, self.file.open_reader, queue, **settings)
        worker.start()
        return worker

    async def _on_writer(self, work: Callable[[Worker, Job], Any]) -> Any:
        job = Job(work, None, outside=True)
        self.submit_write(job)
        return await self.dispatch.result(job)

    def _open_connections(self, worker: Worker, job: Job) -> InlineReader | None:
        if self.file.in_memory or not self.options.inline_reads:
            return None
        return InlineReader(self.file, self.proofs)

    def __repr__(self) -> str:
        return f"<SQLiteSource {self.name!r}>"

    def __reduce__(self) -> Any:
        raise errors.UsageError("a source of connections cannot be pickled; open one in each process")
