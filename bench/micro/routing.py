"""What routing costs while all is well, and what replicas give."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from bench.case import SILLAR, Case, Contest
from bench.micro.postgresql import POOL, ROWS, concurrent, sequential, sillar_get, sillar_insert
from bench.servers import Replicated, Servers
from sillar import DatabaseManager

ONE_NODE, TWO_NODES = "one node", "two nodes"
SCALE_CONNECTIONS, SCALE_TASKS, SCALE_SECONDS = 4, 60, 0.004
_SCALED = "SELECT :id + 0 FROM pg_catalog.pg_sleep(:seconds)"


async def _opened(
    stack: AsyncExitStack, servers: Replicated, nodes: list[Any], size: int, *, kept: int | None = None, **topology: Any
) -> Any:
    kept = size if kept is None else kept
    limits = {"min_connections": kept, "max_connections": size, "waiting_max": 100_000, "connection_timeout": 120}
    return await stack.enter_async_context(
        DatabaseManager.from_url(
            servers.url(*nodes),
            overrides={"connection_pools": limits, "databases": {"default": {"topology": topology}}},
        )
    )


async def _filled(manager: DatabaseManager) -> None:
    session = manager.session()
    await session.execute("DROP TABLE IF EXISTS bench_item, bench_new")
    await session.execute("CREATE TABLE bench_item (id int PRIMARY KEY, name text, qty int, note text)")
    await session.execute("CREATE TABLE bench_new (id bigserial PRIMARY KEY, name text, qty int, note text)")
    rows = [(number, f"n{number}", number % 100, "x" * 50) for number in range(1, ROWS + 1)]
    await session.bulk_insert("bench_item", ["id", "name", "qty", "note"], rows)
    await session.execute("ANALYZE bench_item")


@asynccontextmanager
async def get(servers: Servers) -> AsyncIterator[Contest]:
    """Reads from one replica, found by role, consistency and load balancing, against a pool of that replica alone.

    The line of work has written, so that each read is checked against a position.
    """
    replicated = await servers.replicated()
    count = 3000
    async with AsyncExitStack() as stack:
        primary, replica = replicated.primary, replicated.replicas[0]
        routed = await _opened(stack, replicated, [primary, replica], POOL)
        await _filled(routed)
        await replicated.caught_up()
        alone = await _opened(stack, replicated, [replica], POOL)
        read = partial(concurrent, count=count, tasks=50)
        await read(partial(sillar_get, routed))  # by now the position of the write is known
        contest = Contest(
            count,
            {SILLAR: lambda: read(partial(sillar_get, routed)), ONE_NODE: lambda: read(partial(sillar_get, alone))},
        )
        node = next(node for node in routed.pools["default"].topology if node.address.port == replica.port)
        before = node.pool.stats().acquired_total
        yield contest
        contest.notes["reads that the replica served"] = node.pool.stats().acquired_total - before


@asynccontextmanager
async def insert(servers: Servers, tasks: int) -> AsyncIterator[Contest]:
    """Single committed inserts through a primary with two replicas, against a pool of the primary alone.

    Each round has connections of its own: where the system puts a server process decides by a factor of two how fast a
    single connection is, for as long as it lives.
    """
    replicated = await servers.replicated()
    count = 1000 if tasks == 1 else 2000
    run = sequential if tasks == 1 else partial(concurrent, tasks=tasks)
    async with AsyncExitStack() as stack:
        routed = await _opened(stack, replicated, [replicated.primary, *replicated.replicas], POOL, kept=0)
        await _filled(routed)
        alone = await _opened(stack, replicated, [replicated.primary], POOL, kept=0)
        measured: dict[str, list[float]] = {SILLAR: [], ONE_NODE: []}

        async def one_round(contender: str, manager: DatabaseManager) -> None:
            manager.pools["default"].clear("a round begins")
            await run(partial(sillar_insert, manager), 10 * tasks)
            started = time.perf_counter()
            await run(partial(sillar_insert, manager), count)
            measured[contender].append((time.perf_counter() - started) / count * 1e6)

        yield Contest(
            count,
            {SILLAR: partial(one_round, SILLAR, routed), ONE_NODE: partial(one_round, ONE_NODE, alone)},
            measured=measured,
        )


@asynccontextmanager
async def scale(servers: Servers) -> AsyncIterator[Contest]:
    """Reads that a node takes 4 ms for, 4 connections a node: so one node can serve 1,000 a second, and no more.

    All servers run on this one machine, so that the time is slept and not computed: what is shown is that the reads are
    spread, not how fast a node is.
    """
    replicated = await servers.replicated()
    count = 1500
    async with AsyncExitStack() as stack:
        nodes = [replicated.primary, *replicated.replicas]
        managers = {
            number: await _opened(stack, replicated, nodes[:number], SCALE_CONNECTIONS, reads_on_primary=True)
            for number in (1, 2, 3)
        }

        async def read(manager: DatabaseManager, key: int) -> None:
            await manager.session().fetch_value(_SCALED, {"id": key, "seconds": SCALE_SECONDS})

        yield Contest(
            count,
            {
                SILLAR: lambda: concurrent(partial(read, managers[3]), count, SCALE_TASKS),
                TWO_NODES: lambda: concurrent(partial(read, managers[2]), count, SCALE_TASKS),
                ONE_NODE: lambda: concurrent(partial(read, managers[1]), count, SCALE_TASKS),
            },
        )


CASES = [
    Case("routing.get.50tasks", {ONE_NODE: 0.95}, get, rounds=11),
    Case("routing.insert.1task", {ONE_NODE: 0.9}, partial(insert, tasks=1), rounds=21),
    Case("routing.insert.50tasks", {ONE_NODE: 0.9}, partial(insert, tasks=50), rounds=11),
    Case("routing.reads.3nodes", {ONE_NODE: 2.7, TWO_NODES: 1.35}, scale, rounds=5),
]
