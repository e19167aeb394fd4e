from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sillar import DatabaseManager
from sillar.integrations.tortoise import TortoiseIntegration
from sillar.testing.servers import ServerFleet

ENGINES = ("sqlite", "postgresql", "mariadb", "mysql")
MODELS = {"models": ["tests.integrations.tortoise.library"]}
TABLES = ("tt_book_tag", "tt_book", "tt_tag", "tt_seat", "tt_author", "tt_every")
POOL = {"min_connections": 0, "max_connections": 3, "waiting_max": 10_000, "connection_timeout": 60}


@dataclass(frozen=True, slots=True)
class Library:
    """A manager on one engine, with Tortoise open on it and empty tables."""

    engine: str
    manager: DatabaseManager
    orm: TortoiseIntegration

    @property
    def leased(self) -> int:
        return self.manager.pools["default"].stats().leased

    async def titles(self) -> list[str]:
        """The authors that are committed, seen from outside of Tortoise."""
        rows = await self.manager.session().fetch_all("SELECT name FROM tt_author ORDER BY id")
        return [row["name"] for row in rows]


async def url_of(engine: str, fleet: ServerFleet, folder: Path) -> str:
    return f"sqlite:///{folder}/library.db" if engine == "sqlite" else (await fleet.get(engine)).url


def opened(url: str, **settings: Any) -> DatabaseManager:
    """A manager with a small pool."""
    return DatabaseManager.from_url(url, overrides={"connection_pools": POOL}, **settings)


async def fresh(manager: DatabaseManager) -> TortoiseIntegration:
    """Tortoise on a manager, with empty tables."""
    for table in TABLES:
        await manager.session().execute(f"DROP TABLE IF EXISTS {table}")
    orm = TortoiseIntegration(manager)
    await orm.open(MODELS)
    await orm.generate_schemas()
    return orm


@pytest.fixture(params=ENGINES)
async def library(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Library]:
    """On every engine."""
    async with opened(await url_of(request.param, fleet, tmp_path)) as manager:
        yield Library(request.param, manager, await fresh(manager))


@pytest.fixture
async def postgresql_library(fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Library]:
    async with opened(await url_of("postgresql", fleet, tmp_path)) as manager:
        yield Library("postgresql", manager, await fresh(manager))
