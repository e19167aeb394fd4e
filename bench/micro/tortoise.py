"""Tortoise over Sillar's connections against Tortoise over its own pool: the same models, the same querysets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from tortoise import fields
from tortoise.context import TortoiseContext
from tortoise.models import Model

from bench.case import SILLAR, Case, Contest
from bench.servers import RoundTrips, Servers
from sillar import DatabaseManager
from sillar.integrations.tortoise import TortoiseIntegration

POOL = 20
ROWS = 10_000
STOCK = "Tortoise's own pool"
MODULES = {"models": [__name__]}

Inside = Callable[[], AbstractContextManager[Any]]


class Item(Model):
    id = fields.IntField(primary_key=True)
    name = fields.TextField()
    qty = fields.IntField()
    note = fields.TextField()

    class Meta:
        table = "bench_tortoise"


@asynccontextmanager
async def field(servers: Servers) -> AsyncIterator[tuple[Inside, Inside]]:
    """The contexts of execution of both contenders."""
    server = await servers.postgresql()
    async with AsyncExitStack() as stack:
        limits = {"min_connections": POOL, "max_connections": POOL, "waiting_max": 100_000, "connection_timeout": 120}
        manager = await stack.enter_async_context(
            DatabaseManager.from_url(server.url, overrides={"connection_pools": limits})
        )
        orm = TortoiseIntegration(manager)
        await orm.open(MODULES)
        session = manager.session()
        await session.execute("DROP TABLE IF EXISTS bench_tortoise")
        await orm.generate_schemas()
        rows = [(number, f"n{number}", number % 100, "x" * 50) for number in range(1, ROWS + 1)]
        await session.bulk_insert("bench_tortoise", ["id", "name", "qty", "note"], rows)
        await session.execute("ANALYZE bench_tortoise")
        stock = TortoiseContext()
        stack.push_async_callback(stock.close_connections)
        url = server.url.replace("postgresql://", "asyncpg://")
        with stock:
            await stock.init(db_url=f"{url}?minsize={POOL}&maxsize={POOL}", modules=MODULES)
        yield orm.entered, lambda: stock


async def get(key: int) -> None:
    await Item.get(id=key)


async def listing(key: int) -> None:
    await Item.filter(id__gt=key % 9000).order_by("id").limit(100)


async def in_a_row(inside: Inside, operation: Callable[[int], Awaitable[None]], count: int) -> None:
    with inside():
        for number in range(count):
            await operation(number % ROWS + 1)


async def at_once(inside: Inside, operation: Callable[[int], Awaitable[None]], count: int) -> None:
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await operation(number % ROWS + 1)

    with inside():
        await asyncio.gather(*(worker() for _ in range(50)))


async def round_trips(servers: Servers) -> float:
    """Round trips of one lookup on a warm connection."""
    server = await servers.postgresql()
    counter = RoundTrips()
    async with counter.relay(server.host, server.port) as port:
        url = server.url.replace(f":{server.port}/", f":{port}/")
        async with DatabaseManager.from_url(url, overrides={"connection_pools": {"max_connections": 1}}) as manager:
            orm = TortoiseIntegration(manager)
            await orm.open(MODULES)
            with orm.entered():
                await get(1)
                before = counter.count
                for number in range(2, 12):
                    await get(number)
                return (counter.count - before) / 10


@asynccontextmanager
async def contest(
    servers: Servers, operation: Callable[[int], Awaitable[None]], run: Any, count: int
) -> AsyncIterator[Contest]:
    async with field(servers) as (ours, theirs):
        yield Contest(
            count,
            {SILLAR: lambda: run(ours, operation, count), STOCK: lambda: run(theirs, operation, count)},
            round_trips=await round_trips(servers) if operation is get else None,
        )


CASES = [
    Case("tortoise.get", {STOCK: 1.4}, partial(contest, operation=get, run=in_a_row, count=600)),
    Case("tortoise.get.50tasks", {STOCK: 1.4}, partial(contest, operation=get, run=at_once, count=2000)),
    Case("tortoise.list100", {STOCK: 1.0}, partial(contest, operation=listing, run=in_a_row, count=150)),
]
