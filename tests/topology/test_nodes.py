"""Nodes that go, come, change their role, are added and removed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
from tests.replicated import Replicated, replicate
from tests.topology.conftest import node_of, paused, pool_of

from sillar import Consistency, DatabaseManager, Lookups, NodeState, TopologyEvent
from sillar.config import DatabaseConfig, NodeAddress
from sillar.errors import (
    AuthenticationError,
    BreakerOpenError,
    ConnectError,
    ConnectionLostError,
    NoNodeError,
    NoPrimaryError,
    PoolClosedError,
    PoolExhaustedError,
    ReadOnlyError,
    UsageError,
)
from sillar.observability.prometheus import exposition
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import PostgreSQLServer

QUICK = {"check_interval": 0.2, "check_timeout": 2.0}
"""Only a frozen or cut off node is silent for so long, however busy the machine is."""
SILENT_QUICK = {"check_timeout": 0.5}


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it does not come to that")


@pytest.fixture
async def pair() -> AsyncIterator[Replicated]:
    """A primary and two replicas of the test's own."""
    async with PostgreSQLServer(own=True) as primary:
        yield await replicate(primary)


def opened(url: str, *, pool: dict[str, Any] | None = None, **topology: Any) -> DatabaseManager:
    settings = {"topology": {**QUICK, **topology}, "pool": {"connection_timeout": 30.0, **(pool or {})}}
    return DatabaseManager(DatabaseConfig.from_url(url, overrides={"databases": {"default": settings}}))


def events_of(manager: DatabaseManager) -> list[TopologyEvent]:
    events: list[TopologyEvent] = []
    pool_of(manager).topology.listeners.append(events.append)
    return events


async def test_the_primary_dies_and_a_replica_is_promoted(pair: Replicated) -> None:
    async with opened(pair.url) as manager, manager.session() as session:
        events = events_of(manager)
        await session.execute("insert into note values (1)")
        await pair.caught_up()
        async with session.transaction() as transaction:
            await transaction.execute("insert into note values (2)")
            await pair.primary.kill()
            with pytest.raises(ConnectionLostError) as lost:
                await transaction.execute("insert into note values (3)")
            assert lost.value.safe_to_retry  # the whole transaction: nothing of it is left
            await transaction.rollback()
        waiting = asyncio.create_task(_insert(manager, 4))
        reads = await manager.session(consistency=Consistency.EVENTUAL).fetch_value("select count(*) from note")
        assert reads == 1
        await asyncio.sleep(0.3)
        assert not waiting.done()  # it waits for a primary
        promoted = pair.replicas[0]
        poll = node_of(manager, promoted).poll
        replayed = poll.position
        assert poll.seconds_behind(replayed) is not None
        await promoted.promote()
        since = time.monotonic()
        await asyncio.wait_for(waiting, 30)
        assert time.monotonic() - since < 5
        assert pool_of(manager).topology.primary is node_of(manager, promoted)
        assert poll.seconds_behind(replayed) is None  # as a replica it may have been behind itself
        strong = manager.session(consistency=Consistency.STRONG)
        assert await strong.fetch_value("select count(*) from note") == 2
        kinds = [event.kind for event in events]
        assert "primary_lost" in kinds
        assert "primary_changed" in kinds
        assert (
            next(each for each in events if each.kind == "primary_changed").node == f"{promoted.host}:{promoted.port}"
        )


async def _insert(manager: DatabaseManager, number: int) -> None:
    async with manager.session() as session:
        await session.execute("insert into note values (:id)", {"id": number})


async def test_a_demoted_primary_is_not_written_to_though_its_sockets_are_open(pair: Replicated) -> None:
    short = {"connection_timeout": 3.0}
    async with opened(pair.url, pool=short, check_interval=30.0) as manager, manager.session() as session:
        await asyncio.gather(*(_insert(manager, number) for number in range(5)))  # several sockets
        node = node_of(manager, pair.primary)
        generation, opened_before = node.pool.generation, node.pool.stats().opened_total
        await pair.primary.set_read_only()
        await pair.caught_up()
        with pytest.raises(NoPrimaryError) as refused:  # refused by the server, and then there is nobody to ask
            await asyncio.wait_for(manager.session().execute("insert into note values (100)"), 15)
        assert "read-only" in str(refused.value)
        assert node.pool.generation == generation + 1
        assert node.pool.stats().closed_total >= opened_before  # all that were open then
        assert refused.value.retry_after_seconds is not None
        await pair.replicas[1].promote()
        pool_of(manager).topology.look_at(NodeAddress(pair.replicas[1].host, pair.replicas[1].port))
        await asyncio.wait_for(session.execute("insert into note values (101)"), 10)
        assert pool_of(manager).topology.primary is node_of(manager, pair.replicas[1])
        [(count,)] = await pair.primary.execute_as_superuser(
            "select count(*) from note where id > 99", database="sillar"
        )
        assert count == 0


async def test_the_old_primary_comes_back_and_is_not_written_to(pair: Replicated) -> None:
    async with opened(pair.url, **SILENT_QUICK) as manager, manager.session() as session:
        events = events_of(manager)
        await session.execute("insert into note values (1)")
        await pair.caught_up()
        await pair.primary.freeze()
        await pair.replicas[0].promote()
        await asyncio.wait_for(_retried(lambda: session.execute("insert into note values (2)")), 30)
        await pair.primary.thaw()  # it still thinks that it is the primary
        old = node_of(manager, pair.primary)
        await until(lambda: old.state is NodeState.UP)
        for number in range(10, 30):
            await session.execute("insert into note values (:id)", {"id": number})
            await asyncio.sleep(0.02)
        assert old.is_deposed
        [(count,)] = await pair.primary.execute_as_superuser(
            "select count(*) from note where id >= 2", database="sillar"
        )
        assert count == 0
        await pair.replicas[0].kill()  # and not even when it is the only one
        await until(lambda: pool_of(manager).topology.primary is None)
        await asyncio.sleep(0.5)
        assert pool_of(manager).topology.primary is None
        assert "term 1" in pool_of(manager).topology.why
        assert "primary_lost" in [event.kind for event in events]


async def _count(server: PostgreSQLServer, condition: str) -> int:
    """The rows of that server itself."""
    [(count,)] = await server.execute_as_superuser(f"select count(*) from note where {condition}", database="sillar")
    return int(count)


async def _retried(work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except ConnectionLostError:  # the one that was on the frozen node
            continue
        else:
            return


async def test_a_frozen_node_lets_go_of_whoever_waits_on_it(pair: Replicated) -> None:
    async with opened(pair.url, **SILENT_QUICK) as manager, manager.session() as session:
        async with session.transaction() as transaction:
            await transaction.execute("insert into note values (1)")
            await pair.primary.freeze()
            since = time.monotonic()
            with pytest.raises(ConnectionLostError):
                await transaction.execute("insert into note values (2)")
            assert time.monotonic() - since < 6
            await transaction.rollback()
        assert node_of(manager, pair.primary).state is NodeState.DOWN
        await pair.primary.thaw()
        await asyncio.wait_for(session.execute("insert into note values (3)"), 30)


async def test_a_dead_replica_is_left_out_and_taken_back(pair: Replicated) -> None:
    async with opened(pair.url) as manager:
        events = events_of(manager)
        dead = pair.replicas[0]
        name = f"{dead.host}:{dead.port}"
        async with manager.session(consistency=Consistency.EVENTUAL) as session:
            for _ in range(10):
                await session.fetch_value("select count(*) from note")
            await dead.kill()
            for _ in range(50):
                await session.fetch_value("select count(*) from note")  # not one of them fails
                await asyncio.sleep(0.01)
            await until(lambda: node_of(manager, dead).state is NodeState.DOWN)
            assert [node.name for node in pool_of(manager).topology.readers] == [
                f"{pair.replicas[1].host}:{pair.replicas[1].port}"
            ]
            await dead.start()
            await until(lambda: len(pool_of(manager).topology.readers) == 2)
            before = node_of(manager, dead).pool.stats().acquired_total
            for _ in range(10):
                await session.fetch_value("select count(*) from note")
            assert node_of(manager, dead).pool.stats().acquired_total > before
        assert [event.kind for event in events if event.node == name] == ["node_down", "node_up"]


async def test_nodes_are_added_and_removed_while_running(replicated: Replicated) -> None:
    primary, (one, two) = replicated.primary, replicated.replicas
    url = f"postgresql://{primary.user}:{primary.password}@{primary.host}:{primary.port},{one.host}:{one.port}/sillar"
    async with opened(url) as manager, manager.session(consistency=Consistency.EVENTUAL) as session:
        topology = pool_of(manager).topology
        address = NodeAddress(two.host, two.port)
        node = await topology.add_node(address)
        with pytest.raises(UsageError, match="already"):
            await topology.add_node(address)
        await until(lambda: node in topology.readers)
        async with session.transaction(read_only=True):
            async with manager.session(consistency=Consistency.EVENTUAL).transaction(read_only=True):
                leaves = asyncio.create_task(topology.remove_node(address))
                await asyncio.sleep(0.1)
                assert not leaves.done()  # a lease is out on each of the two
            await asyncio.sleep(0)
        await asyncio.wait_for(leaves, 5)
        assert node not in topology.readers
        for _ in range(4):
            await session.fetch_value("select 1 from note limit 1")
        with pytest.raises(UsageError, match="is no node"):
            await topology.remove_node(address)


async def test_another_database_cluster_is_never_used(replicated: Replicated) -> None:
    async with PostgreSQLServer(own=True) as stranger:
        await stranger.execute_as_superuser(f"create role {replicated.primary.user}_x login superuser password 'x'")
        async with opened(replicated.url) as manager:
            events = events_of(manager)
            topology = pool_of(manager).topology
            await replicated.primary.execute_as_superuser("select 1")
            address = NodeAddress(stranger.host, stranger.port)
            await stranger.execute_as_superuser(f"alter role {stranger.user} password '{replicated.primary.password}'")
            node = await topology.add_node(address)
            await until(lambda: node.state is NodeState.FOREIGN)
            assert topology.primary is node_of(manager, replicated.primary)
            assert node not in topology.readers
            assert ("node_foreign", node.name) in [(event.kind, event.node) for event in events]


async def test_nobody_is_there_at_the_start() -> None:
    with pytest.raises(ConnectError, match="cannot be reached"):
        async with opened("postgresql://a:b@127.0.0.1:9,127.0.0.1:19/x"):
            pass


async def test_only_replicas_at_the_start(replicated: Replicated) -> None:
    hosts = ",".join(f"{each.host}:{each.port}" for each in replicated.replicas)
    url = f"postgresql://{replicated.primary.user}:{replicated.primary.password}@{hosts}/sillar"
    with pytest.raises(NoPrimaryError, match="is a replica"):
        async with opened(url):
            pass
    async with opened(url, pool={"on_unavailable": "wait", "connection_timeout": 1.0}) as manager:
        async with manager.session(consistency=Consistency.EVENTUAL) as session:
            assert await session.fetch_value("select count(*) from note where id < 0") == 0
        with pytest.raises(NoPrimaryError, match="no primary is known"):
            await manager.session().execute("insert into note values (-1)")
        health = manager.pools["default"].stats()
        assert not health.healthy
        assert "no node that answers is a primary" in health.reason


async def test_a_wrong_password_is_said_at_the_start(replicated: Replicated) -> None:
    with pytest.raises(AuthenticationError):
        async with opened(replicated.url.replace(replicated.primary.password, "wrong")):
            pass


async def test_callers_who_wait_for_a_primary_are_bounded(pair: Replicated) -> None:
    async with opened(pair.url, pool={"waiting_max": 3, "connection_timeout": 1.0}) as manager:
        await pair.primary.kill()
        await until(lambda: pool_of(manager).topology.primary is None)
        results = await asyncio.gather(*(_insert(manager, number) for number in range(8)), return_exceptions=True)
        assert sum(isinstance(result, NoPrimaryError) for result in results) == 3
        assert sum(isinstance(result, PoolExhaustedError) for result in results) == 5
        assert manager.pools["default"].stats().refused_total == 5
        for replica in pair.replicas:
            await replica.kill()
        await until(lambda: not pool_of(manager).topology.readers)
        with pytest.raises(NoNodeError, match="can serve this read"):
            await manager.session(consistency=Consistency.EVENTUAL).fetch_value("select count(*) from note")
        waiting = asyncio.create_task(_insert(manager, 99))
        await asyncio.sleep(0.05)
        await manager.shutdown(0.0)
        with pytest.raises(PoolClosedError):
            await waiting


async def test_a_breaker_takes_a_replica_out_until_it_is_closed(replicated: Replicated) -> None:
    async with opened(replicated.url) as manager, manager.session(consistency=Consistency.EVENTUAL) as session:
        events = events_of(manager)
        node = node_of(manager, replicated.replicas[0])
        node.pool.breaker.open("for this test")
        assert node not in pool_of(manager).topology.readers
        before = node.pool.stats().acquired_total
        for _ in range(10):
            await session.fetch_value("select count(*) from note")
        assert node.pool.stats().acquired_total == before
        node.pool.breaker.close()
        assert node in pool_of(manager).topology.readers
        primary = node_of(manager, replicated.primary)
        primary.pool.breaker.open("for this test, too")
        with pytest.raises(BreakerOpenError):
            await session.execute("insert into note values (-1, 'never')")
        primary.pool.breaker.close()
        await session.execute("delete from note where id = -1")
        changes = [event.kind for event in events if event.kind.startswith("breaker")]
        assert changes == ["breaker_opened", "breaker_closed"] * 2


async def test_after_an_outage_of_all_nodes_reads_and_writes_go_on(pair: Replicated) -> None:
    servers = (pair.primary, *pair.replicas)
    async with opened(pair.url, pool={"connection_timeout": 60.0}) as manager, manager.session() as session:
        await session.execute("insert into note values (1)")
        await asyncio.gather(*(server.kill() for server in servers))
        await until(lambda: all(node.state is NodeState.DOWN for node in pool_of(manager).topology))
        waiting = [asyncio.create_task(_insert(manager, number)) for number in range(10, 30)]
        await asyncio.gather(*(server.start() for server in servers))
        await asyncio.wait_for(asyncio.gather(*waiting), 60)
        # Others have written, in lines of work of their own: replicas may not have it yet.
        strong = manager.session(consistency=Consistency.STRONG)
        assert await strong.fetch_value("select count(*) from note") == 21


async def test_the_old_primary_behind_a_partition_takes_nothing_from_us(pair: Replicated) -> None:
    """Its own clients may still write to it: only the server itself can be fenced."""
    async with FaultProxy(pair.primary.host, pair.primary.port) as proxy:
        hosts = ",".join(f"{each.host}:{each.port}" for each in (proxy, *pair.replicas))
        url = f"postgresql://{pair.primary.user}:{pair.primary.password}@{hosts}/sillar"
        async with opened(url, **SILENT_QUICK) as manager, manager.session() as session:
            await session.execute("insert into note values (1)")
            await pair.caught_up()
            proxy.black_hole()
            await pair.replicas[0].promote()
            await asyncio.wait_for(_retried(lambda: session.execute("insert into note values (2)")), 30)
            await proxy.heal()
            await pair.primary.execute_as_superuser("insert into note values (1000)", database="sillar")
            for number in range(10, 40):
                await session.execute("insert into note values (:id)", {"id": number})
                await asyncio.sleep(0.02)
            assert await _count(pair.primary, "id between 2 and 999") == 0


async def test_a_read_only_transaction_of_the_user_raises_no_doubt(
    manager: DatabaseManager, replicated: Replicated
) -> None:
    async with manager.session() as session:
        with pytest.raises(ReadOnlyError):
            async with session.transaction(read_only=True) as transaction:
                await transaction.execute("insert into note values (-1, 'never')")
    assert pool_of(manager).topology.primary is node_of(manager, replicated.primary)


class Publisher:
    """Somebody's event bus."""

    def __init__(self, *, fails: bool = False) -> None:
        self.published: list[tuple[str, Mapping[str, object]]] = []
        self._fails = fails

    async def publish(self, event: str, payload: Mapping[str, object]) -> None:
        self.published.append((event, payload))
        if self._fails:
            raise RuntimeError("the bus is down")


@pytest.mark.parametrize("fails", [False, True])
async def test_changes_are_published(replicated: Replicated, fails: bool) -> None:
    publisher = Publisher(fails=fails)
    async with DatabaseManager(DatabaseConfig.from_url(replicated.url), events=publisher) as manager:
        node = node_of(manager, replicated.replicas[0])
        node.pool.breaker.open("for this test")
        await until(lambda: len(publisher.published) >= 7)
        assert (
            "sillar.breaker_opened",
            {"database": "default", "node": node.name, "detail": "for this test"},
        ) in publisher.published
        node.pool.breaker.close()
        async with manager.session(consistency=Consistency.EVENTUAL) as session:
            assert await session.fetch_value("select count(*) from note where id = -1") == 0


async def test_figures_are_there_by_node(manager: DatabaseManager, replicated: Replicated) -> None:
    health = (await manager.health()).databases["default"]
    assert set(health.nodes) == set(replicated.names)
    primary, replica = (health.nodes[name] for name in replicated.names[:2])
    assert (primary.state, primary.role, primary.is_primary, primary.serves_reads) == ("up", "primary", True, False)
    assert (replica.state, replica.role, replica.is_primary, replica.serves_reads) == ("up", "replica", False, True)
    assert primary.lag_seconds == 0.0
    assert health.open == sum(node.pool.open for node in health.nodes.values())
    text = exposition(manager.monitor).decode()
    assert f'sillar_node_primary{{database="default",node="{replicated.names[0]}"}} 1.0' in text
    assert f'sillar_node_role{{database="default",node="{replicated.names[1]}",role="replica"}} 1.0' in text
    assert f'sillar_node_up{{database="default",node="{replicated.names[1]}"}} 1.0' in text


async def test_a_dedicated_connection_leads_to_the_primary(manager: DatabaseManager, replicated: Replicated) -> None:
    pool = pool_of(manager)
    async with pool.dedicated() as lease:
        assert await lease.fetch_value("select current_setting('port')::int") == replicated.primary.port
    async with pool.lease() as lease:
        assert await lease.fetch_value("select pg_is_in_recovery()") is False


async def test_lookups_read_what_their_caller_has_written(manager: DatabaseManager, replicated: Replicated) -> None:
    lookups = Lookups(manager, "note")
    async with paused(*replicated.replicas):

        async def writes(number: int) -> Any:
            async with manager.session() as session:
                await session.execute("insert into note values (:id, 'looked up')", {"id": number})
            return await lookups.get(number)

        async def reads(number: int) -> Any:
            return await lookups.get(number)

        found = await asyncio.gather(*(writes(20_000 + number) for number in range(50)))
        assert [each["text"] for each in found] == ["looked up"] * 50
        others = await asyncio.gather(*(asyncio.create_task(reads(20_000 + number)) for number in range(50)))
        assert others == [None] * 50  # of another line of work: from a replica, together
    await replicated.caught_up()


async def test_a_replica_that_was_restarted_is_asked_anew_before_it_serves_own_reads(pair: Replicated) -> None:
    """It may come back with less than it had: what it had said before counts no more."""
    async with opened(pair.url) as manager, manager.session() as session:
        await session.execute("insert into note values (1)")
        await pair.caught_up()
        replica = pair.replicas[0]
        node = node_of(manager, replica)
        await until(lambda: node.position is not None)
        await until(lambda: session is not None and len(pool_of(manager).topology.readers) == 2)
        for _ in range(20):
            assert await session.fetch_value("select count(*) from note") == 1
            await asyncio.sleep(0.01)
        version = pool_of(manager).topology.version
        await replica.stop()
        await until(lambda: node.position is None)  # before anybody has looked
        await replica.start()
        for _ in range(50):
            assert await session.fetch_value("select count(*) from note") == 1
            await asyncio.sleep(0.01)
        await until(lambda: node.position is not None)
        assert pool_of(manager).topology.version is not version


async def test_one_server_under_two_names_is_one_node(replicated: Replicated) -> None:
    """Else it would look like two that both claim to be the primary."""
    port = replicated.primary.port
    url = replicated.url.replace(f":{port}/", f":{port},localhost:{port}/")
    async with opened(url) as manager:
        topology = pool_of(manager).topology
        states = sorted(node.state for node in topology)
        assert states == sorted([NodeState.UP] * 3 + [NodeState.ALIAS])
        assert topology.primary is not None
        [alias] = [node for node in topology if node.state is NodeState.ALIAS]
        assert "the same server as" in alias.describe()
        await manager.session().execute("delete from note where id = -1")
        await topology.remove_node(topology.primary.address)  # then the other name is as good
        await until(lambda: topology.primary is alias)
        await manager.session().execute("delete from note where id = -1")


async def test_a_listener_that_fails_does_no_harm(manager: DatabaseManager, replicated: Replicated) -> None:
    def fail(event: TopologyEvent) -> None:
        raise RuntimeError(event.kind)

    topology = pool_of(manager).topology
    topology.listeners.append(fail)
    events = events_of(manager)
    node = node_of(manager, replicated.replicas[0])
    node.pool.breaker.open("for this test")
    assert node not in topology.readers
    node.pool.breaker.close()
    assert node in topology.readers
    assert [event.kind for event in events if event.kind.startswith("breaker")] == ["breaker_opened", "breaker_closed"]
