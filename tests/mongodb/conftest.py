"""The MongoDB that the tests share: a real one where the machine has it, else the stand-in (see the table of servers).

Against the stand-in this is verified: the driver, Sillar's engine, and the behaviour that DocumentDB shares with
MongoDB. Only a real deployment shows elections among several members, replication to secondaries, sharding, DNS seed
lists, and what a validator says in ``errInfo``.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from tests.mongodb.deployment import Observer, OpenManager

from sillar import DatabaseManager, DatabaseSession, load_config
from sillar.execution.documents import DocumentCollection
from sillar.testing.servers import MongoDBServer


@pytest.fixture
async def observer(mongodb: MongoDBServer) -> AsyncIterator[Observer]:
    """A client that looks at the server from outside."""
    async with AsyncMongoClient[dict[str, Any]](mongodb.url) as client:
        yield client


@pytest.fixture
async def open_manager(mongodb: MongoDBServer) -> AsyncIterator[OpenManager]:
    """Opens managers on the shared server; ``pool=`` and ``options=`` are merged into the configuration."""
    async with AsyncExitStack() as stack:

        async def open_one(
            *, url: str | None = None, pool: Any = None, options: Any = None, database: Any = None, **more: Any
        ) -> DatabaseManager:
            settings = {
                "connection_pools": pool or {},
                "databases": {
                    "default": {"url": url or mongodb.url, "connection_options": options or {}, **(database or {})}
                },
            }
            config = load_config(overrides=settings, environment={})
            return await stack.enter_async_context(DatabaseManager(config, **more))

        yield open_one


@pytest.fixture
async def manager(open_manager: OpenManager) -> DatabaseManager:
    return await open_manager()


@pytest.fixture
async def session(manager: DatabaseManager) -> DatabaseSession:
    return manager.session()


@pytest.fixture
async def stones(session: DatabaseSession) -> AsyncIterator[DocumentCollection]:
    """A collection of this test's alone."""
    collection = session.documents(f"stones_{uuid.uuid4().hex[:10]}")
    yield collection
    await collection.drop()
