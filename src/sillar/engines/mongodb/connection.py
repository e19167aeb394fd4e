"""A lease on the driver's client: one session of the server, under the contract of all engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, NoReturn, TypeVar

import pymongo
import structlog
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from sillar import errors
from sillar.capabilities import Capability
from sillar.engines.connection import (
    DEFAULT_TRANSACTION,
    Isolation,
    NodeRole,
    NodeStatus,
    Reply,
    RowShape,
    TransactionOptions,
)
from sillar.engines.mongodb import bulk
from sillar.engines.mongodb.arguments import checked, document_chunks
from sillar.engines.mongodb.client import MongoDBClient
from sillar.engines.mongodb.compiler import CommandPlan
from sillar.engines.mongodb.errors import statement_error
from sillar.engines.mongodb.repeated_commit import UNKNOWN, commit_repeatedly
from sillar.engines.mongodb.repetition import run_sets
from sillar.engines.mongodb.session_lease import SessionLease
from sillar.engines.mongodb.verbs import VERBS, Call, cursor_of
from sillar.engines.mongodb.wording import names_in
from sillar.query.bulk import BulkWrite
from sillar.query.document import DocumentCommand

T = TypeVar("T")

_log = structlog.get_logger("sillar.mongodb")
_END_SECONDS: Final = 5.0
_REMEDY: Final = "run the commands one by one, or use a replica set or a sharded cluster"


class MongoDBConnection(SessionLease):
    """A lease: the driver's client, and a session of its own on the server.

    The driver takes a socket from its pool for each command, so a lease holds none. What it holds is the session: its
    commands and cursors can be told apart and killed, and a transaction belongs to it.

    Args:
        client: the client; ``owned``: closing the lease closes it.

    Attributes:
        raw: the driver's ``AsyncMongoClient``.
    """

    __slots__ = ("_broken", "_closed", "_left", "_owned")

    def __init__(self, client: MongoDBClient, *, owned: bool = False) -> None:
        super().__init__(client)
        self._owned = owned
        self._broken = False
        self._left: asyncio.Task[Any] | None = None
        self._closed = False

    # --- commands ---------------------------------------------------------------------------------------------------

    async def fetch(
        self, statement: DocumentCommand, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> tuple[RowShape, Sequence[Any]]:
        reply = await self.perform(statement, args, timeout_seconds)
        return reply.shape or _NOTHING, reply.rows

    async def fetch_row(
        self, statement: DocumentCommand, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> tuple[RowShape, Any | None]:
        reply = await self.perform(statement, args, timeout_seconds, first=True)
        return reply.shape or _NOTHING, reply.rows[0] if reply.rows else None

    async def run(self, statement: DocumentCommand, args: Sequence[Any], timeout_seconds: float | None = None) -> Reply:
        return await self.perform(statement, args, timeout_seconds)

    async def run_many(
        self, statement: DocumentCommand, args: Iterable[Sequence[Any]], timeout_seconds: float | None = None
    ) -> int:
        """Run a command once per set of further arguments, all or nothing where the deployment has transactions.

        Where it has none, an error says how much was written before it.
        """
        return await run_sets(self, statement, args, timeout_seconds)

    async def stream(
        self, statement: DocumentCommand, args: Sequence[Any], batch_rows: int, timeout_seconds: float | None = None
    ) -> AsyncIterator[tuple[RowShape, Sequence[Any]]]:
        if statement.verb not in ("find", "aggregate"):
            reply = await self.perform(statement, args, timeout_seconds)
            if reply.shape is not None:
                yield reply.shape, reply.rows
            return
        call = self._call(statement, args)
        shape, limit = self._client.shape, self._client.limit(timeout_seconds)
        table = statement.table if isinstance(statement, CommandPlan) else None
        cursor: Any = None
        try:
            while True:
                if cursor is None:
                    cursor = await self._drive(cursor_of(call, statement.verb, batch_rows), limit)
                documents = await self._drive(cursor.to_list(batch_rows), limit)
                if not documents:
                    return
                yield (shape, list(zip(documents))) if table is None else (table.shape, table.rows(documents))
        except GeneratorExit:
            await self._close_cursor(cursor)
            raise
        except BaseException as error:
            self._raise(error, statement, limit)

    async def bulk_insert(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        timeout_seconds: float | None = None,
    ) -> int:
        """Insert documents by ``insert_many``, in one transaction where the deployment has them.

        Where it has none, the documents before a refused one stay, and the error says how many. A transaction may not
        last longer than the server's ``transactionLifetimeLimitSeconds`` (60 by default).
        """
        if self._client.config.read_only:
            raise errors.ReadOnlyError(f"a bulk insert into {table} writes, and this database is configured read_only")
        inserted = 0

        async def insert() -> int:
            nonlocal inserted
            for documents in document_chunks(columns, rows):
                command = DocumentCommand(table, "insert_many", {"documents": documents})
                inserted += (await self.perform(command, (), timeout_seconds)).rows_affected
            return inserted

        try:
            return await self.all_or_nothing(insert)
        except errors.DatabaseError as error:
            if not isinstance(rows, Sequence):
                error.safe_to_retry = False  # the rows are consumed
            if isinstance(error, errors.StatementError) and self._writes_stay:
                inserted += error.detail.get("inserted", 0)
                error.detail = {**error.detail, "inserted": inserted}
                error.args = (f"{error.args[0]}; the {inserted} documents before it were written and stay",)
            raise

    async def write_batch(
        self, write: BulkWrite, rows: Sequence[Sequence[Any]], timeout_seconds: float | None = None
    ) -> int:
        if self._client.config.read_only:
            raise errors.ReadOnlyError(f"{write.fingerprint} writes, and this database is configured read_only")
        return await self.all_or_nothing(lambda: bulk.write_batch(self, write, rows, timeout_seconds))

    # --- transactions -----------------------------------------------------------------------------------------------

    async def begin(self, options: TransactionOptions = DEFAULT_TRANSACTION) -> None:
        """Begin a transaction: majority write concern; snapshot read concern for repeatable read.

        Nothing is sent: the server begins with the first command. It runs on the primary, also one that only reads:
        MongoDB has no others. What writes in a read-only one is refused here.
        """
        self._client.capabilities.require(Capability.TRANSACTIONS, remedy=_REMEDY)
        try:
            await self.session.start_transaction(
                read_concern=ReadConcern("snapshot") if options.isolation is Isolation.REPEATABLE_READ else None,
                write_concern=WriteConcern("majority"),
                read_preference=ReadPreference.PRIMARY,
            )
        except BaseException as error:
            self._raise(error, None, None)
        self.in_transaction, self.transaction_reads = True, options.read_only

    async def commit(self) -> None:
        session = self.session
        self.in_transaction = False
        if self._broken:
            await self._abandon_session()
            raise errors.SerializationError(
                "a command of this transaction was cancelled or lost its connection, so the transaction was aborted;"
                " run it again"
            ).at(node=self.address)
        try:
            await commit_repeatedly(
                lambda seconds: self._drive(session.commit_transaction(), seconds, stoppable=False),
                self._client.time_to_resolve(),
            )
        except errors.UnavailableError:
            self.dirty = True  # it was not sent: the reset aborts the transaction
            raise
        except PyMongoError as error:
            if error.has_error_label(UNKNOWN):
                self._leave_running(None)
                raise errors.CommitUnknownError(
                    f"COMMIT was sent to {self.address} and its outcome is not known ({type(error).__name__}); the"
                    " transaction may or may not have been applied: look before you run it again"
                ).at(node=self.address) from error
            self._raise(error, None, None, transactional=True)
        except BaseException as error:
            self._raise(error, None, None)

    async def rollback(self) -> None:
        self.in_transaction = False
        session = self._session
        if self._broken or session is None:
            await self._abandon_session()
        elif session.in_transaction:
            try:
                await self._drive(session.abort_transaction(), _END_SECONDS, stoppable=False)
            except errors.UnavailableError:
                await self._abandon_session()

    async def savepoint(self, name: str) -> None:
        self._refuse_savepoint()

    async def release_savepoint(self, name: str) -> None:
        self._refuse_savepoint()

    async def rollback_to_savepoint(self, name: str) -> None:
        self._refuse_savepoint()

    # --- life -------------------------------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        return self._closed

    async def ping(self) -> None:
        try:
            await self.raw.admin.command("ping", session=self.session)
        except BaseException as error:
            self._raise(error, None, None)

    async def reset(self) -> None:
        """Abort what is open and begin a new session with the next command."""
        self.in_transaction = False
        await self._abandon_session()
        self.dirty = False

    async def cancel(self) -> None:
        if self._session is not None:
            await self._client.killer.kill_now(self._session.session_id)

    async def probe(self) -> NodeStatus:
        try:
            hello = await self.raw.admin.command("hello", read_preference=self.raw.read_preference)
            build = await self.raw.admin.command("buildInfo", read_preference=self.raw.read_preference)
        except BaseException as error:
            self._raise(error, None, None)
        version = str(build["version"])
        capabilities = self._client.capabilities.named(f"MongoDB {version}")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            capabilities = capabilities.without(
                Capability.TRANSACTIONS, "a standalone server has no transactions; run it as a replica set of one"
            )
        self._client.capabilities = capabilities
        writable = bool(hello.get("isWritablePrimary"))
        role = NodeRole.PRIMARY if writable else NodeRole.REPLICA if hello.get("secondary") else NodeRole.UNKNOWN
        return NodeStatus(
            version=version,
            role=role,
            read_only=not writable or bool(hello.get("readOnly")) or self._client.config.read_only,
            capabilities=capabilities,
            address=str(hello.get("me") or self.address),
        )

    async def close(self) -> None:
        self._closed = True
        await self._abandon_session()
        if self._owned:
            await self._client.close()

    def terminate(self) -> None:
        self.in_transaction = False
        if not self._closed:
            self._closed = True
            self._leave_running(None)
            if self._owned:
                self._client.spawn(self._client.close())

    # --- within -----------------------------------------------------------------------------------------------------

    def _call(self, statement: DocumentCommand, args: Sequence[Any], first: bool = False) -> Call:
        arguments = checked(statement, args[0]) if args else statement.arguments
        self.check(statement)
        return Call(self.database, statement.collection, arguments, self.session, self._client.shape, first)

    async def perform(
        self, statement: DocumentCommand, args: Sequence[Any], timeout_seconds: float | None, *, first: bool = False
    ) -> Reply:
        """Run a command, planned or not; ``first``: only the first row is wanted."""
        limit = self._client.limit(timeout_seconds)
        planned = statement if isinstance(statement, CommandPlan) else None
        if planned is not None and planned.is_several(args[0]) and not (self.in_transaction or self._writes_stay):
            # As one statement of SQL it is all or nothing; inside the transaction this comes back here.
            return await self.all_or_nothing(lambda: self.perform(statement, args, timeout_seconds, first=first))
        try:
            call = self._call(statement, args, first)
            reply = await self._drive(VERBS[statement.verb](call), limit)
            return reply if planned is None else planned.reply(reply, call.arguments)
        except BaseException as error:
            self._raise(error, statement, limit)

    async def _drive(self, work: Coroutine[Any, Any, T], timeout_seconds: float | None, *, stoppable: bool = True) -> T:
        """Run something in the driver; when the caller is cancelled, stop it on the server, never in the driver.

        Cancelled in the middle, the driver closes the socket, and while it opens one it can lose it. What is not
        ``stoppable`` (the end of a transaction) runs to its end.
        """
        gate = self._client.gate
        self._was_used = True
        try:
            waited = await gate.enter(timeout_seconds)
        except BaseException:
            work.close()
            raise
        if timeout_seconds is not None:
            work = _within(timeout_seconds - waited, work)
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._client.left_driver)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                if stoppable:
                    self._leave_running(task)
                else:
                    self._left, self.dirty = task, True  # the reset waits for it
                    task.add_done_callback(_log_failure)
            raise

    @property
    def _writes_stay(self) -> bool:
        return not self._client.capabilities.has(Capability.TRANSACTIONS)

    async def all_or_nothing(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it in a transaction, where the deployment has them: the open one, or one of its own."""
        if self.in_transaction or self._writes_stay:
            return await work()
        await self.begin()
        try:
            done = await work()
        except BaseException:
            await self.rollback()
            raise
        await self.commit()
        return done

    async def _close_cursor(self, cursor: Any) -> None:
        """Close the cursor on the server; a stream that is left has no other way to end there."""
        if cursor is None:
            return
        try:
            with pymongo.timeout(_END_SECONDS):
                await cursor.close()
        except PyMongoError:
            self._leave_running(None)  # killing the session takes the cursor along

    async def _abandon_session(self) -> None:
        """Leave the session; what it held on the server is free when this returns. An idle one is only given back."""
        session, self._session = self._session, None
        command, self._left = self._left, None
        broken, self._broken = self._broken, False
        if session is None:
            return
        if command is not None:
            await asyncio.wait([command])  # the killer sees to it, unless it is the end of a transaction
        if broken or session.in_transaction:
            await self._client.killer.kill_now(
                session.session_id
            )  # after the command: it may have begun the transaction
        else:
            await session.end_session()

    def _refuse_savepoint(self) -> NoReturn:
        self._client.capabilities.require(
            Capability.SAVEPOINTS, remedy="end the outer transaction first; MongoDB cannot nest them"
        )
        raise AssertionError("unreachable: MongoDB has no savepoints")

    def _raise(
        self,
        error: BaseException,
        statement: DocumentCommand | None,
        timeout_seconds: float | None,
        *,
        transactional: bool = False,
    ) -> NoReturn:
        """Raise the error in Sillar's terms, and note what state the session is in."""
        if isinstance(error, errors.DatabaseError):
            raise error
        in_transaction = self.in_transaction or transactional
        translated = statement_error(
            error,
            node=self.address,
            collection=statement.collection if statement is not None else "",
            names=names_in(statement.arguments) if statement is not None else (),
            safe_to_retry=statement is not None and statement.is_read,
            in_transaction=in_transaction,
            timeout_seconds=timeout_seconds,
            failures=self._client.failures(),
        )
        if isinstance(translated, (errors.ConnectionLostError, errors.StatementTimeoutError)):
            self._leave_running(None)
        if isinstance(translated, errors.AuthenticationError):
            self._client.login_refused(translated)
        if translated is None:
            raise error
        if isinstance(translated, errors.ParameterError):
            raise translated from None  # the driver's message may quote the document
        raise translated from error

    def _leave_running(self, command: asyncio.Task[Any] | None) -> None:
        """Have the session killed: its caller has left a command, or its reply is lost."""
        session = self._session
        if session is None:
            return
        self._client.killer.kill(session.session_id, command)
        if self.in_transaction:
            self._broken, self._left = True, command  # the rollback waits for it
        else:
            self._is_doubtful = True  # what it has written may have come that far, and when is not known
            self._session = None  # a killed session is not used again


_NOTHING: Final = RowShape(())


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    with pymongo.timeout(max(seconds, 0.001)):
        return await work


def _log_failure(task: asyncio.Task[Any]) -> None:
    """The end of a transaction whose caller has left: nobody else would hear of its failure."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the end of a transaction failed after its caller had left", error=type(error).__name__)
