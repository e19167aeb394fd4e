"""An empty database for each test on every engine, with codeatlas' schema or without, and stores in them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.databases import drop_database

from codeatlas.schema import METADATA
from codeatlas.store import AtlasStore
from codeatlas.stores import store_for
from sillar import Capability, DatabaseManager
from sillar.testing.servers import MariaDBServer, MongoDBServer, MySQLServer, PostgreSQLServer, ServerFleet

ENGINES = ("sqlite", "postgresql", "mariadb", "mysql", "mongodb")
_numbers = itertools.count(1)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine in turn."""
    return str(request.param)


@pytest.fixture
async def new_url(engine: str, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a database that nothing was made in, for tests of the schema itself."""
    async for url in empty_database(engine, fleet, tmp_path):
        yield url


@pytest.fixture(scope="session")
async def opened(
    fleet: ServerFleet, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    """The URL of a database in which a store has opened its schema, one per engine."""
    async with AsyncExitStack() as stack:
        urls: dict[str, str] = {}

        async def url_of(engine: str) -> str:
            if engine not in urls:
                making = asynccontextmanager(empty_database)(engine, fleet, tmp_path_factory.mktemp(engine))
                urls[engine] = await stack.enter_async_context(making)
                async with DatabaseManager.from_url(urls[engine]) as manager:
                    await store_for(manager).open_schema()
            return urls[engine]

        yield url_of


@pytest.fixture
async def database_url(engine: str, opened: Callable[[str], Awaitable[str]]) -> str:
    """The URL of a database with the schema and nothing in it. Making the schema takes longer than most tests."""
    url = await opened(engine)
    async with DatabaseManager.from_url(url) as manager, manager.session() as session:
        if session.capabilities.has(Capability.SQL):
            async with session.transaction():
                for name in (table.name for table in reversed(METADATA.sorted_tables)):
                    if name.removeprefix("atlas_") not in KEPT:
                        await session.execute(f"DELETE FROM {name}")
        else:
            for name in COLLECTIONS[len(KEPT) :]:
                await session.documents(f"atlas_{name}").delete_many({})
    return url


async def empty_database(engine: str, fleet: ServerFleet, folder: Path) -> AsyncIterator[str]:
    """An empty database; gone afterwards."""
    if engine == "sqlite":
        yield f"sqlite:///{folder / 'atlas.db'}"
        return
    server = await fleet.get(engine)
    name = f"atlas{next(_numbers)}"
    if isinstance(server, PostgreSQLServer):
        await server.execute_as_superuser(f"CREATE DATABASE {name} OWNER {server.user}")
        yield _with_database(server.url, name)
        await drop_database(server, name)
    elif isinstance(server, MySQLServer | MariaDBServer):
        await server.execute_as_superuser(f"CREATE DATABASE {name}")
        await server.execute_as_superuser(f"GRANT ALL ON {name}.* TO '{server.user}'@'%'")
        yield _with_database(server.url, name)
        await drop_database(server, name)
    else:
        assert isinstance(server, MongoDBServer)
        url = _with_database(server.url, name)
        yield url
        async with DatabaseManager.from_url(url) as manager, manager.session() as session:
            for collection in COLLECTIONS:
                await session.documents(f"atlas_{collection}").drop()


KEPT = ("schema", "sequences")  # these have rows from the beginning
COLLECTIONS = (
    *KEPT,
    *("projects", "repositories", "analyses"),
    *("files", "symbols", "rule_results", "terms"),
)


@pytest.fixture
async def new_manager(new_url: str) -> AsyncIterator[DatabaseManager]:
    async with DatabaseManager.from_url(new_url) as manager:
        yield manager


@pytest.fixture
async def new_store(new_manager: DatabaseManager) -> AtlasStore:
    """A store with its schema open in a database that is the test's own, for tests that change the schema."""
    store = store_for(new_manager)
    await store.open_schema()
    return store


@pytest.fixture
async def manager(database_url: str) -> AsyncIterator[DatabaseManager]:
    async with DatabaseManager.from_url(database_url) as manager:
        yield manager


@pytest.fixture
async def store(manager: DatabaseManager) -> AtlasStore:
    """A store with its schema open."""
    return store_for(manager)


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
