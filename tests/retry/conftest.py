"""Managers on the shared servers, straight or by way of a proxy, and what looks at a server from outside."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from sillar import DatabaseManager, load_config
from sillar.engines.connection import DriverConnection
from sillar.engines.mysql.connection import MySQLConnection
from sillar.engines.postgresql.connection import PostgreSQLConnection
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import Server, ServerFleet

OpenManager = Callable[..., Awaitable[DatabaseManager]]
MakeTable = Callable[..., Awaitable[str]]
Action = Callable[[DriverConnection[Any]], Awaitable[None]]

_numbers = itertools.count(1)


@pytest.fixture(params=["postgresql", "mariadb", "mysql"])
async def server(request: pytest.FixtureRequest, fleet: ServerFleet) -> Server:
    """Each test runs on all of them."""
    return await fleet.get(request.param)


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[FaultProxy]:
    """A proxy in front of the server."""
    assert server.port is not None
    async with FaultProxy(server.host, server.port) as proxy:
        yield proxy


@pytest.fixture
async def open_manager(server: Server) -> AsyncIterator[OpenManager]:
    """Opens managers; ``retry=`` and ``options=`` are the database's, ``through=`` a proxy."""
    async with AsyncExitStack() as stack:

        async def open_one(
            *,
            through: FaultProxy | None = None,
            retry: Any = None,
            pool: Any = None,
            options: Any = None,
            database: Any = None,
            **more: Any,
        ) -> DatabaseManager:
            url = server.url if through is None else server.url.replace(f":{server.port}/", f":{through.port}/")
            settings = {"url": url, "retry": retry or {}, "connection_options": options or {}, **(database or {})}
            config = load_config(
                overrides={"connection_pools": pool or {}, "databases": {"default": settings}}, environment={}
            )
            return await stack.enter_async_context(DatabaseManager(config, **more))

        yield open_one


async def swallowed(proxy: FaultProxy) -> None:
    """Wait until the black hole of a proxy has taken something: whoever heals it before has broken nothing."""
    async with asyncio.timeout(20):
        while not any(link.swallowed for link in proxy._links):
            await asyncio.sleep(0.005)


class Sniper:
    """Does something at the moment before a COMMIT is sent, once, by the address that it is sent to."""

    def __init__(self) -> None:
        self._armed: dict[str, Action] = {}

    def arm(self, proxy: FaultProxy, action: Action) -> None:
        self._armed[f"{proxy.host}:{proxy.port}"] = action

    async def fire(self, connection: DriverConnection[Any]) -> None:
        action = self._armed.pop(connection.address, None)
        if action is not None:
            await action(connection)


@pytest.fixture
def sniper(monkeypatch: pytest.MonkeyPatch) -> Sniper:
    """The driver, the server and the network are real; only the moment is chosen here."""
    sniper = Sniper()
    for kind in (PostgreSQLConnection, MySQLConnection):
        commit = kind.commit

        async def sighted(self: Any, commit: Any = commit) -> None:
            await sniper.fire(self)
            await commit(self)

        monkeypatch.setattr(kind, "commit", sighted)
    return sniper


@pytest.fixture
async def manager(open_manager: OpenManager) -> DatabaseManager:
    return await open_manager()


@pytest.fixture
async def table(manager: DatabaseManager) -> AsyncIterator[MakeTable]:
    """Creates tables with rows ``(id, amount)`` of 0; dropped with the test."""
    session = manager.session()
    made: list[str] = []

    async def make(rows: int = 1) -> str:
        name = f"retried_{next(_numbers)}"
        await session.execute(f"DROP TABLE IF EXISTS {name}")
        await session.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, amount INT NOT NULL)")
        await session.bulk_insert(name, ["id", "amount"], [(number, 0) for number in range(1, rows + 1)])
        made.append(name)
        return name

    yield make
    for name in made:
        await session.execute(f"DROP TABLE {name}")
