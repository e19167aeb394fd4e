"""Defects of the path from session to server that were found once: each has a test, so that none comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from enum import Enum
from typing import Any

import asyncpg
import pytest
from tests.postgresql.sessions import OpenManager
from tests.standbys import set_standbys

from sillar import DatabaseManager, deadline
from sillar.errors import (
    CommitUnknownError,
    ConnectionLostError,
    DatabaseError,
    DataError,
    LockTimeoutError,
    ParameterError,
    StatementError,
    StatementTimeoutError,
    UniqueViolationError,
    UsageError,
)
from sillar.query.functions import POSTGRESQL_FUNCTIONS, WRITING_FUNCTIONS
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import PostgreSQLServer


@pytest.fixture
async def table(observer: asyncpg.Connection) -> AsyncIterator[str]:
    """An empty table ``(id int primary key, name text)``."""
    await observer.execute("DROP TABLE IF EXISTS defects")
    await observer.execute("CREATE TABLE defects (id int PRIMARY KEY, name text)")
    await observer.execute("GRANT ALL ON defects TO PUBLIC")
    yield "defects"
    await observer.execute("DROP TABLE defects")


async def count(observer: asyncpg.Connection, table: str) -> int:
    found: int = await observer.fetchval(f"SELECT count(*) FROM {table}")
    return found


def behind(proxy: FaultProxy, server: PostgreSQLServer) -> str:
    return server.url.replace(f":{server.port}/", f":{proxy.port}/")


# --- what must not be run twice ---


async def test_a_bulk_insert_that_lost_its_rows_is_not_repeated_without_them(
    open_manager: OpenManager, observer: asyncpg.Connection, table: str
) -> None:
    manager = await open_manager(options={"lock_timeout": 0.1})
    async with observer.transaction():
        await observer.execute(f"LOCK TABLE {table}")
        waiting = asyncio.create_task(manager.session().bulk_insert(table, ["id", "name"], rows_of(1000)))
        await asyncio.wait((waiting,), timeout=10)  # it is tried several times
    with pytest.raises(LockTimeoutError):
        await waiting


async def test_a_batch_is_not_repeated_after_some_of_it_was_committed(
    open_manager: OpenManager, observer: asyncpg.Connection, table: str
) -> None:
    manager = await open_manager(options={"lock_timeout": 0.1})
    await observer.execute(f"INSERT INTO {table} VALUES (1)")
    async with observer.transaction():
        await observer.execute(f"SELECT * FROM {table} WHERE id = 1 FOR UPDATE")
        with pytest.raises(LockTimeoutError):
            await manager.session().execute_batch(
                [
                    (f"INSERT INTO {table} SELECT coalesce(max(id), 0) + 1 FROM {table}", None),
                    (f"UPDATE {table} SET name = 'x' WHERE id = 1", None),
                ]
            )
    assert await count(observer, table) == 2


async def test_several_statements_in_one_text_are_not_repeated(
    open_manager: OpenManager, observer: asyncpg.Connection, table: str
) -> None:
    manager = await open_manager(options={"lock_timeout": 0.1})
    await observer.execute(f"INSERT INTO {table} VALUES (1)")
    async with observer.transaction():
        await observer.execute(f"SELECT * FROM {table} WHERE id = 1 FOR UPDATE")
        with pytest.raises(LockTimeoutError):
            await manager.session().execute(
                f"INSERT INTO {table} SELECT max(id) + 1 FROM {table}; COMMIT;"
                f" UPDATE {table} SET name = 'x' WHERE id = 1"
            )
    assert await count(observer, table) == 2


async def test_a_write_whose_result_cannot_be_read_is_not_repeated(
    open_manager: OpenManager, observer: asyncpg.Connection
) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    await session.execute("DROP TABLE IF EXISTS composed; DROP TYPE IF EXISTS pair; CREATE TYPE pair AS (a int)")
    await session.execute("CREATE TABLE composed (p pair)")
    await session.fetch_all("INSERT INTO composed VALUES (NULL) RETURNING p")
    await session.fetch_all("SELECT p FROM composed")
    await session.execute("ALTER TYPE pair ADD ATTRIBUTE b int")
    await session.fetch_all("DELETE FROM composed RETURNING 1")
    sql = "INSERT INTO composed VALUES (ROW(1, 2)::pair) RETURNING p"
    with pytest.raises(StatementError, match="was executed"):
        await session.fetch_all(sql)
    assert await session.fetch_value("SELECT count(*) FROM composed") == 1
    assert await session.fetch_all("SELECT p FROM composed") == [{"p": (1, 2)}]
    await session.execute("DROP TABLE composed; DROP TYPE pair")


class Colour(Enum):
    RED = "red"


async def test_rows_of_a_batch_are_sent_once_inside_a_transaction(
    manager: DatabaseManager, observer: asyncpg.Connection
) -> None:
    session = manager.session()
    await session.execute("DROP TABLE IF EXISTS many; CREATE TABLE many (name text)")
    sets: list[Any] = [["x" * 1000] for _ in range(1000)]
    async with session.transaction():
        assert await session.execute_many("INSERT INTO many VALUES ($1)", [*sets, [Colour.RED]]) == 1001
    assert await count(observer, "many") == 1001
    async with session.transaction():
        with pytest.raises(ParameterError):
            await session.execute_many("INSERT INTO many VALUES ($1)", [*sets, [7]])
    assert await count(observer, "many") == 1001
    await session.execute("DROP TABLE many")


# --- the end of transactions ---


async def test_a_commit_that_the_server_turned_into_a_rollback_is_an_error(
    manager: DatabaseManager, observer: asyncpg.Connection, table: str
) -> None:
    session = manager.session()
    with pytest.raises(StatementError, match="answered with ROLLBACK") as caught:
        async with session.transaction():
            await session.execute(f"INSERT INTO {table} VALUES (1)")
            with pytest.raises(DataError):
                await session.execute("SELECT 1 / 0")
    assert caught.value.code == "25P02"
    assert await count(observer, table) == 0
    assert manager.monitor.registry.figures("default").transactions == {"rollback": 1}


async def test_a_connection_that_broke_before_the_commit_is_not_an_unknown_commit(
    manager: DatabaseManager, observer: asyncpg.Connection
) -> None:
    transaction = await manager.begin_transaction()
    pid = await transaction.fetch_value("SELECT pg_backend_pid()")
    connection = transaction._connection
    assert connection is not None
    await observer.execute("SELECT pg_terminate_backend($1)", pid)
    async with asyncio.timeout(20):
        while not connection.is_closed():
            await asyncio.sleep(0.01)
    with pytest.raises(ConnectionLostError):
        await transaction.commit()


async def test_a_commit_while_another_task_uses_the_transaction_is_a_usage_error(
    manager: DatabaseManager, observer: asyncpg.Connection, table: str
) -> None:
    transaction = await manager.begin_transaction()
    await transaction.execute(f"INSERT INTO {table} VALUES (1)")
    other = asyncio.create_task(transaction.execute("SELECT pg_sleep(5)"))
    await asyncio.sleep(0.1)
    with pytest.raises(UsageError, match="another task"):
        await transaction.commit()
    with pytest.raises(DatabaseError):
        await other
    assert await count(observer, table) == 0
    assert manager.pools["default"].stats().leased == 0


async def test_a_begin_that_fails_leaves_no_broken_connection(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    with pytest.raises(DatabaseError):
        async with session.transaction(settings=[("no such setting", "x")]):
            raise AssertionError("it has not begun")
    assert await session.fetch_value("SELECT 1") == 1
    async with session.transaction() as transaction:
        assert await transaction.fetch_value("SELECT 2") == 2
    assert manager.pools["default"].stats().opened_total == 1


@pytest.mark.parametrize("fails", [False, True])
async def test_a_nested_transaction_left_open_leaks_no_connection(open_manager: OpenManager, fails: bool) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    with pytest.raises(LookupError if fails else UsageError):
        async with session.transaction():
            await session.transaction().begin()
            if fails:
                raise LookupError
    assert manager.pools["default"].stats().leased == 0
    assert await session.fetch_value("SELECT 1") == 1


async def test_a_session_closes_its_outer_transaction_though_the_inner_one_fails(
    open_manager: OpenManager, observer: asyncpg.Connection
) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    await session.transaction().begin()
    await session.transaction().begin()
    await session.execute("SAVEPOINT mine; ROLLBACK; BEGIN")  # whoever does this has lost the savepoint
    await session.close()
    assert manager.pools["default"].stats().leased == 0
    assert await manager.session().fetch_value("SELECT 1") == 1


async def test_a_nested_transaction_that_cannot_be_kept_is_undone(manager: DatabaseManager, table: str) -> None:
    session = manager.session()
    async with session.transaction():
        await session.execute(f"INSERT INTO {table} VALUES (1)")
        with pytest.raises(StatementError, match="an earlier statement failed"):
            async with session.transaction():
                with pytest.raises(UniqueViolationError):
                    await session.execute(f"INSERT INTO {table} VALUES (1)")
        await session.execute(f"INSERT INTO {table} VALUES (2)")
    assert await session.fetch_value(f"SELECT count(*) FROM {table}") == 2


async def test_two_tasks_cannot_begin_on_one_session(manager: DatabaseManager) -> None:
    session = manager.session(autobegin=True)
    outcomes = await asyncio.gather(
        session.fetch_value("SELECT 1"), session.fetch_value("SELECT 1"), return_exceptions=True
    )
    assert 1 in outcomes
    [told] = [outcome for outcome in outcomes if outcome != 1]
    assert isinstance(told, UsageError)
    assert "one task at a time" in str(told)
    await session.close()
    assert manager.pools["default"].stats().leased == 0


async def test_a_commit_that_replicas_have_not_confirmed_is_unknown() -> None:
    async with PostgreSQLServer(own=True) as server:
        admin = await asyncpg.connect(server.superuser_url)
        async with DatabaseManager.from_url(server.url) as manager:
            transaction = await manager.begin_transaction()
            await transaction.execute("CREATE TABLE confirmed (id int)")
            pid = await transaction.fetch_value("SELECT pg_backend_pid()")
            await set_standbys(server, "nobody")
            committing = asyncio.create_task(transaction.commit())
            async with asyncio.timeout(20):
                while await admin.fetchval("SELECT wait_event FROM pg_stat_activity WHERE pid = $1", pid) != "SyncRep":
                    await asyncio.sleep(0.02)
            assert not committing.done()
            await admin.execute("SELECT pg_cancel_backend($1)", pid)
            with pytest.raises(CommitUnknownError, match="synchronous replication"):
                await asyncio.wait_for(committing, 20)
        await admin.close()


# --- streams ---


async def test_a_streamed_write_is_kept(manager: DatabaseManager, observer: asyncpg.Connection, table: str) -> None:
    sql = f"INSERT INTO {table} SELECT n FROM generate_series(1, 10) AS n RETURNING id"
    async with manager.session().stream(sql, batch_rows=3) as rows:
        assert [row["id"] async for row in rows] == list(range(1, 11))
    assert await count(observer, table) == 10


@pytest.mark.parametrize("at", ["first batch", "later batch"])
async def test_a_deadline_bounds_a_stream(manager: DatabaseManager, at: str) -> None:
    sql = "SELECT n, pg_sleep(CASE WHEN n > :wait THEN 30 ELSE 0 END) FROM generate_series(1, 100) AS n"
    started = time.monotonic()
    async with asyncio.timeout(8):
        with deadline(0.4), pytest.raises(StatementTimeoutError):
            async with manager.session().stream(sql, {"wait": 0 if at == "first batch" else 20}, batch_rows=10) as rows:
                async for _ in rows:
                    pass
    assert time.monotonic() - started < 5
    assert await manager.session().fetch_value("SELECT 1") == 1


async def test_a_stream_is_of_no_use_after_its_block(manager: DatabaseManager) -> None:
    async with manager.session().stream("SELECT generate_series(1, 100) AS n", batch_rows=10) as rows:
        pass
    with pytest.raises(UsageError, match="async with"):
        async for _ in rows:
            raise AssertionError("a row after the end")


# --- deadlines ---


@pytest.mark.parametrize("at", ["begin", "statement", "savepoint", "commit"])
async def test_a_deadline_bounds_a_transaction_on_a_server_that_does_not_answer(
    postgresql: PostgreSQLServer, at: str
) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        limits = {"drain_timeout": 0.1, "max_connections": 2}
        async with DatabaseManager.from_url(
            behind(proxy, postgresql), overrides={"connection_pools": limits}
        ) as manager:
            session = manager.session()
            started = time.monotonic()
            kind = CommitUnknownError if at == "commit" else StatementTimeoutError
            async with asyncio.timeout(8):
                with deadline(0.4), pytest.raises(kind):
                    if at == "begin":
                        proxy.black_hole()
                    async with session.transaction():
                        proxy.black_hole()
                        if at == "statement":
                            await session.execute("SELECT 1")
                        elif at == "savepoint":
                            async with session.transaction():
                                raise AssertionError("it has not begun")
            assert time.monotonic() - started < 3


async def test_nothing_is_committed_after_the_deadline(
    manager: DatabaseManager, observer: asyncpg.Connection, table: str
) -> None:
    session = manager.session()
    with pytest.raises(StatementTimeoutError, match="rolled back"), deadline(0.2):
        async with session.transaction():
            await session.execute(f"INSERT INTO {table} VALUES (1)")
            await asyncio.sleep(0.3)
    assert await count(observer, table) == 0
    assert manager.pools["default"].stats().leased == 0


async def test_a_lease_keeps_the_deadline(manager: DatabaseManager) -> None:
    async with await manager.get_connection() as lease:
        with deadline(0.2), pytest.raises(StatementTimeoutError):
            await asyncio.wait_for(lease.execute("SELECT pg_sleep(30)"), 5)


# --- what a session must not leave behind ---


async def test_a_copy_whose_query_locks_leaves_no_lock(open_manager: OpenManager, observer: asyncpg.Connection) -> None:
    manager = await open_manager(pool={"max_connections": 1})

    async def write(data: bytes) -> None:
        pass

    await manager.session().copy_out("SELECT pg_advisory_lock(4711)", write)
    await manager.session().fetch_value("SELECT 1")
    assert await observer.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711") == 0


async def test_statements_are_prepared_anew_after_somebody_dropped_them(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    assert await session.fetch_value("SELECT 41 + 1") == 42
    async with await manager.get_connection() as lease:
        await lease.raw.execute("DISCARD ALL")
    assert await session.fetch_value("SELECT 41 + 1") == 42
    await session.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")
    assert await session.fetch_value("SELECT 41 + 1") == 42
    async with session.transaction():
        assert await session.fetch_value("SELECT 41 + 1") == 42


async def test_codecs_and_listeners_of_a_raw_connection_leave_with_its_lease(open_manager: OpenManager) -> None:
    import json

    manager = await open_manager(pool={"max_connections": 1})
    async with await manager.get_connection() as lease:
        await lease.raw.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
        await lease.raw.add_listener("news", lambda *_: None)
    assert await manager.session().fetch_value("""SELECT '{"a": 1}'::jsonb""") == {"a": 1}
    heard: list[Any] = []
    async with await manager.get_connection() as lease:
        await lease.raw.add_listener("news", lambda *told: heard.append(told))
        await lease.raw.execute("NOTIFY news, 'hello'")
        async with asyncio.timeout(15):
            while not heard:
                await asyncio.sleep(0.01)


async def test_a_lease_given_back_while_a_statement_runs_is_not_handed_on_like_that(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    lease = await manager.get_connection()
    running = asyncio.create_task(lease.execute("SELECT pg_sleep(3)"))
    await asyncio.sleep(0.05)
    lease.release()
    assert await manager.session().fetch_value("SELECT 7") == 7
    with pytest.raises(DatabaseError):
        await running


async def test_a_commit_of_a_lease_is_not_cancelled(
    postgresql: PostgreSQLServer, observer: asyncpg.Connection, table: str
) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        async with DatabaseManager.from_url(behind(proxy, postgresql)) as manager:

            async def work() -> None:
                async with await manager.get_connection() as lease, lease.transaction():
                    await lease.execute(f"INSERT INTO {table} VALUES (1)")
                    proxy.delay(0.7)
                    asyncio.get_running_loop().call_later(0.1, task.cancel)

            task = asyncio.create_task(work())
            with pytest.raises(asyncio.CancelledError):
                await task
            await proxy.heal()
            assert await count(observer, table) == 1


@pytest.mark.parametrize("statement", ["SELECT 'my\"secret'::int", "SELECT 'my\"sec\"ret'::date"])
async def test_no_part_of_a_quoted_value_is_in_the_message(manager: DatabaseManager, statement: str) -> None:
    with pytest.raises(DataError) as caught:
        await manager.session().execute(statement)
    assert "sec" not in str(caught.value)


def rows_of(number: int) -> Iterator[tuple[int, str]]:
    return ((each, "x") for each in range(number))


async def test_what_is_kept_prepared_for_bulk_inserts_is_bounded(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1}, options={"prepared_statements": 3})
    session = manager.session()
    names = [f"bounded_{number}" for number in range(8)]
    for name in names:
        await session.execute(f"CREATE TABLE {name} (id int, name text)")
        assert await session.bulk_insert(name, ["id", "name"], rows_of(3)) == 3
    connection = manager.pools["default"].try_acquire()
    assert connection is not None
    assert len(connection._prepared) <= 3  # type: ignore[attr-defined]
    manager.pools["default"].release_connection(connection)
    for name in names:
        await session.execute(f"DROP TABLE {name}")


async def test_the_functions_taken_for_harmless_are_postgresqls_own(postgresql18: PostgreSQLServer) -> None:
    connection = await asyncpg.connect(postgresql18.superuser_url)
    try:
        functions = dict(
            await connection.fetch(
                "SELECT proname, bool_or(provolatile = 'v') FROM pg_proc"
                " WHERE pronamespace = 'pg_catalog'::regnamespace GROUP BY 1"
            )
        )
        words = {
            row["word"] for row in await connection.fetch("SELECT word FROM pg_get_keywords() WHERE catcode <> 'U'")
        }
    finally:
        await connection.close()
    of_extensions, in_names_of_types = {"similarity", "word_similarity", "uuid_generate_v4"}, {"double", "varying"}
    assert POSTGRESQL_FUNCTIONS - functions.keys() - words == of_extensions | in_names_of_types
    volatile = {name for name in POSTGRESQL_FUNCTIONS if functions.get(name)}
    harmless = {"clock_timestamp", "gen_random_uuid", "pg_sleep", "random", "uuidv4", "uuidv7"}
    looking = {name for name in volatile if name.startswith("pg_") and name.endswith(("_lsn", "_size", "_recovery"))}
    assert volatile == harmless | looking | {"nextval"}
    assert "nextval" in WRITING_FUNCTIONS
