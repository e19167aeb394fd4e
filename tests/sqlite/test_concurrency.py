"""Many callers at once: batches, transactions alone, interrupts that hit the right one, lookups on the event loop."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Awaitable
from typing import Any

import pytest
from tests.sqlite.databases import ENDLESS, ENDLESS_WRITE, Database, OpenDatabase

from sillar import errors
from sillar.context import deadline
from sillar.engines.connection import Isolation, TransactionOptions
from sillar.engines.sqlite.jobs import Job
from sillar.engines.sqlite.worker import Worker

INSERT = "INSERT INTO item (name, amount) VALUES (:name, :amount)"
READ_ONLY = TransactionOptions(read_only=True)


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


async def occupy(database: Database, seconds: float) -> asyncio.Task[None]:
    """Hold the writer for a while, so that what is sent meanwhile comes to it as one batch."""

    async def hold() -> None:
        async with database.transaction():
            await asyncio.sleep(seconds)

    task = asyncio.create_task(hold())
    while not database.source.stats().leased:
        await asyncio.sleep(0)
    return task


async def test_callers_share_a_transaction_and_hear_of_it_after_the_commit(either: Database) -> None:
    await warm(either, (INSERT, {"name": "warm", "amount": 0}))
    before = either.source.figures()
    holding = await occupy(either, 0.05)
    replies = await at_once(*(either.run(INSERT, {"name": f"n{number}", "amount": number}) for number in range(100)))
    await holding
    after = either.source.figures()
    assert {reply.last_insert_id for reply in replies} == set(range(1, 101))
    assert after.batched - before.batched == 100
    assert after.batches - before.batches < 10
    assert after.batch_max > 10
    assert await either.value("SELECT sum(amount) FROM item") == sum(range(100))


async def test_one_wake_up_of_the_loop_per_batch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm(database, (INSERT, {"name": "warm", "amount": 0}))
    holding = await occupy(database, 0.05)
    work = [asyncio.create_task(database.run(INSERT, {"name": f"n{n}", "amount": n})) for n in range(100)]
    await asyncio.sleep(0.01)
    wake_ups = 0
    loop = asyncio.get_running_loop()
    original = loop.call_soon_threadsafe

    def counted(*args: Any, **settings: Any) -> Any:
        nonlocal wake_ups
        wake_ups += 1
        return original(*args, **settings)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    batches = database.source.figures().batches
    await holding
    await asyncio.gather(*work)
    assert wake_ups <= database.source.figures().batches - batches + 3  # and the ends of the transaction that held it


async def test_a_failing_neighbour_changes_nothing(either: Database) -> None:
    rollback = "INSERT OR ROLLBACK INTO item (name, amount) VALUES (:name, :amount)"
    many = "INSERT INTO item (name) VALUES (?1)"
    await warm(
        either,
        (INSERT, {"name": "warm", "amount": 0}),
        (rollback, {"name": "warm", "amount": 0}),
        (many, ["warm"]),  # type: ignore[arg-type]
    )
    await either.run(INSERT, {"name": "taken", "amount": 0})
    statement, _ = either.adapter.bind(many, None)

    async def several(*names: str) -> int:
        async with either.connection() as connection:
            return await connection.run_many(statement, [(name,) for name in names])

    holding = await occupy(either, 0.05)
    outcomes = await at_once(
        either.run(INSERT, {"name": "a", "amount": 1}),
        either.run(INSERT, {"name": "taken", "amount": 1}),
        several("b", "c", "taken"),
        several("d", "e"),
        either.run(rollback, {"name": "taken", "amount": 1}),
        either.run(INSERT, {"name": "f", "amount": -1}),
        either.run(INSERT, {"name": "g", "amount": 1}),
    )
    await holding
    kinds = [type(outcome).__name__ for outcome in outcomes]
    unique, check = "UniqueViolationError", "CheckViolationError"
    assert kinds == ["Reply", unique, unique, "int", unique, check, "Reply"]
    names = {name for (name,) in await either.rows("SELECT name FROM item")}
    assert names == {"taken", "a", "d", "e", "g"}
    assert either.source.figures().replays >= 1


async def test_a_deferred_constraint_fails_only_its_own_caller(either: Database) -> None:
    await either.run("CREATE TABLE part (item INTEGER REFERENCES item DEFERRABLE INITIALLY DEFERRED)")
    part = "INSERT INTO part VALUES (:item)"
    await warm(either, (INSERT, {"name": "warm", "amount": 0}), (part, {"item": None}))
    holding = await occupy(either, 0.05)
    outcomes = await at_once(
        either.run(INSERT, {"name": "a", "amount": 1}),
        either.run(part, {"item": 99}),
        either.run(part, {"item": None}),
    )
    await holding
    assert [type(outcome).__name__ for outcome in outcomes] == ["Reply", "ForeignKeyViolationError", "Reply"]
    assert await either.rows("SELECT item FROM part") == [(None,)]
    assert await either.value("SELECT count(*) FROM item") == 1
    with pytest.raises(errors.ForeignKeyViolationError):
        async with either.transaction() as transaction:
            await transaction.run(part, {"item": 99})
    assert await either.value("SELECT count(*) FROM part") == 1


async def test_a_cancelled_neighbour_changes_nothing(either: Database) -> None:
    await warm(either, (INSERT, {"name": "warm", "amount": 0}))
    endless, _ = either.adapter.bind(ENDLESS_WRITE, None)
    endless.seconds_longest = 0.0001  # as if it had been short so far: it gets into a batch with others
    holding = await occupy(either, 0.05)
    before = [asyncio.create_task(either.run(INSERT, {"name": f"a{number}", "amount": 1})) for number in range(5)]
    cancelled = asyncio.create_task(either.run(ENDLESS_WRITE))
    after = [asyncio.create_task(either.run(INSERT, {"name": f"b{number}", "amount": 1})) for number in range(5)]
    dropped = asyncio.create_task(either.run(INSERT, {"name": "dropped", "amount": 1}))
    await asyncio.sleep(0.01)
    dropped.cancel()
    await holding
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in (*before, *after))
    cancelled.cancel()
    started = time.monotonic()
    await asyncio.gather(*before, *after)
    assert time.monotonic() - started < 1
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(asyncio.CancelledError):
        await dropped
    names = {name for (name,) in await either.rows("SELECT name FROM item")}
    assert names == {f"{letter}{number}" for letter in "ab" for number in range(5)}


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


async def test_a_transaction_holds_the_writer_alone(either: Database) -> None:
    async with either.transaction() as transaction:
        await transaction.run(INSERT, {"name": "mine", "amount": 1})
        others = [asyncio.create_task(either.run(INSERT, {"name": f"n{number}", "amount": 1})) for number in range(3)]
        second = asyncio.create_task(run_in_transaction(either, "second"))
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in (*others, second))
        assert await transaction.value("SELECT count(*) FROM item") == 1
        if not either.source.file.in_memory:  # readers go on, and see what is committed
            assert await either.value("SELECT count(*) FROM item") == 0
    await asyncio.gather(*others, second)
    assert await either.value("SELECT count(*) FROM item") == 5


async def run_in_transaction(database: Database, name: str) -> None:
    async with database.transaction() as transaction:
        await transaction.run(INSERT, {"name": name, "amount": 1})


async def test_rollback_savepoints_and_release_with_an_open_transaction(either: Database) -> None:
    async with either.transaction() as transaction:
        connection = transaction.connection
        await transaction.run(INSERT, {"name": "a", "amount": 1})
        await connection.savepoint("inner")
        await transaction.run(INSERT, {"name": "b", "amount": 1})
        await connection.rollback_to_savepoint("inner")
        await transaction.run("SAVEPOINT by_hand")
        await transaction.run(INSERT, {"name": "c", "amount": 1})
        await transaction.run("RELEASE by_hand")
        await connection.release_savepoint("inner")
        with pytest.raises(errors.UsageError, match="COMMIT"):
            await transaction.run("COMMIT")
        with pytest.raises(errors.UsageError, match="open on this connection already"):
            await connection.begin()
    assert [name for (name,) in await either.rows("SELECT name FROM item ORDER BY id")] == ["a", "c"]
    connection = await either.source.acquire_connection()
    await connection.begin()
    statement, args = either.adapter.bind(INSERT, {"name": "d", "amount": 1})
    await connection.run(statement, args)
    either.source.release_connection(connection)
    assert await either.value("SELECT count(*) FROM item") == 2
    async with either.connection() as connection:
        await connection.begin()
        await connection.run(statement, args)
        await connection.reset()
        assert not connection.in_transaction
        with pytest.raises(errors.UsageError):
            await connection.commit()
        with pytest.raises(errors.UsageError):
            await connection.savepoint("x")
        with pytest.raises(errors.UnsupportedCapabilityError):
            await connection.begin(TransactionOptions(isolation=Isolation.READ_COMMITTED))
        await connection.begin(TransactionOptions(isolation=Isolation.SERIALIZABLE))
        await connection.rollback()
    assert await either.value("SELECT count(*) FROM item") == 2


async def test_a_read_only_transaction_refuses_writes(either: Database) -> None:
    async with either.transaction(READ_ONLY) as transaction:
        with pytest.raises(errors.ReadOnlyError):
            await transaction.run(INSERT, {"name": "a", "amount": 1})
        assert await transaction.value("SELECT count(*) FROM item") == 0
    await either.run(INSERT, {"name": "a", "amount": 1})
    assert await either.value("SELECT count(*) FROM item") == 1


async def test_a_read_only_transaction_keeps_its_snapshot_beside_the_writer(database: Database) -> None:
    async with database.transaction(READ_ONLY) as snapshot:
        await database.run(INSERT, {"name": "later", "amount": 1})
        assert await database.value("SELECT count(*) FROM item") == 1
        assert await snapshot.value("SELECT count(*) FROM item") == 0
    async with database.transaction(READ_ONLY) as snapshot:
        assert await snapshot.value("SELECT count(*) FROM item") == 1


async def test_waiting_for_the_writer_is_bounded_and_named(open_database: OpenDatabase) -> None:
    database = await open_database(pool={"connection_timeout": 0.1, "waiting_max": 3})
    holding = await occupy(database, 1.5)
    with pytest.raises(errors.PoolTimeoutError, match=r"the writer held by task .* not free within 0\.1 s") as waited:
        await database.run(INSERT, {"name": "a", "amount": 1})
    assert isinstance(waited.value, TimeoutError)
    with pytest.raises(errors.PoolTimeoutError, match="connection_timeout"):
        async with database.transaction():
            pass
    with deadline(0.02), pytest.raises(errors.PoolTimeoutError, match=r"0\.0 s"):
        async with database.transaction():
            pass
    outcomes = await at_once(*(database.run(INSERT, {"name": f"n{number}", "amount": 1}) for number in range(10)))
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds.count(errors.PoolExhaustedError) >= 6
    assert kinds.count(errors.PoolTimeoutError) <= 4
    assert set(kinds) == {errors.PoolExhaustedError, errors.PoolTimeoutError}
    assert database.source.stats().timeouts_total >= 4
    await holding
    assert await database.value("SELECT count(*) FROM item") == 0
    await database.run(INSERT, {"name": "z", "amount": 1})


async def test_a_task_that_would_wait_for_itself_is_told(either: Database) -> None:
    async with either.transaction():
        with pytest.raises(errors.NestedAcquireError, match="this very task"):
            await either.run(INSERT, {"name": "a", "amount": 1})
        with pytest.raises(errors.NestedAcquireError):
            async with either.transaction():
                pass
    await either.run(INSERT, {"name": "a", "amount": 1})


async def test_readers_for_snapshots_are_lent_in_turn(open_database: OpenDatabase) -> None:
    database = await open_database(pool={"max_connections": 1, "connection_timeout": 0.1, "waiting_max": 1})
    async with database.transaction(READ_ONLY):
        with pytest.raises(errors.NestedAcquireError, match="streams and read-only"):
            async with database.transaction(READ_ONLY):
                pass
        assert await database.value("SELECT 1") == 1

        async def snapshot() -> Any:
            async with database.transaction(READ_ONLY) as transaction:
                return await transaction.value("SELECT 2")

        outcomes = await at_once(snapshot(), snapshot())
        assert [type(outcome) for outcome in outcomes] == [errors.PoolTimeoutError, errors.PoolExhaustedError]
        waiting = asyncio.create_task(snapshot())
        await asyncio.sleep(0.02)
    assert await waiting == 2


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
    assert await either.value("SELECT count(*) FROM item") == 30


async def test_proven_lookups_run_on_the_loop(database: Database) -> None:
    await database.run("CREATE TABLE pair (a, b, c, PRIMARY KEY (a, b)) WITHOUT ROWID")
    await database.run("CREATE TABLE many (id INTEGER PRIMARY KEY, n, twice AS (n * 2) VIRTUAL)")
    await database.run("CREATE INDEX many_n ON many (n)")
    await database.run("CREATE VIEW seen AS SELECT id, printf('%s', name) AS name FROM item")
    await database.run(INSERT, {"name": "a", "amount": 1})
    await database.run("INSERT INTO pair VALUES (1, 2, 3)")
    proven = {
        "SELECT * FROM item WHERE id = :id": {"id": 1},
        "select i.name as n, i.amount from main.item AS i where i.name = :name": {"name": "a"},
        'SELECT "name" FROM "item" WHERE "id" = :id AND amount = 1 LIMIT 1': {"id": 1},
        "SELECT c FROM pair WHERE b = :b AND a = :a": {"a": 1, "b": 2},
    }
    not_proven = {
        "SELECT name FROM item WHERE id > :id": {"id": 0},
        "SELECT name FROM item WHERE id IN (:id, 2)": {"id": 1},
        "SELECT name FROM item WHERE id = :id OR id = 2": {"id": 1},
        "SELECT name FROM item WHERE amount = :id": {"id": 1},
        "SELECT name FROM item WHERE name IS :id": {"id": None},
        "SELECT max(name) FROM item WHERE id = :id": {"id": 1},
        "SELECT name FROM item, pair WHERE id = :id": {"id": 1},
        "SELECT name FROM item WHERE id = :id ORDER BY name": {"id": 1},
        "SELECT name FROM seen WHERE id = :id": {"id": 1},
        "SELECT c FROM pair WHERE a = :a": {"a": 1},
        "SELECT n FROM many WHERE n = :n": {"n": 1},
        "SELECT twice FROM many WHERE id = :n": {"n": 1},
    }
    for sql, params in (*proven.items(), *not_proven.items()):
        first = await database.rows(sql, params)
        await asyncio.sleep(0.02)
        before = database.source.figures().inline_reads
        assert await database.rows(sql, params) == first
        assert await database.row(sql, params) == (first[0] if first else None)
        assert database.source.figures().inline_reads - before == (2 if sql in proven else 0), sql
    assert database.source.figures().lookups_proven == len(proven)


async def test_an_inline_read_sees_every_acknowledged_write(database: Database) -> None:
    await database.run(INSERT, {"name": "a", "amount": 0})
    await prove(database)
    for amount in range(1, 200):
        await database.run("UPDATE item SET amount = :amount WHERE id = 1", {"amount": amount})
        assert await database.value("SELECT amount FROM item WHERE id = :id", {"id": 1}) == amount
    assert database.source.figures().inline_reads >= 199


async def prove(database: Database) -> None:
    await database.value("SELECT amount FROM item WHERE id = :id", {"id": 1})
    await asyncio.sleep(0.05)


async def test_a_change_of_the_schema_takes_proofs_back(database: Database) -> None:
    await database.run("CREATE TABLE plain (code, text)")
    await database.run("CREATE UNIQUE INDEX plain_code ON plain (code)")
    await database.run("INSERT INTO plain VALUES (1, 'x')")
    for expected in (1, 1, 0):
        sql = "SELECT text FROM plain WHERE code = :code"
        await database.value(sql, {"code": 1})
        await asyncio.sleep(0.02)
        before = database.source.figures().inline_reads
        assert await database.value(sql, {"code": 1}) == "x"
        assert database.source.figures().inline_reads - before == expected
        if expected and before:
            await database.run("DROP INDEX plain_code")


async def test_a_slow_or_large_inline_read_moves_to_a_thread(database: Database) -> None:
    path = database.source.file.path
    await database.run("CREATE TABLE big (code, text)")
    await database.run("CREATE UNIQUE INDEX big_code ON big (code)")
    async with database.connection() as connection:
        await connection.bulk_insert("big", ["code", "text"], ((number, "x" * 50) for number in range(200_000)))
    await database.run("INSERT INTO big VALUES (-1, :text)", {"text": "y" * 3_000_000})
    sql = "SELECT text FROM big WHERE code = :code"
    await database.value(sql, {"code": 1})
    await asyncio.sleep(0.05)
    assert await database.value(sql, {"code": 2}) == "x" * 50
    assert database.source.figures().inline_reads == 1
    assert len(await database.value(sql, {"code": -1})) == 3_000_000
    assert database.source.figures().moved_reads == 1
    other = sqlite3.connect(path)  # as another process would
    other.execute("DROP INDEX big_code")
    other.close()
    assert await database.value(sql, {"code": 150_000}) == "x" * 50
    figures = database.source.figures()
    assert (figures.inline_reads, figures.moved_reads, figures.lookups_lost) == (1, 2, 1)
    assert 0 < figures.inline_seconds_longest < 0.5
    assert await database.value(sql, {"code": 150_001}) == "x" * 50
    assert database.source.figures().moved_reads == 2


async def test_inline_reads_let_other_tasks_run(database: Database) -> None:
    await database.run(INSERT, {"name": "a", "amount": 0})
    await prove(database)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(2000):
        await database.value("SELECT amount FROM item WHERE id = :id", {"id": 1})
    task.cancel()
    assert database.source.figures().inline_reads >= 2000
    assert turns > 5


async def test_inline_reads_can_be_switched_off(open_database: OpenDatabase) -> None:
    database = await open_database(inline_reads=False)
    await database.run(INSERT, {"name": "a", "amount": 5})
    for _ in range(3):
        assert await database.value("SELECT amount FROM item WHERE id = :id", {"id": 1}) == 5
        await asyncio.sleep(0.01)
    assert database.source.figures().inline_reads == 0


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
    await begun.wait()
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
            if random_.random() < 0.5:
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
