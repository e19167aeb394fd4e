"""Local transactions: on one database, with savepoints inside."""

from __future__ import annotations

import asyncio
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import structlog

from sillar.engines.connection import DriverConnection, TransactionOptions
from sillar.errors import CommitUnknownError, DatabaseError, UsageError
from sillar.execution.statements import Statements
from sillar.pool.place import calling_place

if TYPE_CHECKING:
    from sillar.execution.session import DatabaseSession

_log = structlog.get_logger("sillar.transaction")


class Transaction(Statements):
    """A transaction of a session, or inside another one a savepoint.

    ``async with session.transaction() as tx`` commits at the end of the block and rolls back on an exception. It holds one
    connection from begin to end and belongs to one task at a time. A COMMIT in flight is never cancelled: the caller may
    leave, the connection finishes it.
    """

    __slots__ = ("_connection", "_executor", "_open", "_options", "_savepoint", "_session", "_started", "_unready")

    def __init__(self, session: DatabaseSession, options: TransactionOptions) -> None:
        self._session = session
        self._executor = session._executor
        self._options = options
        self._connection: DriverConnection[Any] | None = None
        self._savepoint: str | None = None
        self._open = False
        self._unready = True
        self._started = 0.0

    @property
    def is_open(self) -> bool:
        """Whether it has begun and not ended."""
        return self._open

    async def begin(self) -> Transaction:
        """Begin: lease a connection, or set a savepoint inside the open transaction.

        Raises:
            UsageError: it has begun already, or options were given for a savepoint.
        """
        session = self._session
        self._executor.check_loop()
        if self._connection is not None:
            raise UsageError("a transaction object begins once; ask the session for a new one")
        outer = session._connection
        if outer is None:
            await self._begin_outermost()
        else:
            if self._options != TransactionOptions():
                raise UsageError(
                    "isolation, read_only and settings belong to the outermost transaction, this one is nested"
                )
            self._savepoint = f"sillar_{len(session._transactions)}"
            await outer.savepoint(self._savepoint)
            self._connection = outer
        session._transactions.append(self)
        session._unready = self._unready = False
        self._open = True
        return self

    async def _begin_outermost(self) -> None:
        executor = self._executor
        connection = await executor.acquire()
        connection.place = calling_place()
        try:
            await connection.begin(self._options)
        except BaseException:
            executor.source.release_connection(connection)
            raise
        self._started = perf_counter()
        self._connection = self._session._connection = connection

    async def commit(self) -> None:
        """Commit, or release the savepoint.

        Raises:
            CommitUnknownError: the reply was lost.
            StatementError: the server refused (a deferred constraint, a serialization failure); it is rolled back.
            UsageError: it is not open, or an inner one is.
        """
        connection = self._ended("commit")
        if self._savepoint is not None:
            await connection.release_savepoint(self._savepoint)
            return
        await self._never_cancelled(self._commit(connection))

    async def rollback(self) -> None:
        """Roll back, to the savepoint for a nested one.

        Raises:
            UsageError: it is not open, or an inner one is.
        """
        connection = self._ended("roll back")
        if self._savepoint is not None:
            if not connection.is_closed():
                await connection.rollback_to_savepoint(self._savepoint)
            return
        await self._never_cancelled(self._rollback(connection))

    async def __aenter__(self) -> Transaction:
        return await self.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._open:
            return  # ended by hand inside the block
        if error is None:
            await self.commit()
            return
        try:
            await self.rollback()
        except DatabaseError as failure:  # what went wrong inside the block is what the caller has to see
            error.add_note(f"the rollback failed, too: {failure}")

    async def _open_connection(self) -> DriverConnection[Any] | None:
        if not self._open:
            raise UsageError("this transaction has not begun, or has ended")
        return self._connection

    def _ended(self, what: str) -> DriverConnection[Any]:
        """Leave the session's stack; from here on the transaction is over, whatever the server says."""
        self._executor.check_loop()
        transactions = self._session._transactions
        if not self._open or self._connection is None:
            raise UsageError(f"cannot {what}: this transaction has not begun, or has ended")
        if transactions[-1] is not self:
            raise UsageError(f"cannot {what}: a nested transaction is open; end it first")
        transactions.pop()
        self._open = False
        self._unready = True
        if self._savepoint is None:
            self._session._connection = None
            self._session._unready = self._session._autobegin or self._session._closed
        return self._connection

    async def _commit(self, connection: DriverConnection[Any]) -> None:
        outcome = "rollback"
        try:
            await connection.commit()
            outcome = "commit"
        except CommitUnknownError:
            outcome = "unknown"
            raise
        finally:
            self._give_back(connection, outcome)

    async def _rollback(self, connection: DriverConnection[Any]) -> None:
        try:
            await connection.rollback()
        except BaseException:
            connection.dirty = True
            raise
        finally:
            self._give_back(connection, "rollback")

    def _give_back(self, connection: DriverConnection[Any], outcome: str) -> None:
        self._executor.source.release_connection(connection)
        self._executor.observe_transaction(outcome, perf_counter() - self._started)

    async def _never_cancelled(self, work: Any) -> None:
        task = self._executor.spawn(work)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                task.add_done_callback(_log_failure)
            raise


def _log_failure(task: asyncio.Task[Any]) -> None:
    """A COMMIT or ROLLBACK whose caller has left: nobody else would hear of its failure."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the end of a transaction failed after its caller had left", error=str(error))
