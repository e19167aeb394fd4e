"""A process that ends without closing its manager ends all the same."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

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
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        env={**os.environ, "DATABASE_URL": await url_of(engine, fleet, tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(30):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert b"ready True" in out, err.decode()
    assert process.returncode == 0, err.decode()
