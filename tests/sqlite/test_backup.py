"""Online backup and restore."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from tests.sqlite.databases import Database, OpenDatabase

from sillar import errors

INSERT = "INSERT INTO item (name, amount) VALUES (:name, :amount)"


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
    async with asyncio.timeout(20):
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
    await asyncio.wait_for(reached.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(20):
        while database.source.stats().leased or list(tmp_path.glob("*.partial")):
            await asyncio.sleep(0.01)
    assert copy.read_text() == "what stood here"


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
