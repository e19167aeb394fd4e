"""A Patroni cluster, started for real: failover, rejoining, switchover, split brain."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import psutil
import pytest

from sillar.errors import UsageError
from sillar.testing.servers import PatroniCluster, PatroniNode, ServerCommandError

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


async def write(node: PatroniNode, number: int) -> None:
    connection = await asyncpg.connect(node.url)
    try:
        await connection.execute("insert into stone values ($1)", number)
    finally:
        await connection.close()


async def numbers(node: PatroniNode) -> list[int]:
    connection = await asyncpg.connect(node.url)
    try:
        return [row["id"] for row in await connection.fetch("select id from stone order by id")]
    finally:
        await connection.close()


async def test_failover_rejoin_switchover_and_split_brain(patroni: PatroniCluster) -> None:
    """One long story, because such a cluster takes seconds to make."""
    assert len({(node.port, node.rest_port) for node in patroni.nodes}) == 3
    assert patroni.url.count(",") == 2
    with pytest.raises(UsageError, match="started before"):
        await patroni.start()
    first = await patroni.leader()
    assert (await first.ask("/primary", timeout_seconds=10))[0] == 200
    await patroni.settle()  # until its replicas have the database, too
    connection = await asyncpg.connect(patroni.url, target_session_attrs="primary")
    assert await connection.fetchval("show port") == str(first.port)
    await connection.execute("create table stone (id int primary key)")
    await connection.close()
    await write(first, 1)
    await patroni.settle()

    started = time.monotonic()
    await patroni.kill(first)
    second = await patroni.leader(other_than=first)
    await write(second, 2)
    took = time.monotonic() - started
    assert took < 40, f"writable {took:.1f} s after the leader was killed"
    await patroni.restart(first)
    await patroni.settle()
    assert await numbers(first) == [1, 2]
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await write(first, 3)

    await patroni.switchover(first)
    assert await patroni.leader() is first
    await patroni.switchover(first)
    await write(first, 3)
    await patroni.settle()

    # Its agent hangs, its PostgreSQL does not: two nodes take writes.
    await first.freeze_agent()
    third = await patroni.leader(other_than=first)
    await write(third, 4)
    await write(first, 5)
    await patroni.thaw(first)
    await patroni.settle()
    kept = await numbers(first)
    assert kept == await numbers(third)
    assert kept in ([1, 2, 3, 4], [1, 2, 3, 5])  # one of the two histories is gone: mostly that of the hung agent

    # What a test leaves dead is there again for the next one.
    await asyncio.gather(*(patroni.kill(node) for node in patroni.nodes))
    assert not patroni.is_running
    await patroni.revive()
    leader = await patroni.leader()
    assert await numbers(leader) == kept

    # A node that Patroni leaves behind is copied anew.
    [stuck, _] = [node for node in patroni.nodes if node is not leader]
    began = await stuck.execute_as_superuser("select pg_postmaster_start_time()")
    await patroni._remake({stuck.name})

    async def is_another() -> bool:
        try:
            return await stuck.execute_as_superuser("select pg_postmaster_start_time()") > began
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # it is away, or on its way
            return False

    async with asyncio.timeout(120):
        while not await is_another():
            await asyncio.sleep(0.05)
    await patroni.settle()


async def test_synchronous_mode_names_the_only_candidate() -> None:
    async with PatroniCluster(synchronous=True, settings={"max_connections": "44"}) as cluster:
        leader, candidate = await cluster.leader(), await cluster.synchronous_replica()
        assert await leader.execute_as_superuser("show max_connections") == [("44",)]
        [other] = [node for node in cluster.nodes if node not in (leader, candidate)]
        with pytest.raises(ServerCommandError, match="sync_standby"):
            await cluster.switchover(other)
        await cluster.freeze(leader)
        assert await cluster.leader(other_than=leader) is candidate
        processes = [psutil.Process(node.pid) for node in cluster.nodes]
        processes += [child for process in processes for child in process.children(recursive=True)]
        folders = [node.log.parent for node in cluster.nodes if node.log is not None]
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive
    assert not any(folder.exists() for folder in folders)
