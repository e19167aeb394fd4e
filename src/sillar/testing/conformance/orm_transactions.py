"""Transactions as each way begins them, and in those of Sillar's."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from sillar import Capability, DatabaseManager, detached
from sillar.errors import UniqueViolationError, UsageError
from sillar.testing.conformance.cases import lacks, refused
from sillar.testing.conformance.orm import ORMCases
from sillar.testing.conformance.orm_records import AUTHORS, ORMAuthor
from sillar.testing.conformance.orm_subject import ORMSubject, nothing_leased

_OPENED_MAX = 3


class LeftError(Exception):
    """What a test raises inside a transaction."""


async def committed(manager: DatabaseManager) -> int:
    """How many authors somebody else sees."""
    with detached():
        session = manager.session()
        if session.capabilities.has(Capability.SQL):
            return int(await session.fetch_value(f"SELECT count(*) FROM {AUTHORS}"))
        return await session.documents(AUTHORS).count()


class ORMTransactionCases(ORMCases):
    """Isolation, rollback, savepoints, belonging to one task, and what a session is like afterwards."""

    async def test_nothing_is_seen_before_the_commit(
        self, subject: ORMSubject, manager_of_three: DatabaseManager
    ) -> None:
        async with subject.transaction():
            await subject.add_author(ORMAuthor(1, "Rulfo"))
            assert await subject.author_names() == ["Rulfo"]
            assert await committed(manager_of_three) == 0
        assert await committed(manager_of_three) == 1
        async with manager_of_three.session().transaction():
            await subject.add_author(ORMAuthor(2, "Arguedas"))
            assert await committed(manager_of_three) == 1
            assert await subject.count_authors() == 2
        assert await committed(manager_of_three) == 2

    async def test_an_exception_undoes_all(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        await subject.add_author(ORMAuthor(1, "kept"))
        with pytest.raises(LeftError):
            async with subject.transaction():
                await subject.add_author(ORMAuthor(2, "undone"))
                await subject.rename_author(1, "undone as well")
                raise LeftError
        assert await subject.author_names() == ["kept"]
        assert await committed(manager) == 1
        with pytest.raises(LeftError):
            async with manager.session().transaction():
                await subject.add_author(ORMAuthor(2, "undone"))
                await subject.remove_author(1)
                raise LeftError
        assert await subject.author_names() == ["kept"]
        await nothing_leased(manager)

    async def test_a_refused_statement_undoes_all(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        """The connection is the only one: what it was left in would meet the next caller."""
        await subject.add_author(ORMAuthor(1, "there"))
        for begin in (subject.transaction, manager.session().transaction):
            with pytest.raises(UniqueViolationError):
                async with subject.errors(), begin():
                    await subject.add_author(ORMAuthor(2, "undone"))
                    await subject.add_author(ORMAuthor(1, "there again"))
            assert await committed(manager) == 1
            assert await subject.author_names() == ["there"]
        async with subject.transaction():
            await subject.add_author(ORMAuthor(2, "kept"))
        assert await committed(manager) == 2

    async def test_savepoints_nest(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        if lacks(manager.session(), Capability.SAVEPOINTS):
            async with subject.transaction():
                await subject.add_author(ORMAuthor(1, "kept"))
                with refused(Capability.SAVEPOINTS):
                    async with subject.transaction():
                        raise AssertionError
            assert await subject.author_names() == ["kept"]
            return
        for begin in (subject.transaction, manager.session().transaction):
            async with begin():
                await subject.add_author(ORMAuthor(1, "outer"))
                with pytest.raises(LeftError):
                    async with subject.transaction():
                        await subject.add_author(ORMAuthor(2, "undone"))
                        async with subject.transaction():
                            await subject.add_author(ORMAuthor(3, "undone, too"))
                        assert await subject.count_authors() == 3
                        raise LeftError
                assert await subject.author_names() == ["outer"]
                with pytest.raises(UniqueViolationError):
                    async with subject.errors(), subject.transaction():
                        await subject.add_author(ORMAuthor(2, "outer"))
                async with subject.transaction():
                    await subject.add_author(ORMAuthor(4, "inner"))
            assert await subject.author_names() == ["outer", "inner"]
            for number in (1, 4):
                await subject.remove_author(number)

    async def test_an_outer_rollback_undoes_released_savepoints(
        self, subject: ORMSubject, manager: DatabaseManager
    ) -> None:
        if lacks(manager.session(), Capability.SAVEPOINTS):
            async with manager.session().transaction() as transaction:
                with refused(Capability.SAVEPOINTS):
                    transaction.nested()
            return
        for begin in (subject.transaction, manager.session().transaction):
            with pytest.raises(LeftError):
                async with begin():
                    async with subject.transaction():
                        await subject.add_author(ORMAuthor(1, "released, and undone"))
                    raise LeftError
            assert await committed(manager) == 0

    async def test_a_transaction_belongs_to_its_task(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        async with manager.session().transaction():
            await subject.add_author(ORMAuthor(1, "mine"))
            for work in (
                subject.count_authors,
                subject.author_names,
                lambda: subject.add_author(ORMAuthor(2, "other")),
            ):
                with pytest.raises(UsageError, match="task"):
                    await asyncio.create_task(work())
            assert await subject.count_authors() == 1
        assert await committed(manager) == 1

    @pytest.mark.parametrize("end", ["commit", "rollback"])
    async def test_nothing_runs_after_the_end(self, subject: ORMSubject, manager: DatabaseManager, end: str) -> None:
        async with manager.session().transaction() as transaction:
            await subject.add_author(ORMAuthor(1, "Rulfo"))
            await getattr(transaction, end)()
            with pytest.raises(UsageError, match="ended"):
                await subject.add_author(ORMAuthor(2, "late"))
            with pytest.raises(UsageError, match="ended"):
                await subject.count_authors()
        assert await subject.count_authors() == (1 if end == "commit" else 0)

    async def test_what_was_held_in_a_transaction_is_of_no_use_after_it(
        self, subject: ORMSubject, manager: DatabaseManager
    ) -> None:
        async with AsyncExitStack() as stack:
            if not lacks(manager.session(), Capability.SAVEPOINTS):  # else that of the way is the only one
                await stack.enter_async_context(manager.session().transaction())
            held = await stack.enter_async_context(subject.transaction())
            await subject.add_author(ORMAuthor(1, "Rulfo"))
            assert await subject.count_through(held) == 1
        with pytest.raises(UsageError, match="ended"):
            await subject.count_through(held)
        assert await subject.count_authors() == 1

    async def test_a_session_is_afterwards_what_it_was(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        """Time zone, autocommit, isolation and the like, as the next user of the one connection finds them."""
        settings = subject.engine.session_settings
        if not settings:
            assert lacks(manager.session(), Capability.SQL)
            return
        session = manager.session()
        before = await session.fetch_one(settings)
        await subject.add_author(ORMAuthor(1, "Rulfo"))
        with pytest.raises(UniqueViolationError):
            async with subject.errors(), subject.transaction():
                await subject.add_author(ORMAuthor(2, "Rulfo"))
        async with subject.transaction():
            await subject.count_authors()
        assert [name async for name in subject.stream_names()] == ["Rulfo"]
        assert await session.fetch_one(settings) == before
        for statement in subject.engine.disturbances:
            await subject.run(statement)
            assert await session.fetch_one(settings) == before, statement
            async with manager.session().transaction():
                await subject.run(statement)
            assert await session.fetch_one(settings) == before, statement
            await subject.count_authors()
        assert await committed(manager) == 1  # what is written outside a transaction is kept at once
        assert manager.pools["default"].stats().opened_total <= _OPENED_MAX
