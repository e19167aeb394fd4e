"""Cancelled and expired statements: the server does not run them any longer."""

from __future__ import annotations

import asyncio

import pytest

from sillar import Capability, DatabaseManager, DatabaseSession, deadline
from sillar.errors import StatementTimeoutError
from sillar.testing.conformance.cases import (
    LOOKING_SECONDS,
    PROMISED_SECONDS,
    Cases,
    MakeTable,
    begun,
    eventually,
)
from sillar.testing.conformance.subject import ConformanceSubject


class CancellationCases(Cases[ConformanceSubject]):
    """Within a second of a cancel or a timeout, no session of the server runs the statement.

    An engine without sessions that can be listed shows it by taking the next work at once.
    """

    async def stopped(self, subject: ConformanceSubject, manager: DatabaseManager, table: str) -> None:
        """Return once the statement is stopped; a second is what is promised."""
        session = manager.session()
        if session.capabilities.has(Capability.SERVER_SESSIONS):

            async def nobody() -> bool:
                return await subject.running() == 0

            await eventually(nobody, PROMISED_SECONDS + LOOKING_SECONDS)
        before = await subject.count(session, table)
        async with asyncio.timeout(PROMISED_SECONDS + LOOKING_SECONDS):
            await session.execute(*subject.insert(table, before + 1))
        assert await subject.count(session, table) == before + 1
        assert manager.pools["default"].stats().leased == 0

    async def test_a_cancelled_statement_is_stopped(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        await subject.prepare(session)
        opened = manager.pools["default"].stats().opened_total
        task = asyncio.create_task(manager.session().execute(*subject.long))
        await begun(subject, session)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.stopped(subject, manager, name)
        assert manager.pools["default"].stats().opened_total <= opened + 2

    async def test_a_cancelled_transaction_is_stopped_and_rolled_back(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        await subject.prepare(session)

        async def work() -> None:
            async with manager.session().transaction() as transaction:
                await transaction.execute(*subject.insert(name, 77))
                await transaction.execute(*subject.long)

        task = asyncio.create_task(work())
        await begun(subject, session)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.stopped(subject, manager, name)
        assert await subject.count(session, name) == 1

    async def test_a_cancelled_stream_is_stopped(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        await subject.prepare(session)

        async def read() -> None:
            async with manager.session().stream(*subject.long) as rows:
                async for _ in rows:
                    pass

        task = asyncio.create_task(read())
        await begun(subject, session)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await self.stopped(subject, manager, name)

    @pytest.mark.parametrize("how", ["argument", "deadline"])
    async def test_an_expired_statement_is_stopped(
        self,
        subject: ConformanceSubject,
        manager: DatabaseManager,
        session: DatabaseSession,
        table: MakeTable,
        how: str,
    ) -> None:
        name = await table()
        await subject.prepare(session)
        with pytest.raises(StatementTimeoutError):
            if how == "argument":
                await session.execute(*subject.long, timeout_seconds=0.3)
            else:
                with deadline(0.3):
                    await session.execute(*subject.long)
        await self.stopped(subject, manager, name)

    async def test_a_deadline_that_has_passed_sends_nothing(
        self, subject: ConformanceSubject, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        with deadline(-1), pytest.raises(StatementTimeoutError, match="was not sent"):
            await session.execute(*subject.insert(name, 1))
        assert await subject.count(session, name) == 0

    async def test_many_cancelled_at_once_leave_nothing_behind(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        await subject.prepare(session)
        tasks = [asyncio.create_task(manager.session().execute(*subject.long)) for _ in range(30)]
        await begun(subject, session)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        await asyncio.sleep(0.2)
        await self.stopped(subject, manager, name)
