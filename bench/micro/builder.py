"""The query builder against the session's own text, SQLAlchemy Core and the SQLAlchemy ORM, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bench.case import SILLAR, Case, Contest
from bench.micro.postgresql import POOL, Item, Row, concurrent, field, orm_get, sequential, sillar_get, sillar_list
from bench.servers import Servers
from sillar import DatabaseManager, QueryBuilder, parameter

DIRECT, CORE, AUTOCOMMIT, ORM = "session with text", "SQLAlchemy Core", "Core, AUTOCOMMIT", "SQLAlchemy ORM"
TABLE = Row.__table__
GET = QueryBuilder(Row).where(Row.id == parameter("id")).into(Item).prepare()
LIST = QueryBuilder(Row).where(Row.id > parameter("id")).order_by(Row.id).limit(100).into(Item).prepare()


async def prepared_get(manager: DatabaseManager, key: int) -> Item | None:
    return await GET.first(manager.session(), params={"id": key})


async def prepared_list(manager: DatabaseManager, key: int) -> list[Item]:
    return await LIST.all(manager.session(), params={"id": key % 9000})


async def adhoc_get(manager: DatabaseManager, key: int) -> Item | None:
    return await QueryBuilder(Row).where(Row.id == key).into(Item).first(manager.session())


async def adhoc_list(manager: DatabaseManager, key: int) -> list[Item]:
    query = QueryBuilder(Row).where(Row.id > key % 9000).order_by(Row.id).limit(100)
    return await query.into(Item).all(manager.session())


async def core_get(engine: AsyncEngine, key: int) -> Item | None:
    async with engine.connect() as connection:
        row = (await connection.execute(select(TABLE).where(TABLE.c.id == key))).first()
        return None if row is None else Item(*row)


async def core_list(engine: AsyncEngine, key: int) -> list[Item]:
    statement = select(TABLE).where(TABLE.c.id > key % 9000).order_by(TABLE.c.id).limit(100)
    async with engine.connect() as connection:
        return [Item(*row) for row in await connection.execute(statement)]


async def orm_list(orm: Any, key: int) -> list[Row]:
    async with orm() as session:
        statement = select(Row).where(Row.id > key % 9000).order_by(Row.id).limit(100)
        return list((await session.execute(statement)).scalars())


@asynccontextmanager
async def prepared(servers: Servers, ours: Any, theirs: Any, count: int) -> AsyncIterator[Contest]:
    async with field(servers) as f:
        yield Contest(
            count,
            {
                SILLAR: lambda: sequential(partial(ours, f.manager), count),
                DIRECT: lambda: sequential(partial(theirs, f.manager), count),
            },
        )


@asynccontextmanager
async def adhoc(servers: Servers, ours: Any, core: Any, orm: Any, count: int, tasks: int = 1) -> AsyncIterator[Contest]:
    """Construction included on both sides."""
    run: Callable[..., Awaitable[None]] = sequential if tasks == 1 else partial(concurrent, tasks=tasks)
    async with field(servers) as f:
        server = await servers.postgresql()
        engine = create_async_engine(
            server.url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=POOL, max_overflow=0
        )
        autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            yield Contest(
                count,
                {
                    SILLAR: lambda: run(partial(ours, f.manager), count),
                    CORE: lambda: run(partial(core, engine), count),
                    AUTOCOMMIT: lambda: run(partial(core, autocommit), count),
                    ORM: lambda: run(partial(orm, f.orm), count),
                },
            )
        finally:
            await engine.dispose()


CASES = [
    Case("builder.get", {DIRECT: 0.95}, partial(prepared, ours=prepared_get, theirs=sillar_get, count=600)),
    Case("builder.list100", {DIRECT: 0.95}, partial(prepared, ours=prepared_list, theirs=sillar_list, count=300)),
    Case(
        "builder.adhoc.get.1task",
        {CORE: 3.5, AUTOCOMMIT: 1.0, ORM: 6.0},
        partial(adhoc, ours=adhoc_get, core=core_get, orm=orm_get, count=300),
    ),
    Case(
        "builder.adhoc.get.50tasks",
        {CORE: 4.5, AUTOCOMMIT: 1.0, ORM: 6.0},
        partial(adhoc, ours=adhoc_get, core=core_get, orm=orm_get, count=1500, tasks=50),
    ),
    Case(
        "builder.adhoc.list100",
        {CORE: 3.0, AUTOCOMMIT: 1.0, ORM: 6.0},
        partial(adhoc, ours=adhoc_list, core=core_list, orm=orm_list, count=200),
    ),
]
