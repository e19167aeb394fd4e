"""Errors of single statements, each provoked for real."""

from __future__ import annotations

import traceback

import pytest

from sillar import Capability, DatabaseSession
from sillar.errors import (
    CheckViolationError,
    DataError,
    DiskFullError,
    ForeignKeyViolationError,
    NotNullViolationError,
    ParameterError,
    ReadOnlyError,
    StatementError,
    StatementSyntaxError,
    StatementTimeoutError,
    UniqueViolationError,
    UnknownStatementError,
)
from sillar.testing.conformance.cases import MakeTable, OpenManager, SQLCases, lacks, refused
from sillar.testing.conformance.subject import SQLSubject

SECRET = "my-secret-value"


def check_names(subject: SQLSubject, error: StatementError, **expected: str) -> None:
    """What the subject says that the server tells is told, and right."""
    assert error.code is not None
    assert error.__cause__ is not None, "the driver's own error is the cause"
    assert error.node is not None
    for attribute in subject.names.get(type(error), frozenset()) & expected.keys():
        assert getattr(error, attribute) == expected[attribute], attribute
    for attribute, value in expected.items():
        assert getattr(error, attribute) in (None, value), attribute


class ErrorCases(SQLCases):
    """One case for each class of error that a single statement can raise."""

    async def test_unique(self, subject: SQLSubject, define: MakeTable, session: DatabaseSession) -> None:
        table = await define("id {integer} PRIMARY KEY, name {key_text}, CONSTRAINT one_name UNIQUE (name)")
        insert = f"INSERT INTO {table} (id, name) VALUES (:id, :name)"
        await session.execute(insert, {"id": 1, "name": SECRET})
        with pytest.raises(UniqueViolationError) as caught:
            await session.execute(insert, {"id": 2, "name": SECRET})
        check_names(subject, caught.value, constraint="one_name", table=table, column="name")
        assert SECRET not in str(caught.value)
        assert not caught.value.safe_to_retry
        with pytest.raises(UniqueViolationError) as caught:
            await session.execute(insert, {"id": 1, "name": "another"})
        assert await session.fetch_value(f"SELECT count(*) FROM {table}") == 1

    async def test_foreign_key(self, subject: SQLSubject, define: MakeTable, session: DatabaseSession) -> None:
        if lacks(session, Capability.FOREIGN_KEYS):
            with refused(Capability.FOREIGN_KEYS):
                session.capabilities.require(Capability.FOREIGN_KEYS, remedy="check it in the application")
            return
        parent = await define("id {integer} PRIMARY KEY")
        child = await define(
            "id {integer} PRIMARY KEY, parent {integer},"
            f" CONSTRAINT of_{parent} FOREIGN KEY (parent) REFERENCES {parent} (id)"
        )
        await session.execute(f"INSERT INTO {parent} (id) VALUES (1)")
        await session.execute(f"INSERT INTO {child} (id, parent) VALUES (1, 1)")
        for statement in (
            f"INSERT INTO {child} (id, parent) VALUES (2, 98765)",
            f"DELETE FROM {parent} WHERE id = 1",
        ):
            with pytest.raises(ForeignKeyViolationError) as caught:
                await session.execute(statement)
            check_names(subject, caught.value, constraint=f"of_{parent}", table=child, column="parent")
            assert "98765" not in str(caught.value)

    async def test_a_deferred_constraint_fails_the_commit(
        self, subject: SQLSubject, define: MakeTable, session: DatabaseSession
    ) -> None:
        parent = await define("id {integer} PRIMARY KEY")
        definition = (
            f"id {{integer}} PRIMARY KEY, parent {{integer}}, FOREIGN KEY (parent) REFERENCES {parent} (id)"
            " DEFERRABLE INITIALLY DEFERRED"
        )
        if lacks(session, Capability.DEFERRED_CONSTRAINTS):
            with pytest.raises(StatementSyntaxError):
                await define(definition)
            return
        child = await define(definition)
        with pytest.raises(ForeignKeyViolationError):
            async with session.transaction():
                await session.execute(f"INSERT INTO {child} (id, parent) VALUES (1, 5)")
                assert await session.fetch_value(f"SELECT count(*) FROM {child}") == 1
        assert not session.in_transaction
        assert await session.fetch_value(f"SELECT count(*) FROM {child}") == 0
        async with session.transaction():
            await session.execute(f"INSERT INTO {child} (id, parent) VALUES (1, 5)")
            await session.execute(f"INSERT INTO {parent} (id) VALUES (5)")
        assert await session.fetch_value(f"SELECT count(*) FROM {child}") == 1

    async def test_not_null(self, subject: SQLSubject, define: MakeTable, session: DatabaseSession) -> None:
        table = await define("id {integer} PRIMARY KEY, name {text} NOT NULL, other {text}")
        for statement in (
            f"INSERT INTO {table} (id, name, other) VALUES (1, NULL, '{SECRET}')",
            f"INSERT INTO {table} (id, other) VALUES (1, '{SECRET}')",
        ):
            with pytest.raises(NotNullViolationError) as caught:
                await session.execute(statement)
            check_names(subject, caught.value, table=table, column="name")
            assert SECRET not in str(caught.value)

    async def test_check(self, subject: SQLSubject, define: MakeTable, session: DatabaseSession) -> None:
        definition = "id {integer} PRIMARY KEY, weight {integer}, CONSTRAINT no_feather CHECK (weight > 10)"
        table = await define(definition)
        insert = f"INSERT INTO {table} (id, weight) VALUES (:id, :weight)"
        if lacks(session, Capability.CHECK_CONSTRAINTS):
            with refused(Capability.CHECK_CONSTRAINTS):
                session.capabilities.require(Capability.CHECK_CONSTRAINTS, remedy="check it in the application")
            return
        await session.execute(insert, {"id": 1, "weight": 11})
        with pytest.raises(CheckViolationError) as caught:
            await session.execute(insert, {"id": 2, "weight": -98765})
        check_names(subject, caught.value, constraint="no_feather", table=table)
        assert "98765" not in str(caught.value)

    @pytest.mark.parametrize(
        ("statement", "fault"),
        [
            ("SELECT one two three FROM (SELECT 1 AS one) AS t WHERE 1 = :one", "three"),
            ("SELECT :one, nowhere FROM (SELECT 1 AS one) AS t", "nowhere"),
            ("SELECT 1 FROM missing_table WHERE id = :one", "missing_table"),
            ("SELEKT 1, :one", "SELEKT"),
        ],
    )
    async def test_syntax(self, subject: SQLSubject, session: DatabaseSession, statement: str, fault: str) -> None:
        with pytest.raises(StatementSyntaxError) as caught:
            await session.execute(statement, {"one": 1})
        position = caught.value.position
        assert position is not None or "position" not in subject.names[StatementSyntaxError]
        if position is not None:
            assert statement[position - 1 :].startswith(fault)

    async def test_a_value_too_long(self, subject: SQLSubject, define: MakeTable, session: DatabaseSession) -> None:
        table = await define("id {integer} PRIMARY KEY, name {key_text}")
        insert = f"INSERT INTO {table} (id, name) VALUES (1, :name)"
        if not subject.bounds_text:
            assert (await session.execute(insert, {"name": SECRET * 20})).rows_affected == 1
            return
        with pytest.raises(DataError) as caught:
            await session.execute(insert, {"name": SECRET * 20})
        assert SECRET not in str(caught.value)
        assert caught.value.code is not None

    async def test_what_has_no_class_is_unknown_with_its_code(
        self, subject: SQLSubject, session: DatabaseSession
    ) -> None:
        with pytest.raises(UnknownStatementError) as caught:
            await session.fetch_all(*subject.unknown_error)
        assert caught.value.code is not None
        assert not caught.value.safe_to_retry

    async def test_a_failed_statement_leaves_the_session_usable(
        self, subject: SQLSubject, session: DatabaseSession
    ) -> None:
        for _ in range(3):
            with pytest.raises(StatementError):
                await session.execute("SELECT nothing FROM nowhere")
            assert await session.fetch_value(*subject.one) == 1

    async def test_statement_timeout(
        self, subject: SQLSubject, open_manager: OpenManager, session: DatabaseSession
    ) -> None:
        await subject.prepare(session)
        with pytest.raises(StatementTimeoutError) as caught:
            await session.execute(*subject.long, timeout_seconds=0.2)
        assert isinstance(caught.value, TimeoutError)
        limited = {**subject.settings, "connection_options": {"statement_timeout": 1.0}}
        other = (await open_manager(settings=limited)).session()
        with pytest.raises(StatementTimeoutError):
            await other.execute(*subject.long)
        assert await other.fetch_value(*subject.one) == 1

    async def test_a_read_only_database_refuses_writes(
        self, subject: SQLSubject, open_manager: OpenManager, session: DatabaseSession
    ) -> None:
        assert await session.fetch_value(*subject.one) == 1  # a file exists from now on
        other = (await open_manager(settings={**subject.settings, "read_only": True})).session()
        with pytest.raises(ReadOnlyError) as caught:
            await other.execute(f"CREATE TABLE never (id {subject.types['integer']})")
        assert not caught.value.safe_to_retry
        assert await other.fetch_value(*subject.one) == 1

    async def test_disk_full(self, subject: SQLSubject, open_manager: OpenManager) -> None:
        async with subject.full() as (settings, commands):
            session = (await open_manager(settings=settings, pool={"max_connections": 1})).session()
            with pytest.raises(DiskFullError) as caught:
                async with session.transaction():
                    for command in commands:
                        await session.execute(*command)
            assert caught.value.code is not None
            assert await session.fetch_value(*subject.one) == 1

    async def test_a_refused_parameter_is_named_without_its_value(
        self, define: MakeTable, session: DatabaseSession
    ) -> None:
        table = await define("id {integer} PRIMARY KEY, seen_on {date}")
        insert = f"INSERT INTO {table} (id, seen_on) VALUES (:id, :day)"
        for params in ({"id": 1, "dya": SECRET}, {"id": 1, "day": None, "more": SECRET}, {"id": 1, "day": [object()]}):
            with pytest.raises((ParameterError, StatementError)) as caught:
                await session.execute(insert, params)
            told = "".join(traceback.format_exception(caught.value))
            assert f"{SECRET!r}" not in told.replace(f'"dya": {SECRET!r}', "")

    async def test_a_bulk_insert_of_the_wrong_type_is_told_without_the_value(
        self, define: MakeTable, session: DatabaseSession
    ) -> None:
        table = await define("id {integer} PRIMARY KEY, seen_on {date}, kept {bytes}")
        with pytest.raises((ParameterError, StatementError)) as caught:
            await session.bulk_insert(table, ["id", "kept"], [(1, b"a"), (2, object())])
        assert await session.fetch_value(f"SELECT count(*) FROM {table}") == 0
        with pytest.raises((ParameterError, StatementError)) as caught:
            await session.bulk_insert(table, ["id"], [(1,), (SECRET,)])
        assert SECRET not in str(caught.value)
        assert await session.fetch_value(f"SELECT count(*) FROM {table}") == 0
