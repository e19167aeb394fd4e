from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Connection

from sillar import DatabaseManager
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.testing.servers import ServerFleet

T = TypeVar("T")
ENGINES = ("sqlite", "postgresql", "mariadb", "mysql")
TABLES = ("stone", "block", "course", "_migration_batches", "alembic_version")


@dataclass
class Ground:
    """A database with a table of counters, reached through the manager's engine."""

    name: str
    url: str
    manager: DatabaseManager
    orm: SQLAlchemyIntegration

    async def run(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call ``work(connection, …)`` on a connection without a transaction."""
        async with self.orm.engine.connect() as connection:
            return await connection.run_sync(work, *arguments, **options)

    async def execute(self, *statements: str) -> None:
        async with self.orm.engine.begin() as connection:
            for statement in statements:
                await connection.execute(text(statement))

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        async with self.orm.engine.begin() as connection:
            return [tuple(row) for row in await connection.execute(text(statement))]

    async def counters(self) -> list[tuple[Any, ...]]:
        """Each value of ``n`` and how many stones have it."""
        return await self.rows("SELECT n, count(*) FROM stone GROUP BY n ORDER BY n")

    async def fill(self, *, first: int = 1, rows: int = 500, n: int = 0) -> None:
        async with self.orm.engine.begin() as connection:
            await connection.run_sync(_fill, first, rows, n)


def _fill(connection: Connection, first: int, rows: int, n: int) -> None:
    numbers = [{"id": number, "kind": f"k{number % 7}", "n": n} for number in range(first, first + rows)]
    connection.execute(text("INSERT INTO stone (id, kind, n) VALUES (:id, :kind, :n)"), numbers)


@pytest.fixture(params=ENGINES)
async def ground(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Ground]:
    async for each in grounds(request.param, fleet, tmp_path):
        yield each


@pytest.fixture
async def sqlite_ground(fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Ground]:
    async for each in grounds("sqlite", fleet, tmp_path):
        yield each


@pytest.fixture
async def postgresql_ground(fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Ground]:
    async for each in grounds("postgresql", fleet, tmp_path):
        yield each


async def grounds(name: str, fleet: ServerFleet, folder: Path) -> AsyncIterator[Ground]:
    url = f"sqlite:///{folder}/ground.db" if name == "sqlite" else (await fleet.get(name)).url  # type: ignore[attr-defined]
    async with DatabaseManager.from_url(url) as manager:
        ground = Ground(name, url, manager, SQLAlchemyIntegration(manager))
        drops = [f"DROP TABLE IF EXISTS {table}" for table in TABLES]
        await ground.execute(
            *drops,
            "CREATE TABLE stone (id INTEGER PRIMARY KEY, kind VARCHAR(20) NOT NULL, n INTEGER NOT NULL DEFAULT 0,"
            " label VARCHAR(60))",
        )
        yield ground
        await ground.execute(*drops)
