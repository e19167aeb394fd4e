"""The document verbs, and documents as typed objects."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import pydantic
import pytest
from bson import ObjectId
from pymongo import UpdateOne

from sillar import DatabaseManager, DatabaseSession, DocumentCommand
from sillar.errors import (
    ParameterError,
    ResultError,
    StatementSyntaxError,
    UniqueViolationError,
    UnsupportedCapabilityError,
    UsageError,
)
from sillar.execution.documents import BulkOutcome, DocumentCollection, UpdateOutcome
from sillar.query.document import value

pytestmark = pytest.mark.usefixtures("mongodb")


@dataclass
class Stone:
    id: str
    kind: str
    weight: float = 1.0
    price: Decimal | None = None


class StoneStruct(msgspec.Struct, rename={"key": "_id"}):
    key: ObjectId
    kind: str
    tags: list[str] = msgspec.field(default_factory=list)


class StoneModel(pydantic.BaseModel, extra="forbid"):
    id: str
    kind: str
    weight: float = 1.0


class Named(NamedTuple):
    kind: str
    weight: float = 0.5


async def test_insert_find_and_count(stones: DocumentCollection) -> None:
    granite = {"kind": "granite", "weight": 2.5}
    key = await stones.insert_one(granite)
    assert isinstance(key, ObjectId)
    assert granite == {"kind": "granite", "weight": 2.5}  # left as it was
    assert await stones.insert_one({"_id": "b", "kind": "basalt"}) == "b"
    assert await stones.insert_many({"kind": "slate", "weight": n} for n in (3, 1, 2)) == 3
    assert await stones.insert_many([]) == 0

    assert await stones.find({"_id": key}) == [{"_id": key, "kind": "granite", "weight": 2.5}]
    found = await stones.find(
        {"kind": "slate"}, projection={"_id": 0, "weight": 1}, sort=[("weight", -1)], skip=1, limit=1
    )
    assert found == [{"weight": 2}]
    assert await stones.find_one({"kind": "slate"}, sort=[("weight", 1)], projection={"_id": 0}) == {
        "kind": "slate",
        "weight": 1,
    }
    assert await stones.find_one({"kind": "marble"}) is None
    assert await stones.count() == 5
    assert await stones.count({"kind": "slate"}) == 3
    assert sorted(await stones.distinct("kind", {"weight": {"$exists": True}})) == ["granite", "slate"]


async def test_updates_say_what_they_did(stones: DocumentCollection) -> None:
    await stones.insert_many([{"_id": n, "kind": "slate", "weight": n} for n in range(3)])
    assert await stones.update_one({"_id": 0}, {"$set": {"weight": 9}}) == UpdateOutcome(1, 1)
    assert await stones.update_one({"_id": 0}, {"$set": {"weight": 9}}) == UpdateOutcome(1, 0)
    assert await stones.update_many({"_id": {"$gt": 0}}, {"$inc": {"weight": 1}}) == UpdateOutcome(2, 2)
    assert await stones.update_one({"_id": "new"}, {"$set": {"kind": "marble"}}, upsert=True) == UpdateOutcome(
        0, 0, "new"
    )
    assert await stones.replace_one({"_id": "new"}, {"kind": "chalk"}) == UpdateOutcome(1, 1)
    assert await stones.find_one({"_id": "new"}) == {"_id": "new", "kind": "chalk"}
    now = await stones.find_one_and_update({"_id": 1}, {"$set": {"kind": "tuff"}}, into=Stone)
    assert now is not None
    assert (now.id, now.kind, now.weight) == (1, "tuff", 2)  # an id that is no object id stays what it is
    before = await stones.find_one_and_update({"_id": 1}, {"$set": {"kind": "lava"}}, return_new=False)
    assert before is not None
    assert before["kind"] == "tuff"
    assert await stones.find_one_and_update({"_id": 77}, {"$set": {"kind": "lava"}}) is None
    assert await stones.delete_one({"kind": "slate"}) == 1
    assert await stones.delete_many({}) == 3
    assert await stones.count() == 0


async def test_bulk_write(stones: DocumentCollection) -> None:
    outcome = await stones.bulk_write(
        [
            ("insert_one", {"_id": 1, "n": 1}),
            ("insert_one", {"_id": 2, "n": 1}),
            ("update_one", {"_id": 3}, {"$set": {"n": 3}}, {"upsert": True}),
            ("update_many", {"n": 1}, {"$inc": {"n": 1}}),
            ("replace_one", {"_id": 1}, {"n": 10}),
            UpdateOne({"_id": 2}, {"$set": {"n": 20}}),
            ("delete_one", {"_id": 3}),
        ]
    )
    assert outcome == BulkOutcome(inserted=2, matched=4, modified=4, deleted=1, upserted=1)
    assert await stones.find(sort=[("_id", 1)]) == [{"_id": 1, "n": 10}, {"_id": 2, "n": 20}]
    assert await stones.bulk_write([]) == BulkOutcome(0, 0, 0, 0, 0)
    for wrong in [
        ("drop",),
        ("update_one", {}),
        "insert_one",
        ("insert_one", {}, {}, {}),
        ("delete_one", {}, {"speed": 1}),
    ]:
        with pytest.raises(ParameterError, match="bulk_write"):
            await stones.bulk_write([wrong])


async def test_pipelines(stones: DocumentCollection) -> None:
    await stones.insert_many([{"kind": kind, "weight": n} for n, kind in enumerate(["a", "b", "a"])])
    pipeline = [
        {"$group": {"_id": "$kind", "weight": {"$sum": "$weight"}}},
        {"$project": {"_id": 0, "kind": "$_id", "weight": 1}},
        {"$sort": {"kind": 1}},
    ]
    assert await stones.aggregate(pipeline) == [{"kind": "a", "weight": 2}, {"kind": "b", "weight": 1}]
    assert await stones.aggregate(pipeline, into=Named) == [Named("a", 2), Named("b", 1)]


async def test_indexes_and_plans(stones: DocumentCollection) -> None:
    assert await stones.create_index("kind") == "kind_1"
    assert await stones.create_index([("kind", 1), ("weight", -1)], unique=True, name="kind_weight") == "kind_weight"
    await stones.insert_many([{"kind": str(n), "weight": n} for n in range(300)])
    plan = await stones.explain({"kind": "7"}, sort=[("weight", -1)], limit=1)
    assert "kind_" in str(plan["queryPlanner"]["winningPlan"])
    assert "queryPlanner" in str(await stones.explain(pipeline=[{"$match": {"kind": "7"}}]))
    stats = await stones.explain({"kind": "7"}, verbosity="executionStats")
    assert stats["executionStats"]["nReturned"] == 1
    with pytest.raises(UniqueViolationError) as refused:
        await stones.insert_one({"kind": "7", "weight": 7})
    assert (refused.value.constraint, refused.value.column) == ("kind_weight", "kind, weight")
    await stones.drop_index("kind_weight")
    await stones.insert_one({"kind": "7", "weight": 7})


async def test_documents_become_objects(stones: DocumentCollection, session: DatabaseSession) -> None:
    key = await stones.insert_one({"kind": "granite", "weight": 2.5, "price": Decimal("1.20"), "colour": "grey"})
    assert await stones.find(into=Stone) == [Stone(str(key), "granite", 2.5, Decimal("1.20"))]
    assert await stones.find(into=StoneStruct) == [StoneStruct(key, "granite")]
    assert await stones.find(into=StoneStruct, validate=True) == [StoneStruct(key, "granite")]
    assert await stones.find(into=Stone, validate=True) == [Stone(str(key), "granite", 2.5, Decimal("1.20"))]
    projection = {"kind": 1, "weight": 1}
    assert await stones.find(projection=projection, into=StoneModel) == [
        StoneModel(id=str(key), kind="granite", weight=2.5)
    ]
    assert await stones.find_one(into=Named) == Named("granite", 2.5)
    assert await stones.find_one(into=dict) == await stones.find_one()
    only_kind = DocumentCommand(stones.name, "find", {"projection": {"kind": 1}})
    assert await session.fetch_value(only_kind, into=str) == "granite"
    assert await session.fetch_all(only_kind, into=str) == ["granite"]
    assert (await session.fetch_value(only_kind))["kind"] == "granite"
    assert (await session.execute(only_kind)).rows == [{"_id": key, "kind": "granite"}]
    assert (await session.execute(only_kind)).into(Named) == [Named("granite")]


async def test_documents_that_do_not_fit(stones: DocumentCollection) -> None:
    await stones.insert_one({"kinds": "granite", "weight": "heavy"})
    with pytest.raises(ResultError, match=r"Stone needs the field 'kind'.* did you mean its field 'kinds'"):
        await stones.find(into=Stone)
    with pytest.raises(ResultError, match="weight"):
        await stones.find(into=StoneModel)
    with pytest.raises(ResultError, match=r"has 2 fields \(kinds, weight\)"):
        await stones.find(into=str)
    with pytest.raises(ResultError, match="cannot be made into"):
        await stones.find(into=DatabaseManager)
    await stones.replace_one({}, {"kind": 7})
    with pytest.raises(ResultError, match="Expected `str`"):
        await stones.find(into=Stone, validate=True)


async def test_streams_are_bounded(manager: DatabaseManager, stones: DocumentCollection) -> None:
    await stones.insert_many([{"number": n, "text": "x" * 1000} for n in range(5000)])
    async with stones.stream(sort=[("number", 1)], batch_rows=100) as rows:
        sizes, numbers = [], []
        async for batch in rows.batches():
            sizes.append(len(batch))
            numbers += [document["number"] for document in batch]
    assert numbers == list(range(5000))
    assert max(sizes) == 100
    async with stones.stream({"number": {"$lt": 250}}, into=Sized, batch_rows=100) as typed:
        assert [row.number async for row in typed] == list(range(250))
    assert manager.pools["default"].stats().detail["leases"] == 0


@dataclass
class Sized:
    number: int


async def test_streams_of_other_verbs_and_of_what_is_refused(
    session: DatabaseSession, stones: DocumentCollection
) -> None:
    await stones.insert_many([{"n": n} for n in range(30)])
    async with session.stream(DocumentCommand(stones.name, "distinct", {"key": "n"}), into=int) as values:
        assert sorted([each async for each in values]) == list(range(30))
    pipeline = [{"$match": {"n": {"$lt": 25}}}, {"$project": {"_id": 0}}, {"$sort": {"n": 1}}]
    async with session.stream(DocumentCommand(stones.name, "aggregate", {"pipeline": pipeline}), batch_rows=10) as rows:
        assert [len(batch) async for batch in rows.batches()] == [10, 10, 5]
    first = await session.fetch_one(DocumentCommand(stones.name, "aggregate", {"pipeline": pipeline}))
    assert first == {"n": 0}
    with pytest.raises(StatementSyntaxError):
        async with stones.stream({"$nonsense": 1}):
            pass
    async with stones.stream({"n": -1}) as rows:
        assert [row async for row in rows] == []


async def test_a_stream_that_is_left_leaves_no_cursor(
    manager: DatabaseManager, stones: DocumentCollection, observer: Any
) -> None:
    await stones.insert_many([{"number": n} for n in range(1000)])
    before = (await observer.admin.command("serverStatus"))["metrics"]["cursor"]["open"]["total"]
    async with stones.stream(batch_rows=10) as rows:
        async for _ in rows:
            break
    after = (await observer.admin.command("serverStatus"))["metrics"]["cursor"]["open"]["total"]
    assert after <= before
    assert await stones.count() == 1000


async def test_many_commands_at_once(session: DatabaseSession, stones: DocumentCollection) -> None:
    insert = DocumentCommand(stones.name, "insert_one", {})
    assert await session.execute_many(insert, [{"document": {"_id": n}} for n in range(100)]) == 100
    change = DocumentCommand(stones.name, "update_one", {"update": {"$set": {"seen": True}}})
    assert await session.execute_many(change, [{"filter": {"_id": n}} for n in (1, 2, 500)]) == 2
    with pytest.raises(UniqueViolationError):
        await session.execute_many(insert, [{"document": {"_id": n}} for n in (1000, 1001, 7)])
    assert await stones.count({"_id": {"$gte": 1000}}) == 0  # all or nothing
    results = await session.execute_batch(
        [(insert, {"document": {"_id": 2000}}), (DocumentCommand(stones.name, "count", {}), None)]
    )
    assert [result.scalar() for result in results] == [2000, 101]
    found = DocumentCommand(stones.name, "find_one_and_update", {"update": {"$set": {"seen": 2}}})
    assert await session.execute_many(found, [{"filter": {"_id": n}} for n in (1, 2, 500)]) == 2


async def test_bulk_insert_is_all_or_nothing(session: DatabaseSession, stones: DocumentCollection) -> None:
    rows = ((n, f"stone {n}") for n in range(25_000))
    assert await session.bulk_insert(stones.name, ["_id", "name"], rows) == 25_000
    assert await stones.count() == 25_000
    with pytest.raises(UniqueViolationError) as refused:
        await session.bulk_insert(stones.name, ["_id", "name"], ((n, "x") for n in [30_000, 30_001, 5]))
    assert refused.value.constraint == "_id_"
    assert await stones.count() == 25_000
    with pytest.raises(ParameterError, match="row 2 has 1 values for 2 columns"):
        await session.bulk_insert(stones.name, ["_id", "name"], [(30_000, "x"), (30_001,)])
    assert await stones.count() == 25_000


async def test_commands_on_the_database(session: DatabaseSession, stones: DocumentCollection) -> None:
    reply = await session.fetch_value(DocumentCommand("", "command", {"command": {"ping": 1}}))
    assert reply["ok"] == 1


async def test_wrong_calls_are_refused_before_anything_is_sent(
    manager: DatabaseManager, session: DatabaseSession, stones: DocumentCollection
) -> None:
    acquired = manager.pools["default"].stats().acquired_total
    with pytest.raises(UnsupportedCapabilityError, match=r"session\.documents"):
        await session.execute("SELECT 1")
    with pytest.raises(ParameterError, match="takes no argument 'limt'; did you mean 'limit'"):
        await session.execute(DocumentCommand(stones.name, "find", {"limt": 3}))
    with pytest.raises(ParameterError, match="lacks update"):
        await session.execute(DocumentCommand(stones.name, "update_one", {"filter": {}}))
    with pytest.raises(ParameterError, match="did you mean 'find'"):
        await session.execute(DocumentCommand(stones.name, "fnd", {}))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="name of a collection"):
        await session.execute(DocumentCommand("", "find", {}))
    with pytest.raises(ParameterError, match="mapping"):
        await session.execute(DocumentCommand(stones.name, "find", {}), [1])
    with pytest.raises(ParameterError, match="lacks document"):
        await session.execute_many(DocumentCommand(stones.name, "insert_one", {}), [{"document": {}}, {"doc": {}}])
    with pytest.raises(ParameterError, match=r"only works with \$ operators"):
        await stones.update_one({}, {"name": "x"})
    with pytest.raises(UsageError, match="batch_rows"):
        stones.stream(batch_rows=0)
    assert manager.pools["default"].stats().acquired_total == acquired


async def test_operators_never_pass_as_values(stones: DocumentCollection) -> None:
    await stones.insert_one({"user": "anna", "roles": ["admin"]})
    for harmless in ["anna", 7, None, ["admin"], {"city": "Lima"}, "$user"]:
        assert value(harmless) is harmless
    assert await stones.find_one({"user": value("anna")}) is not None
    for attack in [{"$ne": None}, [{"a": {"$gt": ""}}], {"a": [{"$where": "1"}]}]:
        with pytest.raises(ParameterError, match="operators never pass as values"):
            value(attack)


async def test_documents_need_a_document_database(tmp_path: Any) -> None:
    async with DatabaseManager.from_url(f"sqlite:///{tmp_path}/x.db") as manager:
        with pytest.raises(UnsupportedCapabilityError, match="document verbs"):
            manager.session().documents("stones")
