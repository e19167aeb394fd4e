"""What the server knows of the sessions of one test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from sillar import DatabaseManager

OpenManager = Callable[..., Awaitable[DatabaseManager]]


async def sessions(observer: asyncpg.Connection, application: str) -> list[dict[str, Any]]:
    """What the server knows of the sessions of one test."""
    rows = await observer.fetch(
        "SELECT pid, state, query FROM pg_stat_activity WHERE application_name = $1 ORDER BY pid", application
    )
    return [dict(row) for row in rows]


async def ended(observer: asyncpg.Connection, application: str, *, but: int = 0) -> None:
    """Return once the server has no session of the test, or so many: those that were closed end a little later."""
    async with asyncio.timeout(15):
        while len(await sessions(observer, application)) > but:
            await asyncio.sleep(0.01)
