"""Writing through the builder, on every engine."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.builder.conftest import ENGINES
from tests.builder.models import BOOK, Author, Book, Loan, Reader, Shelf

from sillar import Capability, DatabaseSession, QueryBuilder, column, parameter
from sillar.errors import ParameterError, UniqueViolationError, UnsupportedCapabilityError, UsageError

pytestmark = pytest.mark.parametrize("manager", ENGINES, indirect=True)


async def names(session: DatabaseSession) -> list[tuple[Any, ...]]:
    return await QueryBuilder(Author).order_by("id").select("id", "name").all(session)


FIRST = [(1, "Rulfo"), (2, "Arguedas"), (3, "Loayza")]


async def test_inserts(session: DatabaseSession) -> None:
    one = await QueryBuilder(Author).insert({"id": 4, "name": "Vallejo"}).execute()
    assert one.rows_affected == 1
    several = await QueryBuilder(Author).insert_many([{"id": n, "name": f"n{n}"} for n in (5, 6)]).execute(session)
    assert several.rows_affected == 2
    assert await names(session) == [*FIRST, (4, "Vallejo"), (5, "n5"), (6, "n6")]
    await QueryBuilder(Shelf).insert_many([Shelf(1, "a"), Shelf(2, "b", 2.5)]).execute()
    assert await QueryBuilder(Shelf).order_by("label").all() == [Shelf(1, "a"), Shelf(2, "b", 2.5)]
    with pytest.raises(UniqueViolationError) as refused:
        await QueryBuilder(Author).insert({"id": 4, "name": "again"}).execute()
    assert refused.value.database == "default"


async def test_what_was_written_is_returned(session: DatabaseSession) -> None:
    query = QueryBuilder(Shelf).insert(Shelf(1, "a"))
    if not session.capabilities.has(Capability.RETURNING):
        with pytest.raises(UnsupportedCapabilityError, match="RETURNING"):
            await query.returning().one()
        assert await QueryBuilder(Shelf).count() == 0
        return
    assert await query.returning().one() == Shelf(1, "a")
    label = column(Shelf, lambda shelf: shelf.label)
    rows = QueryBuilder(Shelf).insert_many([Shelf(2, "b"), Shelf(3, "c")])
    assert await rows.returning(label).all() == [("b",), ("c",)]


async def test_returned_rows_of_updates_and_deletes(session: DatabaseSession) -> None:
    changed = QueryBuilder(Author).where(Author.id == 1).update({"name": "Juan Rulfo"}).returning("id", "name")
    gone = QueryBuilder(Author).where(Author.id == 3).delete().returning(Author.name)
    if session.capabilities.has(Capability.UPDATE_RETURNING):
        assert await changed.all() == [(1, "Juan Rulfo")]
    else:
        with pytest.raises(UnsupportedCapabilityError, match="RETURNING of an UPDATE"):
            await changed.all()
    if session.capabilities.has(Capability.SQL) and session.capabilities.has(Capability.RETURNING):
        assert await gone.scalars() == ["Loayza"]
    else:
        with pytest.raises(UnsupportedCapabilityError):
            await gone.scalars()


async def test_upserts_insert_or_update(session: DatabaseSession) -> None:
    authors = QueryBuilder(Author)
    await authors.upsert([{"id": 1, "name": "Juan"}, {"id": 7, "name": "New"}]).execute()
    assert await names(session) == [(1, "Juan"), (2, "Arguedas"), (3, "Loayza"), (7, "New")]
    await authors.upsert({"id": 1, "name": "nobody"}, update=[]).execute()
    await authors.upsert({"id": 8, "name": "eight"}, update=[]).execute()
    assert (await names(session))[0] == (1, "Juan")
    assert (8, "eight") in await names(session)
    await authors.upsert({"id": 2, "name": "x"}, update={"name": "fixed"}).execute()
    assert (2, "fixed") in await names(session)


async def test_upserts_compute_from_both_rows(session: DatabaseSession) -> None:
    shelves = QueryBuilder(Shelf)
    width = column(Shelf, lambda shelf: shelf.width)
    for _ in range(3):
        await shelves.upsert(Shelf(1, "a", 2.5), update=lambda new: {"width": width + new.width}).execute()
    assert await shelves.all() == [Shelf(1, "a", 7.5)]


async def test_upserts_by_another_unique_key(session: DatabaseSession) -> None:
    books = QueryBuilder(Book)
    row = {
        "id": 99, "title": "other", "pages": 1, "price": Decimal("1.00"), "printed": None, "sold": True,
        "label": "L1", "facts": {}, "author_id": 1,
    }  # fmt: skip
    if not session.capabilities.has(Capability.SQL):  # the key has to be unique there, too
        await session.documents("qb_book").create_index("label_text", unique=True)
    await books.upsert(row, key=["label"], update=["title", "pages"]).execute()
    assert await books.where(Book.label == "L1").select(Book.id, Book.title, Book.pages).all() == [(1, "other", 1)]
    assert await books.count() == 6


async def test_updates(session: DatabaseSession) -> None:
    changed = (
        await QueryBuilder(Book).where(Book.pages > 150).update({"pages": Book.pages + 1, "sold": False}).execute()
    )
    assert changed.rows_affected == 2
    found = QueryBuilder(Book).where(Book.pages > 150).order_by("id").select(Book.pages, Book.sold)
    assert await found.all() == [(171, False), (251, False)]
    everything = await QueryBuilder(Book).update({"pages": None}, everything=True).execute()
    assert everything.rows_affected == 6
    assert await QueryBuilder(Book).where(Book.pages.is_(None)).count() == 6


async def test_deletes(session: DatabaseSession) -> None:
    gone = await QueryBuilder(Book).where(Book.author_id == 1).delete().execute()
    assert gone.rows_affected == 3
    assert await QueryBuilder(Book).order_by("id").select(Book.id).scalars() == [3, 4, 5]
    assert (await QueryBuilder(Book).delete(everything=True).execute()).rows_affected == 3


async def test_what_is_unbounded_has_to_be_said(session: DatabaseSession) -> None:
    with pytest.raises(UsageError, match="everything=True"):
        QueryBuilder(Book).delete()
    with pytest.raises(UsageError, match="everything=True"):
        QueryBuilder(Book).update({"pages": 1})
    with pytest.raises(UsageError, match="limit"):
        QueryBuilder(Book).limit(1).delete()
    with pytest.raises(UsageError, match="at least one column"):
        QueryBuilder(Book).where(Book.id == 1).update({})
    assert await QueryBuilder(Book).count() == 6


async def test_bad_rows_are_refused_before_anything_is_sent(session: DatabaseSession) -> None:
    authors = QueryBuilder(Author)
    with pytest.raises(UsageError, match="no column 'nam'; did you mean 'name'"):
        authors.insert({"id": 1, "nam": "x"})
    with pytest.raises(UsageError, match="no rows"):
        authors.insert_many([])
    with pytest.raises(UsageError, match="row 2 has other columns"):
        authors.insert_many([{"id": 5, "name": "a"}, {"id": 6}])
    with pytest.raises(ParameterError, match="a mapping or an instance"):
        authors.insert((1, "x"))
    with pytest.raises(UsageError, match="AsyncSession"):
        authors.insert(Author(id=1, name="x"))
    with pytest.raises(ParameterError, match="takes int, and was given a value of type str"):
        await authors.insert({"id": "one", "name": "x"}).execute()
    with pytest.raises(UsageError, match="no value for 'id'"):
        authors.upsert({"name": "x"})
    with pytest.raises(UsageError, match="no column 'nam'"):
        authors.upsert({"id": 1, "name": "x"}, update=["nam"])
    with pytest.raises(UsageError, match="no column 'nam'"):
        authors.upsert({"id": 1, "name": "x"}, update=lambda new: {"name": new.nam})
    with pytest.raises(UsageError, match="no single table"):
        QueryBuilder(QueryBuilder(BOOK).subquery("s")).insert({"id": 1})
    assert await names(session) == FIRST


async def test_a_prepared_write_takes_its_values_each_time(session: DatabaseSession) -> None:
    rename = QueryBuilder(Author).where(Author.id == parameter("id")).update({"name": parameter("name")})
    await rename.execute(params={"id": 3, "name": "Luis"})
    assert (3, "Luis") in await names(session)


async def test_writes_roll_back_with_their_transaction(session: DatabaseSession) -> None:
    with pytest.raises(LookupError):
        async with session.transaction():
            await QueryBuilder(Author).insert({"id": 5, "name": "x"}).execute()
            assert await QueryBuilder(Author).count() == 4
            raise LookupError
    assert await names(session) == FIRST


async def test_values_that_look_like_code_stay_values(session: DatabaseSession) -> None:
    odd = ["$name", "'; DROP TABLE qb_author; --", "{'$ne': 1}", "\\' OR 1=1", "-1", "%", "a\tb\n", "❤", "null"]
    await QueryBuilder(Author).insert_many([{"id": 10 + n, "name": text} for n, text in enumerate(odd)]).execute()
    for number, text in enumerate(odd):
        assert await QueryBuilder(Author).where(Author.name == text).select(Author.id).scalars() == [10 + number]
    readers = QueryBuilder(Reader)
    await readers.insert({"id": 1, "name": "x", "place": {"city": "$city", "$where": "1"}, "joined": None}).execute()
    assert await readers.select("place").scalars() == [{"city": "$city", "$where": "1"}]
    assert await QueryBuilder(Loan).count() == 0
