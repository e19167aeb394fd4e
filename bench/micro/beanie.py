"""Beanie through a manager against stock Beanie on a client of its own: the same documents, the same queries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from beanie import Document, init_beanie
from pymongo import AsyncMongoClient

from bench.case import SILLAR, Case, Contest
from bench.micro.postgresql import POOL, concurrent, sequential
from bench.servers import Servers
from sillar import DatabaseManager
from sillar.integrations.beanie import BeanieIntegration

BEANIE = "Beanie"
ROWS = 10_000


class Ours(Document):
    number: int
    name: str
    qty: int
    note: str

    class Settings:
        name = "bench_item"
        indexes = ("number",)


class Theirs(Ours):
    """The same collection; a class of its own, since a class belongs to one client."""

    class Settings:
        name = "bench_item"
        indexes = ("number",)


@asynccontextmanager
async def field(servers: Servers) -> AsyncIterator[None]:
    server = await servers.mongodb()
    async with AsyncExitStack() as stack:
        limits = {"max_connections": POOL, "waiting_max": 100_000, "connection_timeout": 120}
        manager = await stack.enter_async_context(
            DatabaseManager.from_url(server.url, overrides={"connection_pools": limits})
        )
        client: AsyncMongoClient[dict[str, Any]] = await stack.enter_async_context(
            AsyncMongoClient(server.url, maxPoolSize=POOL, tz_aware=True)
        )
        await client.get_default_database().drop_collection("bench_item")
        await init_beanie(database=client.get_default_database(), document_models=[Theirs])
        await BeanieIntegration(manager).open(Ours)
        rows = [(number, f"n{number}", number % 100, "x" * 50) for number in range(1, ROWS + 1)]
        await manager.session().bulk_insert("bench_item", ["number", "name", "qty", "note"], rows)
        yield


async def find(model: type[Ours], key: int) -> None:
    found = await model.find_one(model.number == key)
    assert found is not None


async def list_100(model: type[Ours], key: int) -> None:
    start = key % (ROWS - 200)
    found = await model.find(model.number > start, model.number <= start + 100).to_list()
    assert len(found) == 100


@asynccontextmanager
async def contest(
    servers: Servers, operation: Callable[[type[Ours], int], Awaitable[None]], count: int, tasks: int
) -> AsyncIterator[Contest]:
    run: Any = sequential if tasks == 1 else partial(concurrent, tasks=tasks)
    async with field(servers):
        yield Contest(
            count,
            {
                SILLAR: lambda: run(partial(operation, Ours), count),
                BEANIE: lambda: run(partial(operation, Theirs), count),
            },
        )


CASES = [
    Case("beanie.find", {BEANIE: 0.95}, partial(contest, operation=find, count=300, tasks=1)),
    Case("beanie.find.50tasks", {BEANIE: 0.95}, partial(contest, operation=find, count=1000, tasks=50)),
    Case("beanie.list100", {BEANIE: 0.95}, partial(contest, operation=list_100, count=100, tasks=1)),
]
