"""The network and the server fail in the middle of things."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from sillar import DatabaseManager
from sillar.engines.mysql.connection import MySQLConnection
from sillar.errors import CommitUnknownError, ConnectionLostError, StatementTimeoutError, UnavailableError
from sillar.pool import ConnectionPool
from sillar.testing.faults import Direction, FaultProxy
from sillar.testing.servers import MariaDBServer, MySQLServer

Ask = Callable[..., Awaitable[Any]]
Table = Callable[[str], Awaitable[str]]


@pytest.fixture
async def proxy(server: MySQLServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(server.host, server.port) as between:
        yield between


@pytest.fixture
async def connection(proxy: FaultProxy, open_connection: Callable[..., Awaitable[MySQLConnection]]) -> MySQLConnection:
    return await open_connection(host=proxy.host, port=proxy.port)


@pytest.mark.parametrize("fault", ["reset", "cut"])
async def test_lost_in_the_middle_of_a_statement(
    connection: MySQLConnection, proxy: FaultProxy, ask: Ask, table: Table, fault: str
) -> None:
    name = await table("id INT")

    async def strike() -> None:
        await asyncio.sleep(0.1)
        if fault == "reset":
            proxy.reset()
        else:
            proxy.cut_after(0)

    for sql, safe in (("SELECT SLEEP(2)", True), (f"INSERT INTO {name} SELECT SLEEP(2)", False)):
        if connection.is_closed():
            await proxy.heal()
            connection = await _again(connection, proxy)
        striking = asyncio.create_task(strike())
        with pytest.raises(ConnectionLostError) as lost:
            await ask(connection, sql)
        assert lost.value.safe_to_retry is safe
        assert connection.is_closed()
        await striking


async def _again(connection: MySQLConnection, proxy: FaultProxy) -> MySQLConnection:
    raw = connection.raw
    from sillar.config import MySQLConfig
    from sillar.engines.mysql import MySQLAdapter

    config = MySQLConfig(
        host=proxy.host,
        port=proxy.port,
        database="sillar",
        credentials={"user": raw._user.decode(), "password": raw._password.decode()},
    )
    return await MySQLAdapter(config).open_connection()


async def test_a_reply_that_breaks_off(connection: MySQLConnection, proxy: FaultProxy, ask: Ask) -> None:
    proxy.cut_after(2_000, Direction.TO_CLIENT)
    with pytest.raises(ConnectionLostError):
        await ask(connection, "SELECT REPEAT('x', 100000)")
    assert connection.is_closed()


async def test_the_reply_to_commit_is_lost(
    connection: MySQLConnection, proxy: FaultProxy, ask: Ask, table: Table,
    open_connection: Callable[..., Awaitable[MySQLConnection]],
) -> None:  # fmt: skip
    name = await table("id INT")
    await connection.begin()
    await ask(connection, f"INSERT INTO {name} VALUES (1)")
    proxy.cut_after(0, Direction.TO_CLIENT)
    with pytest.raises(CommitUnknownError, match="may or may not") as unknown:
        await connection.commit()
    assert not unknown.value.safe_to_retry
    assert connection.is_closed()
    other = await open_connection()
    assert await ask(other, f"SELECT COUNT(*) FROM {name}") == [(1,)], "it was applied, and nobody could tell"


async def test_a_connection_lost_before_commit_is_known_to_be_rolled_back(
    connection: MySQLConnection, proxy: FaultProxy, ask: Ask, table: Table,
    open_connection: Callable[..., Awaitable[MySQLConnection]],
) -> None:  # fmt: skip
    name = await table("id INT")
    await connection.begin()
    await ask(connection, f"INSERT INTO {name} VALUES (1)")
    proxy.reset()
    await asyncio.sleep(0.1)
    with pytest.raises(ConnectionLostError, match="before COMMIT"):
        await connection.commit()
    other = await open_connection()
    assert await ask(other, f"SELECT COUNT(*) FROM {name}") == [(0,)]


async def test_a_commit_is_not_stopped_when_its_caller_leaves(
    connection: MySQLConnection, proxy: FaultProxy, ask: Ask, table: Table,
    open_connection: Callable[..., Awaitable[MySQLConnection]],
) -> None:  # fmt: skip
    name = await table("id INT")
    await connection.begin()
    await ask(connection, f"INSERT INTO {name} VALUES (1)")
    proxy.delay(0.3)
    committing = asyncio.create_task(connection.commit())
    await asyncio.sleep(0.1)
    committing.cancel()
    await asyncio.wait([committing])
    proxy.delay(0)
    await connection.reset()
    assert not connection.is_closed()
    other = await open_connection()
    assert await ask(other, f"SELECT COUNT(*) FROM {name}") == [(1,)]


async def test_a_black_hole_ends_with_the_timeout(connection: MySQLConnection, proxy: FaultProxy, ask: Ask) -> None:
    proxy.black_hole()
    started = time.monotonic()
    with pytest.raises(StatementTimeoutError):
        await ask(connection, "SELECT 1", timeout_seconds=0.3)
    assert time.monotonic() - started < 4
    with pytest.raises(ConnectionLostError):  # the reply cannot be had, so the connection is closed
        await ask(connection, "SELECT 2")
    assert connection.is_closed()


async def test_the_pool_recovers_from_a_reset(
    open_manager: Callable[..., Awaitable[DatabaseManager]], proxy: FaultProxy
) -> None:
    manager = await open_manager(host=proxy.host, port=proxy.port, pool={"max_connections": 3})
    session = manager.session()
    assert await session.fetch_value("SELECT 1") == 1
    assert proxy.reset() >= 1
    await asyncio.sleep(0.1)
    assert await session.fetch_value("SELECT 2") == 2
    pool = manager.pools["default"]
    assert isinstance(pool, ConnectionPool)
    assert pool.stats().opened_total >= 2


@pytest.mark.parametrize("kind", [MariaDBServer, MySQLServer])
async def test_the_server_dies_and_comes_back(kind: type[MySQLServer]) -> None:
    async with kind(own=True) as server:
        async with DatabaseManager.from_url(server.url) as manager:
            session = manager.session()
            await session.execute("CREATE TABLE t (id INT PRIMARY KEY)")
            transaction = await session.transaction().begin()
            await session.execute("INSERT INTO t VALUES (1)")
            running = asyncio.create_task(manager.session().fetch_value("SELECT SLEEP(20)"))
            await asyncio.sleep(0.3)
            await server.kill()
            with pytest.raises(UnavailableError):  # a read is tried again, and nobody is there
                await running
            with pytest.raises(ConnectionLostError):
                await transaction.commit()
            await server.start()
            async with asyncio.timeout(20):
                while True:
                    try:
                        assert await manager.session().fetch_value("SELECT COUNT(*) FROM t") == 0
                        break
                    except UnavailableError:
                        await asyncio.sleep(0.1)
