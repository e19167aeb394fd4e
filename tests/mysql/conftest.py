from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiomysql
import pytest

from sillar import DatabaseManager, load_config
from sillar.config import MySQLConfig
from sillar.engines.mysql import MySQLAdapter
from sillar.engines.mysql.connection import MySQLConnection
from sillar.testing.servers import MySQLServer, ServerFleet

_numbers = itertools.count(1)

OpenConnection = Callable[..., Awaitable[MySQLConnection]]


@pytest.fixture(params=["mariadb", "mysql"])
async def server(request: pytest.FixtureRequest, fleet: ServerFleet) -> MySQLServer:
    """Each test runs on both."""
    found = await fleet.get(request.param)
    assert isinstance(found, MySQLServer)
    return found


@pytest.fixture
def is_mariadb(server: MySQLServer) -> bool:
    return server.product == "MariaDB"


@pytest.fixture
def settings(server: MySQLServer) -> Callable[..., dict[str, Any]]:
    """The settings of a database on the server; whatever is given wins."""

    def make(**given: Any) -> dict[str, Any]:
        found: dict[str, Any] = {
            "engine": "mysql",
            "database": server.database,
            "credentials": {"user": server.user, "password": server.password},
        }
        if "unix_socket" not in given:
            found.update(host=server.host, port=server.port)
        return found | given

    return make


@pytest.fixture
def make_adapter(settings: Callable[..., dict[str, Any]]) -> Callable[..., MySQLAdapter]:
    return lambda **given: MySQLAdapter(MySQLConfig(**settings(**given)))


@pytest.fixture
async def open_connection(make_adapter: Callable[..., MySQLAdapter]) -> AsyncIterator[OpenConnection]:
    """Opens connections; closed with the test."""
    opened: list[MySQLConnection] = []

    async def open_one(**given: Any) -> MySQLConnection:
        connection = await make_adapter(**given).open_connection()
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        await connection.close()


@pytest.fixture
def adapter(make_adapter: Callable[..., MySQLAdapter]) -> MySQLAdapter:
    return make_adapter()


@pytest.fixture
async def connection(adapter: MySQLAdapter) -> AsyncIterator[MySQLConnection]:
    opened = await adapter.open_connection()
    yield opened
    await opened.close()


@pytest.fixture
def ask(adapter: MySQLAdapter) -> Callable[..., Awaitable[Any]]:
    """Runs a statement on a connection: all rows as tuples, or the reply where it returns none."""

    async def run(connection: MySQLConnection, sql: str, params: Any = None, **options: Any) -> Any:
        statement, args = adapter.bind(sql, params)
        reply = await connection.run(statement, args, **options)
        return reply if reply.shape is None else [tuple(row) for row in reply.rows]

    return run


@pytest.fixture
async def open_manager(
    settings: Callable[..., dict[str, Any]],
) -> AsyncIterator[Callable[..., Awaitable[DatabaseManager]]]:
    """Opens managers on the server; ``pool=`` is the pool's configuration, the rest the database's."""
    async with AsyncExitStack() as stack:

        async def open_one(*, pool: Any = None, **given: Any) -> DatabaseManager:
            overrides = {"connection_pools": pool or {}, "databases": {"default": settings(**given)}}
            config = load_config(overrides=overrides, environment={})
            return await stack.enter_async_context(DatabaseManager(config))

        yield open_one


@pytest.fixture
async def observer(server: MySQLServer) -> AsyncIterator[aiomysql.Connection]:
    """A superuser's connection of another driver, which looks at the server from outside."""
    opened = await aiomysql.connect(
        host=server.host,
        port=server.port,
        user=server.superuser,
        password=server.superuser_password,
        db=server.database,
        autocommit=True,
    )
    yield opened
    await opened.ensure_closed()


@pytest.fixture
def processlist(observer: aiomysql.Connection, server: MySQLServer) -> Callable[[], Awaitable[list[tuple[int, str]]]]:
    """The sessions of the plain user: id and the text of what runs now, or an empty text."""

    schema = "information_schema" if server.product == "MariaDB" else "performance_schema"

    async def look() -> list[tuple[int, str]]:
        async with observer.cursor() as cursor:
            await cursor.execute(f"SELECT id, command, info FROM {schema}.processlist WHERE user = '{server.user}'")
            return [
                (int(number), str(text or "") if command in ("Query", "Execute") else "")
                for number, command, text in await cursor.fetchall()
            ]

    return look


@pytest.fixture
async def table(open_connection: OpenConnection) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """Creates tables with names of their own from their column definitions; dropped with the test."""
    names: list[str] = []
    own = await open_connection()
    # What a test that failed has left open locks the table: dropping it would wait for a year.
    await own.raw.query("SET lock_wait_timeout = 15")

    async def create(columns: str) -> str:
        name = f"t{next(_numbers)}"
        await own.raw.query(f"CREATE TABLE {name} ({columns})")
        names.append(name)
        return name

    yield create
    for name in reversed(names):
        await own.raw.query(f"DROP TABLE IF EXISTS {name}")
