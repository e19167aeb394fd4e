"""Migrations that fail: what is undone, what stays, what is said; and files and databases that do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.migrations.mongodb.ground import Ground

from sillar.errors import (
    AuthenticationError,
    MigrationFailedError,
    MigrationFileError,
    MigrationStateError,
    UniqueViolationError,
    UsageError,
)
from sillar.migrations.mongodb.store import DocumentStore

FAILS = """
SCHEMA = {{"bsonType": "object", "required": ["name"]}}


async def upgrade(op: DocumentOperations) -> None:
    await op.create_collection("birds")
    await op.create_collection("birds_kept", if_not_exists=True)
    await op.set_validator("nests", SCHEMA)
    await op.create_index("nests", {{"tree": 1}}, sparse=True)
    await op.drop_index("nests", "old_text")
    await op.insert_many("nests", [{{"name": "n1", "owner": 1}}, {{"_id": "own", "name": "n2", "owner": 2}}])
    await op.transform("nests", {{}}, {{"$inc": {{"owner": 10}}}}, batch_documents=2, undo={{"$inc": {{"owner": -10}}}})
    await op.rename_collection("trees", "woods")
    await op.execute({{"ping": 1}}, undo={{"ping": 1}})
    await op.create_index("made_for_it", "name")
    await op.insert_many("made_with_it", [{{"name": "n3"}}])
    {last}
"""


async def furnish(ground: Ground) -> None:
    database = ground.driver
    await database.create_collection("birds_kept")
    await database.create_collection("nests", validator={"name": {"$exists": True}}, validationAction="warn")
    await database.nests.create_index([("note", "text")], name="old_text", default_language="none")
    await database.nests.insert_many([{"_id": n, "name": f"x{n}", "owner": 5} for n in range(5)])
    await database.create_collection("trees")


async def snapshot(ground: Ground) -> dict[str, Any]:
    """All there is, with the validators and indexes."""
    database = ground.driver
    found = {}
    for name in sorted(await ground.names()):
        collection = database[name]
        indexes = [{k: v for k, v in each.items() if k != "v"} async for each in await collection.list_indexes()]
        options = {k: v for k, v in (await collection.options()).items() if v not in ("strict", "error")}
        found[name] = (await collection.find({}).sort("_id").to_list(), indexes, options)
    return found


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (
            "await op.create_index('nests', 'owner', unique=True)",
            r"in step 12 \(create_index nests.owner_1\): documents of nests have the",
        ),
        ("await op.drop_collection('nowhere')", r"after step 11: drop_collection nowhere: there is no such collection"),
        ("raise ValueError('seven')", r"after step 11: ValueError: seven"),
        ("await op.transform('nests', {}, lambda each: 7)", r"in step 12 \(transform nests: .*lambda.*returned int"),
        ("await op.insert_many('nests', [{'_id': 'z'}, {'name': 'y'}])", r"does not pass the validator"),
        ("await op.execute({'noSuchCommand': 1})", r"in step 12 \(execute noSuchCommand\)"),
    ],
)
async def test_all_is_undone(each_ground: Ground, last: str, said: str) -> None:
    ground = each_ground
    await furnish(ground)
    before = await snapshot(ground)
    ground.write("a1", FAILS.format(last=last))
    with pytest.raises(MigrationFailedError, match=said) as caught:
        await ground.runner().upgrade("head")
    assert caught.value.rolled_back is True
    assert caught.value.revision == "a1"
    assert "The database is as it was before: " in str(caught.value)
    assert await snapshot(ground) == before
    assert await ground.journal() == []
    assert await ground.runner().current() == ()


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ('op.create_collection("nests")\n    await op.create_index("eggs", "n")', "was called and not awaited"),
        ('op.create_collection("nests")', r"a1_step\.py:16: op.create_collection\(\) was called and not awaited"),
        ('await asyncio.gather(op.drop_index("birds", "n_1"), op.insert_many("nests", [{}]))', r"write `await op\."),
    ],
)
async def test_calls_that_are_not_awaited(ground: Ground, calls: str, said: str) -> None:
    """Python itself would have gone on, and the migration been taken as applied."""
    ground.write(
        "a1",
        "import asyncio\n\n\nasync def upgrade(op):\n    await op.create_collection('birds')\n"
        f"    await op.create_index('birds', 'n')\n    {calls}\n",
    )
    with pytest.raises(MigrationFailedError, match=f"failed .*{said}"):
        await ground.runner().upgrade("head")
    assert await ground.names() == set()
    with pytest.raises(MigrationFileError, match="op"):
        await ground.runner().operations("a1")


async def test_a_call_while_another_one_is_not_through(ground: Ground) -> None:
    ground.write(
        "a1",
        """
        import asyncio


        async def upgrade(op: DocumentOperations) -> None:
            op.first = asyncio.ensure_future(op.create_collection("eggs"))
            await asyncio.sleep(0)
            await op.insert_many("nests", [{}])
        """,
    )
    with pytest.raises(
        MigrationFailedError, match=r"op.insert_many\(\) begins while op.create_collection\(\) of .*:15 is"
    ):
        await ground.runner().upgrade("head")
    assert await ground.names() == set()


async def test_a_right_that_is_missing(each_ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role readWrite has no collMod. The server is there and has refused a step, so all is undone."""
    ground = each_ground
    change = DocumentStore.change

    async def refused(self: DocumentStore, command: Mapping[str, Any]) -> dict[str, Any]:
        if "collMod" in command:
            raise AuthenticationError("the server refuses this user: not authorized on m to execute collMod [13]")
        return await change(self, command)

    monkeypatch.setattr(DocumentStore, "change", refused)
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.create_collection("birds")
            await op.set_validator("birds", {"required": ["name"]})
        """,
    )
    with pytest.raises(MigrationFailedError, match=r"in step 2 .*\[13\]; a migrator needs .* dbAdmin") as caught:
        await ground.runner().upgrade("head")
    assert caught.value.rolled_back
    assert await ground.names() == set()
    assert await ground.journal() == []


async def test_an_interrupted_migration_whose_file_is_gone(ground: Ground) -> None:
    await ground.documents("birds").insert_one({"_id": 1})
    ground.write("a1", "async def upgrade(op):\n    await op.create_collection('nests')\n")
    await ground.runner().upgrade("head")
    body = "async def upgrade(op):\n    await op.delete_many('birds', {})\n    await op.drop_collection('none')\n"
    path = ground.write("b2", body, follows="a1")
    with pytest.raises(MigrationFailedError, match="What is done stays: 1 delete_many birds"):
        await ground.runner().upgrade("head")
    path.unlink()
    for way in (ground.runner().upgrade("head"), ground.runner().downgrade("base")):
        with pytest.raises(MigrationStateError, match="b2 was interrupted, and no file has it any more: restore"):
            await way
    await ground.runner().stamp("a1")
    assert await ground.runner().upgrade("head") == []


async def test_what_has_no_reverse_stays_and_the_rest_goes_on_from_there(each_ground: Ground) -> None:
    ground = each_ground
    await ground.driver.nests.insert_many([{"_id": n, "tree": n // 2} for n in range(4)])
    body = """
    async def upgrade(op: DocumentOperations) -> None:
        await op.transform("nests", {{"tree": {{"$lt": 1}}}}, {{"$inc": {{"tree": 10}}}})
        await op.create_index("nests", "tree", unique={unique})
        await op.delete_many("nests", {{"tree": 1}})
    """
    ground.write("a1", body.format(unique=True))
    with pytest.raises(MigrationFailedError) as caught:
        await ground.runner().upgrade("head")
    error = caught.value
    assert (error.rolled_back, error.statement_number) == (False, 2)
    assert error.code == 11000
    assert isinstance(error.__cause__, UniqueViolationError)
    text = str(error)
    assert "What is done stays: 1 transform nests: $inc." in text
    assert "because of step 1 (transform nests: $inc): it has changed 2 documents at least, and has no undo=" in text
    assert await ground.runner().interrupted() == ("a1",)

    with pytest.raises(MigrationStateError, match=r"a1 was interrupted, and its steps cannot be undone"):
        await ground.runner().downgrade("base")
    ground.write("a1", body.format(unique=False).replace('{"tree": 10}', '{"tree": 11}'))
    with pytest.raises(MigrationStateError, match=r"step 1 was done when the run before ended.*restore it"):
        await ground.runner().upgrade("head")
    ground.write("a1", body.format(unique=False).split("        await op.create_index")[0])
    with pytest.raises(MigrationStateError, match=r"has begun 2 steps, and the file has 1 now"):
        await ground.runner().upgrade("head")
    ground.write("a1", body.format(unique=False))  # the step that has failed may be another one now
    await ground.runner().upgrade("head")
    assert await ground.documents("nests").count({"tree": 10}) == 2
    assert await ground.documents("nests").count({"tree": 1}) == 0
    assert "unique" not in (await ground.driver.nests.index_information())["tree_1"]
    assert await ground.journal() == []


async def test_an_undoing_that_fails_goes_on_later(each_ground: Ground) -> None:
    """A collection that the migration has made has documents by now: it does not take them along."""
    ground = each_ground
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.create_collection("birds")
            await op.create_collection("nests")
            await op.documents("birds").insert_one({"of": "somebody else"})
            raise ValueError("seven")
        """,
    )
    with pytest.raises(MigrationFailedError) as caught:
        await ground.runner().upgrade("head")
    assert caught.value.rolled_back is False
    assert "Undoing its steps failed at step 1: birds was made by this migration and has documents now" in str(
        caught.value
    )
    assert await ground.names() == {"birds"}
    (journal,) = await ground.journal()
    assert journal["state"] == "reversing"
    ground.write("a1", "async def upgrade(op):\n    await op.create_collection('birds')\n")
    with pytest.raises(MigrationStateError, match="was begun with 2 steps at least, and the file has 1 now"):
        await ground.runner().upgrade("head")
    ground.write(
        "a1", "async def upgrade(op):\n    [await op.create_collection(each) for each in ('birds', 'nests')]\n"
    )
    with pytest.raises(MigrationStateError, match="birds was made by this migration"):
        await ground.runner().upgrade("head")
    await ground.documents("birds").delete_many({})
    await ground.runner().upgrade("head")  # undone to its end, and then applied
    assert await ground.names() == {"birds", "nests"}
    assert await ground.runner().current() == ("a1",)


async def test_a_failing_downgrade_is_undone_too(each_ground: Ground) -> None:
    ground = each_ground
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.create_collection("birds", schema={"required": ["name"]})
            await op.create_index("birds", "name")


        async def downgrade(op: DocumentOperations) -> None:
            await op.set_validator("birds")
            await op.drop_index("birds", "name_1")
            await op.drop_index("birds", "nothing")
        """,
    )
    await ground.runner().upgrade("head")
    with pytest.raises(MigrationFailedError, match="there is no such index") as caught:
        await ground.runner().downgrade("base")
    assert caught.value.rolled_back is True
    assert "name_1" in await ground.driver.birds.index_information()
    assert (await ground.driver.birds.options())["validator"] == {"$jsonSchema": {"required": ["name"]}}
    assert await ground.runner().current() == ("a1",)


async def test_an_error_that_a_file_swallows(ground: Ground) -> None:
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.create_collection("birds")
            try:
                await op.execute({"noSuchCommand": 1})
            except Exception:
                pass
            await op.create_collection("nests")
        """,
    )
    with pytest.raises(MigrationFailedError, match=r"step 2 \(execute noSuchCommand\) has failed and the file went on"):
        await ground.runner().upgrade("head")
    assert await ground.names() == set()


async def test_a_command_in_flight_is_a_question(each_ground: Ground) -> None:
    ground = each_ground
    body = "async def upgrade(op):\n    await op.execute({{'create': 'birds'}}{more})\n"
    ground.write("a1", body.format(more=""))
    await ground.runner().upgrade("head")
    await ground.runner().stamp("base")
    await ground.documents("_migration_steps").insert_one(await in_flight(ground))
    with pytest.raises(MigrationStateError, match=r"execute create was in flight.*if_interrupted"):
        await ground.runner().upgrade("head")
    assert len(await ground.journal()) == 1  # as it was
    ground.write("a1", body.format(more=", if_interrupted='skip'"))
    await ground.runner().upgrade("head")
    assert await ground.journal() == []


async def in_flight(ground: Ground) -> dict[str, Any]:
    """The journal of a run that was killed while its only step was in flight."""
    (step,) = await ground.runner().steps("a1")
    entry = {"state": "started", "digest": step.digest, "words": step.words, "kept": "{}", "result": "null"}
    return {
        "_id": "a1",
        "number": 0,
        "owner": "somebody",
        "direction": "up",
        "name": "x",
        "checksum": "",
        "entry": 3,
        "state": "running",
        "begun_at": 0,
        "steps": {"1": {**entry, "position": '{"sent": true}'}},
    }


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("def upgrade(op):\n    pass\n", MigrationFileError, r"has no `async def upgrade\(op\)`"),
        ("async def upgrade(op):\n    await op.fly()\n", MigrationFailedError, "before its first step: AttributeError"),
        ("async def upgrade(op:\n", MigrationFileError, "cannot be read"),
        (
            "async def upgrade(op):\n    await op.create_collection('x', schema={}, validator={})\n",
            None,
            "give schema= or",
        ),
        (
            "async def upgrade(op):\n    await op.create_collection('x', schema={'$or': []})\n",
            None,
            "inside \\$jsonSchema",
        ),
        ("async def upgrade(op):\n    await op.create_index('x', [])\n", None, "needs a field"),
        ("async def upgrade(op):\n    await op.create_index('x', '_id')\n", None, "has the index of _id"),
        ("async def upgrade(op):\n    await op.transform('x', {}, {'a': 1})\n", None, "an update has operators"),
        ("async def upgrade(op):\n    await op.transform('x', {}, 'a')\n", None, "not str"),
        (
            "async def upgrade(op):\n    await op.delete_many('x', {}, batch_documents=0)\n",
            None,
            "batch_documents is 0",
        ),
        ("async def upgrade(op):\n    await op.set_validator('x', {})\n", None, "there is no such collection"),
        ("async def upgrade(op):\n    await op.rename_collection('x', 'y')\n", None, "there is no collection x"),
        ("async def upgrade(op):\n    await op.create_collection('there')\n", None, "already; stamp the revision"),
        ("async def upgrade(op):\n    await op.rename_collection('there', 'there')\n", None, "there is there already"),
        ("async def upgrade(op):\n    await op.insert_many('there', [{'_id': 1}])\n", None, "one of these ids already"),
        ("async def upgrade(op):\n    await op.create_index('there', 'a', name='b')\n", None, "under the name a_1"),
        (
            "async def upgrade(op):\n    await op.create_index('there', 'b', name='a_1')\n",
            None,
            "another index of that name",
        ),
    ],
)
async def test_what_does_not_fit_is_told_and_changes_nothing(ground: Ground, body: str, kind: Any, said: str) -> None:
    await ground.driver.there.insert_one({"_id": 1})
    await ground.driver.there.create_index("a")
    ground.write("a1", body)
    with pytest.raises(kind or MigrationFailedError, match=said):
        await ground.runner().upgrade("head")
    assert await ground.names() == {"there"}
    assert await ground.runner().current() == ()
    assert await ground.journal() == []


async def test_ways_that_cross(ground: Ground) -> None:
    """A migration that was interrupted, and commands that do not reach it."""
    ground.write("a1", "async def upgrade(op):\n    await op.create_collection('x')\n")
    ground.write(
        "b2", "async def upgrade(op):\n    await op.delete_many('x', {})\n    raise ValueError\n", follows="a1"
    )
    down = "\n\nasync def downgrade(op):\n    await op.delete_many('y', {})\n    raise ValueError\n"
    ground.write("c3", f"async def upgrade(op):\n    await op.create_collection('y')\n{down}", follows="a1")
    await ground.runner().upgrade("a1")
    await ground.documents("x").insert_one({})
    with pytest.raises(MigrationFailedError):
        await ground.runner().upgrade("b2")
    with pytest.raises(MigrationStateError, match="b2 was interrupted on its way up, and 'c3' does not reach it"):
        await ground.runner().upgrade("c3")
    await ground.runner().stamp("b2")  # somebody has looked
    assert await ground.runner().current() == ("b2",)
    await ground.runner().upgrade("c3")
    assert await ground.runner().current() == ("b2", "c3")
    await ground.documents("y").insert_one({})
    with pytest.raises(MigrationFailedError):
        await ground.runner().downgrade("c3@-1")
    with pytest.raises(MigrationStateError, match="c3 was interrupted while it was undone"):
        await ground.runner().upgrade("heads")
    await ground.runner().stamp("base")
    assert await ground.runner().current() == ()


async def test_a_file_that_reads_the_database_has_no_script(ground: Ground) -> None:
    ground.write(
        "a1", "async def upgrade(op):\n    await op.documents('x').find()\n    await op.create_collection('x')\n"
    )
    runner = ground.runner()
    assert [each.sql for each in await runner.operations("a1")] == ["create_collection x"]
    with pytest.raises(UsageError, match="reads the database, and is rendered here without one"):
        await runner.render("base", "head")
