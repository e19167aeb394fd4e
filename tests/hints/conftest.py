from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.hints.shop import open_shop

from sillar import DatabaseManager, DatabaseSession
from sillar.testing.servers import ServerFleet

SQL_ENGINES = ["sqlite", "postgresql", "mariadb", "mysql"]


class Shops:
    """The shop on each engine, opened when the first test asks for it."""

    def __init__(self, fleet: ServerFleet, folder: str) -> None:
        self._fleet, self._folder = fleet, folder
        self._managers: dict[str, DatabaseManager] = {}

    async def get(self, engine: str) -> DatabaseManager:
        manager = self._managers.get(engine)
        if manager is None:
            url = f"sqlite:///{self._folder}/shop.db" if engine == "sqlite" else (await self._fleet.get(engine)).url
            manager = DatabaseManager.from_url(url, overrides={"connection_pools": {"max_connections": 3}})
            await manager.initialize()
            self._managers[engine] = manager
            await open_shop(manager.session(), engine)
        return manager

    async def close(self) -> None:
        for manager in self._managers.values():
            await manager.shutdown()


@pytest.fixture(scope="session")
async def shops(fleet: ServerFleet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shops]:
    opened = Shops(fleet, str(tmp_path_factory.mktemp("shops")))
    yield opened
    await opened.close()


@pytest.fixture
async def shop(request: pytest.FixtureRequest, shops: Shops) -> AsyncIterator[DatabaseSession]:
    """A session on the shop of the engine named by an indirect parameter, current in its context."""
    manager = await shops.get(request.param)
    async with manager.session() as session:
        yield session
