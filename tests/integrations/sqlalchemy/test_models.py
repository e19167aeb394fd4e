"""Discovery of models; relations that load when they are touched; what is refused."""

from __future__ import annotations

import asyncio
import importlib.util
import runpy
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import structlog
from sqlalchemy import insert, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload
from tests.integrations.sqlalchemy.conftest import SHELVES, Shelves, fresh, opened
from tests.integrations.sqlalchemy.shelves import authors
from tests.integrations.sqlalchemy.shelves.authors import Author, Book
from tests.integrations.sqlalchemy.shelves.deep.tags import Tag
from tests.integrations.sqlalchemy.shelves.mapping import Base

from sillar import DatabaseManager
from sillar.errors import UnsupportedCapabilityError, UsageError
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration, loading_advice, private
from sillar.integrations.sqlalchemy.bridge import bridge_of
from sillar.integrations.sqlalchemy.models import mapped_classes
from sillar.testing.servers import MongoDBServer, PostgreSQLServer

on_sqlite = pytest.mark.parametrize("shelves", ["sqlite"], indirect=True)


@on_sqlite
async def test_models_are_found_in_packages_modules_and_by_themselves(shelves: Shelves) -> None:
    orm = SQLAlchemyIntegration(shelves.manager)
    orm.register_models(Tag)
    assert orm.models == (Tag,)
    orm.register_models(authors)
    assert set(orm.models) == {Author, Book, Tag}
    again = SQLAlchemyIntegration(shelves.manager)
    again.register_models(SHELVES)  # the whole package, to its depths
    assert set(again.models) == {Author, Book, Tag}
    assert again.metadata == (Base.metadata,)


@on_sqlite
async def test_what_cannot_be_registered(shelves: Shelves) -> None:
    register = shelves.orm.register_models
    with pytest.raises(UsageError, match="cannot be imported: ModuleNotFoundError"):
        register("no.such.package")
    with pytest.raises(UsageError, match="no class that SQLAlchemy maps"):
        register("json")
    with pytest.raises(UsageError, match="is not mapped"):
        register(int)
    with pytest.raises(UsageError, match="no class"):
        register(ModuleType("empty"))


def test_a_faulty_mapping_is_found_at_registration() -> None:
    class Own(DeclarativeBase):
        pass

    class Lost(Own):
        __tablename__ = "sa_lost"
        id: Mapped[int] = mapped_column(primary_key=True)
        other: Mapped[Any] = relationship("Nowhere")

    try:
        with pytest.raises(UsageError, match=r"the mapping of the models is faulty: .*Nowhere"):
            mapped_classes(Lost)
    finally:
        Own.registry.dispose()


def test_without_greenlet_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None
    )  # greenlet is installed here: nothing real to try
    assert private.__file__ is not None
    with pytest.raises(UsageError, match="pip install 'sillar\\[sqlalchemy\\]'"):
        runpy.run_path(private.__file__)


def test_without_the_driver_of_the_dialect_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiosqlite", None)  # as above
    monkeypatch.delitem(sys.modules, "sillar.integrations.sqlalchemy.sqlite", raising=False)
    executor: Any = SimpleNamespace(adapter=SimpleNamespace(driver="sqlite3"))
    with pytest.raises(UsageError, match="'aiosqlite' here: pip install"):
        bridge_of(executor)


async def with_books(shelves: Shelves, **options: Any) -> SQLAlchemyIntegration:
    await shelves.add("a", "b", "c")
    await shelves.orm.execute_query(insert(Book).values(title="x", author_id=1))
    return SQLAlchemyIntegration(shelves.manager, **options)


async def test_relations_by_explicit_await(shelves: Shelves) -> None:
    orm = await with_books(shelves)
    async with await orm.create_session() as session:
        author = await session.get_one(Author, 1)
        assert [book.title for book in await author.awaitable_attrs.books] == ["x"]


async def test_raise_on_lazy(shelves: Shelves) -> None:
    orm = await with_books(shelves, raise_on_lazy=True)
    async with orm.transaction():
        session = await orm.create_session()
        author = await session.get_one(Author, 1)
        with pytest.raises(UsageError, match=r"Author\.books was not loaded.*selectinload\(Author\.books\)"):
            _ = author.books
    async with await orm.create_session(read_only=True) as session:
        author = await session.get_one(Author, 1)
        with pytest.raises(UsageError, match=r"refresh\(instance, \['books'\]\)"):
            await session.run_sync(lambda _: author.books)
        assert [book.title for book in await author.awaitable_attrs.books] == ["x"]
        other = await session.get_one(Author, 2)
        await session.refresh(other, ["books"])
        assert other.books == []
    async with await orm.create_session(read_only=True) as session:
        loaded = (await session.scalars(select(Author).options(selectinload(Author.books)))).all()
        assert [len(each.books) for each in loaded] == [1, 0, 0]


async def test_loading_row_by_row_is_noticed(shelves: Shelves) -> None:
    orm = await with_books(shelves, advise_after=2)
    async with await orm.create_session(read_only=True) as session:
        found = (await session.scalars(select(Author).order_by(Author.id))).all()
        await found[0].awaitable_attrs.books
        await found[1].awaitable_attrs.books
        assert loading_advice(session) == []
        with structlog.testing.capture_logs() as logs:
            await found[2].awaitable_attrs.books
        assert [(each["event"], each["relation"]) for each in logs if "relation" in each] == [
            ("a relation is loaded row by row", "Author.books")
        ]
        (advice,) = loading_advice(session)
        assert "Author.books was loaded 3 times" in advice
        assert "selectinload(Author.books)" in advice
    async with await orm.create_session(read_only=True) as session:
        await session.scalars(select(Author).options(selectinload(Author.books)))
        assert loading_advice(session) == []


@on_sqlite
async def test_the_stock_factory_never_joins(shelves: Shelves) -> None:
    await shelves.add("committed")
    assert type(shelves.orm.session_factory()) is AsyncSession
    async with shelves.orm.transaction() as tx:
        await tx.execute("INSERT INTO sa_author (name) VALUES ('pending')")
        async with shelves.orm.session_factory(bind=shelves.orm.read_only_engine) as session:
            assert (await session.scalars(select(Author.name))).all() == ["committed"]


@on_sqlite
async def test_options_of_the_engine_and_of_sessions(shelves: Shelves) -> None:
    def encode(value: Any) -> str:
        return '{"encoded": true}'

    orm = SQLAlchemyIntegration(shelves.manager, json_serializer=encode, expire_on_commit=True)
    assert orm.engine is not shelves.orm.engine
    async with await orm.create_session() as session:
        author = Author(name="one", notes={})
        session.add(author)
        await session.commit()
        await session.refresh(author)
        assert author.notes == {"encoded": True}
        await session.commit()
        assert "name" not in author.__dict__  # expired
        info = (await orm.create_session(info={"a": 1})).info
        assert info["a"] == 1


@on_sqlite
async def test_functions_of_python_are_there_in_sessions_and_nowhere_else(shelves: Shelves) -> None:
    await shelves.add("Borges", "Cortázar")
    pattern = select(Author.name).where(Author.name.regexp_match("^B"))
    for read_only in (False, True):
        async with await shelves.orm.create_session(read_only=read_only) as session:
            assert (await session.scalars(pattern)).all() == ["Borges"]
    engine = shelves.orm.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        assert (await connection.scalars(pattern)).all() == ["Borges"]
        await connection.execute(insert(Book).values(title="x", author_id=1).returning(Book.title.regexp_match("x")))
    with pytest.raises(Exception, match="REGEXP"):
        await shelves.manager.session().fetch_all("SELECT name FROM sa_author WHERE name REGEXP '^B'")


async def test_jsonb_of_postgresql(postgresql: PostgreSQLServer) -> None:
    class Own(DeclarativeBase):
        pass

    class Paper(Own):
        __tablename__ = "sa_paper"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[Any] = mapped_column(JSONB)

    async with opened(postgresql.url, max_connections=1) as manager:
        orm = SQLAlchemyIntegration(manager)
        orm.register_models(Paper)
        await orm.drop_tables()
        await orm.create_tables()
        session = manager.session()
        await session.execute("INSERT INTO sa_paper VALUES (1, :body)", {"body": {"a": [1, None]}})
        for _ in range(2):  # before and after SQLAlchemy has met the connection
            assert await session.fetch_value("SELECT body FROM sa_paper") == {"a": [1, None]}
            assert await orm.execute_query(select(Paper.body)) == [{"a": [1, None]}]
            assert await orm.execute_query(select(Paper.body["a"][0])) == [1]
        await session.execute("DEALLOCATE ALL")  # what SQLAlchemy keeps prepared is gone, too
        await asyncio.sleep(0.05)
        assert await orm.execute_query(select(Paper.body)) == [{"a": [1, None]}]
        await orm.drop_tables()


async def test_behind_a_pooler_nothing_is_kept_prepared(postgresql: PostgreSQLServer) -> None:
    url = f"{postgresql.url}?pgbouncer=true"
    async with DatabaseManager.from_url(url) as manager:
        orm = await fresh(manager)
        for number in range(1, 3):
            await orm.execute_query(insert(Tag).values(name=f"t{number}"))
            assert len(await orm.execute_query(select(Tag.name))) == number
        assert await orm.execute_query(text("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")) == [0]


async def test_documents_are_not_for_sqlalchemy(mongodb: MongoDBServer) -> None:
    async with DatabaseManager.from_url(mongodb.url) as manager:
        with pytest.raises(UnsupportedCapabilityError, match="SQLAlchemy"):
            SQLAlchemyIntegration(manager)


@on_sqlite
async def test_nothing_works_after_the_end(shelves: Shelves) -> None:
    async with opened("sqlite:///:memory:") as manager:
        orm = await fresh(manager)
        await orm.execute_query(insert(Tag).values(name="in memory"))
        assert await orm.execute_query(select(Tag.name)) == ["in memory"]
        session = await orm.create_session()
    with pytest.raises(UsageError, match="not open"):
        await session.execute(select(Tag.name))
