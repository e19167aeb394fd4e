"""The real servers that the tests share, and the table of those that took part."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator

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
    inventory,
)

SERVER_FIXTURES = ("postgresql", "postgresql18", "mariadb", "mysql", "redis", "mongodb")


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


# --- the table -----------------------------------------------------------------------------------------------------------

_tests_run: Counter[str] = Counter()
_found: list[InventoryEntry] = []


def _servers_of(item: pytest.Item) -> set[str]:
    names = set(getattr(item, "fixturenames", ())) & set(SERVER_FIXTURES)
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return names | {value for value in parameters.values() if isinstance(value, str) and value in SERVER_FIXTURES}


def pytest_sessionstart(session: pytest.Session) -> None:
    """In CI a missing server fails the run; MySQL, whose only source moves, warns loudly instead."""
    _found.extend(asyncio.run(inventory()))
    missing = [entry.name for entry in _found if entry.is_missing]
    if os.environ.get("CI") and set(missing) - {"mysql"}:
        pytest.exit(f"missing servers: {', '.join(missing)}; run: python -m sillar.testing.servers install", returncode=3)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Outside CI, what needs a server that this machine does not have is left out, and the table says so."""
    missing = {entry.name for entry in _found if entry.is_missing}
    left_out = [item for item in items if _servers_of(item) & missing]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not _servers_of(item) & missing]


def pytest_runtest_setup(item: pytest.Item) -> None:
    item.user_properties.extend(("server", name) for name in sorted(_servers_of(item)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _tests_run.update(str(name) for key, name in report.user_properties if key == "server")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("real servers")
    terminalreporter.write_line(f"{'server':<14} {'version':<34} {'tests':>6}  how it was found")
    for entry in _found:
        line = f"{entry.name:<14} {entry.version or 'MISSING':<34} {_tests_run[entry.name]:>6}  {entry.how_found}"
        terminalreporter.write_line(line, red=entry.is_missing)
    if any(entry.is_missing for entry in _found):
        terminalreporter.write_line("*** nothing was verified against the servers that are MISSING ***", red=True, bold=True)
