"""A Galera cluster, started for real: every node takes writes, and a dead one is missed by nobody for long."""

from __future__ import annotations

import asyncio
import time

import aiomysql
import psutil
import pytest

from sillar.testing.servers import GaleraCluster, GaleraNode

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


async def run(node: GaleraNode, statement: str) -> list[int]:
    login = {"user": node.user, "password": node.password, "db": node.database}
    connection = await aiomysql.connect(host=node.host, port=node.port, autocommit=True, **login)
    try:
        async with connection.cursor() as cursor:
            await cursor.execute("set session wsrep_sync_wait=1")  # reads wait for what the others have committed
            await cursor.execute(statement)
            return [row[0] for row in await cursor.fetchall()]
    finally:
        connection.close()


READ = "select id from stone order by id"


async def test_kill_freeze_restart_and_all_down(galera: GaleraCluster) -> None:
    """One long story, because such a cluster takes seconds to make."""
    first, second, third = galera.nodes
    assert galera.url.startswith("mariadb://sillar:")
    assert galera.url.count(",") == 2
    await run(first, "create table stone (id int primary key)")
    await run(second, "insert into stone values (1)")
    assert await run(third, READ) == [1]

    started = time.monotonic()
    await galera.kill(first)
    await run(second, "insert into stone values (2)")
    took = time.monotonic() - started
    assert took < 30, f"writable {took:.1f} s after a node was killed"
    await galera.settle()
    await galera.restart(first)
    assert await run(first, READ) == [1, 2]

    await galera.freeze(third)
    await run(second, "insert into stone values (3)")
    await galera.thaw(third)
    await galera.settle()
    assert await run(third, READ) == [1, 2, 3]

    await asyncio.gather(*(galera.kill(node) for node in galera.nodes))
    await galera.revive()
    assert await run(second, READ) == [1, 2, 3]
    pids, folders = [node.pid for node in galera.nodes], [node.log.parent for node in galera.nodes if node.log]
    await galera.close()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not any(folder.exists() for folder in folders)
    assert not galera.is_running
