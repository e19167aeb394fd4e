"""What a caller gets: rows and counts, values as they were, errors with their names, all or nothing."""

from __future__ import annotations

import asyncio
import enum
import sqlite3
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sqlite.databases import Database, OpenDatabase

from sillar import errors
from sillar.capabilities import Capability
from sillar.engines.connection import NodeRole
from sillar.engines.sqlite import SQLiteAdapter
from sillar.engines.sqlite.statement import Route, SQLiteStatements, split_script
from sillar.query.document import DocumentCommand
from sillar.query.json import Json


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


async def test_rows_counts_and_keys(either: Database) -> None:
    first = await either.run("INSERT INTO item (name, amount) VALUES (:name, :amount)", {"name": "a", "amount": 1})
    assert (first.rows_affected, first.last_insert_id, first.shape, list(first.rows)) == (1, 1, None, [])
    await either.run("INSERT INTO item (name, amount) VALUES (?, ?)", ["b", 2])
    reply = await either.run("SELECT name, amount FROM item ORDER BY id")
    assert reply.shape is not None
    assert reply.shape.columns == ("name", "amount")
    assert list(reply.rows) == [("a", 1), ("b", 2)]
    assert reply.rows_affected == 2
    changed = await either.run("UPDATE item SET amount = amount + 1 RETURNING name")
    assert sorted(changed.rows) == [("a",), ("b",)]
    assert changed.rows_affected == 2
    by_query = await either.run("WITH chosen AS (SELECT 1 AS id) DELETE FROM item WHERE id IN (SELECT id FROM chosen)")
    assert by_query.rows_affected == 1
    assert await either.value("SELECT count(*) FROM item") == 1
    assert await either.row("SELECT 1 WHERE 0") is None


async def test_columns_follow_the_table(either: Database) -> None:
    await either.run("CREATE TABLE wide (a, b)")
    statement, args = either.adapter.bind("SELECT * FROM wide", None)
    for renamed, expected in (("b", ("a", "b")), ("c", ("a", "c"))):
        if renamed == "c":
            await either.run("ALTER TABLE wide RENAME COLUMN b TO c")
        async with either.connection() as connection:
            shape, rows = await connection.fetch(statement, args)
        assert shape.columns == expected
        assert list(rows) == []


VALUES: list[tuple[Any, Any, str]] = [
    (None, None, "null"),
    (True, 1, "integer"),
    (-(2**63), -(2**63), "integer"),
    (2**63 - 1, 2**63 - 1, "integer"),
    (1.5, 1.5, "real"),
    (float("inf"), float("inf"), "real"),
    ("", "", "text"),
    ("a\0b", "a\0b", "text"),
    ("\U0001f9f1 sillar", "\U0001f9f1 sillar", "text"),
    (b"\x00\xff", b"\x00\xff", "blob"),
    (bytearray(b"ab"), b"ab", "blob"),
    (memoryview(b"ab"), b"ab", "blob"),
    (Decimal("12345678901234567890.123456789"), "12345678901234567890.123456789", "text"),
    (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007", "text"),
    (date(2026, 2, 1), "2026-02-01", "text"),
    (time(1, 2, 3), "01:02:03", "text"),
    (datetime(2026, 2, 1, 3, 4, 5), "2026-02-01T03:04:05.000000", "text"),
    (datetime(2026, 2, 1, 3, 4, 5, 6, UTC), "2026-02-01T03:04:05.000006+00:00", "text"),
    (datetime(2026, 2, 1, 3, tzinfo=timezone(timedelta(hours=2))), "2026-02-01T01:00:00.000000+00:00", "text"),
    (Colour.RED, "red", "text"),
    (Level.HIGH, 3, "integer"),
    ({"a": [1, None]}, '{"a":[1,null]}', "text"),
    ([1, "x"], '[1,"x"]', "text"),
    (Json("x"), '"x"', "text"),
]


@pytest.mark.parametrize(("given_value", "stored", "kind"), VALUES, ids=lambda value: repr(value)[:40])
async def test_each_type_goes_in_and_comes_back(database: Database, given_value: Any, stored: Any, kind: str) -> None:
    await database.run("CREATE TABLE kept (id INTEGER PRIMARY KEY, value)")
    await database.run("INSERT INTO kept (value) VALUES (:value)", {"value": given_value})
    for _ in range(2):  # from a thread, then inline
        row = await database.row("SELECT value FROM kept WHERE id = :id", {"id": 1})
        assert row == (stored,)
        assert type(row[0]) is type(stored)
        await asyncio.sleep(0.02)
    assert await database.value("SELECT typeof(value) FROM kept") == kind


@given(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(-(2**63), 2**63 - 1), st.binary()))
async def test_any_plain_value_is_kept_exactly(value: Any) -> None:
    database = Database(":memory:")
    await database.source.open()
    try:
        assert await database.value("SELECT :value", {"value": value}) == value
    finally:
        await database.adapter.close()


@pytest.mark.parametrize(
    "value", [float("nan"), Decimal("NaN"), 2**63, object(), {1, 2}, "\ud800"], ids=lambda value: ascii(value)[:20]
)
async def test_values_that_sqlite_cannot_hold_are_refused(either: Database, value: Any) -> None:
    with pytest.raises(errors.ParameterError):
        await either.run("INSERT INTO item (name) VALUES (:value)", {"value": value})
    with pytest.raises(errors.ParameterError):
        await either.run("SELECT :value", {"value": value})
    assert await either.value("SELECT count(*) FROM item") == 0


async def test_parameters_missing_superfluous_or_miscounted(either: Database) -> None:
    with pytest.raises(errors.ParameterError, match=r"missing: b; superfluous: c"):
        await either.run("SELECT :a, :b", {"a": 1, "c": 2})
    with pytest.raises(errors.ParameterError, match="bindings"):
        await either.run("SELECT ?, ?", [1])
    with pytest.raises(errors.ParameterError, match="bindings"):
        await either.run("INSERT INTO item (name) VALUES (?)", ["a", "b"])
    with pytest.raises(errors.ParameterError, match="INTEGER PRIMARY KEY"):
        await either.run("INSERT INTO item (id) VALUES (?)", ["text"])
    with pytest.raises(errors.UnsupportedCapabilityError):
        either.adapter.bind(DocumentCommand("item", "find", {}), None)


async def test_integrity_errors_name_what_was_broken(either: Database) -> None:
    await either.run("INSERT INTO item (id, name) VALUES (1, 'a')")
    await either.run("CREATE TABLE part (item INTEGER NOT NULL REFERENCES item, a, b, UNIQUE (a, b))")
    with pytest.raises(errors.UniqueViolationError) as unique:
        await either.run("INSERT INTO item (name) VALUES ('a')")
    assert (unique.value.table, unique.value.column, unique.value.code) == ("item", "name", "SQLITE_CONSTRAINT_UNIQUE")
    assert isinstance(unique.value.__cause__, sqlite3.IntegrityError)
    assert not unique.value.safe_to_retry
    with pytest.raises(errors.UniqueViolationError) as key:
        await either.run("INSERT INTO item (id) VALUES (1)")
    assert key.value.column == "id"
    with pytest.raises(errors.NotNullViolationError) as absent:
        await either.run("UPDATE item SET amount = NULL")
    assert (absent.value.table, absent.value.column) == ("item", "amount")
    with pytest.raises(errors.CheckViolationError) as check:
        await either.run("UPDATE item SET amount = -1")
    assert check.value.constraint == "amount >= 0"
    with pytest.raises(errors.ForeignKeyViolationError):
        await either.run("INSERT INTO part VALUES (99, 1, 1)")
    await either.run("INSERT INTO part VALUES (1, 1, 1)")
    with pytest.raises(errors.UniqueViolationError) as pair:
        await either.run("INSERT INTO part VALUES (1, 1, 1)")
    assert (pair.value.table, pair.value.column) == ("part", "a, b")


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        ("SELECT 1 FORM item", 15),
        ("SELEC 1", 1),
        ("SELECT (1", 10),
        ("SELECT name FROM items", 18),
        ("SELECT nam FROM item", 8),
        ("SELECT item.nam FROM item", 13),
        ("SELECT no_such(1)", 8),
        ("INSERT INTO item (nam) VALUES (1)", 19),
        ("INSERT INTO item (name) VALUES (1, 2)", None),
        ("SELECT 1 WHERE WHERE", None),
    ],
)
async def test_syntax_errors_tell_the_position_where_it_is_unique(
    either: Database, sql: str, position: int | None
) -> None:
    with pytest.raises(errors.StatementSyntaxError) as refused:
        await either.run(sql)
    assert refused.value.position == position


async def test_other_errors_have_their_class(either: Database) -> None:
    with pytest.raises(errors.UnknownStatementError, match="already exists"):
        await either.run("CREATE TABLE item (id)")
    with pytest.raises(errors.UsageError, match="shared"):
        await either.run("BEGIN")
    with pytest.raises(errors.UsageError, match="shared"):
        await either.run("/* by hand */ ; COMMIT")
    with pytest.raises(errors.UsageError, match="one statement"):
        await either.run("SELECT :a; SELECT :b", {"a": 1, "b": 2})


async def test_run_many_and_bulk_insert_are_all_or_nothing(either: Database) -> None:
    statement, _ = either.adapter.bind("INSERT INTO item (name, amount) VALUES (?1, ?2)", None)
    async with either.connection() as connection:
        for count in (0, 3, 2500):
            rows = ((f"{count}-{number}", Decimal(number)) for number in range(count))
            assert await connection.run_many(statement, rows) == count
        with pytest.raises(errors.UniqueViolationError):
            await connection.bulk_insert("item", ["name"], [("x",), ("y",), ("x",)])
        with pytest.raises(errors.UniqueViolationError):
            await connection.bulk_insert("main.item", ["name"], ((f"n{number % 2400}",) for number in range(2500)))
        with pytest.raises(errors.ParameterError):
            await connection.bulk_insert(
                "item", ["name"], ((f"p{number}" if number < 2400 else object(),) for number in range(2500))
            )
        assert await either.value("SELECT count(*) FROM item") == 2503
        assert await connection.bulk_insert("item", ["name", "amount"], [("z", 1)]) == 1
    await either.run("DELETE FROM item")
    async with either.transaction() as transaction:
        connection = transaction.connection
        assert await connection.bulk_insert("item", ["name"], ((f"k{number}",) for number in range(2500))) == 2500
        with pytest.raises(errors.UniqueViolationError):
            await connection.bulk_insert("item", ["name"], ((f"m{number % 2400}",) for number in range(2500)))
        assert await connection.bulk_insert("item", ["name"], [("last",)]) == 1
    assert await either.value("SELECT count(*) FROM item") == 2501


async def test_a_name_is_quoted_and_never_run(either: Database) -> None:
    await either.run('CREATE TABLE "odd "" name" ("a ""b" TEXT)')
    async with either.connection() as connection:
        assert await connection.bulk_insert('odd " name', ['a "b'], [("x",)]) == 1
        with pytest.raises(errors.StatementError):
            await connection.bulk_insert("item (name) VALUES ('x'); --", ["name"], [("x",)])
    assert await either.value("SELECT count(*) FROM item") == 0


async def test_a_batch_of_statements_is_one_transaction(either: Database) -> None:
    insert, _ = either.adapter.bind("INSERT INTO item (name) VALUES (?1)", None)
    count, _ = either.adapter.bind("SELECT count(*) FROM item", None)
    async with either.connection() as connection:
        replies = await connection.run_batch([(insert, ["a"]), (insert, ["b"])])
        assert [reply.last_insert_id for reply in replies] == [1, 2]
        with pytest.raises(errors.UniqueViolationError):
            await connection.run_batch([(insert, ["c"]), (insert, ["a"])])
        mixed = await connection.run_batch([(insert, ["d"]), (count, [])])
    assert mixed[1].rows[0] == (3,)


async def test_a_script_runs_whole_or_not_at_all(either: Database) -> None:
    await either.run(
        """
        CREATE TABLE log (text);
        CREATE TRIGGER watch AFTER INSERT ON item BEGIN INSERT INTO log VALUES (new.name); END;
        INSERT INTO item (name) VALUES ('a;b');
        """
    )
    assert await either.value("SELECT text FROM log") == "a;b"
    with pytest.raises(errors.UniqueViolationError):
        await either.run("INSERT INTO item (name) VALUES ('b'); INSERT INTO item (name) VALUES ('a;b')")
    with pytest.raises(errors.UsageError, match="COMMIT"):
        await either.run("INSERT INTO item (name) VALUES ('c'); COMMIT")
    assert await either.rows("SELECT name FROM item") == [("a;b",)]


def test_scripts_are_split_outside_strings_and_triggers() -> None:
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; SELECT 2; END;"
    assert [piece.strip() for piece in split_script(f"SELECT ';';{trigger} SELECT 3")] == [
        "SELECT ';';",
        trigger,
        "SELECT 3",
    ]


@pytest.mark.parametrize(
    ("sql", "route"),
    [
        ("SELECT 1", Route.READ),
        ("EXPLAIN DELETE FROM item", Route.READ),
        ("WITH a(b) AS (SELECT replace('x', 'y', 'z')) SELECT zeroblob(b) FROM a", Route.READ),
        ("WITH a AS (SELECT 1) DELETE FROM item", Route.WRITE),
        ("PRAGMA table_info(item)", Route.READ),
        ("PRAGMA main.user_version", Route.READ),
        ("PRAGMA user_version = 3", Route.ALONE),
        ("PRAGMA foreign_keys(off)", Route.ALONE),
        ("-- note\nreplace into item values (1)", Route.WRITE),
        ("CREATE TABLE a (b)", Route.WRITE),
        ("CREATE TEMP TABLE a (b)", Route.ALONE),
        ("VACUUM", Route.ALONE),
        ("ATTACH 'x' AS y", Route.ALONE),
        ("ROLLBACK TO a", Route.CONTROL),
        ("something new", Route.ALONE),
    ],
)
def test_each_statement_knows_where_it_runs(sql: str, route: Route) -> None:
    assert SQLiteStatements().get(sql).route is route


async def test_stream_yields_batches(either: Database) -> None:
    async with either.connection() as connection:
        await connection.bulk_insert("item", ["name", "amount"], ((f"n{number}", number) for number in range(2500)))
        statement, args = either.adapter.bind(
            "SELECT amount FROM item WHERE amount >= :least ORDER BY amount", {"least": 10}
        )
        sizes: list[int] = []
        seen: list[int] = []
        async for shape, rows in connection.stream(statement, args, 1000):
            assert shape.columns == ("amount",)
            sizes.append(len(rows))
            seen.extend(row[0] for row in rows)
        assert sizes == [1000, 1000, 490]
        assert seen == list(range(10, 2500))
        changing, _ = either.adapter.bind("UPDATE item SET amount = amount + 1 RETURNING id", None)
        assert sum([len(rows) async for _, rows in connection.stream(changing, (), 1000)]) == 2500
        broken, _ = either.adapter.bind("SELECT nothing FROM item", None)
        with pytest.raises(errors.StatementSyntaxError):
            async for _ in connection.stream(broken, (), 10):
                pass
    async with either.transaction() as transaction:
        await transaction.run("DELETE FROM item WHERE amount > 1500")
        total = 0
        async for _, rows in transaction.connection.stream(statement, [10], 100):
            total += len(rows)
            await transaction.run("UPDATE item SET name = name || '!' WHERE id = 1")
        assert total == 1491


async def test_a_stream_keeps_little_in_memory_and_its_reader_comes_back(database: Database) -> None:
    sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x, zeroblob(100000) FROM n"
    statement, args = database.adapter.bind(sql, None)
    async with database.connection() as connection:
        rows_seen = 0
        stream = connection.stream(statement, args, 10)
        async for _, rows in stream:
            assert len(rows) == 10
            rows_seen += len(rows)
            if rows_seen == 500:
                break
        assert database.source.stats().leased == 1
        await stream.aclose()  # type: ignore[attr-defined]
    assert database.source.stats().leased == 0


async def test_settings_and_temporary_tables_do_not_outlive_their_transaction(either: Database) -> None:
    await either.run("PRAGMA foreign_keys = off")
    assert await either.value("PRAGMA foreign_key_check") is None
    await either.run("CREATE TABLE part (item INTEGER REFERENCES item)")
    with pytest.raises(errors.ForeignKeyViolationError):
        await either.run("INSERT INTO part VALUES (99)")
    async with either.transaction() as transaction:
        await transaction.run("CREATE TEMP TABLE scratch (a)")
        await transaction.run("INSERT INTO scratch VALUES (1)")
        assert await transaction.value("SELECT count(*) FROM scratch") == 1
        await transaction.run("PRAGMA recursive_triggers = on")
    async with either.transaction() as transaction:
        assert await transaction.value("PRAGMA recursive_triggers") == 0
        with pytest.raises(errors.StatementSyntaxError, match="no such table"):
            await transaction.run("SELECT * FROM scratch")
    await either.run("PRAGMA user_version = 7")
    assert await either.value("PRAGMA user_version") == 7


async def test_vacuum_and_analyze(either: Database) -> None:
    await either.run("INSERT INTO item (name) VALUES ('a')")
    await either.run("VACUUM")
    await either.run("ANALYZE")
    async with either.transaction() as transaction:
        with pytest.raises(errors.UnknownStatementError, match="VACUUM"):
            await transaction.run("VACUUM")
    assert await either.value("SELECT name FROM item") == "a"


async def test_probe_says_what_it_can_do(either: Database) -> None:
    async with either.connection() as connection:
        status = await connection.probe()
        await connection.ping()
    assert status.version == sqlite3.sqlite_version
    assert (status.role, status.read_only) == (NodeRole.PRIMARY, False)
    assert status.capabilities.has(Capability.RETURNING)
    assert not status.capabilities.has(Capability.NAN)
    assert sqlite3.sqlite_version in status.capabilities.engine


async def test_the_adapter_alone(tmp_path: Path) -> None:
    adapter: SQLiteAdapter = Database(tmp_path / "alone.db").adapter
    raw = await adapter.connect()
    assert isinstance(raw, sqlite3.Connection)
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert raw.execute("PRAGMA foreign_keys").fetchone() == (1,)
    raw.close()
    await adapter.execute_query("CREATE TABLE a (b)")
    transaction = await adapter.begin_transaction()
    statement, args = adapter.bind("INSERT INTO a VALUES (:b)", {"b": 1})
    await transaction.run(statement, args)
    assert isinstance(transaction.raw, sqlite3.Connection)
    await transaction.commit()
    await transaction.close()
    assert (await adapter.execute_query("SELECT b FROM a")).rows == [(1,)]
    await adapter.close()
    await adapter.close()


async def test_a_released_view_is_not_released_twice(open_database: OpenDatabase) -> None:
    database = await open_database()
    connection = await database.source.acquire_connection()
    database.source.release_connection(connection)
    with pytest.raises(errors.UsageError, match="twice"):
        database.source.release_connection(connection)
    assert database.source.figures().leased == 0
