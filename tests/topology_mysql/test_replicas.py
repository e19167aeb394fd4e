"""Which node serves what while a primary and two replicas are there, and what a replica that falls behind shows."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from itertools import count

import pytest

from sillar import (
    CausalTokens,
    Consistency,
    DatabaseManager,
    causal_context,
    consistency_context,
    primary_context,
    replica_context,
)
from sillar.engines.node import NodeRole
from sillar.errors import DatabaseError, NoPrimaryError, ReadOnlyError

from .conftest import WHERE, Replicated, eventually, manager_of, node_of, paused, pool_of

WRITERS, PAIRS = 8, 250


async def caught_up(manager: DatabaseManager) -> None:
    """Wait until every replica has what the primary has, and the manager knows it."""
    topology = pool_of(manager).topology
    assert topology.primary is not None
    poll = topology.primary.poll
    wanted = await asyncio.wait_for(poll.wait_for(poll.note_write()), 30)
    for node in topology.readers:
        due = time.monotonic() + 30
        while not (reached := node.position) or not reached.covers(wanted):
            assert time.monotonic() < due, node
            node.poll.request()
            await asyncio.sleep(0.02)


def served(manager: DatabaseManager) -> Counter[int]:
    """How many leases each node has given out, by port."""
    return Counter({node.address.port: node.pool.stats().acquired_total for node in pool_of(manager).topology})


async def test_roles_are_learned_and_reads_go_to_both_replicas(
    manager: DatabaseManager, replicated: Replicated
) -> None:
    topology = pool_of(manager).topology
    assert topology.primary is node_of(manager, replicated.primary)
    assert {node.role for node in topology.readers} == {NodeRole.REPLICA}
    async with manager.session() as session:
        before = served(manager)
        for _ in range(12):
            await session.fetch_value("select count(*) from note")
        assert served(manager) - before == {replica.port: 6 for replica in replicated.replicas}
        before = served(manager)
        with primary_context():
            await session.fetch_value("select count(*) from note")
        assert served(manager) - before == {replicated.primary.port: 1}
        with replica_context():
            assert await session.fetch_value(WHERE) in {replica.port for replica in replicated.replicas}
        with replica_context(), pytest.raises(ReadOnlyError):
            await session.execute("insert into note (text) values ('refused')")
        await eventually(lambda: len(topology.readers) == 2 and topology.primary is not None)
        async with session.transaction() as transaction:
            assert await transaction.fetch_value(WHERE) == replicated.primary.port


async def test_own_writes_are_never_read_stale(manager: DatabaseManager, replicated: Replicated) -> None:
    stale = done = 0
    before = served(manager)

    async def pairs(number: int) -> None:
        nonlocal stale, done
        with causal_context():
            async with manager.session() as session:
                row = (await session.execute("insert into note (text) values ('0')")).last_insert_id
                for value in range(PAIRS):
                    await session.execute("update note set text = %s where id = %s", [str(value), row])
                    if value % 3 == 0:
                        await asyncio.sleep(0.005)  # so that a replica may have it
                    text = await session.fetch_value("select text from note where id = %s", [row])
                    stale += text != str(value)
                    done += 1

    async def disturb() -> None:
        replica = replicated.replicas[0]
        await eventually(lambda: done > WRITERS * PAIRS / 4, "a quarter", 120)
        async with paused(replica):
            await eventually(lambda: done > WRITERS * PAIRS / 2, "the half", 120)

    with causal_context():
        async with asyncio.TaskGroup() as group:  # one that fails ends the others, and the pause
            for work in (disturb(), *(pairs(number) for number in range(WRITERS))):
                group.create_task(work)
        assert (stale, done) == (0, WRITERS * PAIRS)
        await caught_up(manager)
        before = served(manager)
        async with manager.session() as session:  # its writes are older than what the replicas have now
            for _ in range(4):
                await session.execute("select count(*) from note")
        assert served(manager) - before == {replica.port: 2 for replica in replicated.replicas}


async def test_a_token_carries_a_write_to_another_process(manager: DatabaseManager, replicated: Replicated) -> None:
    behind, other = replicated.replicas
    tokens = CausalTokens(manager, "k" * 32)
    async with paused(behind):
        with causal_context():
            async with manager.session() as session:
                row = (await session.execute("insert into note (text) values ('told')")).last_insert_id
            token = await tokens.issue()
        assert token is not None
        async with manager_of(*replicated.servers) as elsewhere:
            before, begin = served(elsewhere), time.monotonic()
            for turn in count():
                with causal_context():
                    CausalTokens(elsewhere, "k" * 32).accept(token)
                    async with elsewhere.session() as session:
                        assert await session.fetch_value("select text from note where id = %s", [row]) == "told"
                await asyncio.sleep(0.02)
                where = served(elsewhere) - before
                assert where[behind.port or 0] == 0
                if turn >= 20 and where[other.port or 0] > 0:  # in the end, the replica that goes on
                    break
                assert time.monotonic() < begin + 30


LATE_SECONDS = 2.5
"""After the first write that a replica lacks: it is a second behind a second later."""


async def test_bounded_reads_leave_a_replica_that_falls_behind(
    manager: DatabaseManager, replicated: Replicated
) -> None:
    behind = replicated.replicas[0]
    acknowledged: list[tuple[float, int]] = []
    stale = late_reads = 0
    async with manager.session() as session:
        row = (await session.execute("insert into note (text) values ('0')")).last_insert_id
        await caught_up(manager)
        async with paused(behind):
            before, first = served(manager), math.inf
            while (asked := time.monotonic()) < first + 4.0:
                await session.execute("update note set text = %s where id = %s", [str(len(acknowledged)), row])
                acknowledged.append((time.monotonic(), len(acknowledged)))
                first = acknowledged[0][0]
                if asked > first + LATE_SECONDS and not late_reads:
                    before = served(manager)
                asked = time.monotonic()
                with consistency_context(Consistency.bounded(1.0)):
                    text = await session.fetch_value("select text from note where id = %s", [row])
                late_reads += asked > first + LATE_SECONDS
                needed = max((value for at, value in acknowledged if at <= asked - 1.0), default=0)
                stale += int(text) < needed
                await asyncio.sleep(0.02)
            where = served(manager) - before
    assert stale == 0
    assert late_reads > 0
    assert where[behind.port or 0] == 0
    assert where[replicated.replicas[1].port or 0] > 0
    await caught_up(manager)


async def test_no_write_is_accepted_by_a_primary_that_was_demoted(
    manager: DatabaseManager, replicated: Replicated
) -> None:
    """With its sockets open. These users may not bypass read_only, as SUPER and READ ONLY ADMIN may."""
    primary = replicated.primary
    accepted: list[float] = []
    refused = Counter[str]()
    going = True

    async def write() -> None:
        async with manager.session() as session:
            while going:
                try:
                    async with asyncio.timeout(0.5):
                        await session.execute("insert into note (text) values ('w')")
                    accepted.append(time.monotonic())
                except (DatabaseError, TimeoutError) as error:
                    refused[type(error).__name__] += 1
                    await asyncio.sleep(0.01)

    async def rows_there() -> int:
        [(rows,)] = await primary.execute_as_superuser("select count(*) from note", database="sillar")
        return int(rows)

    writers = [asyncio.create_task(write()) for _ in range(8)]
    try:
        await eventually(lambda: len(accepted) > 50)
        await primary.set_read_only()
        before, demoted = await rows_there(), time.monotonic()
        await eventually(lambda: pool_of(manager).topology.primary is None)
        await asyncio.sleep(1.0)
        assert [at for at in accepted if at > demoted + 0.2] == []
        assert await rows_there() == before
        assert set(refused) <= {"ReadOnlyError", "NoPrimaryError", "TimeoutError", "NodeUnavailableError"}
        assert refused["ReadOnlyError"] <= 8 * 3  # then nothing is sent to it any more
        with pytest.raises(NoPrimaryError):
            async with manager.session() as session:
                await session.execute("insert into note (text) values ('w')", timeout_seconds=0.3)
        async with manager.session(consistency=Consistency.EVENTUAL) as session:  # whoever is there serves reads
            assert await session.fetch_value("select count(*) from note") > 0
        await primary.set_writable()
        took = await eventually(lambda: bool(accepted) and accepted[-1] > demoted + 1.0, seconds=10)
        assert took < 5.0
    finally:
        going = False
        await primary.set_writable()
        await asyncio.wait(writers, timeout=30)
    await asyncio.gather(*writers)
    await caught_up(manager)
