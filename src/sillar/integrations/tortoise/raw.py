"""The driver's own connection for a block, for code that asks a Tortoise client for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any

from sillar.engines.connection import DriverConnection
from sillar.execution import Executor, Transaction
from sillar.integrations.tortoise.sharing import SharedTransactions
from sillar.pool.place import calling_place


class RawConnection:
    """What ``client.acquire_connection()`` returns.

    In a transaction it is that transaction's connection; else one is leased, and reset afterwards. A block that is left
    by a cancellation gives its connection up: a reply may be outstanding that only the driver could have read.

    Args:
        executor: the path of the database.
        shared: transactions that tasks share.
        transaction_here: the transaction of the context.
        wrapped: what the connection is handed out in.
    """

    def __init__(
        self,
        executor: Executor,
        shared: SharedTransactions,
        transaction_here: Callable[[], Awaitable[Transaction | None]],
        wrapped: Callable[[DriverConnection[Any]], AbstractAsyncContextManager[Any] | None],
    ) -> None:
        self._executor, self._shared = executor, shared
        self._transaction_here, self._wrapped = transaction_here, wrapped
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
            stack.push(_Watch(connection))
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
    """Gives a connection up that a cancelled caller leaves in the middle of something."""

    def __init__(self, connection: DriverConnection[Any]) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        """For ``ExitStack.push``."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, Exception) and self._connection.sequential:
            self._connection.terminate()
