"""Why a statement takes the slow lane. SQLite stands for all: the reasons are found in the compiled statement."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    bindparam,
    column,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
)
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeEngine, UserDefinedType

from sillar import DatabaseManager
from sillar.config import DatabaseConfig
from sillar.engines import open_adapter
from sillar.errors import ParameterError, UsageError
from sillar.query.lane import Lane

METADATA = MetaData()
ITEM = Table("item", METADATA, Column("id", Integer, primary_key=True), Column("name", String(20)))
PART = Table("part", METADATA, Column("id", Integer, primary_key=True), Column("item_id", Integer))


class Foreign(TypeEngine[Any]):
    """A type that stands on nothing of SQLAlchemy's."""

    __visit_name__ = "integer"
    cache_ok = True


class Point(UserDefinedType[Any]):
    """A type that a user has made as SQLAlchemy means it to be made."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        return "text"

    def bind_processor(self, dialect: Any) -> Any:
        return lambda value: None if value is None else ",".join(map(str, value))

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        return lambda value: None if value is None else tuple(map(int, value.split(",")))


class Failing(TypeDecorator[Any]):
    """Cannot make anything of what it is given."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        raise RuntimeError("918273")


@pytest.fixture
def adapter() -> Any:
    return open_adapter(DatabaseConfig.from_url("sqlite://").connection("default"))


def hooked() -> Any:
    """A statement that an extension has put a function into."""
    statement = select(ITEM.c.id)
    add = getattr(statement, "_add_compile_state_func", None) or statement._add_context_option  # type: ignore[attr-defined]
    return add(lambda state: None, None)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (CreateTable(ITEM), "it defines the schema"),
        (func.lower("X"), "it is a Function"),
        (hooked(), "it has hooks of an extension"),
        (
            select(ITEM.c.id).where(ITEM.c.id == bindparam("x", 1, literal_execute=True)),
            "values stand in its text (literal_execute)",
        ),
        (select(column("x").in_(bindparam("y", expanding=True))), "IN over something of unknown type"),
        (select(Column("x", Foreign())), "Foreign is a type of its own kind"),
        (insert(ITEM).values([{"id": 1}]), "SQLAlchemy has no cache key for it"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_reasons(adapter: Any, statement: Any, reason: str) -> None:
    plan = adapter.plan(statement)
    assert (plan.lane, plan.lane_reason) == (Lane.SLOW, reason)


def test_a_default_of_a_key_that_the_server_computes(adapter: Any) -> None:
    key = Column("id", String, primary_key=True, default=func.lower("X"))
    computed = Table("computed", MetaData(), key, Column("n", Integer))
    statement = insert(computed).values(n=1).returning(computed.c.id)
    assert adapter.plan(statement).lane is Lane.FAST
    assert "lower(?)" in adapter.plan(statement).statement.sql


async def test_types_of_users_are_fast() -> None:
    places = Table("places", MetaData(), Column("id", Integer, primary_key=True), Column("at", Point))
    async with DatabaseManager.from_url("sqlite://") as manager:
        session = manager.session()
        await session.execute("CREATE TABLE places (id integer PRIMARY KEY, at text)")
        await session.execute(insert(places), {"id": 1, "at": (3, 4)})
        result = await session.execute(select(places.c.id).where(places.c.at == (3, 4)))
        assert (result.lane, result.scalar()) == (Lane.FAST, 1)
        assert await session.fetch_value(select(places.c.at)) == (3, 4)


async def test_the_slow_lane_takes_functions_and_many_values() -> None:
    async with DatabaseManager.from_url("sqlite://") as manager:
        session = manager.session()
        assert await session.fetch_value(func.lower("X")) == "x"
        many = select(literal_column("7")).where(or_(*[literal_column("1") == number for number in range(300)]))
        result = await session.execute(many)
        assert (result.lane, result.scalar()) == (Lane.FAST, 7)


def test_what_a_processor_or_a_default_raises(adapter: Any) -> None:
    failing = Table("failing", MetaData(), Column("id", Integer, primary_key=True), Column("x", Failing))
    with pytest.raises(ParameterError, match="parameter x takes") as caught:
        adapter.bind(insert(failing).values(id=1, x=bindparam("x")), {"x": 5})
    assert "918273" not in str(caught.value)

    def default() -> int:
        raise LookupError("of its author")

    defaulted = Table(
        "defaulted", MetaData(), Column("id", Integer, primary_key=True), Column("x", Integer, default=default)
    )
    with pytest.raises(LookupError, match="of its author"):
        adapter.bind(insert(defaulted), {"id": 1})


def test_nested_too_deeply(adapter: Any) -> None:
    expression: Any = ITEM.c.id
    for _ in range(3000):
        expression = func.abs(expression)
    with pytest.raises(UsageError, match="nested"):
        adapter.bind(select(expression), None)


def test_a_delete_over_two_tables(adapter: Any) -> None:
    statement = delete(ITEM).where(ITEM.c.id == PART.c.item_id)
    with pytest.raises(UsageError, match="cannot be compiled for SQLite"):
        adapter.plan(statement)
    other = open_adapter(DatabaseConfig.from_url("postgresql://somebody@nowhere/nothing").connection("default"))
    assert other.plan(statement).lane_reason == "it deletes with more than one table"
