"""The same under managers of clusters: MariaDB with a promoted replica, Patroni, Galera."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.chaos.cluster import ALL_PATHS, HANGS_SECONDS, POOL, WORKERS, Cluster, name_of

from sillar import DatabaseConfig, DatabaseManager, RoutedPool
from sillar.testing.chaos import Act, Expectations, Report, Run, Scenario, Step
from sillar.testing.servers import GaleraCluster, PatroniCluster

pytestmark = pytest.mark.slow

REQUESTS = 10_000
FAILOVER = Expectations(requests_min=REQUESTS, outage=True)
Show = Callable[[Report], None]


def config_of(url: str) -> DatabaseConfig:
    return DatabaseConfig.from_url(url, overrides={"connection_pools": POOL})


async def run(scenario: Scenario, url: str) -> Report:
    async with DatabaseManager(config_of(url)) as manager:
        async with asyncio.timeout(HANGS_SECONDS):
            return await Run(scenario, manager).run()


async def test_mariadb_primary_killed(mariadb_cluster: Cluster, shown: Show) -> None:
    old = mariadb_cluster.primary
    scenario = Scenario(
        "MariaDB: primary killed",
        (
            Step(2.0, Act("primary killed", old.kill), down=(name_of(old),)),
            Step(2.5, Act("replica promoted", mariadb_cluster.promote_furthest)),
        ),
        duration_seconds=6,
        expected=FAILOVER,
        paths=ALL_PATHS,
        workers=WORKERS,
    )
    shown(await mariadb_cluster.run(scenario))


@pytest.fixture(scope="module")
async def patroni_of_two_tests() -> AsyncIterator[PatroniCluster]:
    async with PatroniCluster(synchronous=True) as cluster:
        yield cluster


@pytest.fixture
async def synchronous_patroni(patroni_of_two_tests: PatroniCluster) -> PatroniCluster:
    """In order, with all its nodes."""
    await patroni_of_two_tests.revive()
    await patroni_of_two_tests.settle()
    return patroni_of_two_tests


async def test_patroni_switchover(synchronous_patroni: PatroniCluster, shown: Show) -> None:
    cluster = synchronous_patroni
    old = await cluster.leader()

    async def switch() -> None:
        await cluster.settle()  # on a busy machine there may be no synchronous replica for a moment
        await cluster.switchover(await cluster.synchronous_replica())

    scenario = Scenario(
        "Patroni: switchover",
        (Step(2.0, Act("switchover", switch), demotes=name_of(old)),),
        duration_seconds=8,
        expected=FAILOVER,
        paths=ALL_PATHS,
        workers=WORKERS,
    )
    shown(await run(scenario, cluster.url))


async def test_patroni_leader_killed(synchronous_patroni: PatroniCluster, shown: Show) -> None:
    cluster = synchronous_patroni
    old = await cluster.leader()

    async def kill() -> None:
        await cluster.kill(old)

    scenario = Scenario(
        "Patroni: leader killed",
        (Step(2.0, Act("leader killed", kill), down=(name_of(old),)),),
        duration_seconds=15,
        expected=FAILOVER,
        paths=ALL_PATHS,
        workers=WORKERS,
    )
    shown(await run(scenario, cluster.url))


@pytest.fixture
async def galera() -> AsyncIterator[GaleraCluster]:
    async with GaleraCluster() as cluster:
        yield cluster


async def test_galera_writer_killed(galera: GaleraCluster, shown: Show) -> None:
    """Any of the others may take the writes at once; those that are acknowledged still have to be applied there."""
    await galera.settle()
    async with DatabaseManager(config_of(galera.url)) as manager:
        pool = manager.pools["default"]
        assert isinstance(pool, RoutedPool)
        writer = pool.topology.primary
        assert writer is not None
        [victim] = [node for node in galera.nodes if name_of(node) == writer.name]

        async def kill() -> None:
            assert pool.topology.primary is writer
            await galera.kill(victim)

        scenario = Scenario(
            "Galera: writer killed",
            (Step(2.0, Act("writer killed", kill), down=(writer.name,)),),
            duration_seconds=8,
            expected=Expectations(requests_min=REQUESTS),
            paths=ALL_PATHS,
            workers=WORKERS,
        )
        async with asyncio.timeout(HANGS_SECONDS):
            report = await Run(scenario, manager).run()
        assert pool.topology.primary not in (None, writer)
    shown(report)
