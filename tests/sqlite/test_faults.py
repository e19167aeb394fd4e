"""What goes wrong with files, disks, other processes and shutdowns; backup and restore."""

from __future__ import annotations

import asyncio
import pickle
import sqlite3
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
    assert await process.wait() == 0
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


@pytest.mark.parametrize("journal_mode", ["delete", "truncate", "memory"])
async def test_without_a_write_ahead_log(open_database: OpenDatabase, journal_mode: str, tmp_path: Path) -> None:
    database = await open_database(journal_mode=journal_mode)
    assert await database.value("SELECT 1") == 1

    async def write(number: int) -> None:
        await database.run(INSERT, {"name": f"n{number}", "amount": number})
        assert await database.value("SELECT amount FROM item WHERE name = :name", {"name": f"n{number}"}) == number

    await asyncio.gather(*(write(number) for number in range(200)))
    await database.source.backup(tmp_path / "copy.db")
    assert count_items(tmp_path / "copy.db") == 200


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


# --- backup and restore ---------------------------------------------------------------------------------------------


def count_items(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        count: int = connection.execute("SELECT count(*) FROM item").fetchone()[0]
        total = connection.execute("SELECT count(*) FROM pair").fetchone()[0] if has_pairs(connection) else count
        assert total == count
        return count
    finally:
        connection.close()


def has_pairs(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'pair'").fetchone() is not None


async def test_backup_under_load_is_one_consistent_state(database: Database, tmp_path: Path) -> None:
    await database.run("CREATE TABLE pair (name TEXT)")
    async with database.connection() as connection:
        await connection.bulk_insert("item", ["name"], ((f"old {number} {'x' * 200}",) for number in range(20_000)))
        await connection.bulk_insert("pair", ["name"], ((f"old {number}",) for number in range(20_000)))
    written = 0
    stop = False

    async def load() -> None:
        nonlocal written
        while not stop:
            async with database.transaction() as transaction:
                await transaction.run(INSERT, {"name": f"new {written}", "amount": 1})
                await transaction.run("INSERT INTO pair VALUES (:name)", {"name": f"new {written}"})
            written += 1

    loading = asyncio.create_task(load())
    steps: list[tuple[int, int]] = []
    while written < 5:
        await asyncio.sleep(0.001)
    before = written
    await database.source.backup(tmp_path / "copy.db", progress=lambda left, pages: steps.append((left, pages)))
    during = written - before
    stop = True
    await loading
    assert during > 0, "writers wait for the backup"
    assert len(steps) > 3
    assert steps[-1][0] == 0
    count = count_items(tmp_path / "copy.db")
    assert 20_000 + before <= count <= 20_000 + written
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]
    assert database.source.stats().leased == 0


async def test_backup_and_restore(either: Database, tmp_path: Path) -> None:
    await either.run(INSERT, {"name": "kept", "amount": 1})
    copy = tmp_path / "copy.db"
    await either.source.backup(copy)
    assert count_items(copy) == 1
    await either.run("DELETE FROM item")
    await either.run("CREATE TABLE later (a)")
    await either.value("SELECT name FROM item WHERE id = :id", {"id": 1})
    work = asyncio.gather(*(either.run("SELECT count(*) FROM item") for _ in range(20)))
    await either.source.restore(copy)
    assert {reply.rows[0][0] for reply in await work} <= {0, 1}
    assert await either.value("SELECT name FROM item WHERE id = :id", {"id": 1}) == "kept"
    with pytest.raises(errors.StatementSyntaxError):
        await either.run("SELECT * FROM later")
    await either.run(INSERT, {"name": "more", "amount": 1})
    if not either.source.file.in_memory:
        assert await either.value("PRAGMA journal_mode") == "wal"
    assert await either.value("PRAGMA integrity_check") == "ok"


async def test_a_bad_backup_changes_nothing(either: Database, tmp_path: Path) -> None:
    await either.run(INSERT, {"name": "kept", "amount": 1})
    text = tmp_path / "text.db"
    text.write_text("not a database " * 500)
    for path in (text, tmp_path / "absent.db"):
        with pytest.raises(errors.UnknownDatabaseError, match=path.name):
            await either.source.restore(path)
    with pytest.raises(errors.ConnectError, match="folder"):
        await either.source.backup(tmp_path / "nowhere" / "copy.db")
    assert await either.value("SELECT name FROM item") == "kept"


async def test_a_cancelled_backup_leaves_no_file(database: Database, tmp_path: Path) -> None:
    async with database.connection() as connection:
        await connection.bulk_insert("item", ["name"], ((f"{number} {'x' * 400}",) for number in range(30_000)))
    copy = tmp_path / "copy.db"
    copy.write_text("what stood here")
    task: asyncio.Task[None]
    loop = asyncio.get_running_loop()
    reached = asyncio.Event()

    def slowly(left: int, pages: int) -> None:
        loop.call_soon_threadsafe(reached.set)
        time.sleep(0.01)

    task = asyncio.create_task(database.source.backup(copy, progress=slowly))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while database.source.stats().leased or list(tmp_path.glob("*.partial")):
        await asyncio.sleep(0.01)
    assert copy.read_text() == "what stood here"


# --- life -----------------------------------------------------------------------------------------------------------


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
    await entered.wait()
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
    async with asyncio.timeout(20):
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
