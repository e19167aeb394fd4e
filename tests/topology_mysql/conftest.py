"""A primary and two replicas of each, MariaDB and MySQL, shared by the tests that leave them as they were."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from sillar import DatabaseManager, load_config
from sillar.config import MySQLConfig
from sillar.engines.connection import Reply
from sillar.engines.mysql import MySQLAdapter
from sillar.engines.mysql.connection import MySQLConnection
from sillar.pool.node import Node
from sillar.pool.routed import RoutedPool
from sillar.testing.servers import MariaDBServer, MySQLServer

CLASSES: dict[str, type[MySQLServer]] = {"mariadb": MariaDBServer, "mysql": MySQLServer}
WHERE = "select @@port"
_BINDER = MySQLAdapter(MySQLConfig(engine="mysql", host="localhost", database="none", credentials={"user": "nobody"}))


@dataclass
class Replicated:
    """The servers, and how they are reached together."""

    primary: MySQLServer
    replicas: tuple[MySQLServer, MySQLServer]

    @property
    def servers(self) -> tuple[MySQLServer, ...]:
        return (self.primary, *self.replicas)

    @property
    def is_mariadb(self) -> bool:
        return self.primary.product == "MariaDB"


@asynccontextmanager
async def replicated_servers(engine: str, **options: Any) -> AsyncIterator[Replicated]:
    async with CLASSES[engine](own=True) as primary:
        first, second = await asyncio.gather(primary.add_replica(**options), primary.add_replica(**options))
        await primary.execute_as_superuser(
            "create table note (id int primary key auto_increment, text varchar(64))", database="sillar"
        )
        yield Replicated(primary, (first, second))


@pytest.fixture(scope="package", params=["mariadb", "mysql"])
async def replicated(request: pytest.FixtureRequest) -> AsyncIterator[Replicated]:
    async with replicated_servers(request.param) as found:
        yield found


@asynccontextmanager
async def manager_of(*servers: Any, **topology: Any) -> AsyncIterator[DatabaseManager]:
    """A manager of these servers as the nodes of one database."""
    database = {
        "engine": "mysql",
        "nodes": [{"host": server.host, "port": server.port} for server in servers],
        "database": servers[0].database,
        "credentials": {"user": servers[0].user, "password": servers[0].password},
        "topology": {"check_interval": 0.2, "check_timeout": 1.5} | topology,
    }
    config = load_config(overrides={"databases": {"default": database}}, environment={})
    async with DatabaseManager(config) as manager:
        yield manager


@pytest.fixture
async def manager(replicated: Replicated) -> AsyncIterator[DatabaseManager]:
    async with manager_of(*replicated.servers) as manager:
        yield manager


@asynccontextmanager
async def connected(server: Any, *, superuser: bool = False) -> AsyncIterator[MySQLConnection]:
    user = server.superuser if superuser else server.user
    password = server.superuser_password if superuser else server.password
    config = MySQLConfig(
        engine="mysql",
        host=server.host,
        port=server.port,
        database=server.database,
        credentials={"user": user, "password": password},
    )
    connection = await MySQLAdapter(config).open_connection()
    try:
        yield connection
    finally:
        connection.terminate()


async def run(connection: MySQLConnection, sql: str) -> Reply:
    """Run a text without parameters."""
    statement, args = _BINDER.bind(sql, None)
    return await connection.run(statement, args)


class Nobody:
    """A node at which nobody listens."""

    host, port = "127.0.0.1", 9


def pool_of(manager: DatabaseManager) -> RoutedPool:
    pool = manager.pools["default"]
    assert isinstance(pool, RoutedPool)
    return pool


def node_of(manager: DatabaseManager, server: Any) -> Node:
    [node] = [node for node in pool_of(manager).topology if node.name == f"{server.host}:{server.port}"]
    return node


@asynccontextmanager
async def paused(*replicas: MySQLServer) -> AsyncIterator[None]:
    """They show nothing new; afterwards they do again, whatever happened: others share them."""
    try:
        for replica in replicas:
            await replica.pause_replay()
        yield
    finally:
        for replica in replicas:
            await replica.resume_replay()


async def eventually(condition: Callable[[], bool], what: str = "", seconds: float = 20.0) -> float:
    """Wait until it holds; how long that took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - begin
