"""Many callers at once: batches whose neighbours harm nobody, transactions alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.sqlite.crowds import at_once, occupy, queued, warm
from tests.sqlite.databases import ENDLESS_WRITE, Database, OpenDatabase

from sillar import errors
from sillar.context import deadline
from sillar.engines.connection import Isolation, TransactionOptions

INSERT = "INSERT INTO item (name, amount) VALUES (:name, :amount)"
READ_ONLY = TransactionOptions(read_only=True)


async def test_callers_share_a_transaction_and_hear_of_it_after_the_commit(either: Database) -> None:
    await warm(either, (INSERT, {"name": "warm", "amount": 0}))
    before = either.source.figures()
    holding = await occupy(either, queued(either, 100))
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
    free = asyncio.Event()
    holding = await occupy(database, free.wait())
    work = [asyncio.create_task(database.run(INSERT, {"name": f"n{n}", "amount": n})) for n in range(100)]
    await queued(database, 100)
    wake_ups = 0
    loop = asyncio.get_running_loop()
    original = loop.call_soon_threadsafe

    def counted(*args: Any, **settings: Any) -> Any:
        nonlocal wake_ups
        wake_ups += 1
        return original(*args, **settings)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
    batches = database.source.figures().batches
    free.set()
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

    holding = await occupy(either, queued(either, 7))
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
    holding = await occupy(either, queued(either, 3))
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
    free = asyncio.Event()
    holding = await occupy(either, free.wait())
    before = [asyncio.create_task(either.run(INSERT, {"name": f"a{number}", "amount": 1})) for number in range(5)]
    cancelled = asyncio.create_task(either.run(ENDLESS_WRITE))
    after = [asyncio.create_task(either.run(INSERT, {"name": f"b{number}", "amount": 1})) for number in range(5)]
    dropped = asyncio.create_task(either.run(INSERT, {"name": "dropped", "amount": 1}))
    await queued(either, 12)
    dropped.cancel()
    await asyncio.wait((dropped,), timeout=10)
    free.set()
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
    free = asyncio.Event()
    holding = await occupy(database, free.wait())
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
    free.set()
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
    database = await open_database(pool={"max_connections": 1, "connection_timeout": 0.5, "waiting_max": 1})
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
