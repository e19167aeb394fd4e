"""explain() on every engine: the text, the data, how each table is read, and that nothing is run unless it is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import bindparam, delete, insert, literal_column, select
from sqlalchemy.schema import CreateTable
from tests.hints.conftest import SQL_ENGINES, Shops
from tests.hints.labelled import DAY
from tests.hints.shop import CUSTOMERS, ITEMS, ORDERS

from sillar import DatabaseManager, DatabaseSession, DocumentCommand, Explanation, QueryBuilder, parameter
from sillar.engines.connection import Reply
from sillar.engines.mongodb.explain import MongoDBExplainer
from sillar.errors import UnsupportedCapabilityError, UsageError

C, O, I = CUSTOMERS.c, ORDERS.c, ITEMS.c  # noqa: E741 - as in SQL
ANALYSING = ["postgresql", "mariadb", "mysql"]


def orders() -> Any:
    return QueryBuilder(ORDERS)


@pytest.mark.parametrize("shop", SQL_ENGINES, indirect=True)
async def test_ways_to_read_a_table(shop: DatabaseSession) -> None:
    by_key = await orders().where(O.id == 5).explain(shop)
    assert isinstance(by_key, Explanation)
    assert [(scan.kind, scan.narrowed) for scan in by_key.scans] == [("key", True)]
    assert by_key.uses_index("shop_orders")
    assert by_key.full_scans == ()

    by_index = await orders().where(O.customer_id == 7).explain()
    (scan,) = by_index.scans
    assert (scan.table, scan.kind, scan.index) == ("shop_orders", "index", "shop_orders_customer")
    assert not by_index.sorts

    full = await orders().where(O.channel == "tv").order_by("total").explain()
    assert [(scan.table, scan.kind, scan.index) for scan in full.full_scans] == [("shop_orders", "full", None)]
    assert full.sorts
    assert not full.uses_index("shop_orders")
    assert not full.uses_index("elsewhere")
    assert str(full) == full.text != ""


@pytest.mark.parametrize("shop", SQL_ENGINES, indirect=True)
async def test_joins_say_what_is_read_again_for_each_row(shop: DatabaseSession) -> None:
    query = orders().join(CUSTOMERS).where(C.email == "c7@example.org")
    found = await shop.explain(query.composed(), prefer_indexes=True)
    by_table = {scan.table: scan for scan in found.scans}
    assert not by_table["shop_customers"].repeated
    assert by_table["shop_orders"].repeated
    assert by_table["shop_orders"].index == "shop_orders_customer"


@pytest.mark.parametrize("shop", SQL_ENGINES, indirect=True)
async def test_an_index_on_each_side_of_an_or(shop: DatabaseSession) -> None:
    found = await shop.explain("SELECT * FROM shop_orders WHERE customer_id = 7 OR id = :id", {"id": 9})
    (scan,) = found.scans
    assert set(str(scan.index).split("+")) >= {"shop_orders_customer"}
    assert "+" in str(scan.index)
    assert scan.narrowed


@pytest.mark.parametrize("shop", SQL_ENGINES, indirect=True)
async def test_all_kinds_of_statements_have_plans(shop: DatabaseSession) -> None:
    statements = [
        ("UPDATE shop_orders SET weight = 1 WHERE id = :id", {"id": 5}),
        (select(O.id).where(O.id == bindparam("id")), {"id": 5}),
        (select(O.id).where(O.id.in_([5, 6])), None),
        (delete(ORDERS).where(O.id == 5), None),
        (select(O.id, literal_column("1")).where(O.id == bindparam("id", literal_execute=True)), {"id": 5}),
        (
            select(O.id).where(O.id == 5, O.created < DAY, O.status == bindparam("s", "done", literal_execute=True)),
            None,
        ),
        (orders().where(O.id == parameter("id")).prepare().composed(), {"id": 5}),
    ]
    for statement, params in statements:
        found = await shop.explain(statement, params)  # type: ignore[arg-type]
        assert found.uses_index("shop_orders"), statement
    assert await shop.fetch_value("SELECT count(*) FROM shop_orders WHERE id = 5") == 1
    assert await shop.fetch_value("SELECT weight FROM shop_orders WHERE id = 5") == 5
    with pytest.raises(UsageError, match="defines the schema"):
        await shop.explain(CreateTable(ORDERS))
    with pytest.raises(UsageError, match="empty"):
        await shop.explain(" ")


@pytest.mark.parametrize("shop", SQL_ENGINES, indirect=True)
async def test_what_is_no_table(shop: DatabaseSession) -> None:
    recursive = "WITH RECURSIVE n AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM n WHERE a < 3) SELECT a FROM n"
    found = await shop.explain(recursive)
    assert {scan.kind for scan in found.scans} <= {"other", "full"}
    nested = "SELECT * FROM (SELECT city, count(*) AS c FROM shop_customers GROUP BY city LIMIT 3) AS x"
    assert "shop_customers" in {scan.table for scan in (await shop.explain(nested)).scans}


@pytest.mark.parametrize("shop", ["postgresql", "mariadb", "mysql"], indirect=True)
async def test_plans_are_data_too(shop: DatabaseSession) -> None:
    found = await orders().where(O.channel == "tv").explain()
    assert "shop_orders" in json.dumps(found.plan)
    assert found.scans[0].rows is not None
    assert 0 < found.scans[0].rows <= 25_000


@pytest.mark.parametrize("shop", ANALYSING, indirect=True)
async def test_analysis_runs_the_statement(shop: DatabaseSession) -> None:
    found = await orders().where(O.customer_id == 7).explain(analyze=True)
    assert "actual" in found.text.lower() or "r_rows" in found.text


@pytest.mark.parametrize("shop", ["postgresql", "mariadb"], indirect=True)
async def test_an_analysed_write_is_rolled_back(shop: DatabaseSession) -> None:
    count = "SELECT count(*) FROM shop_orders"
    await orders().where(O.id < 10).delete().explain(analyze=True)
    assert await shop.fetch_value(count) == 20_000
    async with shop.transaction() as transaction:
        await transaction.execute("DELETE FROM shop_orders WHERE id = 1")
        await orders().where(O.id < 10).delete().explain(transaction, analyze=True)
        assert await transaction.fetch_value(count) == 19_999
        await transaction.rollback()
    assert await shop.fetch_value(count) == 20_000


@pytest.mark.parametrize("shop", ["sqlite"], indirect=True)
async def test_what_cannot_be_analysed_says_so(shop: DatabaseSession) -> None:
    with pytest.raises(UnsupportedCapabilityError, match="leave analyze out"):
        await orders().explain(analyze=True)


@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
async def test_the_preference_for_indexes_ends_with_the_question(shop: DatabaseSession) -> None:
    statement = insert(CUSTOMERS).from_select(["id", "email"], select(C.id, C.email))
    await shop.explain(statement, prefer_indexes=True)
    assert await shop.fetch_value("SELECT current_setting('enable_seqscan')") == "on"
    async with shop.transaction() as transaction:
        before = await transaction.fetch_value("SELECT pg_current_xact_id()::text")
        await orders().hints(transaction)
        assert await transaction.fetch_value("SELECT current_setting('enable_seqscan')") == "on"
        assert await transaction.fetch_value("SELECT pg_current_xact_id()::text") == before


async def test_sqlite_sees_a_schema_that_has_just_changed(shops: Shops) -> None:
    manager = await shops.get("sqlite")
    async with manager.session() as session:
        await session.execute("CREATE TABLE fresh (a INTEGER, b INTEGER)")
        query = "SELECT * FROM fresh WHERE a = 1"
        assert (await session.explain(query)).full_scans
        await session.execute("CREATE INDEX fresh_a ON fresh (a)")
        assert (await session.explain(query)).uses_index("fresh")
        async with session.transaction() as transaction:
            await transaction.execute("DROP INDEX fresh_a")
            assert (await transaction.explain(query)).full_scans
        await session.execute("DROP TABLE fresh")


async def test_mongodb(mongodb: Any) -> None:
    async with DatabaseManager.from_url(mongodb.url) as manager, manager.session() as session:
        plants = session.documents("explained_plants")
        await plants.drop()
        await plants.insert_many([{"_id": number, "kind": number % 40, "height": number} for number in range(2000)])
        await plants.create_index("kind", name="by_kind")

        async def scans(verb: Any, **arguments: Any) -> list[tuple[str, str, str | None, bool, bool]]:
            found = await session.explain(DocumentCommand("explained_plants", verb, arguments))
            assert found.plan["ok"] == 1
            assert "winningPlan" in found.text
            return [(scan.table, scan.kind, scan.index, scan.narrowed, scan.sorts) for scan in found.scans]

        by_kind = [("explained_plants", "index", "by_kind", True, False)]
        full = [("explained_plants", "full", None, False, False)]
        assert await scans("find", filter={"kind": 3}) == by_kind
        assert await scans("find", filter={"height": 3}) == full
        assert [each[4] for each in await scans("find", filter={}, sort=[("height", 1)])] == [True]
        assert await scans("count", filter={"kind": 3}) == by_kind
        assert await scans("aggregate", pipeline=[{"$match": {"kind": 3}}]) == by_kind
        assert [each[:4] for each in await scans("distinct", key="height", filter={"kind": 3})] == [by_kind[0][:4]]
        assert await scans("update_many", filter={"height": 3}, update={"$set": {"a": 1}}) == full
        assert await scans("delete_one", filter={"kind": 3}) == by_kind
        assert await scans("find_one_and_update", filter={"kind": 3}, update={"$set": {"a": 1}}) == by_kind
        with pytest.raises(UsageError, match="insert_one looks for nothing"):
            await scans("insert_one", document={})
        analysed = await session.explain(
            DocumentCommand("explained_plants", "delete_many", {"filter": {"kind": 3}}), analyze=True
        )
        assert analysed.uses_index("explained_plants")
        assert await plants.count({"kind": 3}) == 50


async def test_queries_on_documents(mongodb: Any) -> None:
    async with DatabaseManager.from_url(mongodb.url) as manager, manager.session() as session:
        orders_there = session.documents("shop_orders")
        await orders_there.drop()
        await orders_there.insert_many(
            [{"_id": number, "customer_id": number % 50, "channel": "web", "total": number} for number in range(2000)]
        )
        await orders_there.create_index("customer_id", name="by_customer")
        by_customer = orders().where(O.customer_id == 7).select(O.total).limit(5)
        assert (await by_customer.explain(session)).uses_index("shop_orders")
        assert await by_customer.hints(session) == []
        (hint,) = await orders().where(O.channel == "tv").select(O.total).limit(5).hints(session)
        assert (hint.kind, hint.table, hint.columns) == ("no usable index", "shop_orders", ("channel",))
        (hint,) = await orders().where(O.customer_id == 7).select(O.total).hints(session)
        assert hint.kind == "unbounded rows"
        (hint,) = await orders().select(O.total).order_by("total").limit(5).hints(session)
        assert hint.message == "all of shop_orders is sorted by total to give the first rows"
        assert (await orders().where(O.channel == "tv").delete().explain(session)).full_scans
        await orders_there.drop()


def test_plans_as_a_mongod_gives_them() -> None:
    """What the stand-in does not print: stages of an aggregation, and the bounds of index scans."""

    def read(plan: Any) -> list[tuple[str, str, str | None, bool, bool]]:
        scans = MongoDBExplainer.read(None, [Reply(None, [(plan,)], 1)]).scans  # type: ignore[arg-type]
        return [(scan.table, scan.kind, scan.index, scan.narrowed, scan.sorts) for scan in scans]

    def fetched(bounds: dict[str, list[str]]) -> Any:
        scan = {"stage": "IXSCAN", "indexName": "a_1_b_1", "indexBounds": bounds}
        planner = {"namespace": "quarry.stones", "winningPlan": {"stage": "FETCH", "inputStage": scan}}
        return {"queryPlanner": {**planner, "rejectedPlans": [{"stage": "COLLSCAN"}]}}

    entered = fetched({"a": ["[5, 5]"], "b": ["[MinKey, MaxKey]"]})
    assert read(entered) == [("stones", "index", "a_1_b_1", True, False)]
    assert read({"stages": [{"$cursor": entered}, {"$sort": {"c": 1}}]}) == [("stones", "index", "a_1_b_1", True, True)]
    assert read(fetched({"a": ["[MaxKey, MinKey]"], "b": ["[5, 5]"]})) == [("stones", "index", "a_1_b_1", False, False)]
    by_id = {"queryPlanner": {"namespace": "quarry.stones", "winningPlan": {"stage": "IDHACK"}}}
    assert read(by_id) == [("stones", "key", "_id_", True, False)]
