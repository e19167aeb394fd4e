"""Copies between engines with verification, and updates in batches, against what one would write by hand."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.types import TypeEngine

from bench.case import SILLAR, Case, Contest
from bench.servers import Servers
from sillar import DatabaseManager
from sillar.capabilities import Capability
from sillar.migrations.copying import copy_database
from sillar.migrations.data import Throttle, batched_update, forget_batches, run_batched

LOOP, ONE_UPDATE = "loop of SQLAlchemy Core, unverified", "one UPDATE"
ROWS, BATCH_ROWS, UPDATED_ROWS = 30_000, 5_000, 300_000
_DRIVERS = {"postgresql": "postgresql+asyncpg", "mysql": "mysql+asyncmy", "sqlite": "sqlite+aiosqlite"}
_WORDS = ["stone", "quarry", "ñandú", "granite", "tuff", "slate", "lorem", "ipsum", "dolor", "sit", "amet", "🪨"]


def _driver(url: str) -> str:
    """The URL for SQLAlchemy's asynchronous engines."""
    scheme, rest = url.split(":", 1)
    return f"{_DRIVERS[scheme]}:{rest}"


# --- copies -----------------------------------------------------------------------------------------------------------


def _table(metadata: sa.MetaData, engine: str) -> sa.Table:
    """A table of thirteen columns; what an engine has no type for is what Sillar's copy makes of it."""
    is_mysql = engine == "mysql"
    moment: TypeEngine[Any] = sa.DateTime()
    if is_mysql:
        from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT

        moment, text = DATETIME(fsp=6), LONGTEXT()
    else:
        text = sa.Text()  # type: ignore[assignment]
    return sa.Table(
        "bench_copy",
        metadata,
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        sa.Column("uid", sa.Uuid() if not is_mysql else sa.String(36), nullable=False),
        sa.Column("customer_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("title", text),
        sa.Column("price", sa.Numeric(12, 2)),
        sa.Column("ratio", sa.Double),
        sa.Column("ok", sa.Boolean),
        sa.Column("day", sa.Date),
        sa.Column("made_at", sa.DateTime(timezone=True) if not is_mysql else moment, nullable=False),
        sa.Column("local_at", moment),
        sa.Column("data", sa.JSON),
        sa.Column("raw", sa.LargeBinary),
    )


def _row(number: int, chance: random.Random, *, is_mysql: bool) -> dict[str, Any]:
    at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=number * 37, microseconds=chance.randrange(10**6))
    uid = UUID(int=chance.getrandbits(128), version=4)
    data = {
        "tags": chance.choices(_WORDS, k=3),
        "n": number,
        "price": chance.random(),
        "nested": {"a": None, "b": True},
    }
    return {
        "id": number, "uid": str(uid) if is_mysql else uid, "customer_id": chance.randrange(10**5),
        "kind": chance.choice(_WORDS), "title": " ".join(chance.choices(_WORDS, k=8)) if number % 10 else None,
        "price": Decimal(chance.randrange(10**8)) / 100, "ratio": chance.random(), "ok": number % 2 == 0,
        "day": at.date(), "made_at": at.replace(tzinfo=None) if is_mysql else at, "local_at": at.replace(tzinfo=None),
        "data": data, "raw": chance.randbytes(32),
    }  # fmt: skip


async def _fill(engine: AsyncEngine, table: sa.Table, *, is_mysql: bool) -> None:
    chance = random.Random(1)
    async with engine.begin() as connection:
        await connection.run_sync(table.metadata.drop_all)
        await connection.run_sync(table.metadata.create_all)
        for first in range(1, ROWS, BATCH_ROWS):
            rows = [_row(number, chance, is_mysql=is_mysql) for number in range(first, first + BATCH_ROWS)]
            await connection.execute(table.insert(), rows)


class _Loop:
    """What one writes by hand: SELECT in batches, INSERT of many rows, one transaction; nothing is compared."""

    def __init__(self, source: AsyncEngine, ours: sa.Table, write: Callable[[list[Any]], Awaitable[Any]]) -> None:
        self._source, self._ours, self._write = source, ours, write

    async def run(self) -> None:
        query = sa.select(self._ours).order_by(self._ours.c.id).execution_options(yield_per=BATCH_ROWS)
        async with self._source.connect() as connection, connection.stream(query) as found:
            async for rows in found.mappings().partitions():
                await self._write([dict(row) for row in rows])


@asynccontextmanager
async def copying(servers: Servers, source: str, target: str) -> AsyncIterator[Contest]:
    """A table of 13 columns, from one engine into another."""
    with TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            urls = {name: await _url(servers, name, Path(folder)) for name in (source, target)}
            ours = create_async_engine(_driver(urls[source]), json_deserializer=json.loads)
            stack.push_async_callback(ours.dispose)
            table = _table(sa.MetaData(), source)
            await _fill(ours, table, is_mysql=source == "mysql")
            managers = [
                await stack.enter_async_context(DatabaseManager.from_url(urls[name])) for name in (source, target)
            ]
            verified: list[bool] = []

            async def copied() -> None:
                report = await copy_database(*managers, tables=["bench_copy"], on_existing="replace")
                verified.append(bool(report.verified))

            loop = await _by_hand(stack, ours, table, urls[target], target, source)
            yield Contest(
                ROWS, {SILLAR: copied, LOOP: loop},
                notes={"Sillar": "three reads: every value tried, copied, both sides compared"},
            )  # fmt: skip
            assert all(verified)
            async with ours.begin() as connection:
                await connection.run_sync(table.metadata.drop_all)
            for manager in managers:
                if manager.executor().capabilities.has(Capability.DOCUMENTS):
                    await manager.session().documents("bench_copy").drop()
                else:
                    await manager.session().execute("DROP TABLE IF EXISTS bench_copy")


async def _by_hand(
    stack: AsyncExitStack, source: AsyncEngine, ours: sa.Table, url: str, target: str, origin: str
) -> Callable[[], Awaitable[None]]:
    if target == "mongodb":
        return await _into_documents(stack, source, ours, url)
    engine = create_async_engine(_driver(url))
    stack.push_async_callback(engine.dispose)
    theirs = _table(sa.MetaData(), target)
    adapt = _adapting(origin, target)

    async def run() -> None:
        async with engine.begin() as connection:
            await connection.run_sync(theirs.metadata.drop_all)
            await connection.run_sync(theirs.metadata.create_all)
            await _Loop(source, ours, lambda rows: connection.execute(theirs.insert(), adapt(rows))).run()

    return run


def _adapting(source: str, target: str) -> Callable[[list[Any]], list[Any]]:
    """What the two engines' drivers do not agree on."""

    def adapt(rows: list[Any]) -> list[Any]:
        for row in rows:
            if target == "mysql":
                row["uid"], row["made_at"] = str(row["uid"]), row["made_at"].astimezone(UTC).replace(tzinfo=None)
            else:
                row["uid"] = UUID(str(row["uid"]))
                row["made_at"] = row["made_at"].replace(tzinfo=UTC)
        return rows

    return adapt


async def _into_documents(
    stack: AsyncExitStack, source: AsyncEngine, ours: sa.Table, url: str
) -> Callable[[], Awaitable[None]]:
    from bson import Decimal128
    from bson.binary import UuidRepresentation
    from bson.codec_options import CodecOptions
    from pymongo import AsyncMongoClient

    client: Any = AsyncMongoClient(url)
    stack.push_async_callback(client.close)
    options: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
    collection = client.get_default_database().get_collection("bench_copy_loop", codec_options=options)

    async def write(rows: list[Any]) -> None:
        for row in rows:
            row["_id"], row["price"], row["day"] = row.pop("id"), Decimal128(row["price"]), row["day"].isoformat()
        await collection.insert_many(rows)

    async def run() -> None:
        await collection.drop()
        await _Loop(source, ours, write).run()

    return run


async def _url(servers: Servers, engine: str, folder: Path) -> str:
    if engine == "sqlite":
        return f"sqlite:///{folder / 'bench.db'}"
    url: str = (await servers.mongodb()).url if engine == "mongodb" else (await servers.sql(engine)).url
    return url


# --- updates in batches -----------------------------------------------------------------------------------------------


class _Writer:
    """Somebody else, who updates one row after the other; how long the longest wait was."""

    def __init__(self, engine: AsyncEngine, table: sa.Table) -> None:
        self._engine, self._table = engine, table
        self._stop = asyncio.Event()
        self.longest_seconds = 0.0

    async def run(self) -> None:
        chance = random.Random(2)
        async with self._engine.connect() as connection:
            while not self._stop.is_set():
                row = self._table.c.id == chance.randrange(1, UPDATED_ROWS + 1)
                began = time.perf_counter()
                await connection.execute(sa.update(self._table).where(row).values(note="theirs"))
                await connection.commit()
                self.longest_seconds = max(self.longest_seconds, time.perf_counter() - began)
                await asyncio.sleep(0.002)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Within the block."""
        self._stop.clear()
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            self._stop.set()
            await task


@asynccontextmanager
async def updating(servers: Servers, engine: str) -> AsyncIterator[Contest]:
    """One column of all rows, in batches of 5,000 and in one statement, while somebody writes single rows.

    Each round is timed by itself; the notes have the longest that the other writer waited in any round.
    """
    async with AsyncExitStack() as stack:
        url = (await servers.sql(engine)).url
        other = create_async_engine(_driver(url))
        stack.push_async_callback(other.dispose)
        _small_isolation(other, engine)
        table = sa.Table(
            "bench_update", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
            sa.Column("n", sa.Integer, nullable=False), sa.Column("note", sa.String(80)),
        )  # fmt: skip
        async with other.begin() as connection:
            await connection.run_sync(table.metadata.drop_all)
            await connection.run_sync(table.metadata.create_all)
            for first in range(1, UPDATED_ROWS, 50_000):
                rows = [{"id": number, "n": 0, "note": "x" * 40} for number in range(first, first + 50_000)]
                await connection.execute(table.insert(), rows)
        manager = await stack.enter_async_context(DatabaseManager.from_url(url))
        notes: dict[str, float | str] = {}
        measured: dict[str, list[float]] = {SILLAR: [], ONE_UPDATE: []}

        async def round_of(contender: str, work: Callable[[], Awaitable[Any]]) -> None:
            writer = _Writer(other, table)
            async with writer.at_work():
                began = time.perf_counter()
                await work()
                measured[contender].append((time.perf_counter() - began) / UPDATED_ROWS * 1e6)
            name = f"{contender}: longest wait of another writer, ms"
            notes[name] = max(float(notes.get(name, 0)), round(writer.longest_seconds * 1000))

        async def batched() -> None:
            report = await run_batched(
                manager, batched_update, "bench_update", key="id", values={"n": "n + 1"}, batch_rows=5_000,
                throttle=Throttle(), name="bench", count=False,
            )  # fmt: skip
            assert report.rows_done == UPDATED_ROWS
            await run_batched(manager, forget_batches, "bench")

        async def whole() -> None:
            async with other.begin() as connection:
                await connection.execute(sa.update(table).values(n=table.c.n + 1))

        yield Contest(
            UPDATED_ROWS,
            {SILLAR: partial(round_of, SILLAR, batched), ONE_UPDATE: partial(round_of, ONE_UPDATE, whole)},
            measured=measured,
            notes=notes,
        )
        async with other.begin() as connection:
            await connection.run_sync(table.metadata.drop_all)
            await connection.execute(sa.text("DROP TABLE IF EXISTS _migration_batches"))


def _small_isolation(engine: AsyncEngine, name: str) -> None:
    """READ COMMITTED for all, so that MySQL locks rows and no gaps."""
    if name == "mysql":

        @event.listens_for(engine.sync_engine, "connect")
        def connected(connection: Any, _: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.close()


PAIRS = [("sqlite", "postgresql"), ("postgresql", "mysql"), ("mysql", "postgresql"), ("postgresql", "mongodb")]
CASES = [
    Case(
        f"copy.{source}.{target}",
        {LOOP: 0.25 if target == "mongodb" else 0.5},
        partial(copying, source=source, target=target),
        rounds=3,
    )
    for source, target in PAIRS
] + [
    Case(f"batched_update.{engine}", {ONE_UPDATE: 0.5}, partial(updating, engine=engine), rounds=3)
    for engine in ("postgresql", "mysql")
]
