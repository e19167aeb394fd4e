"""Defects of values, results and observers that were found once: each has a test, so that none comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import make_dataclass
from enum import Enum
from typing import Any

import asyncpg
import pytest
import structlog
from tests.postgresql.sessions import OpenManager

from sillar import DatabaseManager, Json
from sillar.engines.connection import RowShape
from sillar.errors import ParameterError
from sillar.execution.execution import Execution
from sillar.execution.rows import row_maker


class Colour(Enum):
    RED = "red"


async def test_a_stream_takes_the_parameters_that_a_fetch_takes(manager: DatabaseManager) -> None:
    session = manager.session()
    sql = "SELECT :colour::text AS colour, :data::text AS data"
    params = {"colour": Colour.RED, "data": Json([1])}
    expected = [{"colour": "red", "data": "[1]"}]
    assert await session.fetch_all(sql, params) == expected
    async with session.stream(sql, params) as rows:
        assert [row async for row in rows] == expected
    async with session.transaction(), session.stream(sql, params) as rows:
        assert [row async for row in rows] == expected


async def test_a_stream_meets_a_changed_table_with_a_new_plan(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    await session.execute("DROP TABLE IF EXISTS streamed")
    await session.execute("CREATE TABLE streamed (id int)")
    await session.execute("INSERT INTO streamed VALUES (1)")

    async def read() -> list[dict[str, Any]]:
        async with session.stream("SELECT * FROM streamed") as rows:
            return [row async for row in rows]

    assert await read() == [{"id": 1}]
    await session.execute("ALTER TABLE streamed ADD name text")
    assert await read() == [{"id": 1, "name": None}]
    await session.execute("DROP TABLE streamed")


async def test_a_row_of_a_bulk_insert_that_does_not_fit_is_a_parameter_error(manager: DatabaseManager) -> None:
    session = manager.session()
    await session.execute("DROP TABLE IF EXISTS fits; CREATE TABLE fits (id int, name text)")
    for row in (("my-secret", "x"), (1, 2), (2**40, "x"), (1,)):
        with pytest.raises(ParameterError) as caught:
            await session.bulk_insert("fits", ["id", "name"], [(0, "x"), row])
        assert "my-secret" not in str(caught.value)
        assert "row 2" in str(caught.value)

    def broken() -> Iterator[tuple[int, str]]:
        yield 1, "x"
        raise ValueError("the caller's own")

    with pytest.raises(ValueError, match="the caller's own"):
        await session.bulk_insert("fits", ["id", "name"], broken())
    assert await session.fetch_value("SELECT count(*) FROM fits") == 0
    await session.execute("DROP TABLE fits")


async def test_a_role_does_not_outlive_its_lease(open_manager: OpenManager, observer: asyncpg.Connection) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    user = await session.fetch_value("SELECT current_user")
    await observer.execute(f"DROP ROLE IF EXISTS borrowed; CREATE ROLE borrowed; GRANT borrowed TO {user}")
    for statement in ("SET ROLE borrowed", "SELECT set_config('role', 'borrowed', false)"):
        await session.execute(statement)
        assert await session.fetch_value("SELECT current_user") == user
    await observer.execute("DROP ROLE borrowed")
    await session.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    assert await session.fetch_value("SHOW default_transaction_read_only") == "off"


class Broken:
    """An observer of a host application with a defect."""

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        raise LookupError

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        raise LookupError


async def test_a_broken_observer_breaks_no_statement_and_no_transaction(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1}, observers=[Broken()])
    with structlog.testing.capture_logs() as logs:
        async with manager.session().transaction() as transaction:
            assert await transaction.fetch_value("SELECT 1") == 1
        with pytest.raises(ParameterError):
            await manager.session().fetch_value("SELECT :n::int", {"n": "x"})
    assert [entry["error"] for entry in logs if entry["event"] == "an observer failed"] == ["LookupError"] * 3
    assert manager.pools["default"].stats().leased == 0


def test_the_constructors_that_a_shape_keeps_are_bounded() -> None:
    shape = RowShape(["id"])
    for number in range(500):
        kind = make_dataclass(f"Row{number}", [("id", int)])
        assert row_maker(shape, kind).one((7,)).id == 7
    assert len(shape.makers) <= 100


async def test_a_session_closed_while_it_begins_leaves_nothing_open(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    lease = await manager.get_connection()
    session = manager.session(autobegin=True)
    beginning = asyncio.create_task(session.fetch_value("SELECT 1"))
    await asyncio.sleep(0.05)
    await session.close()
    lease.release()
    with pytest.raises(Exception, match="closed"):
        await beginning
    assert manager.pools["default"].stats().leased == 0
