"""SQLite against aiosqlite, on files of their own with the same settings."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite

from bench.case import SILLAR, Case, Contest
from bench.micro.postgresql import GET, INSERT, ROWS, Item, concurrent, sillar_get, sillar_insert
from bench.servers import Servers
from sillar import DatabaseManager

AIOSQLITE = "aiosqlite"
TABLES = (
    "CREATE TABLE bench_item (id INTEGER PRIMARY KEY, name TEXT, qty INTEGER, note TEXT)",
    "CREATE TABLE bench_new (id INTEGER PRIMARY KEY, name TEXT, qty INTEGER, note TEXT)",
)


@asynccontextmanager
async def field() -> AsyncIterator[tuple[DatabaseManager, aiosqlite.Connection]]:
    rows = [(number, f"n{number}", number % 100, "x" * 50) for number in range(1, ROWS + 1)]
    with tempfile.TemporaryDirectory(prefix="sillar-bench-") as folder:
        async with (
            DatabaseManager.from_url(f"sqlite:///{Path(folder) / 'ours.db'}") as manager,
            aiosqlite.connect(Path(folder) / "theirs.db", isolation_level=None) as theirs,
        ):
            await theirs.execute("PRAGMA journal_mode = WAL")
            await theirs.execute("PRAGMA synchronous = NORMAL")
            for table in TABLES:
                await manager.session().execute(table)
                await theirs.execute(table)
            await manager.session().bulk_insert("bench_item", ["id", "name", "qty", "note"], rows)
            await theirs.execute("BEGIN")
            await theirs.executemany("INSERT INTO bench_item VALUES (?, ?, ?, ?)", rows)
            await theirs.execute("COMMIT")
            yield manager, theirs


async def aiosqlite_get(connection: aiosqlite.Connection, key: int) -> Item | None:
    async with connection.execute(GET.format("?"), (key,)) as cursor:
        row = await cursor.fetchone()
        return None if row is None else Item(*row)


async def aiosqlite_insert(connection: aiosqlite.Connection, key: int) -> None:
    await connection.execute(INSERT.format("?", "?", "?"), (f"n{key}", key, "x" * 50))


@asynccontextmanager
async def contest(servers: Servers, ours: Any, theirs: Any, count: int) -> AsyncIterator[Contest]:
    async with field() as (manager, connection):
        yield Contest(
            count,
            {
                SILLAR: lambda: concurrent(partial(ours, manager), count, tasks=50),
                AIOSQLITE: lambda: concurrent(partial(theirs, connection), count, tasks=50),
            },
        )


CASES = [
    Case("sqlite.get.50tasks", {AIOSQLITE: 7.0}, partial(contest, ours=sillar_get, theirs=aiosqlite_get, count=5000)),
    Case(
        "sqlite.insert.50tasks",
        {AIOSQLITE: 3.0},
        partial(contest, ours=sillar_insert, theirs=aiosqlite_insert, count=3000),
    ),
]
