"""Tortoise's clients over Sillar's connections: what all engines have in common.

Every statement of Tortoise goes down Sillar's pipeline, as those of a session do: the same pool, kept prepared
statements, classification (what leaves a session dirty), deadlines, cancellation and observers. A client has no pool
and no socket of its own.
"""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, ClassVar

from tortoise.backends.base.client import BaseDBAsyncClient, TransactionalDBClient, TransactionContext
from tortoise.exceptions import TransactionManagementError, UnSupportedError

from sillar.consistency import Consistency
from sillar.context import current_deadline, time_left
from sillar.current import joined_transaction
from sillar.engines.connection import DriverConnection, Reply
from sillar.errors import DatabaseError, UsageError
from sillar.execution import DatabaseSession, Execution, Executor, Transaction
from sillar.execution import execution as operations
from sillar.integrations.tortoise.errors import translated
from sillar.integrations.tortoise.private import forget_statements
from sillar.integrations.tortoise.raw import RawConnection
from sillar.integrations.tortoise.sharing import SharedTransactions


def plain(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Reply]:
    """Rows and counts with the values as the driver gives them: the fields of a model decode them."""
    return connection.run_plain(execution.statement, execution.args, execution.timeout_seconds)


class SharedClient(BaseDBAsyncClient):
    """A stock client of Tortoise whose statements run on Sillar's connections.

    Inside a transaction of Sillar's they run in it; outside each takes a connection for itself.

    Args:
        executor: the path of the database.
        connection_name: Tortoise's alias.
    """

    STOCK: ClassVar[Mapping[str, Any]] = {}
    """What the stock client wants to be told of a server; none of it is used."""
    transaction_class: ClassVar[type[TransactionClient]]

    executor: Executor

    def __init__(self, executor: Executor, connection_name: str) -> None:
        super().__init__(connection_name=connection_name, **self.STOCK)
        self.executor = executor
        self.shared = SharedTransactions.of(executor)
        forget_statements(connection_name)

    # --- statements -------------------------------------------------------------------------------------------------

    async def execute_query(self, query: str, values: Sequence[Any] | None = None) -> tuple[int, Sequence[Any]]:
        reply = await self._reply(plain, query, values)
        return reply.rows_affected, self._mappings(reply)

    async def execute_query_dict(self, query: str, values: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        reply = await self._reply(plain, query, values)
        return [] if reply.shape is None else reply.shape.dicts(reply.rows)

    async def execute_insert(self, query: str, values: Sequence[Any]) -> Any:
        reply = await self._reply(plain, query, values)
        return reply.last_insert_id

    async def execute_script(self, query: str) -> None:
        await self._reply(plain, query, None)

    async def execute_many(self, query: str, values: Sequence[Sequence[Any]]) -> None:
        if not values:
            return
        try:
            bind = self.executor.adapter.bind
            bound, first = bind(query, self._stored(values[0]))
            sets = [first, *(bind(query, self._stored(each))[1] for each in values[1:])]
            await self._run(operations.run_many, bound, (), sets)
        except DatabaseError as error:
            raise translated(error) from error.__cause__

    async def _reply(self, operation: Callable[..., Awaitable[Any]], query: str, values: Sequence[Any] | None) -> Reply:
        try:
            bound, args = self.executor.adapter.bind(query, self._stored(values) if values else ())
            reply: Reply = await self._run(operation, bound, args)
        except DatabaseError as error:
            raise translated(error) from error.__cause__
        return reply

    async def _run(
        self, operation: Callable[..., Awaitable[Any]], bound: Any, args: Sequence[Any], payload: Any = None
    ) -> Any:
        executor = self.executor
        if executor.loop is not get_running_loop():
            executor.check_loop()
        timeout_seconds = time_left(None) if current_deadline() is not None else None
        execution = Execution(executor.name, operation, bound, args, timeout_seconds, None, payload)
        transaction = await self._transaction_here()
        if transaction is None:
            return await executor.execute(execution)
        lock = self.shared.lock(transaction)
        if lock is None:
            execution.connection = transaction.driver_connection
            return await executor.execute(execution)
        async with lock:
            execution.connection = transaction.driver_connection  # refused if it has ended while we waited
            return await executor.execute(execution)

    async def _transaction_here(self) -> Transaction | None:
        """The transaction that statements of this client belong to now."""
        return await joined_transaction(self.executor.name, self.shared.locks)

    def _stored(self, values: Sequence[Any]) -> Sequence[Any]:
        """Parameter values as the stock client would have sent them."""
        return values

    def _mappings(self, reply: Reply) -> Sequence[Any]:
        """The rows as mappings by column name."""
        return () if reply.shape is None else reply.shape.dicts(reply.rows)

    # --- connections and transactions -------------------------------------------------------------------------------

    def acquire_connection(self) -> Any:
        """The driver's own connection for ``async with``; it is reset before anybody else has it."""
        return RawConnection(self.executor, self.shared, self._transaction_here, self._wrapped, self._meaning)

    def _wrapped(self, connection: DriverConnection[Any]) -> AbstractAsyncContextManager[Any] | None:
        """What a raw connection is handed out in, or None: as it is."""
        return None

    def _meaning(self, error: BaseException, connection: DriverConnection[Any]) -> DatabaseError | None:
        """What an error of the driver's means in Sillar's terms, or None: none of the driver's, or of no node."""
        return None

    def _in_transaction(self) -> TransactionContext:
        return JoiningTransaction(self.transaction_class(self))

    # --- life: Sillar's ---------------------------------------------------------------------------------------------

    async def create_connection(self, with_db: bool) -> None:
        """Nothing to connect: the manager is open, or it says that it is not."""
        self.executor.check_loop()

    async def close(self) -> None:
        """Nothing to close: the connections are Sillar's, and close with its manager."""
        forget_statements(self.connection_name)

    async def db_create(self) -> None:
        raise UnSupportedError("the database of an open manager exists already; create it by the means of the server")

    async def db_delete(self) -> None:
        raise UnSupportedError("Sillar does not drop the database that it is connected to; use the server's means")

    async def _expire_connections(self) -> None:
        """The pool sees to the age of its connections."""

    async def _close(self) -> None:
        """As :meth:`close`."""


class TransactionClient(SharedClient, TransactionalDBClient):
    """One transaction, or inside another one a savepoint, as Tortoise passes it around (``using_db=``).

    Args:
        parent: the client that begins it.
        read_only: outside another one: the server refuses writes; a replica that is fresh enough will do.
        consistency: how fresh such a replica has to be; None is what the context asks for.
    """

    def __init__(
        self, parent: SharedClient, *, read_only: bool = False, consistency: Consistency | None = None
    ) -> None:
        self.__dict__.update(parent.__dict__)
        self._read_only, self._consistency = read_only, consistency
        self._parent = parent
        self._finalized = False
        self._transaction: Transaction | None = None

    async def begin(self) -> None:
        """Begin; inside a transaction of Sillar's, or of Tortoise's, set a savepoint in it."""
        try:
            outer = await joined_transaction(self.executor.name)
            if outer is None:
                session = DatabaseSession(self.executor, consistency=self._consistency)
                inner = session.transaction(read_only=self._read_only)
            else:
                inner = outer.nested()
            await inner.__aenter__()
        except DatabaseError as error:
            raise translated(error) from error.__cause__
        self._transaction = inner
        if outer is None:
            self.shared.add(inner)

    async def savepoint(self) -> None:
        """As :meth:`begin`."""
        await self.begin()

    async def commit(self) -> None:
        """Commit, or release the savepoint."""
        await self._end(lambda transaction: transaction.commit())

    async def release_savepoint(self) -> None:
        """As :meth:`commit`."""
        await self.commit()

    async def rollback(self) -> None:
        """Roll back, to the savepoint for a nested one."""
        await self._end(lambda transaction: transaction.rollback())

    async def savepoint_rollback(self) -> None:
        """As :meth:`rollback`."""
        await self.rollback()

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The block is over: commit, or roll back on an exception, unless that was done by hand."""
        transaction = self._transaction
        if transaction is not None:
            await self._end(lambda open_one: open_one.__aexit__(kind, error, trace), by_hand=False)

    async def _end(self, way: Callable[[Transaction], Awaitable[None]], *, by_hand: bool = True) -> None:
        transaction = self._transaction
        if by_hand and (transaction is None or self._finalized):
            raise TransactionManagementError(
                "the transaction has not begun" if transaction is None else "the transaction is finalised already"
            )
        assert transaction is not None
        self._finalized = True
        lock = self.shared.lock(transaction) if transaction.is_open else None
        try:
            if lock is None:
                await way(transaction)
            else:
                async with lock:  # a task that was started inside may be at its last statement
                    await way(transaction)
        except DatabaseError as error:
            raise translated(error) from error.__cause__

    async def _transaction_here(self) -> Transaction:
        transaction = self._transaction
        if transaction is None or not transaction.is_open:
            raise UsageError(
                "this transaction of Tortoise's has not begun, or has ended; use what is open, or begin one"
            )
        if transaction.outermost not in self.shared.locks:
            transaction.check_task()
        return transaction


class JoiningTransaction(TransactionContext):
    """What ``in_transaction()`` returns: a transaction of Sillar's, or a savepoint in the one that is open."""

    client: TransactionClient

    def __init__(self, client: TransactionClient) -> None:
        self.client = client
        self.connection_name = client.connection_name

    async def __aenter__(self) -> TransactionalDBClient:
        await self.client.begin()
        return self.client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.leave(kind, error, trace)
