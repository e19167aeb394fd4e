"""Queries over the models of ORMs: no SQLAlchemy class is written for them, and rows are their own instances."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated

import pytest
from beanie import Document, Indexed
from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from tests.builder.conftest import SQL_ENGINES
from tests.builder.models import Author, Book, BookTitle
from tortoise import fields
from tortoise.models import Model

from sillar import DatabaseManager, DatabaseSession, ORMIntegration, ORMSession, QueryBuilder, column, columns
from sillar.errors import UsageError
from sillar.integrations.beanie import BeanieIntegration
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.integrations.tortoise import TortoiseIntegration
from sillar.testing.servers import MongoDBServer


class Quarry(Model):
    id = fields.IntField(primary_key=True, generated=False)
    name = fields.CharField(max_length=50)
    stones: fields.ReverseRelation[Stone]

    class Meta:
        table = "qb_quarry"


class Mark(Model):
    id = fields.IntField(primary_key=True, generated=False)
    sign = fields.CharField(max_length=10)

    class Meta:
        table = "qb_mark"


class Stone(Model):
    id = fields.IntField(primary_key=True, generated=False)
    kind = fields.CharField(max_length=50)
    weight = fields.DecimalField(max_digits=8, decimal_places=2)
    cut = fields.DatetimeField(null=True)
    quarry: fields.ForeignKeyRelation[Quarry] = fields.ForeignKeyField("models.Quarry", related_name="stones")
    marks: fields.ManyToManyRelation[Mark] = fields.ManyToManyField("models.Mark", through="qb_stone_mark")

    class Meta:
        table = "qb_stone"


class Note(Document):
    text: str
    stars: int = 0
    written: dt.datetime | None = None
    topic: Annotated[str, Indexed()] = "none"

    class Settings:
        name = "qb_notes"


class Strange(Document):
    """Never handed to an integration."""


CUT = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


class TestTortoise:
    pytestmark = pytest.mark.parametrize("manager", SQL_ENGINES, indirect=True)

    @pytest.fixture
    async def stones(self, manager: DatabaseManager) -> AsyncIterator[DatabaseSession]:
        async with manager.session() as session:
            for table in ("qb_stone_mark", "qb_stone", "qb_mark", "qb_quarry"):
                await session.execute(f"DROP TABLE IF EXISTS {table}")
            orm = TortoiseIntegration(manager)
            await orm.open(modules={"models": [__name__]})
            await orm.generate_schemas()
            quarry = await Quarry.create(id=1, name="Rumiqolqa")
            for number, kind in enumerate(("andesite", "basalt", "tuff"), 1):
                await Stone.create(id=number, kind=kind, weight=Decimal("1.50") * number, cut=CUT, quarry=quarry)
            mark = await Mark.create(id=1, sign="X")
            await (await Stone.get(id=2)).marks.add(mark)
            yield session

    async def test_rows_are_saved_instances(self, stones: DatabaseSession) -> None:
        found = await QueryBuilder(Stone).where(column(Stone, lambda stone: stone.weight) > 2).order_by("id").all()
        assert [(stone.id, stone.kind, stone.weight, stone.cut) for stone in found] == [
            (2, "basalt", Decimal("3.00"), CUT),
            (3, "tuff", Decimal("4.50"), CUT),
        ]
        found[0].kind = "gneiss"
        await found[0].save()
        assert (await Stone.get(id=2)).kind == "gneiss"

    async def test_joins_go_along_its_relations(self, stones: DatabaseSession) -> None:
        quarry = columns(Quarry)
        query = QueryBuilder(Stone).join("quarry").select("kind", quarry.name).order_by("kind").limit(1)
        assert await query.all() == [("andesite", "Rumiqolqa")]
        assert await QueryBuilder(Quarry).join("stones").select(func.count()).scalar() == 3
        assert await QueryBuilder(Stone).join(Quarry).count() == 3
        marked = QueryBuilder(Stone).join("marks").where(columns(Mark).sign == "X")
        assert await marked.select("kind").scalars() == ["basalt"]
        assert await QueryBuilder(Stone).join("marks", left=True).count() == 3
        with pytest.raises(UsageError, match="no relation 'quary'; it has"):
            QueryBuilder(Stone).join("quary")
        with pytest.raises(UsageError, match="is a relation"):
            column(Stone, lambda stone: stone.quarry.name)

    async def test_writes_are_what_tortoise_reads(self, stones: DatabaseSession) -> None:
        weight = column(Stone, lambda stone: stone.weight)
        await (
            QueryBuilder(Stone)
            .where(column(Stone, "id") == 1)
            .update({"weight": weight * 2, "kind": "slate"})
            .execute()
        )
        stone = await Stone.get(id=1)
        assert (stone.kind, stone.weight) == ("slate", Decimal("3.00"))
        await (
            QueryBuilder(Stone)
            .insert({"id": 9, "kind": "marble", "weight": Decimal("9.25"), "cut": CUT, "quarry_id": 1})
            .execute()
        )
        made = await Stone.get(id=9)
        assert (made.kind, made.weight, made.cut) == ("marble", Decimal("9.25"), CUT)

    async def test_one_transaction_for_both(self, stones: DatabaseSession) -> None:
        with pytest.raises(LookupError):
            async with stones.transaction():
                await Stone.create(id=7, kind="tortoise", weight=Decimal(1), quarry_id=1)
                assert await QueryBuilder(Stone).count() == 4
                await QueryBuilder(Stone).where(column(Stone, "id") == 1).delete().execute()
                assert await Stone.all().count() == 3
                raise LookupError
        assert await Stone.all().count() == 3


class TestSQLAlchemy:
    pytestmark = pytest.mark.parametrize("manager", SQL_ENGINES, indirect=True)

    async def test_entities_come_from_an_async_session(
        self, manager: DatabaseManager, session: DatabaseSession
    ) -> None:
        integration: ORMIntegration = SQLAlchemyIntegration(manager)
        query = QueryBuilder(Book).where(Book.pages > 150).order_by("id")
        with pytest.raises(UsageError, match="its instances belong to an AsyncSession"):
            await query.all(session)
        opened: ORMSession = await integration.create_session()
        orm = opened
        assert isinstance(orm, AsyncSession)
        try:
            books = await query.all(orm)
            assert [type(book) for book in books] == [Book, Book]
            assert books[0] is await query.first(orm)  # the identity map is the session's
            assert await query.select(Book.id, Book.title).all(orm) == [
                (2, "El llano en llamas"),
                (3, "Los ríos profundos"),
            ]
            assert await query.select(Book.id).scalars(orm) == [2, 3]
            assert await query.into(BookTitle).all(orm) == [
                BookTitle(2, "El llano en llamas"),
                BookTitle(3, "Los ríos profundos"),
            ]
            assert await query.count(orm) == 2
            page = await query.page(1, orm)
            assert [book.id for book in page.items] == [2]
            assert [book.id for book in (await query.page(1, orm, after=page.next_cursor)).items] == [3]
            assert [type(each) for each in await QueryBuilder(Book).get_many([1], orm)] == [Book]
            assert await QueryBuilder(Author).join("books").where(Book.id == 3).one(orm) is await orm.get(Author, 2)
        finally:
            await orm.close()


class TestBeanie:
    @pytest.fixture
    async def notes(self, mongodb: MongoDBServer) -> AsyncIterator[DatabaseSession]:
        async with DatabaseManager.from_url(mongodb.url) as manager, manager.session() as session:
            with pytest.raises(UsageError, match="not initialized"):
                await QueryBuilder(Strange).all()
            await BeanieIntegration(manager).open(Note)
            await Note.delete_all()
            for number in range(5):
                await Note(text=f"note {number}", stars=number, written=CUT, topic=f"t{number % 2}").insert()
            yield session

    async def test_rows_are_documents(self, notes: DatabaseSession) -> None:
        found = await QueryBuilder(Note).where(column(Note, lambda note: note.stars) >= 3).order_by("stars").all()
        assert [(note.text, note.written) for note in found] == [("note 3", CUT), ("note 4", CUT)]
        found[0].text = "changed"
        await found[0].save()
        same = await QueryBuilder(Note).where(column(Note, lambda note: note.id) == found[0].id).one()
        assert same.text == "changed"

    async def test_groups_and_writes(self, notes: DatabaseSession) -> None:
        topic, stars = column(Note, lambda note: note.topic), column(Note, lambda note: note.stars)
        counted = QueryBuilder(Note).select(topic, func.count(), func.sum(stars)).group_by(topic).order_by(topic)
        assert await counted.all() == [("t0", 3, 6), ("t1", 2, 4)]
        await QueryBuilder(Note).where(topic == "t1").update({"stars": stars + 10}).execute()
        assert sorted([note.stars async for note in Note.find(Note.topic == "t1")]) == [11, 13]
        await QueryBuilder(Note).where(topic == "t0").delete().execute()
        assert await Note.count() == 2
