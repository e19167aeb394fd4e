"""Beanie's own code over a manager: unchanged, on the manager's client, counted."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import beanie as library
import pytest
from beanie import BulkWriter, Document, TimeSeriesConfig
from beanie.exceptions import DocumentNotFound, RevisionIdWasChanged
from beanie.operators import Inc, Set
from bson import DBRef, ObjectId
from pymongo.errors import DuplicateKeyError, OperationFailure
from tests.integrations.beanie.conftest import Notes
from tests.integrations.beanie.quarry import Colour, Contract, Heavy, Place, Quarry, Stone

from sillar import DatabaseManager, deadline, errors
from sillar.context import correlation, current_correlation_id
from sillar.integrations.beanie import BeanieIntegration
from sillar.testing.servers import MongoDBServer


async def settled(manager: DatabaseManager) -> None:
    """Return once nothing of the pool is in use any more."""
    async with asyncio.timeout(30):
        while True:
            gc.collect()
            health = manager.pools["default"].stats()
            if not (health.leased or health.waiting or health.connecting or health.detail["leases"]):
                return
            await asyncio.sleep(0.02)


async def test_documents_are_created_read_changed_and_deleted(beanie: BeanieIntegration, outside: Any) -> None:
    found_at = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
    stone = Stone(name="ashlar", weight=120, price=Decimal("9.50"), colour=Colour.RED, foundAt=found_at, tags=["wall"])
    await stone.insert()
    assert await outside["stones"].find_one({}, {"_id": 0, "price": 0}) == {
        "name": "ashlar", "weight": 120, "colour": "red", "foundAt": found_at, "tags": ["wall"], "quarry": None,
    }  # fmt: skip
    read = await Stone.get(stone.id)
    assert read == stone
    await stone.set({Stone.weight: 130})
    await Stone.find(Stone.name == "ashlar").update(Inc({Stone.weight: 1}))
    assert [each.weight for each in await Stone.find(Stone.colour == Colour.RED).to_list()] == [131]
    await Stone.find_one(Stone.name == "none").upsert(Set({Stone.weight: 1}), on_insert=Stone(name="none"))
    assert await Stone.distinct("name") == ["ashlar", "none"]
    assert await Heavy.find_all().to_list() == [Heavy(name="ashlar", weight=131)]
    await stone.delete()
    assert await Stone.find_all().delete() is not None
    assert await outside["stones"].count_documents({}) == 0


async def test_links_are_written_and_fetched(beanie: BeanieIntegration, outside: Any) -> None:
    quarry = Quarry(name="Arequipa", place=Place(name="Añashuayco"))
    await Stone(name="white", quarry=quarry).insert(link_rule=library.WriteRules.WRITE)
    stored = await outside["stones"].find_one({})
    assert stored["quarry"] == DBRef("quarries", quarry.id)
    stone = await Stone.find_one(Stone.name == "white")
    assert stone is not None
    await stone.fetch_all_links()
    assert isinstance(stone.quarry, Quarry)
    assert (stone.quarry.id, stone.quarry.place) == (quarry.id, quarry.place)
    joined = await Stone.find(Stone.quarry.name == "Arequipa", fetch_links=True).to_list()  # type: ignore[union-attr]
    assert [each.quarry.id for each in joined if isinstance(each.quarry, Quarry)] == [quarry.id]


async def test_aggregations(beanie: BeanieIntegration) -> None:
    await Stone.insert_many(
        [Stone(name=f"s{number}", weight=number, tags=["even"] * (number % 2 == 0)) for number in range(10)]
    )
    grouped = (
        await Stone.find(Stone.weight > 1)
        .aggregate([{"$group": {"_id": "$tags", "total": {"$sum": "$weight"}}}, {"$sort": {"total": 1}}])
        .to_list()
    )
    assert [each["total"] for each in grouped] == [20, 24]
    assert await Stone.sum(Stone.weight) == 45
    assert await Stone.avg(Stone.weight) == 4.5


async def test_a_changed_revision_is_refused_as_always_and_typed_on_request(beanie: BeanieIntegration) -> None:
    contract = await Contract(text="one").insert()
    other = await Contract.get(contract.id)
    assert other is not None
    other.text = "two"
    await other.replace()
    contract.text = "three"
    with pytest.raises(RevisionIdWasChanged):
        await contract.replace()
    stale = await Contract.get(contract.id)
    assert stale is not None
    other.text = "four"
    await other.save_changes() if other.get_settings().use_state_management else await other.replace()
    with pytest.raises(errors.SerializationError, match="read it again"):
        async with beanie.errors():
            await stale.replace()


async def test_the_bulk_writer(beanie: BeanieIntegration, notes: Notes) -> None:
    async with BulkWriter() as writer:
        for number in range(3):
            await Stone.insert_one(Stone(name=f"s{number}"), bulk_writer=writer)
    assert await Stone.count() == 3
    assert ("bulk_write", None) in notes.executed_verbs
    assert ("insert_one", None) not in notes.executed_verbs


@pytest.mark.parametrize("how", ["find", "aggregate"])
async def test_cursors_stream_in_batches(
    beanie: BeanieIntegration, manager: DatabaseManager, notes: Notes, how: str
) -> None:
    await Stone.insert_many([Stone(name=f"s{number:03}", weight=number) for number in range(250)])
    notes.executed_verbs.clear()
    query: Any = Stone.find(batch_size=100) if how == "find" else Stone.aggregate([], Stone, batchSize=100)
    seen = 0
    async for stone in query:
        assert isinstance(stone, Stone)
        seen += 1
        if seen == 150:
            assert manager.pools["default"].stats().detail["leases"] == 1  # a session, and no socket
            assert manager.pools["default"].stats().leased == 0
    assert seen == 250
    assert notes.executed_verbs == [(how, None), ("get_more", None), ("get_more", None)]
    assert manager.pools["default"].stats().detail["leases"] == 0


@pytest.mark.parametrize("how", ["find", "aggregate"])
@pytest.mark.parametrize("end", ["garbage", "close"])
async def test_a_cursor_that_is_left_is_closed(
    beanie: BeanieIntegration, manager: DatabaseManager, how: str, end: str
) -> None:
    await Stone.insert_many([Stone(name=f"s{number:03}") for number in range(50)])
    collection: Any = Stone.get_pymongo_collection()
    cursor = collection.find(batch_size=10) if how == "find" else await collection.aggregate([], batchSize=10)
    assert await anext(cursor)
    assert manager.pools["default"].stats().detail["leases"] == 1
    if end == "close":
        await cursor.close()
        assert manager.pools["default"].stats().detail["leases"] == 0
    del cursor
    await settled(manager)


async def test_a_cursor_can_be_rewound_cloned_and_explained(beanie: BeanieIntegration) -> None:
    await Stone.insert_many([Stone(name=f"s{number:03}") for number in range(30)])
    cursor: Any = Stone.get_pymongo_collection().find(batch_size=10)
    assert (await anext(cursor))["name"] == "s000"
    await cursor.rewind()
    assert len(await cursor.to_list()) == 30
    assert len(await cursor.clone().to_list()) == 30
    assert "explainVersion" in await cursor.explain() or await cursor.explain()


async def test_errors_are_the_drivers_and_sillars_on_request(beanie: BeanieIntegration, notes: Notes) -> None:
    await Stone(name="only").insert()
    notes.executed_verbs.clear()
    with pytest.raises(DuplicateKeyError) as stock:
        await Stone(name="only").insert()
    assert stock.value.__cause__ is None
    assert notes.executed_verbs == [("insert_one", "UniqueViolationError")]
    for block in (beanie.errors(), beanie.errors()):
        with pytest.raises(errors.UniqueViolationError) as typed, block:
            await Stone(name="only").insert()
        assert (typed.value.table, typed.value.column, typed.value.constraint) == ("stones", "name", "name_1")
        assert (typed.value.database, isinstance(typed.value.__cause__, DuplicateKeyError)) == ("default", True)
    with pytest.raises(errors.StatementSyntaxError):
        async with beanie.errors():
            await Stone.aggregate([{"$no": 1}]).to_list()
    with pytest.raises(OperationFailure):
        await Stone.find({"$no": 1}).to_list()
    with pytest.raises(OverflowError):
        await Stone.find({"weight": 2**80}).to_list()
    with pytest.raises(errors.ParameterError, match="64 bits"):
        async with beanie.errors():
            await Stone.find({"weight": 2**80}).to_list()
    with pytest.raises(DocumentNotFound):  # Beanie's own
        async with beanie.errors():
            await Stone(id=library.PydanticObjectId(), name="x").replace()
    with pytest.raises(ZeroDivisionError), beanie.errors():
        raise ZeroDivisionError
    with pytest.raises(errors.ParameterError, match="mine"), beanie.errors():
        raise errors.ParameterError("mine")
    with beanie.errors():
        assert await Stone.count() == 1


async def test_every_command_is_counted_once_with_its_correlation_id(
    beanie: BeanieIntegration, manager: DatabaseManager, notes: Notes
) -> None:
    ids: list[str | None] = []
    notes.executed = lambda execution, error: ids.append(current_correlation_id())  # type: ignore[method-assign]
    before = manager.monitor.metrics.query_count
    with correlation("order-7"):
        stone = await Stone(name="a").insert()
        await Stone.find_one(Stone.name == "a")
        await Stone.find().to_list()
        await Stone.count()
        await manager.session().documents("stones").count()
        await stone.delete()
    assert ids == ["order-7"] * 6
    assert manager.monitor.metrics.query_count == before + 6


async def test_the_deadline_of_the_context_holds(beanie: BeanieIntegration) -> None:
    with deadline(-1.0), pytest.raises(errors.StatementTimeoutError, match="not sent"):
        await Stone.find_all().to_list()


async def test_queries_run_by_the_integration(beanie: BeanieIntegration) -> None:
    await Stone(name="a", weight=1).insert()
    assert [stone.name for stone in await beanie.execute_query(Stone.find(Stone.weight == 1))] == ["a"]
    assert (await beanie.execute_query(Stone.find_one(Stone.name == "a"))).weight == 1
    assert await beanie.execute_query(Stone.aggregate([{"$count": "n"}])) == [{"n": 1}]
    with pytest.raises(errors.UniqueViolationError):
        await beanie.execute_query(Stone(name="a").insert())
    with pytest.raises(errors.UsageError, match="int is no query"):
        await beanie.execute_query(1)


async def test_times_without_a_zone_where_that_is_asked_for(
    beanie: BeanieIntegration, manager: DatabaseManager
) -> None:
    moment = datetime(2024, 5, 1, tzinfo=UTC)
    await Stone(name="a", foundAt=moment).insert()
    naive = BeanieIntegration(manager, tz_aware=False)
    await naive.open(Stone)
    read = await Stone.find_one()
    assert read is not None
    assert read.found_at == moment.replace(tzinfo=None)


async def test_the_drivers_collection_and_what_is_derived_from_it(beanie: BeanieIntegration, notes: Notes) -> None:
    collection: Any = Stone.get_pymongo_collection()
    notes.executed_verbs.clear()
    derived = [
        collection.with_options(),
        beanie.database.with_options().get_collection("stones"),
        beanie.database["sto" + "nes"],
        beanie.database.stones,
        collection["sub"],
    ]
    for each in derived:
        await each.insert_one({"name": str(ObjectId())})
    assert notes.executed_verbs == [("insert_one", None)] * 5
    assert [each.name for each in derived] == ["stones"] * 4 + ["stones.sub"]
    await collection["sub"].drop()
    assert (await beanie.database.command("ping"))["ok"] == 1
    # by position, too
    await collection.update_one({"weight": 99}, {"$set": {"name": "up"}}, True, None, None, None, None)
    assert await collection.count_documents({"name": "up"}, None) == 1


async def test_a_closed_manager_is_named(mongodb: MongoDBServer, outside: Any) -> None:
    async with DatabaseManager.from_url(mongodb.url) as manager:
        await BeanieIntegration(manager).open(Stone)
        await Stone(name="a").insert()
    with pytest.raises(errors.UsageError, match="not open"):
        await Stone.find_all().to_list()
    with pytest.raises(errors.UsageError, match="not open"):
        await Stone(name="b").insert()


class Reading(Document):
    at: datetime
    value: float

    class Settings:
        name = "readings"
        timeseries = TimeSeriesConfig(time_field="at")


async def test_a_collection_that_beanie_creates_is_led_as_well(beanie: BeanieIntegration, notes: Notes) -> None:
    created = await beanie.database.create_collection("things", capped=False)
    notes.executed_verbs.clear()
    await created.insert_one({"a": 1})
    assert notes.executed_verbs == [("insert_one", None)]
