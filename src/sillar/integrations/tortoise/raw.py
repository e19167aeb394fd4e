"""The driver's own connection for a block, for code that asks a Tortoise client for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any

from sillar.engines.connection import DriverConnection
from sillar.errors import DatabaseError
from sillar.execution import Executor, Transaction
from sillar.integrations.tortoise.sharing import SharedTransactions
from sillar.pool.place import calling_place

Meaning = Callable[[BaseException, DriverConnection[Any]], DatabaseError | None]


class RawConnection:
    """What ``client.acquire_connection()`` returns.

    In a transaction it is that transaction's connection; else one is leased, and reset afterwards. A block that is left
    by a cancellation gives its connection up: a reply may be outstanding that only the driver could have read.

    Args:
        executor: the path of the database.
        shared: transactions that tasks share.
        transaction_here: the transaction of the context.
        wrapped: what the connection is handed out in.
        meaning: the driver's errors as Sillar's: whoever looks after the node hears of those that leave the block.
    """

    def __init__(
        self,
        executor: Executor,
        shared: SharedTransactions,
        transaction_here: Callable[[], Awaitable[Transaction | None]],
        wrapped: Callable[[DriverConnection[Any]], AbstractAsyncContextManager[Any] | None],
        meaning: Meaning,
    ) -> None:
        self._executor, self._shared = executor, shared
        self._transaction_here, self._wrapped, self._meaning = transaction_here, wrapped, meaning
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Any:
        self._executor.check_loop()
        async with AsyncExitStack() as stack:
            transaction = await self._transaction_here()
            if transaction is None:
                connection = await self._executor.acquire()
                stack.callback(self._executor.source.release_connection, connection)
                connection.place = calling_place()
            else:
                lock = self._shared.lock(transaction)
                if lock is not None:
                    await stack.enter_async_context(lock)
                connection = transaction.driver_connection
            stack.push(_Watch(connection, self._meaning))
            connection.dirty = True
            wrapped = self._wrapped(connection)
            raw = connection.raw if wrapped is None else await stack.enter_async_context(wrapped)
            self._stack = stack.pop_all()
        return raw

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)


class _Watch:
    """Gives a connection up that a cancelled caller leaves in the middle of something, and tells of errors."""

    def __init__(self, connection: DriverConnection[Any], meaning: Meaning) -> None:
        self._connection, self._meaning = connection, meaning

    def __enter__(self) -> None:
        """For ``ExitStack.push``."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connection = self._connection
        if kind is not None and not issubclass(kind, Exception) and connection.sequential:
            connection.terminate()
        if error is None or isinstance(error, DatabaseError) or hasattr(error, "sillar_error"):
            return  # nothing, or told already
        found = self._meaning(error, connection)
        if found is not None:
            error.sillar_error = found  # type: ignore[attr-defined]
            connection.report(found)
