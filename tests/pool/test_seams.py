"""What a topology of several nodes relies on: a pool that can be suspended and severed, and says what happens."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from tests.pool.pools import OpenPool, eventually, out_of_service

from sillar.engines import ConnectionSource, DriverConnection
from sillar.errors import ConnectionLostError, DatabaseError, NodeUnavailableError, PoolClosedError, StatementError
from sillar.testing.servers import PostgreSQLServer, Server


async def test_a_suspended_pool_tells_everybody_at_once_and_opens_nothing(open_pool: OpenPool) -> None:
    pool = await open_pool(min_connections=2, max_connections=3, connection_timeout=30)
    await eventually(lambda: pool.stats().idle == 2)
    out = [await pool.acquire() for _ in range(3)]
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(5)]
    await asyncio.sleep(0)
    pool.suspend(out_of_service)
    pool.suspend(out_of_service)
    assert pool.is_suspended
    results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert all(type(result) is NodeUnavailableError for result in results)
    assert len({id(result) for result in results}) == 5, "each caller gets an error of its own"
    assert await out[0].fetch_value("SELECT 1") == 1, "a lease that is out goes on"
    for lease in out:
        lease.release()
    assert pool.try_acquire() is None
    with pytest.raises(NodeUnavailableError, match="out of service"):
        await pool.acquire_connection()
    with pytest.raises(NodeUnavailableError):
        async with pool.dedicated():
            pass
    opened = pool.stats().opened_total
    health = await pool.health_check()
    assert (health.healthy, health.reason) == (False, str(out_of_service()))
    await asyncio.sleep(0.1)
    assert (pool.stats().open, pool.stats().opened_total) == (0, opened)
    pool.resume()
    pool.resume()
    assert not pool.is_suspended
    await eventually(lambda: pool.stats().idle == 2)  # the minimum
    async with pool.lease() as lease:
        assert await lease.fetch_value("SELECT 1") == 1
    assert (await pool.health_check()).healthy


async def test_a_pool_suspended_before_it_opens_connects_when_it_is_resumed(open_pool: OpenPool) -> None:
    pool = await open_pool(is_open=False, min_connections=1)
    pool.suspend(out_of_service)
    await pool.open()
    await asyncio.sleep(0.05)
    assert pool.stats().opened_total == 0
    pool.resume()
    await eventually(lambda: pool.stats().idle == 1)


async def test_a_handshake_under_way_is_of_no_use_to_a_suspended_pool(open_pool: OpenPool) -> None:
    pool = await open_pool(max_connections=2)
    connection = await pool.acquire_connection()
    waiting = asyncio.create_task(pool.acquire_connection())
    await asyncio.sleep(0)
    assert pool.stats().connecting == 1
    pool.suspend(out_of_service)
    with pytest.raises(NodeUnavailableError):
        await waiting
    await eventually(lambda: pool.stats().connecting == 0)
    await eventually(lambda: pool.stats().open == 1)
    pool.release_connection(connection)
    assert pool.stats().open == 0


async def test_a_suspended_pool_can_be_closed(open_pool: OpenPool) -> None:
    pool = await open_pool()
    pool.suspend(out_of_service)
    await pool.close()
    with pytest.raises(PoolClosedError):
        await pool.acquire_connection()
    pool.resume()
    with pytest.raises(PoolClosedError):
        await pool.acquire_connection()


@pytest.mark.parametrize("server", ["postgresql", "mariadb", "mysql"], indirect=True)
async def test_severing_ends_what_waits_for_a_node_that_does_not_answer(server: Server, open_pool: OpenPool) -> None:
    pool = await open_pool(url=server.url, max_connections=3)
    sleep = "SELECT pg_sleep(60)" if "postgresql" in server.url else "SELECT SLEEP(60)"
    reported: list[tuple[DriverConnection[Any], DatabaseError]] = []
    pool.on_error = lambda connection, error: reported.append((connection, error))
    idle = await pool.acquire()
    statements = [await pool.acquire() for _ in range(2)]
    idle.release()
    tasks = [asyncio.create_task(lease.fetch_value(sleep)) for lease in statements]
    async with pool.lease() as unused:
        await unused.fetch_value("SELECT 1")
    await asyncio.sleep(0.2)
    pool.sever("the node does not answer")
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert [type(result) for result in results] == [ConnectionLostError] * 2
    assert [type(error) for _, error in reported] == [ConnectionLostError] * 2
    assert {connection.pool for connection, _ in reported} == {pool}
    assert pool.breaker.failures_total == 0, "what was severed is no news of the node"
    for lease in statements:
        lease.release()
    async with pool.lease() as lease:
        assert await lease.fetch_value("SELECT 1") == 1
    assert pool.stats().open <= 2  # one, and perhaps one of the minimum


async def test_severing_ends_dedicated_connections_and_handshakes(
    postgresql: PostgreSQLServer, open_pool: OpenPool
) -> None:
    pool = await open_pool(max_connections=3, connection_timeout=20, connect_timeout=60)
    first = await pool.acquire()

    async def hangs() -> DriverConnection[Any]:
        await asyncio.sleep(60)
        raise AssertionError("nobody waits for so long")

    async with pool.dedicated() as dedicated:
        listening = asyncio.create_task(dedicated.fetch_value("SELECT pg_sleep(60)"))
        opens, pool._open_connection = pool._open_connection, hangs
        waiting = asyncio.create_task(pool.acquire())
        await eventually(lambda: pool.stats().connecting == 1)
        pool._open_connection = opens
        pool.sever("the node does not answer")
        with pytest.raises(ConnectionLostError):
            await asyncio.wait_for(listening, 5)
        lease = await asyncio.wait_for(waiting, 10)  # by a handshake that was begun afterwards
        assert await lease.fetch_value("SELECT 1") == 1
        lease.release()
    first.release()


async def test_errors_are_reported_with_their_connection(open_pool: OpenPool) -> None:
    pool = await open_pool()
    assert isinstance(pool, ConnectionSource)
    assert pool.is_routed is False
    reported: list[tuple[DriverConnection[Any], DatabaseError]] = []
    pool.on_error = lambda connection, error: reported.append((connection, error))
    async with pool.lease() as lease:
        with pytest.raises(StatementError):
            await lease.fetch_value("SELECT 1 / 0")
        assert [connection for connection, _ in reported] == [lease.connection]
        assert lease.connection.pool is pool


async def test_how_long_leases_are_out(open_pool: OpenPool) -> None:
    pool = await open_pool()
    assert pool.latency_seconds == 0
    lease = await pool.acquire()
    assert pool.leased_count == 1
    lease.connection.borrowed_at -= 2  # two seconds ago
    lease.release()
    assert pool.leased_count == 0
    assert pool.latency_seconds == pytest.approx(2, abs=0.5), "it rises at once"
    pool._latency_at -= 10  # ten seconds ago
    assert pool.latency_seconds == pytest.approx(1, abs=0.3), "it fades while nobody comes"
    async with pool.lease():
        pass
    assert pool.latency_seconds == pytest.approx(1, abs=0.3), "and falls slowly with leases that are short"
    assert not math.isclose(pool._latency_seconds, 2.0, abs_tol=0.3)
