"""What comes at the wrong moment: answers from before, restarts while somebody waits, callers who leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from tests.replicated import Replicated
from tests.topology.conftest import node_of, pool_of

from sillar import DatabaseManager, causal_context
from sillar.config import DatabaseConfig, TopologyConfig
from sillar.consistency import Position, current_causality
from sillar.errors import NodeUnavailableError, ReadOnlyError
from sillar.pool.watch import NodeWatch

WHERE = "select current_setting('port')::int"


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    due = monotonic() + seconds
    while not condition():
        assert monotonic() < due, "it does not come to that"
        await asyncio.sleep(0.01)


def held_up(ask: Callable[[], Any]) -> tuple[Callable[[], Any], asyncio.Event, asyncio.Event]:
    """A question whose answer arrives when the test lets it; whether it was asked; what lets it."""
    asked, gate = asyncio.Event(), asyncio.Event()

    async def later() -> Position | None:
        answer: Position | None = await ask()
        asked.set()
        await gate.wait()
        return answer

    return later, asked, gate


async def test_a_token_is_not_forgotten_for_an_own_write_before_it(
    manager: DatabaseManager, replicated: Replicated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer that tells where the own write is may have left before what the token stands for was written."""
    pool, poll = pool_of(manager), node_of(manager, replicated.primary).poll
    later, asked, gate = held_up(poll._ask)
    with causal_context() as line:
        await manager.session().execute("insert into note values (50001, 'own')")
        await until(lambda: poll._task is None)
        own = line.marks["default"]
        monkeypatch.setattr(poll, "_ask", later)
        poll.forget()  # nobody has asked yet
        poll.request()
        await asyncio.wait_for(asked.wait(), 20)
        with causal_context():
            await manager.session().execute("insert into note values (50002, 'of another service')")
        connection = node_of(manager, replicated.primary).watch._connection
        assert connection is not None
        received = await connection.position()
        assert received is not None
        pool.accept_position(line, received.encode())
        gate.set()
        await until(lambda: line.marks["default"].position is not None)
        assert line.marks["default"].position.covers(received)
        assert not own.position.covers(received)
        text = await pool.token_position(line)
        assert pool.adapter.position_from(str(text)).covers(received)


async def test_an_answer_from_before_does_not_clear_a_doubt(manager: DatabaseManager, replicated: Replicated) -> None:
    pool, node = pool_of(manager), node_of(manager, replicated.primary)
    topology = pool.topology
    assert node.status is not None
    before = monotonic()
    async with pool.lease() as lease:  # which may write, as far as anybody knows
        lease.connection.report(ReadOnlyError("cannot execute INSERT in a read-only transaction", code="25006"))
    assert node.is_doubted
    topology.answered(node.watch, node.status, before)
    assert node.is_doubted
    assert topology.primary is None
    await until(lambda: topology.primary is node)


async def test_what_a_lease_or_a_dedicated_connection_writes_is_an_own_write(manager: DatabaseManager) -> None:
    pool = pool_of(manager)
    with causal_context():
        async with pool.lease() as lease:
            await lease.execute("insert into note values (50010, 'lease')")
        assert "default" in current_causality().marks
    with causal_context():
        async with pool.dedicated() as lease:
            await lease.execute("insert into note values (50011, 'dedicated')")
        assert "default" in current_causality().marks


async def test_a_replica_that_was_restarted_while_its_caller_waited_is_looked_at_first(replicated: Replicated) -> None:
    """It may have come back with less than it had, and its watch has not noticed yet."""
    primary, replica = replicated.primary, replicated.replicas[0]
    hosts = f"{primary.host}:{primary.port},{replica.host}:{replica.port}"
    url = f"postgresql://{primary.user}:{primary.password}@{hosts}/sillar"
    limits = {"databases": {"default": {"topology": {"check_interval": 30.0}, "pool": {"max_connections": 1}}}}
    async with DatabaseManager(DatabaseConfig.from_url(url, overrides=limits)) as manager:
        node, session = node_of(manager, replica), manager.session()
        await session.execute("insert into note values (50020, 'own')")
        await replicated.caught_up()
        async with asyncio.timeout(20):
            while await session.fetch_value(WHERE) != replica.port:
                await asyncio.sleep(0.02)
        held = await node.pool.acquire_connection()
        waiting = asyncio.create_task(manager.session().fetch_value(WHERE))
        await until(lambda: node.pool.stats().waiting == 1)
        node.watch._drop()  # as when its server is restarted
        node.pool.sever("as when its server is restarted")
        node.pool.release_connection(held)
        assert await asyncio.wait_for(waiting, 20) == primary.port
        assert node.pool.stats().leased == 0


async def test_who_does_not_wait_for_the_end_of_a_removed_node_leaves_nothing(replicated: Replicated) -> None:
    async with DatabaseManager.from_url(replicated.url) as manager:
        pool, node = pool_of(manager), node_of(manager, replicated.replicas[0])
        connection = await node.pool.acquire_connection()
        leaves = asyncio.create_task(pool.topology.remove_node(node.address))
        await until(lambda: node.address not in pool.topology.nodes)
        leaves.cancel()
        await asyncio.wait((leaves,))
        assert leaves.cancelled()
        assert connection.is_closed()
        assert not node.watch.is_attached
        assert pool.topology.node_of(connection) is None
        connection.causality = current_causality()
        pool.note_write(connection)  # of a commit that was answered just then
        pool.release_connection(connection)
        assert node.pool.stats().open == 0


async def test_a_node_that_is_gone_is_not_hammered_by_those_who_ask_for_its_position() -> None:
    """Its watch looks for it with pauses, whatever anybody asks meanwhile."""

    class Listener:
        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *args: None

    async def refused() -> Any:
        raise NodeUnavailableError("nobody is there")

    class Random:
        def uniform(self, a: float, b: float) -> float:
            return b

    listener: Any = Listener()
    watch = NodeWatch("gone", TopologyConfig(), refused, listener, Random())
    watch.start()
    await watch.first_look()
    number, due = watch.poll.note_write(), monotonic() + 0.5
    while monotonic() < due:
        watch.poll.request()
        await asyncio.sleep(0.002)
    with pytest.raises(NodeUnavailableError):
        await watch.poll.wait_for(number)
    assert not watch._wake.is_set()
    assert watch.poll.polls_total <= 8
    assert watch.looks_total <= 4  # after 0.1, 0.2, 0.4 s
    await watch.close()
