"""SQLite, in a file and in memory, as the conformance suite sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
    types = {
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
    names = {
        UniqueViolationError: frozenset({"table", "column"}),
        ForeignKeyViolationError: frozenset(),
        NotNullViolationError: frozenset({"table", "column"}),
        CheckViolationError: frozenset({"constraint"}),
        StatementSyntaxError: frozenset({"position"}),
    }
    conflict = None
    lock_error = PoolTimeoutError
    long = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        f" SELECT count(*) FROM n /* {SQLSubject.long_marker} */",
        None,
    )
    unknown_error = "SELECT abs(:least)", {"least": -(2**63)}

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name

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
                ("PRAGMA max_page_count = 1; INSERT INTO filled VALUES (zeroblob(10000000))", None),
            ],
        )
