"""Tortoise's asyncpg client over Sillar's connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tortoise.backends.asyncpg.client import AsyncpgDBClient
from tortoise.backends.asyncpg.executor import AsyncpgExecutor

from sillar.engines.connection import DriverConnection, Reply
from sillar.engines.postgresql.errors import statement_error
from sillar.errors import DatabaseError
from sillar.integrations.tortoise.client import SharedClient, TransactionClient, plain
from sillar.integrations.tortoise.executor import TaskBoundExecutor


class PostgreSQLExecutor(TaskBoundExecutor, AsyncpgExecutor):
    """The stock one, with prefetches in the task of the transaction."""


class PostgreSQLClient(SharedClient, AsyncpgDBClient):  # type: ignore[misc]  # the stock client types its pool
    """Rows are asyncpg's records, as in the stock client."""

    executor_class = PostgreSQLExecutor

    async def create_pool(self, **settings: Any) -> Any:
        """No pool of its own: asked for by nobody, since :meth:`create_connection` connects nothing."""
        return None

    async def execute_insert(self, query: str, values: Sequence[Any]) -> Any:
        reply = await self._reply(plain, query, values)
        return reply.rows[0] if reply.rows else None

    def _mappings(self, reply: Reply) -> Sequence[Any]:
        return reply.rows

    def _meaning(self, error: BaseException, connection: DriverConnection[Any]) -> DatabaseError | None:
        return statement_error(error, address=connection.address, safe_to_retry=False, timeout_seconds=None)


class PostgreSQLTransactionClient(TransactionClient, PostgreSQLClient):  # type: ignore[misc]
    """One transaction on PostgreSQL."""


PostgreSQLClient.transaction_class = PostgreSQLTransactionClient
client_class = PostgreSQLClient
"""What Tortoise looks for in an engine's module."""
