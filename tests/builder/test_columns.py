"""How columns are spelled, and what is said of those that are not there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table
from sqlalchemy.dialects import mysql, postgresql, sqlite
from tests.builder.models import BOOK, Author, Book, BookTitle, Loan, Reader, Shelf

from sillar import (
    Columns,
    Condition,
    PreparedQuery,
    QueryBuilder,
    QueryPart,
    WriteQuery,
    bind_model,
    column,
    columns,
    current_session,
    parameter,
)
from sillar.errors import ParameterError, UsageError
from sillar.query.binding import checked_name
from sillar.query.paging import Pager


def sql(query: Any, dialect: Any = postgresql) -> str:
    return " ".join(str(query.statement.compile(dialect=dialect.dialect())).split())


def test_every_spelling_is_the_same_column() -> None:
    assert column(Book, lambda book: book.pages) is column(Book, "pages") is Book.pages
    assert columns(Book).pages is columns(Book)["pages"] is columns(Book)(lambda book: book.pages)
    assert column(Shelf, lambda shelf: shelf.label).name == "label_text"  # type: ignore[attr-defined]
    assert column(Book, "label") is Book.label
    assert repr(columns(Shelf)) == "<Columns of Shelf>"


def test_unknown_columns_name_the_nearest() -> None:
    for spelled in (
        lambda: column(Book, "titel"),
        lambda: column(Book, lambda book: book.titel),  # type: ignore[attr-defined]
        lambda: columns(Book).titel,
        lambda: columns(Book)["titel"],
        lambda: QueryBuilder(Book).select("titel"),
        lambda: QueryBuilder(Book).order_by("-titel"),
        lambda: QueryBuilder(Book).group_by("titel"),
        lambda: QueryBuilder(Book).where(Condition("titel", "==", 1)),
        lambda: QueryBuilder(Book).insert({"titel": 1}),
        lambda: QueryBuilder(Book).where(Book.id == 1).update({"titel": 1}),
    ):
        with pytest.raises(UsageError, match="Book has no column 'titel'; did you mean 'title'"):
            spelled()
    with pytest.raises(UsageError, match="it has id, label, width"):
        column(Shelf, "xyz")


def test_what_is_no_column_is_said() -> None:
    with pytest.raises(UsageError, match="returns an attribute of what it is given"):
        column(Shelf, lambda shelf: 3)
    with pytest.raises(UsageError, match="returns an attribute"):
        column(Shelf, lambda shelf: shelf)
    with pytest.raises(UsageError, match="picked by a function of an instance"):
        column(Shelf, 3)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="holds no JSON"):
        column(Shelf, lambda shelf: shelf.label.upper)
    with pytest.raises(UsageError, match="Place has no field 'town'; it has city, floor"):
        column(Reader, lambda reader: reader.place.town)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="came to True or False"):
        QueryBuilder(Shelf).where(True)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="made of columns and SQL expressions, not of str"):
        QueryBuilder(Shelf).where("label = 1")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least one column"):
        QueryBuilder(Shelf).select()


def test_a_path_below_json_has_the_type_that_the_model_gives_it() -> None:
    city = column(Reader, lambda reader: reader.place.city)
    assert "->> 'city'" in str(city.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))
    assert isinstance(column(Reader, lambda reader: reader.place.floor).type, Integer)
    assert column(Book, lambda book: book.facts["shelf"]["row"]).type is not None


def test_models_have_to_be_bound() -> None:
    class Loose(BaseModel):
        id: int

    for model in (Loose, int, 3, "qb_book", None, object()):
        with pytest.raises(UsageError, match="is not bound to a table"):
            QueryBuilder(model)  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="no field 'key'"):
        bind_model("t", key="key")(Loose)
    with pytest.raises(UsageError, match="did you mean 'id'"):
        bind_model("t", columns={"idd": "x"})(Loose)
    with pytest.raises(UsageError, match="no pydantic model, dataclass or msgspec Struct"):
        bind_model("t")(int)

    class Odd(BaseModel):
        model_config = {"arbitrary_types_allowed": True}
        id: int
        what: object = None
        call: memoryview | None = None
        made: type[int] = int

    with pytest.raises(UsageError, match=r"Odd\.made"):
        bind_model("t")(Odd)


def test_a_class_on_a_table_of_ones_own() -> None:
    @dataclass
    class Short:
        number: int
        title: str

    bind_model(BOOK, key="number", columns={"number": "id"})(Short)
    assert sql(QueryBuilder(Short).order_by("-number")) == (
        "SELECT qb_book.id AS number, qb_book.title FROM qb_book ORDER BY qb_book.id DESC"
    )

    @dataclass
    class Wrong:
        id: int
        nothing: str

    with pytest.raises(UsageError, match="qb_book has no column for the field 'nothing'"):
        bind_model(BOOK)(Wrong)


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 64, "é" * 32, "\ud800", 3, None])
def test_names_that_no_engine_takes(name: Any) -> None:
    with pytest.raises(UsageError):
        checked_name(name)
    for spelled in (
        lambda: columns(Book, alias=name or ""),
        lambda: QueryBuilder(Book).cte(name),
        lambda: parameter(name),
        lambda: bind_model(name)(Author) if not isinstance(name, Table) else None,
    ):
        with pytest.raises(UsageError):
            spelled()


@pytest.mark.parametrize("dialect", [postgresql, mysql, sqlite])
def test_odd_names_are_quoted(dialect: Any) -> None:
    odd = 'a"b`c];--'

    class Odd(BaseModel):
        id: int

    bind_model(odd, columns={"id": "or 1=1 --"})(Odd)
    text = sql(QueryBuilder(Odd), dialect)
    quote = "`" if dialect is mysql else '"'
    assert f"FROM {quote}{odd.replace(quote, quote * 2)}{quote}" in text
    assert f"{quote}or 1=1 --{quote}" in text
    assert f"AS {quote}x' y{quote}" in sql(QueryBuilder(columns(Odd, alias="x' y")), dialect)


def test_operands_of_another_kind_are_refused_without_their_value() -> None:
    for condition in (
        Book.pages == "secret",
        Book.pages.in_([1, "secret"]),
        Book.title == 3.5,
        Book.printed > "secret",
        Book.price < "secret",
        (Book.id == 1) & (Book.pages == "secret"),
        ~(Book.pages > "secret"),
        column(Loan, lambda loan: loan.token) == 3,
    ):
        with pytest.raises(ParameterError, match=r"takes|has") as refused:
            QueryBuilder(Book).where(condition).composed()
        assert "secret" not in str(refused.value)
    with pytest.raises(ParameterError, match="takes one value, not a dict"):
        Condition("title", "==", {"$ne": None}).on(Book)
    with pytest.raises(ParameterError, match="takes a list of values, not str"):
        Condition("title", "in", "abc").on(Book)
    with pytest.raises(ParameterError, match="takes two values, not 3"):
        Condition("id", "between", [1, 2, 3]).on(Book)
    with pytest.raises(UsageError, match=r"there is no operator '='; did you mean"):
        Condition("id", "=", 1).on(Book)
    with pytest.raises(UsageError, match="there is no operator"):
        Condition("id", "; drop", 1).on(Book)


@pytest.mark.parametrize("number", [-1, True, 1.5, "1", 2**63, None])
def test_limits_are_whole_numbers(number: Any) -> None:
    for step in (QueryBuilder(Book).limit, QueryBuilder(Book).offset):
        with pytest.raises(ParameterError, match=r"whole number from 0 to 2\^63 - 1"):
            step(number)


def test_joins_that_are_not_clear() -> None:
    metadata = MetaData()
    city = Table("city", metadata, Column("id", Integer, primary_key=True))
    flight = Table(
        "flight",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("origin", ForeignKey("city.id")),
        Column("target", ForeignKey("city.id")),
    )
    with pytest.raises(UsageError, match="several foreign keys between flight and city"):
        QueryBuilder(flight).join(city)
    assert "ON flight.origin = city.id" in sql(QueryBuilder(flight).join(city, flight.c.origin == city.c.id))
    with pytest.raises(UsageError, match="no foreign key or relation between Book and Shelf"):
        QueryBuilder(Book).join(Shelf)
    with pytest.raises(UsageError, match="Book has no relation 'autor'; it has author"):
        QueryBuilder(Book).join("autor")
    with pytest.raises(UsageError, match="is a column, no relation"):
        QueryBuilder(Shelf).join("label")
    with pytest.raises(UsageError, match="no relation 'x'"):
        QueryBuilder(Shelf).join("x")
    two = Table("two", metadata, Column("id", Integer, primary_key=True), Column("city_id", ForeignKey("city.id")))
    one = Table("one", metadata, Column("id", ForeignKey("two.id")), Column("city_id", ForeignKey("city.id")))
    with pytest.raises(UsageError, match="2 ways to join city"):
        QueryBuilder(one).join(two).join(city)


def test_steps_after_a_union() -> None:
    united = QueryBuilder(Shelf).union(QueryBuilder(Shelf))
    with pytest.raises(UsageError, match="where after union"):
        united.where(Condition("id", "==", 1))
    with pytest.raises(UsageError, match="leave union out"):
        Pager(united._binding, united.query_parts)


def test_into_needs_columns_for_its_fields() -> None:
    @dataclass
    class Wants:
        id: int
        titel: str

    @dataclass
    class Nothing:
        x: int = 0

    with pytest.raises(UsageError, match=r"Wants\.titel: Book has no column 'titel'; did you mean 'title'"):
        QueryBuilder(Book).into(Wants)
    with pytest.raises(UsageError, match="no field of Nothing is a column of Book"):
        QueryBuilder(Book).into(Nothing)
    assert sql(QueryBuilder(Book).into(BookTitle)) == "SELECT qb_book.id, qb_book.title FROM qb_book"


def test_a_builder_is_left_as_it_was() -> None:
    base = QueryBuilder(Book)
    filtered = base.where(Book.id == 1)
    assert [part.kind for part in base.query_parts] == []
    assert [part.kind for part in filtered.limit(1).query_parts] == ["where", "limit"]
    assert [part.kind for part in filtered.query_parts] == ["where"]
    assert repr(filtered) == "<QueryBuilder of Book: where>"
    assert repr(filtered.query_parts[0]).startswith("QueryPart('where', qb_book.id = ")
    assert repr(base) == "<QueryBuilder of Book: all rows>"
    assert repr(filtered.delete()) == "<WriteQuery delete Book>"
    assert repr(QueryBuilder(Book).where(Book.id == parameter("n")).prepare()) == "<PreparedQuery of Book (n)>"


def test_the_pieces_are_what_they_are_called() -> None:
    by_id = QueryBuilder(Book).where(Book.id == parameter("n"))
    assert isinstance(columns(Book), Columns)
    assert all(isinstance(part, QueryPart) for part in by_id.query_parts)
    assert isinstance(by_id.prepare(), PreparedQuery)
    assert isinstance(by_id.delete(), WriteQuery)


def test_shapes_are_told_apart() -> None:
    def key(query: Any) -> Any:
        return query.composed().key

    book, other, third = columns(Book), columns(Book, alias="a"), columns(Book, alias="b")
    base = QueryBuilder(Book)
    assert key(base.where(Book.id == 1)) == key(base.where(Book.id == 2))
    assert key(base.where(Book.id == 1)) != key(base.where(Book.pages == 1))
    assert key(base.where(Book.id == 1)) != key(base.having(Book.id == 1))
    assert key(base.limit(1)) == key(base.limit(2)) != key(base.offset(1))
    assert key(base.select("id")) != key(base.select("title")) != key(base)
    assert key(base.order_by("id")) != key(base.order_by("-id")) != key(base.order_by("-id", nulls="last"))
    assert key(base.for_update()) != key(base.for_update(skip_locked=True))
    joined = base.join(other, book.id == other.id).join(third, book.id == third.id)
    assert key(joined.where(other.id == third.id)) != key(joined.where(other.id == other.id))
    assert key(base.join("author")) != key(base.join("author", left=True))
    assert key(base.where(Book.id == parameter("a"))) != key(base.where(Book.id == parameter("b")))
    shared = parameter("n")
    assert key(base.where(Book.id == shared, Book.pages == shared)) == key(
        base.where(Book.id == parameter("n"), Book.pages == parameter("n"))
    )
    again = QueryBuilder(Shelf).insert(Shelf(1, "x"))
    assert key(again) == key(QueryBuilder(Shelf).insert(Shelf(2, "y")))
    assert key(again) != key(QueryBuilder(Shelf).insert({"id": 1}))
    assert key(again) != key(QueryBuilder(Shelf).insert_many([Shelf(1, "x"), Shelf(2, "y")]))
    assert key(QueryBuilder(Shelf).upsert(Shelf(1, "x"))) != key(QueryBuilder(Shelf).upsert(Shelf(1, "x"), update=[]))


def test_without_a_session_nothing_runs() -> None:
    with pytest.raises(UsageError, match="no session is open in this context"):
        current_session()
    with pytest.raises(UsageError, match="on the database 'main'"):
        current_session("main")


def test_text_columns_have_no_length() -> None:
    assert isinstance(column(Shelf, "label").type, String)
