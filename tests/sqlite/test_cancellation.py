"""Timeouts and cancellations stop the right statement, at once, and leave nothing behind."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from typing import Any

import pytest
from tests.sqlite.crowds import at_once
from tests.sqlite.databases import ENDLESS, ENDLESS_WRITE, Database, OpenDatabase

from sillar import errors
from sillar.engines.connection import TransactionOptions
from sillar.engines.sqlite.jobs import Job
from sillar.engines.sqlite.worker import Worker

INSERT = "INSERT INTO item (name, amount) VALUES (:name, :amount)"
READ_ONLY = TransactionOptions(read_only=True)


async def test_a_timeout_and_a_cancellation_stop_the_statement(either: Database) -> None:
    for sql in (ENDLESS, ENDLESS_WRITE):
        started = time.monotonic()
        with pytest.raises(errors.StatementTimeoutError, match=r"0\.1 s") as timed_out:
            await either.run(sql, None, 0.1)
        assert time.monotonic() - started < 1.1
        assert isinstance(timed_out.value, TimeoutError)
        task = asyncio.create_task(either.run(sql))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        started = time.monotonic()
        await either.run(INSERT, {"name": f"after {sql[:4]}", "amount": 1})  # the writer is free again
        await asyncio.gather(*(either.value("SELECT count(*) FROM item") for _ in range(4)))  # and every reader
        assert time.monotonic() - started < 1
    assert await either.value("SELECT count(*) FROM item") == 2


async def test_the_configured_timeout_and_cancel_from_outside(open_database: OpenDatabase) -> None:
    database = await open_database(statement_timeout=0.1)
    with pytest.raises(errors.StatementTimeoutError):
        await database.run(ENDLESS)
    other = await open_database()
    statement, args = other.adapter.bind(ENDLESS, None)
    async with other.connection() as connection:
        task = asyncio.create_task(connection.fetch(statement, args))
        await asyncio.sleep(0.05)
        await connection.cancel()
        with pytest.raises(errors.StatementTimeoutError, match="cancelled"):
            await task
        await connection.cancel()


async def test_an_interrupted_transaction_refuses_to_go_on(either: Database) -> None:
    with pytest.raises(errors.UnknownStatementError, match="rolled this transaction back"):
        async with either.transaction() as transaction:
            await transaction.run(INSERT, {"name": "a", "amount": 1})
            with pytest.raises(errors.StatementTimeoutError):
                await transaction.run(ENDLESS_WRITE, None, 0.1)
            with pytest.raises(errors.UnknownStatementError, match="rolled this transaction back"):
                await transaction.run(INSERT, {"name": "b", "amount": 1})
    assert await either.value("SELECT count(*) FROM item") == 0


async def test_a_commit_once_asked_for_happens(either: Database) -> None:
    for number in range(30):
        connection = await either.source.acquire_connection()
        await connection.begin()
        statement, args = either.adapter.bind(INSERT, {"name": f"n{number}", "amount": 1})
        await connection.run(statement, args)
        task = asyncio.create_task(connection.commit())
        for _ in range(number % 3 + 1):
            await asyncio.sleep(0)
        task.cancel()
        await at_once(task)
        either.source.release_connection(connection)
    for _ in range(200):  # the last one may still be on its way
        if await either.value("SELECT count(*) FROM item") == 30:
            break
        await asyncio.sleep(0.01)
    assert await either.value("SELECT count(*) FROM item") == 30


async def test_an_interrupt_between_two_steps_is_sent_again(database: Database) -> None:
    """SQLite forgets an interrupt that comes while no statement runs."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(worker: Worker, job: Job) -> Any:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(0.1)  # the first interrupts are lost here
        return worker.connection.execute(ENDLESS).fetchall()

    job = Job(work, None)
    database.source.submit_read(job)
    task = asyncio.create_task(database.source.dispatch.result(job))
    await asyncio.wait_for(begun.wait(), 20)
    task.cancel()
    await at_once(task)
    for _ in range(200):
        if job.error is not None:
            break
        await asyncio.sleep(0.01)
    assert isinstance(job.error, sqlite3.OperationalError)


async def test_ten_thousand_cancellations(either: Database) -> None:
    """Nobody gets another caller's reply, no transaction stays open, and what was acknowledged is there."""
    random_ = random.Random(7)
    await either.run("CREATE TABLE seen (id INTEGER PRIMARY KEY, token TEXT UNIQUE)")
    async with either.connection() as connection:
        await connection.bulk_insert("item", ["name", "amount"], ((f"n{number}", number) for number in range(500)))
    acknowledged: set[str] = set()
    cancelled = 0

    async def one(number: int) -> None:
        kind = number % 5
        if kind == 0:
            key = random_.randrange(500)
            assert await either.row("SELECT amount, name FROM item WHERE name = :name", {"name": f"n{key}"}) == (
                key,
                f"n{key}",
            )
        elif kind == 1:
            token = f"auto {number}"
            reply = await either.run("INSERT INTO seen (token) VALUES (:token) RETURNING token", {"token": token})
            assert reply.rows == [(token,)]
            acknowledged.add(token)
        elif kind == 2:
            assert await either.rows("SELECT :number + amount FROM item WHERE amount < 2", {"number": number}) == [
                (number,), (number + 1,)
            ]  # fmt: skip
        elif kind == 3:
            token = f"transaction {number}"
            async with either.transaction() as transaction:
                await transaction.run("INSERT INTO seen (token) VALUES (:token)", {"token": token})
                assert await transaction.value("SELECT count(*) FROM seen WHERE token = :token", {"token": token}) == 1
            acknowledged.add(token)
        else:
            options = READ_ONLY
            async with either.transaction(options) as transaction:
                assert await transaction.value("SELECT :number", {"number": number}) == number

    async def cancelling(block: int) -> None:
        nonlocal cancelled
        number = block * 1_000_000
        while cancelled < 10_000:
            number += 1
            task = asyncio.create_task(one(number))
            fate = random_.random()
            if fate < 0.1:
                await task
                continue
            if fate < 0.5:
                for _ in range(random_.randrange(6)):
                    await asyncio.sleep(0)
            else:
                await asyncio.sleep(random_.random() * 0.002)
            task.cancel()
            (outcome,) = await at_once(task)
            if isinstance(outcome, asyncio.CancelledError):
                cancelled += 1
            elif outcome is not None:
                raise outcome

    await asyncio.gather(*(cancelling(block) for block in range(40)))
    assert cancelled >= 10_000
    assert len(acknowledged) > 100
    stored = {token for (token,) in await either.rows("SELECT token FROM seen")}
    assert acknowledged <= stored
    figures = either.source.figures()
    assert figures.withdrawn > 2000  # of statements that were under way
    assert figures.leased == 0
    assert either.source.stats().leased == 0
    async with either.transaction() as transaction:
        await transaction.run("DELETE FROM seen")
    assert await either.value("SELECT count(*) FROM seen") == 0
