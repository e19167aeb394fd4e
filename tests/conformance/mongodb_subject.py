"""MongoDB (or its stand-in), as the conformance suite sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from pymongo import AsyncMongoClient

from sillar import DatabaseSession, DocumentCommand
from sillar.testing.conformance import Command, ConformanceSubject, Settings
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import MongoDBServer, ServerCertificate

# Each stage reads the collection once for every document of the one above: far longer than any test lasts.
_INNER: list[dict[str, Any]] = [{"$match": {"$expr": {"$gt": [{"$add": ["$number", "$$c"]}, "$$a"]}}}]
_MIDDLE: list[dict[str, Any]] = [
    {"$lookup": {"from": "conformance_busy", "let": {"c": "$number"}, "as": "d", "pipeline": _INNER}},
    {"$match": {"$expr": {"$gt": [{"$size": "$d"}, "$$a"]}}},
]
_ENDLESS: list[dict[str, Any]] = [
    {"$lookup": {"from": "conformance_busy", "let": {"a": "$number"}, "as": "b", "pipeline": _MIDDLE}},
    {"$group": {"_id": None, "total": {"$sum": {"$size": "$b"}}}},
]


def settings_of(server: MongoDBServer) -> Settings:
    parts = urlsplit(server.url)
    options: dict[str, Any] = {"direct_connection": True}
    if source := parse_qs(parts.query).get("authSource"):
        options["auth_source"] = source[0]
    return {
        "engine": "mongodb",
        "host": server.host,
        "port": server.port,
        "database": server.database,
        "credentials": {"user": server.user, "password": server.password} if server.user else {},
        "connection_options": options,
    }


class MongoDBSubject(ConformanceSubject):
    creates_databases = True
    tells_crowding = False
    impatient_connecting: ClassVar = {"server_selection_timeout": 1.0}

    def __init__(self, server: MongoDBServer, name: str) -> None:
        self.server, self.name = server, name

    @property
    def settings(self) -> Settings:
        return settings_of(self.server)

    def proxied(self, proxy: FaultProxy) -> Settings:
        return {**self.settings, "host": proxy.host, "port": proxy.port}

    # --- commands ---

    def insert(self, table: str, number: int) -> Command:
        return DocumentCommand(table, "insert_one", {"document": {"id": number}}), None

    @property
    def one(self) -> Command:
        return DocumentCommand("", "command", {"command": {"ping": 1}}), None

    @property
    def long(self) -> Command:
        arguments = {"pipeline": _ENDLESS, "comment": self.long_marker}
        return DocumentCommand("conformance_busy", "aggregate", arguments), None

    async def prepare(self, session: DatabaseSession) -> None:
        if not await session.documents("conformance_busy").count():
            await session.bulk_insert("conformance_busy", ["number"], [(number,) for number in range(1500)])

    async def create(self, session: DatabaseSession, table: str) -> None:
        await self.drop(session, table)
        await session.documents(table).create_index([("id", 1)], unique=True, name="one_id")

    async def drop(self, session: DatabaseSession, table: str) -> None:
        await session.documents(table).drop()

    async def count(self, statements: Any, table: str) -> int:
        return int(await statements.documents(table).count())

    # --- from outside ---

    async def running(self) -> int:
        async with AsyncMongoClient[dict[str, Any]](self.server.url) as client:
            wanted = {"$match": {"command.comment": self.long_marker}}
            cursor = await client.admin.aggregate([{"$currentOp": {"allUsers": True}}, wanted])
            return len(await cursor.to_list())

    async def session_count(self) -> int:
        async with AsyncMongoClient[dict[str, Any]](self.server.url) as client:
            return int((await client.admin.command("serverStatus"))["connections"]["current"])

    async def end_sessions(self) -> None:
        async with AsyncMongoClient[dict[str, Any]](self.server.url) as client:
            await client.admin.command("killAllSessions", [])

    @asynccontextmanager
    async def crowded(self) -> AsyncIterator[Settings]:
        async with MongoDBServer(connections_max=5) as server:
            held = [await asyncio.open_connection(server.host, server.port) for _ in range(5)]
            try:
                settings = settings_of(server)
                yield {
                    **settings,
                    "connection_options": {**settings["connection_options"], **self.impatient_connecting},
                }
            finally:
                for _, writer in held:
                    writer.close()

    @asynccontextmanager
    async def secured(self, certificate: ServerCertificate) -> AsyncIterator[tuple[Settings, Path]]:
        async with MongoDBServer(tls=certificate) as server:
            assert server.ca_file is not None
            yield settings_of(server), server.ca_file
