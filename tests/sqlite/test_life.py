"""Opening, closing, leaving and being killed."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.sqlite.databases import ENDLESS, ENDLESS_WRITE, Database, OpenDatabase

from sillar import errors
from sillar.engines.connection import TransactionOptions

INSERT = "INSERT INTO item (name, amount) VALUES (:name, :amount)"


LEAVER = """
import asyncio, sys
from sillar.config import SQLiteConfig
from sillar.engines.sqlite import SQLiteAdapter

async def main():
    adapter = SQLiteAdapter(SQLiteConfig(database=sys.argv[1]))
    await adapter.execute_query("CREATE TABLE kept (a)")
    await adapter.execute_query("INSERT INTO kept VALUES (1)")
    transaction = await adapter.begin_transaction()
    statement, args = adapter.bind("INSERT INTO kept VALUES (2)", None)
    await transaction.run(statement, args)
    statement, args = adapter.bind(sys.argv[2], None)
    endless = asyncio.create_task((await adapter.open_connection()).run(statement, args))
    await asyncio.sleep(0.1)
    print("leaving", flush=True)

asyncio.run(main())
"""


async def test_close_waits_for_transactions_and_then_ends_them(open_database: OpenDatabase, tmp_path: Path) -> None:
    database = await open_database()
    entered = asyncio.Event()

    async def short() -> None:
        async with database.transaction() as transaction:
            entered.set()
            await asyncio.sleep(0.05)
            raise_if_closed: Any = await asyncio.gather(
                transaction.run(INSERT, {"name": "a", "amount": 1}), return_exceptions=True
            )
            outcome.extend(raise_if_closed)

    outcome: list[Any] = []
    task = asyncio.create_task(short())
    await asyncio.wait_for(entered.wait(), 20)
    closing = asyncio.create_task(database.source.close(5))
    await asyncio.sleep(0.01)
    with pytest.raises(errors.PoolClosedError, match="closing"):
        await database.run("SELECT 1")
    await task
    await closing
    assert outcome[0].rows_affected == 1
    assert not list(tmp_path.glob("*-wal"))
    with pytest.raises(errors.PoolClosedError, match="not open"):
        await database.run("SELECT 1")
    await database.source.open()
    assert await database.value("SELECT count(*) FROM item") == 1


async def test_close_does_not_wait_for_ever(open_database: OpenDatabase) -> None:
    database = await open_database()
    connection = await database.source.acquire_connection()
    await connection.begin()
    statement, args = database.adapter.bind(INSERT, {"name": "never", "amount": 1})
    await connection.run(statement, args)
    endless = [asyncio.create_task(database.run(sql)) for sql in (ENDLESS, ENDLESS_WRITE)]
    streaming, _ = database.adapter.bind(ENDLESS.replace("count(*)", "x"), None)
    reader = await database.source.acquire_connection()
    stream = reader.stream(streaming, (), 10)
    await anext(stream)
    await asyncio.sleep(0.02)
    started = time.monotonic()
    await database.source.close(0.1)
    assert time.monotonic() - started < 3
    outcomes = await asyncio.gather(*endless, return_exceptions=True)
    assert all(isinstance(outcome, errors.DatabaseError) for outcome in outcomes)
    assert connection.is_closed()
    with pytest.raises(errors.PoolClosedError):
        await connection.commit()
    await stream.aclose()  # type: ignore[attr-defined]
    await database.source.open()
    assert await database.value("SELECT count(*) FROM item") == 0


@pytest.mark.parametrize("sql", [ENDLESS, "SELECT 1"])
async def test_exit_with_open_sessions_does_not_hang(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "left.db"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAVER, str(path), sql, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, complaints = await process.communicate()
    assert output == b"leaving\n"
    assert process.returncode == 0, complaints.decode()
    database = Database(path)
    await database.source.open()
    assert await database.rows("SELECT a FROM kept") == [(1,)]
    await database.adapter.close()


async def test_health_does_not_queue_behind_transactions(database: Database) -> None:
    async with database.transaction():
        health = await database.source.health_check()
        assert health.healthy
        assert health.leased == 1
        assert health.oldest_lease_seconds > 0
    assert database.source.stats().leased == 0
    await database.source.close()
    assert not (await database.source.health_check()).healthy


async def test_acknowledged_rows_survive_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "killed.db"
    script = """
import asyncio, sys
from sillar.config import SQLiteConfig
from sillar.engines.sqlite import SQLiteAdapter

async def main():
    adapter = SQLiteAdapter(SQLiteConfig(database=sys.argv[1]))
    await adapter.execute_query("CREATE TABLE kept (a INTEGER PRIMARY KEY)")

    async def insert(number):
        await adapter.execute_query("INSERT INTO kept VALUES (:number)", {"number": number})
        print(number, flush=True)

    for block in range(1000):
        await asyncio.gather(*(insert(block * 50 + number) for number in range(50)))

asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(path), stdout=subprocess.PIPE)
    assert process.stdout is not None
    seen = [int(await process.stdout.readline()) for _ in range(500)]
    process.kill()
    seen += [int(line) for line in (await process.stdout.read()).split(b"\n")[:-1]]
    await process.wait()
    database = Database(path)
    await database.source.open()
    stored = {number for (number,) in await database.rows("SELECT a FROM kept")}
    assert set(seen) <= stored
    assert await database.value("PRAGMA integrity_check") == "ok"
    await database.adapter.close()


async def test_a_source_is_not_pickled_and_says_little(database: Database) -> None:
    with pytest.raises(errors.UsageError, match="pickled"):
        pickle.dumps(database.source)
    assert "main.db" in repr(database.source)


async def test_a_read_only_transaction_in_a_closed_source(open_database: OpenDatabase) -> None:
    database = await open_database()
    connection = await database.source.acquire_connection()
    await database.source.close()
    with pytest.raises(errors.PoolClosedError):
        await connection.begin(TransactionOptions(read_only=True))
    with pytest.raises(errors.PoolClosedError):
        await connection.begin()
    connection.terminate()
    assert connection.is_closed()
