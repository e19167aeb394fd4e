"""A stand-in for a replica set: two members that listen, over one PostgreSQL with DocumentDB.

No ``mongod`` can be had here. What the driver sends and where it goes is real; what the members do with it is played:
refusing writes, waiting for a time, being held back at a snapshot, changing roles. Nobody votes, nothing is replicated.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from contextvars import Context
from typing import Any, TypeVar

import pytest

from sillar import DatabaseManager, load_config
from sillar.engines.mongodb.source import MongoDBSource
from sillar.testing.servers.mongodb import DocumentDBServer
from sillar.testing.servers.mongodb_gateway.gateway import GatewayOptions
from sillar.testing.servers.mongodb_gateway.replica_set import Seen
from sillar.testing.servers.mongodb_gateway.stand_in_set import StandInReplicaSet

T = TypeVar("T")
OpenManager = Callable[..., Awaitable[DatabaseManager]]
PRIMARY, SECONDARY = 0, 1


def source_of(manager: DatabaseManager, name: str = "default") -> MongoDBSource:
    source = manager.pools[name]
    assert isinstance(source, MongoDBSource)
    return source


async def elsewhere(work: Coroutine[Any, Any, T]) -> T:
    """Do it in a task and a context of its own, which has written nothing: tests share theirs."""
    return await asyncio.create_task(work, context=Context())


async def settled(manager: DatabaseManager, members: int = 2) -> None:
    """Return once the driver knows so many members, one of them the primary."""
    client = source_of(manager).client.raw
    async with asyncio.timeout(10):
        while True:
            servers = client.topology_description.server_descriptions().values()
            if sum(each.is_server_type_known for each in servers) == members and any(
                each.is_writable for each in servers
            ):
                return
            await asyncio.sleep(0.02)


def seen(replica_set: StandInReplicaSet, number: int, collection: str, name: str = "find") -> list[Seen]:
    """The commands of that name on a collection that a member has received."""
    return [
        each
        for each in replica_set.members[number].seen
        if each.name == name and each.namespace == f"sillar.{collection}"
    ]


@pytest.fixture(scope="package")
async def shared_set() -> AsyncIterator[StandInReplicaSet]:
    async with DocumentDBServer() as documents:
        options = GatewayOptions(
            port=0,
            postgresql_port=documents.port,
            postgresql_user=documents.superuser,
            postgresql_password=documents.superuser_password,
            postgresql_connections_max=20,
        )
        async with StandInReplicaSet(options) as replica_set:
            yield replica_set


@pytest.fixture
async def replica_set(shared_set: StandInReplicaSet) -> AsyncIterator[StandInReplicaSet]:
    """The set, whose first member is the primary, and which is put in order afterwards."""
    yield shared_set
    await shared_set.catch_up(SECONDARY)
    if shared_set.state.primary is not shared_set.members[PRIMARY]:
        await shared_set.set_primary(PRIMARY)


@pytest.fixture
async def open_manager(replica_set: StandInReplicaSet) -> AsyncIterator[OpenManager]:
    """Opens managers on the set, and returns once they know both members."""
    async with AsyncExitStack() as stack:

        async def open_one(options: Any = None, topology: Any = None, **more: Any) -> DatabaseManager:
            database = {"url": replica_set.url, "connection_options": options or {}, "topology": topology or {}}
            config = load_config(overrides={"databases": {"default": database}}, environment={})
            manager = await stack.enter_async_context(DatabaseManager(config, **more))
            await settled(manager)
            return manager

        yield open_one


@pytest.fixture
async def manager(open_manager: OpenManager) -> DatabaseManager:
    return await open_manager()


@pytest.fixture
def name() -> str:
    """Of a collection of this test's alone."""
    return f"notes_{uuid.uuid4().hex[:10]}"
