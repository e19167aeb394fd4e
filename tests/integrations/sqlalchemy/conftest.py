from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.integrations.sqlalchemy.shelves.authors import Author

from sillar import DatabaseManager
from sillar.context import current_correlation_id
from sillar.execution import Execution
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.testing.servers import ServerFleet

ENGINES = ("sqlite", "postgresql", "mariadb", "mysql")
SERVERS = ENGINES[1:]
SHELVES = "tests.integrations.sqlalchemy.shelves"


@dataclass
class Watcher:
    """An observer that keeps what it was told."""

    seen: list[tuple[Execution, BaseException | None]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    correlation_ids: list[str | None] = field(default_factory=list)

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        self.seen.append((execution, error))
        self.correlation_ids.append(current_correlation_id())

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        self.ended.append(outcome)

    @property
    def fingerprints(self) -> list[str]:
        return [execution.fingerprint for execution, _ in self.seen]

    def clear(self) -> None:
        self.seen.clear()
        self.ended.clear()
        self.correlation_ids.clear()


@dataclass
class Shelves:
    """A manager on one engine, with SQLAlchemy on it and empty tables."""

    engine: str
    manager: DatabaseManager
    orm: SQLAlchemyIntegration
    watcher: Watcher

    @property
    def source(self) -> Any:
        return self.manager.pools["default"]

    async def names(self) -> list[str]:
        """The authors that are committed, seen without SQLAlchemy."""
        rows = await self.manager.session().fetch_all("SELECT name FROM sa_author ORDER BY name")
        return [row["name"] for row in rows]

    async def add(self, *names: str) -> None:
        async with await self.orm.create_session() as session:
            session.add_all(Author(name=name) for name in names)
            await session.commit()


async def url_of(engine: str, fleet: ServerFleet, folder: Path) -> str:
    return f"sqlite:///{folder}/shelves.db" if engine == "sqlite" else (await fleet.get(engine)).url


def opened(url: str, watcher: Watcher | None = None, **pool: Any) -> DatabaseManager:
    config = DatabaseManager.from_url(
        url, overrides={"connection_pools": {"min_connections": 0, "max_connections": 4, "waiting_max": 10_000, **pool}}
    ).config
    return DatabaseManager(config, observers=[] if watcher is None else [watcher])


async def fresh(manager: DatabaseManager, **options: Any) -> SQLAlchemyIntegration:
    """SQLAlchemy on a manager, with empty tables."""
    orm = SQLAlchemyIntegration(manager, **options)
    orm.register_models(SHELVES)
    await orm.drop_tables()
    await orm.create_tables()
    return orm


@pytest.fixture(params=ENGINES)
async def shelves(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Shelves]:
    """On every engine."""
    watcher = Watcher()
    async with opened(await url_of(request.param, fleet, tmp_path), watcher) as manager:
        orm = await fresh(manager)
        watcher.clear()
        yield Shelves(request.param, manager, orm, watcher)
        assert manager.pools["default"].stats().leased == 0
