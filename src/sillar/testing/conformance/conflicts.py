"""Errors between sessions: deadlocks, serialization failures, locks."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from sillar import Capability, DatabaseManager, DatabaseSession, Isolation
from sillar.errors import DatabaseError, DeadlockError
from sillar.testing.conformance.cases import MakeTable, OpenManager, SQLCases
from sillar.testing.conformance.subject import SQLSubject


class Meeting:
    """Where two tasks wait for each other, once.

    Args:
        certain: both come; else the one may be kept out by the other's locks, and is waited for a moment at most.
    """

    def __init__(self, *, certain: bool) -> None:
        self._barrier, self._seconds = asyncio.Barrier(2), 10.0 if certain else 0.5
        self._is_over = False

    async def wait(self) -> None:
        if not self._is_over:
            with suppress(TimeoutError, asyncio.BrokenBarrierError):
                async with asyncio.timeout(self._seconds):
                    await self._barrier.wait()
            self._is_over = True


class ConflictCases(SQLCases):
    """What happens when two transactions want the same."""

    async def test_of_a_deadlock_one_gives_way_and_the_other_commits(
        self, manager: DatabaseManager, define: MakeTable, session: DatabaseSession
    ) -> None:
        """Without deadlock detection there is no deadlock: the second waits for the first from its beginning."""
        table = await define("id {integer} PRIMARY KEY, name {integer}")
        await session.execute_many(f"INSERT INTO {table} (id, name) VALUES (:id, 0)", [{"id": 1}, {"id": 2}])
        update = f"UPDATE {table} SET name = name + 1 WHERE id = :id"
        meeting = Meeting(certain=session.capabilities.has(Capability.DEADLOCK_DETECTION))

        async def cross(first: int, second: int) -> None:
            async with manager.session().transaction() as transaction:
                await transaction.execute(update, {"id": first})
                await meeting.wait()
                await transaction.execute(update, {"id": second})

        outcomes = await asyncio.wait_for(asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True), 60)
        failures = [outcome for outcome in outcomes if outcome is not None]
        if session.capabilities.has(Capability.DEADLOCK_DETECTION):
            assert [type(failure) for failure in failures] == [DeadlockError]
            assert isinstance(failures[0], DeadlockError)
            assert failures[0].safe_to_retry
            assert failures[0].code is not None
        else:
            assert failures == []
        names = await session.fetch_all(f"SELECT name FROM {table} ORDER BY id", into=int)
        assert names == [2 - len(failures)] * 2

    async def test_serializable_transactions_lose_no_update(
        self, subject: SQLSubject, manager: DatabaseManager, define: MakeTable, session: DatabaseSession
    ) -> None:
        table = await define("id {integer} PRIMARY KEY, name {integer}")
        await session.execute(f"INSERT INTO {table} (id, name) VALUES (1, 0)")
        meeting = Meeting(certain=subject.conflict is not None)
        failures: list[DatabaseError] = []

        async def increment() -> None:
            while True:
                try:
                    async with manager.session().transaction(isolation=Isolation.SERIALIZABLE) as transaction:
                        name = await transaction.fetch_value(f"SELECT name FROM {table} WHERE id = 1")
                        await meeting.wait()
                        await transaction.execute(f"UPDATE {table} SET name = :name WHERE id = 1", {"name": name + 1})
                except DatabaseError as error:
                    failures.append(error)
                else:
                    return

        await asyncio.wait_for(asyncio.gather(increment(), increment()), 60)
        assert await session.fetch_value(f"SELECT name FROM {table}") == 2
        assert all(failure.safe_to_retry for failure in failures)
        assert {type(failure) for failure in failures} == ({subject.conflict} if subject.conflict else set())

    async def test_a_lock_is_waited_for_so_long_and_no_longer(
        self, subject: SQLSubject, open_manager: OpenManager
    ) -> None:
        manager = await open_manager(settings=subject.impatient)
        session = manager.session()
        integer = subject.types["integer"]
        await session.execute("DROP TABLE IF EXISTS locked")
        await session.execute(f"CREATE TABLE locked (id {integer} PRIMARY KEY, name {integer})")
        await session.execute("INSERT INTO locked (id, name) VALUES (1, 0)")
        update = "UPDATE locked SET name = name + 1 WHERE id = 1"

        async def waiter() -> None:
            await manager.session().execute(update)

        async with session.transaction():
            await session.execute(update)
            with pytest.raises(subject.lock_error) as caught:
                await asyncio.wait_for(asyncio.create_task(waiter()), 10)
        assert isinstance(caught.value, DatabaseError)
        assert caught.value.safe_to_retry
        await waiter()
        assert await session.fetch_value("SELECT name FROM locked") == 2
        await session.execute("DROP TABLE locked")
