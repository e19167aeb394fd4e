"""SQLite, in a file and in memory, as the conformance suite sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar

from sillar.errors import (
    CheckViolationError,
    ForeignKeyViolationError,
    NotNullViolationError,
    PoolTimeoutError,
    StatementSyntaxError,
    UniqueViolationError,
)
from sillar.testing.conformance import Command, Settings, SQLSubject


class SQLiteSubject(SQLSubject):
    types: ClassVar = {
        "integer": "INTEGER",
        "big_integer": "INTEGER",
        "text": "TEXT",
        "key_text": "TEXT",
        "decimal": "TEXT",
        "aware_time": "TEXT",
        "naive_time": "TEXT",
        "date": "TEXT",
        "uuid": "TEXT",
        "json": "TEXT",
        "bytes": "BLOB",
        "float": "REAL",
        "bool": "INTEGER",
        "list": "TEXT",
    }
    names: ClassVar = {
        UniqueViolationError: frozenset({"table", "column"}),
        ForeignKeyViolationError: frozenset(),
        NotNullViolationError: frozenset({"table", "column"}),
        CheckViolationError: frozenset({"constraint"}),
        StatementSyntaxError: frozenset({"position"}),
    }
    conflict = None
    bounds_text = False
    lock_error = PoolTimeoutError
    long = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        f" SELECT count(*) FROM n /* {SQLSubject.long_marker} */",
        None,
    )
    unknown_error = "SELECT load_extension(:name)", {"name": "nothing"}

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name
        self.buffers_streams = self.serves_one_at_a_time = path == ":memory:"

    @property
    def settings(self) -> Settings:
        return {"engine": "sqlite", "database": self.path}

    @property
    def impatient(self) -> Settings:
        return {**self.settings, "pool": {"connection_timeout": 0.3}}

    @asynccontextmanager
    async def full(self) -> AsyncIterator[tuple[Settings, list[Command]]]:
        yield (
            self.settings,
            [
                ("CREATE TABLE filled (content BLOB)", None),
                ("PRAGMA max_page_count = 1", None),
                ("INSERT INTO filled VALUES (zeroblob(10000000))", None),
            ],
        )
