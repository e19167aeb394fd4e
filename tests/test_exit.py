"""A process that ends without closing its manager ends all the same."""

from __future__ import annotations

import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from tests.children import ended

from sillar.testing.servers import MongoDBServer, ServerFleet, SQLServer

PROGRAM = """
import asyncio, os
from sillar import Capability, DatabaseManager

async def main():
    manager = DatabaseManager.from_url(os.environ["DATABASE_URL"])
    await manager.initialize()
    session = manager.session()
    if session.capabilities.has(Capability.SQL):
        assert await session.fetch_value("SELECT 1") == 1
        transaction = await manager.begin_transaction()
        await transaction.fetch_value("SELECT 1")
    else:
        assert await session.documents("nothing").count({}) == 0
        transaction = await manager.begin_transaction()
    lease = await manager.get_connection()
    print("ready", lease is not None, flush=True)

asyncio.run(main())
"""


async def url_of(engine: str, fleet: ServerFleet, folder: Path) -> str:
    if engine == "sqlite":
        return f"sqlite:///{folder / 'exit.db'}"
    server = await fleet.get(engine)
    assert isinstance(server, (SQLServer, MongoDBServer))
    return server.url


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mariadb", "mysql", "mongodb"])
async def test_exit_with_open_sessions_does_not_hang(engine: str, fleet: ServerFleet, tmp_path: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": await url_of(engine, fleet, tmp_path)}
    program = (sys.executable, "-c", PROGRAM)
    status, out, err = await ended(*program, seconds=60, env=environment, stdout=PIPE, stderr=PIPE)
    assert b"ready True" in out, err.decode()
    assert status == 0, err.decode()
