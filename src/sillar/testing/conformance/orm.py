"""Models: what every ORM, the query builder and plain statements do alike on an engine."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator

import pytest

from sillar import Capability, DatabaseManager, QueryBuilder, column
from sillar.errors import (
    CheckViolationError,
    ForeignKeyViolationError,
    IntegrityError,
    NotNullViolationError,
    UniqueViolationError,
)
from sillar.testing.conformance.cases import lacks, refused
from sillar.testing.conformance.orm_records import RECORDS, SEARCHED, ORMAuthor, ORMBook, ORMRecord
from sillar.testing.conformance.orm_subject import ORMSubject, nothing_leased, opened

SECRET = "my-secret-name"


class ORMCases:
    """The parent of the cases for one way. Inherit from those below and give them a fixture ``subject``."""

    @pytest.fixture
    async def manager(self, subject: ORMSubject) -> AsyncIterator[DatabaseManager]:
        """A manager with one connection, on which the subject is open."""
        async with opened(subject, connections=1) as manager:
            yield manager

    @pytest.fixture
    async def manager_of_three(self, subject: ORMSubject) -> AsyncIterator[DatabaseManager]:
        """A manager with three connections, on which the subject is open."""
        async with opened(subject, connections=3) as manager:
            yield manager


class ORMModelCases(ORMCases):
    """Create, read, update, delete; values; relationships; constraints."""

    async def test_rows_are_created_read_changed_and_deleted(
        self, subject: ORMSubject, manager: DatabaseManager
    ) -> None:
        assert await subject.author_names() == []
        for number, name in enumerate(["Rulfo", "Arguedas", "Loayza"], 1):
            await subject.add_author(ORMAuthor(number, name))
        await subject.rename_author(2, "José María Arguedas")
        await subject.remove_author(1)
        assert await subject.author_names() == ["José María Arguedas", "Loayza"]
        assert await subject.count_authors() == 2
        await nothing_leased(manager)

    async def test_values_of_each_type_come_back_equal(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        for record in RECORDS:
            await subject.write(record)
        for record in RECORDS:
            found = await subject.read(record.id)
            assert found == record
            for name, value in vars(record).items():
                assert isinstance(getattr(found, name), type(value)), name
            assert found.moment.utcoffset() == dt.timedelta(0)

    async def test_the_builder_takes_the_models_as_they_are(
        self, subject: ORMSubject, manager: DatabaseManager
    ) -> None:
        """Over a model of this way the builder writes what the way reads, and reads what the way has written."""
        model = subject.record_model
        session = manager.session()
        first, second = RECORDS
        await QueryBuilder(model).insert(vars(first)).execute(session)
        assert await subject.read(first.id) == first
        await subject.write(second)
        for each in RECORDS:
            one = QueryBuilder(model).where(column(model, "id") == each.id).into(ORMRecord)
            assert await one.one(session) == each
        for field in SEARCHED:
            same = QueryBuilder(model).where(column(model, field) == getattr(second, field)).select("id")
            assert await same.scalars(session) == [second.id], field

    async def test_relationships_are_followed_both_ways(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        await subject.add_author(ORMAuthor(1, "Rulfo"))
        await subject.add_author(ORMAuthor(2, "Arguedas"))
        for number, title in enumerate(["Pedro Páramo", "El llano en llamas"], 1):
            await subject.add_book(ORMBook(number, title, 100, 1))
        await subject.add_book(ORMBook(3, "Yawar Fiesta", 200, 2))
        assert await subject.titles_of(1) == ["Pedro Páramo", "El llano en llamas"]
        assert [await subject.author_of(number) for number in (1, 2, 3)] == ["Rulfo", "Rulfo", "Arguedas"]

    # --- constraints: the same class, whoever meets them --------------------------------------------------------------

    async def test_a_value_that_is_there_already(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        await subject.add_author(ORMAuthor(1, SECRET))
        await subject.add_author(ORMAuthor(2, "another"))
        for again in (ORMAuthor(3, SECRET), ORMAuthor(1, "third")):
            with pytest.raises(UniqueViolationError) as caught:
                async with subject.errors():
                    await subject.add_author(again)
            _check(caught.value)
        with pytest.raises(UniqueViolationError) as caught:
            async with subject.errors():
                await subject.rename_author(2, SECRET)
        _check(caught.value)
        assert await subject.author_names() == [SECRET, "another"]

    async def test_a_reference_to_nothing(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        session = manager.session()
        if lacks(session, Capability.FOREIGN_KEYS):
            with refused(Capability.FOREIGN_KEYS):
                session.capabilities.require(Capability.FOREIGN_KEYS, remedy="check it in the application")
            return
        await subject.add_author(ORMAuthor(1, "Rulfo"))
        await subject.add_book(ORMBook(1, "Pedro Páramo", 100, 1))
        with pytest.raises(ForeignKeyViolationError) as caught:
            async with subject.errors():
                await subject.add_book(ORMBook(2, SECRET, 100, 77))
        _check(caught.value)
        with pytest.raises(ForeignKeyViolationError) as caught:
            async with subject.errors():
                await subject.remove_author(1)
        _check(caught.value)
        assert await subject.author_names() == ["Rulfo"]

    async def test_a_value_that_is_missing(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        """A document database has rules for documents, and no rule for one missing value."""
        kind = CheckViolationError if lacks(manager.session(), Capability.SQL) else NotNullViolationError
        with pytest.raises(kind) as caught:
            async with subject.errors():
                await subject.add_author(ORMAuthor(1, None))
        _check(caught.value)
        assert await subject.count_authors() == 0

    async def test_a_value_that_is_not_allowed(self, subject: ORMSubject, manager: DatabaseManager) -> None:
        session = manager.session()
        if lacks(session, Capability.CHECK_CONSTRAINTS):
            with refused(Capability.CHECK_CONSTRAINTS):
                session.capabilities.require(Capability.CHECK_CONSTRAINTS, remedy="check it in the application")
            return
        await subject.add_author(ORMAuthor(1, "Rulfo"))
        with pytest.raises(CheckViolationError) as caught:
            async with subject.errors():
                await subject.add_book(ORMBook(1, SECRET, 0, 1))
        _check(caught.value)
        assert await subject.titles_of(1) == []


def _check(error: IntegrityError) -> None:
    """It says what an error of a session's own statement says."""
    assert error.code is not None
    assert error.node is not None
    assert error.__cause__ is not None, "the driver's own error is the cause"
    assert SECRET not in str(error)
