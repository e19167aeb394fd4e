"""Which node serves what, while all is well."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.replicated import Replicated
from tests.topology.conftest import known_to_have_all, node_of, paused, pool_of

from sillar import Consistency, DatabaseManager, causal_context, consistency_context, primary_context, replica_context
from sillar.config import DatabaseConfig, PostgreSQLConfig, TopologyConfig
from sillar.engines.node import NodeRole
from sillar.errors import ReadOnlyError, UsageError

WHERE = "select current_setting('port')::int"


async def served(
    manager: DatabaseManager, statement: str = "select count(*) from note", count: int = 12, **options: object
) -> Counter[str]:
    """Which nodes served how many of the statements."""
    before = Counter({node.name: node.pool.stats().acquired_total for node in pool_of(manager).topology})
    async with manager.session(**options) as session:  # type: ignore[arg-type]
        for _ in range(count):
            await session.execute(statement)
    after = Counter({node.name: node.pool.stats().acquired_total for node in pool_of(manager).topology})
    return after - before


async def test_roles_are_learned_from_the_servers(manager: DatabaseManager, replicated: Replicated) -> None:
    topology = pool_of(manager).topology
    assert topology.primary is node_of(manager, replicated.primary)
    assert {node.role for node in topology.readers} == {NodeRole.REPLICA}
    assert sorted(node.name for node in topology.readers) == sorted(replicated.names[1:])
    assert manager.pools["default"].stats().detail == {"nodes": 3, "nodes_up": 3, "readers": 2, "has_primary": 1.0}


async def test_reads_go_to_both_replicas_in_turn(manager: DatabaseManager, replicated: Replicated) -> None:
    assert await served(manager) == dict.fromkeys(replicated.names[1:], 6)


@pytest.mark.parametrize(
    "statement",
    [
        "select * from note for update",
        "select nextval('pg_catalog.pg_class_oid_index'::regclass)",
        "with gone as (delete from note where id = -1 returning id) select count(*) from gone",
        "select pg_notify('a', 'b')",
        "show search_path; select 1",
        "insert into note values (-5, 'x') on conflict do nothing",
    ],
)
async def test_what_is_not_certainly_a_read_goes_to_the_primary(
    manager: DatabaseManager, replicated: Replicated, statement: str
) -> None:
    try:
        where = await served(manager, statement, count=2)
    except Exception:  # the server may refuse it: what counts is where it was sent
        where = Counter()
    replicas = [node.pool.stats().acquired_total for node in pool_of(manager).topology if node.role is NodeRole.REPLICA]
    assert not any(name in where for name in replicated.names[1:])
    assert replicas == [0, 0]


async def test_a_transaction_goes_to_one_node(manager: DatabaseManager, replicated: Replicated) -> None:
    async with manager.session() as session:
        async with session.transaction() as transaction:
            assert await transaction.fetch_value(WHERE) == replicated.primary.port
        await known_to_have_all(manager, replicated)
        async with session.transaction(read_only=True) as transaction:
            seen = {await transaction.fetch_value(WHERE) for _ in range(6)}
            assert len(seen) == 1
            assert seen <= {replica.port for replica in replicated.replicas}
            async with transaction.nested() as savepoint:
                assert {await savepoint.fetch_value(WHERE)} == seen


async def test_contexts_say_where_everything_goes(manager: DatabaseManager, replicated: Replicated) -> None:
    ports = {replica.port for replica in replicated.replicas}
    unknown = "select pg_is_in_recovery() where has_table_privilege('pg_class', 'select')"
    async with manager.session(consistency=Consistency.EVENTUAL) as session:
        assert await session.fetch_value(unknown) is False
        with primary_context():
            assert await session.fetch_value(WHERE) == replicated.primary.port
            async with session.transaction(read_only=True) as transaction:
                assert await transaction.fetch_value(WHERE) == replicated.primary.port
        with replica_context():
            assert await session.fetch_value(unknown) is True  # it was said to be a read
            async with session.transaction() as transaction:
                assert await transaction.fetch_value(WHERE) in ports
                async with transaction.nested() as savepoint:
                    assert await savepoint.fetch_value(WHERE) in ports
            with pytest.raises(ReadOnlyError):
                await session.execute("insert into note values (-1, 'never')")
            with primary_context():
                assert await session.fetch_value(WHERE) == replicated.primary.port
    assert pool_of(manager).topology.primary is node_of(manager, replicated.primary)  # nobody doubts it for that


async def test_a_stream_of_a_read_comes_from_a_replica(manager: DatabaseManager, replicated: Replicated) -> None:
    async with manager.session() as session, session.stream("select count(*) as n from note") as rows:
        assert len([row async for row in rows]) == 1
    assert node_of(manager, replicated.primary).pool.stats().acquired_total == 1  # the probe at the start


async def test_strong_reads_go_to_the_primary(manager: DatabaseManager, replicated: Replicated) -> None:
    assert await served(manager, consistency=Consistency.STRONG) == {replicated.names[0]: 12}
    with consistency_context(Consistency.STRONG):
        assert await served(manager) == {replicated.names[0]: 12}
        assert replicated.names[0] not in await served(manager, consistency=Consistency.EVENTUAL)


async def test_own_writes_are_read_from_replicas_once_they_are_there(
    manager: DatabaseManager, replicated: Replicated
) -> None:
    async with manager.session() as session:
        for number in range(100):
            await session.execute("insert into note values (:id, 'own')", {"id": 1000 + number})
            assert await session.fetch_value("select text from note where id = :id", {"id": 1000 + number}) == "own"
    await known_to_have_all(manager, replicated)
    assert replicated.names[0] not in await served(manager)


async def test_nobody_reads_an_own_write_from_a_replica_that_is_behind(
    manager: DatabaseManager, replicated: Replicated
) -> None:
    async with paused(*replicated.replicas):
        async with manager.session() as session:
            for number in range(300):
                async with session.transaction() as transaction:
                    await transaction.execute("insert into note values (:id, 'fresh')", {"id": 2000 + number})
                assert (
                    await session.fetch_value("select text from note where id = :id", {"id": 2000 + number}) == "fresh"
                )
                await asyncio.sleep(0)
            stale = await session.fetch_value("select count(*) from note where text = 'fresh'")
            assert stale == 300
        with consistency_context(Consistency.EVENTUAL):
            async with manager.session() as session:
                assert await session.fetch_value("select count(*) from note where text = 'fresh'") == 0
        async with manager.session() as other:  # of the same line of work: what it has written holds here, too
            assert await other.fetch_value("select count(*) from note where text = 'fresh'") == 300
    await replicated.caught_up()


async def test_bounded_reads_leave_a_replica_that_is_too_far_behind(
    manager: DatabaseManager, replicated: Replicated
) -> None:
    slow, other = replicated.replicas
    async with manager.session() as session:
        await session.execute("insert into note values (3000, 'bounded')")
    await known_to_have_all(manager, replicated)
    async with paused(slow):
        async with manager.session() as session:
            await session.execute("insert into note values (3001, 'bounded')")
        await asyncio.sleep(2.5)
        where = await served(manager, consistency=Consistency.bounded(2.0), count=20)
        assert f"{slow.host}:{slow.port}" not in where
        assert where[f"{other.host}:{other.port}"] > 0
        assert f"{slow.host}:{slow.port}" in await served(manager, consistency=Consistency.bounded(60.0), count=20)
    await replicated.caught_up()


async def test_lines_of_work_do_not_hold_each_other_up(manager: DatabaseManager, replicated: Replicated) -> None:
    async def write(number: int) -> None:
        async with manager.session() as session:
            await session.execute("insert into note values (:id, 'child')", {"id": number})

    await asyncio.create_task(write(4000))
    assert replicated.names[0] not in await served(manager)  # another task's write is not this one's
    async with paused(*replicated.replicas):
        with causal_context():
            await asyncio.create_task(write(4001))
            assert await served(manager) == {replicated.names[0]: 12}  # in a block that says so it is
        assert replicated.names[0] not in await served(manager)


@pytest.mark.parametrize("lag_seconds", [0, -1, float("nan")])
def test_a_bound_is_above_nothing(lag_seconds: float) -> None:
    with pytest.raises(UsageError, match="above 0"):
        Consistency.bounded(lag_seconds)


def test_lag_belongs_to_bounded_alone() -> None:
    with pytest.raises(UsageError, match="bounded"):
        Consistency(Consistency.STRONG.level, 3.0)


async def test_the_primary_may_take_its_share_of_the_reads(replicated: Replicated) -> None:
    primary, *replicas = (replicated.primary, *replicated.replicas)

    def config(**topology: object) -> DatabaseConfig:
        nodes = [
            {"host": each.host, "port": each.port, "weight": weight}
            for each, weight in zip(replicas, (3, 1), strict=True)
        ]
        return DatabaseConfig(databases={"default": PostgreSQLConfig(
            host=primary.host, port=primary.port, database="sillar", nodes=nodes,
            credentials={"user": primary.user, "password": primary.password},
            topology=TopologyConfig(**topology))})  # fmt: skip

    async with DatabaseManager(config(reads_on_primary=True, load_balancing="round_robin")) as manager:
        assert await served(manager) == dict.fromkeys(replicated.names, 4)
    async with DatabaseManager(config(load_balancing="weighted")) as manager:
        assert await served(manager, count=16) == {replicated.names[1]: 12, replicated.names[2]: 4}
    async with DatabaseManager(config(consistency="strong")) as manager:
        assert await served(manager) == {replicated.names[0]: 12}


async def test_a_read_only_database_needs_no_primary(replicated: Replicated) -> None:
    hosts = ",".join(f"{each.host}:{each.port}" for each in replicated.replicas)
    url = f"postgresql://{replicated.primary.user}:{replicated.primary.password}@{hosts}/sillar"
    async with DatabaseManager.from_url(url, overrides={"databases": {"default": {"read_only": True}}}) as manager:
        assert (await manager.health()).healthy
        assert await served(manager) == dict.fromkeys(replicated.names[1:], 6)
        async with manager.session() as session:
            with pytest.raises(ReadOnlyError):
                await session.execute("insert into note values (-1, 'never')")


async def test_a_raw_lease_goes_to_the_primary(manager: DatabaseManager, replicated: Replicated) -> None:
    async with await manager.get_connection() as lease:
        assert await lease.fetch_value(WHERE) == replicated.primary.port


async def test_two_sessions_at_once_go_to_different_replicas(manager: DatabaseManager, replicated: Replicated) -> None:
    async with manager.session() as one, manager.session() as two:
        async with one.transaction(read_only=True) as first, two.transaction(read_only=True) as second:
            assert await first.fetch_value(WHERE) != await second.fetch_value(WHERE)
