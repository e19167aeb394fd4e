"""What Beanie stores, as a validator: all that Beanie writes passes it, and what it would never write does not."""

from __future__ import annotations

import uuid
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NewType

import pytest
from beanie import BackLink, DecimalAnnotation, Document, Indexed, Link, PydanticObjectId, UnionDoc
from pydantic import BaseModel, ConfigDict, Field, RootModel
from tests.migrations.mongodb.ground import Ground
from typing_extensions import TypedDict

from sillar.errors import CheckViolationError, UsageError
from sillar.integrations.beanie import BeanieIntegration
from sillar.integrations.beanie.schema import document_schema
from sillar.integrations.beanie.shape import collection_shapes, collection_validator

Grams = NewType("Grams", int)


class Colour(Enum):
    GREY = "grey"
    RED = "red"


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    depth_metres: float | None = None


class Branch(BaseModel):
    label: str
    children: list[Branch] = Field(default_factory=list)


class Ring(TypedDict, total=False):
    code: str


class Codes(RootModel[list[int]]):
    pass


class Nest(Document):
    birds: list[BackLink[Bird]] = Field(default_factory=list, json_schema_extra={"original_field": "nest"})

    class Settings:
        name = "nests"


class Bird(Document):
    name: Annotated[str, Indexed(unique=True)] = Field(min_length=2, max_length=40, pattern="^[A-Z]")
    grams: Annotated[int, Field(gt=0, le=20_000)]
    wing: float | None = None
    price: DecimalAnnotation = Decimal(0)
    colour: Colour = Colour.GREY
    kind: Literal["wild", "tame"] | None = None
    hatched: datetime = Field(alias="hatchedAt")
    ringed: date | None = None
    age: timedelta = timedelta(0)
    tag: uuid.UUID = Field(default_factory=uuid.uuid4)
    owner: PydanticObjectId | None = None
    place: Place | None = None
    places: dict[str, Place] = Field(default_factory=dict)
    notes: list[str | int] = Field(default_factory=list, max_length=5)
    pair: tuple[int, str] = (1, "a")
    rings: list[Ring] = Field(default_factory=list)
    family: Branch | None = None
    weight: Grams = Grams(1)
    codes: Codes = Codes([1])
    address: IPv4Address | None = None
    anything: Any = None
    secret: str = Field(default="hidden", exclude=True)
    nest: Link[Nest] | None = None

    class Settings:
        name = "birds"


Nest.model_rebuild()


class Vehicle(Document):
    wheels: int

    class Settings:
        name = "vehicles"
        is_root = True


class Truck(Vehicle):
    load: float


class Tank(Vehicle):
    guns: int = 1


class Things(UnionDoc):
    class Settings:
        name = "things"


class Cup(Document):
    litres: float

    class Settings:
        union_doc = Things


class Plate(Document):
    centimetres: int

    class Settings:
        union_doc = Things


def known_to_the_stand_in(schema: Any) -> Any:
    """A schema without the keywords that DocumentDB does not have; only a real MongoDB holds them."""
    if isinstance(schema, dict):
        rest = {key: each for key, each in schema.items() if key not in ("additionalProperties", "anyOf")}
        return {key: known_to_the_stand_in(each) for key, each in rest.items()}
    return [known_to_the_stand_in(each) for each in schema] if isinstance(schema, list) else schema


def test_each_type_is_what_the_encoder_stores() -> None:
    schema = document_schema(Bird)
    assert schema["bsonType"] == "object"
    assert schema["required"] == ["name", "grams", "hatchedAt"]
    assert schema["properties"] == {
        "_id": {"bsonType": "objectId"},
        "name": {"bsonType": "string", "minLength": 2, "maxLength": 40, "pattern": "^[A-Z]"},
        "grams": {"bsonType": ["int", "long"], "minimum": 0, "exclusiveMinimum": True, "maximum": 20_000},
        "wing": {"bsonType": ["double", "int", "long", "null"]},
        "price": {"bsonType": "decimal"},
        "colour": {"enum": ["grey", "red"]},
        "kind": {"enum": ["wild", "tame", None]},
        "hatchedAt": {"bsonType": "date"},
        "ringed": {"bsonType": ["date", "null"]},
        "age": {"bsonType": ["double", "int", "long"]},
        "tag": {"bsonType": "binData"},
        "owner": {"bsonType": ["objectId", "null"]},
        "place": {
            "bsonType": ["object", "null"],
            "required": ["name"],
            "properties": {
                "name": {"bsonType": "string"},
                "depth_metres": {"bsonType": ["double", "int", "long", "null"]},
            },
            "additionalProperties": False,
        },
        "places": {
            "bsonType": "object",
            "additionalProperties": document_schema(Bird)["properties"]["place"] | {"bsonType": "object"},
        },
        "notes": {"bsonType": "array", "items": {"bsonType": ["string", "int", "long"]}, "maxItems": 5},
        "pair": {
            "bsonType": "array",
            "items": [{"bsonType": ["int", "long"]}, {"bsonType": "string"}],
            "minItems": 2,
            "maxItems": 2,
        },
        "rings": {"bsonType": "array", "items": {"bsonType": "object", "properties": {"code": {"bsonType": "string"}}}},
        "family": {
            "bsonType": ["object", "null"],
            "required": ["label"],
            "properties": {
                "label": {"bsonType": "string"},
                "children": {"bsonType": "array", "items": {"bsonType": "object"}},
            },
        },
        "weight": {"bsonType": ["int", "long"]},
        "codes": {"bsonType": "array", "items": {"bsonType": ["int", "long"]}},
        "address": {"bsonType": ["string", "null"]},
        "nest": {"bsonType": ["object", "null"]},
    }


def test_documents_of_one_collection_are_told_apart() -> None:
    (vehicles,) = collection_shapes([Truck])  # its root and the others are stored there, too
    assert vehicles.documents == ("Vehicle", "Truck", "Tank")
    assert vehicles.validator is not None
    schemas = [each["$jsonSchema"] for each in vehicles.validator["$or"]]
    told = [(each["properties"]["_class_id"]["enum"], each["required"]) for each in schemas]
    assert told == [
        (["Vehicle"], ["_class_id", "wheels"]),
        (["Vehicle.Truck"], ["_class_id", "wheels", "load"]),
        (["Vehicle.Tank"], ["_class_id", "wheels"]),
    ]
    (things,) = collection_shapes([Cup, Plate, Things])
    assert things.name == "things"
    schemas = [each["$jsonSchema"] for each in things.validator["$or"]]  # type: ignore[index]
    assert [each["properties"]["_class_id"]["enum"] for each in schemas] == [["Cup"], ["Plate"]]


async def test_what_beanie_writes_passes(ground: Ground) -> None:
    for shape in collection_shapes([Bird, Nest, Vehicle, Cup, Plate]):
        await ground.driver.create_collection(shape.name, validator=known_to_the_stand_in(shape.validator))
    integration = BeanieIntegration(ground.manager)
    await integration.open(Nest, Bird, Vehicle, Truck, Tank, Things, Cup, Plate)
    nest = await Nest().insert()
    full = Bird(
        name="Hornero",
        grams=49,
        wing=1,
        price=Decimal("1.5"),
        colour=Colour.RED,
        kind="wild",
        hatchedAt=datetime(2026, 1, 1),
        ringed=date(2026, 2, 1),
        age=timedelta(days=3),
        owner=PydanticObjectId(),
        place=Place(name="north"),
        places={"a": Place(name="south", depth_metres=2.5)},
        notes=["a", 7],
        rings=[{"code": "x"}],
        family=Branch(label="a", children=[Branch(label="b")]),
        address=IPv4Address("127.0.0.1"),
        anything={"x": [1, None]},
        nest=nest,
    )
    await full.insert()
    await Bird(name="Zorzal", grams=3_000, hatchedAt=datetime(2026, 1, 1)).insert()
    for document in (
        Vehicle(wheels=2),
        Truck(wheels=6, load=1.5),
        Tank(wheels=0),
        Cup(litres=0.2),
        Plate(centimetres=20),
    ):
        await document.insert()
    assert await Bird.count() == 2
    assert await ground.documents("vehicles").count() == 3


NEVER: list[dict[str, Any]] = [
    {"name": 7},
    {"name": "x"},
    {"name": "lower"},
    {"name": None},
    {"grams": 0},
    {"grams": 20_001},
    {"grams": "49"},
    {"price": 1.5},
    {"colour": "blue"},
    {"kind": "none"},
    {"hatchedAt": "2026-01-01"},
    {"tag": "text"},
    {"owner": "0" * 24},
    {"place": {"depth_metres": 1.0}},
    {"notes": [1.5]},
    {"notes": ["a"] * 6},
    {"pair": [1, 2]},
    {"rings": [{"code": 1}]},
    {"family": {"label": 1}},
    {"nest": "elsewhere"},
    {"_id": "no ObjectId"},
]


async def test_what_it_would_never_write_is_refused(ground: Ground) -> None:
    validator = known_to_the_stand_in({"$jsonSchema": document_schema(Bird)})
    await ground.driver.create_collection("birds", validator=validator)
    birds = ground.documents("birds")
    good = {"name": "Hornero", "grams": 49, "hatchedAt": datetime(2026, 1, 1)}
    await birds.insert_one(good)
    passed = []
    for change in NEVER:
        try:
            await birds.insert_one({**good, **change})
        except CheckViolationError:
            continue
        passed.append(change)
    assert passed == []


def test_settings_say_otherwise() -> None:
    class Quiet(Document):
        x: int

        class Settings:
            name = "quiet"
            validator = False

    class Own(Document):
        x: int

        class Settings:
            name = "own"
            validator = {"x": {"$gt": 0}}  # noqa: RUF012
            validation_level = "moderate"
            validation_action = "warn"

    class Other(Document):
        class Settings:
            name = "own"
            validator = {"x": {"$gt": 1}}  # noqa: RUF012

    class Encoded(Document):
        name: str
        colour: Colour
        grams: int | None
        x: int = 1
        either: int | Literal["a"] | None = None

        class Settings:
            name = "encoded"
            bson_encoders = {Colour: lambda colour: colour.name}  # noqa: RUF012
            keep_nulls = False

    assert collection_shapes([Quiet])[0].validator is None
    (own,) = collection_shapes([Own])
    assert (own.validator, own.level, own.action) == ({"x": {"$gt": 0}}, "moderate", "warn")
    with pytest.raises(UsageError, match=r"documents of own do not agree on Settings\.validator"):
        collection_shapes([Own, Other])
    assert collection_validator([Encoded])["$jsonSchema"] == {
        "bsonType": "object",
        "required": ["name"],
        "properties": {
            "_id": {"bsonType": "objectId"},
            "name": {"bsonType": "string"},
            "grams": {"bsonType": ["int", "long", "null"]},
            "x": {"bsonType": ["int", "long"]},
            "either": {"anyOf": [{"bsonType": ["int", "long", "null"]}, {"enum": ["a"]}]},
        },
    }
