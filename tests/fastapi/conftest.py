from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fastapi.quarry import ENGINES, Quarry, create_tables

from sillar import DatabaseManager, load_config
from sillar.testing.servers import PostgreSQLServer, ServerFleet


async def url_of(engine: str, fleet: ServerFleet, folder: Path) -> str:
    return f"sqlite:///{folder}/quarry.db" if engine == "sqlite" else (await fleet.get(engine)).url


@pytest.fixture(params=ENGINES)
async def quarry(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Quarry]:
    """Open on every engine, with empty tables."""
    url = await url_of(request.param, fleet, tmp_path)
    async with DatabaseManager(load_config(url=url, environment={})) as manager:
        await create_tables(manager, request.param)
        yield Quarry(request.param, manager)


@pytest.fixture
async def postgresql_quarry(postgresql: PostgreSQLServer) -> AsyncIterator[Quarry]:
    """Open on PostgreSQL, with a pool of two."""
    config = load_config(
        url=postgresql.url,
        environment={},
        overrides={"connection_pools": {"min_connections": 0, "max_connections": 2, "connection_timeout": 2.0}},
    )
    async with DatabaseManager(config) as manager:
        await create_tables(manager, "postgresql")
        yield Quarry("postgresql", manager)
