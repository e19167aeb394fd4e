"""Many rows and many keys: upserts against SQLAlchemy's batches, lookups together against asyncpg's pool by key."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.case import SILLAR, TARGET, Case, Contest, Work
from bench.micro.lookups_process import BATCH_KEYS, COLUMNS
from bench.micro.postgresql import ASYNCPG, ROWS, Field, Item, Row, asyncpg_get, concurrent, field
from bench.servers import Servers
from sillar.execution.coalescing import Lookups

SQLALCHEMY = "SQLAlchemy insert().on_conflict"
UPSERTED = 100_000
PER_KEY = 3000
"""Lookups of asyncpg's pool in a round, by 50 tasks: its rate per key is what the others are measured against."""

PROCESS_SECONDS = 3.0


@asynccontextmanager
async def upsert(servers: Servers) -> AsyncIterator[Contest]:
    """100,000 rows in random order, half of which are there. What prepares a round is not counted."""
    async with field(servers) as f:
        chance = random.Random(1)
        rows = [(number, f"n{number}", number % 1000, "x" * 50) for number in range(UPSERTED)]
        chance.shuffle(rows)
        measured: dict[str, list[float]] = {SILLAR: [], SQLALCHEMY: []}

        def round_of(name: str, work: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[None]]:
            async def one() -> None:
                await f.manager.session().execute("TRUNCATE bench_item")
                await f.manager.session().execute(
                    "INSERT INTO bench_item SELECT n, 'old', 0, 'y' FROM generate_series(0, 199999, 2) AS n"
                )
                started = time.perf_counter()
                await work()
                measured[name].append(time.perf_counter() - started)
                changed = await f.manager.session().fetch_value("SELECT count(*) FROM bench_item WHERE name <> 'old'")
                assert changed == UPSERTED

            return one

        async def ours() -> None:
            await f.manager.session().bulk_upsert("bench_item", COLUMNS, rows, key="id")

        engine: AsyncEngine = f.orm.kw["bind"]
        dicts = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        yield Contest(
            UPSERTED,
            {
                SILLAR: round_of(SILLAR, ours),
                SQLALCHEMY: round_of(SQLALCHEMY, partial(_sqlalchemy, engine, dicts)),
            },
            measured=measured,
        )


async def _sqlalchemy(engine: AsyncEngine, rows: list[dict[str, Any]]) -> None:
    """Batches of 1000 parameter sets in one transaction. With the rows in VALUES it takes several times as long."""
    statement = insert(Row)
    given = {name: statement.excluded[name] for name in COLUMNS[1:]}
    statement = statement.on_conflict_do_update(index_elements=["id"], set_=given)
    async with engine.begin() as connection:
        for begin in range(0, len(rows), 1000):
            await connection.execute(statement, rows[begin : begin + 1000])


# --- lookups: microseconds per row, each side in rounds of its own size ----------------------------------------------


class Rates:
    """What the rounds of a contest took per row."""

    def __init__(self, f: Field) -> None:
        self.field = f
        self.measured: dict[str, list[float]] = {SILLAR: [], ASYNCPG: []}
        self.notes: dict[str, float | str] = {}

    async def per_key(self) -> None:
        """asyncpg's pool, 50 tasks."""
        await self.taken(ASYNCPG, PER_KEY, partial(concurrent, partial(asyncpg_get, self.field.pool), PER_KEY, 50))

    async def taken(self, name: str, rows: int, work: Callable[[], Awaitable[None]]) -> None:
        """Run a round of so many rows."""
        before = self._queries()
        started = time.perf_counter()
        await work()
        seconds = time.perf_counter() - started
        self.measured[name].append(seconds / rows * 1e6)
        if name == SILLAR:
            self.notes["rows/s"] = round(rows / seconds)
            self.notes["queries/s"] = round((self._queries() - before) / seconds)
        else:
            self.notes["asyncpg's queries/s"] = round(rows / seconds)

    def _queries(self) -> int:
        return self.field.manager.pools["default"].stats().acquired_total


@asynccontextmanager
async def together(
    servers: Servers, work: Callable[[Field], Callable[[], Awaitable[None]]], rows: int
) -> AsyncIterator[Contest]:
    async with field(servers) as f:
        rates = Rates(f)
        ours = work(f)
        contenders: dict[str, Work] = {SILLAR: partial(rates.taken, SILLAR, rows, ours), ASYNCPG: rates.per_key}
        yield Contest(rows, contenders, measured=rates.measured, notes=rates.notes)


def batches(f: Field) -> Callable[[], Awaitable[None]]:
    """``get_many``, 500 keys a batch, two at once."""

    async def worker(offset: int) -> None:
        for number in range(20):
            keys = [(number * BATCH_KEYS + place * 7 + offset) % ROWS + 1 for place in range(BATCH_KEYS)]
            found = await f.manager.session().get_many("bench_item", keys, columns=COLUMNS, into=Item)
            assert found[0] is not None

    async def work() -> None:
        await asyncio.gather(worker(0), worker(31))

    return work


def workers(f: Field) -> Callable[[], Awaitable[None]]:
    """500 concurrent callers, 20,000 lookups."""
    lookups = Lookups(f.manager, "bench_item", columns=COLUMNS, into=Item)
    return partial(concurrent, lookups.get, 20_000, 500)


def one_task_each(f: Field) -> Callable[[], Awaitable[None]]:
    """20 times 1000 tasks, one lookup each."""
    lookups = Lookups(f.manager, "bench_item", columns=COLUMNS, into=Item)

    async def work() -> None:
        for number in range(20):
            await asyncio.gather(*(asyncio.create_task(lookups.get(key)) for key in range(number + 1, number + 1001)))

    return work


@asynccontextmanager
async def tasks_10k(servers: Servers) -> AsyncIterator[Contest]:
    """The 10,000 tasks of ``postgresql.tasks10k``, coalesced."""
    async with field(servers) as f:
        lookups = Lookups(f.manager, "bench_item", columns=COLUMNS, into=Item)
        keys = range(1, 10_001)

        async def run(operation: Callable[[int], Awaitable[Item | None]]) -> None:
            found = await asyncio.gather(*(operation(key) for key in keys))
            assert [item.id for item in found if item] == list(keys)

        yield Contest(
            10_000,
            {SILLAR: partial(run, lookups.get), ASYNCPG: partial(run, partial(asyncpg_get, f.pool))},
        )


@asynccontextmanager
async def all_processes(servers: Servers) -> AsyncIterator[Contest]:
    """As many processes as the machine has cores, each with ``get_many``: microseconds per row of all together."""
    server = await servers.postgresql()
    async with field(servers, size=2):
        count = os.cpu_count() or 1
        taken: list[float] = []
        notes: dict[str, float | str] = {"processes": count}

        async def round_() -> None:
            arguments = ("-m", "bench.micro.lookups_process", server.url, str(PROCESS_SECONDS))
            pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
            processes = [
                await asyncio.create_subprocess_exec(sys.executable, *arguments, **pipes) for _ in range(count)
            ]
            for process in processes:
                assert process.stdout is not None
                assert await process.stdout.readline() == b"ready\n"
            answers = await asyncio.gather(*(process.communicate(b"\n") for process in processes))
            queries = sum(float(answer) for answer, _ in answers)
            taken.append(1e6 / (queries * BATCH_KEYS))
            notes["queries/s"], notes["rows/s"] = round(queries), round(queries * BATCH_KEYS)

        yield Contest(1, {SILLAR: round_}, measured={SILLAR: taken}, notes=notes)


CASES = [
    Case("bulk.upsert100k", {SQLALCHEMY: 2.0}, upsert, unit="s", rounds=3),
    Case("postgresql.get_many", {ASYNCPG: 20.0}, partial(together, work=batches, rows=40 * BATCH_KEYS)),
    Case("postgresql.coalesced", {ASYNCPG: 10.0}, partial(together, work=workers, rows=20_000)),
    Case("postgresql.coalesced.task_each", {ASYNCPG: 5.0}, partial(together, work=one_task_each, rows=20_000)),
    Case("postgresql.tasks10k.coalesced", {ASYNCPG: 7.0}, tasks_10k, rounds=5),
    Case("postgresql.rows_per_second.all_processes", {TARGET: 10.0}, all_processes, rounds=3),
]
"""The target of the specification, 100,000 rows a second, is 10 microseconds a row."""
