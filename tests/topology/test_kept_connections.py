"""Connections that somebody keeps for long, and what others are told while none is left."""

from __future__ import annotations

import asyncio

import pytest
from tests.replicated import Replicated
from tests.topology.conftest import known_to_have_all, node_of, pool_of

from sillar import Consistency, DatabaseManager, consistency_context
from sillar.config import DatabaseConfig
from sillar.consistency import current_line
from sillar.errors import NodeUnavailableError, PoolExhaustedError, PoolTimeoutError, ReadOnlyError


async def test_a_kept_connection_serves_no_longer_once_its_node_is_doubted(
    manager: DatabaseManager, replicated: Replicated
) -> None:
    pool, node = pool_of(manager), node_of(manager, replicated.primary)
    need = current_line().need(is_read=True)
    async with pool.lease() as lease:
        assert pool.still_serves(lease.connection, need)
        lease.connection.report(ReadOnlyError("cannot execute INSERT in a read-only transaction", code="25006"))
        assert node.is_doubted
        assert not pool.still_serves(lease.connection, need)


async def test_a_kept_connection_to_a_replica_serves_what_its_level_allows(
    manager: DatabaseManager, replicated: Replicated
) -> None:
    pool, node = pool_of(manager), node_of(manager, replicated.replicas[0])
    await known_to_have_all(manager, replicated)  # else nobody knows how far behind it is
    kept = await node.pool.acquire_connection()
    for level, serves in ((Consistency.EVENTUAL, True), (Consistency.bounded(60.0), True), (Consistency.STRONG, False)):
        with consistency_context(level):
            assert pool.still_serves(kept, current_line().need(is_read=True)) is serves
    pool.topology.refused(node.watch, NodeUnavailableError("as when its server ends in good order"))
    with consistency_context(Consistency.EVENTUAL):
        assert not pool.still_serves(kept, current_line().need(is_read=True))
    node.pool.release_connection(kept)


@pytest.mark.parametrize(
    ("limits", "expected"), [({"connection_timeout": 1.0}, PoolTimeoutError), ({"waiting_max": 0}, PoolExhaustedError)]
)
async def test_callers_of_full_nodes_are_told_when_to_come_back(
    replicated: Replicated, limits: dict[str, float], expected: type[PoolTimeoutError | PoolExhaustedError]
) -> None:
    overrides = {"connection_pools": {"max_connections": 1, "min_connections": 0, **limits}}
    config = DatabaseConfig.from_url(replicated.url, overrides=overrides)
    async with DatabaseManager(config) as manager:
        held = [node.pool.try_acquire() or await node.pool.acquire_connection() for node in pool_of(manager).topology]
        with pytest.raises(expected) as caught:
            await asyncio.create_task(manager.session().fetch_value("select count(*) from note"))
        assert caught.value.retry_after_seconds == 1.0
        for connection in held:
            connection.pool.release_connection(connection)
