"""The circuit breaker of a pool, with a real PostgreSQL that dies and comes back."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.pool.pools import OpenPool, eventually, out_of_service

from sillar import ConnectionPool
from sillar.errors import (
    AuthenticationError,
    BreakerOpenError,
    ConnectionLostError,
    DatabaseError,
    PoolTimeoutError,
    UniqueViolationError,
)
from sillar.pool.breaker import BreakerState
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import PostgreSQLServer

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
IMPATIENT = {"patience": 0.3, "minimum_calls": 3, "open_seconds": 0.5, "open_seconds_max": 1.0}


@pytest.fixture(scope="module")
async def mortal() -> AsyncIterator[PostgreSQLServer]:
    """A PostgreSQL of this module's own, which notes every connection."""
    async with PostgreSQLServer(own=True, settings={"log_connections": "on"}) as own:
        yield own


@pytest.fixture
async def server(mortal: PostgreSQLServer) -> PostgreSQLServer:
    """It, alive."""
    if not mortal.is_running:
        await mortal.start()
    return mortal


@pytest.fixture
async def proxy(postgresql: PostgreSQLServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        yield proxy


def through(proxy: FaultProxy, server: PostgreSQLServer) -> str:
    return server.url.replace(f":{server.port}/", f":{proxy.port}/")


def changes_of(pool: ConnectionPool) -> list[tuple[BreakerState, BreakerState]]:
    changes: list[tuple[BreakerState, BreakerState]] = []
    pool.breaker.on_change.append(lambda old, new, reason: changes.append((old, new)))
    return changes


async def ask(pool: ConnectionPool) -> Any:
    """One call, as a service would make it."""
    async with pool.lease() as lease:
        return await lease.fetch_value("SELECT 1")


async def outcomes(pool: ConnectionPool, count: int) -> list[Any]:
    return await asyncio.gather(*(ask(pool) for _ in range(count)), return_exceptions=True)


async def break_down(pool: ConnectionPool) -> None:
    """Call until the breaker is open."""
    async with asyncio.timeout(20):
        while pool.breaker.is_passing:
            await outcomes(pool, 5)
            await asyncio.sleep(0.02)


def connections_logged(server: PostgreSQLServer) -> int:
    assert server.log is not None
    return len(re.findall("connection authorized", server.log.read_text()))


async def test_a_dead_server_is_left_alone_and_tried_with_exactly_so_many_probes(
    server: PostgreSQLServer, open_pool: OpenPool
) -> None:
    breaker = {**IMPATIENT, "half_open_probes": 2, "open_seconds": 40, "open_seconds_max": 40}
    pool = await open_pool(url=server.url, min_connections=1, max_connections=20, connection_timeout=1, breaker=breaker)
    changes = changes_of(pool)
    await outcomes(pool, 20)
    await server.kill()
    await break_down(pool)
    began = time.monotonic()
    refused = await outcomes(pool, 500)
    assert time.monotonic() - began < 5, "nobody waits"
    assert {type(error) for error in refused} == {BreakerOpenError}
    error = refused[0]
    assert 0 < error.retry_after_seconds <= 40
    assert re.match(
        r"the circuit breaker of pool 'default' opened \d\.\d s ago: \d+ of the last \d+ calls failed, the last one"
        r" with: \w+ \(.+\); the node is probed in \d+\.\d s; nothing was sent: look after the"
        r" server, and come back later",
        str(error),
    )
    assert pool.stats().open == pool.stats().connecting == 0
    health = await pool.health_check()
    assert (health.healthy, health.breaker) == (False, "open")

    pool.breaker.open("the test prepares the server", seconds=60)
    await server.start()
    logged: list[int] = []
    before = connections_logged(server)
    pool.breaker.on_change.append(lambda old, new, reason: logged.append(connections_logged(server)))
    stop = asyncio.Event()
    errors: set[type] = set()

    async def caller() -> None:
        while not stop.is_set():
            try:
                await ask(pool)
            except DatabaseError as error:
                if not pool.breaker.is_passing:  # else fifty of them wait for the first few connections
                    errors.add(type(error))
                await asyncio.sleep(0.001)

    callers = [asyncio.create_task(caller()) for _ in range(50)]
    try:
        pool.breaker.open("now it is tried", seconds=0.2)
        await eventually(lambda: pool.breaker.is_passing)
    finally:
        stop.set()
        await asyncio.gather(*callers)
    assert changes[-2:] == [(BreakerState.FORCED_OPEN, HALF_OPEN), (HALF_OPEN, CLOSED)]
    assert logged[-1] - before == 2, "the server saw the probes, and nobody else, until the breaker closed"
    assert errors == {BreakerOpenError}
    assert pool.stats().breaker_openings_total == pool.breaker.openings_total >= 3
    assert await ask(pool) == 1
    assert (await pool.health_check()).healthy


async def test_a_probe_that_fails_opens_it_again_for_longer(server: PostgreSQLServer, open_pool: OpenPool) -> None:
    pool = await open_pool(url=server.url, connection_timeout=1, breaker=IMPATIENT)
    changes = changes_of(pool)
    await server.kill()
    await break_down(pool)
    await eventually(lambda: changes.count((HALF_OPEN, OPEN)) == 2)
    assert changes[:4] == [(CLOSED, OPEN), (OPEN, HALF_OPEN), (HALF_OPEN, OPEN), (OPEN, HALF_OPEN)]
    assert pool.breaker.reason.startswith("a probe failed with: ConnectError")
    await server.start()
    await eventually(lambda: pool.breaker.is_passing)  # without any caller
    await eventually(lambda: pool.stats().idle >= 1)
    assert await ask(pool) == 1


async def test_a_short_restart_is_waited_for(
    postgresql: PostgreSQLServer, proxy: FaultProxy, open_pool: OpenPool
) -> None:
    """With the defaults, and everything lost at once. (At the proxy: some machines take seconds for a real one.)"""
    pool = await open_pool(
        url=through(proxy, postgresql), min_connections=10, max_connections=10, connection_timeout=20
    )
    changes = changes_of(pool)
    await eventually(lambda: pool.stats().idle == 10)
    busy = [asyncio.create_task(_sleep_on_the_server(pool, 5)) for _ in range(10)]
    await eventually(lambda: pool.stats().leased == 10)
    await asyncio.sleep(0.2)
    waiting = [asyncio.create_task(ask(pool)) for _ in range(50)]
    await proxy.refuse()
    proxy.reset()
    assert {type(result) for result in await asyncio.gather(*busy, return_exceptions=True)} == {ConnectionLostError}
    assert pool.breaker.window[0] >= 10, "each lost connection counts"
    waiting += [asyncio.create_task(ask(pool)) for _ in range(50)]
    await asyncio.sleep(0.3)
    await proxy.heal()
    assert await asyncio.gather(*waiting) == [1] * 100
    assert changes == []


async def _sleep_on_the_server(pool: ConnectionPool, seconds: int = 60) -> None:
    async with pool.lease() as lease:
        await lease.fetch_value(f"SELECT pg_sleep({seconds})")


async def test_what_is_the_statements_fault_never_counts(open_pool: OpenPool) -> None:
    pool = await open_pool(max_connections=5, breaker={"patience": 0, "minimum_calls": 1, "failure_rate": 0.01})
    async with pool.lease() as lease:
        await lease.execute("CREATE TEMPORARY TABLE unique_things (id int PRIMARY KEY)")
        await lease.execute("INSERT INTO unique_things VALUES (1)")
        with pytest.raises(UniqueViolationError):
            await lease.execute("INSERT INTO unique_things VALUES (1)")
        for wrong in ("SELECT 1 / 0", "SELEC", "SELECT no_such_column"):
            with pytest.raises(DatabaseError):
                await lease.execute(wrong)
        with pytest.raises(DatabaseError):
            await lease.execute("SELECT pg_sleep(9)", timeout_seconds=0.05)
    cancelled = [asyncio.create_task(_sleep_on_the_server(pool)) for _ in range(20)]
    await asyncio.sleep(0.2)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
    with pytest.raises(PoolTimeoutError):
        async with pool.lease(), pool.lease(), pool.lease(), pool.lease(), pool.lease():
            await asyncio.create_task(pool.acquire_connection(0.05))
    assert pool.breaker.state is CLOSED
    assert pool.breaker.failures_total == 0
    await eventually(lambda: pool.stats().restoring == 0)
    before = pool.breaker.calls
    await ask(pool)
    assert pool.breaker.calls == before + 1


async def test_a_lost_connection_counts_once(postgresql: PostgreSQLServer, open_pool: OpenPool) -> None:
    pool = await open_pool()
    async with pool.lease() as lease:
        with pytest.raises(ConnectionLostError):
            await lease.fetch_value("SELECT pg_terminate_backend(pg_backend_pid())")
        for _ in range(3):
            with pytest.raises(DatabaseError):
                await lease.fetch_value("SELECT 1")
    assert pool.breaker.failures_total == 1
    assert pool.breaker.window == (1, 1 + pool.breaker.calls - 1)
    assert await ask(pool) == 1


async def test_refusals_for_good_are_told_as_they_are(postgresql: PostgreSQLServer, open_pool: OpenPool) -> None:
    url = re.sub(r"//([^:@/]+)(:[^@/]*)?@", r"//\1:wrong@", postgresql.url)
    pool = await open_pool(
        url=url,
        on_unavailable="wait",
        connection_timeout=2,
        backoff_initial=0.01,
        backoff_max=0.01,
        breaker={"patience": 0, "minimum_calls": 1},
    )
    for _ in range(5):
        with pytest.raises(AuthenticationError):
            await pool.acquire_connection()
    assert pool.breaker.state is CLOSED


async def test_callers_that_wait_in_vain_for_a_silent_server_count(
    postgresql: PostgreSQLServer, proxy: FaultProxy, open_pool: OpenPool
) -> None:
    pool = await open_pool(
        url=through(proxy, postgresql),
        max_connections=3,
        connection_timeout=0.3,
        connect_timeout=0.3,
        breaker={**IMPATIENT, "minimum_calls": 20, "probe_timeout": 0.3},
    )
    proxy.black_hole()
    proxy.reset()
    await break_down(pool)
    assert pool.breaker.failures_total > pool.stats().connect_failures_total > 0
    changes = changes_of(pool)
    await eventually(lambda: (HALF_OPEN, OPEN) in changes)
    assert pool.breaker.reason == "a probe was not answered within probe_timeout=0.3 s"
    assert "a probe was not answered within 0.3 s" in pool.stats().reason
    await proxy.heal()
    await eventually(lambda: pool.breaker.is_passing)
    assert await ask(pool) == 1


async def test_by_hand(open_pool: OpenPool) -> None:
    pool = await open_pool(min_connections=2, max_connections=2, breaker={"half_open_probes": 3})
    await eventually(lambda: pool.stats().idle == 2)
    lease = await pool.acquire()
    other = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.breaker.open("the node is being repaired")
    with pytest.raises(BreakerOpenError, match=r"the node is being repaired; it stays open until somebody closes it"):
        await waiting
    with pytest.raises(BreakerOpenError) as caught:
        await pool.acquire_connection()
    assert caught.value.retry_after_seconds is None
    assert await lease.fetch_value("SELECT 1") == 1
    pool.breaker.close()
    lease.release()  # a lease that was out is used again
    assert pool.stats().idle == 1
    pool.breaker.open("for a moment", seconds=0.05)
    await eventually(lambda: pool.breaker.state is HALF_OPEN)
    await asyncio.sleep(0.05)
    assert pool.stats().connecting == 0
    other.release()
    await eventually(lambda: pool.breaker.is_passing)  # three probes, with room for two connections
    assert pool.stats().open <= 2
    assert await ask(pool) == 1


async def test_no_probe_without_room_for_it(open_pool: OpenPool) -> None:
    pool = await open_pool(max_connections=1)
    lease = await pool.acquire()
    pool.breaker.open("for a moment", seconds=0.02)
    await eventually(lambda: pool.breaker.state is HALF_OPEN)
    await asyncio.sleep(0.05)
    assert pool.breaker.state is HALF_OPEN
    with pytest.raises(BreakerOpenError, match="the node is being probed"):
        await pool.acquire_connection()
    lease.release()
    await eventually(lambda: pool.breaker.is_passing)
    assert await ask(pool) == 1


async def test_a_probe_that_is_given_up_is_replaced(
    postgresql: PostgreSQLServer, proxy: FaultProxy, open_pool: OpenPool
) -> None:
    pool = await open_pool(url=through(proxy, postgresql), breaker={"probe_timeout": 30, "half_open_probes": 1})
    proxy.black_hole()
    pool.breaker.open("for a moment", seconds=0.02)
    await eventually(lambda: pool.breaker.state is HALF_OPEN)
    await asyncio.sleep(0.05)
    await proxy.heal()
    pool.sever("the node does not answer")  # its handshake with it
    await eventually(lambda: pool.breaker.is_passing)
    assert await ask(pool) == 1


async def test_a_topology_decides_over_its_head(open_pool: OpenPool) -> None:
    pool = await open_pool()
    pool.breaker.open("for a moment", seconds=0.02)
    pool.suspend(out_of_service)
    await eventually(lambda: pool.breaker.state is HALF_OPEN)
    await asyncio.sleep(0.05)
    assert pool.stats().opened_total == 1, "a node out of service is not probed"
    pool.resume()
    assert pool.breaker.state is CLOSED
    assert await ask(pool) == 1
    pool.breaker.open("the node is being repaired")
    pool.suspend(out_of_service)
    pool.resume()
    with pytest.raises(BreakerOpenError, match="being repaired"):
        await ask(pool)


async def test_closing_ends_probes(postgresql: PostgreSQLServer, proxy: FaultProxy, open_pool: OpenPool) -> None:
    pool = await open_pool(url=through(proxy, postgresql), breaker={"probe_timeout": 30})
    proxy.black_hole()
    pool.breaker.open("for a moment", seconds=0.02)
    await eventually(lambda: pool.breaker.state is HALF_OPEN)
    await asyncio.sleep(0.05)
    await asyncio.wait_for(pool.close(), 5)
    assert pool.stats().open == 0
    await proxy.heal()
