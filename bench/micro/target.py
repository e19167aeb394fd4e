"""The specification's own figures, on PostgreSQL over loopback."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from bench.case import SILLAR, TARGET, Case, Contest
from bench.micro.postgresql import ROWS, Field, field, sillar_get, sillar_insert
from bench.servers import Servers
from sillar import DatabaseConfig
from sillar.engines.postgresql import PostgreSQLAdapter

COMPLEX = """
WITH ranked AS (
    SELECT id, name, qty, note, row_number() OVER (PARTITION BY qty ORDER BY id DESC) AS place FROM bench_item
)
SELECT a.qty, count(*) AS items, sum(b.id) AS total, max(a.name) AS last
FROM ranked AS a JOIN bench_item AS b ON b.qty = a.qty AND b.id <= a.id
WHERE a.place <= :place GROUP BY a.qty HAVING count(*) > 1 ORDER BY total DESC LIMIT 50
"""
Operation = Callable[[Field, int], Awaitable[object]]


async def simple(f: Field, key: int) -> object:
    return await sillar_get(f.manager, key % ROWS + 1)


async def insert(f: Field, key: int) -> object:
    return await sillar_insert(f.manager, key)


async def complicated(f: Field, key: int) -> object:
    return await f.manager.session().fetch_all(COMPLEX, {"place": 5 + key % 3})


@asynccontextmanager
async def latency(servers: Servers, operation: Operation, count: int, percentile: int) -> AsyncIterator[Contest]:
    """One operation after the other; the figure of a round is the percentile of its operations, in ms."""
    async with field(servers) as f:
        taken: list[float] = []

        async def round_() -> None:
            each = []
            for number in range(count):
                start = time.perf_counter()
                await operation(f, number)
                each.append((time.perf_counter() - start) * 1e3)
            taken.append(statistics.quantiles(each, n=100)[percentile - 1])

        yield Contest(count, {SILLAR: round_}, measured={SILLAR: taken})


@asynccontextmanager
async def connect(servers: Servers) -> AsyncIterator[Contest]:
    server = await servers.postgresql()
    adapter = PostgreSQLAdapter(DatabaseConfig.from_url(server.url).connection())

    async def round_() -> None:
        for _ in range(10):
            await (await adapter.open_connection()).close()

    yield Contest(10, {SILLAR: round_})


@asynccontextmanager
async def commit(servers: Servers) -> AsyncIterator[Contest]:
    """COMMIT alone, of a transaction that wrote a row."""
    async with field(servers) as f:
        taken: list[float] = []

        async def round_() -> None:
            each = []
            for number in range(100):
                transaction = await f.manager.begin_transaction()
                await transaction.execute("INSERT INTO bench_new (qty) VALUES (:qty)", {"qty": number})
                start = time.perf_counter()
                await transaction.commit()
                each.append((time.perf_counter() - start) * 1e3)
            taken.append(statistics.median(each))

        yield Contest(100, {SILLAR: round_}, measured={SILLAR: taken})


CASES = [
    Case("target.connect", {TARGET: 100.0}, connect, unit="ms"),
    Case("target.commit", {TARGET: 10.0}, commit, unit="ms"),
    Case("target.insert", {TARGET: 10.0}, partial(latency, operation=insert, count=300, percentile=50), unit="ms"),
    Case("target.simple.p50", {TARGET: 1.0}, partial(latency, operation=simple, count=500, percentile=50), unit="ms"),
    Case("target.simple.p95", {TARGET: 50.0}, partial(latency, operation=simple, count=500, percentile=95), unit="ms"),
    Case(
        "target.complex", {TARGET: 200.0}, partial(latency, operation=complicated, count=10, percentile=95), unit="ms"
    ),
]
