from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.pool.pools import OpenPool

from sillar import ConnectionPool, ConnectionPoolConfig
from sillar.config import DatabaseConfig
from sillar.engines import open_adapter
from sillar.testing.servers import PostgreSQLServer


@pytest.fixture
async def open_pool(postgresql: PostgreSQLServer) -> AsyncIterator[OpenPool]:
    """Opens pools, on the shared PostgreSQL where no URL is given; its keywords are settings of the pool."""
    async with AsyncExitStack() as stack:

        async def open_one(*, url: str | None = None, is_open: bool = True, **settings: Any) -> ConnectionPool:
            config = DatabaseConfig.from_url(url or postgresql.url).connection("default")
            pool = ConnectionPool(ConnectionPoolConfig(**settings), open_adapter(config))
            stack.push_async_callback(pool.close, 0)
            if is_open:
                await pool.open()
            return pool

        yield open_one
