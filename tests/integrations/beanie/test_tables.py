"""Documents as tables: what queries see of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Any
from uuid import UUID

import pytest
from beanie import BackLink, Document, Indexed, Link, PydanticObjectId
from pydantic import ConfigDict, Field
from tests.integrations.beanie.quarry import Colour, Contract, Heavy, Place, Quarry, Stone
from tests.integrations.beanie.shed.tools.chisels import Bucket, Chisel, Things, Tool, ToothChisel

from sillar import DatabaseManager, errors
from sillar.integrations.beanie import BeanieIntegration
from sillar.integrations.beanie.private import is_initialized
from sillar.integrations.beanie.tables import binding_of, model_binding


class Grade(IntEnum):
    LOW = 1


class Every(Document):
    whole: int
    real: float | None
    flag: bool
    amount: Decimal
    day: date
    maybe_day: Annotated[date | None, Indexed()] = None
    span: timedelta | None = None
    moment: datetime = Field(alias="theMoment")
    key: UUID
    data: bytes
    grade: Grade
    other: PydanticObjectId | None
    names: list[str]
    places: list[Place]
    place: Place | None
    loose: dict[str, Any]
    link: Link[Quarry]
    links: list[Link[Quarry]]
    back: BackLink[Stone] | None = Field(default=None, json_schema_extra={"original_field": "quarry"})
    hidden: int = Field(default=0, exclude=True)


class Unfit(Document):
    number: complex

    model_config = ConfigDict(arbitrary_types_allowed=True)


def test_columns_come_from_the_fields() -> None:
    binding = binding_of(Every)
    assert binding.table.name == "Every"
    assert binding.table.info == {"sillar_id": "id"}
    assert {column.name: (repr(column.type), column.nullable) for column in binding.table.c} == {
        "id": ("NativeValue('objectId')", False),
        "whole": ("BigInteger()", False),
        "real": ("Double()", True),
        "flag": ("Boolean()", False),
        "amount": ("Numeric()", False),
        "day": ("StoredDate(timezone=True)", False),
        "maybe_day": ("StoredDate(timezone=True)", True),
        "span": ("StoredDuration()", True),
        "theMoment": ("DateTime(timezone=True)", False),
        "key": ("Uuid()", False),
        "data": ("LargeBinary()", False),
        "grade": ("EnumValue(Grade, BigInteger())", False),
        "other": ("NativeValue('objectId')", True),
        "names": ("ARRAY(String())", False),
        "places": ("JSON()", False),
        "place": ("JSON()", True),
        "loose": ("JSON()", False),
        "link": ("NativeValue('dbRef')", False),
        "links": ("ARRAY(NativeValue('dbRef'))", False),
    }
    assert [column.name for column in binding.table.primary_key] == ["id"]
    assert (binding.attributes["moment"], binding.attributes["id"]) == ("theMoment", "id")
    assert binding.table.c.theMoment.info == {"sillar_attribute": "moment"}
    assert binding.table.c.whole.info == {}


def test_dates_and_durations_are_bound_as_beanie_stores_them() -> None:
    table = binding_of(Every).table
    day, span = table.c.day.type, table.c.span.type
    stored = day.process_bind_param(date(2024, 5, 1), None)  # type: ignore[attr-defined]
    assert stored == datetime(2024, 5, 1, tzinfo=UTC)
    assert day.process_bind_param(stored, None) == stored  # type: ignore[attr-defined]
    assert day.process_result_value(stored, None) == date(2024, 5, 1)  # type: ignore[attr-defined]
    assert day.process_result_value(None, None) is None  # type: ignore[attr-defined]
    assert span.process_bind_param(timedelta(minutes=1), None) == 60.0  # type: ignore[attr-defined]
    assert span.process_bind_param(None, None) is None  # type: ignore[attr-defined]
    assert span.process_result_value(60.0, None) == timedelta(minutes=1)  # type: ignore[attr-defined]
    assert span.process_result_value(None, None) is None  # type: ignore[attr-defined]


def test_names_of_collections_and_what_tells_documents_apart() -> None:
    named = {each: (binding_of(each).table.name, binding_of(each).discriminator) for each in (
        Stone, Heavy, Contract, Tool, Chisel, ToothChisel, Bucket,
    )}  # fmt: skip
    assert named == {
        Stone: ("stones", None),
        Heavy: ("Heavy", None),
        Contract: ("contracts", None),
        Tool: ("tools", ("_class_id", "Tool")),
        Chisel: ("tools", ("_class_id", "Tool.Chisel")),
        ToothChisel: ("tools", ("_class_id", "Tool.Chisel.ToothChisel")),
        Bucket: ("things", ("kind", "Bucket")),
    }
    assert "revision_id" in binding_of(Contract).table.c
    assert "revision_id" not in binding_of(Stone).table.c
    assert binding_of(Heavy).table.info == {}


@pytest.mark.parametrize("model", [int, Document, Things])
def test_what_is_no_document_is_refused(model: Any) -> None:
    with pytest.raises(errors.UsageError, match="no Beanie document"):
        binding_of(model)


def test_a_field_without_a_column_type_is_named() -> None:
    with pytest.raises(errors.UsageError, match=r"Unfit\.number"):
        binding_of(Unfit)


async def test_the_names_are_those_that_beanie_gives(manager: DatabaseManager) -> None:
    """The contract with Beanie: name, discriminator and stored fields, without ``init_beanie`` and after it."""
    integration = BeanieIntegration(manager)
    await integration.open("tests.integrations.beanie.shed", Stone, Quarry, Contract, Heavy)
    for document in (Stone, Heavy, Contract, Tool, Chisel, ToothChisel, Bucket):
        binding = binding_of(document)
        assert binding.table.name == document.get_collection_name()
        assert is_initialized(document)
    for document in (Tool, Chisel, ToothChisel):
        assert binding_of(document).discriminator == ("_class_id", document._class_id)
    await ToothChisel(name="a").insert()
    await Bucket(litres=1).insert()
    stored = await integration.database["tools"].find_one()
    assert stored is not None
    assert stored["_class_id"] == "Tool.Chisel.ToothChisel"
    assert set(stored) - {"_id", "_class_id"} == set(binding_of(ToothChisel).attributes) - {"id"}
    stored = await integration.database["things"].find_one()
    assert stored is not None
    assert stored["kind"] == "Bucket"


async def test_documents_are_made_of_rows(beanie: BeanieIntegration) -> None:
    stone = await Stone(name="a", weight=3, colour=Colour.RED, foundAt=datetime(2024, 5, 1, tzinfo=UTC)).insert()
    make = binding_of(Stone).make(["id", "name", "weight", "colour", "found_at", "price", "quarry", "tags"])
    made = make((stone.id, "a", 3, "red", stone.found_at, Decimal(0), None, []))
    assert made == stone
    assert made.get_saved_state() is None or made.get_saved_state() == stone.get_saved_state()
    await made.set({Stone.weight: 4})
    assert await Stone.find(Stone.weight == 4).count() == 1
    with pytest.raises(errors.UsageError, match="no stored field 'wait'"):
        binding_of(Stone).make(["wait"])


def test_no_documents_are_made_before_beanie_is_initialized() -> None:
    with pytest.raises(errors.UsageError, match="Every is not initialized"):
        binding_of(Every).make(["whole"])


def test_the_binding_of_the_query_builder() -> None:
    binding = model_binding(Stone)
    assert (binding.model, binding.into, binding.key) == (Stone, Stone, ("id",))
    assert binding.columns["found_at"] is binding.source.c.foundAt
