"""A light connection: one caller's view of the writer and the readers of a SQLite database."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sillar import errors
from sillar.capabilities import Capability
from sillar.engines.connection import (
    DEFAULT_TRANSACTION,
    DriverConnection,
    Isolation,
    NodeRole,
    NodeStatus,
    Reply,
    RowShape,
    TransactionOptions,
)
from sillar.engines.sqlite import operations
from sillar.engines.sqlite.bulk import prepared
from sillar.engines.sqlite.inline import SLICE_SECONDS
from sillar.engines.sqlite.jobs import Job
from sillar.engines.sqlite.statement import Route, SQLiteStatement, SQLiteStatements, quoted
from sillar.engines.sqlite.values import encode
from sillar.engines.sqlite.worker import Hold, Worker
from sillar.query.bulk import BulkWrite

if TYPE_CHECKING:
    from sillar.engines.sqlite.source import SQLiteSource

_SETS_PER_JOB: Final = 1000
_STATEMENTS: Final = SQLiteStatements(size_max=200)  # Sillar's own: ping, bulk inserts


class SQLiteConnection(DriverConnection[SQLiteStatement]):
    """One caller's view of a database.

    Outside a transaction each statement goes where it belongs: a proven single-row lookup runs at once on the event
    loop, any other read on a reader's thread, a write in the writer's next batch. A transaction has the writer
    alone from :meth:`begin` to its end (a read-only one has a reader with a snapshot). Statements may overlap; in a
    transaction they run in order.

    ``raw`` is the ``sqlite3.Connection`` of an open transaction, None outside; it belongs to a thread of the
    source, so use it only while no statement runs, and have ``dirty`` set. Settings, attached files and temporary
    tables last until the end of the transaction, or of the statement. ``Reply.last_insert_id`` is the last rowid;
    it means nothing after an insert into a table WITHOUT ROWID.
    """

    __slots__ = ("_closed", "_hold", "_job", "_source", "patience_seconds")

    sequential: ClassVar[bool] = False

    def __init__(self, source: SQLiteSource) -> None:
        super().__init__(None, address=source.file.address)
        self._source = source
        self._hold: Hold | None = None
        self._job: Job | None = None
        self._closed = False
        self.patience_seconds: float | None = None

    # --- statements -------------------------------------------------------------------------------------------------

    async def fetch(
        self, statement: SQLiteStatement, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> tuple[RowShape, Sequence[Any]]:
        values = encode(args) if statement.results is None else args
        inline = self._source.inline
        if inline is not None and self._hold is None and statement.lookup_generation == self._source.proofs.generation:
            found = inline.rows(statement, values)
            if found is not None:
                shape = statement.shape
                if shape is None or not statement.fixed_columns:
                    shape = operations.shape_of(statement, inline.cursor)
                if inline.slice_seconds > SLICE_SECONDS:
                    await inline.pause()
                return shape, found if statement.results is None else _values(shape, found)
        job = Job(operations.fetch, statement, values)
        answer: tuple[RowShape, Sequence[Any]] = await self._do(job, timeout_seconds)
        return answer if statement.results is None else (answer[0], _values(*answer))

    async def fetch_row(
        self, statement: SQLiteStatement, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> tuple[RowShape, Any | None]:
        values = encode(args) if statement.results is None else args
        inline = self._source.inline
        if inline is not None and self._hold is None and statement.lookup_generation == self._source.proofs.generation:
            found = inline.rows(statement, values)
            if found is not None:
                shape = statement.shape
                if shape is None or not statement.fixed_columns:
                    shape = operations.shape_of(statement, inline.cursor)
                if inline.slice_seconds > SLICE_SECONDS:
                    await inline.pause()
                rows = found if statement.results is None else _values(shape, found)
                return shape, rows[0] if rows else None
        job = Job(operations.fetch_row, statement, values)
        answer: tuple[RowShape, Any | None] = await self._do(job, timeout_seconds)
        if statement.results is not None and answer[1] is not None:
            return answer[0], _values(answer[0], [answer[1]])[0]
        return answer

    async def run(self, statement: SQLiteStatement, args: Sequence[Any], timeout_seconds: float | None = None) -> Reply:
        if statement.route is Route.READ:
            shape, rows = await self.fetch(statement, args, timeout_seconds)
            return Reply(shape, rows, len(rows))
        if not statement.is_single and not args and statement.route is Route.WRITE:
            job = Job(operations.run_script, statement, _STATEMENTS.rules, several=True)
        else:
            job = Job(operations.run, statement, encode(args) if statement.results is None else args)
        reply: Reply = await self._do(job, timeout_seconds)
        return reply if statement.results is None else _reply(reply)

    async def run_many(
        self, statement: SQLiteStatement, args: Iterable[Sequence[Any]], timeout_seconds: float | None = None
    ) -> int:
        sets = iter(args) if statement.results is not None else map(encode, args)
        first = list(islice(sets, _SETS_PER_JOB))
        following = list(islice(sets, _SETS_PER_JOB))
        if not following:
            if not first:
                return 0
            affected: int = await self._do(Job(operations.run_many, statement, first, several=True), timeout_seconds)
            return affected
        outer = self.in_transaction
        await (self.savepoint("sillar_many") if outer else self.begin())
        try:
            affected = 0
            while first:
                affected += await self._do(Job(operations.run_many, statement, first), timeout_seconds)
                first, following = following, list(islice(sets, _SETS_PER_JOB))
        except BaseException:
            await self._undo_many(outer)
            raise
        await (self.release_savepoint("sillar_many") if outer else self.commit())
        return affected

    async def run_batch(
        self, statements: Sequence[tuple[SQLiteStatement, Sequence[Any]]], timeout_seconds: float | None = None
    ) -> list[Reply]:
        """Run several statements in one hop; outside a transaction they are one: all or nothing."""
        if self._hold is not None or any(
            statement.route is not Route.WRITE or not statement.is_single for statement, _ in statements
        ):
            return await super().run_batch(statements, timeout_seconds)
        pairs = [(statement, encode(args) if statement.results is None else args) for statement, args in statements]
        replies: list[Reply] = await self._do(Job(operations.run_several, None, pairs, several=True), timeout_seconds)
        return [
            reply if statement.results is None else _reply(reply)
            for reply, (statement, _) in zip(replies, statements, strict=True)
        ]

    async def stream(
        self, statement: SQLiteStatement, args: Sequence[Any], batch_rows: int, timeout_seconds: float | None = None
    ) -> AsyncIterator[tuple[RowShape, Sequence[Any]]]:
        hold = self._hold
        if statement.route is not Route.READ or (hold is None and self._source.file.in_memory):
            # Writing statements run to their end before their first row; and what is in memory is there already.
            shape, rows = await self.fetch(statement, args, timeout_seconds)
            for begin in range(0, len(rows), batch_rows):
                yield shape, rows[begin : begin + batch_rows]
            return
        values = encode(args) if statement.results is None else args
        own = None if hold is not None else await self._source.hold_snapshot(self, begin=False)
        hold = own or hold
        assert hold is not None
        opening = Job(operations.open_stream, statement, (values, batch_rows))
        try:
            shape, rows, cursor = await self._do_held(hold, opening, timeout_seconds)
            while rows:
                yield shape, rows if statement.results is None else _values(shape, rows)
                rows = await self._do_held(
                    hold, Job(operations.fetch_more, statement, (cursor, batch_rows)), timeout_seconds
                )
        finally:
            hold.put(Job(operations.close_stream, None, opening, committing=True))
            if own is not None:
                self._source.end_hold(own)

    async def bulk_insert(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        timeout_seconds: float | None = None,
    ) -> int:
        names = ", ".join(quoted_column(column) for column in columns)
        marks = ", ".join("?" for _ in columns)
        statement = _STATEMENTS.get(f"INSERT INTO {quoted(table)} ({names}) VALUES ({marks})")  # noqa: S608
        return await self.run_many(statement, rows, timeout_seconds)

    async def write_batch(
        self, write: BulkWrite, rows: Sequence[Sequence[Any]], timeout_seconds: float | None = None
    ) -> int:
        statement, arrange = prepared(write)
        return await self.run_many(statement, rows if arrange is None else map(arrange, rows), timeout_seconds)

    # --- transactions -----------------------------------------------------------------------------------------------

    async def begin(self, options: TransactionOptions = DEFAULT_TRANSACTION) -> None:
        """Begin a transaction; waits for the writer.

        Raises:
            PoolTimeoutError, PoolExhaustedError, NestedAcquireError: others hold the writer.
            LockTimeoutError: another process holds the write lock.
            UnsupportedCapabilityError: an isolation level below serializable, which is the only one that SQLite has.
        """
        if self._hold is not None:
            raise errors.UsageError("a transaction is open on this connection already; use a savepoint")
        if options.isolation not in (None, Isolation.SERIALIZABLE):
            raise errors.UnsupportedCapabilityError(
                f"isolation level {options.isolation}",
                engine=self._source.capabilities.engine,
                remedy="leave the level out, or ask for serializable: SQLite has no other",
            )
        if options.settings:
            raise errors.UsageError("SQLite has no transaction-local settings")
        source = self._source
        read_only = options.read_only or source.file.read_only
        if read_only and not source.file.in_memory:
            hold = await source.hold_snapshot(self, begin=True)
        else:
            hold = await source.hold_writer(self, query_only=read_only)
        self._hold = hold
        self.raw = hold.raw
        self.in_transaction = True

    async def commit(self) -> None:
        """Commit. Once asked for, it happens, even if the caller is cancelled meanwhile."""
        await self._end(Job(operations.commit, None, committing=True))

    async def rollback(self) -> None:
        """Roll back. Once asked for, it happens."""
        await self._end(Job(operations.roll_back, None, committing=True))

    async def savepoint(self, name: str) -> None:
        await self._control(f"SAVEPOINT {quoted_column(name)}")

    async def release_savepoint(self, name: str) -> None:
        await self._control(f"RELEASE {quoted_column(name)}")

    async def rollback_to_savepoint(self, name: str) -> None:
        await self._control(f"ROLLBACK TO {quoted_column(name)}")

    async def on_driver(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run something with the driver's connection of the open transaction, in its thread.

        Raises:
            UsageError: no transaction is open.
        """
        if self._hold is None:
            raise errors.UsageError("the driver's connection can be used in an open transaction only")
        return await self._do_held(self._hold, Job(lambda worker, _: work(worker.connection), None), None)

    # --- life -------------------------------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        return self._closed or not self._source.is_open

    async def ping(self) -> None:
        await self._do(Job(operations.fetch, _STATEMENTS.get("SELECT 1"), ()), None)

    async def reset(self) -> None:
        """Roll back what is open. Settings, attached files and temporary tables are gone with it."""
        if self._hold is not None:
            self._hold.restore = self._hold.restore or self.dirty
            await self.rollback()
        self.dirty = False

    async def cancel(self) -> None:
        job = self._job
        if job is not None:
            self._source.dispatch.interrupt(job)

    async def probe(self) -> NodeStatus:
        read_only: bool = await self._do(Job(_refuses_writes, None, outside=True), None)
        capabilities = self._source.capabilities.named(f"SQLite {sqlite3.sqlite_version}")
        if sqlite3.sqlite_version_info < (3, 35):
            capabilities = capabilities.without(Capability.RETURNING, "it came with SQLite 3.35")
            capabilities = capabilities.without(Capability.UPDATE_RETURNING, "it came with SQLite 3.35")
        return NodeStatus(sqlite3.sqlite_version, NodeRole.PRIMARY, read_only, capabilities, self.address)

    async def close(self) -> None:
        self.terminate()

    def terminate(self) -> None:
        """Interrupt what runs, roll back, and give the view up."""
        if self._closed:
            return
        if self._job is not None and self._source.is_open:
            self._source.dispatch.interrupt(self._job)
        self._closed = True
        if self.leased:
            self._source.release_connection(self)

    def give_back(self) -> bool:
        """Called by the source on release: end what is open. Returns whether the view may serve the next caller."""
        self.leased = False
        self._job = None
        hold = self._hold
        if hold is not None:
            self._hold = self.raw = None
            hold.restore = hold.restore or self.dirty
            hold.put(Job(operations.roll_back, None, committing=True))
            self._source.end_hold(hold)
            self.in_transaction = False
        self.dirty = False
        if self.place is not None or self.kept or self.patience_seconds is not None:
            self.holder = self.place = self.patience_seconds = None
            self.kept = {}
        return not self._closed

    # --- within -----------------------------------------------------------------------------------------------------

    def _do(self, job: Job, timeout_seconds: float | None) -> Awaitable[Any]:
        """Run a job where it belongs."""
        hold = self._hold
        if hold is not None:
            return self._do_held(hold, job, timeout_seconds)
        source = self._source
        if not source.is_open:
            raise source.closed_error()
        statement = job.statement
        if timeout_seconds is None:
            timeout_seconds = source.options.statement_timeout
        start = None
        if statement is not None and statement.route is Route.READ:
            if source.writer_holds and source.file.in_memory:
                start = source.limit_wait(self)
            source.submit_read(job)
        else:
            if statement is not None and statement.route is Route.CONTROL:
                raise self._not_by_text(statement)
            if source.writer_holds:
                start = source.limit_wait(self)
            source.submit_write(job)
        self._job = job
        return source.dispatch.result(job, timeout_seconds, start)

    def _do_held(self, hold: Hold, job: Job, timeout_seconds: float | None) -> Awaitable[Any]:
        """Run a job in the open transaction (or on the reader of a stream); while the source closes, too."""
        source = self._source
        if hold not in source.holds:
            raise source.closed_error()
        statement = job.statement
        if statement is not None and statement.route is Route.CONTROL and not _is_savepoint(statement):
            raise self._not_by_text(statement)
        if timeout_seconds is None:
            timeout_seconds = source.options.statement_timeout
        job.future = source.dispatch.loop.create_future()
        hold.put(job)
        self._job = job
        return source.dispatch.result(job, timeout_seconds)

    async def _end(self, job: Job) -> None:
        hold, self._hold = self._hold, None
        if hold is None:
            raise errors.UsageError("no transaction is open on this connection")
        self.raw = None
        self.in_transaction = False
        if hold not in self._source.holds:
            raise self._source.closed_error()
        hold.restore = hold.restore or self.dirty
        self.dirty = False
        job.future = self._source.dispatch.loop.create_future()
        hold.put(job)
        self._source.end_hold(hold)  # behind the job: whatever happens to the caller, the writer goes on
        await self._source.dispatch.result(job)

    async def _control(self, text: str) -> None:
        hold = self._hold
        if hold is None:
            raise errors.UsageError("savepoints need an open transaction")
        await self._do_held(hold, Job(operations.run, _STATEMENTS.get(text), ()), None)

    async def _undo_many(self, outer: bool) -> None:
        if outer and self._hold is not None:
            for verb in ("ROLLBACK TO", "RELEASE"):
                job = Job(operations.run, _STATEMENTS.get(f'{verb} "sillar_many"'), (), committing=True)
                self._hold.put(job)
        elif self._hold is not None:
            await self.rollback()

    def _not_by_text(self, statement: SQLiteStatement) -> errors.UsageError:
        return errors.UsageError(
            f"{statement.verb.upper()} cannot be sent as a statement: connections are shared; use session.transaction()"
        )


def _values(shape: Any, rows: Sequence[Any]) -> Sequence[Any]:
    """The rows of a plan with SQLAlchemy's values."""
    decode = getattr(shape, "decode", None)
    return rows if decode is None else [decode(row) for row in rows]


def _reply(reply: Reply) -> Reply:
    """The reply to a plan with SQLAlchemy's values."""
    return reply if reply.shape is None else reply._replace(rows=_values(reply.shape, reply.rows))


def quoted_column(name: str) -> str:
    """One name as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'


def _is_savepoint(statement: SQLiteStatement) -> bool:
    return statement.verb in ("savepoint", "release") or (
        statement.verb == "rollback" and " to " in f" {statement.fingerprint.lower()} "
    )


def _refuses_writes(worker: Worker, job: Job) -> bool:
    """Whether SQLite refuses to write. For a file without write permission BEGIN IMMEDIATE alone succeeds."""
    connection = worker.connection
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version = {version}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
            return True
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return False
