"""A Galera cluster: everybody could take writes, one does."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from sillar import DatabaseManager
from sillar.engines.mysql.position import GaleraPosition
from sillar.engines.node import NodeRole
from sillar.errors import ConnectionLostError, DeadlockError, NodeUnavailableError
from sillar.testing.servers import GaleraCluster

from .conftest import connected, eventually, manager_of, node_of, pool_of, run
from .test_failover import Load


def served(manager: DatabaseManager) -> Counter[str]:
    return Counter({node.name: node.pool.stats().acquired_total for node in pool_of(manager).topology})


async def test_one_member_is_written_to_and_the_next_takes_over() -> None:
    async with asyncio.timeout(400), GaleraCluster() as cluster:
        await cluster.nodes[0].execute_as_superuser(
            "create table note (id int primary key, text varchar(64))", database="sillar"
        )
        await the_members_say_what_they_are(cluster)
        async with manager_of(*cluster.nodes) as manager, Load(manager) as load:
            topology = pool_of(manager).topology
            writer = topology.primary
            assert writer is not None
            first = next(each for each in cluster.nodes if node_of(manager, each) is writer)
            others = [each for each in cluster.nodes if each is not first]
            names = {node_of(manager, each).name for each in others}
            await eventually(lambda: {node.name for node in topology.readers} == names, "all members answer")
            await eventually(lambda: min(served(manager).values()) > 20, "reads everywhere")
            # The writer is cut off from the others. Its clients still reach it.
            async with connected(first, superuser=True) as inside, connected(first) as client:
                await client.begin()
                await run(client, "insert into note values (-1, 'too late')")
                await run(inside, "set global wsrep_provider_options = 'gmcast.isolate=1'")
                cut = time.monotonic()
                await eventually(lambda: topology.primary not in (None, writer), "another writer")
                assert writer.role is NodeRole.UNKNOWN
                assert writer not in topology.readers
                with pytest.raises(ConnectionLostError, match="outside the primary component") as lost:
                    await client.commit()
                assert lost.value.safe_to_retry
                assert client.is_closed()
                changed = time.monotonic()
                await eventually(lambda: load.written_after(changed), "writes go on")
                print(f"Galera: cut off, written elsewhere after {time.monotonic() - cut:.2f} s")
                before = served(manager)[writer.name]
                await asyncio.sleep(0.5)
                assert served(manager)[writer.name] == before  # nothing goes there, reads neither
                await run(inside, "set global wsrep_provider_options = 'gmcast.isolate=0'")
            await eventually(lambda: writer in topology.readers, "it is back, and reads", 60)
            heir = topology.primary
            assert heir is not None
            assert heir is not writer  # no turning back
            # The new writer is killed.
            dead = next(each for each in others if node_of(manager, each) is heir)
            await dead.kill()
            killed = time.monotonic()
            await eventually(lambda: load.written_after(killed) and topology.primary is not heir, "a third writer", 30)
            print(f"Galera: killed, written elsewhere after {time.monotonic() - killed:.2f} s")
            assert load.stale == 0
            acknowledged = set(load.acknowledged)
        for node in cluster.nodes:
            if node is not dead:
                async with connected(node) as connection:
                    await run(connection, "set session wsrep_sync_wait = 1")  # it may still apply what it has received
                    rows = (await run(connection, "select id from note")).rows
                assert acknowledged - {number for (number,) in rows} == set()
                assert (-1,) not in rows


async def the_members_say_what_they_are(cluster: GaleraCluster) -> None:
    first, second, _ = cluster.nodes
    async with connected(first) as one, connected(second) as other:
        status, same = await one.probe(), await other.probe()
        assert status.role is same.role is NodeRole.PRIMARY
        assert status.several_primaries
        assert status.history == same.history != ""
        assert status.term is None
        assert sorted(await one.members()) == sorted((node.host, node.port) for node in cluster.nodes)
        await run(one, "insert into note values (-2, 'a')")
        written = await one.position()
        assert isinstance(written, GaleraPosition)
        due = time.monotonic() + 10
        while not (await other.position()).covers(written):  # type: ignore[union-attr]
            assert time.monotonic() < due
        # The same row is changed on two members at once: the second one gives way when it commits, or before.
        await one.begin()
        await other.begin()
        await run(one, "update note set text = 'one' where id = -2")
        await run(other, "update note set text = 'other' where id = -2")
        await one.commit()
        with pytest.raises(DeadlockError) as conflict:
            await other.commit()
        assert conflict.value.safe_to_retry
        await other.reset()
        [(text,)] = (await run(one, "select text from note where id = -2")).rows
        assert text == "one"
    # A member that only reads has all writes of the cluster; one that turns its clients away is not used.
    await second.execute_as_superuser("set global read_only = 1")
    async with connected(second) as other, connected(second, superuser=True) as inside:
        status = await other.probe()
        assert (status.role, status.several_primaries) == (NodeRole.REPLICA, False)
        await run(inside, "set global read_only = 0, global wsrep_reject_queries = 'ALL'")
        assert (await other.probe()).role is NodeRole.UNKNOWN
        with pytest.raises((ConnectionLostError, NodeUnavailableError)):
            await run(other, "select * from note")
        await run(inside, "set global wsrep_reject_queries = 'NONE'")
