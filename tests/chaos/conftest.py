from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster

from sillar.testing.chaos import Report, table_text
from sillar.testing.servers import MariaDBServer, PostgreSQLServer

_reports: list[Report] = []


@pytest.fixture
def shown() -> Callable[[Report], None]:
    """Takes a report into the table of the run, and fails where something did not hold."""

    def show(report: Report) -> None:
        _reports.append(report)
        assert report.held, "\n" + report.describe()

    return show


@pytest.fixture(scope="session")
async def postgresql_cluster() -> AsyncIterator[Cluster]:
    async with PostgreSQLServer(own=True) as primary:
        replicas = [await primary.add_replica(), await primary.add_replica()]
        yield Cluster(primary, replicas)


@pytest.fixture
async def cluster(postgresql_cluster: Cluster) -> Cluster:
    """A PostgreSQL primary with two synchronous replicas, in order."""
    await postgresql_cluster.put_in_order()
    return postgresql_cluster


@pytest.fixture
async def mariadb_cluster() -> AsyncIterator[Cluster]:
    async with MariaDBServer(own=True) as primary:
        cluster = Cluster(primary, [await primary.add_replica()])
        await cluster.put_in_order()
        yield cluster


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of all scenarios: on the terminal, and in the file that SILLAR_CHAOS_TABLE names."""
    if not _reports:
        return
    table = table_text(_reports)
    terminalreporter.section("chaos")
    terminalreporter.write_line(table)
    if file := os.environ.get("SILLAR_CHAOS_TABLE"):
        Path(file).write_text(table + "\n", encoding="utf-8")
