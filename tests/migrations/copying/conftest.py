"""Databases of their own: for each engine one to read, filled once, and one to write to, emptied for each test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.migrations.copying import specimens

from sillar import DatabaseManager
from sillar.capabilities import Capability
from sillar.migrations.copying.side import PROGRESS_TABLE
from sillar.migrations.copying.sides import side_of
from sillar.testing.servers import ServerFleet

ENGINES = ["sqlite", "postgresql", "mariadb", "mysql", "mongodb"]
Open = Callable[..., Awaitable[DatabaseManager]]
SCRIPTS = {
    "postgresql": specimens.POSTGRESQL,
    "mariadb": specimens.MYSQL,
    "mysql": specimens.MYSQL,
    "sqlite": specimens.SQLITE,
}


class Places:
    """The URLs of the databases of this run."""

    def __init__(self, fleet: ServerFleet, folder: Path) -> None:
        self._fleet, self._folder = fleet, folder
        self._urls: dict[tuple[str, str], str] = {}
        self.filled: set[str] = set()

    async def url(self, engine: str, name: str) -> str:
        """The URL of a database, which is created when it is first asked for."""
        if (engine, name) not in self._urls:
            self._urls[engine, name] = await self._created(engine, name)
        return self._urls[engine, name]

    async def _created(self, engine: str, name: str) -> str:
        if engine == "sqlite":
            return f"sqlite:///{self._folder}/{name}.db"
        server: Any = await self._fleet.get(engine)
        url: str = re.sub(r"(://[^/]*/)[^?]*", rf"\g<1>copy_{name}", server.url)
        if engine.startswith("postgresql"):
            await server.execute_as_superuser(f"CREATE DATABASE copy_{name} OWNER {server.user} TEMPLATE template0")
        elif engine != "mongodb":
            await server.execute_as_superuser(f"CREATE DATABASE copy_{name} CHARACTER SET utf8mb4")
            accounts = await server.execute_as_superuser(f"SELECT host FROM mysql.user WHERE user = '{server.user}'")
            for (host,) in accounts:
                await server.execute_as_superuser(f"GRANT ALL ON copy_{name}.* TO '{server.user}'@'{host}'")
        return url


@pytest.fixture(scope="session")
async def places(fleet: ServerFleet, tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(fleet, tmp_path_factory.mktemp("copies"))


@pytest.fixture
async def open_database(places: Places) -> AsyncIterator[Open]:
    """Opens an empty database of an engine; ``name`` tells several of one engine apart."""
    async with AsyncExitStack() as stack:

        async def open_one(engine: str, name: str = "target", *, empty: bool = True) -> DatabaseManager:
            url = await places.url(engine, name)
            manager = await stack.enter_async_context(DatabaseManager.from_url(url))
            manager.url = url  # type: ignore[attr-defined]  # for programs that are started
            if empty:
                await clear(manager)
            return manager

        yield open_one


@pytest.fixture
async def open_specimen(places: Places, open_database: Open) -> Open:
    """Opens the database of an engine that has the specimen; it is only read."""

    async def open_one(engine: str) -> DatabaseManager:
        manager = await open_database(engine, "specimen", empty=engine not in places.filled)
        if engine not in places.filled:
            await fill(engine, manager)
            places.filled.add(engine)
        return manager

    return open_one


async def clear(manager: DatabaseManager) -> None:
    """Drop all tables."""
    side = await side_of(manager, None)
    await side.drop_tables([*await side.table_names(), PROGRESS_TABLE])
    if side.words.translator == "postgres":
        for kind in await manager.session().fetch_all(
            "SELECT oid::regtype::text FROM pg_type WHERE typtype = 'e'", into=str
        ):
            await manager.session().execute(f"DROP TYPE {kind}")


async def fill(engine: str, manager: DatabaseManager) -> None:
    """Create the specimen."""
    if engine == "mongodb":
        for name, documents in specimens.mongodb().items():
            await manager.session().documents(name).insert_many(documents)
        await manager.session().documents("stone").create_index([("label", 1)], unique=True, name="label_once")
        return
    await run(manager, SCRIPTS[engine])


async def run(manager: DatabaseManager, script: str) -> None:
    """Run the statements of a script, one by one."""
    async with manager.session() as session:
        for statement in re.split(r";\n", script):
            if statement.strip():
                await session.execute(statement.strip().rstrip(";"))


async def count(manager: DatabaseManager, table: str) -> int:
    """How many rows a table has."""
    session = manager.session()
    if session.capabilities.has(Capability.DOCUMENTS):
        return await session.documents(table).count()
    found: Any = await session.fetch_value(f"SELECT count(*) FROM {table}")
    return int(found)
