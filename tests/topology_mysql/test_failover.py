"""What happens when the primary goes, when another one takes over, and when two servers claim to be it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sillar import Consistency, DatabaseManager
from sillar.engines.node import NodeRole
from sillar.errors import DatabaseError, NoPrimaryError
from sillar.testing.servers import MySQLServer

from .conftest import WHERE, Replicated, eventually, manager_of, node_of, pool_of, replicated_servers

RECOVERY_SECONDS = 5.0


@pytest.fixture(params=["mariadb", "mysql"])
async def own(request: pytest.FixtureRequest) -> AsyncIterator[Replicated]:
    """Servers of one test alone."""
    async with replicated_servers(request.param) as found:
        yield found


class Load:
    """Writes and reads all the time, and remembers what was acknowledged."""

    def __init__(self, manager: DatabaseManager) -> None:
        self._manager = manager
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0
        self._ended = False
        self.acknowledged: dict[int, float] = {}
        self.reads_failed: list[str] = []
        self.stale = 0

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._write()) for _ in range(4)]
        self._tasks.append(asyncio.create_task(self._read()))
        try:
            await eventually(lambda: len(self.acknowledged) > 40, "writes")
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        results = await self._end()
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results), results

    async def _end(self) -> list[Any]:
        self._ended = True  # a cancellation may meet an error that is on its way already
        for task in self._tasks:
            task.cancel()
        return await asyncio.gather(*self._tasks, return_exceptions=True)

    def written_after(self, moment: float) -> bool:
        return any(at > moment for at in self.acknowledged.values())

    async def _write(self) -> None:
        while not self._ended:
            self._number += 1
            number = self._number
            try:
                async with self._manager.session() as session:
                    await session.execute("insert into note values (%s, 'load')", [number], timeout_seconds=2)
                    self.acknowledged[number] = time.monotonic()
                    found = await session.fetch_value("select count(*) from note where id = %s", [number])
                    self.stale += found != 1
            except DatabaseError:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.01)  # the replicas of a busy machine shall keep up

    async def _read(self) -> None:
        while not self._ended:
            try:
                async with self._manager.session(consistency=Consistency.EVENTUAL) as session:
                    await session.fetch_value("select count(*) from note")
            except DatabaseError as error:
                self.reads_failed.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.005)


async def rows_of(server: MySQLServer) -> set[int]:
    return {int(number) for (number,) in await server.execute_as_superuser("select id from note", database="sillar")}


async def test_a_replica_takes_over_and_the_old_primary_is_not_written_to(own: Replicated) -> None:
    primary, others = own.primary, list(own.replicas)
    await primary.set_synchronous(*others)
    async with manager_of(*own.servers) as manager, Load(manager) as load:
        topology = pool_of(manager).topology
        await primary.kill()
        for replica in others:
            await replica.stop_receiving()  # what is on its way yet may make the other one the one that is ahead
        positions = [await replica.received_position() for replica in others]
        heir = others[positions.index(max(positions))]
        await heir.promote()
        promoted = time.monotonic()
        took = await eventually(lambda: load.written_after(promoted), "a write after the promotion")
        assert took < RECOVERY_SECONDS
        assert topology.primary is node_of(manager, heir)
        acknowledged = set(load.acknowledged)
        assert acknowledged - await rows_of(heir) == set()  # none is lost
        # The old primary comes back as it was, and takes writes of anybody. The other replica follows it still: its
        # commits wait for that one.
        for replica in others:
            if replica is not heir:
                await replica.execute_as_superuser(f"start {replica.replica_word} io_thread")
        await primary.start()
        old = node_of(manager, primary)
        await eventually(lambda: old.role is NodeRole.PRIMARY, "the old primary answers")
        before = await rows_of(primary)
        count = len(load.acknowledged)
        await eventually(lambda: len(load.acknowledged) > count + 50, "writes go on")
        assert old.is_deposed
        assert topology.primary is node_of(manager, heir)
        assert await rows_of(primary) == before
        # Now it follows, and is read from again.
        await primary.follow(heir)
        await eventually(lambda: old in topology.readers and not old.is_deposed, "the old primary is a replica")
        assert (load.stale, load.reads_failed) == (0, [])
        print(f"{primary.product}: recovered {took:.2f} s after the promotion, {len(load.acknowledged)} writes")


async def test_a_second_primary_is_written_to_if_it_is_ahead_or_nobody_is(own: Replicated) -> None:
    primary, heir = own.primary, own.replicas[0]

    async def write_past(server: Any, number: int) -> None:
        await server.execute_as_superuser(f"insert into note values ({number}, 'past us')", database="sillar")

    async with manager_of(*own.servers) as manager:
        topology = pool_of(manager).topology
        events: list[str] = []
        topology.listeners.append(lambda event: events.append(event.kind))
        async with manager.session() as session:
            await session.execute("insert into note values (1, 'before')")
        await caught_up(own)
        # Both take writes, and both have the same: nobody can tell which of them is the right one.
        await heir.promote()
        await eventually(lambda: topology.primary is None, "the primary is contested")
        assert events.count("split_brain") == 1
        with pytest.raises(NoPrimaryError, match="claim to be the primary"):
            async with manager.session() as session:
                await session.execute("insert into note values (2, 'nowhere')", timeout_seconds=0.5)
        assert await rows_of(primary) == await rows_of(heir) == {1}
        # One of them goes on: it has all of the other, and more.
        await write_past(heir, 1001)
        await eventually(lambda: topology.primary is node_of(manager, heir), "the one that is ahead")
        async with manager.session() as session:
            await session.execute("insert into note values (3, 'ahead')")
            assert await session.fetch_value(WHERE) == heir.port  # it is not certainly a read
        assert await rows_of(primary) == {1}
        # Somebody else writes to the other one: never there, whatever it has.
        await write_past(primary, 2001)
        await asyncio.sleep(0.6)
        async with manager.session() as session:
            await session.execute("insert into note values (4, 'still ahead')")
        assert await rows_of(primary) == {1, 2001}
        assert events.count("primary_changed") == 1
    # Who comes now sees two lines that have parted: none is written to.
    with pytest.raises(NoPrimaryError, match="none is certainly newer"):
        async with manager_of(*own.servers):
            pass


async def caught_up(own: Replicated) -> None:
    due = time.monotonic() + 30
    wanted = await rows_of(own.primary)
    for replica in own.replicas:
        while await rows_of(replica) != wanted:
            assert time.monotonic() < due
            await asyncio.sleep(0.02)
