"""One budget of connections for direct and ORM traffic; callers that leave harm nobody."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import func, select, text
from tests.children import left
from tests.integrations.sqlalchemy.conftest import SERVERS, Shelves
from tests.integrations.sqlalchemy.shelves.authors import Author

from sillar import DatabaseManager
from sillar.testing.conformance import eventually
from sillar.testing.servers import ServerFleet

on_servers = pytest.mark.parametrize("shelves", SERVERS, indirect=True)
Count = Callable[[], Awaitable[int]]


@asynccontextmanager
async def sessions_of_others(shelves: Shelves, fleet: ServerFleet) -> AsyncIterator[Count]:
    """Counts the server's sessions besides the one that counts."""
    if shelves.engine == "postgresql":
        sql = (
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND datname = current_database() AND pid <> pg_backend_pid()"
        )
    else:
        sql = "SELECT count(*) FROM information_schema.processlist WHERE id <> connection_id() AND user = 'sillar'"
    url = (await fleet.get(shelves.engine)).url
    pool = {"min_connections": 1, "max_connections": 1}
    async with DatabaseManager.from_url(url, overrides={"connection_pools": pool}) as manager:

        async def count() -> int:
            return int(await manager.session().fetch_value(sql))

        yield count


@on_servers
async def test_direct_and_orm_traffic_share_one_budget(shelves: Shelves, fleet: ServerFleet) -> None:
    if shelves.engine == "postgresql":
        sql = "SELECT pg_backend_pid() AS id FROM pg_sleep(0.01)"
    else:
        sql = "SELECT connection_id() AS id, sleep(0.01) AS slept"
    ids: set[int] = set()
    counts: list[int] = []

    async def direct() -> None:
        row = await shelves.manager.session().fetch_one(sql)
        assert row is not None
        ids.add(row["id"])

    async def through_orm(read_only: bool) -> None:
        async with await shelves.orm.create_session(read_only=read_only) as session:
            ids.add((await session.execute(text(sql))).one().id)

    async def sample(count: Count) -> None:
        while True:
            counts.append(await count())
            await asyncio.sleep(0.01)

    async with sessions_of_others(shelves, fleet) as count:
        idle = await count() - shelves.source.stats().open  # of other tests, whose managers are open for the whole run
        sampling = asyncio.create_task(sample(count))
        async with left(sampling):
            await asyncio.gather(*(direct() if n % 2 else through_orm(n % 4 == 0) for n in range(160)))
            assert not sampling.done()
    assert len(ids) == 4
    assert shelves.source.stats().open == 4
    assert len(counts) > 5
    assert max(counts) <= 4 + idle


@pytest.mark.slow
async def test_callers_that_leave_harm_nobody(shelves: Shelves) -> None:
    await shelves.add(*(f"{number:02}" for number in range(40)))
    mistakes: list[Any] = []
    served = 0

    async def ask(number: int, read_only: bool) -> None:
        nonlocal served
        async with await shelves.orm.create_session(read_only=read_only) as session:
            for _ in range(3):
                found = await session.scalar(select(Author.name).where(Author.name == f"{number:02}"))
                served += 1
                if found != f"{number:02}":
                    mistakes.append((number, found))

    async def write(number: int) -> None:
        async with await shelves.orm.create_session() as session:
            author = await session.scalar(select(Author).where(Author.name == f"{number:02}"))
            assert author is not None
            author.notes = {"n": number}
            await session.commit()

    async def direct(number: int) -> None:
        sql = "SELECT name FROM sa_author WHERE name = :name"
        found = await shelves.manager.session().fetch_value(sql, {"name": f"{number:02}"})
        if found != f"{number:02}":
            mistakes.append((number, found))

    works = [lambda n: ask(n, False), lambda n: ask(n, True), write, direct]
    chance = random.Random(3)
    for _ in range(6):
        tasks = [asyncio.create_task(chance.choice(works)(number)) for number in range(40)]
        await asyncio.sleep(chance.uniform(0.001, 0.03))
        for task in chance.sample(tasks, 25):
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError), result
    assert mistakes == []
    assert served > 100
    assert shelves.source.stats().leased == 0
    for number in range(40):  # everything is in order afterwards
        await ask(number, number % 2 == 0)
    assert mistakes == []


@on_servers
@pytest.mark.slow
async def test_a_storm_of_cancellations_keeps_the_connections(shelves: Shelves) -> None:
    await shelves.add("one")
    sleep = "SELECT pg_sleep(5)" if shelves.engine == "postgresql" else "SELECT sleep(5)"

    async def wait() -> None:
        async with await shelves.orm.create_session() as session:
            await session.execute(text(sleep))

    async def all_leased() -> bool:
        return bool(shelves.source.stats().leased == 4)

    for _ in range(5):
        tasks = [asyncio.create_task(wait()) for _ in range(4)]
        await eventually(all_leased, 60)
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
    async with await shelves.orm.create_session() as session:
        assert await session.scalar(select(func.count()).select_from(Author)) == 1
    assert shelves.source.stats().opened_total <= 4


@on_servers
async def test_a_connection_that_breaks_is_replaced(shelves: Shelves, fleet: ServerFleet) -> None:
    await shelves.add("one")
    async with await shelves.orm.create_session() as session:
        await session.scalar(select(Author.name))
        connection = await session.connection()
        raw: Any = (await connection.get_raw_connection()).dbapi_connection
        server_id = raw.physical.server_id
        raw.physical.dirty = False
        kill = f"SELECT pg_terminate_backend({server_id})" if shelves.engine == "postgresql" else f"KILL {server_id}"
        await shelves.manager.session().execute(kill)
        with pytest.raises(Exception) as caught:
            await session.scalar(select(Author.name))
        assert shelves.orm.translated(caught.value) is not None
        await session.rollback()
        assert await session.scalar(select(Author.name)) == "one"
    assert shelves.source.stats().leased == 0


async def test_invalidating_closes_the_connection(shelves: Shelves) -> None:
    async with shelves.orm.engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
        raw: Any = (await connection.get_raw_connection()).dbapi_connection
        physical = raw.physical
        await connection.invalidate()
        assert physical.is_closed()
        await connection.rollback()
        assert await connection.scalar(text("SELECT 1")) == 1
        await connection.rollback()
        assert raw.physical is physical


@on_servers
async def test_a_soft_invalidation_replaces_the_connection_at_its_next_use(shelves: Shelves) -> None:
    async with shelves.orm.engine.connect() as connection:
        raw: Any = await connection.get_raw_connection()
        await connection.run_sync(lambda sync: sync.connection.invalidate(soft=True))
        old = raw.dbapi_connection.physical
    async with shelves.orm.engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    assert old.is_closed()
    assert shelves.source.stats().leased == 0


async def test_detached_connections_leave_the_pool(shelves: Shelves) -> None:
    async with shelves.orm.engine.connect() as connection:
        raw: Any = (await connection.get_raw_connection()).dbapi_connection
        await connection.run_sync(lambda sync: sync.detach())
        assert raw.physical.is_closed()
    assert shelves.source.stats().leased == 0


async def test_disposing_of_the_engine_closes_nothing(shelves: Shelves) -> None:
    await shelves.add("one")
    opened = shelves.source.stats().opened_total
    await shelves.orm.engine.dispose()
    assert "ConnectionPool" in shelves.orm.engine.sync_engine.pool.status() or shelves.engine == "sqlite"
    assert await shelves.names() == ["one"]
    await shelves.add("two")
    assert shelves.source.stats().opened_total == opened
