"""SQLAlchemy inside transactions of Sillar's."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from tests.integrations.sqlalchemy.conftest import SERVERS, Shelves
from tests.integrations.sqlalchemy.shelves.authors import Author, Book

from sillar import DatabaseSession
from sillar.current import detached
from sillar.errors import UniqueViolationError, UsageError

INSERT = "INSERT INTO sa_author (name) VALUES (:name)"
on_servers = pytest.mark.parametrize("shelves", SERVERS, indirect=True)


async def count(session: AsyncSession) -> int:
    return (await session.scalar(select(func.count()).select_from(Author))) or 0


@pytest.mark.parametrize("fails", [True, False])
async def test_one_transaction_is_seen_by_all_and_ends_for_all(shelves: Shelves, fails: bool) -> None:
    try:
        async with shelves.orm.transaction() as tx:
            await tx.execute(INSERT, {"name": "raw"})
            session = await shelves.orm.create_session()
            session.add(Author(name="orm"))
            await session.flush()
            assert await tx.fetch_value("SELECT count(*) FROM sa_author") == 2
            assert await count(session) == 2
            await session.commit()  # a savepoint, not the transaction
            if shelves.engine != "sqlite":  # whose readers see what is committed, and whose writer is held
                assert await DatabaseSession(shelves.orm.executor).fetch_value("SELECT count(*) FROM sa_author") == 0
            session.add(Author(name="pending"))  # sent when the transaction commits
            if fails:
                raise LookupError
    except LookupError:
        assert fails
    assert await shelves.names() == ([] if fails else ["orm", "pending", "raw"])
    await shelves.add("afterwards")
    assert "afterwards" in await shelves.names()


@on_servers
async def test_it_is_the_same_session_of_the_server(shelves: Shelves) -> None:
    sql = "SELECT pg_backend_pid()" if shelves.engine == "postgresql" else "SELECT connection_id()"
    async with shelves.manager.session() as direct, direct.transaction() as tx:
        session = await shelves.orm.create_session()
        assert await tx.fetch_value(sql) == await session.scalar(text(sql))
        if shelves.engine == "postgresql":
            xid = "SELECT pg_current_xact_id()::text"
            assert await tx.fetch_value(xid) == await session.scalar(text(xid))
        async with shelves.orm.transaction():
            assert await shelves.orm.execute_query(text(sql)) == [await tx.fetch_value(sql)]
        assert shelves.source.stats().leased == 1


async def test_rolling_the_session_back_keeps_the_rest(shelves: Shelves) -> None:
    async with shelves.orm.transaction() as tx:
        await tx.execute(INSERT, {"name": "kept"})
        session = await shelves.orm.create_session()
        session.add(Author(name="undone"))
        await session.flush()
        await session.rollback()
        session.add(Author(name="kept as well"))
        await session.commit()
        with pytest.raises(IntegrityError):
            await session.execute(insert(Author).values(name="kept"))
        await session.rollback()
        assert await count(session) == 2
    assert await shelves.names() == ["kept", "kept as well"]


async def test_a_failed_flush_rolls_everything_back(shelves: Shelves) -> None:
    await shelves.add("there")
    with pytest.raises(IntegrityError):
        async with shelves.orm.transaction() as tx:
            await tx.execute(INSERT, {"name": "undone"})
            session = await shelves.orm.create_session()
            session.add(Author(name="there"))  # found out at the end
    assert await shelves.names() == ["there"]
    assert shelves.source.stats().leased == 0


async def test_a_nested_transaction_is_a_savepoint(shelves: Shelves) -> None:
    async with shelves.orm.transaction():
        outer = await shelves.orm.create_session()
        outer.add(Author(name="outer"))
        await outer.commit()
        with pytest.raises(LookupError):
            async with shelves.orm.transaction():
                inner = await shelves.orm.create_session()
                inner.add(Author(name="undone"))
                await inner.flush()
                assert await count(inner) == 2
                raise LookupError
        assert await count(outer) == 1
        await outer.commit()
        async with shelves.orm.transaction():
            inner = await shelves.orm.create_session()
            inner.add(Author(name="inner"))
        with pytest.raises(UsageError, match="nested transaction that this SQLAlchemy session had joined has ended"):
            await count(inner)
        assert await count(outer) == 2
    assert await shelves.names() == ["inner", "outer"]


async def test_options_belong_to_the_outermost(shelves: Shelves) -> None:
    async with shelves.orm.transaction():
        with pytest.raises(UsageError, match="outermost"):
            async with shelves.orm.transaction(read_only=True):
                raise AssertionError


async def test_two_sessions_in_one_transaction(shelves: Shelves) -> None:
    async with shelves.orm.transaction():
        first, second = await shelves.orm.create_session(), await shelves.orm.create_session()
        first.add(Author(name="first"))
        await first.flush()
        second.add(Author(name="second"))
        await second.flush()
        assert await count(first) == await count(second) == 2
    assert await shelves.names() == ["first", "second"]


async def test_savepoints_out_of_order_are_refused(shelves: Shelves) -> None:
    with pytest.raises(UsageError, match="out of order"):
        async with shelves.orm.transaction():
            first, second = await shelves.orm.create_session(), await shelves.orm.create_session()
            first.add(Author(name="first"))
            await first.flush()
            second.add(Author(name="second"))
            await second.flush()
            await first.commit()
    assert await shelves.names() == []
    with pytest.raises(UsageError, match="end that one first"):
        async with shelves.orm.transaction():
            session = await shelves.orm.create_session()
            session.add(Author(name="before"))
            await session.flush()
            async with shelves.orm.transaction():
                await session.commit()
    assert await shelves.names() == []
    with pytest.raises(UsageError, match="create a session inside it"):
        async with shelves.orm.transaction():
            session = await shelves.orm.create_session()
            async with shelves.orm.transaction():
                await count(session)
    assert shelves.source.stats().leased == 0


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_the_transaction_is_not_sqlalchemys_to_end(shelves: Shelves, end: str) -> None:
    async with shelves.orm.transaction():
        session = await shelves.orm.create_session()
        session.add(Author(name="kept"))
        connection = await session.connection()
        await session.commit()
        with pytest.raises(UsageError, match="alone commits and rolls back"):
            await getattr(connection, end)()
    assert await shelves.names() == ["kept"]


async def test_another_task_is_refused(shelves: Shelves) -> None:
    async with shelves.orm.transaction():
        session = await shelves.orm.create_session()
        with pytest.raises(UsageError, match="the task that began it"):
            await asyncio.create_task(shelves.orm.create_session())
        with pytest.raises(UsageError, match="the task that began it"):
            await asyncio.create_task(count(session))

        async def apart() -> int:
            with detached():
                other = await shelves.orm.create_session(read_only=True)
                async with other:
                    return await count(other)

        assert await asyncio.create_task(apart()) == 0
        assert await count(session) == 0


async def test_after_the_end_it_is_refused(shelves: Shelves) -> None:
    async with shelves.orm.transaction():
        session = await shelves.orm.create_session()
        author = Author(name="one")
        session.add(author)
        connection = await session.connection()
    assert author.name == "one"
    with pytest.raises(UsageError, match="has ended"):
        await count(session)
    with pytest.raises(UsageError, match="has ended"):
        await connection.execute(text("SELECT 1"))
    async with await shelves.orm.create_session() as later:
        assert await count(later) == 1


async def test_a_session_that_begins_with_its_first_statement(shelves: Shelves) -> None:
    async with shelves.manager.session(autobegin=True) as direct:
        session = await shelves.orm.create_session()
        session.add(Author(name="orm"))
        await direct.execute(INSERT, {"name": "raw"})
    assert await shelves.names() == ["orm", "raw"]


async def test_savepoints_of_sqlalchemy_inside(shelves: Shelves) -> None:
    async with shelves.orm.transaction():
        session = await shelves.orm.create_session()
        author = Author(name="one")
        session.add(author)
        with pytest.raises(LookupError):
            async with session.begin_nested():
                session.add(Book(title="undone", author=author))
                await session.flush()
                raise LookupError
        async with session.begin_nested():
            session.add(Book(title="kept", author=author))
    async with await shelves.orm.create_session() as later:
        assert (await later.scalars(select(Book.title))).all() == ["kept"]


async def test_streams_inside(shelves: Shelves) -> None:
    await shelves.add("a", "b")
    async with shelves.orm.transaction() as tx:
        await tx.execute(INSERT, {"name": "c"})
        session = await shelves.orm.create_session()
        result = await session.stream_scalars(select(Author.name).order_by(Author.name))
        assert [name async for name in result] == ["a", "b", "c"]


async def test_errors_inside_are_typed_alike(shelves: Shelves) -> None:
    await shelves.add("there")
    with pytest.raises(UniqueViolationError):
        async with shelves.orm.errors(), shelves.orm.transaction():
            await shelves.orm.execute_query(insert(Author).values(name="there"))


async def test_statements_inside_are_observed(shelves: Shelves) -> None:
    async with shelves.orm.transaction():
        session = await shelves.orm.create_session()
        await count(session)
    assert any(each.startswith("SELECT count(*) AS count_1") for each in shelves.watcher.fingerprints)
    assert shelves.watcher.ended == ["commit"]


async def test_cancelled_inside(shelves: Shelves) -> None:
    slow = {
        "postgresql": "SELECT pg_sleep(5)",
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000)"
        " SELECT count(*) FROM n",
    }.get(shelves.engine, "SELECT sleep(5)")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), shelves.orm.transaction():
            session = await shelves.orm.create_session()
            session.add(Author(name="undone"))
            await session.flush()
            await session.execute(text(slow))
    assert await shelves.names() == []
    await shelves.add("afterwards")
    assert shelves.source.stats().leased == 0


async def test_the_first_words_with_the_server_are_spoken_inside(shelves: Shelves) -> None:
    """SQLAlchemy asks a new engine's first connection for versions and levels, and rolls back: not our transaction."""
    engine = type(shelves.orm)(shelves.manager, echo=False)
    async with shelves.orm.transaction() as tx:
        await tx.execute(INSERT, {"name": "kept"})
        session = await engine.create_session()
        assert await count(session) == 1
    assert await shelves.names() == ["kept"]


@on_servers
async def test_two_phase_commit(shelves: Shelves) -> None:
    async with shelves.orm.engine.connect() as connection:
        for end in ("commit", "rollback"):
            transaction = await connection.run_sync(lambda sync: sync.begin_twophase())
            await connection.execute(insert(Author).values(name=end))
            await connection.run_sync(lambda _, tx=transaction: tx.prepare())
            await connection.run_sync(lambda _, tx=transaction, end=end: getattr(tx, end)())
    assert await shelves.names() == ["commit"]
    await shelves.add("afterwards")
