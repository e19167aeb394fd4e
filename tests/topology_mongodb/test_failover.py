"""The primary changes, members come and go: what callers notice of it."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from tests.topology_mongodb.conftest import PRIMARY, SECONDARY, OpenManager, source_of

from sillar import DatabaseManager, Transaction
from sillar.errors import DatabaseError
from sillar.testing.servers.mongodb_gateway.stand_in_set import StandInReplicaSet


class Events:
    """What a host application is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str | None]] = []

    async def publish(self, topic: str, payload: Any) -> None:
        assert payload["database"] == "default"
        self.told.append((topic.removeprefix("sillar."), payload["node"]))

    async def wait_for(self, *expected: tuple[str, str | None]) -> None:
        async with asyncio.timeout(15):
            while not set(expected) <= set(self.told):
                await asyncio.sleep(0.02)


async def test_writes_go_on_when_the_primary_changes(
    manager: DatabaseManager, replica_set: StandInReplicaSet, name: str
) -> None:
    """The driver waits for the new primary and repeats what the old one has refused; nothing is lost or done twice."""
    acknowledged: list[int] = []
    transferred: list[int] = []
    failed: list[DatabaseError] = []
    stop = asyncio.Event()

    async def write(worker: int) -> None:
        documents = manager.session().documents(name)
        number = worker * 100_000
        while not stop.is_set():
            number += 1
            try:
                await documents.insert_one({"_id": number})
                acknowledged.append(number)
                assert await documents.count({"_id": number}) == 1  # what was written is read, wherever
            except DatabaseError as error:
                failed.append(error)
                await asyncio.sleep(0.01)

    async def transfer(worker: int) -> None:
        session = manager.session()
        number = 1_000_000 + worker * 100_000
        while not stop.is_set():
            number += 2

            async def both(transaction: Transaction, first: int = number) -> None:
                await transaction.documents(name).insert_one({"_id": first})
                await asyncio.sleep(0.02)
                await transaction.documents(name).insert_one({"_id": first + 1})

            await session.run_in_transaction(both, attempts_max=20)
            transferred.append(number)

    # The stand-in refuses one of those who make a collection at the same moment.
    await manager.session().documents(name).insert_one({"_id": 0})
    await manager.session().documents(name).delete_one({"_id": 0})
    tasks = [asyncio.create_task(each) for each in (write(1), write(2), transfer(1), transfer(2))]
    recovered = []
    try:
        for number in (SECONDARY, PRIMARY):
            await asyncio.sleep(0.4)
            await replica_set.step_down()
            await asyncio.sleep(0.2)  # nobody is elected yet
            await replica_set.set_primary(number)
            began, before = monotonic(), len(acknowledged)
            async with asyncio.timeout(15):
                while len(acknowledged) < before + 2:
                    await asyncio.sleep(0.01)
            recovered.append(monotonic() - began)
    finally:
        stop.set()
        await asyncio.wait(tasks, timeout=60)
    await asyncio.gather(*tasks)
    assert failed == []
    assert max(recovered) < 5
    assert transferred
    found = [row["_id"] for row in await manager.session().documents(name).find({})]
    expected = {*acknowledged, *transferred, *(number + 1 for number in transferred)}
    assert sorted(found) == sorted(expected)
    async with asyncio.timeout(10):  # the driver tells of changes now and then
        while source_of(manager).stats().detail["primary_changes_total"] < 2:
            await asyncio.sleep(0.05)


async def test_a_transaction_in_flight_is_run_again(
    manager: DatabaseManager, replica_set: StandInReplicaSet, name: str
) -> None:
    runs = 0

    async def work(transaction: Transaction) -> None:
        nonlocal runs
        runs += 1
        await transaction.documents(name).insert_one({"_id": 1})
        if runs == 1:
            await replica_set.set_primary(SECONDARY)
        await transaction.documents(name).insert_one({"_id": 2})

    await manager.session().run_in_transaction(work, attempts_max=10)
    assert runs >= 2
    assert await manager.session().documents(name).count({}) == 2


async def test_members_are_followed(open_manager: OpenManager, replica_set: StandInReplicaSet, name: str) -> None:
    events = Events()
    manager = await open_manager(events=events)
    first, second = replica_set.addresses
    await events.wait_for(("node_added", second), ("node_up", first), ("node_up", second))

    nodes = (await manager.pools["default"].health_check()).nodes
    assert {address: (node.role, node.is_primary, node.serves_reads) for address, node in nodes.items()} == {
        first: ("primary", True, False),
        second: ("replica", False, True),
    }
    assert nodes[first].lag_seconds == 0.0
    assert 9.0 <= (nodes[second].lag_seconds or 0.0) <= 12.0  # the driver asks every 10 s, and promises no less
    await manager.session().documents(name).count({})
    figures = manager.pools["default"].stats().nodes
    assert figures[first].pool.acquired_total + figures[second].pool.acquired_total >= 2
    assert all(node.pool.leased == 0 and node.pool.open >= 1 for node in figures.values())

    await replica_set.set_primary(SECONDARY)
    await manager.session().documents(name).insert_one({"_id": 1})
    await events.wait_for(("primary_changed", second))

    await replica_set.stop_member(PRIMARY)
    try:
        for _ in range(3):  # one member lives: every read is served
            assert await manager.session().documents(name).count({}) == 1
        await events.wait_for(("node_down", first))
        down = manager.pools["default"].stats().nodes[first]
        assert (down.state, down.serves_reads, down.role) == ("down", False, "unknown")
        assert "does not answer" in down.reason
    finally:
        await replica_set.start_member(PRIMARY)
    assert ("node_removed", first) not in events.told
