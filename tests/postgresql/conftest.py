from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from tests.postgresql.sessions import OpenManager

from sillar import DatabaseManager, load_config
from sillar.testing.servers import PostgreSQLServer

_numbers = itertools.count(1)


@pytest.fixture
def application() -> str:
    """A name that is this test's alone in pg_stat_activity."""
    return f"test-{next(_numbers)}"


@pytest.fixture
async def observer(postgresql: PostgreSQLServer) -> AsyncIterator[asyncpg.Connection]:
    """A connection that looks at the server from outside."""
    connection = await asyncpg.connect(postgresql.superuser_url)
    yield connection
    await connection.close()


@pytest.fixture
async def open_manager(postgresql: PostgreSQLServer, application: str) -> AsyncIterator[OpenManager]:
    """Opens managers on the shared server; ``pool=`` and ``options=`` are merged into the configuration."""
    async with AsyncExitStack() as stack:

        async def open_one(
            *, url: str | None = None, pool: Any = None, options: Any = None, **more: Any
        ) -> DatabaseManager:
            settings = {
                "connection_pools": pool or {},
                "databases": {
                    "default": {
                        "url": url or postgresql.url,
                        "connection_options": {"application_name": application, **(options or {})},
                    }
                },
            }
            config = load_config(overrides=settings, environment={})
            return await stack.enter_async_context(DatabaseManager(config, **more))

        yield open_one


@pytest.fixture
async def manager(open_manager: OpenManager) -> DatabaseManager:
    return await open_manager(pool={"max_connections": 5})
