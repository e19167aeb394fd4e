"""A manager with Beanie open on the MongoDB that the tests share (the stand-in where no real one is installed)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from tests.integrations.beanie.quarry import COLLECTIONS, Contract, Heavy, Quarry, Stone

from sillar import DatabaseConfig, DatabaseManager
from sillar.execution import Execution
from sillar.integrations.beanie import BeanieIntegration
from sillar.testing.servers import MongoDBServer


class Notes:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.executed_verbs: list[tuple[str, str | None]] = []
        self.outcomes: list[str] = []

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        self.executed_verbs.append((execution.statement.verb, None if error is None else type(error).__name__))

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
async def outside(mongodb: MongoDBServer) -> AsyncIterator[Any]:
    """The database as somebody else's client sees it; without the collections of these tests before and after."""
    async with AsyncMongoClient[dict[str, Any]](mongodb.url, tz_aware=True) as client:
        database = client.get_default_database()
        await _drop(database)
        yield database
        await _drop(database)


async def _drop(database: Any) -> None:
    for name in COLLECTIONS.intersection(await database.list_collection_names()):
        await database.drop_collection(name)


@pytest.fixture
async def manager(mongodb: MongoDBServer, outside: Any, notes: Notes) -> AsyncIterator[DatabaseManager]:
    overrides = {"connection_pools": {"max_connections": 4, "waiting_max": 1000}}
    config = DatabaseConfig.from_url(mongodb.url, overrides=overrides)
    async with DatabaseManager(config, observers=[notes]) as opened:
        yield opened


@pytest.fixture
async def beanie(manager: DatabaseManager) -> BeanieIntegration:
    integration = BeanieIntegration(manager)
    await integration.open(Stone, Quarry, Contract, Heavy)
    return integration
