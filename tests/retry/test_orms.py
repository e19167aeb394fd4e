"""ORMs inside ``run_in_transaction``: they join its transaction, and their errors are understood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import exc, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from tests.retry import stock
from tests.retry.conftest import OpenManager
from tests.retry.stock import Counter, CounterModel

from sillar import DatabaseManager, Isolation, Transaction
from sillar.errors import UsageError
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.integrations.tortoise import TortoiseIntegration
from sillar.testing.faults import FaultProxy

SERIALIZABLE = {"isolation": Isolation.SERIALIZABLE, "attempts_max": 300}


@pytest.fixture(autouse=True)
async def counter(manager: DatabaseManager) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """The table with its one row; tells the amount."""
    sqlalchemy = SQLAlchemyIntegration(manager)
    sqlalchemy.register_models(Counter)
    await sqlalchemy.drop_tables()
    await sqlalchemy.create_tables()
    session = manager.session()
    await session.execute("INSERT INTO retried_counter (id, amount) VALUES (1, 0)")

    async def amount() -> int:
        return int(await session.fetch_value("SELECT amount FROM retried_counter"))

    yield amount
    await sqlalchemy.drop_tables()


class Way:
    """One ORM's way to increment, and how often it ran."""

    def __init__(self, manager: DatabaseManager) -> None:
        self.manager = manager
        self.runs = 0
        self.before_flush: Callable[[], Awaitable[None]] | None = None

    async def open(self) -> None:
        """Make ready."""

    async def pause(self) -> None:
        self.runs += 1
        if self.before_flush is not None:
            await self.before_flush()


class SessionOfSQLAlchemy(Way):
    """``run_in_session``; what is pending is sent at the end."""

    async def increment(self, **options: Any) -> int:
        async def work(session: AsyncSession) -> int:
            found = await session.get_one(Counter, 1)
            found.amount += 1
            await self.pause()
            return found.amount

        return await SQLAlchemyIntegration(self.manager).run_in_session(work, **options)


class SQLAlchemyJoins(Way):
    """``session.run_in_transaction`` of Sillar's, SQLAlchemy's own errors inside."""

    async def open(self) -> None:
        self.integration = SQLAlchemyIntegration(self.manager)

    async def increment(self, **options: Any) -> int:
        async def work(tx: Transaction) -> int:
            session = await self.integration.create_session()
            found = await session.scalar(select(Counter.amount).where(Counter.id == 1))
            await self.pause()
            await session.execute(text("UPDATE retried_counter SET amount = :amount"), {"amount": found + 1})
            return int(found) + 1

        return await self.manager.session().run_in_transaction(work, **options)


class TortoiseJoins(Way):
    """``run_in_transaction`` of the integration of Tortoise."""

    async def open(self) -> None:
        self.integration = TortoiseIntegration(self.manager)
        await self.integration.open(modules={"models": [stock]})

    async def increment(self, **options: Any) -> int:
        async def work(tx: Transaction) -> int:
            found = await CounterModel.get(id=1)
            found.amount += 1
            await self.pause()
            await found.save()
            return int(found.amount)

        with self.integration.entered():
            return await self.integration.run_in_transaction(work, **options)


WAYS = pytest.mark.parametrize("make_way", [SessionOfSQLAlchemy, SQLAlchemyJoins, TortoiseJoins])


@WAYS
async def test_a_storm_loses_no_increment(
    make_way: Callable[[DatabaseManager], Any], open_manager: OpenManager, counter: Callable[[], Awaitable[int]]
) -> None:
    manager = await open_manager(pool={"max_connections": 6, "connection_timeout": 60}, retry={"pause_initial": 0.01})
    way = make_way(manager)
    await way.open()
    seen = await asyncio.wait_for(asyncio.gather(*(way.increment(**SERIALIZABLE) for _ in range(24))), 50)
    assert sorted(seen) == list(range(1, 25))
    assert await counter() == 24
    assert way.runs > 24, "nothing was run again"


@WAYS
async def test_a_connection_lost_on_the_way_is_no_loss(
    make_way: Callable[[DatabaseManager], Any],
    open_manager: OpenManager,
    proxy: FaultProxy,
    counter: Callable[[], Awaitable[int]],
) -> None:
    manager = await open_manager(through=proxy)
    way = make_way(manager)
    await way.open()

    async def cut() -> None:
        if way.runs % 2:
            proxy.reset()

    way.before_flush = cut
    for number in range(1, 6):
        assert await asyncio.wait_for(way.increment(), 10) == number
        assert await counter() == number
    assert way.runs == 10


async def test_errors_of_the_work_come_as_they_are(manager: DatabaseManager) -> None:
    integration = SQLAlchemyIntegration(manager)
    runs = 0

    async def twice(session: AsyncSession) -> None:
        nonlocal runs
        runs += 1
        session.add(Counter(id=1, amount=5))

    with pytest.raises(exc.IntegrityError):
        await integration.run_in_session(twice)
    assert runs == 1
    async with integration.transaction():
        with pytest.raises(UsageError, match="one is open in this context"):
            await integration.run_in_session(twice)
    assert runs == 1
