"""Transactions: alike for SQL and documents."""

from __future__ import annotations

import asyncio

import pytest

from sillar import Capability, DatabaseManager, DatabaseSession, Isolation, deadline
from sillar.errors import DatabaseError, ReadOnlyError, UniqueViolationError, UsageError
from sillar.testing.conformance.cases import Cases, MakeTable, lacks, refused
from sillar.testing.conformance.subject import ConformanceSubject

LEVELS = {
    Isolation.READ_UNCOMMITTED: Capability.READ_UNCOMMITTED,
    Isolation.READ_COMMITTED: Capability.READ_COMMITTED,
    Isolation.REPEATABLE_READ: Capability.REPEATABLE_READ,
    Isolation.SERIALIZABLE: Capability.SERIALIZABLE,
}
_STABLE = (Isolation.REPEATABLE_READ, Isolation.SERIALIZABLE)


class RefusedError(Exception):
    """What a test raises inside a transaction."""


class TransactionCases(Cases[ConformanceSubject]):
    """Commit, rollback, savepoints, isolation, misuse."""

    async def test_leaving_commits(
        self, subject: ConformanceSubject, session: DatabaseSession, manager: DatabaseManager, table: MakeTable
    ) -> None:
        name = await table()
        async with session.transaction() as transaction:
            await transaction.execute(*subject.insert(name, 1))
            await session.execute(*subject.insert(name, 2))  # statements of the session run in it, too
            assert await subject.count(session, name) == 2
            assert session.in_transaction
            assert transaction.is_open
        assert not session.in_transaction
        assert await subject.count(manager.session(), name) == 2

    async def test_an_exception_rolls_back(
        self, subject: ConformanceSubject, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        with pytest.raises(RefusedError):
            async with session.transaction():
                await session.execute(*subject.insert(name, 1))
                raise RefusedError
        assert await subject.count(session, name) == 0
        with pytest.raises(UniqueViolationError):
            async with session.transaction():
                await session.execute(*subject.insert(name, 1))
                await session.execute(*subject.insert(name, 1))
        assert await subject.count(session, name) == 0

    async def test_a_cancelled_caller_rolls_back(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        inserted = asyncio.Event()

        async def work() -> None:
            async with manager.session().transaction() as transaction:
                await transaction.execute(*subject.insert(name, 1))
                inserted.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await asyncio.wait_for(inserted.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await subject.count(session, name) == 0
        await session.execute(*subject.insert(name, 1))

    async def test_nothing_is_seen_before_the_commit(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        async with session.transaction():
            await session.execute(*subject.insert(name, 1))

            async def look() -> int:
                with deadline(1):
                    return await subject.count(manager.session(), name)

            try:
                assert await asyncio.create_task(look()) == 0
            except DatabaseError as error:  # whoever has to wait for the writer sees nothing, either
                assert isinstance(error, TimeoutError)
        assert await subject.count(session, name) == 1

    async def test_an_inner_failure_keeps_the_outer_work(
        self, subject: ConformanceSubject, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        async with session.transaction():
            await session.execute(*subject.insert(name, 1))
            if lacks(session, Capability.SAVEPOINTS):
                with refused(Capability.SAVEPOINTS):
                    session.transaction()
                return
            with pytest.raises(UniqueViolationError):
                async with session.transaction():
                    await session.execute(*subject.insert(name, 2))
                    await session.execute(*subject.insert(name, 1))
            async with session.transaction():
                await session.execute(*subject.insert(name, 3))
                with pytest.raises(RefusedError):
                    async with session.transaction() as innermost:
                        await innermost.execute(*subject.insert(name, 4))
                        raise RefusedError
                assert await subject.count(session, name) == 2
            await session.execute(*subject.insert(name, 2))
        assert await subject.count(session, name) == 3

    async def test_an_outer_failure_undoes_the_inner_work(
        self, subject: ConformanceSubject, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        if lacks(session, Capability.SAVEPOINTS):
            async with session.transaction():
                with refused(Capability.SAVEPOINTS):
                    session.transaction()
            return
        with pytest.raises(RefusedError):
            async with session.transaction():
                async with session.transaction():
                    await session.execute(*subject.insert(name, 1))
                raise RefusedError
        assert await subject.count(session, name) == 0

    @pytest.mark.parametrize("level", list(Isolation))
    async def test_isolation_levels_are_what_they_say(
        self,
        subject: ConformanceSubject,
        manager: DatabaseManager,
        session: DatabaseSession,
        table: MakeTable,
        level: Isolation,
    ) -> None:
        """Rows that another session commits meanwhile are seen below repeatable read, and not from there on."""
        name = await table()
        if lacks(session, LEVELS[level]):
            with refused(LEVELS[level]):
                session.transaction(isolation=level)
            return
        read_only = session.capabilities.has(Capability.READ_ONLY_TRANSACTIONS)
        other = manager.session()

        async def intrude() -> bool:
            try:
                with deadline(2.0 if level is Isolation.SERIALIZABLE else 20.0):
                    await other.execute(*subject.insert(name, 1))
            except (DatabaseError, TimeoutError):
                return False  # kept out by a lock, which isolates just as well
            return True

        async with session.transaction(isolation=level, read_only=read_only):
            assert await subject.count(session, name) == 0
            seen = await asyncio.create_task(intrude())
            after = await subject.count(session, name)
        assert after == (0 if level in _STABLE else int(seen))
        assert seen or level is Isolation.SERIALIZABLE
        assert await subject.count(session, name) == int(seen)

    async def test_a_read_only_transaction_refuses_writes(
        self, subject: ConformanceSubject, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        if lacks(session, Capability.READ_ONLY_TRANSACTIONS):
            with refused(Capability.READ_ONLY_TRANSACTIONS):
                session.transaction(read_only=True)
            return
        with pytest.raises(ReadOnlyError):
            async with session.transaction(read_only=True):
                assert await subject.count(session, name) == 0
                await session.execute(*subject.insert(name, 1))
        assert await subject.count(session, name) == 0
        await session.execute(*subject.insert(name, 1))  # and the next one may write again

    async def test_autobegin_commits_at_the_end(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        async with manager.session(autobegin=True) as own:
            assert not own.in_transaction
            await own.execute(*subject.insert(name, 1))
            assert own.in_transaction
        assert await subject.count(session, name) == 1
        with pytest.raises(RefusedError):
            async with manager.session(autobegin=True) as own:
                await own.execute(*subject.insert(name, 2))
                raise RefusedError
        async with manager.session(autobegin=True) as own:
            await own.execute(*subject.insert(name, 3))
            await own.rollback()
            await own.execute(*subject.insert(name, 4))
            await own.commit()
            await own.commit()
        assert await subject.count(session, name) == 2

    async def test_by_hand(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        first = await manager.begin_transaction()
        await first.execute(*subject.insert(name, 1))
        await first.commit()
        second = await manager.begin_transaction("default")
        await second.execute(*subject.insert(name, 2))
        await second.rollback()
        assert await subject.count(session, name) == 1
        for ended in (first, second):
            assert not ended.is_open
            for use in (ended.commit, ended.rollback, ended.begin):
                with pytest.raises(UsageError):
                    await use()
            with pytest.raises(UsageError, match="ended"):
                await ended.execute(*subject.one)

    async def test_misuse_is_told(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        unbegun = session.transaction()
        with pytest.raises(UsageError, match="has not begun"):
            await unbegun.commit()
        if session.capabilities.has(Capability.SAVEPOINTS):
            async with session.transaction() as outer:
                inner = await session.transaction().begin()
                for end in (outer.commit, session.commit, session.rollback):
                    with pytest.raises(UsageError, match="nested"):
                        await end()
                await inner.rollback()
                with pytest.raises(UsageError, match="outermost"):
                    await session.transaction(isolation=self._level(session)).begin()
            ended = await session.transaction().begin()
            inner = await session.transaction().begin()
            await session.execute(*subject.insert(name, 2))
            await ended.rollback()  # ends what is nested inside, too
            assert not ended.is_open
            assert not inner.is_open
        own = manager.session()
        await own.transaction().begin()
        await own.execute(*subject.insert(name, 1))
        await own.close()  # rolls back
        with pytest.raises(UsageError, match="closed"):
            own.transaction()
        assert await subject.count(session, name) == 0

    async def test_local_settings(self, session: DatabaseSession) -> None:
        if lacks(session, Capability.LOCAL_SETTINGS):
            with refused(Capability.LOCAL_SETTINGS):
                session.transaction(settings=[("app.tenant", "7")])
            return
        async with session.transaction(settings=[("app.tenant", "O'Hara \\ 7"), ("app.other", "x")]):
            assert await session.fetch_value("SELECT current_setting('app.tenant')") == "O'Hara \\ 7"
            assert await session.fetch_value("SELECT current_setting('app.other')") == "x"
        assert await session.fetch_value("SELECT current_setting('app.tenant', true)") in (None, "")

    def _level(self, session: DatabaseSession) -> Isolation:
        """A level that the engine has."""
        return next(level for level, capability in LEVELS.items() if session.capabilities.has(capability))
