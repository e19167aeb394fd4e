from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert
from sqlalchemy.schema import CreateTable, DropTable
from tests.lanes.tables import Tables

from sillar import DatabaseManager
from sillar.execution import Executor
from sillar.testing.servers import ServerFleet

ENGINES = ("sqlite", "postgresql", "mariadb", "mysql")


@dataclass(frozen=True, slots=True)
class Ground:
    """A manager on one engine, and filled tables there."""

    engine: str
    url: str
    manager: DatabaseManager
    tables: Tables

    @property
    def executor(self) -> Executor:
        return self.manager.executor()

    @property
    def adapter(self) -> Any:
        return self.executor.adapter


async def url_of(engine: str, fleet: ServerFleet, folder: Path) -> str:
    return f"sqlite:///{folder}/lanes.db" if engine == "sqlite" else (await fleet.get(engine)).url


async def filled(manager: DatabaseManager, engine: str, url: str) -> Ground:
    """Tables made and filled by SQLAlchemy itself."""
    tables = Tables(engine)
    session = manager.session()
    if engine == "postgresql":
        await session.execute("DROP TABLE IF EXISTS lane_part, lane_item, lane_made, lane_simple, lane_named")
        await session.execute("DROP TYPE IF EXISTS lane_color")
        await session.execute("CREATE TYPE lane_color AS ENUM ('red', 'blue')")
    ordered: list[Table] = tables.metadata.sorted_tables
    for table in reversed(ordered):
        await session.execute(DropTable(table, if_exists=True))
    for table in ordered:
        await session.execute(CreateTable(table))
    for table, rows in ((tables.item, tables.rows()), (tables.part, tables.parts())):
        for row in rows:
            await session.execute(insert(table).values(row))
    if engine == "postgresql":
        await session.execute("SELECT setval('lane_part_id_seq', 100)")
    return Ground(engine, url, manager, tables)


@pytest.fixture(scope="session")
async def grounds(fleet: ServerFleet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Ground]]:
    """The engines that were asked for, each set up once."""
    async with AsyncExitStack() as stack:
        found: dict[str, Ground] = {}

        async def ground(engine: str) -> Ground:
            if engine not in found:
                url = await url_of(engine, fleet, tmp_path_factory.mktemp(engine))
                limits = {"min_connections": 0, "max_connections": 3}
                manager = DatabaseManager.from_url(url, overrides={"connection_pools": limits})
                found[engine] = await filled(await stack.enter_async_context(manager), engine, url)
            return found[engine]

        yield ground  # type: ignore[misc]  # a function that makes them


@pytest.fixture(params=ENGINES)
async def ground(request: pytest.FixtureRequest, grounds: Any) -> Ground:
    """Each engine in turn."""
    found: Ground = await grounds(request.param)
    return found


@pytest.fixture
async def manager_of_counter(tmp_path: Path) -> AsyncIterator[tuple[DatabaseManager, Table, list[int]]]:
    """A table whose defaults are counted up by a Python function, and the numbers that it gave."""
    numbers: list[int] = []

    def following() -> int:
        numbers.append(len(numbers) + 1)
        return numbers[-1]

    counted = Table(
        "counted",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("number", Integer, default=following),
        Column("changed", Integer, onupdate=following),
    )
    async with DatabaseManager.from_url(f"sqlite:///{tmp_path}/counted.db") as manager:
        await manager.session().execute(CreateTable(counted))
        yield manager, counted, numbers
