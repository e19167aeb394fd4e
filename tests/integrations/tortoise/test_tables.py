"""Tortoise models as SQLAlchemy tables: what one of them writes, the other one reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pydantic
import pytest
from sqlalchemy import NullPool, Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tests.integrations.tortoise.conftest import Library
from tests.integrations.tortoise.library import Author, Book, Every, Seat, Tag
from tests.integrations.tortoise.test_models import EVERYTHING
from tortoise import fields
from tortoise.context import TortoiseContext
from tortoise.contrib.postgres.fields import ArrayField
from tortoise.models import Model

from sillar.errors import UsageError
from sillar.integrations.tortoise import Relation, Through, TortoiseBinding, binding_of
from sillar.integrations.tortoise.private import forget_statements

DIALECTS = {"mysql": "mysql+asyncmy", "mariadb": "mariadb+asyncmy", "postgresql": "postgresql+asyncpg"}


@pytest.fixture
async def engine(library: Library) -> AsyncIterator[AsyncEngine]:
    """A stock SQLAlchemy engine on the same database."""
    config = library.manager.config.connection("default")
    if library.engine == "sqlite":
        url = f"sqlite+aiosqlite:///{config.database}"
    else:
        node, login = config.addresses[0], config.credentials
        word = "" if login.password is None else f":{login.password.get_secret_value()}"
        url = f"{DIALECTS[library.engine]}://{login.user}{word}@{node.host}:{node.port}/{config.database}"
    made = create_async_engine(url, poolclass=NullPool)
    yield made
    await made.dispose()


async def rows_of(engine: AsyncEngine, table: Table) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(select(table).order_by(table.c.id))).all())


async def test_what_tortoise_writes_sqlalchemy_reads(library: Library, engine: AsyncEngine) -> None:
    made = await Every.create(**EVERYTHING, hour=time(9, 30, 15, 250, tzinfo=UTC))
    await Every.create()
    binding = binding_of(Every)
    full, empty = await rows_of(engine, binding.table)
    read = await Every.get(id=made.id)
    names = list(binding.attributes)
    assert dict(zip(names, full, strict=True)) == {name: getattr(read, name) for name in names}
    assert set(empty[1:]) == {None}
    built = binding.make(names)(full)
    assert isinstance(built, Every)
    assert {name: getattr(built, name) for name in names} == {name: getattr(read, name) for name in names}
    assert (built, built._partial) == (read, False)
    built.text = "changed"
    await built.save()
    assert (await Every.get(id=made.id)).text == "changed"


async def test_what_sqlalchemy_writes_tortoise_reads(library: Library, engine: AsyncEngine) -> None:
    hour: Any = time(23, 59, 59, 999999, tzinfo=UTC)
    moment = datetime(2026, 11, 26, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=5)))
    values = {**EVERYTHING, "hour": hour, "moment": moment}
    table = binding_of(Every).table
    async with engine.begin() as connection:
        await connection.execute(insert(table).values(id=1, **values))
        await connection.execute(insert(table).values(id=2))
        for name in ("moment", "price", "token", "shelf", "span", "binding", "flag"):
            found = await connection.scalar(select(func.count()).where(table.c[name] == values[name]))
            assert found == 1, name
    read, empty = await Every.all().order_by("id")
    if library.engine in ("mysql", "mariadb"):  # where Tortoise gives a span since midnight
        values["hour"] = timedelta(hours=23, minutes=59, seconds=59, microseconds=999999)
    assert {name: getattr(read, name) for name in values} == values
    assert {getattr(empty, name) for name in values} == {None}
    assert await Every.filter(moment=moment, token=values["token"], price=values["price"]).count() == 1


async def test_columns_relations_and_joins(library: Library, engine: AsyncEngine) -> None:
    author, book, seat = binding_of(Author), binding_of(Book), binding_of(Seat)
    assert binding_of(Author) is author
    assert isinstance(book, TortoiseBinding)
    assert (book.table.name, book.primary_key, book.table.schema) == ("tt_book", "id", None)
    assert book.attributes == {"id": "id", "title": "title", "author_id": "author_id"}
    assert seat.attributes["number"] == "seat_number"
    assert [column.name for column in book.table.primary_key] == ["id"]
    assert (seat.table.c.owner_id.nullable, book.table.c.author_id.nullable) == (True, False)
    assert book.relations["author"] == Relation(Author, "author_id", "id")
    assert author.relations["books"] == Relation(Book, "id", "author_id", many=True)
    assert author.relations["seat"] == Relation(Seat, "id", "owner_id")
    assert seat.relations["owner"] == Relation(Author, "owner_id", "id")
    tags = book.relations["tags"]
    assert isinstance(tags.through, Through)
    assert (tags.target, tags.through.table.name, tags.many) == (Tag, "tt_book_tag", True)
    assert (tags.through.local, tags.through.remote) == ("tt_book_id", "tag_id")
    back = binding_of(Tag).relations["books"]
    assert back.through is not None
    assert (back.through.local, back.through.remote) == ("tag_id", "tt_book_id")
    ada = await Author.create(name="Ada")
    first = await Book.create(title="First", author=ada)
    await first.tags.add(await Tag.create(word="red"))
    tag = binding_of(Tag).table
    query = (
        select(author.table.c.name, tag.c.word)
        .join(book.table, book.table.c.author_id == author.table.c.id)
        .join(tags.through.table, tags.through.table.c[tags.through.local] == book.table.c.id)
        .join(tag, tag.c.id == tags.through.table.c[tags.through.remote])
    )
    async with engine.connect() as connection:
        assert (await connection.execute(query)).all() == [("Ada", "red")]


class Weather(pydantic.BaseModel):
    wind: int


class Celsius(fields.IntField):
    """A field that converts values itself."""

    def to_db_value(self, value: Any, instance: Any) -> Any:
        return None if value is None else int(value * 10)

    def to_python_value(self, value: Any) -> Any:
        return None if value is None else value / 10


class Station(Model):
    name = fields.CharField(max_length=20, primary_key=True)
    weather: Any = fields.JSONField(field_type=Weather, default=lambda: Weather(wind=3))
    degrees = Celsius(default=20.5)
    made = fields.DatetimeField(auto_now_add=True)
    changed = fields.DatetimeField(auto_now=True)
    opens = fields.TimeField(auto_now_add=True)
    token = fields.UUIDField(null=True)
    limit = fields.DecimalField(max_digits=5, decimal_places=2, default=Decimal("1.50"))

    class Meta:
        table = "tt_station"


class Plain(Model):
    id = fields.IntField(primary_key=True)
    words = ArrayField(element_type="text", null=True)


class Related(Model):
    id = fields.IntField(primary_key=True)
    plain: Any = fields.ForeignKeyField("nowhere.Plain", related_name=False)


class Abstract(Model):
    class Meta:
        abstract = True


def test_a_model_without_relations_needs_no_initialised_tortoise() -> None:
    binding = binding_of(Plain)
    assert (binding.table.name, list(binding.attributes)) == ("plain", ["id", "words"])
    assert str(binding.table.c.words.type.compile()) == "TEXT[]"
    with pytest.raises(UsageError, match=r"Related has relations \(plain\)"):
        binding_of(Related)
    with pytest.raises(UsageError, match="abstract"):
        binding_of(Abstract)
    with pytest.raises(UsageError, match="no column 'nonsense'"):
        binding.make(["nonsense"])


async def test_defaults_and_fields_of_ones_own(library: Library, engine: AsyncEngine) -> None:
    await library.manager.session().execute("DROP TABLE IF EXISTS tt_station")
    binding = binding_of(Station)
    async with engine.begin() as connection:
        await connection.run_sync(binding.table.metadata.create_all)
        await connection.execute(insert(binding.table).values(name="here"))
        await connection.execute(insert(binding.table).values(name="there", weather=Weather(wind=9), degrees=-1.5))
        made = (await connection.execute(select(binding.table).order_by(binding.table.c.name))).all()
        await connection.execute(binding.table.update().values(degrees=0))
        changed = (await connection.execute(select(binding.table).order_by(binding.table.c.name))).all()
        await connection.run_sync(binding.table.metadata.drop_all)
    assert [(row.name, row.weather, row.degrees) for row in made] == [
        ("here", Weather(wind=3), 20.5),
        ("there", Weather(wind=9), -1.5),
    ]
    assert made[0].limit == Decimal("1.50")
    assert abs(made[0].made - datetime.now(UTC)) < timedelta(minutes=1)
    assert changed[0].changed > made[0].changed
    assert changed[0].made == made[0].made
    partial = binding.make(["name", "degrees"])(["here", 20.5])
    assert (partial.name, partial.degrees, partial._partial, partial._saved_in_db) == ("here", 20.5, True, True)


async def test_rows_are_stored_as_the_stock_clients_store_them(library: Library) -> None:
    every = {**EVERYTHING, "hour": time(9, 30, 15, 250, tzinfo=UTC)}
    if library.engine == "sqlite":
        del every["hour"]  # the stock client cannot store it there
    await Every.create(**every)
    stock = TortoiseContext()
    async with stock:
        await stock.init(db_url=stock_url(library), modules={"models": ["tests.integrations.tortoise.library"]})
        await Every.create(**every)
        assert {name: getattr(await Every.get(id=1), name) for name in every} == {
            name: getattr(await Every.get(id=2), name) for name in every
        }
    forget_statements("default")
    ours, theirs = await library.manager.session().fetch_all("SELECT * FROM tt_every ORDER BY id")
    assert {**ours, "id": 0} == {**theirs, "id": 0}
    for name in ("moment", "price", "token", "day"):
        assert await Every.filter(**{name: every[name]}).count() == 2, name


def stock_url(library: Library) -> str:
    config = library.manager.config.connection("default")
    if library.engine == "sqlite":
        return f"sqlite://{config.database}"
    node, login = config.addresses[0], config.credentials
    word = "" if login.password is None else f":{login.password.get_secret_value()}"
    scheme = "asyncpg" if library.engine == "postgresql" else "mysql"
    return f"{scheme}://{login.user}{word}@{node.host}:{node.port}/{config.database}?minsize=1&maxsize=1"
