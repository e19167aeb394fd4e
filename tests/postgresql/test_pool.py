"""The promises of the pool, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import pickle
import time
from typing import Any

import asyncpg
import pytest
import structlog
from tests.postgresql.sessions import OpenManager, ended, sessions

from sillar import ConnectionPool, ConnectionPoolConfig, DatabaseManager
from sillar.engines.postgresql import PostgreSQLAdapter
from sillar.errors import (
    AuthenticationError,
    NestedAcquireError,
    PoolClosedError,
    PoolExhaustedError,
    PoolTimeoutError,
    UsageError,
)
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import PostgreSQLServer


def pool_of(manager: DatabaseManager) -> ConnectionPool:
    pool = manager.pools["default"]
    assert isinstance(pool, ConnectionPool)
    return pool


async def eventually(condition: Any, seconds: float = 15.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_waiting_callers_are_served_in_the_order_they_came(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    pool = pool_of(manager)
    first = await pool.acquire()
    served: list[int] = []

    async def caller(number: int) -> None:
        async with pool.lease():
            served.append(number)

    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(caller(number)))
        await asyncio.sleep(0)
    first.release()
    await asyncio.gather(*tasks)
    assert served == list(range(20))
    assert pool.stats().opened_total == 1


async def test_a_timeout_names_the_numbers_the_place_and_the_remedy(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1, "connection_timeout": 0.1})
    async with pool_of(manager).lease():
        with pytest.raises(PoolTimeoutError) as caught:
            await asyncio.create_task(manager.session().fetch_value("SELECT 1"))
    message = str(caught.value)
    assert "pool 'default' of 1: 1 leased, 1 waiting" in message
    assert "oldest lease" in message
    assert "test_pool.py:" in message
    assert "raise max_connections or release earlier" in message
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.retry_after_seconds is not None


async def test_the_queue_is_bounded(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1, "waiting_max": 2})
    pool = pool_of(manager)
    lease = await pool.acquire()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(PoolExhaustedError, match="waiting_max=2"):
        await asyncio.create_task(pool.acquire())
    lease.release()
    for task in waiting:
        (await task).release()
    assert pool.stats().refused_total == 1


async def test_a_cancelled_caller_leaves_no_trace(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    pool = pool_of(manager)
    lease = await pool.acquire()
    tasks = [asyncio.create_task(pool.acquire()) for _ in range(300)]
    await asyncio.sleep(0)
    for task in tasks[:-1]:
        task.cancel()
    await asyncio.sleep(0)
    lease.release()
    (await tasks[-1]).release()
    stats = pool.stats()
    assert (stats.waiting, stats.leased, stats.idle, stats.open) == (0, 0, 1, 1)


async def test_a_caller_cancelled_in_the_turn_it_is_served_gives_the_connection_back(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    pool = pool_of(manager)
    lease = await pool.acquire()
    task = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    lease.release()  # hands over …
    task.cancel()  # … and the caller leaves before it wakes up
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.stats().idle == 1
    (await pool.acquire()).release()


async def test_a_spike_is_served_by_the_connections_there_are(postgresql: PostgreSQLServer) -> None:
    """Connect 150 ms, query 2 ms, 5 idle, 50 callers: a few new connections at a time at most, all served."""
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        url = postgresql.url.replace(f":{postgresql.port}/", f":{proxy.port}/")
        async with DatabaseManager.from_url(
            url, overrides={"connection_pools": {"min_connections": 5, "max_connections": 50}}
        ) as manager:
            pool = pool_of(manager)
            await eventually(lambda: pool.stats().idle == 5)

            async def slow_open() -> Any:
                await asyncio.sleep(0.15)
                return await adapter.open_connection()

            adapter = pool.adapter
            pool._open_connection = slow_open
            session = manager.session()

            async def caller() -> Any:
                return await session.fetch_value("SELECT 1 FROM pg_sleep(0.002)")

            began = time.monotonic()
            assert await asyncio.gather(*(caller() for _ in range(50))) == [1] * 50
            turns = 1 + int((time.monotonic() - began) / 0.15)  # one, unless the machine is busy with other things
            assert pool.stats().opened_total + pool.stats().connecting <= 5 + turns * pool.config.handshakes_max


async def test_callers_wait_for_the_pool_and_never_for_a_connect(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 2})
    pool = pool_of(manager)
    never = asyncio.Event()

    async def hanging() -> Any:
        await never.wait()

    pool._open_connection = hanging
    lease = await pool.acquire()
    task = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0.01)
    assert pool.stats().connecting == 1
    lease.release()
    (await asyncio.wait_for(task, 10)).release()


async def test_leaving_does_not_cancel_the_connect_in_progress(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 2})
    pool = pool_of(manager)
    adapter = pool.adapter
    go = asyncio.Event()

    async def slow_open() -> Any:
        await go.wait()
        return await adapter.open_connection()

    pool._open_connection = slow_open
    lease = await pool.acquire()
    task = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await eventually(lambda: pool.stats().idle == 1)
    assert pool.stats().opened_total == 2
    lease.release()


async def test_connections_leave_at_the_end_of_their_lifetime(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1, "max_lifetime": 0.2, "max_lifetime_jitter": 0.5})
    pool = pool_of(manager)
    async with pool.lease() as lease:
        first = lease.server_id
    await eventually(lambda: pool.stats().closed_total >= 1)
    async with pool.lease() as lease:
        assert lease.server_id != first


async def test_idle_connections_are_reaped_down_to_the_minimum(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"min_connections": 1, "max_connections": 5, "idle_timeout": 0.1})
    pool = pool_of(manager)
    leases = [await pool.acquire() for _ in range(5)]
    for lease in leases:
        lease.release()
    assert pool.stats().open == 5
    await eventually(lambda: pool.stats().open == 1)
    await asyncio.sleep(0.2)
    assert pool.stats().open == 1


async def test_a_connection_idle_for_long_is_validated_before_it_is_used(
    open_manager: OpenManager, observer: asyncpg.Connection, application: str
) -> None:
    manager = await open_manager(pool={"max_connections": 2, "validate_after_idle": 0.05})
    session = manager.session()
    [before] = await sessions(observer, application)
    await observer.execute("SELECT pg_terminate_backend($1)", before["pid"])
    await asyncio.sleep(0.1)
    assert await session.fetch_value("SELECT pg_backend_pid()") != before["pid"]


async def test_a_clean_lease_is_handed_on_without_a_round_trip_and_every_other_one_is_reset(
    open_manager: OpenManager,
) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session, pool = manager.session(), pool_of(manager)
    await session.execute("CREATE TEMPORARY TABLE scratch (id int)")
    assert await session.fetch_value("SELECT to_regclass('scratch')") is None
    await session.execute("SET work_mem = '3MB'")
    assert await session.fetch_value("SELECT current_setting('work_mem')") == "4MB"
    await session.fetch_value("SELECT pg_advisory_lock(7)")
    assert await session.fetch_value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    await session.execute("PREPARE mine AS SELECT 1")
    assert await session.fetch_value("SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'") == 0
    await session.execute("SELECT set_config('search_path', 'pg_catalog', false)")
    assert await session.fetch_value("SELECT current_setting('search_path')") == '"$user", public'
    resets = pool.stats().resets_total
    for number in range(10):
        await session.fetch_value("SELECT :number::int + 1", {"number": number})
    async with session.transaction(read_only=True):
        await session.fetch_value("SELECT 1")
    assert pool.stats().resets_total == resets
    assert pool.stats().opened_total == 1


async def test_a_lease_whose_raw_connection_was_handed_out_is_reset(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    async with pool_of(manager).lease() as lease:
        await lease.raw.execute("SET work_mem = '3MB'; LISTEN news; BEGIN")
    assert await manager.session().fetch_value("SELECT current_setting('work_mem')") == "4MB"
    assert pool_of(manager).stats().opened_total == 1


async def test_tasks_that_hold_connections_while_waiting_for_more_are_told(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 2})
    pool = pool_of(manager)
    ready = asyncio.Barrier(2)

    async def greedy() -> str:
        async with pool.lease():
            await ready.wait()
            try:
                async with pool.lease():
                    return "served"
            except NestedAcquireError as error:
                return str(error)

    outcomes = await asyncio.wait_for(asyncio.gather(greedy(), greedy()), 20)
    told = [outcome for outcome in outcomes if outcome != "served"]
    assert len(told) == 1
    assert "this task holds 1 (leased at test_pool.py:" in told[0]


async def test_a_long_lease_is_reported_with_its_place(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1, "leak_detection": 0.05})
    with structlog.testing.capture_logs() as logs:
        async with pool_of(manager).lease():
            await eventually(lambda: any(entry["event"].startswith("possible leak") for entry in logs))
            await asyncio.sleep(0.3)
    [report] = [entry for entry in logs if entry["event"].startswith("possible leak")]
    assert report["place"].startswith("test_pool.py:")
    assert report["leased_seconds"] > 0


async def test_limits_change_while_running(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1, "connection_timeout": 10})
    pool = pool_of(manager)
    first = await pool.acquire()
    task = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    pool.resize(max_connections=2)
    second = await task
    pool.resize(max_connections=1)
    second.release()
    await eventually(lambda: pool.stats().open == 1)
    first.release()
    with pytest.raises(UsageError, match="min_connections"):
        pool.resize(min_connections=3)


async def test_a_new_generation_replaces_every_connection(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 2})
    pool = pool_of(manager)
    leased, idle = await pool.acquire(), await pool.acquire()
    old = {leased.server_id, idle.server_id}
    idle.release()
    pool.clear("credentials changed")
    leased.release()
    async with pool.lease() as one, pool.lease() as other:
        assert not {one.server_id, other.server_id} & old


async def test_dedicated_connections_are_outside_the_pool_and_in_its_budget(
    open_manager: OpenManager, observer: asyncpg.Connection, application: str
) -> None:
    manager = await open_manager(pool={"max_connections": 2, "connection_timeout": 1.0})
    pool = pool_of(manager)
    async with pool.dedicated() as one:
        await one.execute("LISTEN news")
        async with pool.lease() as lease:
            assert lease.server_id != one.server_id
            with pytest.raises(PoolExhaustedError, match="dedicated"):
                async with pool.dedicated():
                    pass
            with pytest.raises(PoolTimeoutError):
                await asyncio.create_task(pool.acquire())
        assert len(await sessions(observer, application)) == 2
        gone = one.server_id
    async with pool.lease() as a, pool.lease() as b:
        assert gone not in (a.server_id, b.server_id)


async def test_shutdown_waits_for_leases_and_refuses_new_callers(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 2})
    pool = pool_of(manager)
    lease = await pool.acquire()
    closing = asyncio.create_task(manager.shutdown())
    await asyncio.sleep(0.05)
    assert not closing.done()
    with pytest.raises(PoolClosedError):
        await pool.acquire()
    await lease.execute("SELECT 1")
    lease.release()
    await asyncio.wait_for(closing, 10)


async def test_exit_with_open_sessions_does_not_hang(
    open_manager: OpenManager, observer: asyncpg.Connection, application: str
) -> None:
    manager = await open_manager(pool={"max_connections": 2, "drain_timeout": 0.1})
    transaction = await manager.begin_transaction()
    await transaction.execute("SELECT 1")
    with structlog.testing.capture_logs() as logs:
        await asyncio.wait_for(manager.shutdown(), 5)
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["lease terminated at shutdown"]
    await ended(observer, application)


async def test_releasing_twice_is_an_error_and_a_released_lease_is_of_no_use(open_manager: OpenManager) -> None:
    manager = await open_manager()
    pool = pool_of(manager)
    lease = await pool.acquire()
    connection = lease.connection
    await pool.release(lease)
    lease.release()
    with pytest.raises(UsageError, match="released twice"):
        pool.release_connection(connection)
    with pytest.raises(UsageError, match="was released"):
        await lease.execute("SELECT 1")


async def test_nothing_of_it_can_be_pickled(open_manager: OpenManager) -> None:
    manager = await open_manager()
    lease = await manager.get_connection()
    for thing in (manager, manager.session(), pool_of(manager), lease):
        with pytest.raises(UsageError, match="pickled"):
            pickle.dumps(thing)
    assert manager.connections == {"default": lease}
    lease.release()
    assert manager.connections == {}


async def test_a_refused_password_is_told_at_once_and_not_hammered(postgresql: PostgreSQLServer) -> None:
    config = ConnectionPoolConfig(on_unavailable="wait", backoff_initial=5.0, min_connections=0)
    url = postgresql.url.replace("://sillar:", "://sillar:wrong")
    from sillar import DatabaseConfig

    adapter = PostgreSQLAdapter(DatabaseConfig.from_url(url).connection())
    pool = ConnectionPool(config, adapter)
    await pool.open()
    for _ in range(20):
        with pytest.raises(AuthenticationError, match="check user and password"):
            await pool.acquire()
    assert pool.stats().connect_failures_total == 1
    await pool.close()


async def test_health_names_the_reason(open_manager: OpenManager, postgresql: PostgreSQLServer) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    healthy = await manager.health()
    assert healthy.healthy
    assert healthy.databases["default"].connections_max == 1
    async with pool_of(manager).lease():  # busy is not ill, and the check does not wait for it
        busy = await asyncio.wait_for(manager.health_monitor.check(fresh=True), 1)
    assert busy.healthy
    assert busy.databases["default"].leased == 1
