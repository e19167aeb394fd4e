"""What has no faithful translation is refused by name, with the way out, before anything is sent; or fails as SQL."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Time,
    and_,
    any_,
    bindparam,
    case,
    cast,
    collate,
    column,
    except_,
    exists,
    extract,
    func,
    lateral,
    literal,
    literal_column,
    select,
    table,
    tablesample,
    text,
    true,
    try_cast,
    tuple_,
    union,
    values,
)
from sqlalchemy.dialects.postgresql import array, distinct_on
from tests.mongodb.compiler.shelf import items as t
from tests.mongodb.compiler.shelf import parts as p
from tests.mongodb.compiler.sides import Sides

from sillar.errors import DataError, ParameterError, UnsupportedCapabilityError

odd = Table(
    "odd",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("raw", LargeBinary),
    Column("colour", Enum("red", "green", name="colours")),
    Column("clock", Time),
    Column("lapse", Interval),
    Column("$bad", Integer),
    Column("do.t", Integer),
    Column("doc", JSON),
    Column("zero", ARRAY(Integer, zero_indexes=True)),
    Column("free", Integer, info={"sillar_field": "a..b"}),
    Column("zoned", Time(timezone=True)),
)
walk = select(p.c.id, p.c.k).where(p.c.id == 1).cte("walk", recursive=True)
walk = walk.union_all(select(p.c.id, p.c.k).join(walk, walk.c.k == p.c.id))
of_one = select(func.count()).where(p.c.item_id == t.c.id)

REFUSED: dict[str, tuple[Any, str]] = {
    "FOR UPDATE": (select(t).with_for_update(), "FOR UPDATE: use a transaction"),
    "DISTINCT ON": (select(t).ext(distinct_on(t.c.a)), "a syntax extension.*row_number"),
    "FETCH": (select(t).fetch(1, with_ties=True), "FETCH: use limit"),
    "prefixes": (select(t).prefix_with("SQL_CACHE"), "prefixes"),
    "text": (text("select 1"), "TextClause"),
    "text in a condition": (select(t.c.id).where(text("a = 1")), "TextClause"),
    "literal_column": (select(literal_column("now()")), "literal_column"),
    "WITH RECURSIVE": (select(walk.c.id), "WITH RECURSIVE"),
    "LATERAL": (select(lateral(of_one).c[0]).select_from(t), "Lateral in FROM"),
    "TABLESAMPLE": (select(tablesample(t, 5).c.id), "TableSample in FROM"),
    "VALUES": (select(values(column("x", Integer), name="v").data([(1,)])), "Values in FROM"),
    "FULL JOIN": (select(t.c.id).select_from(t.join(p, t.c.id == p.c.item_id, full=True)), "FULL JOIN"),
    "EXCEPT": (except_(select(t.c.a), select(p.c.k)), "EXCEPT"),
    "UNION FOR UPDATE": (union(select(t.c.a), select(p.c.k)).with_for_update(), "FOR UPDATE or FETCH on a UNION"),
    "UNION ordered by an expression": (
        union(select(t.c.a), select(p.c.k)).order_by(text("a + 1")),
        "ORDER BY an expression on a UNION",
    ),
    "UNION of different kinds": (union(select(t.c.a), select(p.c.s)), "branches of different types"),
    "correlated UNION": (
        select(t.c.id).where(exists(union(select(p.c.id).where(p.c.k == t.c.a).correlate(t), select(p.c.id)))),
        "a correlated subquery inside UNION|no FROM",
    ),
    "a schema": (select(Table("x", MetaData(), Column("a", Integer), schema="s").c.a), "a table with a schema"),
    "a collection with $": (select(Table("a$b", MetaData(), Column("a", Integer)).c.a), "this table's name"),
    "a field with $": (select(odd.c["$bad"]), "this column's name as a field"),
    "a field with a dot": (select(odd.c["do.t"]), "this column's name as a field"),
    "an empty part of a field": (select(odd.c.free), "this column's name as a field"),
    "a column of no table": (select(t.c.id).where(column("x", Integer) == 1), "belongs to no FROM"),
    "a column beside GROUP BY": (select(t.c.a, t.c.b).group_by(t.c.a), "the column 'b' beside GROUP BY"),
    "an aggregate in WHERE": (select(t.c.id).where(func.count() > 1), r"the aggregate count\(\) in this place"),
    "an unknown aggregate": (select(func.array_agg(t.c.a)), r"the aggregate array_agg\(\)"),
    "sum of text": (select(func.sum(t.c.s)), r"sum\(\) of text"),
    "bool_and of a number": (select(func.bool_and(t.c.a)), "bool_and"),
    "max of json": (select(func.max(t.c.doc)), "the order of values of JSON"),
    "max of an array": (select(func.max(t.c.tags)), "the order of values of kind array"),
    "order by json": (select(t.c.id).order_by(t.c.doc["k"]), "the order of values of JSON"),
    "order by binary": (select(odd.c.id).order_by(odd.c.raw), "kind binary"),
    "order by an enum": (select(odd.c.id).order_by(odd.c.colour), "kind enum"),
    "order by an unknown type": (
        select(table("x", column("a")).c.a).order_by(column("a")),
        "belongs to no FROM|unknown type",
    ),
    "order of an unknown type": (
        select(1).where(table("x", column("a")).c.a > 5).select_from(table("x", column("a"))),
        "no FROM|unknown type",
    ),
    "order by null": (select(t.c.id).order_by(func.nullif(None, None)), "without a type|nullif"),
    "order by a name that is not there": (select(t.c.id).order_by("nothing"), "a text in GROUP BY or ORDER BY"),
    "DISTINCT ordered by something else": (select(t.c.a).distinct().order_by(t.c.b), "SELECT DISTINCT does not select"),
    "a computed LIMIT": (select(t.c.id).limit(func.length("ab")), "a computed LIMIT"),
    "text with a number": (select(t.c.id).where(t.c.s == t.c.a), "a comparison of integer with text"),
    "a number as a condition": (select(t.c.id).where(func.coalesce(t.c.a, 0)), "as a condition"),
    "arithmetic with text": (select(t.c.a + func.trim(t.c.s)), "the operator add on"),
    "modulo of floats": (select(func.greatest(t.c.f) % literal(2.0, Float)), "the operator mod on float"),
    "a bit operator": (select(t.c.a.bitwise_and(1)), "the operator bitwise_and_op on integer"),
    "minus text": (select(-func.trim(t.c.s)), "minus a value of kind text"),
    "bitwise not": (select(t.c.a.bitwise_not()), "the operator"),
    "multiplied times": (select(func.greatest(t.c.at) * literal(2, Integer)), "the operator mul on"),
    "a float as text": (select(t.c.s.concat(t.c.f)), "a value of kind float as text"),
    "cast of a float to text": (select(cast(t.c.f, String)), "float as text"),
    "TRY_CAST": (select(try_cast(t.c.s, Integer)), "TRY_CAST"),
    "COLLATE": (select(t.c.id).where(collate(t.c.s, "C") == "a"), "COLLATE"),
    "an array constructor": (select(array([t.c.a, t.c.b])), "array"),
    "a row as a value": (select(tuple_(t.c.a, t.c.b)), "a row as a value"),
    "rows of different lengths": (select(t.c.id).where(tuple_(t.c.a, t.c.b) == tuple_(t.c.a)), "different lengths"),
    "a row in a subquery": (
        select(t.c.id).where(tuple_(t.c.a, t.c.b).in_(select(p.c.k, p.c.id))),
        "a row IN a subquery",
    ),
    "DISTINCT as a value": (select(t.c.id).where(t.c.a.distinct() == 1), "DISTINCT outside of an aggregate"),
    "an unknown function": (select(func.random()), r"the function random\(\)"),
    "a function of a package": (select(func.pkg.lower(t.c.s)), "the function lower"),
    "a wrong number of arguments": (select(func.abs(t.c.a, 1)), r"abs\(\) with 2 arguments"),
    "coalesce of nothing": (select(func.coalesce()), r"coalesce\(\) with 0 arguments"),
    "lower of a number": (select(func.lower(t.c.a)), r"lower\(\) of integer"),
    "abs of text": (select(func.abs(t.c.s)), r"abs\(\) of text"),
    "round of a float to digits": (select(func.round(t.c.f, 1)), r"round\(\) of a float"),
    "sqrt of a decimal": (select(func.sqrt(t.c.d)), r"sqrt\(\) of a decimal"),
    "cardinality of text": (select(func.cardinality(t.c.s)), r"cardinality\(\) of text"),
    "extract of text": (select(extract("year", t.c.s)), r"extract\(\) from text"),
    "extract of a part": (select(extract("century", t.c.at)), r"extract\(century\)"),
    "date_trunc of a column": (select(func.date_trunc(t.c.s, t.c.at)), "date_trunc"),
    "date_trunc to a century": (select(func.date_trunc("century", t.c.at)), "date_trunc"),
    "several kinds in a case": (select(case((t.c.a > 0, t.c.a), else_=t.c.s)), "branches of different types"),
    "IS a value": (select(t.c.id).where(t.c.a.is_(5)), "IS with something else"),
    "BETWEEN SYMMETRIC": (select(t.c.id).where(t.c.n.between(1, 2, symmetric=True)), "BETWEEN SYMMETRIC"),
    "a regular expression": (select(t.c.id).where(t.c.s.regexp_match("a")), "a regular expression"),
    "LIKE of a column": (select(t.c.id).where(t.c.s.like(t.c.w)), "LIKE with a computed pattern"),
    "LIKE of a number": (select(t.c.id).where(func.greatest(t.c.a).like("1")), "LIKE on integer"),
    "ANY of text": (select(t.c.id).where(literal("a", String) == any_(t.c.s)), "ANY or ALL of text"),
    "less than ANY of a subquery": (
        select(t.c.id).where(t.c.a < any_(select(p.c.k).scalar_subquery())),
        "ANY or ALL of a subquery",
    ),
    "contained text": (select(t.c.id).where(t.c.s.op("@>", is_comparison=True)("a")), "@> on text"),
    "a scalar subquery of two columns": (
        select(t.c.id).where(t.c.a == select(p.c.k, p.c.id).scalar_subquery()),
        "several columns",
    ),
    "IN a subquery of two columns": (select(t.c.id).where(t.c.a.in_(select(p.c.k, p.c.id))), "several columns"),
    "IN a subquery of another kind": (
        select(t.c.id).where(t.c.a.in_(select(p.c.s))),
        "a comparison of integer with text",
    ),
    "IN a subquery of decimals": (
        select(t.c.id).where(t.c.f.in_(select(t.alias().c.d))),
        "IN with a subquery of another type",
    ),
    "an item with a computed key": (select(t.c.doc[t.c.s]), "an item whose key is computed"),
    "an item as a date": (
        select(
            func.max(t.c.doc["k"].astext.cast(Date) if hasattr(t.c.doc["k"], "astext") else cast(t.c.doc["k"], Date))
        ),
        "as date",
    ),
    "an item of an array from zero": (select(odd.c.zero[1]), "zero_indexes"),
    "a time with a zone": (select(odd.c.id).where(odd.c.zoned == dt.time(1)), "a time of day with a time zone"),
    "a window of groups": (select(func.sum(t.c.n).over(order_by=t.c.id, groups=(None, 0))), "GROUPS or EXCLUDE"),
    "a range with bounds": (select(func.sum(t.c.n).over(order_by=t.c.n, range_=(-1, 1))), "RANGE with bounds"),
    "rows without order": (select(func.sum(t.c.n).over(rows=(-1, 1))), "without ORDER BY"),
    "lag without order": (select(func.lag(t.c.n).over()), "without ORDER BY"),
    "lag by a column": (select(func.lag(t.c.n, t.c.a).over(order_by=t.c.id)), "a computed offset"),
    "lag with a computed default": (select(func.lag(t.c.n, 1, t.c.a).over(order_by=t.c.id)), "a computed default"),
    "ntile": (select(func.ntile(4).over(order_by=t.c.id)), r"the window function ntile\(\)"),
    "a list as a value": (select(bindparam("x", expanding=True)), "a list as a value"),
    "IN a parameter": (select(t.c.id).where(t.c.a.op("IN", is_comparison=True)(5)), "the operator IN"),
    "a condition on json": (
        select(t.c.id).where(func.coalesce(t.c.doc) > 5),
        "the order of values of JSON|a comparison",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(sides: Sides, name: str) -> None:
    statement, words = REFUSED[name]
    with pytest.raises(UnsupportedCapabilityError, match=words) as caught:
        await sides[1].fetch_all(statement)
    assert len(caught.value.remedy) > 8


VALUES: dict[str, tuple[Any, str]] = {
    "text for an integer": (t.c.a == bindparam("x", "1", type_=Integer), "type str .* an integer"),
    "a boolean for an integer": (t.c.a == bindparam("x", True, type_=Integer), "type bool .* an integer"),
    "an operator for an integer": (t.c.a == bindparam("x", {"$gt": 0}, type_=Integer), "type dict .* an integer"),
    "an operator for a text": (t.c.s == bindparam("x", {"$ne": None}, type_=String), "type dict .* text"),
    "a number for a boolean": (t.c.ok == bindparam("x", 1, type_=Boolean), "type int .* a boolean"),
    "a time for a date": (t.c.day == bindparam("x", dt.datetime(2024, 1, 1), type_=Date), "type datetime .* a date"),
    "a date for a time": (t.c.at == bindparam("x", dt.date(2024, 1, 1), type_=DateTime), "type date .* a timestamp"),
    "a boolean for a float": (t.c.f == bindparam("x", True, type_=Float), "type bool .* a float"),
    "text for a decimal": (t.c.d == bindparam("x", "1", type_=Numeric), "type str .* a decimal"),
    "a number for an array": (t.c.tags == bindparam("x", 5, type_=ARRAY(Integer)), "type int .* an array"),
    "no list for IN": (t.c.a.in_(bindparam("x", expanding=True, callable_=lambda: 5)), "a list of values, not int"),
    "a text as a list": (
        t.c.s.in_(bindparam("x", expanding=True, callable_=lambda: "ab")),
        "a list of values, not str",
    ),
    "a short row": (tuple_(t.c.a, t.c.b).in_(bindparam("x", [(1,)], expanding=True)), "rows of 2 values"),
    "a pattern that ends with its escape": (t.c.s.like("a\\"), "must not end with its escape"),
    "a pattern with NUL": (t.c.s.like("a\0"), "NUL"),
    "a JSON key with NUL": (t.c.doc["a\0"].as_string() == "x", "NUL"),
    "no enum": (odd.c.colour == "blue", "none of the enum's"),
}


@pytest.mark.parametrize("name", VALUES)
async def test_values_that_do_not_fit_their_place(sides: Sides, name: str) -> None:
    condition, words = VALUES[name]
    of = odd if name == "no enum" else t
    with pytest.raises(ParameterError, match=words):
        await sides[1].fetch_all(select(of.c.id).where(condition))


async def test_limits_are_numbers(sides: Sides) -> None:
    for limit in (-1, "5", True, 1.5, {"$gt": 0}):
        with pytest.raises(ParameterError, match="LIMIT is an integer"):
            await sides[1].fetch_all(select(t.c.id).limit(bindparam("n", type_=Integer)), {"n": limit})
    with pytest.raises(ParameterError, match="an integer"):
        await sides[1].fetch_all(select(func.lag(t.c.n, bindparam("by")).over(order_by=t.c.id)), {"by": "1"})
    with pytest.raises(ParameterError, match=r"begins with \$"):
        await sides[1].fetch_all(select(func.lag(t.c.s, 1, "$a").over(order_by=t.c.id)))
    with pytest.raises(ParameterError, match="an array's index"):
        await sides[1].fetch_all(select(t.c.tags[bindparam("i", type_=Integer)]), {"i": "x"})


FAILING: dict[str, tuple[Any, str]] = {
    "division by zero": (t.c.n / (t.c.n - t.c.n), "zero"),
    "integer division by zero": (t.c.n // (t.c.n - t.c.n), "zero"),
    "modulo zero": (t.c.n % (t.c.n - t.c.n), "zero"),
    "text that is no number": (cast(t.c.s, Integer), "number|convert"),
    "several rows of a subquery": (select(p.c.k).where(p.c.id > t.c.id).scalar_subquery(), "more than one row"),
    "json that is no integer": (t.c.doc["t"].as_integer(), "number|convert"),
    "json that is no boolean": (t.c.doc["t"].as_boolean(), "no boolean"),
}


@pytest.mark.parametrize("name", FAILING)
async def test_fails_where_postgresql_fails(sides: Sides, name: str) -> None:
    expression, words = FAILING[name]
    with pytest.raises(Exception, match=r".+"):
        await sides[0].fetch_all(select(expression.label("x")).select_from(t))
    with pytest.raises(DataError, match=words) as caught:
        await sides[1].fetch_all(select(expression.label("x")).select_from(t))
    assert "$$ROOT" not in str(caught.value)


async def test_letters_beyond_ascii_are_not_left_as_they_are(sides: Sides) -> None:
    assert await sides[1].fetch_value(select(func.lower(literal("ABC", String)))) == "abc"
    with pytest.raises(DataError, match="ASCII letters only"):
        await sides[1].fetch_value(select(func.max(func.lower(t.c.w))))


async def test_values_of_the_less_common_kinds(sides: Sides) -> None:
    documents = sides[1]
    rows = [
        {
            "id": 1,
            "raw": b"\x00$",
            "colour": "red",
            "clock": dt.time(1, 2, 3, 4),
            "lapse": dt.timedelta(hours=1, microseconds=5),
            "doc": {"$gt": [1]},
        }
    ]
    await documents.execute(odd.insert().values(rows[0]))
    try:
        columns = [odd.c[name] for name in rows[0]]
        assert await documents.fetch_all(select(*columns)) == rows
        assert await documents.fetch_value(select(odd.c.id).where(odd.c.raw == b"\x00$", odd.c.colour == "red")) == 1
        assert (
            await documents.fetch_value(
                select(odd.c.id).where(odd.c.clock > dt.time(1, 2), odd.c.lapse < dt.timedelta(hours=2))
            )
            == 1
        )
        assert await documents.fetch_value(select(odd.c.doc["$gt"][0].as_integer())) == 1
        assert await documents.fetch_value(select(func.sum(odd.c.lapse))) == rows[0]["lapse"]
        assert await documents.fetch_value(
            select(func.sum(literal(Decimal("1.5"), Numeric))).select_from(odd)
        ) == Decimal("1.5")
        assert await documents.fetch_value(select(and_(true(), odd.c.lapse > -func.greatest(odd.c.lapse)))) is True
    finally:
        await documents.documents("odd").drop()
