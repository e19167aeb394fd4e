"""Statements that SQLAlchemy runs on a connection that is leased already."""

from __future__ import annotations

import asyncio
import decimal
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable, DropTable
from tests.integrations.sqlalchemy.conftest import SERVERS, Shelves
from tests.integrations.sqlalchemy.shelves.authors import Author, Book
from tests.integrations.sqlalchemy.shelves.deep.tags import Tag

from sillar import errors
from sillar.engines.connection import DriverConnection, Reply
from sillar.integrations.sqlalchemy.lane import run_statement, stream_statement

on_servers = pytest.mark.parametrize("shelves", SERVERS, indirect=True)


class Lane:
    """One leased connection, and the lane on it."""

    def __init__(self, shelves: Shelves, connection: DriverConnection[Any]) -> None:
        self.executor = shelves.orm.executor
        self.connection = connection

    async def run(self, statement: Any, params: Any = None, timeout_seconds: float | None = None) -> Reply:
        return await run_statement(self.executor, self.connection, statement, params, timeout_seconds)

    async def rows(self, statement: Any, batch_rows: int = 2) -> list[Sequence[Any]]:
        batches = stream_statement(self.executor, self.connection, statement, None, batch_rows, 5.0)
        return [rows async for _, rows in batches]


@pytest.fixture
async def lane(shelves: Shelves) -> AsyncIterator[Lane]:
    executor = shelves.orm.executor
    connection = await executor.acquire()
    try:
        yield Lane(shelves, connection)
    finally:
        executor.source.release_connection(connection)


async def test_statements_of_every_kind(lane: Lane, shelves: Shelves) -> None:
    first = await lane.run(insert(Author).values(name="one", notes={"a": 1}))
    assert (first.shape, first.rows_affected, first.last_insert_id) == (None, 1, 1)
    many = await lane.run(insert(Author), [{"name": "two"}, {"name": "three"}])
    assert (many.shape, many.rows_affected, many.last_insert_id) == (None, 2, None)
    found = await lane.run(select(Author).order_by(Author.id))
    assert found.shape is not None
    assert found.shape.columns == ("id", "name", "notes")
    assert found.rows[0] == (1, "one", {"a": 1})
    assert type(found.rows[0]) is tuple
    assert found.rows_affected == 3
    changed = await lane.run(update(Author).where(Author.id > bindparam("least")).values(notes=None), {"least": 1})
    assert changed.rows_affected == 2
    by_key = update(Author).where(Author.name == bindparam("old")).values(name=bindparam("new"))
    assert (await lane.run(by_key, [{"old": "two", "new": "2"}, {"old": "x", "new": "y"}])).rows_affected == 1
    assert (await lane.run(text("SELECT name FROM sa_author WHERE id = :id"), {"id": 2})).rows == [("2",)]
    assert (await lane.run(delete(Author).where(Author.name == "three"))).rows_affected == 1
    union = select(Author.name).union_all(select(Author.name))
    assert len((await lane.run(union)).rows) == 4
    assert (await lane.run(select(func.count()).select_from(Author))).rows == [(2,)]
    assert await shelves.names() == ["2", "one"]  # everything was committed by itself


async def test_ddl(lane: Lane) -> None:
    await lane.run(DropTable(Tag.__table__))
    with pytest.raises(errors.StatementError):
        await lane.run(select(Tag))
    assert (await lane.run(CreateTable(Tag.__table__))).shape is None
    assert (await lane.run(select(Tag))).rows == []


@pytest.mark.parametrize("shelves", ["postgresql", "sqlite", "mariadb"], indirect=True)
async def test_returning(lane: Lane) -> None:
    reply = await lane.run(insert(Author).values(name="one").returning(Author.id, Author.name))
    assert (reply.rows, reply.rows_affected) == ([(1, "one")], 1)
    several = await lane.run(insert(Author).returning(Author.name), [{"name": "a"}, {"name": "b"}])
    assert sorted(several.rows) == [("a",), ("b",)]
    assert several.rows_affected == 2


async def test_upserts(lane: Lane, shelves: Shelves) -> None:
    statement: Any
    if shelves.engine == "postgresql":
        statement = postgresql.insert(Tag).on_conflict_do_nothing()
    elif shelves.engine == "sqlite":
        statement = sqlite.insert(Tag).on_conflict_do_nothing()
    else:
        statement = mysql.insert(Tag).prefix_with("IGNORE")
    assert (await lane.run(statement, [{"name": "a"}, {"name": "b"}])).rows_affected == 2
    if shelves.engine not in ("mariadb", "mysql"):  # whose driver warns of rows that are ignored
        assert (await lane.run(statement, [{"name": "a"}, {"name": "c"}])).rows_affected == 1
        assert (await lane.run(select(func.count()).select_from(Tag))).rows == [(3,)]


async def test_several_parameter_sets_are_all_or_nothing(lane: Lane, shelves: Shelves) -> None:
    with pytest.raises(errors.UniqueViolationError):
        await lane.run(insert(Author), [{"name": "one"}, {"name": "two"}, {"name": "one"}])
    assert await shelves.names() == []
    assert not lane.connection.in_transaction


async def test_in_the_transaction_of_the_connection(lane: Lane, shelves: Shelves) -> None:
    await lane.connection.begin()
    await lane.run(insert(Author).values(name="one"))
    assert (await lane.run(select(Author.name))).rows == [("one",)]
    assert await lane.rows(select(Author.name)) == [[("one",)]]
    await lane.connection.savepoint("here")
    with pytest.raises(errors.UniqueViolationError):
        await lane.run(insert(Author).values(name="one"))
    await lane.connection.rollback_to_savepoint("here")
    await lane.run(insert(Author), [{"name": "two"}, {"name": "three"}])
    await lane.connection.rollback()
    assert await shelves.names() == []


async def test_beside_a_session_that_has_joined(shelves: Shelves) -> None:
    async with shelves.orm.transaction() as tx:
        session = await shelves.orm.create_session()
        session.add(Author(name="orm"))
        await session.flush()
        connection = tx.driver_connection
        await run_statement(shelves.orm.executor, connection, insert(Author).values(name="lane"))
        assert len((await session.scalars(select(Author.name))).all()) == 2
        await session.commit()
    assert await shelves.names() == ["lane", "orm"]


async def test_streams(lane: Lane) -> None:
    await lane.run(insert(Author), [{"name": f"{number:03}"} for number in range(5)])
    names = select(Author.name).order_by(Author.name)
    assert await lane.rows(names) == [[("000",), ("001",)], [("002",), ("003",)], [("004",)]]
    batches = stream_statement(lane.executor, lane.connection, names, None, 2)
    shape, rows = await anext(batches)
    assert (shape.columns, rows) == (("name",), [("000",), ("001",)])
    await batches.aclose()  # type: ignore[attr-defined]
    assert not lane.connection.in_transaction
    assert (await lane.run(select(func.count()).select_from(Author))).rows == [(5,)]
    with pytest.raises(errors.StatementSyntaxError):
        await lane.rows(text("SELECT nothing FROM sa_author"))
    assert await lane.rows(delete(Author).where(Author.id < 0)) == []


async def test_errors_are_sillars(lane: Lane) -> None:
    with pytest.raises(errors.ParameterError, match="missing"):
        await lane.run(text("SELECT :missing"))
    with pytest.raises(errors.ParameterError, match="does not take"):
        await lane.run(insert(Author).values(name="x", notes=object()))
    with pytest.raises(errors.UsageError):
        await lane.run(insert(Author).values(nothing=1))
    with pytest.raises(errors.ForeignKeyViolationError) as caught:
        await lane.run(insert(Book).values(title="x", author_id=9))
    assert caught.value.node == lane.connection.address
    with pytest.raises(errors.StatementSyntaxError):
        await lane.run(text("SELEKT 1"))
    if lane.connection.raw is not None:  # a server
        assert (await lane.run(text("SELECT 1.5"))).rows == [(decimal.Decimal("1.5"),)]


SLOW = {
    "postgresql": "SELECT pg_sleep(5)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000)"
    " SELECT count(*) FROM n",
    "mariadb": "SELECT sleep(5)",
    "mysql": "SELECT sleep(5)",
}


async def test_out_of_time(lane: Lane, shelves: Shelves) -> None:
    with pytest.raises(errors.StatementTimeoutError, match=r"0\.1 s"):
        await lane.run(text(SLOW[shelves.engine]), timeout_seconds=0.1)


async def test_a_caller_that_leaves(shelves: Shelves) -> None:
    executor = shelves.orm.executor
    connection = await executor.acquire()
    task = asyncio.create_task(run_statement(executor, connection, text(SLOW[shelves.engine])))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connection.dirty
    executor.source.release_connection(connection)
    assert await shelves.names() == []


@on_servers
async def test_a_connection_that_broke(lane: Lane, shelves: Shelves) -> None:
    await lane.run(text("SELECT 1"))
    number = lane.connection.server_id
    kill = f"SELECT pg_terminate_backend({number})" if shelves.engine == "postgresql" else f"KILL {number}"
    await shelves.manager.session().execute(kill)
    with pytest.raises(errors.ConnectionLostError) as caught:
        for _ in range(3):  # asyncpg notices at its first or second word
            await lane.run(text("SELECT 1"))
    assert caught.value.safe_to_retry
    assert lane.connection.is_closed()


async def test_it_is_not_observed_twice(lane: Lane, shelves: Shelves) -> None:
    shelves.watcher.clear()
    await lane.run(select(Author))
    assert shelves.watcher.seen == []  # the pipeline observes the execution that it is part of
