"""The real servers that the tests share, and the table of those that took part."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Generator, Iterator

import pytest
import structlog

from sillar.testing.servers import (
    InventoryEntry,
    MariaDBServer,
    MongoDBServer,
    MySQLServer,
    PostgreSQLServer,
    RedisServer,
    Server,
    ServerFleet,
    ServerNotFoundError,
    inventory,
)


@pytest.fixture(scope="session")
async def fleet() -> AsyncIterator[ServerFleet]:
    """The servers of this run: each started when the first test asks for it, all ended with the run."""
    async with ServerFleet() as servers:
        yield servers


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
async def server(request: pytest.FixtureRequest, fleet: ServerFleet) -> Server:
    """The server named by an indirect parameter."""
    return await fleet.get(request.param)


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Tests that look at logs capture them; the others do not print them."""
    with structlog.testing.capture_logs():
        yield


# --- which servers took part ------------------------------------------------------------------------------------------

_tests_run: dict[str, set[str]] = defaultdict(set)
_found: list[InventoryEntry] = []
_current = ""


def _note_use(server: Server) -> None:
    name = server.product.lower()
    if name == "postgresql" and server.version.startswith("18"):
        name = "postgresql18"
    _tests_run[name].add(_current)


def _watch_servers() -> None:
    """Note which test starts a server, or asks for a shared one."""
    start, get = Server.start, ServerFleet.get

    async def started(server: Server) -> None:
        await start(server)
        _note_use(server)

    async def got(fleet: ServerFleet, name: str) -> Server:
        server = await get(fleet, name)
        _note_use(server)
        return server

    Server.start, ServerFleet.get = started, got  # type: ignore[method-assign]


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
