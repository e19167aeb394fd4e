"""Migrations up and down, their log, and what the revisions in files do."""

from __future__ import annotations

from typing import Any

import pytest
from tests.migrations.mongodb.ground import Ground, NewGround

from sillar.errors import MigrationStateError, UsageError
from sillar.testing.servers import MongoDBServer

BIRDS = """
async def upgrade(op: DocumentOperations) -> None:
    await op.create_collection(
        "birds", schema={"bsonType": "object", "required": ["name"], "properties": {"name": {"bsonType": "string"}}}
    )
    await op.create_index("birds", "name", unique=True)
    await op.insert_many("birds", [{"name": "Hornero", "grams": 49}, {"name": "Zorzal", "grams": 78}])


async def downgrade(op: DocumentOperations) -> None:
    await op.delete_many("birds", {})
    await op.drop_collection("birds")
"""
HEAVIER = """
async def upgrade(op: DocumentOperations) -> None:
    await op.transform("birds", {}, {"$inc": {"grams": 1}}, undo={"$inc": {"grams": -1}})
    await op.create_index("birds", [("grams", -1)], name="by_weight", partial={"grams": {"$gt": 50}})


async def downgrade(op: DocumentOperations) -> None:
    await op.drop_index("birds", "by_weight")
    await op.transform("birds", {}, {"$inc": {"grams": -1}})
"""


async def test_up_and_down(each_ground: Ground) -> None:
    ground = each_ground
    ground.write("a1", BIRDS, name="birds come")
    ground.write("b2", HEAVIER, follows="a1", name="birds eat")
    runner = ground.runner()
    assert await runner.current() == ()
    applied = await runner.upgrade("heads")
    assert [(each.version, each.name, each.direction) for each in applied] == [
        ("a1", "birds come", "up"),
        ("b2", "birds eat", "up"),
    ]
    assert await runner.current() == ("b2",)
    found = await ground.documents("birds").find({}, projection={"_id": 0}, sort=[("name", 1)])
    assert found == [{"name": "Hornero", "grams": 50}, {"name": "Zorzal", "grams": 79}]
    indexes = await ground.driver.birds.index_information()
    assert indexes["name_1"]["unique"] is True
    assert indexes["by_weight"]["partialFilterExpression"] == {"grams": {"$gt": 50}}
    assert await runner.upgrade("heads") == []
    assert await runner.interrupted() == ()
    assert await ground.journal() == []

    await runner.downgrade("-1")
    assert await runner.current() == ("a1",)
    assert "by_weight" not in await ground.driver.birds.index_information()
    assert await ground.documents("birds").count({"grams": {"$in": [49, 78]}}) == 2
    await runner.downgrade("base")
    assert await runner.current() == ()
    assert await ground.names() == set()
    log = await runner.log()
    assert [(each.version, each.direction) for each in log] == [
        ("a1", "up"),
        ("b2", "up"),
        ("b2", "down"),
        ("a1", "down"),
    ]
    assert all(each.applied_by and each.checksum and each.duration_seconds >= 0 for each in log)


async def test_a_dry_run_writes_nothing_and_counts(each_ground: Ground) -> None:
    ground = each_ground
    ground.write("a1", BIRDS)
    await ground.runner().upgrade("head")
    ground.write("b2", HEAVIER, follows="a1")
    ground.told.clear()
    (planned,) = await ground.runner().upgrade("head", dry_run=True)
    assert (planned.version, planned.direction, planned.applied_by) == ("b2", "up", "nobody (dry run)")
    assert [(each.what, each.total) for each in ground.told] == [
        ("b2 step 1: transform birds: $inc", 2),
        ("b2 step 2: create_index birds.by_weight", 2),
    ]
    assert await ground.runner().current() == ("a1",)
    runner = ground.runner()
    await runner.upgrade("head", dry_run=True)
    assert runner.rehearsal == [
        "b2 step 1: transform birds: $inc (2 documents)", "b2 step 2: create_index birds.by_weight (2 documents)"
    ]  # fmt: skip
    strict = (
        "    await op.set_validator('birds', {'required': ['name', 'wings']})\n    await op.set_validator('birds')\n"
    )
    ground.write("c3", f"async def upgrade(op):\n{strict}", follows="b2")
    runner = ground.runner()
    await runner.upgrade("c3", dry_run=True)
    assert runner.rehearsal[2:] == [
        "c3 step 1: set_validator birds (2 documents do not fit now)", "c3 step 2: set_validator birds"
    ]  # fmt: skip
    assert await ground.documents("birds").count({"grams": {"$in": [49, 78]}}) == 2
    ground.told.clear()
    assert [each.version for each in await ground.runner().downgrade("base", dry_run=True)] == ["a1"]
    assert [each.total for each in ground.told] == [2, 2]


async def test_a_log_that_is_somebody_elses(ground: Ground) -> None:
    ground.write("a1", BIRDS)
    await ground.documents("_migrations").insert_one({"name": "0001_birds", "batch": 1})
    for act in (ground.runner().upgrade("head"), ground.runner().log(), ground.runner().stamp("a1")):
        with pytest.raises(MigrationStateError, match=r"no log of migrations: name another .*\.table"):
            await act
    assert await ground.names() == set()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"connection_options": {"write_concern": 1}},
            'has write_concern 1: .* migrate with write_concern = "majority',
        ),
        ({"pool": {"max_connections": 1}}, "has max_connections 1: .* needs 2"),
    ],
)
async def test_what_a_migrator_needs(
    new_ground: NewGround, mongodb: MongoDBServer, options: dict[str, Any], said: str
) -> None:
    ground: Ground = await new_ground(mongodb.url, **options)
    ground.write("a1", BIRDS)
    with pytest.raises(UsageError, match=said):
        await ground.runner().upgrade("head")
    assert await ground.runner().current() == ()


async def test_a_script_for_the_shell(ground: Ground) -> None:
    ground.write("a1", BIRDS, name="birds come")
    ground.write(
        "b2",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.rename_collection("a", "b")
            await op.transform("b", {}, lambda each: each)
            await op.delete_many("b", {"x": 1, "y": 2.0, "z": 2.5, "long": 1 << 40})
        """,
        follows="a1",
    )
    text = await ground.runner().render("base", "head")
    assert '// upgrade a1: birds come\n// step 1: create_collection birds\nrun({"create": "birds", ' in text
    assert "db.runCommand(EJSON.deserialize(command, {relaxed: false}))" in text
    assert "reply.writeErrors" in text  # the shell does not raise for these
    assert 'check(db.getCollection("a").renameCollection("b"));' in text
    assert 'throw new Error("transform b: ' in text
    numbers = '{"x": 1, "y": {"$numberDouble": "2.0"}, "z": 2.5, "long": {"$numberLong": "1099511627776"}}'
    assert f'run({{"delete": "b", "deletes": [{{"q": {numbers}, "limit": 0}}]}});' in text
    assert text.endswith("// Then say so: sillar stamp head")
    assert "drop" in await ground.runner().render("a1", "base", "down")
    steps = await ground.runner().operations("b2")
    assert [(each.sql, each.details.kind, each.details.collection) for each in steps] == [
        ("rename_collection a to b", "rename_collection", "a"),
        ("transform b: upgrade.<locals>.<lambda>()", "transform", "b"),
        ("delete_many b", "delete_many", "b"),
    ]


async def test_options_reach_the_server(ground: Ground) -> None:
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.create_collection("x", validator={"a": {"$gt": 0}}, level="moderate", action="warn")
            await op.create_index("x", {"a": 1, "b": -1}, sparse=True, name="ab")
            await op.create_index("x", ["c", ("d", -1)], hidden=False)
            await op.create_index("x", "t", ttl_seconds=3600.0)
            await op.create_collection("x", if_not_exists=True)
            await op.create_index("x", "t", ttl_seconds=3600.0)
            await op.drop_collection("nothing", if_exists=True)
            await op.drop_index("x", "nothing", if_exists=True)
            await op.set_validator("x", validator={"a": {"$gt": 1}}, level="strict")
            assert await op.database.command("ping")
        """,
    )
    await ground.runner().upgrade("head")
    indexes = await ground.driver.x.index_information()
    assert indexes["ab"]["key"] == [("a", 1), ("b", -1)]
    assert indexes["ab"]["sparse"] is True
    assert indexes["t_1"]["expireAfterSeconds"] == 3600
    options = await ground.driver.x.options()
    assert (options["validator"], options["validationAction"]) == ({"a": {"$gt": 1}}, "error")


async def test_merges_branches_and_stamps(ground: Ground) -> None:
    for version, follows in (("a1", None), ("b2", "a1"), ("c3", "a1"), ("d4", ("b2", "c3"))):
        ground.write(version, f"async def upgrade(op):\n    await op.create_collection('{version}')\n", follows=follows)
    runner = ground.runner()
    await runner.upgrade("b2")
    assert await runner.current() == ("b2",)
    await runner.upgrade("c3")
    assert await runner.current() == ("b2", "c3")
    await runner.upgrade("head")
    assert await runner.current() == ("d4",)
    await runner.downgrade("b2")  # the merge alone; Alembic calls "-1" ambiguous here
    assert await runner.current() == ("b2", "c3")
    await runner.stamp("d4")
    assert await runner.current() == ("d4",)
    await runner.stamp("b2", purge=True)
    assert await runner.current() == ("b2",)
    await runner.stamp("base")
    assert await runner.current() == ()
    assert (await runner.log())[-1].direction == "stamp"
    await runner.stamp("a1")
    await runner.stamp("heads")
    assert await runner.current() == ("d4",)
