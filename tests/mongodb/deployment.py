"""What the tests of the MongoDB engine ask the server, past Sillar, and what keeps a server busy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from pymongo import AsyncMongoClient

from sillar import DatabaseManager, DatabaseSession, DocumentCommand
from sillar.testing.conformance import eventually
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import MongoDBServer

OpenManager = Callable[..., Awaitable[DatabaseManager]]
Observer = AsyncMongoClient[dict[str, Any]]

# Each stage reads the collection once for every document of the one above: far longer than any test lasts.
_INNER: list[dict[str, Any]] = [{"$match": {"$expr": {"$gt": [{"$add": ["$number", "$$c"]}, "$$a"]}}}]
_MIDDLE: list[dict[str, Any]] = [
    {"$lookup": {"from": "busy", "let": {"c": "$number"}, "as": "d", "pipeline": _INNER}},
    {"$match": {"$expr": {"$gt": [{"$size": "$d"}, "$$a"]}}},
]
ENDLESS: list[dict[str, Any]] = [
    {"$lookup": {"from": "busy", "let": {"a": "$number"}, "as": "b", "pipeline": _MIDDLE}},
    {"$group": {"_id": None, "total": {"$sum": {"$size": "$b"}}}},
]


def endless(comment: str, *further: dict[str, Any]) -> DocumentCommand:
    """A command that runs until it is stopped, under a comment by which the server lists it."""
    return DocumentCommand("busy", "aggregate", {"pipeline": [*ENDLESS, *further], "comment": comment})


async def make_busy(session: DatabaseSession) -> None:
    """Fill the collection that ``endless`` reads."""
    if not await session.documents("busy").count():
        await session.bulk_insert("busy", ["number"], [(number,) for number in range(1500)])


async def running(observer: Observer, comment: str) -> int:
    """How many commands with that comment the server runs now."""
    found = {"command.comment": comment}
    cursor = await observer.admin.aggregate([{"$currentOp": {"allUsers": True}}, {"$match": found}])
    return len(await cursor.to_list())


async def begun(observer: Observer, comment: str) -> None:
    """Return once the server runs such a command."""
    async with asyncio.timeout(10):
        while not await running(observer, comment):
            await asyncio.sleep(0.01)


async def gone(observer: Observer, comment: str) -> None:
    """Return once the server runs none; a second is what is promised."""

    async def none_runs() -> bool:
        return not await running(observer, comment)

    await eventually(none_runs, seconds=1.0)


async def open_transactions(observer: Observer) -> int:
    """How many transactions the server has open."""
    return int((await observer.admin.command("serverStatus"))["transactions"]["currentOpen"])


async def none_open(observer: Observer) -> None:
    """Return once the server has no transaction open."""
    async with asyncio.timeout(15):
        while await open_transactions(observer):
            await asyncio.sleep(0.01)


async def connections(observer: Observer) -> int:
    """How many sockets the server has open."""
    return int((await observer.admin.command("serverStatus"))["connections"]["current"])


def behind(proxy: FaultProxy, server: MongoDBServer) -> str:
    """The server's URL by way of the proxy; a direct connection, or the driver would go where the server says it is."""
    separator = "&" if "?" in server.url else "?"
    return server.url.replace(f":{server.port}/", f":{proxy.port}/") + f"{separator}directConnection=true"
