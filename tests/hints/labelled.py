"""Sixty queries with the label that somebody who knows the tables gives them: is an index missing, and on which engine?

A query is bad where the engine has to read a table from end to end (or, for one side of a join, again and again)
although only some of its rows are asked for, or has to sort a whole table to give the first rows. It is good where an
index leads to the rows, where all rows are wanted anyway, or where an index exists that the planner leaves aside
because too many rows match.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import String, and_, cast, extract, func, or_
from tests.hints.shop import CUSTOMERS, ITEMS, ORDERS

from sillar import QueryBuilder, columns

ALL: Final = frozenset({"sqlite", "postgresql", "mariadb", "mysql"})
NONE: Final[frozenset[str]] = frozenset()
C, O, I = CUSTOMERS.c, ORDERS.c, ITEMS.c  # noqa: E741 - as in SQL
DAY: Final = datetime(2025, 3, 1)
other: Any = columns(ORDERS, alias="other")
friend: Any = columns(CUSTOMERS, alias="friend")


class Labelled(NamedTuple):
    """One query.

    Attributes:
        name: what it is about.
        query: the query.
        bad_on: the engines on which an index is missing.
    """

    name: str
    query: Any
    bad_on: frozenset[str]


def customers() -> Any:
    return QueryBuilder(CUSTOMERS)


def orders() -> Any:
    return QueryBuilder(ORDERS)


def items() -> Any:
    return QueryBuilder(ITEMS)


def good() -> Iterable[tuple[str, Any]]:
    yield "primary key", orders().where(O.id == 5)
    yield "primary key, several", orders().where(O.id.in_([5, 6, 7]))
    yield "primary key, a range", orders().where(O.id > 100, O.id < 120)
    yield "primary key, the order of a page", orders().where(O.id > 100).order_by("id").limit(20)
    yield "composite primary key", items().where(I.order_id == 7, I.line == 1)
    yield "composite primary key, its first column", items().where(I.order_id == 7)
    yield "unique index", customers().where(C.email == "c7@example.org")
    yield "index", orders().where(O.customer_id == 7)
    yield "index and a filter without one", orders().where(O.customer_id == 7, O.channel == "web")
    yield "index of low selectivity", orders().where(O.status == "done")
    yield "index of low selectivity, the rare value", orders().where(O.status == "failed")
    yield "index, a range", orders().where(O.created >= DAY, O.created < datetime(2025, 3, 2))
    yield "index, a range with most rows", orders().where(O.created >= datetime(2025, 1, 2))
    yield "composite index, both columns", orders().where(O.region == "R7", O.total == 350)
    yield "composite index, its first column", orders().where(O.region == "R7")
    yield "composite index, equality and range", orders().where(O.region == "R7", O.total > 4900)
    yield "composite index, equality and order", orders().where(O.region == "R7").order_by("total").limit(5)
    yield "OR with an index on each side", orders().where(or_(O.customer_id == 7, O.region == "R7"))
    yield "OR on one column", orders().where(or_(O.customer_id == 7, O.customer_id == 8))
    yield "order of an index, first rows", orders().order_by("-created").limit(10)
    yield "everything", customers()
    yield "everything, sorted", customers().order_by("name")
    yield "everything, grouped", orders().select(O.channel, func.count()).group_by(O.channel)
    yield "everything but a few", orders().where(O.channel != "shop")
    yield "some rows, no order", orders().limit(10)
    yield "join by primary key from a found row", orders().join(CUSTOMERS).where(O.id == 5)
    yield "join by index from a found row", orders().join(CUSTOMERS).where(C.email == "c7@example.org")
    yield "join of everything by primary key", orders().join(CUSTOMERS).select(O.id, C.name)
    yield "left join by primary key", items().join(ORDERS, I.order_id == O.id, left=True).where(I.sku == "SKU5")
    yield "self join by index", orders().join(other, other.customer_id == O.customer_id).where(O.id == 5)
    yield "EXISTS by key", orders().where(O.region == "R7", items().where(I.order_id == O.id).exists())
    yield (
        "IN over a subquery",
        orders().where(O.customer_id.in_(customers().where(C.city == "City 7").select(C.id).subquery().select())),
    )
    yield "update by key", orders().where(O.id == 5).update({"channel": "web"})
    yield "delete by index", orders().where(O.customer_id == 7).delete()


def bad() -> Iterable[tuple[str, Any]]:
    yield "no index", orders().where(O.channel == "web")
    yield "no index, a range", items().where(I.quantity > 7)
    yield "no index, IS NULL", orders().where(O.channel.is_(None))
    yield "no index, the first rows", orders().where(O.channel == "tv").limit(1)
    yield "no index, counted", orders().select(func.count()).where(O.channel == "tv")
    yield "second column of a composite index", orders().where(O.total == 350)
    yield "second column of a composite primary key", items().where(I.line == 1, I.quantity == 3)
    yield "function around an indexed column", customers().where(func.upper(C.email) == "C7@EXAMPLE.ORG")
    yield "arithmetic on an indexed column", orders().where(O.customer_id + 1 == 8)
    yield "cast of an indexed column", orders().where(cast(O.customer_id, String(10)) == "7")
    yield "part of an indexed time", orders().where(extract("year", O.created) == 2025, O.weight == 5)
    yield "LIKE that begins with a wildcard", orders().where(O.reference.like("%0007"))
    yield "contains", customers().where(C.email.contains("7@ex"))
    yield "OR with an index on one side", orders().where(or_(O.customer_id == 7, O.channel == "tv"))
    yield "sort without an index, first rows", orders().order_by("weight").limit(10)
    yield "sort by an expression's column, first rows", customers().order_by("country").limit(10)
    yield "join without an index", orders().join(ITEMS, I.parent_order == O.id).where(O.id == 5)
    yield "left join without an index", orders().join(ITEMS, I.parent_order == O.id, left=True).where(O.region == "R7")
    yield "self join without an index", customers().join(friend, friend.referred_by == C.id).where(C.id == 7)
    yield "EXISTS without an index", orders().where(O.id == 5, items().where(I.parent_order == O.id).exists())
    yield "update without an index", orders().where(O.channel == "tv").update({"channel": "web"})
    yield "delete without an index", items().where(I.quantity == 70).delete()


def partly() -> Iterable[tuple[str, Any, frozenset[str]]]:
    yield "LIKE with a beginning, index for it", orders().where(O.reference.like("REF-0001%")), NONE
    yield (
        "LIKE with a beginning, plain index",
        customers().where(C.email.like("c7%")),
        frozenset(
            {"postgresql", "sqlite"}  # the collation of one, the ignored case of the other
        ),
    )
    yield "index on the expression", customers().where(func.lower(C.name) == "name 7"), frozenset({"mariadb"})
    yield "partial index", orders().where(and_(O.archived, O.weight == 50)), frozenset({"mariadb", "mysql"})


def labelled() -> list[Labelled]:
    """All sixty."""
    return [
        *(Labelled(name, query, NONE) for name, query in good()),
        *(Labelled(name, query, ALL) for name, query in bad()),
        *(Labelled(*each) for each in partly()),
    ]
