"""Requests that go on and on, and are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sillar import DatabaseManager, DatabaseSession


class Load:
    """Workers that send one request after the other until they are told to stop.

    Attributes:
        requests: done so far.
        failures: what those raised that failed.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.failures: list[BaseException] = []
        self._stop = asyncio.Event()

    async def work(self, manager: DatabaseManager, request: Callable[[DatabaseSession], Awaitable[Any]]) -> None:
        while not self._stop.is_set():
            try:
                await request(manager.session())
            except Exception as error:
                self.failures.append(error)
            self.requests += 1
            await asyncio.sleep(0)

    async def more(self, requests: int, seconds: float = 20.0) -> None:
        """Return when that many more have been done."""
        wanted = self.requests + requests
        async with asyncio.timeout(seconds):
            while self.requests < wanted:
                await asyncio.sleep(0.002)

    def stop(self) -> None:
        self._stop.set()


async def read(session: DatabaseSession) -> None:
    """One statement."""
    assert await session.fetch_value("SELECT 1") == 1


async def transact(session: DatabaseSession) -> None:
    """A transaction of two statements with a pause in it."""
    async with session.transaction():
        await session.fetch_value("SELECT 1")
        await asyncio.sleep(0.005)
        assert await session.fetch_value("SELECT 2") == 2


@asynccontextmanager
async def under_load(
    manager: DatabaseManager, *requests: Callable[[DatabaseSession], Awaitable[Any]], workers: int = 4
) -> AsyncIterator[Load]:
    """Several workers for each kind of request, during the block."""
    load = Load()
    tasks = [asyncio.create_task(load.work(manager, each)) for each in requests for _ in range(workers)]
    try:
        await load.more(len(tasks))
        yield load
        await load.more(len(tasks))
    finally:
        load.stop()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
