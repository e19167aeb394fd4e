"""What hints say: which index is missing, and which rows have no bound."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import column, func, or_, select, table, union_all
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column
from tests.hints.conftest import SQL_ENGINES
from tests.hints.shop import CUSTOMERS, ITEMS, ORDERS

from sillar import DatabaseSession, QueryBuilder, columns, parameter
from sillar.errors import UsageError
from sillar.query.hints import Hint
from sillar.query.predicates import blocks_of

C, O, I = CUSTOMERS.c, ORDERS.c, ITEMS.c  # noqa: E741 - as in SQL


class Base(DeclarativeBase):
    """Of the one mapped class here."""


class Order(Base):
    __tablename__ = "shop_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    channel: Mapped[str]
    customer_id: Mapped[int]


def orders() -> Any:
    return QueryBuilder(ORDERS)


async def missing_index(query: Any, session: DatabaseSession) -> Hint:
    (hint,) = [each for each in await query.hints(session) if each.kind == "no usable index"]
    assert isinstance(hint, Hint)
    return hint


@pytest.mark.parametrize("shop", SQL_ENGINES, indirect=True)
async def test_the_columns_that_an_index_would_need(shop: DatabaseSession) -> None:
    hint = await missing_index(orders().where(O.weight > 3, O.channel == "tv", O.channel != "web"), shop)
    assert (hint.table, hint.columns) == ("shop_orders", ("channel", "weight"))
    assert hint.message == "shop_orders is read from end to end for weight, channel"
    assert hint.remedy == "create an index on shop_orders (channel, weight)"
    assert str(hint) == f"no usable index: {hint.message}; {hint.remedy}"
    hint = await missing_index(orders().where(O.channel == "tv").order_by("-total").limit(5), shop)
    assert hint.columns == ("channel", "total")
    hint = await missing_index(orders().order_by("weight").limit(5), shop)
    assert (hint.columns, hint.message) == (
        ("weight",),
        "all of shop_orders is sorted by weight to give the first rows",
    )
    other = columns(ORDERS, alias="other")
    hint = await missing_index(orders().join(other, other.weight == O.id).where(O.id == 5), shop)
    assert (hint.table, hint.columns) == ("shop_orders", ("weight",))
    assert "shop_orders (other)" in hint.message


@pytest.mark.parametrize("shop", ["sqlite", "postgresql"], indirect=True)
async def test_where_no_ordinary_index_would_help(shop: DatabaseSession) -> None:
    by_function = await missing_index(orders().where(func.lower(O.channel) == "tv"), shop)
    assert by_function.columns == ()
    assert "index on the expression lower(shop_orders.channel)" in by_function.remedy
    in_the_middle = await missing_index(orders().where(O.reference.like("%7%")), shop)
    assert "an ordinary index does not serve this" in in_the_middle.remedy
    either = await missing_index(orders().where(or_(O.id == 7, O.channel == "tv")), shop)
    assert either.remedy == "give each side of the OR an index, or unite two queries"
    assert either.message.endswith("for id or channel")


@pytest.mark.parametrize("shop", SQL_ENGINES, indirect=True)
async def test_models_and_prepared_queries(shop: DatabaseSession) -> None:
    hint = await missing_index(QueryBuilder(Order).where(Order.channel == "tv").select(Order.id).limit(1), shop)
    assert hint.columns == ("channel",)
    assert await QueryBuilder(Order).where(Order.customer_id == 7).select(Order.id).limit(1).hints(shop) == []
    prepared = orders().where(O.channel == parameter("channel")).limit(1).prepare()
    assert [each.columns for each in await prepared.hints(shop, params={"channel": "tv"})] == [("channel",)]


@pytest.mark.parametrize("shop", ["sqlite", "postgresql"], indirect=True)
async def test_rows_without_a_bound(shop: DatabaseSession) -> None:
    async def unbounded(query: Any) -> bool:
        return "unbounded rows" in {each.kind for each in await query.hints(shop)}

    (hint,) = await QueryBuilder(CUSTOMERS).hints()
    assert (hint.kind, hint.table) == ("unbounded rows", "shop_customers")
    assert "limit()" in hint.remedy
    assert await unbounded(orders().where(O.customer_id == 7))
    assert await unbounded(QueryBuilder(ITEMS).where(I.order_id == 7))
    assert await unbounded(orders().select(O.id, func.row_number().over(order_by=O.id)))
    assert await unbounded(orders().where(O.id > 7))
    assert not await unbounded(orders().limit(10))
    assert not await unbounded(orders().where(O.id == 7))
    assert not await unbounded(orders().where(O.id.in_([7, 8])))
    assert not await unbounded(QueryBuilder(CUSTOMERS).where(C.email == "c7@example.org"))
    assert not await unbounded(QueryBuilder(ITEMS).where(I.order_id == 7, I.line == 1))
    assert not await unbounded(orders().select(func.count(), func.max(O.total)))
    assert not await unbounded(orders().select(O.region, func.sum(O.total)).group_by(O.region))
    assert not await unbounded(orders().join(CUSTOMERS).where(O.id == 5))
    assert not await unbounded(orders().where(O.channel == "tv").update({"channel": "web"}))
    assert not await unbounded(
        QueryBuilder(CUSTOMERS).insert({"id": 0, "email": "", "name": "", "city": "", "country": ""})
    )


def test_statements_are_taken_apart() -> None:
    """What the builder does not spell, and SQLAlchemy does."""
    other = aliased(Order)
    (block,) = blocks_of(select(other.id).where(other.channel == "tv", other.id.between(1, 2)))
    (use,) = block.uses
    assert (use.table, [(each.columns, each.reach) for each in use.predicates]) == (
        "shop_orders",
        [(("channel",), "equal"), (("id",), "range")],
    )
    united = blocks_of(union_all(select(O.id).where(O.archived), select(O.id).where(~O.archived)).limit(3))
    assert [(each.limited, each.uses[0].predicates[0].columns) for each in united] == [(True, ("archived",))] * 2
    (constant,) = blocks_of(select(O.id).where(7 == O.id, "web" == O.channel))  # noqa: SIM300 - the other way round
    assert [each.columns for each in constant.uses[0].predicates] == [("id",), ("channel",)]
    (patterns,) = blocks_of(select(O.id).where(O.channel.startswith("t"), O.channel.endswith("v"), O.weight % 2 == 1))
    assert [each.reach for each in patterns.uses[0].predicates] == ["prefix", "none", "none"]
    assert blocks_of(select(column("a")).select_from(table("t").alias())) == []
    from_select = blocks_of(ITEMS.insert().from_select(["order_id"], select(O.id).where(O.channel == "tv")))
    assert [(each.is_write, each.uses[0].table) for each in from_select] == [(True, "shop_orders")]


@pytest.mark.parametrize("shop", ["sqlite"], indirect=True)
async def test_a_session_of_an_orm_is_not_asked(shop: DatabaseSession) -> None:
    async with AsyncSession() as session:
        for ask in (orders().explain, orders().hints):
            with pytest.raises(UsageError, match="not an AsyncSession"):
                await ask(session)
