"""Redis servers under sentinels, started for real."""

from __future__ import annotations

import asyncio

import psutil
import pytest

from sillar.testing.servers import RedisSentinelCluster, ServerCommandError, ServerStartError

pytestmark = pytest.mark.asyncio


async def test_sentinels_promote_a_replica(redis_sentinel: RedisSentinelCluster) -> None:
    cluster = redis_sentinel
    assert len({server.port for server in (*cluster.nodes, *cluster.sentinels)}) == 6
    assert cluster.url.startswith(f"redis+sentinel://127.0.0.1:{cluster.sentinels[0].port},")
    first = await cluster.primary()
    assert sorted([await node.role() for node in cluster.nodes]) == ["master", "slave", "slave"]
    assert await first.execute("SET", "stone", "grey") == "OK"
    assert await first.execute("WAIT", "2", "5000") == 2
    await cluster.kill(first)
    second = await cluster.primary(other_than=first)
    assert await second.execute("GET", "stone") == "grey"
    assert await second.execute("GET", "pebble") is None
    await second.execute("SET", "pebble", "white")
    await cluster.restart(first)
    await cluster.settle()
    assert await first.role() == "slave"
    assert await first.execute("GET", "pebble") == "white"
    with pytest.raises(ServerCommandError, match="READONLY"):
        await first.execute("SET", "stone", "red")

    # On a busy machine the sentinels may promote another one meanwhile; a single sentinel has no majority for it.
    await asyncio.gather(*(sentinel.kill() for sentinel in cluster.sentinels[1:]))
    last = await cluster.primary()
    with pytest.raises(ServerStartError, match="no primary for"):
        await cluster.primary(other_than=last, timeout_seconds=0.2)
    await asyncio.gather(*(server.kill() for server in (*cluster.nodes, cluster.sentinels[0])))
    await cluster.revive()
    assert cluster.is_running
    await cluster.close()
    await cluster.revive()
    assert await (await cluster.primary()).execute("GET", "stone") is None


async def test_nothing_is_left() -> None:
    async with RedisSentinelCluster(settings={"maxmemory": "50mb"}) as cluster:
        assert await cluster.nodes[1].execute("CONFIG", "GET", "maxmemory") == ["maxmemory", str(50 << 20)]
        pids = [server.pid for server in (*cluster.nodes, *cluster.sentinels)]
    assert not any(psutil.pid_exists(pid) for pid in pids)
