"""A table with a key, a unique column and a check, on each engine."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.bulk.place import DocumentPlace, Place

from sillar import DatabaseConfig, DatabaseManager
from sillar.testing.servers import ServerFleet

_numbers = itertools.count(1)
ENGINES = ["sqlite", "postgresql", "mariadb", "mysql", "mongodb"]


@pytest.fixture
async def open_place(fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Opens a manager on an engine and creates the table; both go with the test."""
    async with AsyncExitStack() as stack:

        async def open_one(engine: str, **pool: Any) -> Place:
            url = f"sqlite:///{tmp_path}/bulk.db" if engine == "sqlite" else (await fleet.get(engine)).url
            config = DatabaseConfig.from_url(url, overrides={"connection_pools": pool})
            manager = await stack.enter_async_context(DatabaseManager(config))
            kind = DocumentPlace if engine == "mongodb" else Place
            place = kind(manager, engine, f"bulk_{next(_numbers)}", url)
            await place.create()
            stack.push_async_callback(place.drop)
            return place

        yield open_one


@pytest.fixture(params=ENGINES)
async def place(request: pytest.FixtureRequest, open_place: Callable[..., Any]) -> Place:
    """The table on each engine."""
    found: Place = await open_place(request.param)
    return found


@pytest.fixture(params=[each for each in ENGINES if each != "mongodb"])
async def sql_place(request: pytest.FixtureRequest, open_place: Callable[..., Any]) -> Place:
    """The table on each engine that speaks SQL."""
    found: Place = await open_place(request.param)
    return found
