"""Migrations generated from Beanie's models, and what differs from them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.migrations.mongodb.ground import Ground

from sillar.errors import MigrationStateError, UsageError
from sillar.migrations.mongodb.models import ModelComparison
from sillar.migrations.runner import Generation

SHELF = "tests.migrations.mongodb.shelf"
MODELS = (f"{SHELF}:Book", f"{SHELF}:Reading", f"{SHELF}:Thick")


def config(*models: str) -> dict[str, Any]:
    return {"models": models or MODELS}


async def test_what_is_generated_makes_the_database_agree_and_takes_it_back(ground: Ground) -> None:
    runner = ground.runner(config=config())
    assert await runner.differences() == [
        "collection books is missing (Book)",
        "index title_1 of books is missing",
        "index by_pages of books is missing",
        "index dear of books is missing",
        "collection readings is missing (Reading)",
        "index forgotten of readings is missing",
    ]
    (version,) = await runner.generate(Generation("all of it", autogenerate=True))
    text = next((ground.folder / "versions").glob(f"*{version}*.py")).read_text()
    assert "from decimal import Decimal" in text
    assert 'await op.create_index("books"' in text.replace("'", '"')
    await ground.runner(config=config()).upgrade("heads")
    assert await runner.differences() == []
    indexes = await ground.driver.books.index_information()
    assert set(indexes) == {"_id_", "title_1", "by_pages", "dear"}
    assert indexes["title_1"]["unique"] is True
    assert (await ground.driver.books.options())["validator"]["$jsonSchema"]["required"] == ["title", "pages"]
    assert (await ground.driver.readings.index_information())["forgotten"]["expireAfterSeconds"] == 3600

    again = await runner.generate(Generation("nothing", autogenerate=True))
    assert "    pass\n" in ground.runner().scripts.get(again[0]).path.read_text()  # type: ignore[union-attr]
    await ground.runner(config=config()).upgrade("heads")
    await ground.runner(config=config()).downgrade("base")
    assert await ground.names() == set()


async def test_what_differs_is_changed_and_nothing_is_dropped_unasked(ground: Ground) -> None:
    database = ground.driver
    schema = {"$jsonSchema": {"bsonType": "object", "required": ["title"]}}
    await database.create_collection("books", validator=schema, validationAction="warn")
    await database.books.create_index([("title", 1)], name="other_name", unique=True)
    await database.books.create_index([("pages", 1)], name="by_pages")
    await database.books.create_index([("old", 1)], name="old_one", sparse=True)
    await database.create_collection("attic")
    runner = ground.runner(config=config(MODELS[0]))
    assert await runner.differences() == [
        "collection books has another validator",
        "index dear of books is missing",
        "index by_pages of books is another one",
        "index old_one of books is in no model",
        "collection attic is in no model",
    ]
    await runner.generate(Generation("agree", autogenerate=True, version="v1"))
    file = ground.runner().scripts.get("v1").path
    assert file is not None
    text = file.read_text()
    assert "# index other_name of books is called title_1 in the models" in text
    assert "    # await op.drop_collection('attic')" in text
    assert "    # await op.drop_index('books', 'old_one')" in text
    await ground.runner().upgrade("heads")
    assert await runner.differences() == ["index old_one of books is in no model", "collection attic is in no model"]
    assert (await database.books.index_information())["by_pages"]["key"] == [("pages", -1), ("title", 1)]

    await ground.runner().downgrade("base")  # the validator and the index as they were
    assert (await database.books.options())["validator"] == schema
    assert (await database.books.options())["validationAction"] == "warn"
    assert (await database.books.index_information())["by_pages"]["key"] == [("pages", 1)]

    file.unlink()
    fresh = ground.runner(config=config(MODELS[0]))
    await fresh.generate(Generation("agree", autogenerate=True, version="v2", options={"drop": True}))
    await ground.runner().upgrade("heads")
    assert await runner.differences() == []
    assert "attic" not in await ground.names()
    await ground.runner().downgrade("base")
    assert (await database.books.index_information())["old_one"]["sparse"] is True


async def test_a_validator_of_operators_and_a_time_series_are_written_as_source(ground: Ground) -> None:
    await ground.driver.create_collection("books", validator={"pages": {"$gt": 0}}, validationLevel="moderate")
    runner = ground.runner(config=config(MODELS[0], f"{SHELF}:Series"))
    (version,) = await runner.generate(Generation("it", autogenerate=True))
    path = ground.runner().scripts.get(version).path
    assert path is not None
    text = path.read_text()
    assert "await op.set_validator('books', validator={'pages': {'$gt': 0}}, level='moderate')" in text
    assert "timeseries={'timeField': 'at'}" in text  # the stand-in has none, so nobody runs it here


async def test_what_no_command_changes(ground: Ground) -> None:
    await ground.driver.create_collection("series")
    runner = ground.runner(config=config(f"{SHELF}:Series"))
    (line,) = await runner.differences()
    assert line.startswith("collection series is no time series collection, and Series asks for one: nothing makes")
    (version,) = await runner.generate(Generation("it", autogenerate=True, branch_labels=("rows",)))
    migration = ground.runner().scripts.get(version)
    assert migration.path is not None
    assert f"# {line}\n    pass\n" in migration.path.read_text()
    assert ground.runner().scripts.get("rows").version == version
    with pytest.raises(MigrationStateError, match=rf"not up to date \(1 migrations to apply, the next is {version}\)"):
        await ground.runner(config=config(f"{SHELF}:Series")).generate(Generation("more", autogenerate=True))


async def test_without_models(ground: Ground) -> None:
    assert await ground.runner().differences() == []
    with pytest.raises(UsageError, match=r"name them in migration_config\.models"):
        await ground.runner().generate(Generation("x", autogenerate=True))
    with pytest.raises(UsageError, match="no module, package or Beanie model"):
        await ground.runner(config=config("no.such.place")).differences()


async def test_collections_of_the_migrations_are_nobodys_business(ground: Ground) -> None:
    ground.write("a1", "async def upgrade(op):\n    await op.create_collection('attic')\n")
    await ground.runner().upgrade("head")
    await ground.driver.create_collection("_copy_progress")
    await ground.driver.command({"create": "seen", "viewOn": "attic", "pipeline": []})
    assert await ground.runner(config=config(MODELS[1])).differences() == [
        "collection readings is missing (Reading)",
        "index forgotten of readings is missing",
        "collection attic is in no model",
    ]
    assert ModelComparison().upgrade_text == "pass"
