"""A statement whose caller leaves: stopped on the server within a second, and its reply reaches nobody else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sillar import DatabaseManager, deadline
from sillar.engines.mysql import MySQLAdapter
from sillar.engines.mysql.connection import MySQLConnection
from sillar.errors import StatementTimeoutError, UsageError
from sillar.pool import ConnectionPool
from sillar.testing.conformance import eventually
from sillar.testing.servers import MySQLServer

Ask = Callable[..., Awaitable[Any]]
Processlist = Callable[[], Awaitable[list[tuple[int, str]]]]
SLOW = "SELECT COUNT(*), SLEEP(30) FROM information_schema.tables a WHERE SLEEP(30) = 0"


async def stopped_within(seconds: float, processlist: Processlist, word: str = "SLEEP") -> None:
    """Return once no session runs a statement with that word; the last look begins after that time."""

    async def none_runs() -> bool:
        return not any(word in text for _, text in await processlist())

    await eventually(none_runs, seconds)


async def running(processlist: Processlist, word: str = "SLEEP") -> None:
    async with asyncio.timeout(20):
        while not any(word in text for _, text in await processlist()):
            await asyncio.sleep(0.01)


async def test_a_cancelled_statement_is_stopped_and_its_connection_kept(
    connection: MySQLConnection, ask: Ask, processlist: Processlist
) -> None:
    task = asyncio.create_task(ask(connection, SLOW))
    await running(processlist)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 0.5, "the caller does not wait for the server"
    await stopped_within(1.0, processlist)
    assert connection.dirty
    before = connection.server_id
    await connection.reset()
    assert not connection.dirty
    assert not connection.is_closed()
    assert await ask(connection, "SELECT CONNECTION_ID()") == [(before,)]


@pytest.mark.parametrize("sql", [SLOW, "SELECT SLEEP(:seconds)", "SELECT SLEEP(30)", "DO SLEEP(30)"])
async def test_a_timeout_stops_the_statement(
    connection: MySQLConnection, ask: Ask, processlist: Processlist, sql: str
) -> None:
    started = time.monotonic()
    with pytest.raises(StatementTimeoutError, match=r"longer than 0\.3 s"):
        await ask(connection, sql, {"seconds": 30} if ":" in sql else None, timeout_seconds=0.3)
    assert 0.25 < time.monotonic() - started < 1.3
    await stopped_within(1.0, processlist)
    assert await ask(connection, "SELECT 7") == [(7,)]


async def test_a_timeout_leaves_the_transaction_usable(
    connection: MySQLConnection, ask: Ask, table: Callable[[str], Awaitable[str]]
) -> None:
    name = await table("id INT PRIMARY KEY")
    await connection.begin()
    await ask(connection, f"INSERT INTO {name} VALUES (1)")
    with pytest.raises(StatementTimeoutError):
        await ask(connection, SLOW, timeout_seconds=0.1)
    await ask(connection, f"INSERT INTO {name} VALUES (2)")
    await connection.commit()
    assert await ask(connection, f"SELECT COUNT(*) FROM {name}") == [(2,)]


async def test_the_deadline_of_the_context_bounds_a_statement(
    open_manager: Callable[..., Awaitable[DatabaseManager]], processlist: Processlist
) -> None:
    manager = await open_manager()
    with deadline(0.3), pytest.raises(StatementTimeoutError):
        await manager.session().execute(SLOW)
    await stopped_within(1.0, processlist)


async def test_writes_are_stopped_and_rolled_back(
    connection: MySQLConnection, ask: Ask, table: Callable[[str], Awaitable[str]], processlist: Processlist
) -> None:
    name = await table("id INT PRIMARY KEY, n INT")
    await connection.bulk_insert(name, ["id", "n"], [(number, 0) for number in range(50)])
    task = asyncio.create_task(ask(connection, f"UPDATE {name} SET n = 1 WHERE SLEEP(0.2) = 0"))
    await running(processlist)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stopped_within(1.0, processlist)
    await connection.reset()
    assert await ask(connection, f"SELECT MAX(n) FROM {name}") == [(0,)]


@pytest.mark.parametrize(
    "statement", ["INSERT INTO {} VALUES (:id)", "UPDATE {} SET id = id + 0 WHERE id = :id AND SLEEP(0.05) = 0"]
)
async def test_a_cancelled_batch_leaves_nothing(
    open_manager: Callable[..., Awaitable[DatabaseManager]],
    table: Callable[[str], Awaitable[str]],
    processlist: Processlist,
    statement: str,
) -> None:
    name = await table("id INT PRIMARY KEY")
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    if statement.startswith("UPDATE"):
        await session.bulk_insert(name, ["id"], [(number,) for number in range(200)])
        expected = 200
    else:
        expected = 0
    sets = [{"id": number} for number in range(200 if expected else 60_000)]
    task = asyncio.create_task(session.execute_many(statement.format(name), sets))
    await running(processlist, word=name)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stopped_within(1.0, processlist, word=name)
    assert await session.fetch_value(f"SELECT COUNT(*) FROM {name}") == expected
    assert manager.pools["default"].stats().opened_total == 1


async def test_cancel_from_outside(connection: MySQLConnection, ask: Ask, processlist: Processlist) -> None:
    await connection.cancel()  # harmless: nothing runs
    assert await ask(connection, "SELECT 1") == [(1,)]
    task = asyncio.create_task(ask(connection, f"{SLOW} AND 1"))
    await running(processlist)
    await connection.cancel()
    with pytest.raises(Exception, match="interrupted"):
        await task
    assert await ask(connection, "SELECT 2") == [(2,)]


async def test_a_second_task_on_one_connection_is_refused(
    connection: MySQLConnection, ask: Ask, processlist: Processlist
) -> None:
    task = asyncio.create_task(ask(connection, "SELECT SLEEP(1.5)"))
    await running(processlist)
    with pytest.raises(UsageError, match="one task at a time"):
        await ask(connection, "SELECT 1")
    assert await task == [(0,)]


async def test_a_stream_that_is_left_is_stopped(
    connection: MySQLConnection, adapter: MySQLAdapter, ask: Ask, processlist: Processlist
) -> None:
    numbers = "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
    endless = f"{numbers} SELECT a.i FROM n a, n b, n c"
    statement, args = adapter.bind(endless, None)
    stream = connection.stream(statement, args, 100)
    shape, rows = await anext(stream)
    assert shape.columns == ("i",)
    assert len(rows) == 100
    with pytest.raises(UsageError, match="stream"):
        await ask(connection, "SELECT 1")
    await stream.aclose()
    await stopped_within(1.0, processlist, word="RECURSIVE")
    assert await ask(connection, "SELECT 5") == [(5,)], "the next statement waits until the rest is skipped"
    assert connection.dirty


@pytest.mark.parametrize("loop_turns", range(0, 40, 3))
async def test_cancelling_at_any_loop_turn_crosses_no_reply(
    connection: MySQLConnection, ask: Ask, loop_turns: int
) -> None:
    task = asyncio.create_task(ask(connection, "SELECT :value, 'first'", {"value": 1}))
    for _ in range(loop_turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await ask(connection, "SELECT :value, 'second'", {"value": 2}) == [(2, "second")]
    assert await ask(connection, "SELECT 3") == [(3,)]


async def test_ten_thousand_cancellations(
    open_manager: Callable[..., Awaitable[DatabaseManager]], processlist: Processlist, server: MySQLServer
) -> None:
    """Replies never cross, the pool keeps its connections, and the server's sessions are back at their baseline."""
    baseline = len(await processlist())
    limits = {"max_connections": 10, "min_connections": 0, "waiting_max": 10_000, "connection_timeout": 60}
    manager = await open_manager(pool=limits)
    pool = manager.pools["default"]
    assert isinstance(pool, ConnectionPool)
    rng = random.Random(20)
    outcomes = {"answered": 0, "cancelled": 0}

    async def caller(number: int) -> None:
        session = manager.session()
        kind = number % 5
        try:
            if kind == 0:
                answer = await session.fetch_value("SELECT :number", {"number": number})
            elif kind == 1:
                answer = await session.fetch_value(f"SELECT {number}")
            elif kind == 2:
                answer = await session.fetch_value("SELECT :number + SLEEP(0.002)", {"number": number})
            elif kind == 3:
                async with session.transaction():
                    answer = await session.fetch_value("SELECT :number", {"number": number})
            else:
                rows = await session.fetch_all(
                    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
                    " SELECT :number AS number, i FROM n",
                    {"number": number},
                )
                assert [row["i"] for row in rows] == list(range(1, 201))
                answer = rows[-1]["number"]
            assert answer == number, "a reply crossed to another caller"
            outcomes["answered"] += 1
        except asyncio.CancelledError:
            outcomes["cancelled"] += 1

    for wave in range(100):
        tasks = [asyncio.create_task(caller(wave * 100 + number)) for number in range(100)]
        for task in rng.sample(tasks, len(tasks)):
            if rng.random() < 0.05:
                await asyncio.sleep(rng.random() * 0.001)
            elif rng.random() < 0.5:
                await asyncio.sleep(0)
            task.cancel()
        done, _ = await asyncio.wait(tasks)
        for task in done:
            assert task.cancelled() or task.exception() is None, task.exception()
    async with asyncio.timeout(30):
        while pool.stats().restoring or pool.stats().leased:
            await asyncio.sleep(0.02)
    assert sum(outcomes.values()) <= 10_000
    assert outcomes["cancelled"] > 2_000, outcomes
    stats = pool.stats()
    assert stats.lost_total == 0, "a storm of cancellations keeps its connections"
    assert stats.opened_total <= 10
    assert await manager.session().fetch_value("SELECT 42") == 42
    await manager.shutdown()
    async with asyncio.timeout(15):
        while len(await processlist()) > baseline:
            await asyncio.sleep(0.05)


async def test_a_storm_of_long_statements_needs_few_side_connections(
    open_manager: Callable[..., Awaitable[DatabaseManager]],
    open_connection: Callable[..., Awaitable[MySQLConnection]],
    ask: Ask,
    table: Callable[[str], Awaitable[str]],
    processlist: Processlist,
) -> None:
    """Twenty statements wait for a row that somebody else holds. (Not SLEEP: on many of it MariaDB's KILL stalls.)"""
    name = await table("id INT PRIMARY KEY, n INT")
    holder = await open_connection()
    await ask(holder, f"INSERT INTO {name} VALUES (1, 0)")
    await holder.begin()
    await ask(holder, f"UPDATE {name} SET n = 1")
    manager = await open_manager(pool={"max_connections": 20, "handshakes_max": 2})
    pool = manager.pools["default"]
    assert isinstance(pool, ConnectionPool)
    tasks = [asyncio.create_task(manager.session().execute(f"UPDATE {name} SET n = 2")) for _ in range(20)]
    async with asyncio.timeout(30):
        while sum(name in text for _, text in await processlist()) < 20:
            await asyncio.sleep(0.02)
    sessions_before = len(await processlist())
    for task in tasks:
        task.cancel()
    sessions_seen = [0]

    async def watched() -> list[tuple[int, str]]:
        found = await processlist()
        sessions_seen.append(len(found))
        return found

    await stopped_within(1.0, watched, word=name)
    assert max(sessions_seen) <= sessions_before + 4, "few side connections at once, closing ones included"
    await asyncio.wait(tasks)
    assert isinstance(pool.adapter, MySQLAdapter)
    (killer,) = pool.adapter._killers.values()
    assert killer.handshakes <= 8
    async with asyncio.timeout(15):
        while pool.stats().restoring:
            await asyncio.sleep(0.02)
    assert pool.stats().lost_total == 0
    assert pool.stats().open == 20
    await holder.rollback()
