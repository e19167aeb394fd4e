"""Reading through the builder, on every engine."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, and_, case, func, not_, or_
from tests.builder.conftest import ENGINES
from tests.builder.models import BOOK, BOOKS, JOINED, Author, Book, BookCard, BookOut, BookTitle, Loan, Place, Reader

from sillar import (
    Capability,
    Condition,
    DatabaseManager,
    DatabaseSession,
    Page,
    QueryBuilder,
    column,
    columns,
    current_session,
    parameter,
)
from sillar.errors import ParameterError, ResultError, UnsupportedCapabilityError, UsageError

pytestmark = pytest.mark.parametrize("manager", ENGINES, indirect=True)


async def test_full_rows_are_dicts_of_a_table(session: DatabaseSession) -> None:
    rows = await QueryBuilder(BOOK).order_by("id").all()
    assert [row["title"] for row in rows] == [book["title"] for book in BOOKS]
    assert rows[0] == {**{k: v for k, v in BOOKS[0].items() if k != "label"}, "label_text": "L1"}


async def test_columns_make_tuples_and_scalars(session: DatabaseSession) -> None:
    query = QueryBuilder(Book).where(Book.pages > 120).order_by(Book.pages)
    assert await query.select(Book.id, Book.pages).all() == [(1, 124), (2, 170), (3, 250)]
    assert await query.select("title", "price").first() == ("Pedro Páramo", Decimal("10.50"))
    assert await query.select(Book.id).scalars(session) == [1, 2, 3]
    assert await query.select(Book.printed).scalar() == dt.date(1955, 3, 18)
    assert await QueryBuilder(Book).where(Book.id == 99).select(Book.id).scalar() is None


async def test_rows_become_what_into_says(session: DatabaseSession) -> None:
    query = QueryBuilder(Book).where(Book.id <= 2).order_by("id")
    assert await query.into(BookTitle).all() == [BookTitle(1, "Pedro Páramo"), BookTitle(2, "El llano en llamas")]
    assert await query.into(BookCard).first() == BookCard("Pedro Páramo", "L1")
    assert (await query.into(BookOut).all())[1] == BookOut(id=2, price=Decimal("9.00"), printed=dt.date(1953, 9, 18))
    assert await query.select(Book.title).into(str).all() == ["Pedro Páramo", "El llano en llamas"]


async def test_models_give_their_own_instances(session: DatabaseSession) -> None:
    reader = Reader(id=1, name="Ana", place=Place(city="Lima", floor=3), joined=JOINED)
    await QueryBuilder(Reader).insert(reader).execute()
    assert await QueryBuilder(Reader).one() == reader
    in_lima = QueryBuilder(Reader).where(column(Reader, lambda r: r.place.city) == "Lima")
    assert [each.name for each in await in_lima.all()] == ["Ana"]
    assert await QueryBuilder(Reader).where(column(Reader, lambda r: r.place.city) == "Cusco").all() == []


async def test_how_many_rows_are_expected_is_said(session: DatabaseSession) -> None:
    query = QueryBuilder(Book).select(Book.id)
    assert await query.where(Book.id == 3).one() == (3,)
    assert await query.where(Book.id == 99).one_or_none() is None
    assert await query.where(Book.id == 99).first() is None
    with pytest.raises(ResultError, match="none"):
        await query.where(Book.id == 99).one()
    with pytest.raises(ResultError, match="more than one"):
        await query.one()
    with pytest.raises(ResultError, match="more than one"):
        await query.one_or_none()


async def test_conditions_by_name(session: DatabaseSession) -> None:
    async def found(*conditions: Condition) -> list[int]:
        return await QueryBuilder(Book).where(*conditions).order_by("id").select(Book.id).scalars()

    assert await found(Condition("pages", "==", 170)) == [2]
    assert await found(Condition("pages", "!=", 170)) == [1, 3, 6]
    assert await found(Condition("pages", ">=", 124), Condition("pages", "<", 250)) == [1, 2]
    assert await found(Condition("id", "in", [1, 3, 99])) == [1, 3]
    assert await found(Condition("id", "in", [])) == []
    assert await found(Condition("id", "not in", [1, 3])) == [2, 4, 5, 6]
    assert await found(Condition("id", "between", [2, 4])) == [2, 3, 4]
    assert await found(Condition("pages", "is null")) == [4, 5]
    assert await found(Condition("pages", "is not null")) == [1, 2, 3, 6]
    assert await found(Condition("title", "starts with", "El ")) == [2, 5, 6]
    assert await found(Condition("title", "ends with", "Fiesta")) == [4]
    assert await found(Condition("title", "contains", "de")) == [5, 6]
    assert await found(Condition("title", "contains", "%")) == []
    assert await found(Condition("title", "like", "%gallo%")) == [6]


async def test_the_logic_of_conditions(session: DatabaseSession) -> None:
    async def found(condition: Any) -> list[int]:
        return await QueryBuilder(Book).where(condition).order_by("id").select(Book.id).scalars()

    assert await found(or_(Book.id == 1, and_(Book.pages > 100, Book.sold))) == [1, 2]
    assert await found(not_(Book.pages > 124)) == [1, 6]  # NULL is neither
    assert await found(not_(Book.sold)) == [1, 3, 5]
    assert await found(Book.pages.is_distinct_from(124)) == [2, 3, 4, 5, 6]
    assert await found(Book.printed >= dt.date(1958, 1, 1)) == [3, 5, 6]
    assert await found(Book.price + 1 > Decimal("11.40")) == [1, 3, 5]


async def test_sorting_with_a_place_for_nulls(session: DatabaseSession) -> None:
    async def sorted_ids(*keys: Any, nulls: Any = None) -> list[int]:
        return await QueryBuilder(Book).order_by(*keys, nulls=nulls).select(Book.id).order_by("id").scalars()

    assert await sorted_ids("pages", nulls="last") == [6, 1, 2, 3, 4, 5]
    assert await sorted_ids("pages", nulls="first") == [4, 5, 6, 1, 2, 3]
    assert await sorted_ids("-pages", nulls="first") == [4, 5, 3, 2, 1, 6]
    assert await sorted_ids(Book.pages.desc(), nulls="last") == [3, 2, 1, 6, 4, 5]
    assert await sorted_ids("author_id", "-id") == [6, 2, 1, 5, 4, 3]


async def test_limit_offset_distinct_count(session: DatabaseSession) -> None:
    query = QueryBuilder(Book).order_by("id").select(Book.id)
    assert await query.limit(2).offset(1).scalars() == [2, 3]
    assert await QueryBuilder(Book).count() == 6
    assert await QueryBuilder(Book).where(Book.pages.is_(None)).count(session) == 2
    assert await query.limit(4).count() == 4
    assert sorted(await QueryBuilder(Book).select(Book.author_id).distinct().scalars()) == [1, 2]
    assert await QueryBuilder(Book).select(Book.author_id).distinct().count() == 2


async def test_groups(session: DatabaseSession) -> None:
    query = (
        QueryBuilder(Book)
        .select(Book.author_id, func.count(), func.sum(Book.pages), func.max(Book.price), func.count(Book.pages))
        .group_by("author_id")
        .order_by("author_id")
    )
    assert [(a, n, int(s), p, c) for a, n, s, p, c in await query.all()] == [
        (1, 3, 394, Decimal("10.50"), 3),
        (2, 3, 250, Decimal("14.00"), 1),
    ]
    assert await query.having(func.count(Book.pages) > 1).count() == 1
    assert await QueryBuilder(Book).where(Book.id > 99).select(func.sum(Book.pages)).scalar() is None


async def test_joins(session: DatabaseSession) -> None:
    named = [("El gallo de oro", "Rulfo"), ("El llano en llamas", "Rulfo"), ("Pedro Páramo", "Rulfo")]
    for joined in (
        QueryBuilder(Book).join(Author),
        QueryBuilder(Book).join("author"),
        QueryBuilder(Book).join(Book.author),
        QueryBuilder(Book).join(Author, Author.id == Book.author_id),
    ):
        query = joined.where(Author.name == "Rulfo").select(Book.title, Author.name).order_by(Book.title)
        assert await query.all() == named
    left = QueryBuilder(Author).join("books", left=True).group_by(Author.id).order_by(Author.id)
    assert await left.select(Author.id, func.count(Book.id)).all() == [(1, 3), (2, 3), (3, 0)]


async def test_a_table_joined_with_itself(session: DatabaseSession) -> None:
    other = columns(Book, alias="other")
    query = QueryBuilder(Book).join(other, and_(other.author_id == Book.author_id, other.id > Book.id))
    pairs = await query.select(Book.id, other(lambda book: book.id)).order_by(Book.id, other.id).all()
    assert pairs == [(1, 2), (1, 6), (2, 6), (3, 4), (3, 5), (4, 5)]


async def test_subqueries_and_unions(session: DatabaseSession) -> None:
    cheap = QueryBuilder(Book).where(Book.price < 9).select(Book.id, Book.author_id)
    assert await QueryBuilder(cheap.subquery("cheap")).order_by("id").all() == [
        {"id": 4, "author_id": 2},
        {"id": 6, "author_id": 1},
    ]
    assert await QueryBuilder(cheap.cte("cheap")).count() == 2
    long = QueryBuilder(Book).where(Book.pages > 160).select(Book.id, Book.author_id)
    either = cheap.union(long).order_by("id")
    assert await either.all() == [(2, 1), (3, 2), (4, 2), (6, 1)]
    assert await either.limit(1).all() == [(2, 1)]
    assert len(await cheap.union(cheap, all=True).all()) == 4
    assert await cheap.union(long).count() == 4
    assert len(await cheap.union(cheap, all=True).union(cheap.union(long, all=True), all=True).all()) == 8
    assert len(await cheap.union(long).union(cheap).all()) == 4
    assert len(await cheap.union(cheap).union(cheap, all=True).all()) == 4  # of both kinds
    assert len(await cheap.union(cheap.order_by("id").limit(1), all=True).all()) == 3
    assert await cheap.order_by("id").limit(1).union(long).order_by("-id").all() == [(4, 2), (3, 2), (2, 1)]
    ids = QueryBuilder(Book).where(Book.sold).select(Book.author_id)
    selling = QueryBuilder(Author).where(Author.id.in_(ids.statement)).select(Author.id).order_by("id")
    assert await selling.scalars() == [1, 2]


async def test_exists(session: DatabaseSession) -> None:
    has_books = QueryBuilder(Book).where(Book.author_id == Author.id).exists()
    assert await QueryBuilder(Author).where(has_books).order_by("id").select(Author.id).scalars() == [1, 2]
    assert await QueryBuilder(Author).where(not_(has_books)).select(Author.id).scalars() == [3]


async def test_windows_and_case(session: DatabaseSession) -> None:
    place = func.row_number().over(partition_by=Book.author_id, order_by=Book.price.desc())
    query = QueryBuilder(Book).select(Book.id, place).order_by("id")
    assert await query.all() == [(1, 1), (2, 2), (3, 2), (4, 3), (5, 1), (6, 3)]
    size = case((Book.pages > 200, "long"), (Book.pages.is_(None), "unknown"), else_="short")
    assert await QueryBuilder(Book).select(size).order_by("id").scalars() == [
        "short",
        "short",
        "long",
        "unknown",
        "unknown",
        "short",
    ]


async def test_streams(session: DatabaseSession) -> None:
    async with QueryBuilder(Book).order_by("id").into(BookTitle).stream(batch_rows=2) as rows:
        assert [row.id async for row in rows] == [1, 2, 3, 4, 5, 6]


async def test_execute_gives_a_result(session: DatabaseSession) -> None:
    result = await QueryBuilder(Book).order_by("id").select(Book.id, Book.title).limit(1).execute()
    assert result.columns == ("id", "title")
    assert result.one() == {"id": 1, "title": "Pedro Páramo"}


async def test_prepared_queries(session: DatabaseSession) -> None:
    by_id = QueryBuilder(Book).where(Book.id == parameter("id", int)).into(BookTitle).prepare()
    assert by_id.parameters == {"id"}
    assert await by_id.one(params={"id": 2}) == BookTitle(2, "El llano en llamas")
    assert await by_id.first(session, params={"id": 99}) is None
    assert [row.id for number in (1, 3) for row in await by_id.all(params={"id": number})] == [1, 3]
    with pytest.raises(ParameterError, match="missing: id"):
        await by_id.all()
    with pytest.raises(ParameterError, match="superfluous: other"):
        await by_id.all(params={"id": 1, "other": 2})


async def test_one_parameter_in_two_places(session: DatabaseSession) -> None:
    around = QueryBuilder(Book).where(Book.id >= parameter("n"), Book.pages > parameter("n")).select(Book.id)
    assert sorted(await around.prepare().scalars(params={"n": 2})) == [2, 3, 6]
    assert sorted(await around.prepare().scalars(params={"n": 3})) == [3, 6]


async def test_the_query_runs_in_the_session_of_the_context(manager: DatabaseManager, session: DatabaseSession) -> None:
    assert current_session() is session
    if session.capabilities.has(Capability.TRANSACTIONS):
        async with session.transaction() as transaction:
            assert current_session() is transaction
            await QueryBuilder(Author).insert({"id": 9, "name": "Vallejo"}).execute()
            assert await QueryBuilder(Author).count() == 4
            await transaction.rollback()
        assert await QueryBuilder(Author).count() == 3


async def test_pages_cover_every_row_once_in_order(session: DatabaseSession) -> None:
    for keys, expected in (
        (("-pages",), [3, 2, 1, 6, 5, 4]),
        (("pages",), [6, 1, 2, 3, 4, 5]),
        (("author_id", "-price"), [1, 2, 6, 5, 3, 4]),
        ((), [1, 2, 3, 4, 5, 6]),
    ):
        query = QueryBuilder(Book).order_by(*keys).into(BookTitle)
        for size in (1, 2, 4, 6):
            seen: list[int] = []
            cursor: str | None = None
            while True:
                page = await query.page(size, after=cursor)
                assert isinstance(page, Page)
                seen += [book.id for book in page.items]
                cursor = page.next_cursor
                if cursor is None:
                    break
                assert len(page.items) == size
            assert seen == expected, (keys, size)


async def test_cursors_of_every_type_and_bad_ones(session: DatabaseSession) -> None:
    for key in ("price", "printed", "title", "sold"):
        page = await QueryBuilder(Book).order_by(key).into(BookTitle).page(3)
        rest = await QueryBuilder(Book).order_by(key).into(BookTitle).page(3, after=page.next_cursor)
        assert len({book.id for book in [*page.items, *rest.items]}) == 6
        with pytest.raises(ParameterError, match="another order"):
            await QueryBuilder(Book).order_by("-id").into(BookTitle).page(3, after=page.next_cursor)
    for bad in ("", "!!!", "AAAA", "W10", "x" * 5000, "WyIxMjM0NTY3OCIsIngiXQ", 3):
        with pytest.raises(ParameterError, match="cursor"):
            await QueryBuilder(Book).order_by("price").into(BookTitle).page(3, after=bad)  # type: ignore[arg-type]
    for size in (0, -1, 10_001, True, "5"):
        with pytest.raises(ParameterError, match="1 to 10000"):
            await QueryBuilder(Book).into(BookTitle).page(size)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="leave limit out"):
        await QueryBuilder(Book).limit(3).into(BookTitle).page(3)


async def test_locks(manager: DatabaseManager, session: DatabaseSession) -> None:
    query = QueryBuilder(Book).where(Book.id == 1).select(Book.id)
    if not session.capabilities.has(Capability.ROW_LOCKS):
        with pytest.raises(UnsupportedCapabilityError, match="lock"):
            await query.for_update().all()
        return
    async with session.transaction():
        assert await query.for_update().scalars() == [1]
        other = manager.session()
        async with other.transaction() as second:
            free = QueryBuilder(Book).where(Book.id <= 2).order_by("id").select(Book.id).for_update(skip_locked=True)
            assert await free.scalars(second) == [2]


async def test_loans_of_structs(session: DatabaseSession) -> None:
    loan = Loan(1, 7, uuid.UUID(int=5), None)
    await QueryBuilder(Loan).insert(loan).execute()
    assert await QueryBuilder(Loan).where(column(Loan, lambda each: each.token) == uuid.UUID(int=5)).all() == [loan]


async def test_rows_of_many_keys(session: DatabaseSession) -> None:
    titles = QueryBuilder(Book).into(BookTitle)
    found = await titles.get_many([3, 99, 1, 3, None])
    assert [each and each.id for each in found] == [3, None, 1, 3, None]
    assert await titles.get_many([]) == []
    assert await QueryBuilder(Book).select(Book.title).get_many([6], session) == [("El gallo de oro",)]
    with pytest.raises(UsageError, match="primary key of one column"):
        await QueryBuilder(Table("keyless", MetaData(), Column("id", Integer))).get_many([1])


async def test_fields_of_another_type_than_their_column_are_converted(session: DatabaseSession) -> None:
    @dataclass
    class Dated:
        id: int
        name: dt.date

    await QueryBuilder(Author).insert({"id": 50, "name": "1955-03-18"}).execute()
    assert await QueryBuilder(Author).where(Author.id == 50).into(Dated).one() == Dated(50, dt.date(1955, 3, 18))
