"""Proven single-row lookups run on the event loop, bounded and measured."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

from tests.sqlite.databases import Database, OpenDatabase

from sillar.engines.connection import TransactionOptions

INSERT = "INSERT INTO item (name, amount) VALUES (:name, :amount)"
READ_ONLY = TransactionOptions(read_only=True)


async def proven(database: Database, sql: str, params: Any) -> None:
    """Return once a thread has found the proof that this is a lookup; it looks for it after its reply."""
    statement, _ = database.adapter.bind(sql, params)
    async with asyncio.timeout(20):
        while statement.lookup_generation != database.source.proofs.generation:
            await asyncio.sleep(0.001)


async def test_proven_lookups_run_on_the_loop(database: Database) -> None:
    await database.run("CREATE TABLE pair (a, b, c, PRIMARY KEY (a, b)) WITHOUT ROWID")
    await database.run("CREATE TABLE many (id INTEGER PRIMARY KEY, n, twice AS (n * 2) VIRTUAL)")
    await database.run("CREATE INDEX many_n ON many (n)")
    await database.run("CREATE VIEW seen AS SELECT id, printf('%s', name) AS name FROM item")
    await database.run(INSERT, {"name": "a", "amount": 1})
    await database.run("INSERT INTO pair VALUES (1, 2, 3)")
    lookups = {
        "SELECT * FROM item WHERE id = :id": {"id": 1},
        "select i.name as n, i.amount from main.item AS i where i.name = :name": {"name": "a"},
        'SELECT "name" FROM "item" WHERE "id" = :id AND amount = 1 LIMIT 1': {"id": 1},
        "SELECT c FROM pair WHERE b = :b AND a = :a": {"a": 1, "b": 2},
    }
    no_lookups = {
        "SELECT name FROM item WHERE id > :id": {"id": 0},
        "SELECT name FROM item WHERE id IN (:id, 2)": {"id": 1},
        "SELECT name FROM item WHERE id = :id OR id = 2": {"id": 1},
        "SELECT name FROM item WHERE amount = :id": {"id": 1},
        "SELECT name FROM item WHERE name IS :id": {"id": None},
        "SELECT max(name) FROM item WHERE id = :id": {"id": 1},
        "SELECT name FROM item, pair WHERE id = :id": {"id": 1},
        "SELECT name FROM item WHERE id = :id ORDER BY name": {"id": 1},
        "SELECT name FROM seen WHERE id = :id": {"id": 1},
        "SELECT c FROM pair WHERE a = :a": {"a": 1},
        "SELECT n FROM many WHERE n = :n": {"n": 1},
        "SELECT twice FROM many WHERE id = :n": {"n": 1},
    }
    for sql, params in (*lookups.items(), *no_lookups.items()):
        first = await database.rows(sql, params)
        if sql in lookups:
            await proven(database, sql, params)
        else:
            await asyncio.sleep(0.02)
        before = database.source.figures().inline_reads
        assert await database.rows(sql, params) == first
        assert await database.row(sql, params) == (first[0] if first else None)
        assert database.source.figures().inline_reads - before == (2 if sql in lookups else 0), sql
    assert database.source.figures().lookups_proven == len(lookups)


async def test_an_inline_read_sees_every_acknowledged_write(database: Database) -> None:
    await database.run(INSERT, {"name": "a", "amount": 0})
    await prove(database)
    for amount in range(1, 200):
        await database.run("UPDATE item SET amount = :amount WHERE id = 1", {"amount": amount})
        assert await database.value("SELECT amount FROM item WHERE id = :id", {"id": 1}) == amount
    assert database.source.figures().inline_reads >= 199


async def prove(database: Database) -> None:
    sql = "SELECT amount FROM item WHERE id = :id"
    await database.value(sql, {"id": 1})
    await proven(database, sql, {"id": 1})


async def test_a_change_of_the_schema_takes_proofs_back(database: Database) -> None:
    await database.run("CREATE TABLE plain (code, text)")
    await database.run("CREATE UNIQUE INDEX plain_code ON plain (code)")
    await database.run("INSERT INTO plain VALUES (1, 'x')")
    for expected in (1, 1, 0):
        sql = "SELECT text FROM plain WHERE code = :code"
        await database.value(sql, {"code": 1})
        if expected:
            await proven(database, sql, {"code": 1})
        else:
            await asyncio.sleep(0.02)
        before = database.source.figures().inline_reads
        assert await database.value(sql, {"code": 1}) == "x"
        assert database.source.figures().inline_reads - before == expected
        if expected and before:
            await database.run("DROP INDEX plain_code")


async def test_a_slow_or_large_inline_read_moves_to_a_thread(database: Database) -> None:
    path = database.source.file.path
    await database.run("CREATE TABLE big (code, text)")
    await database.run("CREATE UNIQUE INDEX big_code ON big (code)")
    async with database.connection() as connection:
        await connection.bulk_insert("big", ["code", "text"], ((number, "x" * 50) for number in range(200_000)))
    await database.run("INSERT INTO big VALUES (-1, :text)", {"text": "y" * 3_000_000})
    sql = "SELECT text FROM big WHERE code = :code"
    await database.value(sql, {"code": 1})
    await proven(database, sql, {"code": 1})
    assert await database.value(sql, {"code": 2}) == "x" * 50
    assert database.source.figures().inline_reads == 1
    assert len(await database.value(sql, {"code": -1})) == 3_000_000
    assert database.source.figures().moved_reads == 1
    other = sqlite3.connect(path)  # as another process would
    other.execute("DROP INDEX big_code")
    other.close()
    assert await database.value(sql, {"code": 150_000}) == "x" * 50
    figures = database.source.figures()
    assert (figures.inline_reads, figures.moved_reads, figures.lookups_lost) == (1, 2, 1)
    assert 0 < figures.inline_seconds_longest < 0.5
    assert await database.value(sql, {"code": 150_001}) == "x" * 50
    assert database.source.figures().moved_reads == 2


async def test_inline_reads_let_other_tasks_run(database: Database) -> None:
    await database.run(INSERT, {"name": "a", "amount": 0})
    await prove(database)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(2000):
        await database.value("SELECT amount FROM item WHERE id = :id", {"id": 1})
    task.cancel()
    assert database.source.figures().inline_reads >= 2000
    assert turns > 5


async def test_inline_reads_can_be_switched_off(open_database: OpenDatabase) -> None:
    database = await open_database(inline_reads=False)
    await database.run(INSERT, {"name": "a", "amount": 5})
    for _ in range(3):
        assert await database.value("SELECT amount FROM item WHERE id = :id", {"id": 1}) == 5
        await asyncio.sleep(0.01)
    assert database.source.figures().inline_reads == 0
