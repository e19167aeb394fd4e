"""Databases for the tests of the SQLite engine, and a look at what they leave behind."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.sqlite.databases import Database, OpenDatabase

ITEMS = """
    CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, amount INTEGER NOT NULL DEFAULT 0 CHECK (amount >= 0))
"""


@pytest.fixture
async def open_database(tmp_path: Path) -> AsyncIterator[OpenDatabase]:
    """Opens databases that are closed at the end of the test; no thread of theirs may be left."""
    before = {thread for thread in threading.enumerate() if thread.name.startswith("sillar-sqlite")}
    opened: list[Database] = []

    async def open_one(path: Path | str | None = None, *, items: bool = True, **settings: Any) -> Database:
        database = Database(path or tmp_path / "main.db", **settings)
        opened.append(database)
        await database.source.open()
        if items and not settings.get("read_only"):
            await database.run(ITEMS.replace("TABLE", "TABLE IF NOT EXISTS"))
        return database

    yield open_one
    for database in opened:
        await database.adapter.close()
    left = {thread for thread in threading.enumerate() if thread.name.startswith("sillar-sqlite")} - before
    assert not left


@pytest.fixture
async def database(open_database: OpenDatabase) -> Database:
    """A file with the table ``item``."""
    return await open_database()


@pytest.fixture(params=["file", "memory"])
async def either(request: pytest.FixtureRequest, open_database: OpenDatabase) -> Database:
    """The same test on a file and in memory."""
    return await open_database(":memory:" if request.param == "memory" else None)
