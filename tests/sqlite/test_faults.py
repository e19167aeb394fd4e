"""What goes wrong with files, disks and other processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.sqlite.databases import Database, OpenDatabase

from sillar import errors

INSERT = "INSERT INTO item (name, amount) VALUES (:name, :amount)"

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO item (name) VALUES ('theirs')")
print("holding", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
print("committed", flush=True)
"""

COUNTER = """
import asyncio, sys
from sillar.config import SQLiteConfig
from sillar.engines.sqlite import SQLiteAdapter

async def main():
    adapter = SQLiteAdapter(SQLiteConfig(database=sys.argv[1]))
    for _ in range(200):
        await adapter.execute_query("UPDATE item SET amount = amount + 1 WHERE id = 1")
    await adapter.close()

asyncio.run(main())
"""


class OtherProcess:
    """Another process that holds the write lock until it is told to commit."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "holding\n"

    def commit(self) -> None:
        if self.process.poll() is None:
            self.process.communicate("\n", timeout=10)


async def test_a_lock_of_another_process_times_out_and_is_waited_for(open_database: OpenDatabase) -> None:
    database = await open_database(busy_timeout=0.2)
    other = OtherProcess(database.source.file.path)
    try:
        started = time.monotonic()
        with pytest.raises(errors.LockTimeoutError, match="busy_timeout") as busy:
            await database.run(INSERT, {"name": "a", "amount": 1})
        assert 0.2 <= time.monotonic() - started < 2
        assert busy.value.safe_to_retry
        with pytest.raises(errors.LockTimeoutError):
            async with database.transaction():
                pass
        assert await database.value("SELECT count(*) FROM item") == 0  # readers do not wait
        async with database.connection() as connection:
            assert not (await connection.probe()).read_only
    finally:
        other.commit()
    await database.run(INSERT, {"name": "a", "amount": 1})
    assert await database.value("SELECT count(*) FROM item") == 2


async def test_whoever_waits_for_another_process_can_be_cancelled_or_runs_afterwards(database: Database) -> None:
    other = OtherProcess(database.source.file.path)
    try:
        waiting = asyncio.create_task(database.run(INSERT, {"name": "a", "amount": 1}))
        leaving = asyncio.create_task(database.run(INSERT, {"name": "b", "amount": 1}))
        with pytest.raises(errors.StatementTimeoutError):
            await database.run(INSERT, {"name": "c", "amount": 1}, 0.1)
        leaving.cancel()
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert time.monotonic() - started < 0.5
        assert not waiting.done()
    finally:
        other.commit()
    await waiting
    assert {name for (name,) in await database.rows("SELECT name FROM item")} == {"theirs", "a"}


async def test_two_processes_lose_no_update(database: Database) -> None:
    await database.run(INSERT, {"name": "counter", "amount": 0})
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", COUNTER, str(database.source.file.path))
    for _ in range(200):
        await database.run("UPDATE item SET amount = amount + 1 WHERE id = 1")
    assert await asyncio.wait_for(process.wait(), 120) == 0
    assert await database.value("SELECT amount FROM item WHERE id = 1") == 400


async def test_a_full_disk_fails_those_who_write_and_nobody_else(either: Database) -> None:
    await either.run(INSERT, {"name": "a", "amount": 1})

    async with either.transaction() as transaction:  # a limit of this connection, restored at the end
        pages = await transaction.value("PRAGMA page_count")
        await transaction.run(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(errors.DiskFullError, match="no space left"):
            await transaction.run("UPDATE item SET name = CAST(zeroblob(1000000) AS TEXT)")
        transaction.connection.dirty = True
        with pytest.raises(errors.UnknownStatementError):
            for number in range(10):
                await transaction.run(INSERT, {"name": f"n{number}", "amount": 1})
            raise errors.UnknownStatementError("SQLite undid the statement alone")
    assert await either.value("SELECT count(*) FROM item") >= 1


async def test_a_full_disk_in_a_batch(open_database: OpenDatabase) -> None:
    database = await open_database()
    await database.run("CREATE TABLE fat (data)")
    for sql in (INSERT, "INSERT INTO fat VALUES (zeroblob(:size))"):
        statement = database.adapter.bind(sql, {"name": "", "amount": 0} if sql == INSERT else {"size": 1})[0]
        statement.seconds_longest = 0.0001
    pages = await database.value("PRAGMA page_count")
    database.source.writer.connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    outcomes = await asyncio.gather(
        *(database.run(INSERT, {"name": f"a{number}", "amount": 1}) for number in range(5)),
        database.run("INSERT INTO fat VALUES (zeroblob(:size))", {"size": 1_000_000}),
        *(database.run(INSERT, {"name": f"b{number}", "amount": 1}) for number in range(5)),
        return_exceptions=True,
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["Reply"] * 5 + ["DiskFullError"] + ["Reply"] * 5
    assert await database.value("SELECT count(*) FROM item") == 10
    assert await database.value("SELECT count(*) FROM fat") == 0


async def test_a_read_only_configuration_refuses_writes(open_database: OpenDatabase) -> None:
    writable = await open_database()
    await writable.run(INSERT, {"name": "a", "amount": 1})
    database = await open_database(read_only=True)
    assert await database.value("SELECT name FROM item") == "a"
    with pytest.raises(errors.ReadOnlyError):
        await database.run(INSERT, {"name": "b", "amount": 1})
    with pytest.raises(errors.ReadOnlyError):
        async with database.transaction() as transaction:
            await transaction.run(INSERT, {"name": "b", "amount": 1})
    async with database.connection() as connection:
        assert (await connection.probe()).read_only


async def test_a_file_that_cannot_be_written(open_database: OpenDatabase) -> None:
    writable = await open_database(journal_mode="delete")
    await writable.run(INSERT, {"name": "a", "amount": 1})
    uri = f"{writable.source.file.path.as_uri()}?mode=ro"
    database = await open_database(uri, items=False)
    with pytest.raises(errors.ReadOnlyError):
        await database.run(INSERT, {"name": "b", "amount": 1})
    assert await database.value("SELECT name FROM item") == "a"
    async with database.connection() as connection:
        assert (await connection.probe()).read_only


async def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    async def refused(path: Path) -> errors.ConnectError:
        database = Database(path)
        with pytest.raises(errors.ConnectError) as error:
            await database.source.open()
        assert error.value.node == str(path)
        with pytest.raises(errors.PoolClosedError):
            await database.source.acquire_connection()
        assert database.source.try_acquire() is None
        await database.adapter.close()
        return error.value

    missing = await refused(tmp_path / "nowhere" / "main.db")
    assert isinstance(missing, errors.UnknownDatabaseError)
    assert str(tmp_path / "nowhere") in str(missing)
    folder = await refused(tmp_path)
    assert "is a folder" in str(folder)
    text = tmp_path / "text.db"
    text.write_text("no database at all, but long enough to look like one " * 100)
    assert isinstance(await refused(text), errors.UnknownDatabaseError)
    with pytest.raises(errors.UnknownDatabaseError):
        await Database(text).adapter.connect()


async def test_a_damaged_file_is_named(open_database: OpenDatabase, tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    database = await open_database(path)
    async with database.connection() as connection:
        await connection.bulk_insert("item", ["name"], ((f"name {number}" * 5,) for number in range(5000)))
    await database.adapter.close()
    with path.open("r+b") as file:
        for page in range(3, 60):
            file.seek(page * 4096)
            file.write(b"\xde\xad" * 2048)
    database = await open_database(path, items=False)
    with pytest.raises(errors.UnknownStatementError, match="backup") as damaged:
        await database.rows("SELECT sum(length(name)) FROM item")
    assert str(damaged.value.code).startswith("SQLITE_CORRUPT")
    with pytest.raises(errors.UnknownDatabaseError, match="damaged"):
        await database.source.backup(tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))
