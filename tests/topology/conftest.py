"""A manager over a primary and two replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator

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
