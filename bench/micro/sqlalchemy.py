"""Stock SQLAlchemy sessions through the manager's pool against the same sessions through SQLAlchemy's own pool."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from bench.case import SILLAR, Case, Contest
from bench.micro.postgresql import Row, field, sequential
from bench.servers import Servers
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration

OWN = "SQLAlchemy's own pool"
Operation = Callable[[Callable[[], Awaitable[AsyncSession]], int], Awaitable[Any]]


async def get(session_of: Callable[[], Awaitable[AsyncSession]], key: int) -> Any:
    async with await session_of() as session:
        return await session.get(Row, key)


async def list_100(session_of: Callable[[], Awaitable[AsyncSession]], key: int) -> Any:
    async with await session_of() as session:
        statement = select(Row).where(Row.id > key % 9000).order_by(Row.id).limit(100)
        return (await session.scalars(statement)).all()


@asynccontextmanager
async def contest(servers: Servers, operation: Operation, count: int, read_only: bool) -> AsyncIterator[Contest]:
    async with field(servers) as f:
        integration = SQLAlchemyIntegration(f.manager)

        async def own() -> AsyncSession:
            session: AsyncSession = f.orm()
            return session

        ours = partial(integration.create_session, read_only=read_only)
        yield Contest(
            count,
            {
                SILLAR: lambda: sequential(partial(operation, ours), count),
                OWN: lambda: sequential(partial(operation, own), count),
            },
        )


CASES = [
    Case("sqlalchemy.session.get", {OWN: 1.0}, partial(contest, operation=get, count=400, read_only=False)),
    Case("sqlalchemy.session.list100", {OWN: 1.0}, partial(contest, operation=list_100, count=200, read_only=False)),
    Case("sqlalchemy.session.get.read_only", {OWN: 1.0}, partial(contest, operation=get, count=400, read_only=True)),
    Case(
        "sqlalchemy.session.list100.read_only",
        {OWN: 1.0},
        partial(contest, operation=list_100, count=200, read_only=True),
    ),
]
