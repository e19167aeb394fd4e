"""Transactions: all or nothing, isolated, conflicts told."""

from __future__ import annotations

import asyncio

import pytest
from tests.mongodb.deployment import (
    Observer,
    OpenManager,
    begun,
    endless,
    gone,
    make_busy,
    none_open,
    open_transactions,
)

from sillar import DatabaseManager, DatabaseSession, Isolation
from sillar.errors import (
    PoolTimeoutError,
    SerializationError,
    StatementTimeoutError,
    UniqueViolationError,
    UnsupportedCapabilityError,
    UsageError,
)
from sillar.execution.documents import DocumentCollection

pytestmark = pytest.mark.usefixtures("mongodb")


async def test_commit_and_rollback(
    manager: DatabaseManager, session: DatabaseSession, stones: DocumentCollection, observer: Observer
) -> None:
    await stones.insert_one({"_id": 0})
    others = manager.session().documents(stones.name)
    async with session.transaction() as transaction:
        await stones.insert_one({"_id": 1})
        await transaction.documents(stones.name).insert_one({"_id": 2})
        assert await stones.count() == 3
        assert await others.count() == 1
        assert await open_transactions(observer) == 1
    assert await others.count() == 3
    with pytest.raises(ZeroDivisionError):
        async with session.transaction():
            await stones.delete_many({})
            assert await stones.count() == 0
            raise ZeroDivisionError
    assert await others.count() == 3
    assert await open_transactions(observer) == 0
    async with session.transaction():
        pass  # nothing to commit is no error
    assert manager.pools["default"].stats().detail["leases"] == 0


async def test_a_stream_inside_a_transaction_sees_it(session: DatabaseSession, stones: DocumentCollection) -> None:
    await stones.insert_one({"_id": -1})
    async with session.transaction():
        await stones.insert_many([{"_id": n} for n in range(50)])
        async with stones.stream(batch_rows=7) as rows:
            assert len([row async for row in rows]) == 51
        await stones.delete_many({})
    assert await stones.count() == 0


async def test_snapshot_isolation(
    manager: DatabaseManager, session: DatabaseSession, stones: DocumentCollection
) -> None:
    await stones.insert_one({"_id": 0})
    others = manager.session().documents(stones.name)
    async with session.transaction(isolation=Isolation.REPEATABLE_READ):
        assert await stones.count() == 1
        await others.insert_one({"_id": 1})
        assert await stones.count() == 1
    assert await stones.count() == 2


async def test_a_conflict_is_a_serialization_error(
    manager: DatabaseManager, session: DatabaseSession, stones: DocumentCollection
) -> None:
    await stones.insert_one({"_id": 0, "n": 0})
    other = manager.session()
    with pytest.raises(SerializationError) as conflict:
        async with session.transaction():
            await stones.update_one({"_id": 0}, {"$inc": {"n": 1}})
            async with other.transaction():
                await other.documents(stones.name).update_one({"_id": 0}, {"$inc": {"n": 10}})
    assert conflict.value.safe_to_retry
    assert await stones.find_one() == {"_id": 0, "n": 0}
    async with session.transaction():
        await stones.update_one({"_id": 0}, {"$inc": {"n": 1}})
    assert await stones.find_one() == {"_id": 0, "n": 1}


async def test_an_error_ends_the_transaction(session: DatabaseSession, stones: DocumentCollection) -> None:
    await stones.insert_one({"_id": 0})
    with pytest.raises(SerializationError, match="aborted"):
        async with session.transaction():
            await stones.insert_one({"_id": 1})
            with pytest.raises(UniqueViolationError):
                await stones.insert_one({"_id": 0})
            await stones.insert_one({"_id": 2})
    assert await stones.find() == [{"_id": 0}]


async def test_what_mongodb_has_not_is_refused_before_anything_is_sent(
    session: DatabaseSession, stones: DocumentCollection
) -> None:
    for options in ({"isolation": Isolation.SERIALIZABLE}, {"settings": [("a", "b")]}):
        with pytest.raises(UnsupportedCapabilityError):
            session.transaction(**options)  # type: ignore[arg-type]
    async with session.transaction():
        await stones.insert_one({"_id": 1})
        with pytest.raises(UnsupportedCapabilityError, match="savepoints"):
            session.transaction()
    assert await stones.count() == 1


async def test_savepoints_are_refused_on_a_lease_as_well(manager: DatabaseManager) -> None:
    async with await manager.get_connection() as lease:
        for verb in (
            lease.connection.savepoint,
            lease.connection.release_savepoint,
            lease.connection.rollback_to_savepoint,
        ):
            with pytest.raises(UnsupportedCapabilityError):
                await verb("a")


async def test_a_lease_and_its_transaction(manager: DatabaseManager, stones: DocumentCollection) -> None:
    bound = manager.session().documents(stones.name)._command
    async with await manager.get_connection() as lease:
        async with lease.transaction():
            await lease.execute(bound("insert_one", {"document": {"_id": 1}}))
            with pytest.raises(UsageError):
                async with lease.transaction():
                    pass
        assert await lease.fetch_all(bound("find", {})) == [{"_id": 1}]
        assert await lease.fetch_value(bound("count", {})) == 1
        assert (await lease.raw.admin.command("ping"))["ok"] == 1
    assert lease.adapter.driver == "pymongo"


async def test_a_lease_left_in_a_transaction_is_rolled_back(
    manager: DatabaseManager, stones: DocumentCollection, observer: Observer
) -> None:
    lease = await manager.get_connection()
    await lease.connection.begin()
    bound = manager.session().documents(stones.name)._command
    await lease.execute(bound("insert_one", {"document": {"_id": 1}}))
    assert await open_transactions(observer) == 1
    lease.release()
    await none_open(observer)
    assert await stones.count() == 0


async def test_a_timeout_inside_a_transaction_aborts_it(
    session: DatabaseSession, stones: DocumentCollection, observer: Observer
) -> None:
    await make_busy(session)
    with pytest.raises(StatementTimeoutError):
        async with session.transaction():
            await stones.insert_one({"_id": 1})
            await session.execute(endless("in-transaction"), timeout_seconds=0.3)
    await gone(observer, "in-transaction")
    await none_open(observer)
    assert await stones.count() == 0


async def test_a_transaction_whose_command_was_cancelled_cannot_commit(
    session: DatabaseSession, stones: DocumentCollection, observer: Observer
) -> None:
    await make_busy(session)
    with pytest.raises(SerializationError, match="aborted"):
        async with session.transaction():
            await stones.insert_one({"_id": 1})
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await session.execute(endless("cancelled-inside"))
    await gone(observer, "cancelled-inside")
    assert await stones.count() == 0
    await none_open(observer)


async def test_a_commit_that_gets_no_turn_is_rolled_back(open_manager: OpenManager, observer: Observer) -> None:
    manager = await open_manager(pool={"max_connections": 1, "connection_timeout": 0.3})
    session = manager.session()
    await make_busy(session)
    await session.documents("no_turn").drop()
    transaction = await session.transaction().begin()
    await session.documents("no_turn").insert_one({"_id": 1})
    busy = asyncio.create_task(manager.session().execute(endless("no turn")))
    await begun(observer, "no turn")
    with pytest.raises(PoolTimeoutError):
        await transaction.commit()
    busy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await busy
    await none_open(observer)
    assert await session.documents("no_turn").count() == 0


async def test_a_bulk_insert_whose_caller_leaves_is_whole_or_absent(
    manager: DatabaseManager, stones: DocumentCollection, observer: Observer
) -> None:
    for delay in (0.0, 0.01, 0.03, 0.06, 0.1, 0.2):
        rows = [(f"{delay} {n}",) for n in range(3000)]
        task = asyncio.create_task(manager.session().bulk_insert(stones.name, ["_id"], rows))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with asyncio.timeout(30):
        while manager.pools["default"].stats().restoring or await open_transactions(observer):
            await asyncio.sleep(0.02)
    assert await stones.count() % 3000 == 0


async def test_a_conflict_in_a_bulk_insert_is_not_repeated_with_consumed_rows(
    manager: DatabaseManager, session: DatabaseSession, stones: DocumentCollection
) -> None:
    await stones.create_index("n", unique=True)
    async with session.transaction():
        await stones.insert_one({"n": 5})
        with pytest.raises(SerializationError) as conflict:
            await manager.session().bulk_insert(stones.name, ["n"], ((n,) for n in range(10)))
    assert not conflict.value.safe_to_retry
    assert await stones.count() == 1
