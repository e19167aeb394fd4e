"""Beanie in transactions of Sillar's: the same server session, one task, one end; and what a cancellation leaves."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from beanie import BulkWriter
from tests.integrations.beanie.conftest import Notes
from tests.integrations.beanie.quarry import Contract, Stone
from tests.integrations.beanie.test_documents import settled
from tests.mongodb.deployment import ENDLESS, begun, gone, make_busy

from sillar import DatabaseManager, detached, errors
from sillar.integrations.beanie import BeanieIntegration, BeanieSession
from sillar.testing.servers import MongoDBServer


async def test_a_transaction_is_shared_with_raw_commands(
    beanie: BeanieIntegration, manager: DatabaseManager, outside: Any, notes: Notes
) -> None:
    async with manager.session() as session, session.transaction() as transaction:
        await Stone(name="beanie", weight=1).insert()
        await transaction.documents("stones").insert_one({"name": "raw", "weight": 2})
        assert await transaction.documents("stones").count() == 2
        assert sorted([each.name async for each in Stone.find_all()]) == ["beanie", "raw"]
        assert await Stone.count() == await Stone.sum(Stone.weight) - 1 == 2
        async with BulkWriter() as writer:
            await Stone.insert_one(Stone(name="bulk"), bulk_writer=writer)
        assert await outside["stones"].count_documents({}) == 0
    assert await outside["stones"].count_documents({}) == 3
    assert notes.outcomes == ["commit"]


@pytest.mark.parametrize("first", ["beanie", "raw"])
async def test_both_roll_back_together(beanie: BeanieIntegration, outside: Any, first: str) -> None:
    contract = await Contract(text="before").insert()
    with pytest.raises(ZeroDivisionError):
        async with beanie.transaction() as transaction:
            if first == "raw":
                await transaction.documents("stones").insert_one({"name": "raw"})
            await Stone(name="beanie").insert()
            await contract.set({Contract.text: "after"})
            if first == "beanie":
                await transaction.documents("stones").insert_one({"name": "raw"})
            assert await Stone.count() == 2
            raise ZeroDivisionError
    assert await Stone.count() == 0
    read = await Contract.get(contract.id)
    assert read is not None
    assert read.text == "before"


async def test_a_session_that_begins_by_itself(beanie: BeanieIntegration, manager: DatabaseManager) -> None:
    async with manager.session(autobegin=True) as session:
        await Stone(name="a").insert()
        assert session.in_transaction
        assert await session.documents("stones").count() == 1
        await session.rollback()
        assert await Stone.find_all().to_list() == []
    assert await Stone.count() == 0


async def test_another_task_is_refused_and_may_detach(beanie: BeanieIntegration, outside: Any) -> None:
    async def insert() -> None:
        await Stone(name="other").insert()

    async def insert_detached() -> None:
        with detached():
            await insert()

    async with beanie.transaction():
        await Stone(name="mine").insert()
        with pytest.raises(errors.UsageError, match="belongs to the task that began it"):
            await asyncio.create_task(insert())
        with pytest.raises(errors.UsageError, match="belongs to the task that began it"):
            await asyncio.gather(Stone.find_all().to_list())
        await asyncio.create_task(insert_detached())
        assert [each["name"] for each in await outside["stones"].find().to_list()] == ["other"]


@pytest.mark.parametrize("how", ["commit", "rollback"])
async def test_after_the_end_nothing_runs_in_the_block(
    beanie: BeanieIntegration, manager: DatabaseManager, how: str
) -> None:
    async with manager.session() as session:
        async with session.transaction() as transaction:
            await Stone.insert_many([Stone(name=f"s{number:03}") for number in range(30)])
            cursor: Any = Stone.get_pymongo_collection().find(batch_size=10)
            assert await anext(cursor)
            joined = await beanie.create_session()
            assert joined.driver_session.in_transaction
            await getattr(transaction, how)()
            with pytest.raises(errors.UsageError, match="has ended"):
                await Stone(name="late").insert()
            with pytest.raises(errors.UsageError, match="has ended"):
                await cursor.to_list()
            with pytest.raises(errors.UsageError, match="has ended"):
                _ = joined.driver_session
            await cursor.close()
        assert await Stone.count() == (30 if how == "commit" else 0)
    await settled(manager)


async def test_a_failed_command_aborts_the_transaction(beanie: BeanieIntegration) -> None:
    await Stone(name="one").insert()
    with pytest.raises(errors.DatabaseError):
        async with beanie.errors():
            async with beanie.transaction():
                await Stone(name="two").insert()
                await Stone(name="one").insert()
    assert [each.name for each in await Stone.find_all().to_list()] == ["one"]


async def test_snapshots_are_isolated(beanie: BeanieIntegration) -> None:
    async with beanie.transaction():
        await Stone.find_all().to_list()
        await asyncio.create_task(_detached_insert("outside"))
        assert await Stone.count() == 0
    assert await Stone.count() == 1


async def _detached_insert(name: str) -> None:
    with detached():
        await Stone(name=name).insert()


# --- sessions by hand -------------------------------------------------------------------------------------------------


async def test_a_session_of_its_own_commits_and_rolls_back(beanie: BeanieIntegration, outside: Any) -> None:
    async with await beanie.create_session() as session:
        assert isinstance(session, BeanieSession)
        await Stone(name="kept").insert(session=session.driver_session)
        assert await Stone.count() == 0  # not passed, so outside
        assert len(await Stone.find(session=session.driver_session).to_list()) == 1
        assert len(await Stone.aggregate([], session=session.driver_session).to_list()) == 1
        await session.commit()
        await Stone(name="undone").insert(session=session.driver_session)
        await session.rollback()
        await Stone(name="left").insert(session=session.driver_session)
    assert [each["name"] for each in await outside["stones"].find().to_list()] == ["kept"]
    with pytest.raises(errors.UsageError, match="has ended"):
        await session.commit()
    session = await beanie.create_session()
    await Stone(name="undone").insert(session=session.driver_session)
    for _ in range(2):
        await session.close()
    assert await Stone.count() == 1


async def test_the_end_of_a_session_belongs_to_its_block(beanie: BeanieIntegration) -> None:
    with pytest.raises(ZeroDivisionError):
        async with await beanie.create_session() as session:
            await Stone(name="undone").insert(session=session.driver_session)
            raise ZeroDivisionError
    assert await Stone.count() == 0


async def test_a_session_that_has_joined_neither_commits_nor_rolls_back(
    beanie: BeanieIntegration, outside: Any
) -> None:
    async with beanie.transaction():
        async with await beanie.create_session() as session:
            await Stone(name="a").insert(session=session.driver_session)
            await session.commit()
            with pytest.raises(errors.UnsupportedCapabilityError, match="raise an exception out of its block"):
                await session.rollback()
        assert await outside["stones"].count_documents({}) == 0
        assert await Stone.count() == 1  # the same transaction
    assert await outside["stones"].count_documents({}) == 1


async def test_a_handed_out_session_is_one_tasks(beanie: BeanieIntegration) -> None:
    async with await beanie.create_session() as session:
        driver_session = session.driver_session
        with pytest.raises(errors.UsageError, match="belongs to the task that began it"):
            await asyncio.create_task(Stone.find(session=driver_session).to_list())
    with pytest.raises(errors.UsageError, match="has ended"):
        await Stone(name="late").insert(session=driver_session)


async def test_the_drivers_own_sessions_work_as_always(beanie: BeanieIntegration, outside: Any) -> None:
    client = beanie.database.client
    async with client.start_session() as own:
        async with await own.start_transaction():
            await Stone(name="a").insert(session=own)
            assert len(await Stone.find(session=own).to_list()) == 1
            assert await outside["stones"].count_documents({}) == 0
            async with beanie.transaction():
                assert await Stone.count() == 0  # another transaction
    assert await outside["stones"].count_documents({}) == 1


# --- cancellation and load --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("within", ["nothing", "transaction", "own session"])
async def test_a_cancelled_call_is_stopped_on_the_server(
    beanie: BeanieIntegration, manager: DatabaseManager, outside: Any, within: str
) -> None:
    await make_busy(manager.session())
    session = beanie.database.client.start_session() if within == "own session" else None

    async def call() -> None:
        collection = beanie.database["busy"]
        await (await collection.aggregate(ENDLESS, session=session, comment=within)).to_list()

    async def call_in_transaction() -> None:
        async with beanie.transaction():
            await Stone(name="undone").insert()
            await call()

    task = asyncio.create_task(call_in_transaction() if within == "transaction" else call())
    await begun(outside.client, within)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(outside.client, within)
    await settled(manager)
    if session is not None:
        await session.end_session()
    assert await Stone.count() == 0
    assert manager.pools["default"].stats().lost_total == 0


async def test_a_cursor_whose_batch_was_cancelled_is_over(
    beanie: BeanieIntegration, manager: DatabaseManager, outside: Any
) -> None:
    await Stone(name="a").insert()
    cursor: Any = Stone.get_pymongo_collection().find()
    task = asyncio.create_task(cursor.to_list())
    async with asyncio.timeout(30):
        while not manager.pools["default"].stats().detail["commands"]:
            assert not task.done()
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(errors.UsageError, match="run the query again"):
        await cursor.to_list()
    await settled(manager)


async def test_many_tasks_wait_their_turn_and_cancellations_leak_nothing(
    beanie: BeanieIntegration, manager: DatabaseManager
) -> None:
    await Stone.insert_many([Stone(name=f"s{number:02}", weight=number) for number in range(40)])
    chance = random.Random(7)
    health = manager.pools["default"].stats
    peak = 0

    async def call(number: int) -> int:
        nonlocal peak
        peak = max(peak, health().open)
        if number % 3 == 0:
            return len(await Stone.find(Stone.weight < 25, batch_size=10).to_list())
        if number % 3 == 1:
            return len(await Stone.aggregate([{"$match": {"weight": {"$lt": 25}}}], batchSize=10).to_list())
        stone = await Stone.find_one(Stone.weight == number % 40)
        assert stone is not None
        return stone.weight

    async def impatient(number: int) -> int | None:
        try:
            async with asyncio.timeout(chance.uniform(0.0, 0.2)):
                return await call(number)
        except TimeoutError:
            return None

    results = await asyncio.gather(*(impatient(number) for number in range(400)))
    assert results.count(None) > 20
    for number, result in enumerate(results):
        assert result in (None, number % 40 if number % 3 == 2 else 25)
    await settled(manager)
    assert peak <= 5  # four, and one for killing sessions
    assert health().lost_total == 0
    assert await asyncio.gather(*(call(2) for _ in range(50))) == [2] * 50


async def test_too_many_callers_are_refused_as_everywhere(mongodb: MongoDBServer, outside: Any) -> None:
    pool = {"max_connections": 1, "waiting_max": 5}
    async with DatabaseManager.from_url(mongodb.url, overrides={"connection_pools": pool}) as manager:
        await BeanieIntegration(manager).open(Stone)
        results = await asyncio.gather(*(Stone.find_all().to_list() for _ in range(30)), return_exceptions=True)
        refused = [each for each in results if isinstance(each, Exception)]
        assert {type(each) for each in refused} == {errors.PoolExhaustedError}
        assert len(refused) == 24
        assert manager.pools["default"].stats().detail["leases"] == 0


async def test_a_cursor_that_another_thread_collects_gives_its_lease_back(
    beanie: BeanieIntegration, manager: DatabaseManager
) -> None:
    await Stone.insert_many([Stone(name=f"s{number}") for number in range(30)])
    cursors: list[Any] = [Stone.get_pymongo_collection().find(batch_size=10)]
    assert await anext(cursors[0])
    assert manager.pools["default"].stats().detail["leases"] == 1
    await asyncio.to_thread(cursors.clear)
    await settled(manager)
