"""Finding documents, and keeping their indexes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import pytest
import structlog
from beanie import Document, Indexed, init_beanie
from pymongo import AsyncMongoClient, IndexModel
from pymongo.collation import Collation
from tests.integrations.beanie import quarry
from tests.integrations.beanie.quarry import Contract, Heavy, Quarry, Stone
from tests.integrations.beanie.shed.tools import chisels
from tests.integrations.beanie.shed.tools.chisels import Bucket, Chisel, Things, Tool, ToothChisel

from sillar import DatabaseManager, errors
from sillar.engines.mongodb.indexes import drift_of, existing_indexes, wanted_indexes
from sillar.integrations.beanie import BeanieIntegration, Index, IndexDrift
from sillar.integrations.beanie.private import declared_indexes
from sillar.testing.servers import MongoDBServer

SHED = "tests.integrations.beanie.shed"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([Stone], [Stone]),
        ([quarry], [Quarry, Stone, Contract, Heavy]),
        ([SHED], [Tool, Chisel, ToothChisel, Things, Bucket]),
        ([f"{SHED}.tools.chisels.Chisel", chisels.Tool], [Chisel, Tool]),
        ([Stone, quarry, Stone], [Stone, Quarry, Contract, Heavy]),
    ],
    ids=["class", "module", "package", "dotted class", "once"],
)
async def test_models_are_found(manager: DatabaseManager, given: list[Any], found: list[type]) -> None:
    integration = BeanieIntegration(manager)
    integration.register_models(*given)
    assert list(integration.models) == found


@pytest.mark.parametrize("given", [f"{SHED}.hammers", "nowhere", f"{SHED}.tools.chisels.Nothing", "shed.no.Tool"])
async def test_names_of_nothing_are_refused(manager: DatabaseManager, given: str) -> None:
    with pytest.raises(errors.UsageError, match="there is no module, package or Beanie model"):
        BeanieIntegration(manager).register_models(given)


@pytest.mark.parametrize("given", [int, Document, 3])
async def test_what_is_no_model_is_refused(manager: DatabaseManager, given: Any) -> None:
    with pytest.raises(errors.UsageError, match="is no Beanie model"):
        BeanieIntegration(manager).register_models(given)


async def test_a_module_that_imports_what_is_missing_says_so(
    manager: DatabaseManager, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_models.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        BeanieIntegration(manager).register_models("broken_models")


async def test_nothing_works_before_it_is_open(manager: DatabaseManager) -> None:
    integration = BeanieIntegration(manager)
    with pytest.raises(errors.UsageError, match="no Beanie model to open"):
        await integration.open()
    with pytest.raises(errors.UsageError, match="not initialized yet"):
        await integration.index_drift()


async def test_another_engine_is_refused() -> None:
    async with DatabaseManager.from_url("sqlite://") as manager:
        with pytest.raises(errors.UnsupportedCapabilityError, match="use Beanie with MongoDB"):
            BeanieIntegration(manager)


async def test_inherited_documents_and_unions(manager: DatabaseManager) -> None:
    integration = BeanieIntegration(manager)
    await integration.open(SHED)
    await ToothChisel(name="tooth").insert()
    await Tool(name="mallet").insert()
    assert [type(each) for each in await Tool.find(with_children=True).sort("name").to_list()] == [Tool, ToothChisel]
    await Bucket(litres=10).insert()
    assert [type(each) for each in await Things.find().to_list()] == [Bucket]


# --- indexes ----------------------------------------------------------------------------------------------------------


async def test_indexes_are_created_and_nothing_is_dropped(manager: DatabaseManager, outside: Any) -> None:
    await outside["stones"].create_index("old", name="old_1")
    await outside["stones"].create_index([("weight", 1)], name="by_weight")
    integration = BeanieIntegration(manager)
    with structlog.testing.capture_logs() as logs:
        await integration.open(Stone, Quarry, Heavy)
    (warning,) = [each for each in logs if each["event"] == "indexes differ from the models"]
    assert (warning["collection"], warning["superfluous"], warning["different"]) == ("stones", ["old_1"], ["by_weight"])
    assert set(await outside["stones"].index_information()) == {"_id_", "old_1", "by_weight", "name_1", "colour_1"}
    (drift,) = await integration.index_drift()
    assert drift.superfluous == (Index("old_1", (("old", 1),)),)
    assert [(each.wanted.keys, each.existing.keys) for each in drift.different] == [
        ((("weight", -1), ("name", 1)), (("weight", 1),))
    ]
    assert drift.missing == ()

    assert await integration.apply_indexes() == [drift]
    assert await integration.apply_indexes(drop_superfluous=True) == [IndexDrift("stones", different=drift.different)]
    assert await integration.apply_indexes(rebuild_different=True) == []
    information = await outside["stones"].index_information()
    assert set(information) == {"_id_", "by_weight", "name_1", "colour_1"}
    assert information["by_weight"]["key"] == [("weight", -1), ("name", 1)]
    assert information["name_1"]["unique"]


async def test_indexes_are_left_alone_on_request(manager: DatabaseManager, outside: Any) -> None:
    await outside["stones"].insert_many([{"name": "same"}, {"name": "same"}])
    integration = BeanieIntegration(manager)
    async with integration.transaction():  # opening is no part of it
        await integration.open(Stone, create_indexes=False)
    assert set(await outside["stones"].index_information()) == {"_id_"}
    (drift,) = await integration.index_drift()
    assert {each.name for each in drift.missing} == {"name_1", "by_weight", "colour_1"}
    with pytest.raises(errors.UniqueViolationError):
        await integration.apply_indexes()


class Old(Document):
    name: Annotated[str, Indexed()]
    text: Annotated[str, Indexed(index_type="text")]
    code: Annotated[str, Indexed(unique=True, sparse=True)] = ""
    at: int = 0
    until: datetime | None = None

    class Settings:
        name = "things"
        indexes = (
            IndexModel([("until", 1)], expireAfterSeconds=3600, name="expiry"),
            IndexModel([("name", 1), ("at", -1)], partialFilterExpression={"at": {"$gt": 5}}),
            IndexModel([("at", -1)], background=True, hidden=False),
        )


class Free(Old):
    class Settings:
        name = "Free"
        merge_indexes = True
        indexes = ("free",)


async def test_what_init_beanie_itself_creates_is_no_drift(
    mongodb: MongoDBServer, manager: DatabaseManager, outside: Any
) -> None:
    """The contract with Beanie: the same indexes are derived from a model as by ``init_beanie``."""
    async with AsyncMongoClient[dict[str, Any]](mongodb.url) as client:
        await init_beanie(database=client.get_default_database(), document_models=[Old, Free, Stone])
    integration = BeanieIntegration(manager)
    await integration.open(Old, Free, Stone, create_indexes=False)
    assert await integration.index_drift() == []
    assert {each["name"] for each in declared_indexes(Free)} > {"free_1", "expiry"}
    assert len(await outside["Free"].index_information()) == 8  # that of _id among them


def test_indexes_are_compared_by_what_they_do() -> None:
    def wanted(*arguments: Any, **options: Any) -> list[Index]:
        return wanted_indexes([IndexModel(*arguments, **options).document] * 2)

    def existing(name: str, key: list[tuple[str, Any]], **options: Any) -> list[Index]:
        return existing_indexes({"_id_": {"key": [("_id", 1)]}, name: {"v": 2, "key": key, **options}})

    text = [("_fts", "text"), ("_ftsx", 1)]
    same = [
        (wanted([("a", 1)]), existing("named_otherwise", [("a", 1.0)], unique=False)),
        (wanted([("b", "text"), ("a", "text")]), existing("x", text, weights={"a": 1, "b": 1}, textIndexVersion=3)),
        (
            wanted([("a", 1)], collation=Collation("es")),
            existing("a_1", [("a", 1)], collation={"locale": "es", "strength": 3, "version": "57.1"}),
        ),
    ]
    for one, other in same:
        assert not drift_of("c", one, other)
    other_options = [
        (wanted([("a", 1)], unique=True), existing("a_1", [("a", 1)])),
        (wanted([("a", 1)], expireAfterSeconds=5), existing("a_1", [("a", 1)], expireAfterSeconds=6)),
        (wanted([("a", 1)], name="n"), existing("n", [("b", 1)])),
        (wanted([("a", 1)], collation=Collation("es")), existing("a_1", [("a", 1)], collation={"locale": "de"})),
    ]
    for one, other in other_options:
        drift = drift_of("c", one, other)
        assert [len(each) for each in (drift.missing, drift.superfluous, drift.different)] == [0, 0, 1]
    order = drift_of("c", wanted([("a", 1), ("b", 1)]), existing("b_1_a_1", [("b", 1), ("a", 1)]))
    assert [len(each) for each in (order.missing, order.superfluous, order.different)] == [1, 1, 0]
