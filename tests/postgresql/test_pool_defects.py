"""Defects of the pool that were found once: each has a test, so that none comes back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest
import structlog
from tests.postgresql.sessions import OpenManager, ended, sessions
from tests.postgresql.test_pool import eventually, pool_of

from sillar import DatabaseConfig, DatabaseManager, load_config
from sillar.engines.postgresql import PostgreSQLAdapter
from sillar.engines.postgresql.connection import PostgreSQLConnection
from sillar.errors import AuthenticationError, ConnectError, ConnectionLostError, DatabaseError, UsageError
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import PostgreSQLServer


def behind(proxy: FaultProxy, server: PostgreSQLServer) -> str:
    return server.url.replace(f":{server.port}/", f":{proxy.port}/")


# --- validation ---


async def test_one_caller_has_one_idle_connection_validated(
    open_manager: OpenManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = await open_manager(pool={"min_connections": 5, "max_connections": 5, "validate_after_idle": 0.01})
    await eventually(lambda: pool_of(manager).stats().idle == 5)
    await asyncio.sleep(0.05)
    pings: list[Any] = []
    ping = PostgreSQLConnection.ping

    async def counted(connection: PostgreSQLConnection) -> None:
        pings.append(connection)
        await ping(connection)

    monkeypatch.setattr(PostgreSQLConnection, "ping", counted)
    assert await manager.session().fetch_value("SELECT 1") == 1
    await eventually(lambda: pool_of(manager).stats().idle == 5)
    assert len(pings) == 1


async def test_an_idle_connection_that_is_silently_dead_does_not_cost_the_caller_its_patience(
    open_manager: OpenManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = await open_manager(pool={"max_connections": 2, "validate_after_idle": 0.01, "connection_timeout": 2})
    await asyncio.sleep(0.05)

    async def no_answer(connection: PostgreSQLConnection) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(PostgreSQLConnection, "ping", no_answer)
    assert await manager.session().fetch_value("SELECT 1") == 1
    await eventually(lambda: pool_of(manager).stats().lost_total == 1)


async def test_a_pool_without_a_queue_serves_from_what_is_idle_for_long(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 2, "waiting_max": 0, "validate_after_idle": 0.01})
    for _ in range(3):
        await asyncio.sleep(0.05)
        assert await manager.session().fetch_value("SELECT 1") == 1
    async with pool_of(manager).lease(), pool_of(manager).lease():
        with pytest.raises(DatabaseError, match="waiting_max=0"):
            await asyncio.create_task(pool_of(manager).acquire())


# --- connecting ---


async def test_callers_wait_for_leases_though_new_connections_are_refused(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 2, "backoff_initial": 5})
    pool = pool_of(manager)
    lease = await pool.acquire()

    async def refused() -> Any:
        raise AuthenticationError("the password was changed")

    pool._open_connection = refused
    task = asyncio.create_task(manager.session().fetch_value("SELECT 7"))
    await asyncio.sleep(0.1)
    assert pool.stats().connect_failures_total == 1
    lease.release()
    assert await task == 7


async def test_a_secrets_manager_that_fails_is_a_failed_connect(postgresql: PostgreSQLServer) -> None:
    class Vault:
        asked = 0

        async def get_secret(self, name: str) -> str:
            self.asked += 1
            raise LookupError("token my-secret has expired")

    user = postgresql.url.removeprefix("postgresql://").split(":")[0]
    settings = {
        "engine": "postgresql",
        "host": postgresql.host,
        "port": postgresql.port,
        "database": postgresql.url.rpartition("/")[2],
        "credentials": {"user": user, "password_secret": "db/main"},
    }
    vault = Vault()
    config = DatabaseConfig(databases={"default": settings})
    with pytest.raises(ConnectError, match="LookupError") as caught:
        await DatabaseManager(config, secrets=vault).initialize()
    assert "my-secret" not in str(caught.value)
    config = DatabaseConfig(
        databases={"default": settings},
        connection_pools={"on_unavailable": "wait", "connection_timeout": 0.3, "backoff_initial": 5},
    )
    vault.asked = 0
    async with DatabaseManager(config, secrets=vault) as manager:
        for _ in range(3):
            with pytest.raises(DatabaseError, match="the last connect failed"):
                await manager.session().fetch_value("SELECT 1")
        assert vault.asked == 1


async def test_handshakes_and_cancel_requests_share_one_gate(postgresql: PostgreSQLServer) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        adapter = PostgreSQLAdapter(
            DatabaseConfig.from_url(
                behind(proxy, postgresql), overrides={"connection_pools": {"handshakes_max": 1}}
            ).connection()
        )
        first = await adapter.open_connection()
        proxy.delay(0.2)
        opening = asyncio.create_task(adapter.open_connection())
        await asyncio.sleep(0.05)
        assert first.raw.sillar_gate is not None
        assert first.raw.sillar_gate.locked()
        second = await opening
        assert not first.raw.sillar_gate.locked()
        assert second.raw.sillar_gate is first.raw.sillar_gate
        first.terminate()
        second.terminate()


async def test_a_connection_that_was_being_opened_when_the_pool_was_cleared_is_not_used(
    open_manager: OpenManager,
) -> None:
    manager = await open_manager(pool={"max_connections": 2})
    pool = pool_of(manager)
    lease, adapter = await pool.acquire(), pool.adapter
    opened: list[Any] = []
    go = asyncio.Event()

    async def slow_open() -> Any:
        connection = await adapter.open_connection()
        opened.append(connection)
        await go.wait()
        return connection

    pool._open_connection = slow_open
    task = asyncio.create_task(pool.acquire())
    await eventually(lambda: len(opened) == 1)
    pool.clear("credentials changed")
    go.set()
    second = await task
    assert second.connection is not opened[0]
    assert opened[0].is_closed() or pool.stats().closed_total >= 1
    lease.release()
    second.release()


# --- figures and health ---


async def test_a_connection_that_breaks_under_a_statement_is_counted_as_lost(
    open_manager: OpenManager, observer: asyncpg.Connection
) -> None:
    manager = await open_manager(pool={"max_connections": 2})
    lease = await pool_of(manager).acquire()
    with pytest.raises(ConnectionLostError):
        sleeping = asyncio.create_task(lease.execute("SELECT pg_sleep(5)"))
        await asyncio.sleep(0.1)
        await observer.execute("SELECT pg_terminate_backend($1)", lease.server_id)
        await sleeping
    lease.release()
    assert pool_of(manager).stats().lost_total == 1


async def test_a_server_that_does_not_answer_stays_unhealthy_however_often_it_is_asked(
    postgresql: PostgreSQLServer,
) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        overrides = {"connection_pools": {"drain_timeout": 0.1}}
        async with DatabaseManager.from_url(behind(proxy, postgresql), overrides=overrides) as manager:
            proxy.black_hole()
            for _ in range(3):
                assert not (await manager.health_monitor.check(fresh=True)).healthy
            await proxy.heal()
            async with asyncio.timeout(20):
                while not (await manager.health_monitor.check(fresh=True)).healthy:
                    await asyncio.sleep(0.05)


async def test_one_dead_idle_connection_is_no_ill_health(
    open_manager: OpenManager, observer: asyncpg.Connection, application: str
) -> None:
    manager = await open_manager(pool={"max_connections": 2})
    [idle] = await sessions(observer, application)
    await observer.execute("SELECT pg_terminate_backend($1)", idle["pid"])
    await asyncio.sleep(0.1)
    assert (await manager.health()).healthy
    assert [row["pid"] for row in await sessions(observer, application)] != [idle["pid"]]


# --- the end ---


async def test_a_dedicated_connection_still_out_after_the_drain_is_terminated(
    open_manager: OpenManager, observer: asyncpg.Connection, application: str
) -> None:
    manager = await open_manager(pool={"max_connections": 2})
    async with pool_of(manager).dedicated() as lease:
        with structlog.testing.capture_logs() as logs:
            await manager.shutdown(drain_seconds=0.1)
        assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["lease terminated at shutdown"]
        await ended(observer, application)
        with pytest.raises(ConnectionLostError):
            await lease.execute("SELECT 1")


async def test_a_pool_closed_while_a_connection_is_reset_leaves_no_session(
    open_manager: OpenManager, observer: asyncpg.Connection, application: str
) -> None:
    manager = await open_manager(pool={"max_connections": 3})
    leases = [await pool_of(manager).acquire() for _ in range(3)]
    for lease in leases:
        await lease.execute("SET work_mem = '3MB'")
    for lease in leases:
        lease.release()
    assert pool_of(manager).stats().restoring == 3
    await manager.shutdown()
    await ended(observer, application)


async def test_a_shutdown_that_is_cancelled_closes_at_once(
    open_manager: OpenManager, observer: asyncpg.Connection, application: str
) -> None:
    manager = await open_manager(pool={"max_connections": 2, "drain_timeout": 60})
    lease = await pool_of(manager).acquire()
    closing = asyncio.create_task(manager.shutdown())
    await asyncio.sleep(0.05)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await ended(observer, application)
    lease.release()


async def test_an_initialisation_that_is_cancelled_leaves_no_session(
    postgresql: PostgreSQLServer, observer: asyncpg.Connection, application: str
) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        proxy.black_hole()
        options = {"connection_options": {"application_name": application}}
        databases = {
            "default": {"url": postgresql.url, **options},
            "slow": {"url": behind(proxy, postgresql), **options},
        }
        manager = DatabaseManager(load_config(overrides={"databases": databases}, environment={}))
        opening = asyncio.create_task(manager.initialize())
        async with asyncio.timeout(20):
            while len(await sessions(observer, application)) != 1:
                await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await ended(observer, application)
        assert manager.pools == {}


async def test_a_pool_is_opened_once(open_manager: OpenManager) -> None:
    manager = await open_manager()
    pool = pool_of(manager)
    await manager.shutdown()
    with pytest.raises(UsageError, match="opened once"):
        await pool.open()


async def test_a_storm_of_refused_handshakes_backs_off_and_recovers(postgresql: PostgreSQLServer) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        limits = {"max_connections": 5, "backoff_initial": 0.2, "backoff_max": 0.4, "connection_timeout": 20}
        async with DatabaseManager.from_url(
            behind(proxy, postgresql), overrides={"connection_pools": limits}
        ) as manager:
            pool = pool_of(manager)
            await proxy.refuse()
            pool.clear("the server went away")
            waiting = [asyncio.create_task(manager.session().fetch_value("SELECT 1")) for _ in range(50)]
            started = time.monotonic()
            await asyncio.sleep(1.0)
            attempts = pool.stats().connect_failures_total
            assert 1 <= attempts <= 3 + (time.monotonic() - started) / 0.1
            await proxy.heal()
            assert await asyncio.gather(*waiting) == [1] * 50
            assert pool.stats().healthy
