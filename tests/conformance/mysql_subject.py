"""MySQL and MariaDB, as the conformance suite sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from sillar.errors import (
    CheckViolationError,
    DeadlockError,
    ForeignKeyViolationError,
    LockTimeoutError,
    NotNullViolationError,
    StatementSyntaxError,
    UniqueViolationError,
)
from sillar.testing.conformance import Command, Settings, SQLSubject, series
from sillar.testing.servers import MariaDBServer, MySQLServer, ServerCertificate


def settings_of(server: MySQLServer) -> Settings:
    return {
        "engine": "mysql",
        "host": server.host,
        "port": server.port,
        "database": server.database,
        "credentials": {"user": server.user, "password": server.password},
    }


class MySQLSubject(SQLSubject):
    types: ClassVar = {
        "integer": "INT",
        "big_integer": "BIGINT",
        "text": "LONGTEXT",
        "key_text": "VARCHAR(100)",
        "decimal": "DECIMAL(38, 10)",
        "aware_time": "TIMESTAMP(6) NULL",
        "naive_time": "DATETIME(6)",
        "date": "DATE",
        "uuid": "CHAR(36)",
        "json": "JSON",
        "bytes": "LONGBLOB",
        "float": "DOUBLE",
        "bool": "BOOLEAN",
        "list": "JSON",
    }
    names: ClassVar = {
        UniqueViolationError: frozenset({"constraint"}),
        ForeignKeyViolationError: frozenset({"constraint", "table", "column"}),
        NotNullViolationError: frozenset({"column"}),
        CheckViolationError: frozenset({"constraint"}),
        StatementSyntaxError: frozenset(),
    }
    conflict = DeadlockError
    stream_bytes_max = 60_000_000  # asyncmy has no flow control while a batch is read
    lock_error = LockTimeoutError
    # Many short naps: MySQL lets a single one end without an error when it is interrupted.
    long = f"SELECT SUM(SLEEP(0.06)) FROM ({series(3)}) AS s /* {SQLSubject.long_marker} */", None
    unknown_error = "KILL 4294967290", None

    def __init__(self, server: MySQLServer, name: str) -> None:
        self.server, self.name = server, name

    @property
    def settings(self) -> Settings:
        return settings_of(self.server)

    @property
    def impatient(self) -> Settings:
        return {**self.settings, "connection_options": {"lock_timeout": 1}}

    async def running(self) -> int:
        return sum(self.long_marker in text for _, _, text in await self._sessions())

    async def session_count(self) -> int:
        return sum(user == self.server.user for _, user, _ in await self._sessions())

    async def end_sessions(self) -> None:
        for number, user, _ in await self._sessions():
            if user == self.server.user:
                await self.server.execute_as_superuser(f"KILL {number}")

    async def _sessions(self) -> list[tuple[int, str, str]]:
        """Id, user and the text of what runs now, of every session."""
        schema = "information_schema" if isinstance(self.server, MariaDBServer) else "performance_schema"
        rows = await self.server.execute_as_superuser(f"SELECT id, user, command, info FROM {schema}.processlist")
        return [(row[0], row[1], str(row[3]) if row[2] in ("Query", "Execute") else "") for row in rows]

    @asynccontextmanager
    async def crowded(self) -> AsyncIterator[Settings]:
        async with type(self.server)(settings={"max-connections": "10"}) as server:
            # One place more is kept for an administrator: it is taken, too.
            held = [await server._connect() for _ in range(11)]
            try:
                yield settings_of(server)
            finally:
                for each in held:
                    each.close()

    @asynccontextmanager
    async def secured(self, certificate: ServerCertificate) -> AsyncIterator[tuple[Settings, Path]]:
        async with type(self.server)(tls=certificate) as server:
            assert server.ca_file is not None
            yield settings_of(server), server.ca_file

    @asynccontextmanager
    async def full(self) -> AsyncIterator[tuple[Settings, list[Command]]]:
        """A table in memory, whose space the server bounds."""
        settings = {**self.settings, "connection_options": {"init_command": "SET max_heap_table_size = 16384"}}
        rows = ", ".join(["(REPEAT('x', 1000))"] * 100)
        yield (
            settings,
            [
                ("DROP TABLE IF EXISTS filled", None),
                ("CREATE TABLE filled (content VARCHAR(1000)) ENGINE = MEMORY", None),
                (f"INSERT INTO filled VALUES {rows}", None),
            ],
        )
