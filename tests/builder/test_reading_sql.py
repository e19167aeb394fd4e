"""What only SQL can say, through the builder."""

from __future__ import annotations

import pytest
from sqlalchemy import exists, func, literal, select
from tests.builder.conftest import SQL_ENGINES
from tests.builder.models import Author, Book

from sillar import DatabaseSession, QueryBuilder

pytestmark = pytest.mark.parametrize("manager", SQL_ENGINES, indirect=True)


async def test_recursive_ctes(session: DatabaseSession) -> None:
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    counted = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < 5))
    assert [row["n"] for row in await QueryBuilder(counted).order_by("n").all()] == [1, 2, 3, 4, 5]


async def test_scalar_subqueries(session: DatabaseSession) -> None:
    average = QueryBuilder(Book).select(func.avg(Book.price)).scalar_subquery()
    above = QueryBuilder(Book).where(Book.price > average).order_by("id").select(Book.id)
    assert await above.scalars() == [1, 3, 5]


async def test_exists_of_sqlalchemy(session: DatabaseSession) -> None:
    assert await QueryBuilder(Author).where(exists().where(Book.author_id == Author.id)).count() == 2
