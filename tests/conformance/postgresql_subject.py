"""PostgreSQL, as the conformance suite sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from sillar.errors import (
    CheckViolationError,
    ForeignKeyViolationError,
    LockTimeoutError,
    NotNullViolationError,
    SerializationError,
    StatementSyntaxError,
    UniqueViolationError,
)
from sillar.testing.conformance import Command, Settings, SQLSubject
from sillar.testing.servers import PostgreSQLServer, ServerCertificate


def settings_of(server: PostgreSQLServer) -> Settings:
    return {
        "engine": "postgresql",
        "host": server.host,
        "port": server.port,
        "database": server.database,
        "credentials": {"user": server.user, "password": server.password},
    }


class PostgreSQLSubject(SQLSubject):
    types: ClassVar = {
        "integer": "int",
        "big_integer": "bigint",
        "text": "text",
        "key_text": "varchar(100)",
        "decimal": "numeric(38, 10)",
        "aware_time": "timestamptz",
        "naive_time": "timestamp",
        "date": "date",
        "uuid": "uuid",
        "json": "jsonb",
        "bytes": "bytea",
        "float": "double precision",
        "bool": "boolean",
        "list": "text[]",
    }
    names: ClassVar = {
        UniqueViolationError: frozenset({"constraint", "table"}),
        ForeignKeyViolationError: frozenset({"constraint", "table"}),
        NotNullViolationError: frozenset({"table", "column"}),
        CheckViolationError: frozenset({"constraint", "table"}),
        StatementSyntaxError: frozenset({"position"}),
    }
    conflict = SerializationError
    lock_error = LockTimeoutError
    long = f"SELECT pg_sleep(60) /* {SQLSubject.long_marker} */", None
    unknown_error = "SELECT pg_read_file(:path)", {"path": "/etc/hostname"}

    def __init__(self, server: PostgreSQLServer, name: str) -> None:
        self.server, self.name = server, name

    @property
    def settings(self) -> Settings:
        return settings_of(self.server)

    @property
    def impatient(self) -> Settings:
        return {**self.settings, "connection_options": {"lock_timeout": 0.3}}

    async def running(self) -> int:
        rows = await self.server.execute_as_superuser(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()"
            f" AND query LIKE '%{self.long_marker}%'"
        )
        return int(rows[0][0])

    async def session_count(self) -> int:
        rows = await self.server.execute_as_superuser(
            f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{self.server.user}'"
        )
        return int(rows[0][0])

    async def end_sessions(self) -> None:
        await self.server.execute_as_superuser(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{self.server.user}'"
        )

    @asynccontextmanager
    async def crowded(self) -> AsyncIterator[Settings]:
        few = {
            "max_connections": "1",
            "superuser_reserved_connections": "0",
            "max_wal_senders": "0",
            "wal_level": "minimal",
        }
        async with PostgreSQLServer(self.server.major, settings=few) as server:
            holder = await server._connect()
            try:
                yield settings_of(server)
            finally:
                await holder.close()

    @asynccontextmanager
    async def secured(self, certificate: ServerCertificate) -> AsyncIterator[tuple[Settings, Path]]:
        async with PostgreSQLServer(self.server.major, tls=certificate) as server:
            assert server.ca_file is not None
            yield settings_of(server), server.ca_file

    @asynccontextmanager
    async def full(self) -> AsyncIterator[tuple[Settings, list[Command]]]:
        """The kernel's own full device: the server's write fails with ENOSPC."""
        login = {"user": self.server.superuser, "password": self.server.superuser_password}
        yield {**self.settings, "credentials": login}, [("COPY (SELECT 1) TO '/dev/full'", None)]
