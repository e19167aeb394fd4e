"""Where reads go, and what they say they have to see: as the members have received it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.mongodb.deployment import endless, make_busy
from tests.topology_mongodb.conftest import PRIMARY, SECONDARY, OpenManager, elsewhere, seen, source_of

from sillar import (
    Consistency,
    DatabaseManager,
    DocumentCommand,
    consistency_context,
    errors,
    primary_context,
    replica_context,
)
from sillar.consistency import current_causality
from sillar.testing.servers.mongodb_gateway.replica_set import Seen
from sillar.testing.servers.mongodb_gateway.stand_in_set import StandInReplicaSet


async def read(manager: DatabaseManager, name: str, consistency: Consistency | None = None) -> list[Any]:
    async with manager.session(consistency=consistency) as session:
        return await session.documents(name).find({})


def the_only(replica_set: StandInReplicaSet, name: str) -> tuple[int, Seen]:
    """Which member has got the only find, and what it was."""
    found = [(number, each) for number in (PRIMARY, SECONDARY) for each in seen(replica_set, number, name)]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("consistency", "member", "preference", "staleness"),
    [
        (None, SECONDARY, "secondaryPreferred", None),
        (Consistency.READ_YOUR_WRITES, SECONDARY, "secondaryPreferred", None),
        (Consistency.EVENTUAL, SECONDARY, "secondaryPreferred", None),
        (Consistency.STRONG, PRIMARY, None, None),
        (Consistency.bounded(120.5), SECONDARY, "secondaryPreferred", 120),
        (Consistency.bounded(5.0), PRIMARY, None, None),
    ],
)
async def test_levels_are_read_preferences(
    manager: DatabaseManager,
    replica_set: StandInReplicaSet,
    name: str,
    consistency: Consistency | None,
    member: int,
    preference: str | None,
    staleness: int | None,
) -> None:
    assert await elsewhere(read(manager, name, consistency)) == []
    number, found = the_only(replica_set, name)
    assert (number, found.preference, found.staleness_seconds, found.after) == (member, preference, staleness, None)


async def test_blocks_decide_as_well(manager: DatabaseManager, replica_set: StandInReplicaSet, name: str) -> None:
    async def in_blocks() -> None:
        session = manager.session()
        with primary_context():
            await session.documents(name).find({})
        assert the_only(replica_set, name)[0] == PRIMARY
        with consistency_context(Consistency.STRONG):
            await session.documents(name).find({})
        assert len(seen(replica_set, PRIMARY, name)) == 2
        with replica_context():
            ping: Any = DocumentCommand("", "command", {"command": {"count": name}})  # type: ignore[arg-type]
            await session.execute(ping)
        assert seen(replica_set, SECONDARY, name, "count")[0].preference == "secondaryPreferred"
        await session.execute(ping)
        assert len(seen(replica_set, PRIMARY, name, "count")) == 1  # whatever may write goes to the primary

    await elsewhere(in_blocks())


async def test_every_kind_of_read(manager: DatabaseManager, replica_set: StandInReplicaSet, name: str) -> None:
    async def reads() -> None:
        documents = manager.session().documents(name)
        await documents.count({})
        await documents.distinct("a")
        await documents.aggregate([{"$match": {"a": 1}}])
        await documents.find_one({"a": 1})
        async with documents.stream({}) as rows:
            assert [row async for row in rows] == []

    await elsewhere(reads())
    kinds = ("aggregate", "distinct", "find")
    assert [len(seen(replica_set, SECONDARY, name, kind)) for kind in kinds] == [2, 1, 2]
    assert not any(seen(replica_set, PRIMARY, name, kind) for kind in kinds)


async def test_own_writes_are_read_although_the_secondary_is_behind(
    manager: DatabaseManager, replica_set: StandInReplicaSet, name: str
) -> None:
    async def write_and_read() -> list[Any]:
        await manager.session().documents(name).insert_one({"_id": 1})
        return await read(manager, name)

    await manager.session().documents(name).insert_one({"_id": 0})
    await replica_set.hold_back(SECONDARY)
    task = asyncio.create_task(write_and_read())
    assert await elsewhere(read(manager, name, Consistency.EVENTUAL)) == [{"_id": 0}]
    await asyncio.sleep(0.3)
    assert not task.done()  # the secondary waits until it has what was written
    assert len(await elsewhere(read(manager, name, Consistency.EVENTUAL))) == 1  # and nobody waits with it
    await replica_set.catch_up(SECONDARY)
    assert len(await asyncio.wait_for(task, 10)) == 2
    waiting = [each for each in seen(replica_set, SECONDARY, name) if each.after is not None]
    assert len(waiting) == 1
    assert not seen(replica_set, PRIMARY, name)


async def test_what_a_transaction_has_written(
    manager: DatabaseManager, replica_set: StandInReplicaSet, name: str
) -> None:
    session = manager.session()
    async with session.transaction():
        await session.documents(name).insert_one({"_id": 1})
        assert len(await session.documents(name).find({})) == 1
    assert len(await session.documents(name).find({})) == 1
    inside, after = seen(replica_set, PRIMARY, name), seen(replica_set, SECONDARY, name)
    assert [each.in_transaction for each in inside] == [True]
    assert [each.after is None for each in after] == [False]
    assert after[0].after == current_causality().marks["default"].operation_time


async def test_the_next_lease_waits_for_nothing_of_this_one(
    manager: DatabaseManager, replica_set: StandInReplicaSet, name: str
) -> None:
    async def write_and_read() -> None:
        await manager.session().documents(name).insert_one({"_id": 1})
        await read(manager, name)

    await elsewhere(write_and_read())
    await elsewhere(read(manager, name))
    first, second = seen(replica_set, SECONDARY, name)
    assert first.after is not None
    assert second.after is None
    await elsewhere(write_and_read_nothing(manager, name))


async def write_and_read_nothing(manager: DatabaseManager, name: str) -> None:
    """A line that was refused before anything was sent has written nothing."""
    with replica_context(), pytest.raises(errors.ReadOnlyError, match="only reads"):
        await manager.session().documents(name).insert_one({"_id": 2})
    lease = await manager.get_connection()
    lease.release()
    assert "default" not in current_causality().marks


async def test_read_only_transactions_refuse_writes_and_run_on_the_primary(
    manager: DatabaseManager, replica_set: StandInReplicaSet, name: str
) -> None:
    session = manager.session()
    async with session.transaction(read_only=True):
        assert await session.documents(name).find({}) == []
        with pytest.raises(errors.ReadOnlyError, match="only reads"):
            await session.documents(name).delete_many({})
        with pytest.raises(errors.ReadOnlyError, match="only reads"):
            await session.documents(name).aggregate([{"$out": "other"}])
    assert the_only(replica_set, name)[0] == PRIMARY
    await session.documents(name).insert_one({"_id": 1})
    with replica_context():
        async with session.transaction():
            assert len(await session.documents(name).find({})) == 1
            assert await session.execute(
                DocumentCommand("", "command", {"command": {"count": name}})  # type: ignore[arg-type]
            )


@pytest.mark.parametrize(("preference", "member"), [("primary", PRIMARY), ("secondary", SECONDARY)])
async def test_a_configured_preference_wins_where_nothing_is_asked(
    open_manager: OpenManager, replica_set: StandInReplicaSet, name: str, preference: str, member: int
) -> None:
    manager = await open_manager({"read_preference": preference})

    async def work() -> None:
        await read(manager, name)
        await manager.session().documents(name).insert_one({"_id": 1})
        await read(manager, name)

    await elsewhere(work())
    before, after = seen(replica_set, member, name)
    assert before.after is None
    assert (after.after is None) == (member == PRIMARY)
    await elsewhere(read(manager, name, Consistency.STRONG))
    await elsewhere(read(manager, name, Consistency.EVENTUAL))
    assert len(seen(replica_set, PRIMARY, name)) == (3 if member == PRIMARY else 1)
    assert len(seen(replica_set, SECONDARY, name)) == (1 if member == PRIMARY else 3)


@pytest.mark.parametrize(("level", "member"), [("strong", PRIMARY), ("eventual", SECONDARY)])
async def test_the_default_of_the_database(
    open_manager: OpenManager, replica_set: StandInReplicaSet, name: str, level: str, member: int
) -> None:
    manager = await open_manager(topology={"consistency": level})
    await manager.session().documents(name).insert_one({"_id": 1})
    await read(manager, name)
    number, found = the_only(replica_set, name)
    assert (number, found.after) == (member, None)


async def test_a_write_whose_reply_was_lost_sends_the_next_read_to_the_primary(
    manager: DatabaseManager, replica_set: StandInReplicaSet, name: str
) -> None:
    await make_busy(manager.session())

    async def slow_write_and_read() -> None:
        documents = manager.session().documents(name)
        await documents.insert_one({"_id": 1})
        with pytest.raises(errors.StatementTimeoutError):
            await manager.session().execute(endless("lost", {"$merge": {"into": name}}), timeout_seconds=0.3)
        await read(manager, name)
        assert the_only(replica_set, name)[0] == PRIMARY
        await documents.insert_one({"_id": 2})  # whose time is known
        await read(manager, name)
        assert len(seen(replica_set, SECONDARY, name)) == 1

    await elsewhere(slow_write_and_read())
    assert source_of(manager).stats().detail["sessions_killed_total"] >= 1
