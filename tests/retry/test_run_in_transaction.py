"""Whole transactions that are run again: storms, deadlocks, lost connections, refusals, limits."""

from __future__ import annotations

import asyncio

import pytest
from tests.retry.conftest import MakeTable, OpenManager

from sillar import DatabaseManager, DatabaseSession, Isolation, Transaction
from sillar.errors import (
    ConnectionLostError,
)
from sillar.testing.faults import FaultProxy


async def amount(session: DatabaseSession, table: str, number: int = 1) -> int:
    return int(await session.fetch_value(f"SELECT amount FROM {table} WHERE id = {number}"))


async def test_a_storm_of_increments_loses_none(
    open_manager: OpenManager, table: MakeTable, manager: DatabaseManager
) -> None:
    name = await table()
    busy = await open_manager(
        pool={"max_connections": 8, "connection_timeout": 60}, retry={"transaction_attempts_max": 200}
    )
    runs = 0

    async def increment(tx: Transaction) -> int:
        nonlocal runs
        runs += 1
        found = await tx.fetch_value(f"SELECT amount FROM {name} WHERE id = 1")
        await tx.execute(f"UPDATE {name} SET amount = :amount WHERE id = 1", {"amount": found + 1})
        return int(found) + 1

    async def one() -> int:
        return await busy.session().run_in_transaction(increment, isolation=Isolation.SERIALIZABLE)

    seen = await asyncio.wait_for(asyncio.gather(*(one() for _ in range(60))), 50)
    assert sorted(seen) == list(range(1, 61))
    assert await amount(manager.session(), name) == 60
    assert runs > 60, "nothing was run again"


async def test_deadlocks_are_run_again(manager: DatabaseManager, table: MakeTable) -> None:
    name = await table(2)
    barrier = asyncio.Barrier(2)
    attempts: list[tuple[int, int]] = []

    async def cross(first: int, second: int) -> None:
        async def work(tx: Transaction) -> None:
            attempts.append((first, second))
            await tx.execute(f"UPDATE {name} SET amount = amount + 1 WHERE id = :id", {"id": first})
            if len(attempts) <= 2:
                await barrier.wait()
            await tx.execute(f"UPDATE {name} SET amount = amount + 1 WHERE id = :id", {"id": second})

        await manager.session().run_in_transaction(work)

    await asyncio.wait_for(asyncio.gather(cross(1, 2), cross(2, 1)), 30)
    assert len(attempts) == 3
    assert [await amount(manager.session(), name, number) for number in (1, 2)] == [2, 2]


async def test_a_connection_that_is_lost_before_the_commit_is_no_loss(
    open_manager: OpenManager, proxy: FaultProxy, table: MakeTable, manager: DatabaseManager
) -> None:
    """Wherever it breaks before COMMIT, 60 times over."""
    name = await table()
    behind = await open_manager(through=proxy, pool={"max_connections": 3})
    attempts = 0

    async def work(tx: Transaction, breaking: int) -> int:
        nonlocal attempts
        attempts += 1
        first = attempts
        for step in range(3):
            if step == breaking and first == begun:
                proxy.reset()
            if step == 2:
                await tx.fetch_value(f"SELECT amount FROM {name} WHERE id = 1")
            else:
                await tx.execute(f"UPDATE {name} SET amount = amount + 1 WHERE id = 1")
        if breaking == 3 and first == begun:
            proxy.reset()
            async with asyncio.timeout(5):
                while not tx.driver_connection.is_closed():
                    await asyncio.sleep(0)
        return first

    for run in range(60):
        begun = attempts + 1
        assert await behind.session().run_in_transaction(lambda tx, run=run: work(tx, run % 4)) == begun + 1
        assert await amount(manager.session(), name) == 2 * (run + 1)


async def test_a_lost_connection_says_that_the_transaction_may_be_run_again(
    open_manager: OpenManager, proxy: FaultProxy, table: MakeTable
) -> None:
    name = await table()
    behind = await open_manager(through=proxy)
    update = f"UPDATE {name} SET amount = amount + 1"
    with pytest.raises(ConnectionLostError) as caught:
        async with behind.session().transaction() as tx:
            await tx.execute(update)
            proxy.reset()
            await tx.execute(update)
    assert caught.value.safe_to_retry
    with pytest.raises(ConnectionLostError) as caught:  # a text that may have ended the transaction on the way
        async with behind.session().transaction() as tx:
            await tx.execute("COMMIT")
            proxy.reset()
            await tx.execute(update)
    assert not caught.value.safe_to_retry
    assert await amount(behind.session(), name) == 0
