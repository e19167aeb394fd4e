"""Streams, cancellation and crowds."""

from __future__ import annotations

import asyncio

import pytest

from sillar import Capability, DatabaseManager
from sillar.testing.conformance.cases import LOOKING_SECONDS, PROMISED_SECONDS, begun, eventually
from sillar.testing.conformance.orm import ORMCases
from sillar.testing.conformance.orm_records import AUTHORS, ORMAuthor
from sillar.testing.conformance.orm_subject import ORMSubject, first_of, nothing_leased
from sillar.testing.conformance.orm_transactions import LeftError, committed

_STREAMED = 400
_TASKS = 20


class ORMLoadCases(ORMCases):
    """What many rows, callers that leave, and many callers do."""

    async def test_rows_are_streamed(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        names = await _many_authors(manager)
        assert [name async for name in subject.stream_names()] == names
        await nothing_leased(manager)
        assert await first_of(subject.stream_names(), 60) == names[:60]  # left in the middle
        await nothing_leased(manager)
        async with subject.transaction():
            await subject.rename_author(1, "changed")
            assert await first_of(subject.stream_names(), 2) == ["changed", names[1]]
            assert await subject.count_authors() == _STREAMED
        async with manager.session().transaction():
            await subject.rename_author(2, "changed, too")
            assert [name async for name in subject.stream_names()] == ["changed", "changed, too", *names[2:]]

    async def test_a_cancelled_statement_is_stopped(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        await subject.engine.subject.prepare(manager.session())
        task = asyncio.create_task(subject.run_long())
        await self.begun(subject, manager)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.stopped(subject, manager)

    @pytest.mark.parametrize("whose", ["its own", "Sillar's"])
    async def test_a_cancelled_transaction_is_undone(
        self, subject: ORMSubject, manager: DatabaseManager, whose: str
    ) -> None:
        await subject.engine.subject.prepare(manager.session())

        async def work() -> None:
            async with subject.transaction() if whose == "its own" else manager.session().transaction():
                await subject.add_author(ORMAuthor(1, "undone"))
                await subject.run_long()

        task = asyncio.create_task(work())
        await self.begun(subject, manager)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.stopped(subject, manager)
        assert await subject.author_names() == ["the next"]

    async def test_callers_that_leave_at_any_point_leave_nothing(
        self, subject: ORMSubject, manager_of_three: DatabaseManager
    ) -> None:
        await subject.add_author(ORMAuthor(1, "Rulfo"))

        async def work(number: int) -> None:
            async with subject.transaction():
                await subject.add_author(ORMAuthor(number, f"author {number}"))
                await subject.rename_author(number, f"renamed {number}")
                await asyncio.sleep(0)
                raise LeftError

        for turn in range(10):
            tasks = [asyncio.create_task(work(100 + number)) for number in range(6)]
            await asyncio.sleep(0.002 * turn)
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} <= {asyncio.CancelledError, LeftError}, outcomes
        await nothing_leased(manager_of_three)
        assert await subject.author_names() == ["Rulfo"]
        assert await committed(manager_of_three) == 1

    async def test_twenty_tasks_share_three_connections(
        self, subject: ORMSubject, manager_of_three: DatabaseManager
    ) -> None:
        async def work(number: int) -> None:
            await subject.add_author(ORMAuthor(number, f"author {number}"))
            try:
                async with subject.transaction():
                    await subject.rename_author(number, f"renamed {number}")
                    assert f"renamed {number}" in await subject.author_names()
                    if number % 2:
                        raise LeftError
            except LeftError:
                assert number % 2
            assert await subject.count_authors() >= number % 2

        await asyncio.gather(*(work(number) for number in range(1, _TASKS + 1)))
        expected = [f"{'author' if number % 2 else 'renamed'} {number}" for number in range(1, _TASKS + 1)]
        assert await subject.author_names() == expected
        assert manager_of_three.pools["default"].stats().opened_total <= 3 + _cancellers(manager_of_three)
        await nothing_leased(manager_of_three)

    # --- what they share ----------------------------------------------------------------------------------------------

    async def begun(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        """Return once the server runs the long statement."""
        await begun(subject.engine.subject, manager.session(), marks_long=subject.marks_long)

    async def stopped(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        """Return once the statement is stopped and its connection serves again; a second is what is promised."""
        if manager.session().capabilities.has(Capability.SERVER_SESSIONS) and subject.marks_long:

            async def nobody() -> bool:
                return await subject.engine.subject.running() == 0

            await eventually(nobody, PROMISED_SECONDS + LOOKING_SECONDS)
        async with asyncio.timeout(PROMISED_SECONDS + LOOKING_SECONDS):
            await subject.add_author(ORMAuthor(2, "the next"))
        assert await subject.author_names() == ["the next"]
        await nothing_leased(manager)


async def _many_authors(manager: DatabaseManager) -> list[str]:
    """Authors enough for several batches; their names in the order of their ids."""
    session = manager.session()
    key = "id" if session.capabilities.has(Capability.SQL) else "_id"
    names = [f"author {number:04}" for number in range(1, _STREAMED + 1)]
    assert await session.bulk_insert(AUTHORS, [key, "name"], list(enumerate(names, 1))) == _STREAMED
    return names


def _cancellers(manager: DatabaseManager) -> int:
    """Sockets beside the limit: where the driver owns the pool, one of them kills sessions."""
    return 1 if manager.session().capabilities.has(Capability.DRIVER_POOL) else 0
