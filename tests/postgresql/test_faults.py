"""Faults, provoked for real: killed processes, cut sockets, frozen servers, cancellations."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest
from tests.postgresql.sessions import OpenManager, sessions

from sillar import DatabaseManager, deadline
from sillar.errors import (
    AuthenticationError,
    CertificateError,
    CommitUnknownError,
    ConnectError,
    ConnectionLostError,
    PoolTimeoutError,
    StatementTimeoutError,
    UnknownDatabaseError,
    UsageError,
)
from sillar.testing.conformance import eventually
from sillar.testing.faults import Direction, FaultProxy
from sillar.testing.servers import PostgreSQLServer, ServerCertificate

pytestmark = pytest.mark.usefixtures("postgresql")


async def running(observer: asyncpg.Connection, application: str, text: str) -> list[int]:
    """Backends of one test that run a statement with that text now."""
    return [
        row["pid"] for row in await sessions(observer, application) if row["state"] == "active" and text in row["query"]
    ]


async def gone(observer: asyncpg.Connection, application: str, text: str) -> None:
    """Return once no session runs the statement; a second is what is promised."""

    async def none_runs() -> bool:
        return not await running(observer, application, text)

    await eventually(none_runs, seconds=1.0)


def behind(proxy: FaultProxy, server: PostgreSQLServer) -> str:
    return server.url.replace(f":{server.port}/", f":{proxy.port}/")


async def test_a_cancelled_caller_stops_the_statement_on_the_server(
    manager: DatabaseManager, observer: asyncpg.Connection, application: str
) -> None:
    task = asyncio.create_task(manager.session().execute("SELECT pg_sleep(60)"))
    async with asyncio.timeout(20):
        while not await running(observer, application, "pg_sleep"):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(observer, application, "pg_sleep")
    assert await manager.session().fetch_value("SELECT 1") == 1
    assert manager.pools["default"].stats().opened_total <= 2


@pytest.mark.parametrize("how", ["argument", "deadline", "server"])
async def test_a_timeout_stops_the_statement_on_the_server(
    open_manager: OpenManager, observer: asyncpg.Connection, application: str, how: str
) -> None:
    manager = await open_manager(options={"statement_timeout": 0.2} if how == "server" else {})
    session = manager.session()
    with pytest.raises(StatementTimeoutError):
        if how == "argument":
            await session.execute("SELECT pg_sleep(60)", timeout_seconds=0.2)
        elif how == "deadline":
            with deadline(0.2):
                await session.execute("SELECT pg_sleep(60)")
        else:
            await session.execute("SELECT pg_sleep(60)")
    await gone(observer, application, "pg_sleep")
    assert await session.fetch_value("SELECT 1") == 1


async def test_a_deadline_that_has_passed_sends_nothing(manager: DatabaseManager) -> None:
    with deadline(-1), pytest.raises(StatementTimeoutError, match="was not sent"):
        await manager.session().execute("CREATE TABLE never (id int)")
    assert await manager.session().fetch_value("SELECT to_regclass('never')") is None


async def test_a_deadline_bounds_the_wait_for_a_connection(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})

    async def impatient() -> None:
        with deadline(0.1):
            await manager.session().execute("SELECT 1")

    async with await manager.get_connection():
        with pytest.raises(PoolTimeoutError):
            await asyncio.wait_for(asyncio.create_task(impatient()), 4)  # the pool itself waits for five seconds


async def test_ten_thousand_cancellations_cross_no_reply_and_lose_no_connection(
    open_manager: OpenManager, observer: asyncpg.Connection, application: str
) -> None:
    manager = await open_manager(pool={"min_connections": 10, "max_connections": 10, "connection_timeout": 60})
    session = manager.session()
    crossed: list[tuple[Any, Any]] = []
    cancelled = 0

    async def caller(number: int) -> None:
        sql = "SELECT :number::int FROM pg_sleep(0.001)"
        if number % 3 == 0:
            async with manager.session().transaction() as transaction:
                got = await transaction.fetch_value(sql, {"number": number})
        else:
            got = await session.fetch_value(sql, {"number": number})
        if got != number:
            crossed.append((number, got))

    chance = random.Random(20261120)
    for batch in range(100):
        tasks = [asyncio.create_task(caller(batch * 100 + each)) for each in range(100)]
        killers = [asyncio.get_running_loop().call_later(chance.random() * 0.02, task.cancel) for task in tasks]
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, asyncio.CancelledError):
                cancelled += 1
            elif outcome is not None:
                raise outcome
        for killer in killers:
            killer.cancel()
    assert crossed == []
    assert cancelled > 2000
    async with asyncio.timeout(30):
        while manager.pools["default"].stats().idle != 10:
            await asyncio.sleep(0.01)
    rows = await sessions(observer, application)
    assert len(rows) == 10
    assert {row["state"] for row in rows} == {"idle"}
    assert manager.pools["default"].stats().lost_total == 0


async def test_a_server_killed_in_the_middle_of_a_transaction_is_told_and_recovered_from() -> None:
    async with PostgreSQLServer(own=True) as server, DatabaseManager.from_url(server.url) as manager:
        session = manager.session()

        async def work() -> None:
            async with session.transaction():
                await session.execute("SELECT pg_sleep(60)")

        task = asyncio.create_task(work())
        await asyncio.sleep(0.3)
        await server.kill()
        with pytest.raises(ConnectionLostError) as caught:
            await asyncio.wait_for(task, 10)
        assert caught.value.node == f"{server.host}:{server.port}"
        await server.start()
        assert await session.fetch_value("SELECT 1") == 1


async def test_a_read_in_flight_survives_the_restart_of_its_server() -> None:
    async with PostgreSQLServer(own=True) as server:
        async with DatabaseManager.from_url(
            server.url, overrides={"connection_pools": {"connection_timeout": 30}}
        ) as manager:
            task = asyncio.create_task(manager.session().fetch_value("SELECT 7 FROM pg_sleep(1)"))
            runs = "select 1 from pg_stat_activity where state = 'active' and query like 'SELECT 7 FROM pg_sleep%'"
            async with asyncio.timeout(20):
                while not await server.execute_as_superuser(runs):
                    await asyncio.sleep(0.02)
            await server.kill()
            await server.start()
            assert await asyncio.wait_for(task, 30) == 7
            assert manager.monitor.registry.figures("default").retries >= 1


async def test_a_read_is_retried_and_a_write_is_not(open_manager: OpenManager, observer: asyncpg.Connection) -> None:
    manager = await open_manager(pool={"max_connections": 3, "validate_after_idle": 60})
    session = manager.session()
    await session.execute("CREATE TABLE IF NOT EXISTS retried (id int)")
    applied: list[int] = []
    try:
        for statement, outcome in (("SELECT 1", 1), ("INSERT INTO retried VALUES (1) RETURNING id", None)):
            pid = await session.fetch_value("SELECT pg_backend_pid()")
            await observer.execute("SELECT pg_terminate_backend($1)", pid)
            # The driver has not read the goodbye yet: the statement is sent into a dead session.
            if outcome is None:
                raw = manager.pools["default"]._idle[-1].raw  # type: ignore[attr-defined]
                if not raw.is_closed():
                    with suppress(ConnectionLostError):
                        applied.append(await session.fetch_value(statement))  # it has: then nothing was sent before
            else:
                assert await session.fetch_value(statement) == outcome
        assert await session.fetch_value("SELECT count(*) FROM retried") == len(applied)
    finally:
        await session.execute("DROP TABLE retried")


@asynccontextmanager
async def keeping_sockets_open(server: PostgreSQLServer) -> AsyncIterator[str]:
    """The URL of a relay that delivers the server's goodbye and lets the end of the connection come later, as a slow
    network does."""
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(server.host, server.port)
        writers.extend((writer, behind_writer))
        await asyncio.gather(pump(reader, behind_writer), pump(behind_reader, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield server.url.replace(f":{server.port}/", f":{port}/")
        for writer in writers:
            writer.close()


async def test_what_was_not_sent_after_the_goodbye_of_the_server_is_repeated(
    postgresql: PostgreSQLServer, open_manager: OpenManager, observer: asyncpg.Connection
) -> None:
    """Also where it writes; a COMMIT that was not sent is no COMMIT in doubt."""
    async with keeping_sockets_open(postgresql) as url:
        manager = await open_manager(url=url, pool={"max_connections": 1, "validate_after_idle": 60})
        session = manager.session()

        async def dismiss(pid: int) -> None:
            await observer.execute("SELECT pg_terminate_backend($1, 5000)", pid)
            await asyncio.sleep(0.2)  # the goodbye arrives; nothing here could be asked whether it has

        await session.execute("CREATE TABLE goodbye (id int)")
        await dismiss(await session.fetch_value("SELECT pg_backend_pid()"))
        await session.execute("INSERT INTO goodbye VALUES (1)")
        with pytest.raises(ConnectionLostError, match="before COMMIT was sent") as caught:
            async with session.transaction():
                await session.execute("INSERT INTO goodbye VALUES (2)")
                await dismiss(await session.fetch_value("SELECT pg_backend_pid()"))
        assert caught.value.safe_to_retry
        assert await session.fetch_value("SELECT count(*) FROM goodbye") == 1
        await session.execute("DROP TABLE goodbye")
        assert manager.monitor.registry.figures("default").transactions["unknown"] == 0


async def cut_once(proxy: FaultProxy, observer: asyncpg.Connection, question: str) -> None:
    """Reset what goes through the proxy as soon as the server's answer to the question is true."""
    async with asyncio.timeout(20):
        while not await observer.fetchval(question):
            await asyncio.sleep(0.02)
    proxy.reset()


async def test_a_lost_reply_to_commit_is_unknown_and_never_repeated(
    postgresql: PostgreSQLServer, observer: asyncpg.Connection
) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        async with DatabaseManager.from_url(behind(proxy, postgresql)) as manager:
            session = manager.session()
            await session.execute("DROP TABLE IF EXISTS lost_reply")
            await session.execute("CREATE TABLE lost_reply (id int)")
            with pytest.raises(CommitUnknownError, match="may or may not"):
                async with session.transaction():
                    await session.execute("INSERT INTO lost_reply VALUES (1)")
                    proxy.black_hole(Direction.TO_CLIENT)
                    cutting = asyncio.create_task(cut_once(proxy, observer, "SELECT count(*) = 1 FROM lost_reply"))
            await cutting
            await proxy.heal()
            assert await session.fetch_value("SELECT count(*) FROM lost_reply") == 1
            await session.execute("DROP TABLE lost_reply")
            assert manager.monitor.registry.figures("default").transactions["unknown"] == 1


async def test_a_commit_whose_caller_leaves_comes_to_its_end(postgresql: PostgreSQLServer) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        async with DatabaseManager.from_url(behind(proxy, postgresql)) as manager:
            session = manager.session()
            await session.execute("DROP TABLE IF EXISTS left_commit")
            await session.execute("CREATE TABLE left_commit (id int)")
            transaction = await manager.begin_transaction()
            await transaction.execute("INSERT INTO left_commit VALUES (1)")
            proxy.delay(0.7)
            task = asyncio.create_task(transaction.commit())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await proxy.heal()
            async with asyncio.timeout(20):
                while manager.pools["default"].stats().leased:
                    await asyncio.sleep(0.01)
            assert await session.fetch_value("SELECT count(*) FROM left_commit") == 1
            await session.execute("DROP TABLE left_commit")


async def test_a_transaction_cut_in_the_middle_is_rolled_back(postgresql: PostgreSQLServer) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        async with DatabaseManager.from_url(behind(proxy, postgresql)) as manager:
            session = manager.session()
            await session.execute("DROP TABLE IF EXISTS cut")
            await session.execute("CREATE TABLE cut (id int)")
            with pytest.raises(ConnectionLostError) as caught:
                async with session.transaction():
                    await session.execute("INSERT INTO cut VALUES (1)")
                    proxy.reset()
                    await session.execute("INSERT INTO cut VALUES (2)")
            assert caught.value.safe_to_retry  # of the whole transaction: nothing of it was applied
            assert await session.fetch_value("SELECT count(*) FROM cut") == 0
            await session.execute("DROP TABLE cut")


async def test_a_server_down_at_start_is_a_clear_error(postgresql: PostgreSQLServer) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        await proxy.refuse()
        manager = DatabaseManager.from_url(behind(proxy, postgresql))
        with pytest.raises(ConnectError, match="cannot be reached"):
            await manager.initialize()
        await proxy.heal()
        async with manager:
            assert await manager.session().fetch_value("SELECT 1") == 1


async def test_a_server_down_at_start_is_waited_for_when_so_configured(postgresql: PostgreSQLServer) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        await proxy.refuse()
        pool = {"on_unavailable": "wait", "connection_timeout": 0.3, "backoff_max": 0.1}
        async with DatabaseManager.from_url(behind(proxy, postgresql), overrides={"connection_pools": pool}) as manager:
            with pytest.raises(PoolTimeoutError, match="the last connect failed"):
                await manager.session().fetch_value("SELECT 1")
            assert not (await manager.health()).healthy
            await proxy.heal()
            async with asyncio.timeout(10):
                while True:
                    try:
                        assert await manager.session().fetch_value("SELECT 1") == 1
                        break
                    except PoolTimeoutError:
                        continue
            assert (await manager.health_monitor.check(fresh=True)).healthy


async def test_a_frozen_server_is_a_timeout_and_recovers() -> None:
    async with PostgreSQLServer(own=True) as server, DatabaseManager.from_url(server.url) as manager:
        session = manager.session()
        await server.freeze()
        try:
            with pytest.raises(StatementTimeoutError):
                await session.fetch_value("SELECT 1", timeout_seconds=0.3)
            unhealthy = await manager.health_monitor.check(fresh=True)
        finally:
            await server.thaw()
        assert unhealthy.databases["default"].name == "default"
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await session.fetch_value("SELECT 1", timeout_seconds=1) == 1
                    break
                except (StatementTimeoutError, ConnectionLostError, PoolTimeoutError):
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (("://sillar:", "://sillar:wrong"), AuthenticationError, "check user and password"),
        (("/sillar", "/nowhere"), UnknownDatabaseError, "nowhere"),
    ],
)
async def test_a_refused_login_and_a_wrong_database_say_so(
    postgresql: PostgreSQLServer, change: tuple[str, str], kind: type[Exception], message: str
) -> None:
    head, _, tail = postgresql.url.rpartition("/")
    url = f"{head}/{tail}".replace(*change) if "://" in change[0] else f"{head}{change[1]}"
    with pytest.raises(kind, match=message) as caught:
        await DatabaseManager.from_url(url).initialize()
    password = postgresql.url.split("@")[0].rpartition(":")[2]
    assert password not in str(caught.value)


async def test_certificates_are_verified() -> None:
    async with PostgreSQLServer(tls=True, own=True) as server:
        good = {"ssl_config": {"mode": "verify-full", "ca_file": str(server.ca_file)}}

        def config(**ssl: Any) -> dict[str, Any]:
            return {"overrides": {"databases": {"default": {"ssl_config": {**good["ssl_config"], **ssl}}}}}

        async with DatabaseManager.from_url(server.url, **config()) as manager:
            row = await manager.session().fetch_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert row == {"ssl": True}
        with pytest.raises(CertificateError, match="not trusted"):
            await DatabaseManager.from_url(
                server.url, overrides={"databases": {"default": {"ssl_config": {"mode": "verify-full"}}}}
            ).initialize()
        with pytest.raises(CertificateError, match="not trusted"):
            await DatabaseManager.from_url(server.url, **config(server_hostname="other.example")).initialize()


@pytest.mark.parametrize("kind", [ServerCertificate.EXPIRED, ServerCertificate.WRONG_HOST])
async def test_a_certificate_that_is_expired_or_of_another_host_is_refused(
    kind: ServerCertificate,
) -> None:
    async with PostgreSQLServer(tls=kind, own=True) as server:
        manager = DatabaseManager.from_url(
            server.url,
            overrides={
                "databases": {"default": {"ssl_config": {"mode": "verify-full", "ca_file": str(server.ca_file)}}}
            },
        )
        with pytest.raises(CertificateError, match="not trusted"):
            await manager.initialize()


async def test_tls_asked_of_a_server_that_has_none_is_refused(postgresql: PostgreSQLServer) -> None:
    with pytest.raises(CertificateError, match="does not offer TLS"):
        await DatabaseManager.from_url(
            postgresql.url, overrides={"databases": {"default": {"ssl_config": {"mode": "require"}}}}
        ).initialize()


async def test_another_event_loop_is_told_so(manager: DatabaseManager) -> None:
    session = manager.session()

    def elsewhere() -> BaseException | None:
        async def use() -> None:
            await session.fetch_value("SELECT 1")

        try:
            asyncio.run(use())
        except UsageError as error:
            return error
        return None

    error = await asyncio.to_thread(elsewhere)
    assert isinstance(error, UsageError)
    assert str(error).count("EventLoop") == 2


async def test_a_huge_result_is_streamed_with_bounded_memory(manager: DatabaseManager) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        total = 0
        sql = "SELECT number, repeat('x', 10000) AS text FROM generate_series(1, 20000) AS number"
        async with manager.session().stream(sql, batch_rows=50) as rows:
            async for row in rows:
                total += row["number"]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 20000 * 20001 // 2
    assert peak < 20_000_000  # the result has 200 MB


async def test_a_stream_left_early_gives_its_connection_back(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    async with session.stream("SELECT generate_series(1, 100000) AS number", batch_rows=10) as rows:
        async for row in rows:
            assert row == {"number": 1}
            break
    assert await session.fetch_value("SELECT 1") == 1
