"""Transforms: batches, resuming, ids of all types, writers at the same time, marks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from bson import ObjectId
from tests.migrations.mongodb.ground import Ground

from sillar.errors import MigrationFailedError, UnknownStatementError
from sillar.migrations.mongodb.change import Change

MANY = 20_000


class Dies(BaseException):
    """As a process that ends: nobody handles it."""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_twenty_thousand_documents_are_resumed_where_they_were(
    each_ground: Ground, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    ground = each_ground
    await ground.manager.session().bulk_insert("birds", ["_id", "n"], [(number, 0) for number in range(MANY)])
    ground.write(
        "a1",
        "async def upgrade(op):\n    await op.transform('birds', {}, {'$inc': {'n': 1}}, batch_documents=2000,"
        " verify={'n': {'$ne': 1}})\n",
    )
    apply, batches = Change.apply, 0

    async def dying(self: Change, *arguments: Any) -> int:
        nonlocal batches
        batches += 1
        if batches == 5 and when == "before":
            raise Dies
        changed = await apply(self, *arguments)
        if batches == 5 and when == "after":
            raise Dies
        return changed

    monkeypatch.setattr(Change, "apply", dying)
    with pytest.raises(Dies):
        await ground.runner().upgrade("head")
    monkeypatch.undo()
    (journal,) = await ground.journal()
    assert '"matched": {"$numberInt": "8000"}' in journal["steps"]["1"]["position"]
    ground.told.clear()
    await ground.runner().upgrade("head")
    assert [(each.done, each.total) for each in ground.told if each.unit == "documents"] == [
        (number, MANY) for number in range(10_000, MANY + 1, 2000)
    ]
    assert await ground.documents("birds").count({"n": 1, "_sillar_step": {"$exists": False}}) == MANY


async def test_ids_of_all_types(each_ground: Ground) -> None:
    ground = each_ground
    ids = [None, 1, 2.5, 3, "a", "b", {"x": 1}, b"1", UUID(int=7), ObjectId(), ObjectId(), True, *range(10, 30)]
    await ground.documents("mixed").insert_many([{"_id": each, "n": 0} for each in ids])
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            counts = await op.transform("mixed", {}, [{"$set": {"n": {"$add": ["$n", 1]}}}], batch_documents=3)
            await op.insert_many("counts", [{"_id": 1, **counts}])
            await op.delete_many("mixed", {"_id": {"$type": "string"}}, batch_documents=1)
        """,
    )
    await ground.runner().upgrade("head")
    assert await ground.documents("mixed").count({"n": 1}) == len(ids) - 2
    number = len(ids)
    assert await ground.documents("counts").find_one() == {
        "_id": 1, "expected": number, "matched": number, "changed": number
    }  # fmt: skip


async def test_a_function_writes_what_differs_and_meets_other_writers(plain_ground: Ground) -> None:
    ground = plain_ground
    birds = ground.documents("birds")
    await birds.insert_many([{"_id": number, "a": {"b": [1]}, "old": number, "seen": 0} for number in range(5)])
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            disturbed = set()

            async def rename(document):
                if document["_id"] == 4:
                    return None
                if document["_id"] == 3 and not disturbed:
                    disturbed.add(3)  # somebody else, between the look and the write
                    await op.documents("birds").update_one({"_id": 3}, {"$set": {"old": 33, "seen": 1}})
                document["new"] = document.pop("old")
                document["a"]["b"].append(2)
                return document

            await op.transform("birds", {}, rename)
        """,
    )
    await ground.runner().upgrade("head")
    found = await birds.find({}, sort=[("_id", 1)])
    assert found[0] == {"_id": 0, "a": {"b": [1, 2]}, "seen": 0, "new": 0}
    assert found[3] == {"_id": 3, "a": {"b": [1, 2]}, "seen": 1, "new": 33}
    assert found[4] == {"_id": 4, "a": {"b": [1]}, "old": 4, "seen": 0}


async def test_a_function_changes_types(ground: Ground) -> None:
    """To Python all of these are equal to 1."""
    await ground.documents("birds").insert_one({"_id": 1, "a": 1, "b": 1, "c": 1, "same": 1})
    ground.write(
        "a1",
        """
        from decimal import Decimal


        async def upgrade(op: DocumentOperations) -> None:
            def change(each):
                return {**each, "a": True, "b": 1.0, "c": Decimal(1)}

            await op.transform("birds", {}, change)
        """,
    )
    await ground.runner().upgrade("head")
    types = {name: {"$type": f"${name}"} for name in ("a", "b", "c", "same")}
    assert await ground.documents("birds").aggregate([{"$project": {"_id": 0, **types}}]) == [
        {"a": "bool", "b": "double", "c": "decimal", "same": "int"}
    ]


async def test_a_transaction_that_is_too_large_is_halved(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    await ground.documents("birds").insert_many([{"_id": number, "n": 0} for number in range(20)])
    ground.write("a1", "async def upgrade(op):\n    await op.transform('birds', {}, {'$inc': {'n': 1}})\n")
    apply, sizes = Change.apply, []

    async def limited(self: Change, *arguments: Any) -> int:
        changed = await apply(self, *arguments)
        sizes.append(changed)
        if changed > limit:
            raise UnknownStatementError("Total size of all transaction operations must be less than 16793600", code=257)
        return changed

    monkeypatch.setattr(Change, "apply", limited)
    limit = 6
    await ground.runner().upgrade("head")
    assert sizes == [20, 10, 5, 5, 5, 5]
    assert await ground.documents("birds").count({"n": 1}) == 20
    limit = 0
    ground.write("b2", "async def upgrade(op):\n    await op.transform('birds', {}, {'$inc': {'n': 1}})\n", "a1")
    with pytest.raises(MigrationFailedError, match="Total size") as caught:
        await ground.runner().upgrade("head")
    assert caught.value.rolled_back
    assert await ground.documents("birds").count({"n": 1}) == 20


async def test_marks_of_a_run_that_was_given_up_mean_nothing(
    plain_ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = plain_ground
    await ground.documents("birds").insert_many([{"_id": number, "n": 0} for number in range(4)])
    ground.write("a1", "async def upgrade(op):\n    await op.transform('birds', {}, {'$inc': {'n': 1}})\n")
    apply = Change.apply

    async def dying(self: Change, *arguments: Any) -> int:
        await apply(self, *arguments)
        raise Dies

    monkeypatch.setattr(Change, "apply", dying)
    with pytest.raises(Dies):
        await ground.runner().upgrade("head")
    monkeypatch.undo()
    await ground.runner().stamp("base")
    await ground.documents("birds").update_many({}, {"$set": {"n": 0}})  # repaired by hand, and the marks not seen
    await ground.runner().upgrade("head")
    assert await ground.documents("birds").count({"n": 1, "_sillar_step": {"$exists": False}}) == 4


async def test_a_writer_that_is_always_there(plain_ground: Ground) -> None:
    ground = plain_ground
    await ground.documents("birds").insert_one({"_id": 1, "n": 0})
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            async def disturbed(document):
                await op.documents("birds").update_one({"_id": 1}, {"$inc": {"n": 1}})
                return {**document, "n": -1}

            await op.transform("birds", {}, disturbed, pause_seconds=0.001)
        """,
    )
    with pytest.raises(MigrationFailedError, match="1 documents of birds were changed by somebody else each of the 5"):
        await ground.runner().upgrade("head")


@pytest.mark.parametrize(
    ("function", "said"),
    [("lambda each: {**each, '_id': 7}", "changed an _id"), ("lambda each: {'n': 1, '_id': each['_id']}", None)],
)
async def test_what_a_function_may_return(ground: Ground, function: str, said: str | None) -> None:
    await ground.documents("birds").insert_one({"_id": 1, "m": 0})
    ground.write("a1", f"async def upgrade(op):\n    await op.transform('birds', {{}}, {function})\n")
    if said is not None:
        with pytest.raises(MigrationFailedError, match=said):
            await ground.runner().upgrade("head")
        assert await ground.documents("birds").find_one() == {"_id": 1, "m": 0}
    else:
        await ground.runner().upgrade("head")
        assert await ground.documents("birds").find_one() == {"_id": 1, "n": 1}


async def test_documents_that_verify_finds_fail_the_step_and_what_was_done_is_undone(each_ground: Ground) -> None:
    ground = each_ground
    birds = ground.documents("birds")
    await birds.insert_many([{"_id": number, "n": number} for number in range(10)])
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.transform(
                "birds", {"n": {"$lt": 8}}, {"$inc": {"n": 100}}, batch_documents=3, verify={"n": {"$lt": 100}},
                undo={"$inc": {"n": -100}}, undo_filter={"n": {"$gte": 100}},
            )
        """,
    )
    with pytest.raises(MigrationFailedError, match=r"8 of 8 documents were changed, and 2 are left") as caught:
        await ground.runner().upgrade("head")
    assert caught.value.rolled_back is True
    assert await birds.find({}, sort=[("_id", 1)]) == [{"_id": number, "n": number} for number in range(10)]


async def test_a_long_step_has_no_limit(new_ground: Any, mongodb: Any) -> None:
    ground = await new_ground(mongodb.url, connection_options={"statement_timeout": 0.5})
    client = ground.manager.pools["default"].client
    assert (client.limit(None), client.limit(2.0), client.limit(float("inf"))) == (0.5, 2.0, None)
