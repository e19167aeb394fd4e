"""Plans are compiled once per shape, values stay values, and results are tables."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Uuid,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType
from tests.mongodb.compiler.shelf import ITEMS
from tests.mongodb.compiler.shelf import items as t
from tests.mongodb.compiler.shelf import parts as p
from tests.mongodb.compiler.sides import Sides

from sillar import QueryBuilder
from sillar.config import DatabaseConnectionConfig, MongoDBConfig
from sillar.engines.mongodb.adapter import MongoDBAdapter
from sillar.engines.mongodb.compiler import CommandPlan
from sillar.engines.mongodb.compiler.patterns import regex_of
from sillar.engines.mongodb.compiler.resolution import Resolution
from sillar.engines.mongodb.compiler.template import Constant, Late, Pieces, Slot, filled, filler
from sillar.errors import ParameterError, UnsupportedCapabilityError
from sillar.query.composed import Composed


@pytest.fixture
def adapter() -> MongoDBAdapter:
    """An adapter that is connected to nothing: what is compiled is compiled before anything is sent."""
    return MongoDBAdapter(config())


def config() -> DatabaseConnectionConfig:
    return MongoDBConfig(host="nowhere.invalid", database="none")


def bound(adapter: MongoDBAdapter, statement: Any, params: Any = None) -> tuple[CommandPlan, Any]:
    command, args = adapter.bind(statement, params)
    assert isinstance(command, CommandPlan)
    return command, args[0]


def pipeline(adapter: MongoDBAdapter, statement: Any, params: Any = None) -> Any:
    return bound(adapter, statement, params)[1]["pipeline"]


def test_one_shape_is_compiled_once(adapter: MongoDBAdapter) -> None:
    def statement(number: int, texts: list[str]) -> Any:
        return select(t.c.id).where(t.c.a > number, t.c.s.in_(texts)).limit(number)

    first, arguments = bound(adapter, statement(1, ["$a"]))
    second, others = bound(adapter, Composed.of(statement(2, ["$b", "c"])))
    assert first is second
    assert (adapter.plans.hits, adapter.plans.misses) == (1, 1)
    assert arguments["pipeline"] == [
        {"$match": {"$and": [{"a": {"$gt": 1}}, {"s": {"$in": ["$a"]}}]}},
        {"$limit": 1},
        {"$project": {"_id": 0, "id": "$_id"}},
    ]
    assert others["pipeline"][0] == {"$match": {"$and": [{"a": {"$gt": 2}}, {"s": {"$in": ["$b", "c"]}}]}}
    assert adapter.plans.figures().hit_rate == 0.5


def test_the_cache_is_bounded(adapter: MongoDBAdapter) -> None:
    adapter.plans.size_max = 3
    for number in range(6):
        bound(adapter, select(*[t.c.id] * (number + 1)))
    assert adapter.plans.figures().size == 3
    assert adapter.plans.figures().evictions == 3


def test_operators_stay_values(adapter: MongoDBAdapter) -> None:
    assert pipeline(adapter, select(t.c.id).where(t.c.doc["$where"].as_string() == "$$ROOT"))[0] == {
        "$match": {
            "$expr": {
                "$and": [
                    {"$gt": [{"$toString": item("$doc", "$where")}, None]},
                    {"$eq": [{"$toString": item("$doc", "$where")}, {"$literal": "$$ROOT"}]},
                ]
            }
        }
    }
    documents = bound(adapter, insert(t).values(id=1, n=1, doc={"$set": {"$gt": 1}}))[1]["documents"]
    assert documents == [{"_id": 1, "n": 1, "doc": {"$set": {"$gt": 1}}}]
    change = bound(adapter, update(t).values(s="$a", n=t.c.n + 1))[1]["update"]
    assert change[0]["$set"]["s"] == {"$literal": "$a"}


def item(base: Any, key: str) -> Any:
    field = {"$getField": {"field": {"$literal": key}, "input": base}}
    return {"$cond": [{"$eq": [{"$type": base}, "object"]}, field, {"$literal": None}]}


def test_names_of_columns_in_the_result_are_never_fields(adapter: MongoDBAdapter) -> None:
    names = ["$a", "a.b", " ", "a" * 200, 'x"', "x'--", "_id", "a\0b"]
    command, arguments = bound(adapter, select(*[t.c.a.label(name) for name in names]))
    assert command.table is not None
    assert command.table.shape.columns == tuple(names)
    assert list(arguments["pipeline"][0]["$project"]) == [
        "_id",
        *(f"__c{n}" if n != 3 else "a" * 200 for n in range(8)),
    ]


def test_fingerprints_have_no_values(adapter: MongoDBAdapter) -> None:
    command, arguments = bound(adapter, select(t.c.id).where(t.c.s == "secret").order_by(t.c.n).limit(5))
    assert command.fingerprint == "shelf_items.aggregate($match,$sort,$limit,$project)"
    assert command.is_read
    assert command.explained(arguments)["aggregate"] == "shelf_items"
    write, changes = bound(adapter, update(t).where(t.c.s == "secret").values(s="secret"))
    assert write.fingerprint == "shelf_items.update_many(filter,update)"
    assert not write.is_read
    assert write.explained(changes) == {
        "update": "shelf_items",
        "updates": [{"q": {"s": {"$eq": "secret"}}, "u": {"$set": {"s": "secret"}}, "multi": True}],
    }
    gone, filter_ = bound(adapter, t.delete().where(t.c.id == 1))
    assert gone.explained(filter_) == {"delete": "shelf_items", "deletes": [{"q": {"_id": {"$eq": 1}}, "limit": 0}]}
    assert "secret" not in repr(command)


def test_parameters_are_a_mapping_of_known_names(adapter: MongoDBAdapter) -> None:
    statement = select(t.c.id).where(t.c.a == bindparam("least"), t.c.b == bindparam("least"))
    assert pipeline(adapter, statement, {"least": 5})[0] == {"$match": {"$and": [{"a": {"$eq": 5}}, {"b": {"$eq": 5}}]}}
    for params, words in (({}, "missing: least"), ({"least": 1, "most": 2}, "superfluous: most"), ([5], "mapping")):
        with pytest.raises(ParameterError, match=words):
            bound(adapter, statement, params)
    assert pipeline(adapter, statement.params(least=7))[0]["$match"]["$and"][0] == {"a": {"$eq": 7}}


def test_text_is_still_refused(adapter: MongoDBAdapter) -> None:
    with pytest.raises(UnsupportedCapabilityError, match="SQL statements"):
        adapter.bind("select 1", None)


def test_null_never_matches(adapter: MongoDBAdapter) -> None:
    nothing = {"$match": {"$expr": False}}
    assert pipeline(adapter, select(t.c.id).where(t.c.a == bindparam("x")), {"x": None})[0] == nothing
    assert pipeline(adapter, select(t.c.id).where(t.c.a.in_([])))[0] == nothing
    assert pipeline(adapter, select(t.c.id).where(t.c.a.is_(None)))[0] == {"$match": {"a": {"$eq": None}}}


def test_conditions_before_the_join_come_first(adapter: MongoDBAdapter) -> None:
    statement = select(t.c.id, p.c.id).join(p, p.c.item_id == t.c.id).where(t.c.n > 1, p.c.k > 2)
    assert pipeline(adapter, statement)[:4] == [
        {"$match": {"n": {"$gt": 1}}},
        {
            "$lookup": {
                "from": "shelf_parts",
                "localField": "_id",
                "foreignField": "item_id",
                "pipeline": [{"$match": {"item_id": {"$ne": None}}}],
                "as": "__j0",
            }
        },
        {"$unwind": "$__j0"},
        {"$match": {"__j0.k": {"$gt": 2}}},
    ]


@dataclass
class Row:
    id: int
    d: Decimal | None


class Shouting(TypeDecorator[str]):
    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.lower()

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.upper()


async def test_results_are_tables_of_native_values(sides: Sides) -> None:
    documents = sides[1]
    found = await documents.execute(select(t.c.id, t.c.n, t.c.d, t.c.at, t.c.day).where(t.c.id == 1))
    assert found.columns == ("id", "n", "d", "at", "day")
    assert found.rows_affected == 1
    (row,) = found.rows
    assert [type(value) for value in row.values() if value is not None] == [
        kind
        for kind, value in zip((int, int, Decimal, dt.datetime, dt.date), row.values(), strict=True)
        if value is not None
    ]
    assert await documents.fetch_all(select(t.c.id, t.c.d).where(t.c.id < 3).order_by(t.c.id), into=Row) == [
        Row(**each) for each in await sides[0].fetch_all(select(t.c.id, t.c.d).where(t.c.id < 3).order_by(t.c.id))
    ]
    assert type(await documents.fetch_value(select(func.count() + 2**40).select_from(t))) is int
    assert await documents.fetch_one(select(t.c.id).where(t.c.id == -1)) is None


async def test_streams_are_tables(sides: Sides) -> None:
    async with sides[1].stream(select(t.c.id).order_by(t.c.id), batch_rows=7) as rows:
        batches = [batch async for batch in rows.batches()]
    assert [len(batch) for batch in batches] == [7, 7, 7, ITEMS - 21]
    assert batches[0][0] == {"id": 1}
    async with sides[1].stream(update(t).where(t.c.id == -1).values(n=1)) as rows:
        assert [row async for row in rows] == []


class Point(UserDefinedType[Any]):
    cache_ok = True

    def bind_processor(self, dialect: Any) -> Any:
        return lambda value: {"x": value[0], "y": value[1]}

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return lambda value: (value["x"], value["y"])


async def test_types_of_the_user(sides: Sides) -> None:
    loud = Table(
        "loud", MetaData(), Column("id", Integer, primary_key=True), Column("word", Shouting), Column("at", Point)
    )
    documents = sides[1]
    try:
        await documents.execute(insert(loud).values(id=1, word="ABC", at=(3, 4)))
        assert await documents.fetch_all(select(loud.c.at).where(loud.c.at == (3, 4))) == [{"at": (3, 4)}]
        assert (await documents.documents("loud").find_one({}))["word"] == "abc"  # type: ignore[index]
        assert await documents.fetch_all(select(loud.c.word).where(loud.c.word == "Abc")) == [{"word": "ABC"}]
    finally:
        await documents.documents("loud").drop()


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


async def test_types_that_convert(sides: Sides) -> None:
    key = uuid.uuid4()
    of = Table(
        "converted",
        MetaData(),
        Column("id", Uuid(as_uuid=False), primary_key=True),
        Column("colour", Enum(Colour)),
        Column("price", Numeric(10, 2, asdecimal=False)),
        Column("share", Float(asdecimal=True)),
        Column("days", ARRAY(Date)),
        Column("words", ARRAY(String)),
        Column("at", DateTime(timezone=True)),
    )
    row = {
        "id": str(key),
        "colour": Colour.GREEN,
        "price": 1.5,
        "share": Decimal("0.25"),
        "days": [dt.date(2024, 2, 29), None],
        "words": ["$a"],
        "at": dt.datetime(2024, 2, 29, tzinfo=dt.UTC),
    }
    documents = sides[1]
    try:
        await documents.execute(insert(of).values(row))
        assert await documents.fetch_one(select(of)) == row
        assert await documents.fetch_value(select(of.c.share).where(of.c.id == str(key), of.c.colour == Colour.GREEN))
        with pytest.raises(ParameterError, match="not a uuid"):
            await documents.fetch_all(select(of).where(of.c.id == "x"))
        with pytest.raises(ParameterError, match="none of the enum's"):
            await documents.fetch_all(select(of).where(of.c.colour == "BLUE"))
        await documents.documents("converted").insert_one({"_id": key.hex, "price": 2, "share": 0.5, "colour": "RED"})
        stray = select(of.c.price, of.c.share, of.c.days).where(of.c.colour == Colour.RED)
        assert await documents.fetch_one(stray) == {"price": 2.0, "share": Decimal("0.5"), "days": None}
    finally:
        await documents.documents("converted").drop()


class Base(DeclarativeBase):
    pass


class Animal(Base):
    __tablename__ = "animals"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    legs: Mapped[int | None]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012 - as SQLAlchemy has it


class Dog(Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


def test_what_sqlalchemy_adds_is_part_of_the_shape(adapter: MongoDBAdapter) -> None:
    for legs in (3, 4):  # the second one finds the plan
        assert pipeline(adapter, select(Dog.id).where(Dog.legs == legs))[0] == {
            "$match": {"$and": [{"legs": {"$eq": legs}}, {"kind": {"$in": ["dog"]}}]}
        }
    assert adapter.plans.hits == 1


async def test_long_and_deep_statements(sides: Sides, adapter: MongoDBAdapter) -> None:
    total = t.c.n
    for _ in range(300):
        total = total + 1
    found = [await side.fetch_all(select(total.label("x")).where(t.c.id < 3), into=tuple) for side in sides]
    assert sorted(found[0]) == sorted(found[1])
    many = select(t.c.id).where(t.c.n.in_(list(range(30_000)))).order_by(t.c.id)
    assert await sides[1].fetch_all(many) == await sides[0].fetch_all(many)
    deep = t.c.n
    for _ in range(100):
        deep = func.coalesce(deep - 1, 0)
    with pytest.raises(UnsupportedCapabilityError, match="nested deeper than 170 levels"):
        bound(adapter, select(deep))


def test_private_names_of_sqlalchemy() -> None:
    with Resolution().select(select(t.c.id, func.count(), t.c.id).order_by("id")) as resolved:
        assert [name for name, _ in resolved.outputs] == ["id", "count_1", "id__1"]
        assert resolved.froms == [t]
        assert "id" in resolved.labels


def test_templates() -> None:
    slot = Slot(0, lambda value: value + 1)
    assert filler({"a": [1, {"b": "$c"}]}) is None
    assert filled([slot, {"x": slot}, 5], [1]) == [2, {"x": 2}, 5]
    assert filled([Pieces([slot], lambda value: [value] * value), "end"], [1]) == [2, 2, "end"]
    assert filled({"x": Late([slot], lambda value: [slot, Constant({"y": slot})])}, [1]) == {"x": [2, {"y": slot}]}


def test_patterns() -> None:
    assert regex_of("a%b_c", None) == "\\Aa.*b.c\\z"
    assert regex_of("50\\%.", None) == "\\A50\\%\\.\\z"
    assert regex_of("x", None, "%", "%") == "\\A.*x"
    assert regex_of("a\\", "") == "\\Aa\\\\\\z"


@pytest.mark.parametrize("order", [(t.c.a, t.c.s.desc()), (t.c.n.desc(),), (t.c.at.desc(), t.c.ok)])
async def test_pages_of_the_builder_come_as_on_postgresql(sides: Sides, order: Any) -> None:
    query = QueryBuilder(t).select(t.c.id).order_by(*order)
    seen = []
    for side in sides:
        ids: list[int] = []
        after = None
        while True:
            page = await query.page(6, side, after=after)
            ids += [row[0] for row in page.items]
            after = page.next_cursor
            if after is None:
                break
        seen.append(ids)
    assert seen[0] == seen[1]
    assert sorted(seen[1]) == list(range(1, ITEMS + 1))
