"""Leads the commands of Beanie down Sillar's path: the transaction of the context, the pipeline, the gate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any
from weakref import WeakKeyDictionary

from sillar.context import current_deadline, time_left
from sillar.current import joined_transaction
from sillar.engines.connection import DriverConnection
from sillar.engines.mongodb.client import MongoDBClient
from sillar.engines.mongodb.routed import Driven, Work, drive_to_end, guest
from sillar.errors import DatabaseError
from sillar.execution import Executor, Transaction
from sillar.execution.execution import Execution
from sillar.query.document import DocumentCommand


class Failed:
    """What is known of a failed command besides the driver's own error.

    Attributes:
        collection, in_transaction, safe_to_retry: as ``statement_error`` takes them.
    """

    def __init__(self, command: DocumentCommand, in_transaction: bool) -> None:
        self.collection, self.safe_to_retry = command.collection, command.is_read
        self.in_transaction = in_transaction


class BeanieRoute:
    """Where the collections of Beanie lead their commands.

    Args:
        executor: the path of the database.
        client: the driver's client with its gate.
    """

    def __init__(self, executor: Executor, client: MongoDBClient) -> None:
        self._executor, self.client = executor, client
        self.transactions: WeakKeyDictionary[Any, Transaction] = WeakKeyDictionary()
        """The driver's sessions that were handed out, and the transaction that each belongs to."""

    async def run(self, command: DocumentCommand, work: Work, session: Any) -> Any:
        self._executor.check_loop()
        transaction = await self.transaction_of(session)
        if transaction is not None:
            return await self.execute(command, work, transaction.driver_connection)
        return await self.execute(command, work, None if session is None else guest(self.client, session))

    async def hold(self, session: Any, command: DocumentCommand) -> CursorHold:
        """Raises UsageError where the transaction is another task's or has ended."""
        self._executor.check_loop()
        transaction = await self.transaction_of(session)
        if transaction is not None:
            return CursorHold(self, transaction.driver_connection, transaction=transaction)
        if session is not None:
            return CursorHold(self, guest(self.client, session))
        return CursorHold(self, await self._executor.acquire(is_read=command.is_read), leased=True)

    async def transaction_of(self, session: Any) -> Transaction | None:
        """The transaction that a command belongs to, by the session that was given or the context; checked."""
        if session is None:
            return await joined_transaction(self._executor.name)
        transaction = self.transactions.get(session)
        if transaction is not None:
            transaction.check_task()
        return transaction

    async def execute(self, command: DocumentCommand, work: Work, connection: DriverConnection[Any] | None) -> Any:
        """Send a command down the pipeline. Observers see errors of Sillar's; the caller gets the driver's own."""
        timeout_seconds = time_left(None) if current_deadline() is not None else None
        driven = Driven(work)
        execution = Execution(self._executor.name, _run, command, (), timeout_seconds, connection, driven)
        try:
            return await self._executor.execute(execution)
        except DatabaseError:
            failure = driven.failure
            if failure is None:
                raise
        failure.__dict__["sillar_failed"] = Failed(command, connection is not None and connection.in_transaction)
        raise failure

    def release(self, connection: DriverConnection[Any]) -> None:
        """Give the lease of a cursor back; also from another thread, where a cursor is collected as garbage."""
        loop = self._executor.loop
        try:
            running: Any = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if loop is running and loop is not None:
            self._executor.source.release_connection(connection)
        elif loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._executor.source.release_connection, connection)


class CursorHold:
    """A cursor's session: that of the transaction, the one given, or a lease of its own.

    Args:
        route: of the collection.
        connection: whose session the cursor uses.
        transaction: that it belongs to.
        leased: the connection was leased for it.
    """

    def __init__(
        self,
        route: BeanieRoute,
        connection: DriverConnection[Any],
        *,
        transaction: Transaction | None = None,
        leased: bool = False,
    ) -> None:
        self._route, self._connection = route, connection
        self._transaction, self._leased = transaction, leased
        self.session: Any = connection.session  # type: ignore[attr-defined]  # MongoDB's has one

    def run(self, command: DocumentCommand, work: Work) -> Awaitable[Any]:
        """Raises UsageError after the end of the transaction, or in another task."""
        if self._transaction is not None:
            self._transaction.check_task()
        return self._route.execute(command, work, self._connection)

    async def finish(self, work: Work) -> None:
        await drive_to_end(self._route.client, work)

    def release(self) -> None:
        leased, self._leased = self._leased, False
        if leased:
            self._route.release(self._connection)


def _run(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Any]:
    """The command of the payload."""
    driven: Driven = execution.payload
    return driven.run(connection, execution.statement, execution.timeout_seconds)
