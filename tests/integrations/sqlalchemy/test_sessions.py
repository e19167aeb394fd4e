"""Stock sessions over the connections of a manager."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from sqlalchemy import event, func, insert, inspect, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import selectinload
from tests.integrations.sqlalchemy.conftest import SERVERS, Shelves, opened
from tests.integrations.sqlalchemy.shelves.authors import Author, Book

from sillar import errors
from sillar.context import correlation, deadline
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.testing.servers import MySQLServer

SERVER_ID = {
    "postgresql": "SELECT pg_backend_pid()",
    "mariadb": "SELECT connection_id()",
    "mysql": "SELECT connection_id()",
}
on_servers = pytest.mark.parametrize("shelves", SERVERS, indirect=True)


async def test_the_engine_and_its_sessions_are_stock(shelves: Shelves) -> None:
    assert type(shelves.orm.engine) is AsyncEngine
    session = await shelves.orm.create_session()
    assert type(session) is AsyncSession
    await session.close()


async def test_unit_of_work(shelves: Shelves) -> None:
    async with await shelves.orm.create_session() as session:
        author = Author(name="Borges", notes={"a": [1, None]})
        author.books = [Book(title="Ficciones"), Book(title="El Aleph", pages=2)]
        session.add(author)
        await session.commit()
        assert author.id is not None
        assert author.name == "Borges"  # not expired
    async with await shelves.orm.create_session() as session:
        found = (await session.scalars(select(Author).options(selectinload(Author.books)))).one()
        assert [book.title for book in found.books] == ["Ficciones", "El Aleph"]
        assert found.notes == {"a": [1, None]}
        found.books[0].pages = 9
        await session.flush()
        await session.rollback()
    async with await shelves.orm.create_session() as session:
        assert (await session.scalars(select(Book.pages).order_by(Book.id))).all() == [1, 2]
        await session.delete(await session.get_one(Book, 2))
        await session.commit()
    assert await shelves.manager.session().fetch_value("SELECT count(*) FROM sa_book") == 1


async def test_json_is_decoded_by_each_consumer_for_itself(shelves: Shelves) -> None:
    await shelves.add("direct")
    for _ in range(2):
        async with await shelves.orm.create_session() as session:
            await session.execute(update(Author).values(notes={"b": [2]}))
            await session.commit()
            assert await session.scalar(select(Author.notes)) == {"b": [2]}
            if shelves.engine == "postgresql":  # by codecs on SQLAlchemy's own connections, declared or not
                assert (await session.execute(text("SELECT notes FROM sa_author"))).scalar_one() == {"b": [2]}
                streamed = await session.stream(text("SELECT notes, ARRAY[notes, NULL] FROM sa_author"))
                assert [tuple(row) async for row in streamed] == [({"b": [2]}, [{"b": [2]}, None])]
        value = await shelves.manager.session().fetch_value("SELECT notes FROM sa_author")
        assert value in ({"b": [2]}, '{"b": [2]}')  # SQLite and MariaDB know no json type


async def test_savepoints(shelves: Shelves) -> None:
    async with await shelves.orm.create_session() as session:
        session.add(Author(name="kept"))
        with pytest.raises(LookupError):
            async with session.begin_nested():
                session.add(Author(name="undone"))
                await session.flush()
                raise LookupError
        async with session.begin_nested():
            session.add(Author(name="kept too"))
        await session.commit()
    assert await shelves.names() == ["kept", "kept too"]


async def test_an_error_rolls_back_and_stays_sqlalchemys_own(shelves: Shelves) -> None:
    await shelves.add("one")
    async with await shelves.orm.create_session() as session:
        session.add_all([Author(name="two"), Author(name="one")])
        with pytest.raises(IntegrityError):
            await session.commit()
        await session.rollback()
        session.add(Author(name="three"))
        await session.commit()
    assert await shelves.names() == ["one", "three"]


async def test_errors_are_typed_alike_where_asked(shelves: Shelves) -> None:
    await shelves.add("one")

    async def attempt(statement: Any) -> None:
        async with shelves.orm.errors():
            await shelves.orm.execute_query(statement)

    with pytest.raises(errors.UniqueViolationError) as caught:
        await attempt(insert(Author).values(name="one"))
    assert caught.value.database == "default"
    assert caught.value.__cause__ is not None
    with pytest.raises(errors.ForeignKeyViolationError):
        await attempt(insert(Book).values(title="x", author_id=999))
    with pytest.raises(errors.CheckViolationError):
        await attempt(insert(Book).values(title="x", author_id=1, pages=-1))
    with pytest.raises(errors.NotNullViolationError):
        await attempt(insert(Book).values(title=None, author_id=1))
    with pytest.raises(errors.StatementSyntaxError):
        await attempt(text("SELECT nothing FROM sa_author"))
    with pytest.raises(errors.ParameterError):
        await attempt(text("SELECT :missing"))
    with pytest.raises(ZeroDivisionError):
        async with shelves.orm.errors():
            raise ZeroDivisionError


async def test_streams(shelves: Shelves) -> None:
    await shelves.add(*(f"{number:03}" for number in range(120)))
    async with await shelves.orm.create_session() as session:
        result = await session.stream(select(Author.name).order_by(Author.name), execution_options={"yield_per": 50})
        assert [name async for name in result.scalars()] == [f"{number:03}" for number in range(120)]
        connection = await session.connection()
        rows = await connection.stream(select(Author.name).order_by(Author.name))
        first = await rows.fetchone()
        assert first is not None
        assert first.name == "000"
        assert [row.name for row in await rows.fetchmany(2)] == ["001", "002"]
        await rows.close()  # left in the middle
        result = await session.stream(select(Author.name).order_by(Author.name))
        assert len(await result.all()) == 120
        assert await session.scalar(select(func.count()).select_from(Author)) == 120


async def test_execute_query(shelves: Shelves) -> None:
    assert await shelves.orm.execute_query(insert(Author).values(name="one")) == 1
    assert [author.name for author in await shelves.orm.execute_query(select(Author))] == ["one"]
    assert await shelves.orm.execute_query(select(Author.name)) == ["one"]
    rows = await shelves.orm.execute_query(select(Author.id, Author.name))
    assert [(row.id, row.name) for row in rows] == [(1, "one")]
    assert await shelves.orm.execute_query(text("SELECT name FROM sa_author WHERE id = :id"), {"id": 1}) == ["one"]


async def test_autocommit_of_sqlalchemys_own(shelves: Shelves) -> None:
    engine = shelves.orm.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(insert(Author).values(name="at once"))
        assert await shelves.names() == ["at once"]
        await connection.rollback()
    async with engine.connect() as connection:
        result = await connection.execute(insert(Author), [{"name": "a"}, {"name": "b"}])
        assert result.rowcount in (2, -1)
    assert await shelves.names() == ["a", "at once", "b"]
    async with await shelves.orm.create_session() as session:  # nothing of it is left behind
        session.add(Author(name="undone"))
        await session.flush()
    assert await shelves.names() == ["a", "at once", "b"]


async def test_read_only_sessions(shelves: Shelves) -> None:
    await shelves.add("one")
    async with await shelves.orm.create_session(read_only=True) as session:
        assert (await session.scalars(select(Author.name))).all() == ["one"]
        assert (await session.get_one(Author, 1)).name == "one"
        session.add(Author(name="two"))
        with pytest.raises(DBAPIError) as caught:
            await session.flush()
        assert isinstance(shelves.orm.translated(caught.value), errors.ReadOnlyError)
        await session.rollback()
        with pytest.raises(DBAPIError):
            await session.execute(text("CREATE TABLE sa_forbidden (id INTEGER)"))
    await shelves.add("two")  # the connection writes again for others
    async with await shelves.orm.create_session(read_only=True) as session:
        result = await session.stream_scalars(select(Author.name).order_by(Author.name))
        assert await result.all() == ["one", "two"]


@on_servers
async def test_read_only_sessions_save_the_transaction(shelves: Shelves) -> None:
    async with await shelves.orm.create_session(read_only=True) as session:
        await session.scalar(select(func.count()).select_from(Author))
        assert not (await transaction_is_open(shelves, session))
    async with await shelves.orm.create_session() as session:
        await session.scalar(select(func.count()).select_from(Author))
        assert await transaction_is_open(shelves, session)


async def transaction_is_open(shelves: Shelves, session: AsyncSession) -> bool:
    """Whether the server has a transaction open for a session."""
    raw: Any = (await (await session.connection()).get_raw_connection()).dbapi_connection
    if shelves.engine != "postgresql":
        return bool(raw.in_transaction)  # as the server's last answer says
    sql = "SELECT state LIKE 'idle in%' FROM pg_stat_activity WHERE pid = :pid"
    return bool(await shelves.manager.session().fetch_value(sql, {"pid": raw.physical.server_id}))


@on_servers
async def test_an_isolation_level_is_not_inherited(shelves: Shelves) -> None:
    sql = "SHOW transaction_isolation" if shelves.engine == "postgresql" else "SELECT @@transaction_isolation"
    if shelves.engine == "mariadb":
        sql = "SELECT @@tx_isolation"
    before = await shelves.manager.session().fetch_value(sql)
    async with shelves.orm.engine.connect() as connection:
        await connection.execution_options(isolation_level="SERIALIZABLE")
        assert str(await connection.scalar(text(sql))).upper() == "SERIALIZABLE"
    for _ in range(3):
        assert await shelves.manager.session().fetch_value(sql) == before


async def test_settings_made_by_statements_are_not_inherited(shelves: Shelves) -> None:
    name, value = {
        "postgresql": ("SHOW statement_timeout", "SET statement_timeout = 12345"),
        "sqlite": ("PRAGMA recursive_triggers", "PRAGMA recursive_triggers = 1"),
    }.get(shelves.engine, ("SELECT @@net_read_timeout", "SET SESSION net_read_timeout = 77"))
    async with await shelves.orm.create_session() as session:
        before = await session.scalar(text(name))
        await session.execute(text(value))
        assert await session.scalar(text(name)) != before
    for _ in range(3):
        assert await shelves.manager.session().fetch_value(name) == before


async def test_the_drivers_connection_may_be_used(shelves: Shelves) -> None:
    async with shelves.orm.engine.connect() as connection:
        raw = await connection.get_raw_connection()
        physical = raw.dbapi_connection.physical
        assert not physical.dirty
        assert raw.driver_connection is not None
        assert physical.dirty  # whatever is done with it, it is reset afterwards


async def test_ddl_and_dml_through_text(shelves: Shelves) -> None:
    async with shelves.orm.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE sa_scratch (id INTEGER PRIMARY KEY, word VARCHAR(20))"))
        await connection.execute(
            text("INSERT INTO sa_scratch VALUES (:id, :word)"), [{"id": n, "word": "w"} for n in (1, 2)]
        )
        await connection.execute(text("INSERT INTO sa_scratch VALUES (3, '\\:x %s ?')"))
    async with shelves.orm.engine.begin() as connection:
        rows = await connection.execute(text("SELECT word FROM sa_scratch ORDER BY id"))
        assert rows.scalars().all() == ["w", "w", ":x %s ?"]
        await connection.execute(text("DROP TABLE sa_scratch"))


async def test_a_table_is_read_after_it_was_altered(shelves: Shelves) -> None:
    """On the connection that altered it, which has the reading prepared from before."""
    async with shelves.orm.engine.begin() as connection:
        for statement in ("CREATE TABLE altered (a varchar(10))", "INSERT INTO altered VALUES ('x')"):
            await connection.execute(text(statement))
        for change in ("ADD b varchar(10)", "RENAME COLUMN a TO c"):
            await connection.execute(text("SELECT * FROM altered"))
            await connection.execute(text(f"ALTER TABLE altered {change}"))
        assert (await connection.execute(text("SELECT * FROM altered"))).mappings().all() == [{"c": "x", "b": None}]
        await connection.execute(text("DROP TABLE altered"))


async def test_pool_events_fire(shelves: Shelves) -> None:
    seen: list[str] = []
    pool = shelves.orm.engine.sync_engine.pool
    event.listen(pool, "checkout", lambda *_: seen.append("checkout"))
    event.listen(pool, "checkin", lambda *_: seen.append("checkin"))
    await shelves.add("one")
    assert seen == ["checkout", "checkin"]


async def test_every_statement_is_observed(shelves: Shelves) -> None:
    figures = shelves.manager.monitor.registry.figures("default")
    errors_before, executions_before = figures.errors["StatementSyntaxError"], figures.executions
    with correlation("request 7"):
        await shelves.add("one")
        async with await shelves.orm.create_session() as session:
            await session.scalar(select(Author.name).where(Author.id == 1))
            with pytest.raises(DBAPIError):
                await session.execute(text("SELECT nothing FROM sa_author WHERE id = 42"))
    watcher = shelves.watcher
    (inserted, no_error), (selected, _), (_, error) = watcher.seen
    assert inserted.fingerprint.startswith("INSERT INTO sa_author")
    assert no_error is None
    assert selected.is_read
    assert "= ?" in selected.fingerprint
    assert selected.address
    assert 0 < selected.duration_seconds < 5
    assert isinstance(error, errors.StatementSyntaxError)
    assert set(watcher.correlation_ids) == {"request 7"}
    assert watcher.ended == ["commit", "rollback"]
    assert figures.errors["StatementSyntaxError"] == errors_before + 1
    assert figures.executions == executions_before + 3


@on_servers
async def test_the_record_stays_with_the_physical_connection(shelves: Shelves) -> None:
    sql = SERVER_ID[shelves.engine]
    opened = shelves.source.stats().opened_total
    ids = set()
    for _ in range(8):
        async with await shelves.orm.create_session() as session:
            ids.add(await session.scalar(text(sql)))
    assert len(ids) == 1
    assert shelves.source.stats().opened_total == opened


SLOW = {
    "postgresql": "SELECT pg_sleep(5)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000)"
    " SELECT count(*) FROM n",
    "mariadb": "SELECT sleep(5)",
    "mysql": "SELECT sleep(5)",
}


async def test_the_deadline_of_the_context_holds(shelves: Shelves) -> None:
    async with await shelves.orm.create_session() as session:
        with pytest.raises(errors.StatementTimeoutError), deadline(0.3):
            await session.execute(text(SLOW[shelves.engine]))
    await shelves.add("afterwards")


async def test_an_observer_that_fails_changes_nothing(shelves: Shelves, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(shelves.watcher, "executed", fail)
    with structlog.testing.capture_logs() as logs:
        await shelves.add("one")
    assert [(each["event"], each["error"]) for each in logs if "observer" in each] == [
        ("an observer failed", "ZeroDivisionError")
    ]
    assert await shelves.names() == ["one"]


@on_servers
async def test_awaiting_something_of_the_drivers_connection(shelves: Shelves) -> None:
    async with shelves.orm.engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).dbapi_connection
        work = (
            (lambda own: own.fetchval("SELECT 1")) if shelves.engine == "postgresql" else (lambda own: own.ping(False))
        )
        await connection.run_sync(lambda _: raw.run_async(work))
        assert raw.physical.dirty


@on_servers
async def test_pre_ping_and_reflection(shelves: Shelves) -> None:
    async with shelves.orm.engine.connect() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        assert {"sa_author", "sa_book", "sa_tag"} <= set(names)
        assert await connection.run_sync(lambda sync: sync.dialect.do_ping(sync.connection.dbapi_connection))


@pytest.mark.parametrize("shelves", ["mysql"], indirect=True)
async def test_writes_have_the_configured_limit(shelves: Shelves, mysql: MySQLServer) -> None:
    """MySQL itself limits SELECT alone."""
    async with opened(f"{mysql.url}?statement_timeout=0.3") as manager:
        orm = SQLAlchemyIntegration(manager)
        with pytest.raises(errors.StatementTimeoutError, match=r"statement_timeout=0\.3 s"):
            await orm.execute_query(text("INSERT INTO sa_tag SELECT 'a' FROM (SELECT sleep(5)) AS slow"))
    assert await shelves.manager.session().fetch_value("SELECT count(*) FROM sa_tag") == 0


@on_servers
async def test_streams_that_break(shelves: Shelves) -> None:
    async with await shelves.orm.create_session() as session:
        connection = await session.connection()
        with pytest.raises(DBAPIError):
            await connection.stream(text("SELECT nothing FROM sa_author"))
        await session.rollback()
        connection = await session.connection()
        await connection.stream(insert(Author).values(name="one"))  # without rows
        await session.rollback()
    assert await shelves.names() == []
