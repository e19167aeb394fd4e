"""Models of all kinds against the live schema of every engine: what is alike gives nothing, what differs is named."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from beanie import Document
from pydantic import BaseModel
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.types import NullType
from tortoise import fields
from tortoise.models import Model

from sillar import DatabaseManager, DatabaseSession, DocumentCommand, QueryBuilder, bind_model
from sillar.errors import UsageError
from sillar.query.schema import check_models, validate_models
from sillar.testing.servers import ServerFleet

SQL_ENGINES = ["sqlite", "postgresql", "mariadb", "mysql"]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


METADATA = MetaData()
PARTS = Table(
    "schema_parts",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("code", String(20), nullable=False, unique=True),
    Column("serial", BigInteger),
    Column("note", Text),
    Column("price", Numeric(10, 2)),
    Column("weight", Float),
    Column("active", Boolean, nullable=False),
    Column("made", Date),
    Column("at", Time),
    Column("changed", DateTime(timezone=True)),
    Column("lasts", Interval),
    Column("token", Uuid),
    Column("data", JSON),
    Column("raw", LargeBinary),
    Column("colour", Enum(Colour, length=10)),
    UniqueConstraint("serial", "weight", name="schema_parts_serial"),
)
Index("schema_parts_price", PARTS.c.price, PARTS.c.made, unique=True)
PLAIN = "CREATE TABLE schema_plain (id INTEGER NOT NULL, name VARCHAR(20), qty INTEGER NOT NULL, at TIMESTAMP NULL)"


class Base(DeclarativeBase):
    """Of the mapped class here."""


class MappedPart(Base):
    __tablename__ = "schema_parts"

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    note: Mapped[str | None]


class TortoisePart(Model):
    id = fields.IntField(primary_key=True)
    code = fields.CharField(20, unique=True)
    price = fields.DecimalField(10, 2, null=True)
    active = fields.BooleanField()
    token = fields.UUIDField(null=True)

    class Meta:
        table = "schema_parts"


@bind_model("schema_parts")
class BoundPart(BaseModel):
    id: int
    code: str
    price: Decimal | None
    weight: float | None
    active: bool
    made: date | None
    changed: datetime | None
    token: UUID | None
    raw: bytes | None


@bind_model("schema_plain")
@dataclass
class Wrong:
    id: int
    nmae: str | None
    qty: str
    at: datetime


@bind_model("schema_nowhere")
@dataclass
class Nowhere:
    id: int


@pytest.fixture
async def session(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[DatabaseSession]:
    """A session over the tables above, on the engine named by an indirect parameter."""
    url = f"sqlite:///{tmp_path}/schema.db" if request.param == "sqlite" else (await fleet.get(request.param)).url
    async with DatabaseManager.from_url(url) as manager, manager.session() as opened:
        for name in ("schema_parts", "schema_plain"):
            await opened.execute(f"DROP TABLE IF EXISTS {name}")
        if request.param == "postgresql":
            await opened.execute("DROP TYPE IF EXISTS colour")
            await opened.execute("CREATE TYPE colour AS ENUM ('RED', 'BLUE')")
        await opened.execute(CreateTable(PARTS))
        for index in PARTS.indexes:
            await opened.execute(CreateIndex(index))
        await opened.execute(PLAIN)
        yield opened


@pytest.mark.parametrize("session", SQL_ENGINES, indirect=True)
async def test_models_that_fit(session: DatabaseSession) -> None:
    assert await check_models(session, PARTS, MappedPart, TortoisePart, BoundPart) == []
    await validate_models(session, PARTS, BoundPart)


@pytest.mark.parametrize("session", SQL_ENGINES, indirect=True)
async def test_every_difference_is_listed_at_once(session: DatabaseSession) -> None:
    found = await check_models(session, Wrong, Nowhere)
    assert [(each.kind, each.model, each.table, each.column) for each in found] == [
        ("missing column", "Wrong", "schema_plain", "nmae"),
        ("type", "Wrong", "schema_plain", "qty"),
        ("nullability", "Wrong", "schema_plain", "at"),
        ("primary key", "Wrong", "schema_plain", "id"),
        ("missing unique index", "Wrong", "schema_plain", "id"),
        ("missing table", "Nowhere", "schema_nowhere", ""),
    ]
    assert "did you mean 'name'?" in found[0].message
    with pytest.raises(UsageError) as refusal:
        await validate_models(session, Wrong, Nowhere)
    message = str(refusal.value)
    assert "'default' differ in 6 places" in message
    assert all(f"- {each}" in message for each in found)


@pytest.mark.parametrize("session", SQL_ENGINES, indirect=True)
async def test_keys_and_null(session: DatabaseSession) -> None:
    declared = Table(
        "schema_parts",
        MetaData(),
        Column("id", Integer, nullable=False),
        Column("code", String(20), primary_key=True),
        Column("active", Boolean, unique=True),
        Column("serial", BigInteger),
        Column("weight", Float),
        Column("anything", NullType),
        UniqueConstraint("serial", "weight"),
    )
    found = await check_models(session, declared)
    assert [(each.kind, each.column) for each in found] == [
        ("nullability", "active"),
        ("missing column", "anything"),
        ("primary key", "code"),
        ("missing unique index", "active"),
    ]
    assert found[0].message == "schema_parts.active refuses NULL, and the model takes it"
    assert found[2].message == "the primary key of schema_parts is (id), and the model says (code)"


@pytest.mark.parametrize("session", SQL_ENGINES, indirect=True)
async def test_types_of_other_families(session: DatabaseSession) -> None:
    kinds: dict[str, Any] = {
        "code": Integer, "serial": String, "price": LargeBinary, "weight": Text, "made": Integer, "changed": Float,
        "data": Integer, "raw": Integer, "token": Float,
    }  # fmt: skip
    declared = Table(
        "schema_parts",
        MetaData(),
        Column("id", Integer, primary_key=True),
        *(Column(name, kind, nullable=name != "code") for name, kind in kinds.items()),
    )
    found = await check_models(session, declared)
    assert {each.column for each in found if each.kind == "type"} == set(kinds)
    assert {each.kind for each in found} == {"type"}
    assert "schema_parts.code is" in found[0].message
    assert "the model declares Integer()" in found[0].message


@pytest.mark.parametrize("session", ["sqlite"], indirect=True)
async def test_what_is_no_table_is_refused(session: DatabaseSession) -> None:
    with pytest.raises(UsageError, match="no single table"):
        await check_models(session, QueryBuilder(PARTS).subquery())


@pytest.mark.parametrize("session", ["sqlite"], indirect=True)
async def test_sqlite_types_go_by_their_letters(session: DatabaseSession) -> None:
    await session.execute(
        "CREATE TABLE odd (a BIGINTEGER, b NCHAR(5), c DOUBLE PRECISION, d, e TEXT, PRIMARY KEY (b, a))"
    )
    (live,) = await session.live_tables([("odd", None)])
    assert live is not None
    assert [column.family for column in live.columns.values()] == ["integer", "text", "float", "", "text"]
    assert live.key == ("b", "a")
    assert live.is_unique(frozenset({"a", "b", "c"}))
    assert not live.is_unique(frozenset({"a"}))


@pytest.mark.parametrize("session", ["postgresql"], indirect=True)
async def test_postgresql_schemas_domains_arrays_and_partial_indexes(session: DatabaseSession) -> None:
    for statement in (
        "DROP SCHEMA IF EXISTS other_schema CASCADE",
        "CREATE SCHEMA other_schema",
        "CREATE DOMAIN other_schema.positive AS integer NOT NULL CHECK (VALUE > 0)",
        "CREATE TABLE other_schema.things (id integer GENERATED ALWAYS AS IDENTITY, n other_schema.positive)",
        "ALTER TABLE other_schema.things ADD tags text[]",
        "CREATE UNIQUE INDEX things_n ON other_schema.things (n) WHERE n > 5",
        "CREATE UNIQUE INDEX things_sum ON other_schema.things ((n + id))",
    ):
        await session.execute(statement)
    (live,) = await session.live_tables([("things", "other_schema")])
    assert live is not None
    assert [(each.family, each.nullable, each.generated) for each in live.columns.values()] == [
        ("integer", False, True),
        ("integer", False, False),
        ("array", True, False),
    ]
    assert [(each.name, each.columns, each.is_key) for each in live.indexes] == [
        ("things_n", ("n",), False),
        ("things_sum", ("",), False),
    ]
    assert live.key == ()
    assert await session.live_tables([("things", None)]) == [None]
    await session.execute("DROP SCHEMA other_schema CASCADE")


# --- documents ------------------------------------------------------------------------------------------------------


class Plant(Document):
    name: str
    height: float
    seeds: int
    planted: datetime
    kinds: list[str]
    label: str | None = None

    class Settings:
        name = "schema_plants"


async def test_documents(mongodb: Any) -> None:
    async with DatabaseManager.from_url(mongodb.url) as manager, manager.session() as session:
        plants = session.documents("schema_plants")
        await plants.drop()
        (missing,) = await check_models(session, Plant)
        assert (missing.kind, missing.message) == ("missing table", "there is no table 'schema_plants'")
        row = {"name": "oak", "height": 3.5, "seeds": 4, "planted": datetime(2026, 1, 1), "kinds": ["tree"]}
        await plants.insert_many([{**row, "label": "x"}, {**row, "label": None}])
        assert await check_models(session, Plant) == []
        await plants.insert_one({**row, "seeds": None, "label": None})
        await plants.delete_one({"label": "x"})
        found = await check_models(session, Plant)
        assert [(each.kind, each.column) for each in found] == [("nullability", "seeds")]
        await plants.drop()
        changed = {**row, "nam": "oak", "height": "tall", "label": "x"}
        del changed["name"]
        await plants.insert_one(changed)
        found = await check_models(session, Plant)
        assert [(each.kind, each.column) for each in found] == [("missing column", "name"), ("type", "height")]
        assert "did you mean 'nam'?" in found[0].message
        await plants.drop()


async def test_validators_and_indexes_of_documents(mongodb: Any) -> None:
    properties = {
        "_id": {"bsonType": "objectId"},
        "name": {"bsonType": "string"},
        "qty": {"bsonType": ["int", "long"]},
        "note": {"bsonType": ["string", "null"]},
        "mixed": {"bsonType": ["string", "int"]},
    }
    validator = {"required": ["_id", "name", "qty"], "properties": properties}
    async with DatabaseManager.from_url(mongodb.url) as manager, manager.session() as session:

        async def run(**command: Any) -> None:
            await session.execute(DocumentCommand("", "command", {"command": command}))

        await session.documents("schema_declared").drop()
        await run(create="schema_declared", validator={"$jsonSchema": validator})
        some = {"note": {"$exists": True}}
        indexes = [
            {"name": "by_name", "key": {"name": 1, "qty": -1}, "unique": True},
            {"name": "some", "key": {"note": 1}, "unique": True, "partialFilterExpression": some},
        ]
        await run(createIndexes="schema_declared", indexes=indexes)
        (live,) = await session.live_tables([("schema_declared", None)])
        assert live is not None
        assert [(each.name, each.family, each.nullable) for each in live.columns.values()] == [
            ("_id", "objectId", False),
            ("name", "text", False),
            ("qty", "integer", False),
            ("note", "text", True),
            ("mixed", "", True),
            ("id", "objectId", False),
        ]
        assert not live.complete
        assert live.is_unique(frozenset({"name", "qty"}))
        assert not live.is_unique(frozenset({"note"}))
        assert live.is_unique(frozenset({"id"}))
        await session.documents("schema_declared").drop()
        await run(create="schema_view", viewOn="schema_declared", pipeline=[])
        await session.live_tables([("schema_view", None)])
        await session.documents("schema_view").drop()
