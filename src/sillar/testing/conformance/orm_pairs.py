"""Two ways, one after the other on the same connection: what one leaves there, the other finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext

import pytest

from sillar import Capability, DatabaseManager, QueryBuilder, column
from sillar.errors import UniqueViolationError
from sillar.testing.conformance.orm_records import RECORDS, SEARCHED, ORMAuthor, ORMBook
from sillar.testing.conformance.orm_subject import ORMSubject, opened
from sillar.testing.conformance.orm_transactions import LeftError, committed

Pair = tuple[ORMSubject, ORMSubject]


class ORMPairCases:
    """Give them a fixture ``pair``: two ways on one engine. The first one is the first to meet the connection."""

    @pytest.fixture
    async def manager(self, pair: Pair) -> AsyncIterator[DatabaseManager]:
        """A manager with one connection, on which both are open."""
        async with opened(*pair, connections=1) as manager:
            yield manager

    async def test_what_one_writes_the_other_reads_equal(self, pair: Pair, manager: DatabaseManager) -> None:
        first, second = pair
        one, other = RECORDS
        await first.write(one)
        assert await second.read(one.id) == one
        await second.write(other)
        for subject in (first, second, first):
            assert [await subject.read(each.id) for each in RECORDS] == [one, other]
        if first.engine.backend_id:
            assert await first.scalar(first.engine.backend_id) == await second.scalar(first.engine.backend_id)

    async def test_what_one_writes_the_other_finds(self, pair: Pair, manager: DatabaseManager) -> None:
        """By each value that has one stored form; of the others it is said which way has a form of its own."""
        for writer, reader in (pair, pair[::-1]):
            async with manager.session().transaction() as transaction:
                await writer.write(RECORDS[1])
                for field in SEARCHED:
                    query = QueryBuilder(reader.record_model)
                    same = query.where(column(reader.record_model, field) == getattr(RECORDS[1], field)).select("id")
                    agree = (field in writer.own_forms) == (field in reader.own_forms)
                    assert await same.scalars(transaction) == ([RECORDS[1].id] if agree else []), (field, writer)
                await transaction.rollback()

    async def test_relationships_of_one_are_followed_by_the_other(self, pair: Pair, manager: DatabaseManager) -> None:
        first, second = pair
        await first.add_author(ORMAuthor(1, "Rulfo"))
        await second.add_book(ORMBook(1, "Pedro Páramo", 100, 1))
        await first.add_book(ORMBook(2, "El llano en llamas", 100, 1))
        for subject in pair:
            assert await subject.titles_of(1) == ["Pedro Páramo", "El llano en llamas"]
            assert [await subject.author_of(number) for number in (1, 2)] == ["Rulfo", "Rulfo"]

    async def test_a_rollback_of_one_leaves_nothing_for_the_other(self, pair: Pair, manager: DatabaseManager) -> None:
        first, second = pair
        with pytest.raises(LeftError):
            async with first.transaction():
                await first.add_author(ORMAuthor(1, "undone"))
                raise LeftError
        assert await second.author_names() == []
        await second.add_author(ORMAuthor(1, "kept"))  # outside a transaction: at once
        assert await committed(manager) == 1
        with pytest.raises(UniqueViolationError):
            async with second.errors(), second.transaction():
                await second.add_author(ORMAuthor(2, "undone"))
                await second.add_author(ORMAuthor(3, "kept"))
        assert await first.author_names() == ["kept"]
        async with first.transaction():
            await first.add_author(ORMAuthor(2, "first"))
        async with second.transaction():
            await second.add_author(ORMAuthor(3, "second"))
        assert await first.author_names() == await second.author_names() == ["kept", "first", "second"]

    async def test_both_in_one_transaction(self, pair: Pair, manager: DatabaseManager) -> None:
        """What either commits is a savepoint, where there are any; all is undone or kept together."""
        first, second = pair
        nested = manager.session().capabilities.has(Capability.SAVEPOINTS)
        for fails in (True, False):
            try:
                async with manager.session().transaction():
                    await first.add_author(ORMAuthor(1, "one"))
                    assert await second.author_names() == ["one"]
                    async with second.transaction() if nested else nullcontext():
                        await second.add_author(ORMAuthor(2, "two"))
                        async with first.transaction() if nested else nullcontext():
                            await first.rename_author(2, "two, renamed")
                    assert await first.author_names() == await second.author_names() == ["one", "two, renamed"]
                    if fails:
                        raise LeftError
            except LeftError:
                assert fails
            for subject in pair:
                assert await subject.author_names() == ([] if fails else ["one", "two, renamed"])
            assert await committed(manager) == (0 if fails else 2)
