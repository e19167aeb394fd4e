"""The types of the document verbs, read by mypy and pyright and never run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from sillar import DatabaseSession
from sillar.execution.documents import BulkOutcome, DocumentCollection, UpdateOutcome
from sillar.execution.stream import RowStream
from sillar.query import value


@dataclass
class Item:
    id: int


async def verbs(session: DatabaseSession, name: str) -> None:
    items = session.documents("items")
    assert_type(items, DocumentCollection)
    assert_type(await items.find(), list[dict[str, Any]])
    assert_type(await items.find({"name": value(name)}, into=Item), list[Item])
    assert_type(await items.find_one(), dict[str, Any] | None)
    assert_type(await items.find_one(into=Item), Item | None)
    assert_type(items.stream(), RowStream[dict[str, Any]])
    assert_type(items.stream(into=Item), RowStream[Item])
    assert_type(await items.aggregate([]), list[dict[str, Any]])
    assert_type(await items.aggregate([], into=Item), list[Item])
    assert_type(await items.find_one_and_update({}, {}, into=Item), Item | None)
    assert_type(await items.count(), int)
    assert_type(await items.insert_many([{}]), int)
    assert_type(await items.update_many({}, {}), UpdateOutcome)
    assert_type(await items.bulk_write([]), BulkOutcome)
    assert_type(value(name), str)
