"""The pool under a spike: connecting takes 150 ms, a query 2 ms, 5 connections are idle, 50 callers come at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.case import SILLAR, TARGET, Case, Contest
from bench.servers import Servers
from sillar import ConnectionPool, ConnectionPoolConfig, DatabaseConfig
from sillar.engines.postgresql import PostgreSQLAdapter

CONNECT_SECONDS, QUERY_SECONDS, IDLE, CALLERS = 0.15, 0.002, 5, 50


@asynccontextmanager
async def spike(servers: Servers) -> AsyncIterator[Contest]:
    server = await servers.postgresql()
    adapter = PostgreSQLAdapter(DatabaseConfig.from_url(server.url).connection())
    opened: list[float] = []

    async def slow_open() -> Any:
        await asyncio.sleep(CONNECT_SECONDS)
        return await adapter.open_connection()

    contest = Contest(1, {}, measured={SILLAR: opened})

    async def round_() -> None:
        config = ConnectionPoolConfig(min_connections=IDLE, max_connections=CALLERS)
        pool = ConnectionPool(config, adapter, open_connection=slow_open)
        await pool.open()
        while pool.stats().idle < IDLE:
            await asyncio.sleep(0.01)

        async def caller() -> None:
            async with pool.lease() as lease:
                assert await lease.fetch_value("SELECT 1 FROM pg_sleep($1)", [QUERY_SECONDS]) == 1

        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        contest.notes["all served within ms"] = round((loop.time() - start) * 1e3, 1)
        stats = pool.stats()
        opened.append(stats.opened_total + stats.connecting - IDLE)
        await pool.close()

    contest.contenders = {SILLAR: round_}
    yield contest


CASES = [Case("pool.spike", {TARGET: 5.0}, spike, unit="new connections", rounds=5)]
