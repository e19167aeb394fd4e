"""A SQLite database as the tests of this folder use it: statements by text, each on a light connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sillar.config import ConnectionPoolConfig, SQLiteConfig, SQLiteOptions
from sillar.engines.connection import DEFAULT_TRANSACTION, Reply, TransactionOptions
from sillar.engines.sqlite import SQLiteAdapter, SQLiteConnection, SQLiteSource

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
ENDLESS_WRITE = (
    "INSERT INTO item (name) WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
)


class Database:
    """One adapter and its source."""

    def __init__(
        self, path: Path | str, *, read_only: bool = False, pool: dict[str, Any] | None = None, **options: Any
    ):
        self.config = SQLiteConfig(
            database=str(path),
            read_only=read_only,
            connection_options=SQLiteOptions(**options),
            pool=ConnectionPoolConfig(**pool) if pool is not None else None,
        )
        self.adapter = SQLiteAdapter(self.config)
        self.source: SQLiteSource = self.adapter.own_source()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[SQLiteConnection]:
        connection = await self.source.acquire_connection()
        try:
            yield connection
        finally:
            self.source.release_connection(connection)

    @asynccontextmanager
    async def transaction(self, options: TransactionOptions = DEFAULT_TRANSACTION) -> AsyncIterator[Transaction]:
        """Commits at the end of the block, rolls back on an exception."""
        async with self.connection() as connection:
            await connection.begin(options)
            try:
                yield Transaction(self.adapter, connection)
            except BaseException:
                await connection.rollback()
                raise
            await connection.commit()

    async def run(self, sql: str, params: Any = None, timeout_seconds: float | None = None) -> Reply:
        statement, args = self.adapter.bind(sql, params)
        async with self.connection() as connection:
            return await connection.run(statement, args, timeout_seconds)

    async def rows(self, sql: str, params: Any = None) -> Sequence[Any]:
        statement, args = self.adapter.bind(sql, params)
        async with self.connection() as connection:
            return (await connection.fetch(statement, args))[1]

    async def row(self, sql: str, params: Any = None, timeout_seconds: float | None = None) -> Any:
        statement, args = self.adapter.bind(sql, params)
        async with self.connection() as connection:
            return (await connection.fetch_row(statement, args, timeout_seconds))[1]

    async def value(self, sql: str, params: Any = None) -> Any:
        row = await self.row(sql, params)
        return None if row is None else row[0]


OpenDatabase = Callable[..., Awaitable[Database]]


class Transaction:
    """Statements of one open transaction."""

    def __init__(self, adapter: SQLiteAdapter, connection: SQLiteConnection) -> None:
        self.adapter, self.connection = adapter, connection

    async def run(self, sql: str, params: Any = None, timeout_seconds: float | None = None) -> Reply:
        statement, args = self.adapter.bind(sql, params)
        return await self.connection.run(statement, args, timeout_seconds)

    async def value(self, sql: str, params: Any = None) -> Any:
        return (await self.run(sql, params)).rows[0][0]
