"""PostgreSQL against asyncpg's own pool with the same SQL into the same object, and against the SQLAlchemy ORM."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.case import SILLAR, Case, Contest
from bench.servers import RoundTrips, Servers
from sillar import DatabaseManager

POOL = 20
ROWS = 10_000
ASYNCPG, TRANSACTION, ORM = "asyncpg pool", "asyncpg pool, in a transaction", "SQLAlchemy ORM"
GET = "SELECT id, name, qty, note FROM bench_item WHERE id = {}"
LIST = "SELECT id, name, qty, note FROM bench_item WHERE id > {} ORDER BY id LIMIT 100"
INSERT = "INSERT INTO bench_new (name, qty, note) VALUES ({}, {}, {})"
UPDATE = "UPDATE bench_item SET qty = {} WHERE id = {}"


class Item(msgspec.Struct):
    id: int
    name: str
    qty: int
    note: str


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "bench_item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    qty: Mapped[int]
    note: Mapped[str]


class Field:
    """The three ways to the same table."""

    def __init__(self, manager: DatabaseManager, pool: asyncpg.Pool, engine: AsyncEngine) -> None:
        self.manager, self.pool = manager, pool
        self.orm = async_sessionmaker(engine)


@asynccontextmanager
async def field(servers: Servers, size: int = POOL) -> AsyncIterator[Field]:
    server = await servers.postgresql()
    async with AsyncExitStack() as stack:
        limits = {"min_connections": size, "max_connections": size, "waiting_max": 100_000, "connection_timeout": 120}
        manager = await stack.enter_async_context(
            DatabaseManager.from_url(server.url, overrides={"connection_pools": limits})
        )
        pool = await stack.enter_async_context(asyncpg.create_pool(server.url, min_size=size, max_size=size))
        engine = create_async_engine(
            server.url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=size, max_overflow=0
        )
        stack.push_async_callback(engine.dispose)
        session = manager.session()
        await session.execute("DROP TABLE IF EXISTS bench_item, bench_new")
        await session.execute("CREATE TABLE bench_item (id int PRIMARY KEY, name text, qty int, note text)")
        await session.execute("CREATE TABLE bench_new (id bigserial PRIMARY KEY, name text, qty int, note text)")
        rows = [(number, f"n{number}", number % 100, "x" * 50) for number in range(1, ROWS + 1)]
        await session.bulk_insert("bench_item", ["id", "name", "qty", "note"], rows)
        await session.execute("ANALYZE bench_item")
        yield Field(manager, pool, engine)


async def sequential(operation: Callable[[int], Awaitable[Any]], count: int) -> None:
    for number in range(count):
        await operation(number % ROWS + 1)


async def concurrent(operation: Callable[[int], Awaitable[Any]], count: int, tasks: int) -> None:
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await operation(number % ROWS + 1)

    await asyncio.gather(*(worker() for _ in range(tasks)))


async def round_trips(servers: Servers, operation: Callable[[DatabaseManager, int], Awaitable[Any]]) -> float:
    """Round trips of one operation on a warm connection."""
    server = await servers.postgresql()
    counter = RoundTrips()
    async with counter.relay(server.host, server.port) as port:
        async with DatabaseManager.from_url(
            server.url.replace(f":{server.port}/", f":{port}/"), overrides={"connection_pools": {"max_connections": 1}}
        ) as manager:
            await operation(manager, 1)
            before = counter.count
            for number in range(2, 12):
                await operation(manager, number)
            return (counter.count - before) / 10


async def sillar_get(manager: DatabaseManager, key: int) -> Item | None:
    return await manager.session().fetch_one(GET.format(":id"), {"id": key}, into=Item)


async def sillar_list(manager: DatabaseManager, key: int) -> list[Item]:
    return await manager.session().fetch_all(LIST.format(":id"), {"id": key % 9000}, into=Item)


async def sillar_insert(manager: DatabaseManager, key: int) -> None:
    await manager.session().execute(
        INSERT.format(":name", ":qty", ":note"), {"name": f"n{key}", "qty": key, "note": "x" * 50}
    )


async def sillar_update(manager: DatabaseManager, key: int) -> None:
    await manager.session().execute(UPDATE.format(":qty", ":id"), {"qty": key % 1000, "id": key})


async def asyncpg_get(pool: asyncpg.Pool, key: int) -> Item | None:
    async with pool.acquire() as connection:
        row = await connection.fetchrow(GET.format("$1"), key)
        return None if row is None else Item(*row)


async def asyncpg_list(pool: asyncpg.Pool, key: int) -> list[Item]:
    async with pool.acquire() as connection:
        return [Item(*row) for row in await connection.fetch(LIST.format("$1"), key % 9000)]


async def asyncpg_insert(pool: asyncpg.Pool, key: int) -> None:
    async with pool.acquire() as connection:
        await connection.execute(INSERT.format("$1", "$2", "$3"), f"n{key}", key, "x" * 50)


async def asyncpg_insert_in_transaction(pool: asyncpg.Pool, key: int) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(INSERT.format("$1", "$2", "$3"), f"n{key}", key, "x" * 50)


async def asyncpg_update(pool: asyncpg.Pool, key: int) -> None:
    async with pool.acquire() as connection:
        await connection.execute(UPDATE.format("$1", "$2"), key % 1000, key)


async def orm_get(orm: async_sessionmaker[Any], key: int) -> Row:
    async with orm() as session:
        return (await session.execute(select(Row).where(Row.id == key))).scalar_one()


@asynccontextmanager
async def get(servers: Servers, tasks: int) -> AsyncIterator[Contest]:
    async with field(servers) as f:
        count = 600 if tasks == 1 else 3000
        run = sequential if tasks == 1 else partial(concurrent, tasks=tasks)
        yield Contest(
            count,
            {
                SILLAR: lambda: run(partial(sillar_get, f.manager), count),
                ASYNCPG: lambda: run(partial(asyncpg_get, f.pool), count),
                ORM: lambda: run(partial(orm_get, f.orm), count),
            },
            round_trips=await round_trips(servers, sillar_get),
        )


@asynccontextmanager
async def plain(servers: Servers, ours: Any, theirs: Any, count: int) -> AsyncIterator[Contest]:
    async with field(servers) as f:
        yield Contest(
            count,
            {
                SILLAR: lambda: sequential(partial(ours, f.manager), count),
                ASYNCPG: lambda: sequential(partial(theirs, f.pool), count),
            },
            round_trips=await round_trips(servers, ours),
        )


@asynccontextmanager
async def insert(servers: Servers) -> AsyncIterator[Contest]:
    """One row, committed. The opponent in its plain form, and in the transaction block that services usually write."""
    count = 400
    async with field(servers) as f:
        yield Contest(
            count,
            {
                SILLAR: lambda: sequential(partial(sillar_insert, f.manager), count),
                ASYNCPG: lambda: sequential(partial(asyncpg_insert, f.pool), count),
                TRANSACTION: lambda: sequential(partial(asyncpg_insert_in_transaction, f.pool), count),
            },
            round_trips=await round_trips(servers, sillar_insert),
        )


@asynccontextmanager
async def bulk(servers: Servers) -> AsyncIterator[Contest]:
    async with field(servers) as f:
        chance = random.Random(1)
        rows = [(f"n{number}", chance.randrange(1000), "x" * 50) for number in range(10_000)]

        async def ours() -> None:
            await f.manager.session().bulk_insert("bench_new", ["name", "qty", "note"], rows)

        async def theirs() -> None:
            async with f.pool.acquire() as connection:
                await connection.executemany(INSERT.format("$1", "$2", "$3"), rows)

        yield Contest(len(rows), {SILLAR: ours, ASYNCPG: theirs})


@asynccontextmanager
async def tasks_10k(servers: Servers) -> AsyncIterator[Contest]:
    """10,000 tasks at once on a pool of 20, one get each; any error ends the case."""
    async with field(servers) as f:
        keys = range(1, 10_001)

        async def ours() -> None:
            found = await asyncio.gather(*(sillar_get(f.manager, key) for key in keys))
            assert [item.id for item in found if item] == list(keys)

        async def theirs() -> None:
            found = await asyncio.gather(*(asyncpg_get(f.pool, key) for key in keys))
            assert [item.id for item in found if item] == list(keys)

        yield Contest(10_000, {SILLAR: ours, ASYNCPG: theirs})


CASES = [
    Case("postgresql.get.1task", {ASYNCPG: 2.0, ORM: 8.0}, partial(get, tasks=1)),
    Case("postgresql.get.50tasks", {ASYNCPG: 2.3, ORM: 11.0}, partial(get, tasks=50)),
    Case("postgresql.list100", {ASYNCPG: 1.25}, partial(plain, ours=sillar_list, theirs=asyncpg_list, count=300)),
    Case("postgresql.insert.1task", {ASYNCPG: 2.0, TRANSACTION: 2.0}, insert),
    Case(
        "postgresql.update.1task", {ASYNCPG: 1.6}, partial(plain, ours=sillar_update, theirs=asyncpg_update, count=400)
    ),
    Case("postgresql.bulk10k", {ASYNCPG: 1.7}, bulk),
    Case("postgresql.tasks10k", {ASYNCPG: 2.5}, tasks_10k, rounds=5),
]
