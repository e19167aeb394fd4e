"""The types of results, read by mypy and pyright and never run: what ``into=`` says is what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple, assert_type

import msgspec
from pydantic import BaseModel

from sillar import DatabaseManager, DatabaseSession, Query, QueryResult, Transaction
from sillar.execution import RowStream


@dataclass
class Item:
    id: int
    name: str


class ItemStruct(msgspec.Struct):
    id: int


class ItemModel(BaseModel):
    id: int


class ItemTuple(NamedTuple):
    id: int


async def rows(session: DatabaseSession) -> None:
    assert_type(await session.fetch_all("SELECT 1"), list[dict[str, Any]])
    assert_type(await session.fetch_all("SELECT 1", {"id": 1}), list[dict[str, Any]])
    assert_type(await session.fetch_all("SELECT 1", into=Item), list[Item])
    assert_type(await session.fetch_all("SELECT 1", [1], into=ItemStruct), list[ItemStruct])
    assert_type(await session.fetch_all("SELECT 1", into=ItemModel, validate=True), list[ItemModel])
    assert_type(await session.fetch_all("SELECT 1", into=ItemTuple, timeout_seconds=1.0), list[ItemTuple])
    assert_type(await session.fetch_all("SELECT 1", into=int), list[int])


async def first_rows(session: DatabaseSession) -> None:
    assert_type(await session.fetch_one("SELECT 1"), dict[str, Any] | None)
    assert_type(await session.fetch_one("SELECT 1", {"id": 1}, into=Item), Item | None)
    assert_type(await session.fetch_one("SELECT 1", into=ItemModel, validate=False), ItemModel | None)


async def values(session: DatabaseSession) -> None:
    assert_type(await session.fetch_value("SELECT 1"), Any)
    assert_type(await session.fetch_value("SELECT 1", into=int), int | None)
    assert_type(await session.fetch_value("SELECT 1", {"id": 1}, into=Decimal), Decimal | None)


async def streams(session: DatabaseSession) -> None:
    assert_type(session.stream("SELECT 1"), RowStream[dict[str, Any]])
    stream = session.stream("SELECT 1", into=Item, batch_rows=10)
    assert_type(stream, RowStream[Item])
    async with stream as opened:
        async for row in opened:
            assert_type(row, Item)
        async for batch in opened.batches():
            assert_type(batch, list[Item])


async def counts(session: DatabaseSession) -> None:
    result = await session.execute("SELECT 1")
    assert_type(result, QueryResult)
    assert_type(result.rows, list[dict[str, Any]])
    assert_type(result.first(), dict[str, Any] | None)
    assert_type(result.one(), dict[str, Any])
    assert_type(result.into(Item), list[Item])
    assert_type(result.columns, tuple[str, ...])
    for row in result:
        assert_type(row, dict[str, Any])
    assert_type(await session.execute_many("INSERT", [{"id": 1}]), int)
    assert_type(await session.execute_batch([("SELECT 1", None), ("SELECT 2", [1])]), list[QueryResult])
    assert_type(await session.bulk_insert("item", ["id"], [(1,)]), int)


async def transactions(session: DatabaseSession) -> None:
    assert_type(session.transaction(), Transaction)
    async with session.transaction(read_only=True) as transaction:
        assert_type(transaction, Transaction)
        assert_type(await transaction.fetch_all("SELECT 1", into=Item), list[Item])
        assert_type(await transaction.fetch_one("SELECT 1", into=Item), Item | None)


async def manager(manager: DatabaseManager) -> None:
    assert_type(await manager.get_session(), DatabaseSession)
    assert_type(await manager.get_session("reports"), DatabaseSession)
    assert_type(manager.session(), DatabaseSession)
    assert_type(await manager.execute_query(Query("SELECT 1")), QueryResult)
    assert_type(await manager.begin_transaction(), Transaction)
    async with manager as opened:
        assert_type(opened, DatabaseManager)
    async with await manager.get_session() as session:
        assert_type(session, DatabaseSession)
