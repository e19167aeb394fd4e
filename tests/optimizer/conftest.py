from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from sillar import ConnectionPool, ConnectionPoolConfig, DatabaseConfig
from sillar.engines.postgresql import PostgreSQLAdapter
from sillar.testing.servers import PostgreSQLServer

OpenPool = Callable[..., Awaitable[ConnectionPool]]


@pytest.fixture
async def open_pool(postgresql: PostgreSQLServer) -> AsyncIterator[OpenPool]:
    """Opens pools on the shared server, with all their connections open."""
    async with AsyncExitStack() as stack:

        async def open_one(size: int, *, warm: bool = True, **settings: Any) -> ConnectionPool:
            opening = settings.pop("open_connection", None)
            config = ConnectionPoolConfig(
                max_connections=size, **{"min_connections": size if warm else 1, "connection_timeout": 20.0} | settings
            )
            adapter = PostgreSQLAdapter(DatabaseConfig.from_url(postgresql.url).connection())
            pool = ConnectionPool(config, adapter, open_connection=None if opening is None else opening(adapter))
            await pool.open()
            stack.push_async_callback(pool.close, 0)
            async with asyncio.timeout(20):
                while warm and pool.stats().idle < size:
                    await asyncio.sleep(0.01)
            return pool

        yield open_one
