"""Each construct gives what PostgreSQL gives."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Date,
    DateTime,
    Float,
    Integer,
    Interval,
    Numeric,
    String,
    all_,
    and_,
    any_,
    bindparam,
    case,
    cast,
    exists,
    extract,
    false,
    func,
    literal,
    not_,
    null,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
    union,
    union_all,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column
from tests.mongodb.compiler.shelf import items as t
from tests.mongodb.compiler.shelf import parts as p
from tests.mongodb.compiler.sides import Sides, rows_of

from sillar.errors import DatabaseError


class Base(DeclarativeBase):
    pass


class Item(Base):
    __table__ = t


class Part(Base):
    __tablename__ = "shelf_parts"
    number: Mapped[int] = mapped_column("id", primary_key=True)
    owner: Mapped[int | None] = mapped_column("item_id")
    k: Mapped[int | None]
    __mapper_args__ = {"include_properties": ["number", "owner", "k"]}  # noqa: RUF012 - as SQLAlchemy has it


other = p.alias("other")
inner = select(p.c.item_id.label("owner"), func.count().label("many")).group_by(p.c.item_id).subquery()
grouped = select(p.c.k, func.max(p.c.id).label("top")).group_by(p.c.k).cte("grouped")
of_item = select(func.count()).select_from(p).where(p.c.item_id == t.c.id).scalar_subquery()
ItemAlias = aliased(Item)


def values(*columns: Any) -> Any:
    """The columns of all items, in order."""
    return select(t.c.id, *columns).order_by(t.c.id)


def where(*conditions: Any) -> Any:
    """The items for which the conditions hold."""
    return select(t.c.id).where(*conditions).order_by(t.c.id)


def ordered(*columns: Any) -> Any:
    return select(t.c.id).order_by(*columns, t.c.id)


CASES: dict[str, Any] = {
    # values
    "all columns": select(t).order_by(t.c.id),
    "literals": values(literal(1, Integer), literal("$x", String), literal(None, String), null(), true(), false()),
    "select without from": select(literal(5, Integer).label("five"), literal("$$ROOT", String).label("text")),
    "select 1": select(1),
    "the same column twice": values(t.c.a, t.c.a.label("a2"), t.c.b.label("$strange.name")),
    "arithmetic": values(t.c.a + t.c.b, t.c.a - 1, t.c.a * t.c.n, -t.c.a, t.c.a + t.c.b + t.c.n),
    "integer division truncates": values(t.c.a // literal(2, Integer), t.c.a // literal(-2, Integer)),
    "division": values(t.c.a / literal(4, Integer), t.c.f / literal(4.0, Float), t.c.d / literal(3, Integer)),
    "floor division": values(t.c.f // literal(2.0, Float), t.c.d // literal(2, Integer)),
    "modulo takes the dividend's sign": values(t.c.a % literal(3, Integer), t.c.a % literal(-3, Integer)),
    "modulo of decimals": values(t.c.d % literal(Decimal(2), Numeric)),
    "mod()": values(func.mod(t.c.a, literal(3, Integer))),
    "kinds of numbers mixed": values(t.c.a + t.c.f, t.c.a * t.c.d, t.c.f + cast(t.c.d, Float)),
    "concatenation": values(t.c.s + "$x", t.c.s.concat(t.c.w), func.concat(t.c.s, "-", t.c.a)),
    "case": values(case((t.c.a > 0, "more"), (t.c.a < 0, "less"), else_="none"), case({1: "one"}, value=t.c.a)),
    "case of several kinds": values(case((t.c.a > 0, t.c.a), else_=t.c.f), case((t.c.a > 0, t.c.a), else_=t.c.d)),
    "case of nothing": values(case((t.c.a > 0, null()), else_=null())),
    "coalesce": values(func.coalesce(t.c.a, t.c.b, 0), func.coalesce(t.c.s, "$none"), func.coalesce(t.c.a, t.c.f)),
    "nullif": values(func.nullif(t.c.a, t.c.b), func.nullif(t.c.s, "a")),
    "greatest": values(func.greatest(t.c.a, t.c.b, 1), func.least(t.c.a, t.c.f)),
    "text functions": values(func.length(t.c.w), func.char_length(t.c.s), func.strpos(t.c.s, "b")),
    "lower": values(func.lower(t.c.s), func.upper(t.c.s)),
    "substr": values(func.substr(t.c.s, 2), func.substr(t.c.s, 0, 2), func.substring(t.c.w, 2, 1)),
    "trim": values(func.trim(t.c.s), func.btrim(t.c.s, "a "), func.ltrim(t.c.s), func.rtrim(t.c.s, "b")),
    "replace": values(func.replace(t.c.s, "a", "$"), func.replace(t.c.s, "", "x")),
    "abs": values(func.abs(t.c.a), func.abs(t.c.f), func.abs(t.c.d)),
    "round": values(func.round(t.c.f), func.round(t.c.d), func.round(t.c.d, 1), func.round(t.c.a)),
    "ceil": values(func.ceil(t.c.f), func.floor(t.c.d), func.ceiling(t.c.d), func.floor(t.c.a)),
    "sqrt": values(func.sqrt(func.abs(t.c.f))),
    "casts": values(cast(t.c.a, String), cast(t.c.ok, String), cast(t.c.f, Integer), cast(t.c.d, Integer)),
    "casts of numbers": values(
        cast(t.c.a, Float), cast(t.c.a, Numeric(12, 2)), cast(t.c.d, Float), cast(t.c.d, Numeric(9, 1))
    ),
    "casts to and from boolean": values(cast(t.c.a, Boolean), cast(t.c.ok, Integer)),
    "casts of text": select(cast(literal("12", String), Integer), cast(literal("1.5", String), Float)),
    "cast to a length": values(cast(t.c.s, String(2)), cast(t.c.day, String)),
    "cast of a parameter": select(cast(bindparam("x", "7"), Integer), cast(literal(2.5, Float), Integer)),
    "casts of times": values(cast(t.c.at, Date), cast(t.c.day, DateTime)),
    "type_coerce": values(type_coerce(t.c.a, Integer)),
    "extract": values(*[extract(part, t.c.at) for part in ("year", "month", "day", "hour", "minute", "second")]),
    "extract more": values(
        *[extract(part, t.c.at) for part in ("quarter", "dow", "isodow", "doy", "week", "isoyear", "epoch")]
    ),
    "extract of a date": values(extract("year", t.c.day), extract("dow", t.c.day)),
    "date_trunc": values(
        *[func.date_trunc(unit, t.c.at) for unit in ("year", "quarter", "month", "week", "day", "minute")]
    ),
    "times": values(
        t.c.at + literal(dt.timedelta(hours=5), Interval), t.c.at - literal(dt.timedelta(days=1), Interval)
    ),
    "difference of times": values(t.c.at - literal(dt.datetime(2024, 1, 1), DateTime)),
    "interval first": values(literal(dt.timedelta(hours=5), Interval) + t.c.at),
    "intervals": values(literal(dt.timedelta(hours=5), Interval) + literal(dt.timedelta(hours=2), Interval)),
    "conditions as values": values(t.c.a > t.c.b, t.c.ok, and_(t.c.ok, t.c.a > 0), t.c.s.in_(["a", None])),
    "json": values(t.c.doc["o"], t.c.doc["t"].as_string(), t.c.doc["k"].as_integer(), t.c.doc[("o", "p")].as_integer()),
    "json of other kinds": values(
        t.c.doc["k"].as_float(), t.c.doc["l"][1].as_integer(), t.c.doc["l"][7], t.c.doc["$x"]
    ),
    "json as decimal": values(t.c.doc["k"].as_numeric(10, 2)),
    "arrays": values(func.cardinality(t.c.tags), func.array_length(t.c.tags, 1), t.c.tags[1], t.c.tags[0], t.c.tags[9]),
    # conditions
    "comparisons": where(or_(t.c.a == t.c.b, t.c.a < 0, t.c.n >= 5)),
    "the parameter first": where(literal(3, Integer) > t.c.a),
    "not": where(not_(and_(t.c.a > 0, or_(t.c.b < 3, t.c.s == "a")))),
    "null in a comparison": where(or_(t.c.a == literal(None, Integer), t.c.a != literal(None, Integer))),
    "null literal": where(not_(t.c.a > literal(None, Integer))),
    "true and false": where(true(), or_(false(), t.c.a > 0)),
    "null as a condition": where(or_(null(), t.c.a > 0)),
    "is null": where(t.c.a.is_(None), t.c.b.is_not(None)),
    "is null of an expression": where((t.c.a + t.c.b).is_(None)),
    "is true": where(t.c.ok.is_(True), (t.c.a > 0).is_not(True)),
    "is not false": where(t.c.ok.is_not(False)),
    "boolean column": where(t.c.ok),
    "not boolean column": where(~t.c.ok),
    "boolean equals": where(or_(t.c.ok == true(), t.c.ok != false())),
    "is distinct from": where(t.c.a.is_distinct_from(t.c.b)),
    "is not distinct from": where(t.c.s.is_not_distinct_from(None)),
    "between": where(t.c.a.between(-1, 3)),
    "not between": where(~t.c.a.between(t.c.b, 3)),
    "not between values": where(~t.c.a.between(-1, 3)),
    "between nothing": where(or_(t.c.a.between(literal(None, Integer), 3), ~t.c.a.between(literal(None, Integer), 3))),
    "in": where(t.c.a.in_([1, 2, None])),
    "not in": where(t.c.a.not_in([1, 2])),
    "not in with null": where(t.c.a.not_in([1, None])),
    "in nothing": where(or_(t.c.a.in_([]), t.c.a.not_in([]))),
    "in columns": where(t.c.a.in_([t.c.b, t.c.n])),
    "expression in": where((t.c.a + 1).in_([2, 3]), (t.c.a + 1).not_in([4])),
    "row in": where(tuple_(t.c.n, t.c.id).in_([(n, i) for n in (1, 2, 8) for i in (1, 2, 3, 4, None)])),
    "row not in": where(tuple_(t.c.a, t.c.n).not_in([(1, 2), (3, 5)])),
    "rows compared": where(tuple_(t.c.n, t.c.id) > tuple_(literal(1, Integer), literal(9, Integer))),
    "rows at most": where(not_(tuple_(t.c.a, t.c.id) <= tuple_(literal(1, Integer), literal(9, Integer)))),
    "rows equal": where(
        or_(tuple_(t.c.a, t.c.b) == tuple_(t.c.b, t.c.a), tuple_(t.c.a, t.c.b) != tuple_(t.c.n, t.c.n))
    ),
    "like": where(or_(t.c.s.like("a%"), t.c.s.like("%\\_b"), t.c.s.like("x|%y", escape="|"))),
    "not like": where(t.c.s.not_like("a_b")),
    "like ends at the end": where(t.c.s.like("%b")),
    "like of an expression": where(or_((t.c.s + "x").like("a%x"), not_((t.c.s + "x").like("a%")))),
    "like null": where(or_(t.c.s.like(literal(None, String)), t.c.s.not_like(literal(None, String)))),
    "like null of an expression": where((t.c.s + "x").like(literal(None, String))),
    "ilike": where(or_(t.c.w.ilike("É"), t.c.s.ilike("b"), t.c.w.not_ilike("p%"))),
    "contains": where(or_(t.c.s.contains("."), t.c.s.startswith("$"), t.c.s.endswith("b"), t.c.s.icontains("A"))),
    "any": where(literal(2, Integer) == any_(t.c.tags)),
    "not any": where(not_(literal(2, Integer) == any_(t.c.tags))),
    "any of a column": where(t.c.n == any_(t.c.tags)),
    "less than any": where(literal(2, Integer) < any_(t.c.tags)),
    "less than all": where(literal(0, Integer) < all_(t.c.tags)),
    "not less than all": where(not_(literal(2, Integer) < all_(t.c.tags))),
    "array equals": where(t.c.tags == [1, 2]),
    "array contains": where(t.c.tags.op("@>", is_comparison=True)(literal([1], t.c.tags.type))),
    "array contained": where(t.c.tags.op("<@", is_comparison=True)(literal([1, 2, 3], t.c.tags.type))),
    "arrays overlap": where(t.c.tags.op("&&", is_comparison=True)(literal([3, 5], t.c.tags.type))),
    "a date and a time": where(t.c.day < t.c.at),
    "a float and a decimal": where(t.c.f < t.c.d),
    "times in a condition": where(t.c.at >= dt.datetime(2024, 2, 29), t.c.day > dt.date(2000, 1, 1)),
    "json in a condition": where(t.c.doc["t"].as_string() == "$a"),
    # order
    "order": ordered(t.c.a),
    "order descending": ordered(t.c.a.desc()),
    "nulls first": ordered(t.c.s.asc().nulls_first()),
    "nulls last": ordered(t.c.s.desc().nulls_last()),
    "order by an expression": ordered((t.c.a + t.c.b).desc(), func.length(t.c.s)),
    "order by a label": select(t.c.id, (t.c.a * 2).label("twice")).order_by("twice", t.c.id),
    "order by the same twice": ordered(t.c.n, t.c.n.desc()),
    "limit and offset": ordered(t.c.n).limit(4).offset(3),
    "limit 0": ordered(t.c.n).limit(0),
    "no limit": ordered(t.c.n).limit(None).offset(None),
    # groups
    "totals": select(func.count(), func.sum(t.c.a), func.avg(t.c.a), func.min(t.c.s), func.max(t.c.at)),
    "totals of nothing": select(func.count(), func.sum(t.c.a), func.count(t.c.a.distinct()), func.max(t.c.s)).where(
        t.c.id < 0
    ),
    "totals over": select(func.coalesce(func.sum(t.c.a), 0) + 1).where(t.c.id < 0),
    "having without groups": select(func.count()).select_from(t).having(func.count() > 1000),
    "distinct aggregates": select(func.count(t.c.a.distinct()), func.sum(t.c.a.distinct()), func.avg(t.c.a.distinct())),
    "booleans": select(func.bool_and(t.c.n < 100), func.bool_or(t.c.ok), func.every(t.c.ok)),
    "filter": select(
        func.count().filter(t.c.ok), func.sum(t.c.n).filter(t.c.a > 0), func.count(t.c.a.distinct()).filter(t.c.ok)
    ),
    "group by": select(t.c.ok, func.count(), func.sum(t.c.d)).group_by(t.c.ok).order_by(t.c.ok),
    "group by a label": select((t.c.n % 2).label("odd"), func.count()).group_by("odd").order_by("odd"),
    "having": select(t.c.a).group_by(t.c.a).having(func.count() > 1, func.max(t.c.n) > 0).order_by(t.c.a),
    "order by an aggregate": select(t.c.a).group_by(t.c.a).order_by(func.count().desc(), t.c.a),
    "grouped by the key": select(t.c.id, t.c.s, func.count(p.c.id))
    .outerjoin(p, p.c.item_id == t.c.id)
    .group_by(t.c.id)
    .order_by(t.c.id),
    "sum of intervals": select(func.sum(t.c.at - literal(dt.datetime(2024, 1, 1), DateTime))).where(t.c.id < 6),
    "distinct": select(t.c.a, t.c.ok).distinct().order_by(t.c.a, t.c.ok.desc()),
    # joins
    "join": select(t.c.id, p.c.id, p.c.s).join(p, p.c.item_id == t.c.id).order_by(p.c.id),
    "left join": select(t.c.id, p.c.id).outerjoin(p, p.c.item_id == t.c.id).order_by(t.c.id, p.c.id),
    "null joins nothing": select(t.c.id, p.c.id).join(p, p.c.k == t.c.a).order_by(t.c.id, p.c.id),
    "join on a condition": select(t.c.id, p.c.id)
    .join(p, and_(p.c.k > t.c.a, p.c.s.like("a%")))
    .order_by(t.c.id, p.c.id),
    "join on an expression": select(t.c.id, p.c.id).join(p, p.c.k == t.c.a + 1).order_by(t.c.id, p.c.id),
    "join of floats and decimals": select(t.c.id, p.c.id).join(p, p.c.v == t.c.d).order_by(t.c.id, p.c.id),
    "three tables": select(t.c.id, p.c.id, other.c.id)
    .select_from(t.join(p, p.c.item_id == t.c.id).join(other, other.c.k == p.c.k))
    .order_by(t.c.id, p.c.id, other.c.id),
    "nested join": select(t.c.id, p.c.id, other.c.id)
    .select_from(t.outerjoin(p.join(other, other.c.k == p.c.k), p.c.item_id == t.c.id))
    .order_by(t.c.id, p.c.id, other.c.id),
    "comma": select(t.c.id, p.c.id).where(p.c.item_id == t.c.id, p.c.k > 0, t.c.n > 0).order_by(p.c.id),
    "cross": select(func.count()).select_from(t.join(p, true())),
    "join a subquery": select(t.c.id, inner.c.many).outerjoin(inner, inner.c.owner == t.c.id).order_by(t.c.id),
    "from a subquery": select(inner.c.many, func.count()).group_by(inner.c.many).order_by(inner.c.many),
    "cte": select(t.c.id, grouped.c.top).join(grouped, grouped.c.k == t.c.a).order_by(t.c.id),
    "where on the outer side": select(t.c.id)
    .outerjoin(p, p.c.item_id == t.c.id)
    .where(p.c.id.is_(None))
    .order_by(t.c.id),
    "order by the outer side": select(t.c.id, p.c.id).outerjoin(p, p.c.item_id == t.c.id).order_by(p.c.id, t.c.id),
    # subqueries
    "exists": where(exists().where(p.c.item_id == t.c.id)),
    "not exists": where(~exists().where(and_(p.c.item_id == t.c.id, p.c.k > t.c.n))),
    "exists of a select": where(select(p.c.id).where(p.c.k == t.c.a).limit(1).exists()),
    "exists as a value": values(exists().where(p.c.item_id == t.c.id)),
    "exists alone": select(exists().where(p.c.k > 0), ~exists().where(p.c.id < 0)),
    "in a subquery": where(t.c.id.in_(select(p.c.item_id))),
    "not in a subquery": where(t.c.id.not_in(select(p.c.item_id).where(p.c.item_id.is_not(None)))),
    "not in a subquery with null": where(t.c.id.not_in(select(p.c.item_id))),
    "not in a subquery without rows": where(t.c.a.not_in(select(p.c.k).where(p.c.id < 0))),
    "equal to any of a subquery": where(t.c.a == any_(select(p.c.k).scalar_subquery())),
    "scalar subquery": values(of_item, select(func.max(p.c.k)).scalar_subquery()),
    "scalar subquery in a condition": where(of_item > 1),
    "scalar subquery without a row": values(select(p.c.k).where(p.c.id == t.c.id + 1000).scalar_subquery()),
    "scalar subquery in order": ordered(of_item.desc()),
    "nested subqueries": where(
        exists().where(p.c.item_id == t.c.id).where(exists().where(and_(other.c.k == p.c.k, other.c.id != t.c.id)))
    ),
    "subquery of a group": select(t.c.a, select(func.count()).where(p.c.k == t.c.a).scalar_subquery())
    .group_by(t.c.a)
    .order_by(t.c.a),
    "having a subquery": select(t.c.a)
    .group_by(t.c.a)
    .having(func.count() >= select(func.min(p.c.id)).scalar_subquery())
    .order_by(t.c.a),
    "in a union": where(t.c.a.in_(union(select(p.c.k), select(p.c.id)))),
    # unions
    "union": union(select(t.c.a, t.c.s), select(p.c.k, p.c.s)).order_by("a", "s"),
    "union all": union_all(select(t.c.id), select(p.c.id)).order_by("id").limit(9).offset(2),
    "union of numbers": union_all(select(t.c.a.label("x")), select(p.c.v)).order_by("x"),
    "union in from": select(func.count()).select_from(union(select(t.c.a), select(p.c.k)).subquery()),
    "union with limits": union_all(
        select(t.c.id).order_by(t.c.id).limit(2), select(p.c.id).order_by(p.c.id).limit(1)
    ).order_by("id"),
    # windows
    "ranks": values(func.rank().over(order_by=t.c.a), func.dense_rank().over(order_by=[t.c.ok, t.c.a.desc()])),
    "rank without order": values(func.rank().over(partition_by=t.c.ok)),
    "row number": values(func.row_number().over(partition_by=t.c.ok, order_by=[t.c.a.desc(), t.c.id])),
    "running": values(
        func.sum(t.c.n).over(order_by=t.c.a), func.count(t.c.a).over(partition_by=t.c.ok, order_by=t.c.n)
    ),
    "whole": values(func.sum(t.c.n).over(), func.avg(t.c.f).over(partition_by=t.c.ok), func.max(t.c.s).over()),
    "frame": values(
        func.sum(t.c.n).over(order_by=t.c.id, rows=(-2, 0)), func.min(t.c.a).over(order_by=t.c.id, rows=(1, None))
    ),
    "range": values(
        func.sum(t.c.n).over(order_by=t.c.a, range_=(None, 0)),
        func.sum(t.c.n).over(order_by=t.c.a, range_=(None, None)),
    ),
    "neighbours": values(func.lag(t.c.a).over(order_by=t.c.id), func.lead(t.c.s, 2, "none").over(order_by=t.c.id)),
    "first value": values(func.first_value(t.c.n).over(partition_by=t.c.ok, order_by=t.c.id.desc())),
    "filtered window": values(func.count().filter(t.c.a > 0).over(order_by=t.c.id)),
    "window of groups": select(t.c.ok, func.sum(func.count()).over(order_by=t.c.ok)).group_by(t.c.ok).order_by(t.c.ok),
    "order by a window": select(t.c.id).order_by(func.rank().over(order_by=t.c.n), t.c.id),
    # models
    "entity": select(Item).where(Item.a > 0).order_by(Item.id),
    "attributes": select(Part.number, Part.k).where(Part.owner == 3).order_by(Part.number),
    "alias": select(ItemAlias.id, Item.id).join(Item, Item.a == ItemAlias.b).order_by(ItemAlias.id, Item.id),
}


WITHOUT_ROWS = {
    "limit 0",
    "having without groups",
    "null in a comparison",
    "null literal",
    "not in with null",
    "like null",
    "like null of an expression",
    "not in a subquery with null",
}


@pytest.mark.parametrize("name", CASES)
async def test_same_rows_as_postgresql(sides: Sides, name: str) -> None:
    expected, found = [await rows_of(side, CASES[name]) for side in sides]
    assert not isinstance(expected, DatabaseError), expected
    assert not isinstance(found, DatabaseError), found
    assert found == expected
    assert bool(found) is not (name in WITHOUT_ROWS)
