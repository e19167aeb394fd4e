"""watch_queries and assert_queries see what a block sends, whatever way it takes, and cost nothing when unused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sillar import DatabaseManager, DatabaseSession, QueryBuilder
from sillar.errors import StatementError
from sillar.execution.known import known_executors
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.observability.watch import watch_queries
from sillar.testing.queries import assert_queries

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("text", String(50)))
BY_ID = "SELECT text FROM notes WHERE id = :id"


class Base(DeclarativeBase):
    """Of the one mapped class here."""


class Note(Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[DatabaseManager]:
    """Without metrics, logs and observers: nothing observes but the watch."""
    url = f"sqlite:///{tmp_path}/notes.db"
    async with DatabaseManager.from_url(url, overrides={"metrics": False, "log_statements": "off"}) as opened:
        session = opened.session()
        await session.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
        await session.bulk_insert("notes", ["id", "text"], [(number, f"n{number}") for number in range(1, 21)])
        yield opened


@pytest.fixture
async def session(manager: DatabaseManager) -> AsyncIterator[DatabaseSession]:
    async with manager.session() as opened:
        yield opened


async def test_statements_are_counted_by_shape(session: DatabaseSession) -> None:
    with watch_queries() as watch:
        for number in (1, 2, 3):
            await session.fetch_one(BY_ID, {"id": number})
        await session.execute("INSERT INTO notes (text) VALUES ('new')")
    await session.fetch_all("SELECT 1")
    assert watch.count == 4
    assert [(each.fingerprint, each.count) for each in watch.figures] == [
        ("SELECT text FROM notes WHERE id = ?", 3),
        ("INSERT INTO notes (text) VALUES (?)", 1),
    ]
    assert [each.is_read for each in watch.statements] == [True, True, True, False]
    assert all(0 < each.seconds_total < 10 for each in watch.figures)
    assert {each.database for each in watch.statements} == {"default"}


async def test_all_ways_are_seen(manager: DatabaseManager, session: DatabaseSession) -> None:
    integration = SQLAlchemyIntegration(manager)
    with watch_queries() as watch:
        await QueryBuilder(NOTES).where(NOTES.c.id == 1).all()
        await session.fetch_all(select(NOTES.c.id))
        await session.execute_batch([(BY_ID, {"id": 1}), (insert(NOTES).values(text="x"), None)])
        async with session.stream("SELECT id FROM notes") as rows:
            assert len([row async for row in rows]) == 21
        async with session.transaction() as transaction:
            await transaction.execute("DELETE FROM notes WHERE id = 20")
        async with await integration.create_session() as orm:
            assert (await orm.get_one(Note, 5)).text == "n5"
            assert (await orm.scalar(select(Note.text).where(Note.id == 6))) == "n6"
    verbs = [each.fingerprint.split()[0] for each in watch.statements]
    assert verbs == ["SELECT", "SELECT", "SELECT", "INSERT", "SELECT", "DELETE", "SELECT", "SELECT"]


async def test_failures_are_seen(session: DatabaseSession) -> None:
    with watch_queries() as watch:
        with pytest.raises(StatementError):
            await session.execute("SELECT nothing FROM notes")
    assert [each.failed for each in watch.statements] == [True]


async def test_a_context_sees_its_own_statements(session: DatabaseSession, manager: DatabaseManager) -> None:
    started = asyncio.Event()

    async def elsewhere() -> None:
        started.set()
        for _ in range(3):
            await manager.session().fetch_value("SELECT count(*) FROM notes")

    outside = asyncio.create_task(elsewhere())
    with watch_queries() as outer:
        await started.wait()
        await session.fetch_all("SELECT 1")
        with watch_queries() as inner:
            await asyncio.create_task(one_more(manager))
        await outside
    assert (outer.count, inner.count) == (2, 1)


async def one_more(manager: DatabaseManager) -> None:
    await manager.session().fetch_value("SELECT max(id) FROM notes")


async def test_a_manager_that_is_opened_inside_is_seen(tmp_path: Path) -> None:
    with watch_queries() as watch:
        async with DatabaseManager.from_url(f"sqlite:///{tmp_path}/other.db", overrides={"metrics": False}) as manager:
            await manager.session().execute("CREATE TABLE t (a INTEGER)")
    assert [each.fingerprint for each in watch.statements] == ["CREATE TABLE t (a INTEGER)"]


async def test_nothing_is_left_on_the_way(manager: DatabaseManager) -> None:
    executor = manager.executor()
    before, observers = executor.execute, list(executor.observers)
    with watch_queries():
        with watch_queries():
            assert executor.execute is not before
        assert executor.execute is not before
    assert executor.execute is before
    assert executor.observers == observers
    assert known_executors._watcher is None


async def test_one_query_per_row_is_hinted_at(session: DatabaseSession) -> None:
    with watch_queries() as watch:
        for row in await session.fetch_all("SELECT id FROM notes LIMIT 6"):
            await session.fetch_one(BY_ID, {"id": row["id"]})
    (hint,) = watch.hints()
    assert hint.kind == "repeats per row"
    assert "6 times 'SELECT text FROM notes WHERE id = ?'" in hint.message
    assert "SELECT id FROM notes LIMIT ?" in hint.message
    assert "get_many" in hint.remedy
    assert watch.hints(repeats=7) == []


async def test_what_is_no_query_per_row_is_not(session: DatabaseSession) -> None:
    with watch_queries() as watch:
        for number in range(6):  # with nothing before it
            await session.fetch_one(BY_ID, {"id": number})
        for number in range(6):  # writes one by one
            await session.execute("UPDATE notes SET text = 'x' WHERE id = :id", {"id": number})
    assert watch.hints() == []


async def test_the_assertion_lists_what_was_sent(session: DatabaseSession) -> None:
    async def block() -> None:
        for row in await session.fetch_all("SELECT id FROM notes LIMIT 6"):
            await session.fetch_one(BY_ID, {"id": row["id"]})

    with pytest.raises(AssertionError) as failure:
        async with assert_queries(max=2):
            await block()
    message = str(failure.value)
    assert "7 statements were sent, 2 at most were expected" in message
    assert "    6 × SELECT text FROM notes WHERE id = ?" in message
    assert "repeats per row" in message
    async with assert_queries(max=7) as watch:
        await block()
    assert watch.count == 7
    with pytest.raises(AssertionError, match="1 statements were sent, 0 at most"):
        with assert_queries(max=0):
            await session.fetch_all("SELECT 1")


async def test_an_exception_of_the_block_comes_first(session: DatabaseSession) -> None:
    with pytest.raises(ZeroDivisionError):
        async with assert_queries(max=0):
            await session.fetch_all("SELECT 1")
            raise ZeroDivisionError


async def test_document_commands_are_seen(mongodb: Any) -> None:
    async with (
        DatabaseManager.from_url(mongodb.url, overrides={"metrics": False}) as manager,
        manager.session() as found,
    ):
        async with assert_queries(max=2) as watch:
            await found.documents("watched").insert_one({"a": 1})
            await found.documents("watched").find({"a": 1})
        assert [each.fingerprint for each in watch.statements] == [
            "watched.insert_one(document(a))",
            "watched.find(filter(a))",
        ]
