"""The contract with PyMongo: the private names that routed cursors build on exist, and do what they are used for."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.command_cursor import AsyncCommandCursor
from pymongo.asynchronous.cursor import AsyncCursor
from tests.integrations.beanie.quarry import Stone

from sillar import DatabaseManager
from sillar.engines.mongodb.private import attach_session
from sillar.engines.mongodb.routed import RoutedCollection, RoutedCommandCursor, RoutedCursor
from sillar.integrations.beanie import BeanieIntegration


def test_the_names_are_there() -> None:
    for kind in (AsyncCursor, AsyncCommandCursor):
        assert inspect.iscoroutinefunction(kind._refresh)
        assert callable(kind.__del__)
    assert inspect.iscoroutinefunction(inspect.unwrap(AsyncCollection._aggregate))


async def test_cursors_ask_for_each_batch_and_use_the_session_attached(
    beanie: BeanieIntegration, manager: DatabaseManager
) -> None:
    collection = Stone.get_pymongo_collection()
    assert isinstance(collection, RoutedCollection)
    await Stone.insert_many([Stone(name=f"s{number}") for number in range(25)])
    found = collection.find(batch_size=10)
    aggregated = await collection.aggregate([], batchSize=10)
    assert isinstance(found, RoutedCursor)
    assert isinstance(aggregated, RoutedCommandCursor)
    for cursor in (found, aggregated):
        await anext(cursor)
        session: Any = cursor.session
        assert session is not None
        assert session.client is beanie.database.client
        assert len(await cursor.to_list()) == 24
        assert cursor.session is None  # taken away when it was over


def test_a_session_is_attached_as_older_drivers_want_it() -> None:
    """A stand-in for a cursor of PyMongo 4.13, which is not installed beside the newest."""
    cursor = SimpleNamespace(_session=None, _explicit_session=False)
    attach_session(cursor, "session")
    assert (cursor._session, cursor._explicit_session) == ("session", True)
    attach_session(cursor, None)
    assert (cursor._session, cursor._explicit_session) == (None, False)
