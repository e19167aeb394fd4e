"""Killed, frozen, demoted, cut off: PostgreSQL with two synchronous replicas, under continuous reads and writes."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from functools import partial

import pytest
from tests.chaos.cluster import ALL_PATHS, WORKERS, Cluster, name_of

from sillar.testing.chaos import Act, BlackHole, Expectations, Report, Scenario, Step
from sillar.testing.servers import PgBouncerServer

pytestmark = pytest.mark.slow

REQUESTS = 10_000
FAILOVER = Expectations(requests_min=REQUESTS, outage=True)
NO_OUTAGE = Expectations(requests_min=REQUESTS, outage=False)
Show = Callable[[Report], None]


async def test_primary_killed(cluster: Cluster, shown: Show) -> None:
    old = cluster.primary
    scenario = Scenario(
        "primary killed",
        (
            Step(2.0, Act("primary killed", old.kill), down=(name_of(old),)),
            Step(2.5, Act("replica promoted", cluster.promote_furthest)),
            Step(3.0, Act("the other follows", cluster.let_others_follow)),
        ),
        duration_seconds=6,
        expected=FAILOVER,
        paths=ALL_PATHS,
        workers=WORKERS,
    )
    shown(await cluster.run(scenario))


async def test_primary_frozen_and_thawed_later(cluster: Cluster, shown: Show) -> None:
    """Once thawed, the old one takes writes from everybody, and has none."""
    old = cluster.primary

    async def thaw() -> None:
        await old.thaw()
        await old.set_synchronous()  # nobody follows it: with this it takes writes all the same

    scenario = Scenario(
        "primary frozen",
        (
            Step(2.0, Act("primary frozen", old.freeze, thaw), heal_at_seconds=7.0, down=(name_of(old),)),
            Step(2.5, Act("replica promoted", cluster.promote_furthest), demotes=name_of(old)),
            Step(3.0, Act("the other follows", cluster.let_others_follow)),
        ),
        duration_seconds=9,
        expected=FAILOVER,
        paths=ALL_PATHS,
        workers=WORKERS,
    )
    shown(await cluster.run(scenario))


async def test_primary_demoted_with_its_sockets_left_open(cluster: Cluster, shown: Show) -> None:
    """It comes back as a second node that takes writes, of an older timeline."""
    old = cluster.primary

    async def take_writes() -> None:
        await old.set_synchronous()
        await old.set_writable()

    scenario = Scenario(
        "demoted, sockets open",
        (
            Step(2.0, Act("read-only", old.set_read_only, take_writes), heal_at_seconds=5.0, demotes=name_of(old)),
            Step(2.5, Act("replica promoted", cluster.promote_furthest)),
            Step(3.0, Act("the other follows", cluster.let_others_follow)),
        ),
        duration_seconds=7,
        expected=FAILOVER,
        paths=ALL_PATHS,
        workers=WORKERS,
    )
    shown(await cluster.run(scenario))


async def test_primary_partitioned_and_still_writable(cluster: Cluster, shown: Show) -> None:
    """The other replica goes on following the old primary, so that commits succeed behind the partition."""
    old = cluster.primary
    promote = partial(cluster.promote_furthest, others_stay=True)
    async with cluster.proxied() as proxies:
        cut_off = proxies[cluster.servers.index(old)]
        scenario = Scenario(
            "partitioned",
            (
                Step(2.0, BlackHole(cut_off), heal_at_seconds=7.0, down=(name_of(old),)),
                Step(2.5, Act("replica promoted", promote), demotes=name_of(old)),
            ),
            duration_seconds=9,
            expected=FAILOVER,
            paths=ALL_PATHS,
            workers=WORKERS,
        )
        shown(await cluster.run(scenario, proxies))


async def test_replica_killed(cluster: Cluster, shown: Show) -> None:
    replica = cluster.replicas[0]
    scenario = Scenario(
        "replica killed",
        (Step(1.5, Act("replica killed", replica.kill, replica.start), heal_at_seconds=4.0, down=(name_of(replica),)),),
        duration_seconds=6,
        expected=NO_OUTAGE,
        paths=ALL_PATHS,
        workers=WORKERS,
    )
    shown(await cluster.run(scenario))


async def test_replay_of_a_replica_paused(cluster: Cluster, shown: Show) -> None:
    replica = cluster.replicas[0]
    scenario = Scenario(
        "replay paused 10 s",
        (Step(0.5, Act("replay paused", replica.pause_replay, replica.resume_replay), heal_at_seconds=10.5),),
        duration_seconds=11.5,
        expected=NO_OUTAGE,
        paths=ALL_PATHS,
        workers=WORKERS,
    )
    shown(await cluster.run(scenario))


async def test_all_nodes_down_then_up(cluster: Cluster, shown: Show) -> None:
    """Clients come back a few at a time, and at no common moment."""
    servers = cluster.servers

    async def kill() -> None:
        await asyncio.gather(*(server.kill() for server in servers))

    async def start() -> None:
        await asyncio.gather(*(server.start() for server in servers))

    async with cluster.proxied() as proxies:
        scenario = Scenario(
            "all down, then up",
            (Step(2.0, Act("all killed", kill, start), heal_at_seconds=5.0, down=tuple(map(name_of, servers))),),
            duration_seconds=9,
            expected=FAILOVER,
            paths=ALL_PATHS,
            workers=WORKERS,
        )
        report = await cluster.run(scenario, proxies)
        shown(report)
        for proxy in proxies:
            pauses = [later - earlier for earlier, later in zip(proxy.begun_at, proxy.begun_at[1:], strict=False)]
            assert statistics.stdev(pauses) > 0.1 * statistics.mean(pauses), pauses


async def test_rolling_restart(cluster: Cluster, shown: Show) -> None:
    order = [*cluster.replicas, cluster.primary]
    async with cluster.proxied() as proxies:
        scenario = Scenario(
            "rolling restart",
            tuple(
                Step(at, Act("restart", server.stop, server.start), heal_at_seconds=at + 0.4, down=(name_of(server),))
                for at, server in zip((1.0, 3.0, 5.0), order, strict=True)
            ),
            duration_seconds=8,
            expected=FAILOVER,
            paths=ALL_PATHS,
            workers=WORKERS,
        )
        shown(await cluster.run(scenario, proxies))


async def test_pooler_restarted(cluster: Cluster, shown: Show) -> None:
    async with PgBouncerServer(cluster.primary) as pooler:
        scenario = Scenario(
            "pooler restarted",
            (Step(2.0, Act("restart", pooler.stop, pooler.start), heal_at_seconds=2.5, down=(name_of(pooler),)),),
            duration_seconds=5,
            expected=FAILOVER,
            paths=ALL_PATHS,
            workers=WORKERS,
        )
        shown(await Cluster(pooler, []).run(scenario))
