"""A database of each test's own on every engine, and stores in them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from codeatlas.store import AtlasStore
from codeatlas.stores import store_for
from sillar import DatabaseManager
from sillar.testing.servers import MariaDBServer, MongoDBServer, MySQLServer, PostgreSQLServer, ServerFleet

ENGINES = ("sqlite", "postgresql", "mariadb", "mysql", "mongodb")
_numbers = itertools.count(1)


@pytest.fixture(params=ENGINES)
async def database_url(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of an empty database, on each engine in turn."""
    async for url in empty_database(request.param, fleet, tmp_path):
        yield url


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
        await server.execute_as_superuser(f"DROP DATABASE {name} WITH (FORCE)")
    elif isinstance(server, MySQLServer | MariaDBServer):
        await server.execute_as_superuser(f"CREATE DATABASE {name}")
        await server.execute_as_superuser(f"GRANT ALL ON {name}.* TO '{server.user}'@'%'")
        yield _with_database(server.url, name)
        await server.execute_as_superuser(f"DROP DATABASE {name}")
    else:
        assert isinstance(server, MongoDBServer)
        url = _with_database(server.url, name)
        yield url
        async with DatabaseManager.from_url(url) as manager, manager.session() as session:
            for collection in COLLECTIONS:
                await session.documents(f"atlas_{collection}").drop()


COLLECTIONS = (
    *("schema", "sequences", "projects", "repositories", "analyses"),
    *("files", "symbols", "rule_results", "terms"),
)


@pytest.fixture
async def manager(database_url: str) -> AsyncIterator[DatabaseManager]:
    async with DatabaseManager.from_url(database_url) as manager:
        yield manager


@pytest.fixture
async def store(manager: DatabaseManager) -> AtlasStore:
    """A store with its schema open."""
    store = store_for(manager)
    await store.open_schema()
    return store


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
