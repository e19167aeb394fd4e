"""Tortoise's SQLite client over Sillar's connections.

Single statements go the light way: a lookup by key on the event loop, a read on a reader, a write in the writer's next
batch. A transaction holds the writer alone. Who asks for the raw connection gets aiosqlite over our own ``sqlite3``
connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import date, datetime
from typing import Any, cast

import aiosqlite
from tortoise.backends.sqlite.client import SqliteClient
from tortoise.backends.sqlite.executor import SqliteExecutor

from sillar.engines.connection import DriverConnection, Reply
from sillar.integrations.tortoise.client import SharedClient, TransactionClient
from sillar.integrations.tortoise.executor import TaskBoundExecutor

_CHUNK_ROWS = 64


class Row(dict[str, Any]):
    """A row by column name, and as in ``sqlite3.Row`` by position."""

    def __missing__(self, key: Any) -> Any:
        if isinstance(key, int):
            return tuple(self.values())[key]
        raise KeyError(key)


class SQLiteExecutor(TaskBoundExecutor, SqliteExecutor):
    """The stock one, with prefetches in the task of the transaction."""


class SQLiteClient(SharedClient, SqliteClient):
    """Values are stored as the stock client stores them: times in ISO form, decimals as text."""

    STOCK = {"file_path": ""}  # noqa: RUF012 - read only
    executor_class = SQLiteExecutor

    async def execute_query(self, query: str, values: Sequence[Any] | None = None) -> tuple[int, Sequence[Any]]:
        return await super().execute_query(_without_nul(query), values)

    async def execute_query_dict(self, query: str, values: Sequence[Any] | None = None) -> list[dict[str, Any]]:
        return await super().execute_query_dict(_without_nul(query), values)

    def _stored(self, values: Sequence[Any]) -> Sequence[Any]:
        return [_stored(value) if isinstance(value, date) else value for value in values]

    def _mappings(self, reply: Reply) -> Sequence[Any]:
        if reply.shape is None:
            return ()
        columns = reply.shape.columns
        return [Row(zip(columns, row, strict=True)) for row in reply.rows]

    def _wrapped(self, connection: DriverConnection[Any]) -> AbstractAsyncContextManager[Any]:
        return _over(connection)


@asynccontextmanager
async def _over(connection: DriverConnection[Any]) -> AsyncIterator[aiosqlite.Connection]:
    """aiosqlite over the connection of a transaction; outside of one, in a transaction of its own."""
    own = not connection.in_transaction
    if own:
        await connection.begin()
        connection.dirty = True
    try:
        async with aiosqlite.Connection(lambda: cast(Any, _Borrowed(connection.raw)), _CHUNK_ROWS) as wrapper:
            yield wrapper
    except BaseException:
        if own:
            await connection.rollback()
        raise
    if own:
        await connection.commit()


class _Borrowed:
    """A connection that is not aiosqlite's own: it ends its thread, and does not close it."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def close(self) -> None:
        """Sillar closes it."""


def _stored(value: date) -> str:
    return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()


def _without_nul(query: str) -> str:
    return query.replace("\x00", "'||CHAR(0)||'")


class SQLiteTransactionClient(TransactionClient, SQLiteClient):
    """One transaction on SQLite."""


SQLiteClient.transaction_class = SQLiteTransactionClient
client_class = SQLiteClient
"""What Tortoise looks for in an engine's module."""
