"""Hostile names and values in every place where something from outside could stand.

What is sent is read in the server's own log of statements: nothing is in it but what the query meant, once.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, func, literal, not_, or_
from tests.builder.conftest import SQL_ENGINES
from tests.builder.models import Author, Book, Reader

from sillar import (
    Condition,
    DatabaseManager,
    DatabaseSession,
    QueryBuilder,
    bind_model,
    column,
    columns,
    parameter,
)
from sillar.errors import DatabaseError, DataError, ParameterError, StatementError, UsageError
from sillar.testing.servers import MariaDBServer, PostgreSQLServer

HOSTILE = [
    "name; DROP TABLE qb_author; --",
    'name"; DROP TABLE qb_author; --',
    "name`; DROP TABLE qb_author; --",
    "name' OR '1'='1",
    "name/**/OR/**/1=1",
    "name\\' OR 1=1 -- ",
    "$where",
    "$ne",
    "name.$gt",
    "a\0b",
    "n" * 10_000,
    "ｎａｍｅ",
    "name\n-- ",
    "%(name)s",
    ":name",
    "?",
    "",
]
OPERATORS: list[Any] = [{"$ne": None}, {"$gt": ""}, {"$where": "1"}, ["$name"], {"a": {"$regex": "."}}]


@pytest.fixture(scope="module")
async def logging_server() -> AsyncIterator[PostgreSQLServer]:
    async with PostgreSQLServer(settings={"log_statement": "all", "logging_collector": "off"}) as server:
        yield server


@pytest.fixture
async def logged(logging_server: PostgreSQLServer) -> AsyncIterator[tuple[DatabaseSession, Callable[[], list[str]]]]:
    """A session, and the statements that the server has logged since the test began."""
    async with DatabaseManager.from_url(logging_server.url) as manager, manager.session() as session:
        await session.execute("CREATE TABLE IF NOT EXISTS qb_author (id int PRIMARY KEY, name varchar(100))")
        await session.execute("DELETE FROM qb_author")
        await session.execute("INSERT INTO qb_author VALUES (1, 'Rulfo')")
        log = logging_server.log
        assert log is not None
        begin = log.stat().st_size

        def statements() -> list[str]:
            text = log.read_bytes()[begin:].decode(errors="replace")
            found = re.findall(r"LOG:  (?:statement|execute [^:]*): (.*?)(?=\n\d{4}-\d\d-\d\d|\Z)", text, re.DOTALL)
            return [" ".join(each.split("DETAIL:")[0].split()) for each in found]

        yield session, statements


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: repr(text[:20]))
async def test_names_from_outside_reach_no_server(
    logged: tuple[DatabaseSession, Callable[[], list[str]]], hostile: str
) -> None:
    session, statements = logged
    places: list[Callable[[], Any]] = [
        lambda: QueryBuilder(Author).select(hostile),
        lambda: QueryBuilder(Author).order_by(hostile),
        lambda: QueryBuilder(Author).order_by(f"-{hostile}"),
        lambda: QueryBuilder(Author).group_by(hostile),
        lambda: QueryBuilder(Author).where(Condition(hostile, "==", 1)),
        lambda: QueryBuilder(Author).where(Condition("name", hostile, 1)),
        lambda: QueryBuilder(Author).join(hostile),
        lambda: QueryBuilder(Author).insert({hostile: 1}),
        lambda: QueryBuilder(Author).upsert({"id": 1, "name": "x"}, update=[hostile]),
        lambda: QueryBuilder(Author).upsert({"id": 1, "name": "x"}, key=[hostile]),
        lambda: QueryBuilder(Author).where(Author.id == 1).update({hostile: 1}),
        lambda: QueryBuilder(Author).insert({"id": 1, "name": "x"}).returning(hostile),
        lambda: column(Author, hostile),
        lambda: columns(Author)[hostile],
        lambda: QueryBuilder(Author).limit(hostile),  # type: ignore[arg-type]
        lambda: QueryBuilder(Author).offset(hostile),  # type: ignore[arg-type]
    ]
    for place in places:
        with pytest.raises((UsageError, ParameterError)) as refused:
            place()
        assert len(str(refused.value)) < 500
    with pytest.raises(ParameterError, match="cursor"):
        await QueryBuilder(Author).select("id").page(5, session, after=hostile)
    assert statements() == []


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: repr(text[:20]))
async def test_names_of_ones_own_are_quoted_or_refused(
    logged: tuple[DatabaseSession, Callable[[], list[str]]], hostile: str
) -> None:
    session, statements = logged

    def alias() -> Any:
        other = columns(Author, alias=hostile)
        return QueryBuilder(other).select(other.id)

    def cte() -> Any:
        return QueryBuilder(QueryBuilder(Author).select("id").cte(hostile))

    def label() -> Any:
        return QueryBuilder(Author).select(Author.id.label(hostile))

    def table() -> Any:
        return QueryBuilder(Table(hostile or "x", MetaData(), Column("id", Integer)))

    for made in (alias, cte, label, table):
        before = len(statements())
        outcome: BaseException | None = None
        try:
            await made().all()
        except DatabaseError as error:
            outcome = error
        sent = statements()[before:]
        if isinstance(outcome, (UsageError, ParameterError)):
            assert sent == []
        elif made is table:  # quoted, and there is no such thing: one statement, refused as a whole
            assert isinstance(outcome, StatementError)
        else:
            assert outcome is None
        assert len(sent) <= 1
        assert all(each.lower().startswith(("select", "with")) for each in sent)
    assert await session.fetch_value("SELECT count(*) FROM qb_author") == 1


async def test_hostile_values_stay_values(logged: tuple[DatabaseSession, Callable[[], list[str]]]) -> None:
    _, statements = logged
    for hostile in HOSTILE:
        for condition in (
            Author.name == hostile,
            Condition("name", "contains", hostile),
            Condition("name", "like", hostile),
            Author.name.in_([hostile, "x"]),
            func.lower(Author.name) == hostile,
            or_(Author.name == hostile, not_(Author.name != hostile)),
        ):
            query = QueryBuilder(Author).where(condition).select(Author.id)  # type: ignore[arg-type]
            if "\0" in hostile:
                with pytest.raises((ParameterError, DataError)):
                    await query.scalars()
            else:
                found = await query.scalars()
                assert found == ([1] if hostile == "" and isinstance(condition, Condition) and
                                 condition.operator == "contains" else [])  # fmt: skip
        prepared = QueryBuilder(Author).where(Author.name == parameter("name")).select(Author.id).prepare()
        if "\0" not in hostile:
            assert await prepared.scalars(params={"name": hostile}) == []
    own = [text for text in statements() if "typeinfo" not in text]  # the driver asks what an unknown type is
    assert {text.split()[0].lower() for text in own} == {"select"}
    assert [text for text in own if "drop" in text.lower()] == []


@pytest.mark.parametrize("manager", [*SQL_ENGINES, "mongodb"], indirect=True)
@pytest.mark.parametrize("given", OPERATORS, ids=repr)
async def test_operator_documents_never_pass_as_values(session: DatabaseSession, given: Any) -> None:
    for query in (
        lambda: QueryBuilder(Author).where(Author.name == given),
        lambda: QueryBuilder(Author).where(Author.id == given),
        lambda: QueryBuilder(Author).where(Condition("name", "==", given)),
        lambda: QueryBuilder(Author).where(Author.name == parameter("name")),
        lambda: QueryBuilder(Author).insert({"id": 7, "name": given}),
        lambda: QueryBuilder(Author).where(Author.id == 1).update({"name": given}),
    ):
        with pytest.raises((DatabaseError, TypeError)) as refused:
            built: Any = query()
            named = built.composed().binds[0].required
            await built.execute(params={"name": given} if named else None)
        assert isinstance(refused.value, (ParameterError, UsageError, DataError)), refused.value
    assert await QueryBuilder(Author).count() == 3
    stored = {"id": 1, "name": "x", "place": {"city": given, "$set": {"a": 1}}, "joined": None}
    await QueryBuilder(Reader).insert(stored).execute()
    assert await QueryBuilder(Reader).select("place").scalar() == {"city": given, "$set": {"a": 1}}


@pytest.mark.parametrize("manager", SQL_ENGINES, indirect=True)
async def test_negative_numbers_after_a_minus_sign(session: DatabaseSession) -> None:
    # Pasted as text, "2 - -1" is fine, and "2--1" begins a comment.
    for number in (-1, -(2**31)):
        value = await QueryBuilder(Book).where(Book.id == 1).select(literal(2) - literal(number)).scalar()
        assert value == 2 - number
        below = QueryBuilder(Book).where(Book.id == 1, Book.pages - literal(number) > 0).select(Book.id)
        assert await below.scalars() == [1]
    text = QueryBuilder(Book).where(Book.title == "--'; DROP TABLE qb_book", Book.id - literal(-1) > 0)
    assert await text.count() == 0
    assert await QueryBuilder(Book).count() == 6


@pytest.mark.parametrize("mode", ["", "ANSI_QUOTES", "STRICT_ALL_TABLES,ANSI", "TRADITIONAL"])
async def test_backslashes_under_every_sql_mode(mariadb: MariaDBServer, mode: str) -> None:
    settings = {"databases": {"default": {"connection_options": {"sql_mode": mode}}}} if mode else {}
    table = Table("qb_slash", MetaData(), Column("id", Integer, primary_key=True), Column("text", String(100)))
    texts = ["\\", "\\'", "'\\''", "\\\\' OR 1=1 -- ", '"\\"', "a\\%", "\\_", "\x1a\b\t"]
    async with DatabaseManager.from_url(mariadb.url, overrides=settings) as manager, manager.session() as session:
        await session.execute("DROP TABLE IF EXISTS qb_slash")
        await session.execute("CREATE TABLE qb_slash (id INT PRIMARY KEY, text VARCHAR(100))")
        rows = QueryBuilder(table)
        await rows.insert_many([{"id": n, "text": text} for n, text in enumerate(texts)]).execute()
        for number, text in enumerate(texts):
            assert await rows.where(table.c.text == text).select(table.c.id).scalars() == [number]
            assert await rows.where(table.c.text.contains(text, autoescape=True)).count() >= 1


@pytest.mark.parametrize("manager", [*SQL_ENGINES, "mongodb"], indirect=True)
async def test_thirty_thousand_parameters(session: DatabaseSession) -> None:
    many = list(range(30_000))
    assert await QueryBuilder(Author).where(Author.id.in_(many)).count() == 2 + 1
    assert await QueryBuilder(Author).where(Author.id.not_in(many)).count() == 0
    rows = [{"id": 100 + number, "name": f"n{number}"} for number in range(20_000)]
    with pytest.raises(ParameterError, match=r"40000 parameters.*bulk_insert"):
        QueryBuilder(Author).insert_many(rows)
    assert await QueryBuilder(Author).count() == 3


@pytest.mark.parametrize("manager", [*SQL_ENGINES, "mongodb"], indirect=True)
async def test_deep_nesting_is_an_error_or_an_answer(session: DatabaseSession) -> None:
    deep: Any = Author.id == 1
    for _ in range(3000):
        deep = not_(deep | (Author.id == 2))
    with pytest.raises(
        (UsageError, ParameterError, StatementError), match=r"nest|deep|complex|depth|large|stack|limit"
    ):
        await QueryBuilder(Author).where(deep).count()
    assert await QueryBuilder(Author).count() == 3  # and the session goes on


def test_names_of_bound_models_are_checked() -> None:
    from dataclasses import dataclass

    @dataclass
    class Plain:
        id: int

    for hostile in ("", "a\0b", "n" * 64):
        with pytest.raises(UsageError):
            bind_model(hostile)(Plain)
        with pytest.raises(UsageError):
            bind_model("fine", columns={"id": hostile})(Plain)
        with pytest.raises(UsageError):
            bind_model("fine", schema=hostile or "\0")(Plain)
