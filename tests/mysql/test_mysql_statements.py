"""Statements and their replies: prepared and as text, many rows, streams."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import asyncmy.connection
import asyncmy.cursors
import pytest

from sillar import DatabaseManager
from sillar.engines.mysql import MySQLAdapter
from sillar.engines.mysql.connection import MySQLConnection
from sillar.engines.mysql.placeholders import PreparedText
from sillar.engines.mysql.rows import insert_chunks, multi_row_insert
from sillar.errors import ParameterError, StatementError, StatementTimeoutError

Ask = Callable[..., Awaitable[Any]]
Table = Callable[[str], Awaitable[str]]
Open = Callable[..., Awaitable[MySQLConnection]]
NUMBERS = (
    "WITH RECURSIVE d AS (SELECT 0 AS i UNION ALL SELECT i + 1 FROM d WHERE i < 99)"
    " SELECT a.i * 10000 + b.i * 100 + c.i AS n, REPEAT('x', 200) AS filler FROM d a, d b, d c"
)


async def test_counts_and_generated_keys(
    connection: MySQLConnection, adapter: MySQLAdapter, ask: Ask, table: Table
) -> None:
    name = await table("id INT AUTO_INCREMENT PRIMARY KEY, n INT")
    first = await ask(connection, f"INSERT INTO {name} (n) VALUES (:a), (:b)", {"a": 5, "b": 5})
    assert (first.rows_affected, first.last_insert_id, first.shape) == (2, 1, None)
    same = await ask(connection, f"UPDATE {name} SET n = :n", {"n": 5})
    assert same.rows_affected == 2, "rows that are found count, changed or not"
    assert same.last_insert_id is None
    assert (await ask(connection, f"UPDATE {name} SET n = 5")).rows_affected == 2
    assert (await ask(connection, f"DELETE FROM {name} WHERE id = %s", [1])).rows_affected == 1
    reply = await connection.run(*adapter.bind(f"SELECT n, id FROM {name}", None))
    assert reply.shape is not None
    assert (reply.shape.columns, reply.rows_affected) == (("n", "id"), 1)
    shape, row = await connection.fetch_row(*adapter.bind(f"SELECT n FROM {name} WHERE id = 99", None))
    assert (shape.columns, row) == (("n",), None)
    shape, rows = await connection.fetch(*adapter.bind("DO 1", None))
    assert (shape.columns, rows) == ((), ())


async def test_returning(connection: MySQLConnection, ask: Ask, table: Table, is_mariadb: bool) -> None:
    name = await table("id INT AUTO_INCREMENT PRIMARY KEY, n INT")
    insert = f"INSERT INTO {name} (n) VALUES (:n) RETURNING id, n"
    if is_mariadb:
        assert await ask(connection, insert, {"n": 7}) == [(1, 7)]
    else:
        with pytest.raises(StatementError, match="syntax"):
            await ask(connection, insert, {"n": 7})


async def test_scripts_and_procedures(connection: MySQLConnection, ask: Ask, table: Table) -> None:
    name = await table("id INT")
    script = f"INSERT INTO {name} VALUES (1), (2); UPDATE {name} SET id = id + 1; DELETE FROM {name} WHERE id = 3"
    assert (await ask(connection, script)).rows_affected == 2 + 2 + 1
    assert await ask(connection, f"SELECT 1; SELECT id FROM {name}") == [(2,)]
    with pytest.raises(ParameterError, match="one by one"):
        await ask(connection, f"SELECT :a; SELECT id FROM {name}", {"a": 1})
    with pytest.raises(StatementError, match="nowhere"):
        await ask(connection, f"INSERT INTO {name} VALUES (9); INSERT INTO nowhere VALUES (1); SELECT 1")
    assert await ask(connection, f"SELECT COUNT(*) FROM {name}") == [(2,)], "the connection is in order after it"
    procedure = f"p_{name}"
    await ask(connection, f"CREATE PROCEDURE {procedure}(a INT, b TEXT) BEGIN SELECT a; SELECT b; END")
    assert await ask(connection, f"CALL {procedure}(:a, :b)", {"a": 1, "b": "it's"}) == [("it's",)]
    await ask(connection, f"DROP PROCEDURE {procedure}")


@pytest.mark.parametrize(
    ("sql", "params", "problem"),
    [
        ("SELECT :a, :b", {"a": 1}, "missing: b"),
        ("SELECT :a", {"a": 1, "z": 2}, "superfluous: z"),
        ("SELECT %s", [1, 2], "has 1 placeholders"),
        ("SELECT '%d', %s", [1], "%d at character 9"),
        ("SELECT '%s', %s", [1, 2], "inside quotes"),
        ("SELECT :a", None, "missing: a"),
    ],
)
async def test_parameters_that_do_not_fit(
    connection: MySQLConnection, ask: Ask, sql: str, params: Any, problem: str
) -> None:
    with pytest.raises(ParameterError, match=problem):
        await ask(connection, sql, params)
    assert await ask(connection, "SELECT 1") == [(1,)]


async def test_statements_that_cannot_be_prepared_take_literals(
    connection: MySQLConnection, ask: Ask, table: Table
) -> None:
    name = await table("id INT")
    assert await ask(connection, "SHOW TABLES LIKE :name", {"name": name}) == [(name,)]
    await ask(connection, "SET @v = :v", {"v": "a'b\\"})
    assert await ask(connection, "SELECT @v") == [("a'b\\",)]


async def test_prepared_statements_are_kept_and_bounded(connection: MySQLConnection, ask: Ask) -> None:
    async def prepared_on_server() -> tuple[int, int]:
        rows = dict(await ask(connection, "SHOW SESSION STATUS LIKE 'Com_stmt_%'"))
        return int(rows["Com_stmt_prepare"]), int(rows["Com_stmt_close"])

    await ask(connection, "SELECT :n", {"n": 0})
    before, closed_before = await prepared_on_server()
    for number in range(5):
        await ask(connection, "SELECT :n", {"n": number})
    assert await prepared_on_server() == (before, closed_before)
    for number in range(150):
        assert await ask(connection, f"SELECT :n + {number}", {"n": 1}) == [(number + 1,)]
    prepared, closed = await prepared_on_server()
    assert prepared >= before + 150
    assert closed == closed_before + 51, "a hundred are kept"
    assert await ask(connection, "SELECT :n", {"n": 7}) == [(7,)]


async def test_a_kept_statement_survives_the_ddl_of_others(
    open_connection: Open, adapter: MySQLAdapter, ask: Ask, table: Table
) -> None:
    name = await table("a INT, b INT")
    mine, other = await open_connection(), await open_connection()
    await ask(other, f"INSERT INTO {name} VALUES (1, 2)")
    select = f"SELECT * FROM {name} WHERE a = :a"
    assert await ask(mine, select, {"a": 1}) == [(1, 2)]
    await ask(other, f"ALTER TABLE {name} MODIFY b VARCHAR(9), ADD c INT DEFAULT 3")
    assert await ask(mine, select, {"a": 1}) == [(1, "2", 3)]
    shape, _ = await mine.fetch(*adapter.bind(select, {"a": 1}))
    assert shape.columns == ("a", "b", "c")


async def test_shapes_are_shared_by_the_connections_of_an_adapter(adapter: MySQLAdapter) -> None:
    one, two = await adapter.open_connection(), await adapter.open_connection()
    statement, args = adapter.bind("SELECT :a AS a", {"a": 1})
    first, _ = await one.fetch(statement, args)
    again, _ = await one.fetch(statement, args)
    second, _ = await two.fetch(statement, args)
    assert first is again is second
    await one.close()
    await two.close()


async def test_many_rows_in_one_statement(
    connection: MySQLConnection, adapter: MySQLAdapter, ask: Ask, table: Table
) -> None:
    name = await table("id INT PRIMARY KEY, n INT, t LONGTEXT")
    bound = [
        adapter.bind(f"INSERT INTO {name} VALUES (:id, :n, :t)", {"id": i, "n": i, "t": "é" * 50})
        for i in range(20_000)
    ]
    before = dict(await ask(connection, "SHOW SESSION STATUS LIKE 'Com_insert'"))["Com_insert"]
    assert await connection.run_many(bound[0][0], [args for _, args in bound]) == 20_000
    after = dict(await ask(connection, "SHOW SESSION STATUS LIKE 'Com_insert'"))["Com_insert"]
    assert int(after) - int(before) <= 4
    upsert, _ = adapter.bind(
        f"INSERT INTO {name} (id, n) VALUES (:id, :n) ON DUPLICATE KEY UPDATE n = VALUES(n) + 1", {"id": 1, "n": 1}
    )
    assert await connection.run_many(upsert, [(1, 100), (2, 200)]) == 4  # MySQL counts an update as two
    assert await ask(connection, f"SELECT n FROM {name} WHERE id IN (1, 2)") == [(101,), (201,)]
    assert await connection.run_many(upsert, []) == 0
    with pytest.raises(ParameterError, match="parameter set 2"):
        await connection.run_many(upsert, [(1, 100), (2,)])
    huge = "x" * (connection._packet_max + 10)
    with pytest.raises(ParameterError, match="max_allowed_packet"):
        await connection.bulk_insert(name, ["id", "t"], [(30_000, huge)])
    assert await connection.bulk_insert(f"sillar.{name}", ["id", "t"], [(30_001, "y" * 3_000_000)]) == 1
    assert await ask(connection, f"SELECT LENGTH(t) FROM {name} WHERE id > 29999") == [(3_000_000,)]


def test_which_inserts_take_many_rows() -> None:
    assert multi_row_insert("INSERT INTO t (a, b) VALUES (%s, %s);") == ("INSERT INTO t (a, b) VALUES ", "(%s, %s)", "")
    assert multi_row_insert("replace into t value ( %s )") is not None
    assert multi_row_insert("INSERT INTO t VALUES (%s) ON DUPLICATE KEY UPDATE a = 1") is not None
    assert multi_row_insert("INSERT INTO t VALUES (%s) ON DUPLICATE KEY UPDATE a = %s") is None
    assert multi_row_insert("INSERT INTO t VALUES (%s, NOW())") is None
    assert multi_row_insert("INSERT INTO t VALUES (%s) RETURNING id") is None
    assert multi_row_insert("INSERT INTO t SELECT '%%' FROM u WHERE (a) = VALUES (%s)") is None
    assert multi_row_insert("UPDATE t SET a = %s") is None


async def test_chunks_stay_below_the_packet(connection: MySQLConnection) -> None:
    rows = [("é\0" * 100,)] * 100
    chunks = list(insert_chunks(connection.raw, "INSERT INTO t VALUES ", "(%s)", "", rows, 4096))
    assert len(chunks) > 10
    assert all(len(chunk.encode()) <= 4096 - 1000 for chunk in chunks)
    assert sum(chunk.count("(") for chunk in chunks) == 100


def test_prepared_text() -> None:
    text = PreparedText("SELECT 100%%, %s, '%%s', %s")
    assert (text.sql, text.count) == ("SELECT 100%, ?, '%s', ?", 2)


async def test_a_stream_keeps_memory_bounded(
    open_manager: Callable[..., Awaitable[DatabaseManager]], connection: MySQLConnection, adapter: MySQLAdapter
) -> None:
    """A million rows of 200 bytes, with a consumer slower than the server."""
    statement, args = adapter.bind(NUMBERS, None)
    tracemalloc.start()
    try:
        stream = connection.stream(statement, args, 1000)
        await anext(stream)
        tracemalloc.reset_peak()
        baseline, _ = tracemalloc.get_traced_memory()
        await asyncio.sleep(0.5)  # nothing is read meanwhile
        for _ in range(30):
            _, rows = await anext(stream)
            assert len(rows) == 1000
            await asyncio.sleep(0.005)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    await stream.aclose()
    assert peak - baseline < 30_000_000, "of more than 200 MB"


async def test_a_stream_gives_every_row_once(
    open_manager: Callable[..., Awaitable[DatabaseManager]], table: Table
) -> None:
    name = await table("id INT PRIMARY KEY, ts TIMESTAMP(6) NULL")
    session = (await open_manager(pool={"max_connections": 1})).session()
    await session.bulk_insert(name, ["id"], [(number,) for number in range(2_000)])
    for batch_rows in (1, 500, 1999, 2000, 2001):
        async with session.stream(
            f"SELECT id FROM {name} WHERE id < :n ORDER BY id", {"n": 2_000}, batch_rows=batch_rows, into=int
        ) as rows:
            assert [row async for row in rows] == list(range(2_000))
    async with session.stream(f"SELECT id FROM {name} WHERE id < 0") as rows:
        assert [row async for row in rows] == []
    async with session.transaction():
        async with session.stream(f"SELECT id FROM {name} ORDER BY id", batch_rows=10) as rows:
            async for row in rows:
                assert row == {"id": 0}
                break
        assert await session.fetch_value(f"SELECT COUNT(*) FROM {name}") == 2_000


async def test_a_stream_that_fails_in_the_middle(connection: MySQLConnection, adapter: MySQLAdapter, ask: Ask) -> None:
    failing = f"SELECT IF(n = 5000, (SELECT 1 UNION SELECT 2), n) FROM ({NUMBERS}) AS numbers"
    statement, args = adapter.bind(failing, None)
    seen = 0
    with pytest.raises(StatementError) as error:
        async for _, rows in connection.stream(statement, args, 100):
            seen += len(rows)
    assert error.value.code == 1242
    assert await ask(connection, "SELECT 1") == [(1,)]
    slow, args = adapter.bind(
        "SELECT 1 UNION ALL SELECT SLEEP(20) FROM information_schema.tables WHERE SLEEP(20) = 0", None
    )
    with pytest.raises(StatementTimeoutError):
        async for _ in connection.stream(slow, args, 1, 0.3):
            pass
    await connection.reset()
    assert await ask(connection, "SELECT 1") == [(1,)]


def test_the_private_names_of_the_driver_are_there() -> None:
    raw = asyncmy.connection.Connection
    for name in ("_stream_broken", "_execute_command", "_read_ok_packet", "prepare", "query", "next_result", "literal"):
        assert hasattr(raw, name), name
    for name in ("_result", "_transport", "_loop", "_connected"):
        assert hasattr(asyncmy.connection._ConnectionState, name), name
    for name in (
        "unbuffered_active",
        "_finish_unbuffered_query",
        "has_next",
        "description",
        "affected_rows",
        "insert_id",
    ):
        assert hasattr(asyncmy.connection.MySQLResult, name), name
    assert hasattr(asyncmy.cursors.SSCursor, "fetchmany")
