"""What one member of a Galera cluster has committed the others apply later: no read may see that."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from sillar import CausalTokens, Consistency, DatabaseManager, deadline
from sillar.errors import NoPrimaryError
from sillar.testing.servers import GaleraCluster, GaleraNode

from .conftest import Nobody, connected, eventually, manager_of, node_of, pool_of, run

KEY = "a key that is long enough for this"
STAYS_SECONDS = 0.5
"""What nothing may happen in: a read that does not wait takes a fiftieth of it."""


@pytest.fixture(scope="module")
async def cluster() -> AsyncIterator[GaleraCluster]:
    """The last test leaves one of its members dead."""
    async with GaleraCluster() as cluster:
        await cluster.nodes[0].execute_as_superuser(
            "create table note (id int primary key, text varchar(64))", database="sillar"
        )
        yield cluster


@asynccontextmanager
async def behind(*nodes: GaleraNode) -> AsyncIterator[AsyncExitStack]:
    """Members that receive what the others commit, and do not apply it until the stack is closed."""
    async with AsyncExitStack() as locks:
        for node in nodes:
            lock = await locks.enter_async_context(connected(node, superuser=True))
            await run(lock, "flush tables with read lock")
            locks.push_async_callback(run, lock, "unlock tables")
        yield locks


async def write(manager: DatabaseManager, number: int) -> None:
    async with manager.session() as session:
        await session.execute("insert into note values (%s, 'own')", [number], timeout_seconds=10)


async def count(manager: DatabaseManager, number: int, consistency: Consistency | None = None) -> int:
    async with manager.session(consistency=consistency) as session:
        return int(await session.fetch_value("select count(*) from note where id = %s", [number], timeout_seconds=60))


async def count_in_transaction(manager: DatabaseManager, number: int) -> int:
    async with manager.session() as session, session.transaction():
        return int(await session.fetch_value("select count(*) from note where id = %s", [number], timeout_seconds=60))


def by_another(work: Coroutine[Any, Any, int]) -> asyncio.Task[int]:
    """In a line of work that has written nothing."""
    return asyncio.create_task(work, context=contextvars.Context())


async def caught_up(number: int, *nodes: GaleraNode) -> None:
    """They have the row."""
    for node in nodes:
        async with connected(node) as connection:
            await run(connection, "set session wsrep_sync_wait = 1")
            assert (await run(connection, f"select count(*) from note where id = {number}")).rows == ((1,),)


async def test_what_was_written_elsewhere_is_waited_for_on_the_member_that_takes_the_writes(
    cluster: GaleraCluster,
) -> None:
    """Two services with a token between them. The second one does not know the member that the first one writes to."""
    first, second, third = cluster.nodes
    async with manager_of(first, Nobody()) as orders, manager_of(second, third) as bills:
        tokens = CausalTokens(bills, KEY)
        async with behind(second, third) as locks:
            await write(orders, 1)
            assert await count(orders, 1) == 1  # on the member that was written to
            token = await CausalTokens(orders, KEY).issue()
            assert token is not None

            async def with_token(work: Any) -> int:
                tokens.accept(token)
                return int(await work(bills, 1))

            reads = [by_another(with_token(work)) for work in (count, count_in_transaction)]
            await asyncio.wait(reads, timeout=STAYS_SECONDS)
            assert not any(read.done() for read in reads)
            assert await by_another(count(bills, 1, Consistency.EVENTUAL)) == 0  # who wants less need not wait
            await locks.aclose()
            assert await asyncio.gather(*reads) == [1, 1]

        async def after_an_own_write() -> int:
            await write(bills, 2)
            tokens.accept(token)  # while nobody has asked yet how far the own write went
            return await count(bills, 1) + await count(bills, 2)

        assert await by_another(after_an_own_write()) == 2
    await caught_up(1, *cluster.nodes)


async def test_the_member_that_takes_over_first_catches_up(cluster: GaleraCluster) -> None:
    """What the dead one acknowledged is seen, although nobody could ask the dead one for its position."""
    async with manager_of(*cluster.nodes) as manager:
        topology = pool_of(manager).topology
        writer = topology.primary
        first = next(node for node in cluster.nodes if node_of(manager, node) is writer)
        others = [node for node in cluster.nodes if node is not first]
        await write(manager, 10)
        await eventually(lambda: all(node.position is not None for node in topology), "positions")
        async with behind(*others) as locks:
            await asyncio.create_task(write(manager, 11))  # the position is asked for
            await write(manager, 12)
            await first.kill()
            await eventually(lambda: topology.primary not in (None, writer), "another writer")
            reads = [
                asyncio.create_task(count(manager, 12)),
                asyncio.create_task(count_in_transaction(manager, 12)),
                by_another(count(manager, 12, Consistency.STRONG)),
                by_another(count_in_transaction(manager, 12)),
            ]
            await asyncio.wait(reads, timeout=STAYS_SECONDS)
            assert not any(read.done() for read in reads)
            with pytest.raises(NoPrimaryError, match="has not caught up yet"), deadline(0.3):
                await write(manager, 13)
            await locks.aclose()
            assert await asyncio.gather(*reads) == [1, 1, 1, 1]
        await write(manager, 14)
        assert await count(manager, 14) == 1
    await caught_up(14, *others)
