"""Ways to bring many callers together at the writer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from tests.sqlite.databases import Database


async def warm(database: Database, *statements: tuple[str, dict[str, Any]]) -> None:
    """Run each statement often enough that its duration is known to be short: only then does it share a batch."""
    for sql, params in statements:
        for _ in range(12):
            async with database.connection() as connection:
                await connection.begin()
                statement, args = database.adapter.bind(sql, params)
                await connection.run(statement, args)
                await connection.rollback()
        statement.seconds_longest = 0.0001


async def at_once(*work: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*work, return_exceptions=True)


async def queued(database: Database, count: int) -> None:
    """Return once so many wait for the writer."""
    async with asyncio.timeout(20):
        while database.source.figures().waiting < count:
            await asyncio.sleep(0.001)


async def occupy(database: Database, until: Awaitable[Any]) -> asyncio.Task[None]:
    """Hold the writer until then, so that what is sent meanwhile comes to it as one batch."""
    held = asyncio.Event()

    async def hold() -> None:
        async with database.transaction():
            held.set()
            await until

    task = asyncio.create_task(hold())
    await asyncio.wait_for(held.wait(), 20)
    return task
