"""Timeouts and cancellations stop the command on the server, and never cross replies."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.mongodb.deployment import Observer, OpenManager, begun, connections, endless, gone, make_busy, none_open

from sillar import DatabaseManager, DatabaseSession, deadline
from sillar.errors import DatabaseError, StatementTimeoutError
from sillar.execution.documents import DocumentCollection

pytestmark = pytest.mark.usefixtures("mongodb")

CANCELLATIONS = 10_000


async def settled(manager: DatabaseManager) -> None:
    """Return once nothing of the pool is in use any more."""
    async with asyncio.timeout(10):
        while True:
            health = manager.pools["default"].stats()
            if not (
                health.leased or health.waiting or health.connecting or health.restoring or health.detail["leases"]
            ):
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("further", [(), ({"$out": "endless_out"},)], ids=["read", "write"])
async def test_a_cancelled_caller_stops_the_command_on_the_server(
    manager: DatabaseManager, session: DatabaseSession, observer: Observer, further: Any
) -> None:
    await make_busy(session)
    task = asyncio.create_task(session.execute(endless("cancelled", *further)))
    await begun(observer, "cancelled")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(observer, "cancelled")
    await settled(manager)
    assert await session.documents("busy").count() == 1500


@pytest.mark.parametrize("how", ["argument", "deadline", "option"])
async def test_a_timeout_stops_the_command_on_the_server(
    open_manager: OpenManager, session: DatabaseSession, observer: Observer, how: str
) -> None:
    await make_busy(session)
    manager = await open_manager(options={"statement_timeout": 0.3} if how == "option" else {})
    limited = manager.session()
    with pytest.raises(StatementTimeoutError) as stopped:
        if how == "argument":
            await limited.execute(endless(how), timeout_seconds=0.3)
        elif how == "deadline":
            with deadline(0.3):
                await limited.execute(endless(how))
        else:
            await limited.execute(endless(how))
    assert isinstance(stopped.value, TimeoutError)
    assert not stopped.value.safe_to_retry
    await gone(observer, how)
    assert await limited.documents("busy").count() == 1500


async def test_a_command_is_stopped_from_outside(
    manager: DatabaseManager, session: DatabaseSession, observer: Observer
) -> None:
    await make_busy(session)
    lease = await manager.get_connection()
    task = asyncio.create_task(lease.execute(endless("outside")))
    await begun(observer, "outside")
    await lease.connection.cancel()
    with pytest.raises(DatabaseError):
        await task
    await gone(observer, "outside")
    lease.release()


async def test_a_stream_whose_reader_is_cancelled_leaves_nothing(
    manager: DatabaseManager, stones: DocumentCollection, observer: Observer
) -> None:
    await stones.insert_many([{"n": n, "text": "x" * 500} for n in range(3000)])
    before = (await observer.admin.command("serverStatus"))["metrics"]["cursor"]["open"]["total"]

    async def read() -> None:
        async with stones.stream(batch_rows=20) as rows:
            async for _ in rows:
                await asyncio.sleep(0.001)

    tasks = [asyncio.create_task(read()) for _ in range(5)]
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*tasks, return_exceptions=True)
    )
    await settled(manager)
    async with asyncio.timeout(15):
        while (await observer.admin.command("serverStatus"))["metrics"]["cursor"]["open"]["total"] > before:
            await asyncio.sleep(0.02)


async def test_many_cancellations_at_random_points(open_manager: OpenManager, observer: Observer) -> None:
    """No reply ever reaches another caller, and the server's sockets and transactions are back at their baseline."""
    manager = await open_manager(pool={"max_connections": 10, "connection_timeout": 30})
    session = manager.session()
    collection = session.documents("storm")
    await collection.drop()
    await collection.insert_many([{"_id": n, "square": n * n} for n in range(1000)])
    baseline = await connections(observer)
    chance = random.Random(4711)
    crossed: list[Any] = []
    answered = cancelled = 0

    async def ask(number: int) -> None:
        nonlocal answered
        own = manager.session()
        mine = own.documents("storm")
        if number % 10 == 0:
            async with own.transaction():
                await mine.update_one({"_id": number}, {"$set": {"seen": number}})
                found = await mine.find_one({"_id": number})
        else:
            found = await mine.find_one({"_id": number})
        if found is None or found["_id"] != number or found["square"] != number * number:
            crossed.append((number, found))
        answered += 1

    while cancelled < CANCELLATIONS:
        tasks = [asyncio.create_task(ask(chance.randrange(1000))) for _ in range(100)]
        for _ in range(chance.randrange(1, 40)):
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 0.02))
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, asyncio.CancelledError):
                cancelled += 1
            elif isinstance(outcome, DatabaseError):
                assert outcome.safe_to_retry, outcome  # two transactions on one document
            elif outcome is not None:
                raise outcome
    assert crossed == []
    await asyncio.gather(*(ask(number) for number in range(1, 200) if number % 10))
    assert crossed == []
    assert answered
    await settled(manager)
    health = manager.pools["default"].stats()
    assert health.open <= 11  # one more for the killing
    assert health.opened_total <= 15  # a storm keeps its connections
    assert health.detail["sessions_killed_total"] >= 200  # so many were under way in the driver
    async with asyncio.timeout(15):
        while await connections(observer) > baseline + 11:
            await asyncio.sleep(0.05)
    await none_open(observer)
    await collection.drop()
