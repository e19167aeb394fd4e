"""The real servers that the tests share, and the table of those that took part."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest
import structlog
from tests.replicated import Replicated, ReplicatedFleet

from sillar.testing.servers import (
    GaleraCluster,
    InventoryEntry,
    MariaDBServer,
    MongoDBServer,
    MySQLServer,
    PatroniCluster,
    PgBouncerServer,
    PostgreSQLServer,
    RedisSentinelCluster,
    RedisServer,
    Server,
    ServerCluster,
    ServerFleet,
    ServerNotFoundError,
    inventory,
)


@pytest.fixture(scope="session")
async def fleet() -> AsyncIterator[ServerFleet]:
    """The servers of this run: each started when the first test asks for it, all ended with the run."""
    async with ServerFleet() as servers:
        yield servers


@pytest.fixture(scope="session")
async def replicated_fleet() -> AsyncIterator[ReplicatedFleet]:
    """A PostgreSQL primary with two replicas, once for the run."""
    servers = ReplicatedFleet()
    yield servers
    await servers.close()


@pytest.fixture
async def replicated(replicated_fleet: ReplicatedFleet) -> Replicated:
    return await replicated_fleet.get()


@pytest.fixture
async def postgresql(fleet: ServerFleet) -> PostgreSQLServer:
    return await fleet.postgresql()


@pytest.fixture
async def postgresql18(fleet: ServerFleet) -> PostgreSQLServer:
    return await fleet.postgresql18()


@pytest.fixture
async def mariadb(fleet: ServerFleet) -> MariaDBServer:
    return await fleet.mariadb()


@pytest.fixture
async def mysql(fleet: ServerFleet) -> MySQLServer:
    return await fleet.mysql()


@pytest.fixture
async def redis(fleet: ServerFleet) -> RedisServer:
    return await fleet.redis()


@pytest.fixture
async def mongodb(fleet: ServerFleet) -> MongoDBServer:
    return await fleet.mongodb()


@pytest.fixture
async def pgbouncer(fleet: ServerFleet) -> PgBouncerServer:
    return await fleet.pgbouncer()


@pytest.fixture
async def patroni(fleet: ServerFleet) -> PatroniCluster:
    return await fleet.patroni()


@pytest.fixture
async def galera(fleet: ServerFleet) -> GaleraCluster:
    return await fleet.galera()


@pytest.fixture
async def redis_sentinel(fleet: ServerFleet) -> RedisSentinelCluster:
    return await fleet.redis_sentinel()


@pytest.fixture
async def server(request: pytest.FixtureRequest, fleet: ServerFleet) -> Server:
    """The server named by an indirect parameter."""
    return await fleet.get(request.param)


def pytest_collection_finish() -> None:
    """What there is now stays until the end; the collector of garbage need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Tests that look at logs capture them; the others do not print them."""
    with structlog.testing.capture_logs():
        yield


def pytest_exception_interact(call: pytest.CallInfo[Any], report: pytest.TestReport) -> None:
    """A test that ran out of its time: where each task of its event loop stands. Its own stack ends in the loop."""
    if call.excinfo is None or not str(call.excinfo.value).startswith("Timeout "):
        return
    frames = [each.frame for each in call.excinfo.traceback]
    loops = {frame.f_locals.get("self") for frame in frames if frame.code.name == "run_forever"}
    for loop in loops:
        if isinstance(loop, asyncio.AbstractEventLoop):
            stacks = io.StringIO()
            for task in asyncio.all_tasks(loop):
                task.print_stack(file=stacks)
            report.sections.append(("tasks", stacks.getvalue()))


# --- which servers took part ------------------------------------------------------------------------------------------

_tests_run: dict[str, set[str]] = defaultdict(set)
_found: list[InventoryEntry] = []
_current = ""


def _note_use(server: Server | ServerCluster[Any]) -> None:
    name = server.product.lower().replace(" ", "_")
    if name == "postgresql" and server.version.startswith("18"):
        name = "postgresql18"
    _tests_run[name].add(_current)


def _watch_servers() -> None:
    """Note which test starts a server or cluster, or asks for a shared one."""
    start, get, get_cluster = Server.start, ServerFleet.get, ServerFleet.get_cluster

    async def started(server: Server) -> None:
        await start(server)
        _note_use(server)

    async def got(fleet: ServerFleet, name: str) -> Server:
        server = await get(fleet, name)
        _note_use(server)
        return server

    async def got_cluster(fleet: ServerFleet, name: str) -> ServerCluster[Any]:
        cluster = await get_cluster(fleet, name)
        _note_use(cluster)
        return cluster

    Server.start, ServerFleet.get, ServerFleet.get_cluster = started, got, got_cluster  # type: ignore[method-assign]


def pytest_sessionstart(session: pytest.Session) -> None:
    """In CI a missing server fails the run; MySQL, whose only source moves, warns loudly instead."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a run in the background: its programs would ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _found.extend(asyncio.run(inventory()))
    missing = [entry.name for entry in _found if entry.is_missing]
    if os.environ.get("CI") and set(missing) - {"mysql"}:
        pytest.exit(
            f"missing servers: {', '.join(missing)}; run: python -m sillar.testing.servers install", returncode=3
        )
    _watch_servers()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _current
    _current = item.nodeid
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Outside CI (and for MySQL everywhere), a test whose server this machine does not have is left out, loudly."""
    report = yield
    missing = {entry.name for entry in _found if entry.is_missing}
    if missing and call.excinfo is not None and call.excinfo.errisinstance(ServerNotFoundError):
        report.outcome = "skipped"
        report.longrepr = (report.location[0], report.location[1] or 0, f"server missing: {call.excinfo.value}")
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("real servers")
    terminalreporter.write_line(f"{'server':<14} {'version':<44} {'tests':>6}  how it was found")
    for entry in _found:
        line = f"{entry.name:<14} {entry.version or 'MISSING':<44} {len(_tests_run[entry.name]):>6}  {entry.how_found}"
        terminalreporter.write_line(line, red=entry.is_missing)
    if any(entry.is_missing for entry in _found):
        terminalreporter.write_line(
            "*** nothing was verified against the servers that are MISSING ***", red=True, bold=True
        )
