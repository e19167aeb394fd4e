from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tests.databases import drop_database
from tests.migrations.autogenerate.place import Place

from sillar.testing.servers import ServerFleet, SQLServer

DRIVERS = {"postgresql": "postgresql+asyncpg", "postgresql18": "postgresql+asyncpg"}
ENGINES = ("sqlite", "postgresql", "mariadb", "mysql")


@pytest.fixture
async def place(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Place]:
    """An empty database on the engine named by an indirect parameter."""
    name = request.param
    if name == "sqlite":
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/place.db", poolclass=NullPool)
        yield Place(name, engine)
        await engine.dispose()
        return
    server: Any = await fleet.get(name)
    assert isinstance(server, SQLServer)
    database = f"autogenerate_{token_hex(4)}"
    await server.execute_as_superuser(f"CREATE DATABASE {database}")
    url = make_url(server.superuser_url).set(drivername=DRIVERS.get(name, "mysql+aiomysql"), database=database)
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        yield Place(name, engine)
    finally:
        await engine.dispose()
        await drop_database(server, database)
