"""COMMITs in doubt where the server itself is in trouble: crashed, promoted, frozen, waiting for standbys, deaf."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import pytest
from tests.retry.conftest import OpenManager, Sniper, swallowed
from tests.standbys import set_standbys

from sillar import DatabaseConfig, DatabaseManager, load_config
from sillar.engines import open_adapter
from sillar.engines.outcome import CommitOutcome
from sillar.errors import CommitUnknownError, ConnectionLostError, UnavailableError
from sillar.execution.commit_outcome import CommitMarkers, CommitResolution
from sillar.testing.faults import Direction, FaultProxy
from sillar.testing.servers import PostgreSQLServer, Server

SERVER, MARKER = CommitResolution.SERVER, CommitResolution.MARKER
BOTH = pytest.mark.parametrize("resolution", [SERVER, MARKER])
COUNT = "SELECT count(*) FROM written"
Open = Callable[..., Awaitable[tuple[DatabaseManager, FaultProxy]]]


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[PostgreSQLServer]:
    """A server of these tests alone: it crashes."""
    async with PostgreSQLServer(own=True) as server:
        yield server


@pytest.fixture
async def own(shared: PostgreSQLServer) -> PostgreSQLServer:
    if not shared.is_running:
        await shared.start()
    return shared


async def reached(stack: AsyncExitStack, server: PostgreSQLServer, **retry: Any) -> tuple[DatabaseManager, FaultProxy]:
    """A manager on a server by way of a proxy; the tables are there, and empty."""
    proxy = await stack.enter_async_context(FaultProxy(server.host, server.port or 0))
    url = server.url.replace(f":{server.port}/", f":{proxy.port}/")
    settings = {"databases": {"default": {"url": url, "retry": retry}}}
    manager = DatabaseManager(load_config(overrides=settings, environment={}))
    await stack.enter_async_context(manager)
    await CommitMarkers(manager.session()).create_table()
    await manager.session().execute("CREATE TABLE IF NOT EXISTS written (id INT)")
    await manager.session().execute("TRUNCATE written")
    return manager, proxy


@pytest.fixture
async def reach(own: PostgreSQLServer) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:
        yield lambda **retry: reached(stack, own, **retry)


class Freezer:
    """Stops single processes of a server."""

    def __init__(self) -> None:
        self._frozen: list[int] = []

    def freeze(self, pid: int) -> None:
        self._frozen.append(pid)
        os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        while self._frozen:
            os.kill(self._frozen.pop(), signal.SIGCONT)


@pytest.fixture
def freezer() -> Iterator[Freezer]:
    """None is left frozen when the test is over: it would keep its locks from all that follow."""
    freezer = Freezer()
    yield freezer
    freezer.thaw()


@pytest.fixture
async def standbys(own: PostgreSQLServer) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Says which standbys commits wait for; none when the test is over."""
    yield partial(set_standbys, own)
    await set_standbys(own, "")


async def write(manager: DatabaseManager, resolution: CommitResolution) -> None:
    async with manager.session().transaction(resolve_commit=resolution) as tx:
        await tx.execute("INSERT INTO written VALUES (1)")


async def count(manager: DatabaseManager) -> int:
    async with asyncio.timeout(20):
        while True:
            try:
                return int(await manager.session().fetch_value(COUNT))
            except UnavailableError:
                await asyncio.sleep(0.05)


@BOTH
async def test_a_server_that_crashed_may_have_given_the_id_to_another_one(
    own: PostgreSQLServer, reach: Open, sniper: Sniper, resolution: CommitResolution
) -> None:
    """The marker tells anyway."""
    manager, proxy = await reach(resolution_timeout=50)

    async def crash() -> None:
        await swallowed(proxy)
        await own.kill()
        await own.start()
        await proxy.heal()

    tasks: list[asyncio.Task[None]] = []

    async def swallow(connection: Any) -> None:
        proxy.black_hole(Direction.TO_SERVER)
        tasks.append(asyncio.create_task(crash()))

    sniper.arm(proxy, swallow)
    try:
        with pytest.raises(UnavailableError) as caught:
            await asyncio.wait_for(write(manager, resolution), 60)
    finally:
        await asyncio.gather(*tasks)  # the server is there again for the next test
    if resolution is SERVER:
        assert isinstance(caught.value, CommitUnknownError)
        assert "cannot tell" in caught.value.__notes__[0]
    else:
        assert isinstance(caught.value, ConnectionLostError)
        assert caught.value.safe_to_retry
    assert await count(manager) == 0


@pytest.mark.parametrize("version", [None, 18])
async def test_an_id_outlives_an_orderly_restart_and_no_crash(version: int | None) -> None:
    async with PostgreSQLServer(version, own=True) as server:
        adapter = open_adapter(DatabaseConfig.from_url(server.url).connection())

        async def outcome(mark: Any) -> CommitOutcome:
            connection = await adapter.open_connection()
            try:
                return await connection.transaction_outcome(mark)
            finally:
                await connection.close()

        connection = await adapter.begin_transaction()
        kept = await connection.transaction_mark()
        assert await outcome(kept) is CommitOutcome.OPEN
        await connection.commit()
        await connection.begin()
        undone = await connection.transaction_mark()
        await connection.rollback()
        await connection.close()
        for _ in range(2):
            assert [await outcome(mark) for mark in (kept, undone)] == ["committed", "rolled back"]
            await server.restart()
        await server.kill()
        await server.start()
        assert [await outcome(mark) for mark in (kept, undone)] == ["unknown", "unknown"]


async def test_after_a_failover_only_the_marker_tells(sniper: Sniper) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(PostgreSQLServer(own=True))
        ways = {each: await reached(stack, server, resolution_timeout=30) for each in (SERVER, MARKER)}
        replica = await server.add_replica()

        async def fail_over() -> None:
            while await replica.execute_as_superuser(COUNT, database=server.database) != [(2,)]:
                await asyncio.sleep(0.02)
            await server.kill()
            await replica.promote()
            for _, proxy in ways.values():
                proxy.target_port = replica.port or 0
                await proxy.heal()

        async def swallow_for(proxy: FaultProxy) -> None:
            async def swallow(connection: Any) -> None:
                proxy.black_hole(Direction.TO_CLIENT)

            sniper.arm(proxy, swallow)

        for _, proxy in ways.values():
            await swallow_for(proxy)
        writes = [write(manager, resolution) for resolution, (manager, _) in ways.items()]
        asked, marked, failed_over = await asyncio.wait_for(
            asyncio.gather(*writes, fail_over(), return_exceptions=True), 60
        )  # fmt: skip
        assert failed_over is None
        assert isinstance(asked, CommitUnknownError)
        assert "promoted" in asked.__notes__[0]
        assert marked is None
        assert await count(ways[MARKER][0]) == 2


@BOTH
@pytest.mark.parametrize("thawed_after", [2.0, None])
async def test_a_frozen_session_is_waited_for(
    reach: Open, freezer: Freezer, sniper: Sniper, resolution: CommitResolution, thawed_after: float | None
) -> None:
    """As long as its transaction is open nobody knows; it is asked to end, and once thawed it ends this way or that."""
    manager, proxy = await reach(resolution_timeout=30 if thawed_after else 1.5)
    loop = asyncio.get_running_loop()

    async def freeze(connection: Any) -> None:
        freezer.freeze(connection.server_id)
        loop.call_later(0.1, proxy.reset)
        if thawed_after:
            loop.call_later(thawed_after, freezer.thaw)

    sniper.arm(proxy, freeze)
    if not thawed_after:
        with pytest.raises(CommitUnknownError) as caught:
            await asyncio.wait_for(write(manager, resolution), 40)
        assert "in time" in caught.value.__notes__[0]
        assert await count(manager) == 0
        return
    found = 1
    try:
        await asyncio.wait_for(write(manager, resolution), 40)
    except ConnectionLostError:
        found = 0
    assert await count(manager) == found


@pytest.mark.parametrize(("resolution", "confirmed"), [(SERVER, True), (SERVER, False), (MARKER, False)])
async def test_a_commit_that_no_standby_has_is_not_called_one(
    own: PostgreSQLServer,
    reach: Open,
    standbys: Callable[[str], Awaitable[None]],
    sniper: Sniper,
    resolution: CommitResolution,
    confirmed: bool,
) -> None:
    """COMMIT waits for a standby that is not there, and an administrator ends the session: here it was applied, and may
    not outlive a failover. Only once standbys are not waited for any more, or have it, it counts as applied."""
    manager, proxy = await reach(resolution_timeout=15 if confirmed else 2)

    async def interfere(pid: int) -> None:
        while await own.execute_as_superuser(
            f"SELECT wait_event FROM pg_stat_activity WHERE pid = {pid}"
        ) != [("SyncRep",)]:  # fmt: skip
            await asyncio.sleep(0.02)
        proxy.reset()
        await asyncio.sleep(1.3)  # its end was asked for meanwhile, and was not to be
        assert await own.execute_as_superuser(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}")
        await own.execute_as_superuser(f"SELECT pg_terminate_backend({pid})")
        while await own.execute_as_superuser(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"):
            await asyncio.sleep(0.02)
        await asyncio.sleep(1.0)
        if confirmed:
            await standbys("")

    tasks: list[asyncio.Task[None]] = []

    async def no_standby(connection: Any) -> None:
        await standbys("absent")
        tasks.append(asyncio.create_task(interfere(connection.server_id)))

    sniper.arm(proxy, no_standby)
    try:
        if confirmed:
            await asyncio.wait_for(write(manager, resolution), 30)
        else:
            with pytest.raises(CommitUnknownError):
                await asyncio.wait_for(write(manager, resolution), 30)
    finally:
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
    assert await count(manager) == 1


@pytest.mark.parametrize(
    ("server", "resolution"),
    [("postgresql", SERVER), ("postgresql", MARKER), ("mariadb", MARKER), ("mysql", MARKER)],
    indirect=["server"],
)
async def test_a_session_that_never_hears_of_the_end_is_ended(
    server: Server, resolution: CommitResolution, open_manager: OpenManager, proxy: FaultProxy, sniper: Sniper
) -> None:
    """COMMIT and the end of the connection are swallowed on the way: its transaction would stay open for hours."""
    manager = await open_manager(through=proxy, pool={"connect_timeout": 1.0, "backoff_max": 0.1})
    await CommitMarkers(manager.session()).create_table()
    await manager.session().execute("DROP TABLE IF EXISTS written")
    await manager.session().execute("CREATE TABLE written (id INT)")

    async def leave(connection: Any) -> None:
        await swallowed(proxy)
        connection.terminate()
        await asyncio.sleep(0.1)
        proxy._settings[Direction.TO_SERVER].black_hole = False  # not heal(): the server's side lives on

    tasks: list[asyncio.Task[None]] = []

    async def swallow(connection: Any) -> None:
        proxy.black_hole(Direction.TO_SERVER)
        tasks.append(asyncio.create_task(leave(connection)))

    sniper.arm(proxy, swallow)
    with pytest.raises(ConnectionLostError, match="was not applied"):
        await asyncio.wait_for(write(manager, resolution), 20)
    assert await count(manager) == 0
    await manager.session().execute("DROP TABLE written")
    await manager.session().execute("DROP TABLE sillar_commit_marker")
