"""MongoDB: conflicts are run again, and a commit is repeated until its outcome is known (the stand-in where no real one
is installed)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from sillar import DatabaseManager, Transaction, load_config
from sillar.engines.mongodb.connection import MongoDBConnection
from sillar.errors import CommitUnknownError, UnsupportedCapabilityError
from sillar.execution.commit_outcome import CommitResolution
from sillar.testing.faults import Direction, FaultProxy
from sillar.testing.servers import MongoDBServer

Open = Callable[..., Awaitable[tuple[DatabaseManager, FaultProxy]]]
_numbers = itertools.count(1)


@pytest.fixture
async def reach(mongodb: MongoDBServer) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_one(**retry: Any) -> tuple[DatabaseManager, FaultProxy]:
            proxy = await stack.enter_async_context(FaultProxy(mongodb.host, mongodb.port or 0))
            url = mongodb.url.replace(f":{mongodb.port}/", f":{proxy.port}/")
            url += f"{'&' if '?' in url else '?'}directConnection=true"
            options = {"server_selection_timeout": 0.5}
            settings = {"default": {"url": url, "retry": retry, "connection_options": options}}
            config = load_config(overrides={"databases": settings}, environment={})
            return await stack.enter_async_context(DatabaseManager(config)), proxy

        yield open_one


@pytest.fixture
def collection() -> str:
    return f"retried_{next(_numbers)}"


async def test_a_storm_of_increments_loses_none(reach: Open, collection: str) -> None:
    manager, _ = await reach(pause_initial=0.01)
    counters = manager.session().documents(collection)
    await counters.drop()
    await counters.insert_one({"_id": 1, "amount": 0})
    runs = 0

    async def increment(tx: Transaction) -> int:
        nonlocal runs
        runs += 1
        inside = tx.documents(collection)
        found = await inside.find_one({"_id": 1})
        assert found is not None
        await inside.update_one({"_id": 1}, {"$set": {"amount": found["amount"] + 1}})
        return int(found["amount"]) + 1

    async def one() -> int:
        return await manager.session().run_in_transaction(increment, attempts_max=200)

    seen = await asyncio.wait_for(asyncio.gather(*(one() for _ in range(12))), 60)
    assert sorted(seen) == list(range(1, 13))
    assert runs > 12, "nothing was run again"
    await counters.drop()


async def test_a_commit_is_repeated_until_it_is_answered(
    reach: Open, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver repeats it once; here nothing answers for longer than that."""
    manager, proxy = await reach(resolution_timeout=30)
    counters = manager.session().documents(collection)
    await counters.drop()
    await counters.insert_one({"_id": 1, "amount": 0})
    tasks: list[asyncio.Task[None]] = []
    runs = 0

    async def outage() -> None:
        await asyncio.sleep(0.1)
        await proxy.refuse()
        proxy.reset()
        await asyncio.sleep(1.5)
        await proxy.heal()

    commit = MongoDBConnection.commit

    async def cut(self: MongoDBConnection) -> None:
        proxy.black_hole(Direction.TO_CLIENT)
        tasks.append(asyncio.create_task(outage()))
        await commit(self)

    async def work(tx: Transaction) -> int:
        nonlocal runs
        runs += 1
        await tx.documents(collection).update_one({"_id": 1}, {"$inc": {"amount": 1}})
        return runs

    monkeypatch.setattr(MongoDBConnection, "commit", cut)
    told = await asyncio.wait_for(manager.session().run_in_transaction(work), 40)
    monkeypatch.undo()
    await asyncio.wait_for(asyncio.gather(*tasks), 10)
    assert told == runs
    async with asyncio.timeout(20):
        found = await counters.find_one({"_id": 1})
    assert found is not None
    assert found["amount"] == 1, "applied twice, or not at all"
    await counters.drop()


async def test_without_an_answer_in_time_it_is_unknown(
    reach: Open, collection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, proxy = await reach(resolution_timeout=0.3)
    await manager.session().documents(collection).drop()
    await manager.session().documents(collection).insert_one({"_id": 1})
    commit = MongoDBConnection.commit

    async def cut(self: MongoDBConnection) -> None:
        await proxy.refuse()
        proxy.cut_after(0, Direction.TO_CLIENT)
        await commit(self)

    async def work(tx: Transaction) -> None:
        await tx.documents(collection).insert_one({"_id": 2})

    monkeypatch.setattr(MongoDBConnection, "commit", cut)
    with pytest.raises(CommitUnknownError):
        await asyncio.wait_for(manager.session().run_in_transaction(work), 30)
    await proxy.heal()


async def test_a_marker_is_for_sql(reach: Open) -> None:
    manager, _ = await reach()
    with pytest.raises(UnsupportedCapabilityError, match="SERVER"):
        manager.session().transaction(resolve_commit=CommitResolution.MARKER)
    async with manager.session().transaction(resolve_commit=True) as tx:
        assert tx.is_open
