"""A manager over a primary and two replicas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.replicated import Replicated

from sillar import DatabaseManager, Node, RoutedPool
from sillar.testing.servers import PostgreSQLServer


@pytest.fixture
async def manager(replicated: Replicated) -> AsyncIterator[DatabaseManager]:
    async with DatabaseManager.from_url(replicated.url) as manager:
        yield manager


def pool_of(manager: DatabaseManager) -> RoutedPool:
    pool = manager.pools["default"]
    assert isinstance(pool, RoutedPool)
    return pool


def node_of(manager: DatabaseManager, server: PostgreSQLServer) -> Node:
    [node] = [node for node in pool_of(manager).topology if node.name == f"{server.host}:{server.port}"]
    return node


@asynccontextmanager
async def paused(*replicas: PostgreSQLServer) -> AsyncIterator[None]:
    """They show nothing new; afterwards they do again, whatever happened: others share them."""
    try:
        for replica in replicas:
            await replica.pause_replay()
        yield
    finally:
        for replica in replicas:
            await replica.resume_replay()


async def known_to_have_all(manager: DatabaseManager, replicated: Replicated) -> None:
    """Wait until the replicas have everything, and the manager knows it."""
    await replicated.caught_up()
    poll = pool_of(manager).topology.position
    assert poll is not None
    async with asyncio.timeout(30):
        wanted = await poll.wait_for(poll.note_write())
        for replica in replicated.replicas:
            node = node_of(manager, replica)
            while node.position is None or not node.position.covers(wanted):
                node.poll.request()
                await asyncio.sleep(0.02)
