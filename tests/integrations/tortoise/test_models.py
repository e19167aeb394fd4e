"""Existing Tortoise code over Sillar's connections, unchanged."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from tests.integrations.tortoise.conftest import MODELS, Library
from tests.integrations.tortoise.library import Author, Binding, Book, Every, Seat, Shelf, Tag
from tortoise.connection import get_connection
from tortoise.exceptions import DBConnectionError, DoesNotExist, IntegrityError, OperationalError, UnSupportedError
from tortoise.expressions import F, Q, RawSQL
from tortoise.functions import Count
from tortoise.query_utils import Prefetch

from sillar import errors
from sillar.errors import ForeignKeyViolationError, StatementError, UniqueViolationError
from sillar.integrations.tortoise.errors import translated

EVERYTHING: dict[str, Any] = {
    "small": -7,
    "whole": 2**31 - 1,
    "big": -(2**63),
    "short": "ñandú %s :name 'quoted'",
    "text": "line\nline\\ 日本",
    "flag": True,
    "price": Decimal("12345.6789"),
    "moment": datetime(2026, 11, 26, 15, 4, 5, 678901, tzinfo=UTC),
    "day": date(2026, 11, 26),
    "span": timedelta(days=-2, seconds=5, microseconds=7),
    "ratio": 0.1,
    "document": {"a": [1, None, "x"], "b": {"c": True}},
    "token": UUID("12345678-1234-5678-1234-567812345678"),
    "blob": b"\x00\xff bytes",
    "shelf": Shelf.HIGH,
    "binding": Binding.CLOTH,
}


async def test_create_read_update_delete(library: Library) -> None:
    ada = await Author.create(name="Ada")
    assert ada.id is not None
    await Author.create(name="Bo")
    assert (await Author.get(id=ada.id)).name == "Ada"
    assert [author.name for author in await Author.all().order_by("-name")] == ["Bo", "Ada"]
    assert await Author.filter(Q(name__startswith="A") | Q(name="none")).count() == 1
    ada.name = "Ada L."
    await ada.save()
    assert await Author.filter(name="Bo").update(name="Bob") == 1
    assert await library.titles() == ["Ada L.", "Bob"]
    await ada.delete()
    assert await Author.filter(name__icontains="OB").delete() == 1
    assert await Author.exists() is False
    with pytest.raises(DoesNotExist):
        await Author.get(id=ada.id)
    assert library.leased == 0


async def test_relations_and_prefetch(library: Library) -> None:
    ada, bo = await Author.create(name="Ada"), await Author.create(name="Bo")
    first = await Book.create(title="First", author=ada)
    await Book.create(title="Second", author=ada)
    await Book.create(title="Third", author=bo)
    red, blue = await Tag.create(word="red"), await Tag.create(word="blue")
    await first.tags.add(red, blue)
    await Seat.create(number=4, owner=ada)
    authors = await Author.all().order_by("id").prefetch_related("books__tags", "seat")
    assert [[book.title for book in author.books] for author in authors] == [["First", "Second"], ["Third"]]
    assert sorted(tag.word for tag in authors[0].books[0].tags) == ["blue", "red"]
    assert (await authors[0].seat).number == 4
    found = await Book.filter(tags__word="red").select_related("author").first()
    assert found is not None
    assert found.author.name == "Ada"
    only = await Author.all().prefetch_related(Prefetch("books", Book.filter(title="Second"))).order_by("id")
    assert [book.title for book in only[0].books] == ["Second"]
    await first.tags.remove(red)
    assert [tag.word for tag in await first.tags.all()] == ["blue"]
    counts = await Author.annotate(books_written=Count("books")).order_by("id").values_list("name", "books_written")
    assert counts == [("Ada", 2), ("Bo", 1)]


async def test_bulk_raw_and_helpers(library: Library) -> None:
    await Author.bulk_create([Author(name=f"author {number}") for number in range(250)], batch_size=100)
    await Author.bulk_create([])
    assert await Author.all().count() == 250
    some = await Author.filter(id__in=[(await Author.first()).id, 10**6]).all()  # type: ignore[union-attr]
    assert len(some) == 1
    some[0].name = "renamed"
    assert await Author.bulk_update(some, fields=["name"]) == 1
    got, created = await Author.get_or_create(name="renamed")
    assert (got.id, created) == (some[0].id, False)
    _, created = await Author.update_or_create(name="new one")
    assert created is True
    longest = await Author.annotate(length=RawSQL("LENGTH(name)")).order_by("-length", "id").first().values("name")
    assert longest == {"name": "author 100"}
    raw = await Author.raw("SELECT id, name FROM tt_author WHERE name LIKE 'author 24%' ORDER BY id LIMIT 2")
    assert [author.name for author in raw] == ["author 24", "author 240"]
    await Seat.create(number=1)
    await Seat.filter(number=1).update(number=F("number") + 41)
    assert (await Seat.get(number=42)).owner_id is None  # type: ignore[attr-defined]
    explained = await Author.filter(name="renamed").explain()
    assert explained


async def test_values_come_back_as_tortoise_stores_them(library: Library) -> None:
    made = await Every.create(**EVERYTHING)
    empty = await Every.create()
    read = await Every.get(id=made.id)
    assert {name: getattr(read, name) for name in EVERYTHING} == EVERYTHING
    assert {type(getattr(read, name)) for name in ("moment",)} == {datetime}
    nothing = await Every.get(id=empty.id)
    assert {getattr(nothing, name) for name in EVERYTHING} == {None}
    for name in ("moment", "price", "token", "shelf", "flag", "day"):
        assert await Every.filter(**{name: EVERYTHING[name]}).count() == 1, name
    for document in ("a string", 5, [1, "2"], None):
        await Every.filter(id=made.id).update(document=document if not isinstance(document, str) else f'"{document}"')
        assert (await Every.get(id=made.id)).document == document


async def test_times_of_day(library: Library) -> None:
    made = await Every.create(hour=time(9, 30, 15, 250, tzinfo=UTC))
    hour: Any = (await Every.get(id=made.id)).hour
    if isinstance(hour, timedelta):  # what Tortoise gives on MySQL
        assert hour == timedelta(hours=9, minutes=30, seconds=15, microseconds=250)
    else:
        assert hour == time(9, 30, 15, 250, tzinfo=UTC)


async def test_constraint_errors_are_of_both_kinds(library: Library) -> None:
    await Author.create(name="Ada")
    with pytest.raises(IntegrityError) as caught:
        await Author.create(name="Ada")
    assert isinstance(caught.value, UniqueViolationError)
    assert caught.value.__cause__ is not None
    with pytest.raises(UniqueViolationError) as many:
        await Author.bulk_create([Author(name="Bo"), Author(name="Ada")])
    assert isinstance(many.value, IntegrityError)
    assert await library.titles() == ["Ada"]  # all or nothing
    with pytest.raises(ForeignKeyViolationError):
        await Book.create(title="of nobody", author_id=10**6)
    with pytest.raises(OperationalError) as wrong:
        await get_connection("default").execute_query("SELECT nonsense FROM tt_author")
    assert isinstance(wrong.value, StatementError)
    assert library.leased == 0


async def test_sql_text_through_the_client(library: Library) -> None:
    client = get_connection("default")
    await client.execute_script(
        "INSERT INTO tt_author (name) VALUES ('one'); INSERT INTO tt_author (name) VALUES ('two')"
    )
    affected, rows = await client.execute_query("SELECT id, name FROM tt_author ORDER BY id")
    assert (affected, [row["name"] for row in rows]) == (2, ["one", "two"])
    if library.engine in ("sqlite", "postgresql"):  # by position, too, as with the stock clients
        assert rows[0][1] == "one"
        with pytest.raises(KeyError):
            rows[0]["nothing"]
    affected, _ = await client.execute_query("UPDATE tt_author SET name = 'three'  WHERE name = 'two'")
    assert affected == 1
    assert await client.execute_query_dict("SELECT name FROM tt_author WHERE name = 'three'") == [{"name": "three"}]
    assert await library.orm.execute_query("SELECT name FROM tt_author ORDER BY id") == [
        {"name": "one"},
        {"name": "three"},
    ]
    assert [author.name for author in await library.orm.execute_query(Author.filter(name="one"))] == ["one"]
    for refused in (client.db_create, client.db_delete):
        with pytest.raises(UnSupportedError):
            await refused()


async def test_nothing_of_tortoises_own_is_opened(library: Library) -> None:
    await Author.create(name="Ada")
    client: Any = get_connection("default")
    assert client is library.orm.client
    assert getattr(client, "_pool", None) is None
    assert client._connection is None
    if library.engine == "postgresql":  # the stock client requires the method; it connects nothing
        assert await client.create_pool() is None
    await client.create_connection(with_db=True)
    await client._expire_connections()
    await client._close()
    await client.execute_many("never sent", [])
    await client.close()
    assert await Author.all().count() == 1  # there was nothing to close


async def test_without_time_zones(library: Library) -> None:
    await library.orm.close()
    try:
        await library.orm.open(MODELS, use_tz=False)
        moment = datetime(2026, 11, 26, 15, 4, 5)
        made = await Every.create(moment=moment)
        assert (await Every.get(id=made.id)).moment == moment
        if library.engine in ("mysql", "mariadb"):  # as the stock client: the wall time of whatever zone
            made = await Every.create(moment=moment.replace(tzinfo=timezone(timedelta(hours=5))))
            assert (await Every.get(id=made.id)).moment == moment
    finally:
        await library.orm.open(MODELS)  # Tortoise keeps this in the environment


def test_errors_of_all_kinds_are_of_both_kinds() -> None:
    refused = errors.ConnectError("nobody there").at(database="default", node="nowhere:1")
    refused.add_note("besides")
    twin = translated(refused)
    assert isinstance(twin, DBConnectionError)
    assert isinstance(twin, errors.ConnectError)
    assert (str(twin), twin.node, twin.safe_to_retry, twin.__notes__) == (
        "nobody there",
        "nowhere:1",
        True,
        ["besides"],
    )
    assert type(translated(errors.ConnectError("again"))) is type(twin)
    assert translated(twin) is twin
    lost = translated(errors.ConnectionLostError("gone", safe_to_retry=True))
    assert isinstance(lost, OperationalError)
    assert isinstance(lost, ConnectionError)
    misused = errors.UsageError("not so")
    assert translated(misused) is misused
