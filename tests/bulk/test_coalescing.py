"""Lookups that go out together: how many statements they make, and that none disturbs another."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import msgspec
import pytest
from tests.bulk.place import COLUMNS, Place

from sillar import context, deadline, detached
from sillar.errors import (
    DatabaseError,
    ParameterError,
    PoolClosedError,
    PoolTimeoutError,
    ResultError,
    StatementTimeoutError,
    UsageError,
)
from sillar.execution import Execution
from sillar.execution.coalescing import Lookups
from sillar.execution.pipeline import Stage


class Item(msgspec.Struct):
    id: int
    name: str
    qty: int


class Wrong(msgspec.Struct):
    id: int
    colour: str


class Gate:
    """Counts the statements that pass, and holds them back while it is closed."""

    stage = Stage.GUARD

    def __init__(self) -> None:
        self.seen: list[Execution] = []
        self.open = asyncio.Event()
        self.open.set()

    async def around(self, execution: Execution, proceed: Any) -> Any:
        self.seen.append(execution)
        await self.open.wait()
        return await proceed(execution)

    async def reached(self) -> None:
        """Return once a statement is here."""
        async with asyncio.timeout(30):
            while not self.seen:
                await asyncio.sleep(0.01)


@pytest.fixture
async def filled(place: Place) -> Place:
    await place.session.bulk_insert(place.table, COLUMNS, [(n, f"n{n}", n % 7) for n in range(1000)])
    return place


@pytest.fixture
async def gate(filled: Place) -> AsyncIterator[Gate]:
    """Watches the statements of the place."""
    gate, executor = Gate(), filled.manager.executor()
    before = executor.execute

    async def through(execution: Execution) -> Any:
        return await gate.around(execution, before)

    executor.execute = through  # type: ignore[method-assign]
    yield gate
    gate.open.set()  # a test that failed may have closed it
    executor.execute = before  # type: ignore[method-assign]


@pytest.fixture
async def lookups(filled: Place) -> Lookups[Item]:
    return Lookups(filled.manager, filled.table, columns=COLUMNS, into=Item)


async def test_lookups_of_one_turn_are_one_statement(lookups: Lookups[Item], gate: Gate) -> None:
    keys = [5, 3, 999, 5, 12345, None]
    found = await asyncio.gather(*(lookups.get(key) for key in keys))
    assert found == [Item(5, "n5", 5), Item(3, "n3", 3), Item(999, "n999", 5), Item(5, "n5", 5), None, None]
    assert found[0] is found[3]
    assert len(gate.seen) == 1
    assert await lookups.get(7) == Item(7, "n7", 0)
    assert len(gate.seen) == 2
    assert repr(lookups) == "<Lookups of default, 0 in flight>"


async def test_many_tasks_on_few_connections(filled: Place, gate: Gate) -> None:
    lookups = Lookups(filled.manager.executor(), filled.table, columns=["id"], into=int, batch_max=100, in_flight_max=2)
    most = 0

    async def worker(begin: int) -> None:
        nonlocal most
        for key in range(begin, 1000, 50):
            assert await lookups.get(key) == key
            most = max(most, filled.manager.pools["default"].stats().leased)

    await asyncio.gather(*(worker(begin) for begin in range(50)))
    assert len(gate.seen) <= 40
    assert most <= 2
    gate.seen.clear()
    assert await asyncio.gather(*(lookups.get(key) for key in range(1000))) == list(range(1000))
    assert len(gate.seen) == 10


async def test_what_comes_while_all_are_in_flight_gathers(filled: Place, gate: Gate) -> None:
    lookups = Lookups(filled.manager, filled.table, columns=["id"], into=int, in_flight_max=1)
    gate.open.clear()
    tasks = [asyncio.create_task(lookups.get(0))]
    for key in range(1, 10):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(lookups.get(key)))
    await asyncio.sleep(0.01)
    gate.open.set()
    assert await asyncio.gather(*tasks) == list(range(10))
    assert len(gate.seen) == 2


async def test_rows_are_dicts_without_a_type(filled: Place) -> None:
    plain = Lookups(filled.manager, filled.table, key="name", columns=["qty"])
    assert await plain.get("n8") == {"qty": 1}
    pairs = Lookups(filled.manager, filled.table, key=["id", "name"], columns=["qty"], into=int)
    assert await asyncio.gather(pairs.get((9, "n9")), pairs.get((9, "n8"))) == [2, None]


async def test_one_refused_key_does_not_fail_the_others(lookups: Lookups[Item], gate: Gate) -> None:
    keys: list[Any] = [*range(20), object(), *range(20, 40), 2**70]
    found = await asyncio.gather(*(lookups.get(key) for key in keys), return_exceptions=True)
    assert [each.id for each in found if isinstance(each, Item)] == list(range(40))
    assert isinstance(found[20], ParameterError)
    assert found[41] is None or isinstance(found[41], DatabaseError)
    assert len(gate.seen) < 30
    with pytest.raises(ParameterError, match="compared"):
        await lookups.get([1])


async def test_a_row_that_does_not_fit_concerns_its_key_alone(filled: Place) -> None:
    class Small(msgspec.Struct):
        id: int
        qty: int

        def __post_init__(self) -> None:
            if self.id == 13:
                raise ValueError("thirteen")

    lookups = Lookups(filled.manager, filled.table, columns=["id", "qty"], into=Small)
    found = await asyncio.gather(*(lookups.get(key) for key in range(20)), return_exceptions=True)
    assert isinstance(found.pop(13), ResultError)
    assert [each.id for each in found] == [key for key in range(20) if key != 13]  # type: ignore[union-attr]


async def test_a_type_without_a_column_is_told_to_all_at_once(sql_place: Place) -> None:
    place = sql_place
    await place.session.bulk_insert(place.table, COLUMNS, [(n, f"n{n}", 0) for n in range(50)])
    lookups = Lookups(place.manager, place.table, columns=COLUMNS, into=Wrong)
    found = await asyncio.gather(*(lookups.get(key) for key in range(50)), return_exceptions=True)
    assert all(isinstance(each, ResultError) and "colour" in str(each) for each in found)
    assert len({id(each) for each in found}) == 50  # each has its own to raise


async def test_a_table_that_is_not_there_fails_all(sql_place: Place) -> None:
    lookups = Lookups(sql_place.manager, "no_such_place")
    found = await asyncio.gather(*(lookups.get(key) for key in range(5)), return_exceptions=True)
    assert all(isinstance(each, DatabaseError) and "no_such_place" in str(each) for each in found)
    with pytest.raises(ParameterError):
        Lookups(sql_place.manager, "a\0b")
    with pytest.raises(UsageError, match="at least 1"):
        Lookups(sql_place.manager, "a", batch_max=0)


@pytest.mark.parametrize("leaver", [0, 3])
async def test_a_caller_that_leaves_disturbs_nobody(lookups: Lookups[Item], gate: Gate, leaver: int) -> None:
    gate.open.clear()
    tasks = [asyncio.create_task(lookups.get(key)) for key in range(6)]
    await gate.reached()
    assert len(gate.seen) == 1
    tasks[leaver].cancel()
    await asyncio.sleep(0)
    gate.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found.pop(leaver), asyncio.CancelledError)
    assert [each.id for each in found if isinstance(each, Item)] == [n for n in range(6) if n != leaver]


async def test_what_nobody_waits_for_is_not_sent(lookups: Lookups[Item], gate: Gate) -> None:
    tasks = [asyncio.create_task(lookups.get(key)) for key in range(3)]
    await asyncio.sleep(0)  # they have asked, and nothing has gone out
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert gate.seen == []
    assert (await lookups.get(1)) is not None


async def test_each_caller_keeps_its_own_time(lookups: Lookups[Item], gate: Gate) -> None:
    gate.open.clear()

    async def patient() -> Item | None:
        with deadline(5):
            return await lookups.get(2)

    async def hasty(seconds: float) -> Item | None:
        with deadline(seconds):
            return await lookups.get(3)

    tasks = [
        asyncio.create_task(patient()),
        asyncio.create_task(hasty(0.5)),
        asyncio.create_task(hasty(0.3)),
        asyncio.create_task(lookups.get(4, timeout_seconds=0.4)),
    ]
    for task in tasks[1:]:
        with pytest.raises(StatementTimeoutError, match="time of its caller"):
            await task
    gate.open.set()
    found = await tasks[0]
    assert found == Item(2, "n2", 2)
    (execution,) = gate.seen
    assert 3 < (execution.timeout_seconds or 0) <= 5
    with deadline(0), pytest.raises(StatementTimeoutError, match="not sent"):
        await lookups.get(5)
    await asyncio.gather(lookups.get(6, timeout_seconds=5), lookups.get(7))
    assert gate.seen[-1].timeout_seconds is None  # one of them has all the time


async def test_contexts_that_differ_are_not_served_together(
    lookups: Lookups[Item], gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="")
    monkeypatch.setattr(context, "_separations", [])
    context.separate_by(tenant.get)
    seen: list[str] = []

    async def of(name: str, key: int) -> Item | None:
        tenant.set(name)
        with context.correlation():  # which may differ
            return await lookups.get(key)

    around = gate.around

    async def noting(execution: Execution, proceed: Any) -> Any:
        seen.append(tenant.get())
        return await around(execution, proceed)

    gate.around = noting  # type: ignore[method-assign]
    found = await asyncio.gather(*(of(name, key) for key in range(10) for name in ("red", "blue")))
    assert [each.id for each in found if each] == [key for key in range(10) for _ in "rb"]
    assert sorted(seen) == ["blue", "red"]


async def test_in_a_transaction_they_are_part_of_it(filled: Place, lookups: Lookups[Item], gate: Gate) -> None:
    async with filled.session.transaction() as transaction:
        await transaction.bulk_update(filled.table, ["id", "name"], [(1, "mine")], key="id")
        gate.seen.clear()
        assert await lookups.get(1) == Item(1, "mine", 1)
        assert gate.seen[0].connection is transaction.driver_connection
        with detached():
            found = await asyncio.gather(lookups.get(2), lookups.get(3, within=filled.session))
        assert [each.id for each in found if each] == [2, 3]
        assert [each.connection is None for each in gate.seen] == [False, False, True]

        async def other_task() -> None:
            await lookups.get(1)

        with pytest.raises(UsageError, match="belongs to the task"):
            await asyncio.create_task(other_task())
    with pytest.raises(UsageError, match="ended"):
        await lookups.get(1, within=transaction)
    async with filled.session:
        assert (await lookups.get(4)) is not None
    assert gate.seen[-1].connection is None


async def test_an_autobegin_session_begins_with_a_lookup(filled: Place, lookups: Lookups[Item]) -> None:
    async with filled.manager.session(autobegin=True) as session:
        assert (await lookups.get(4)) is not None
        assert session.in_transaction


async def test_without_a_connection_all_are_told(open_place: Any) -> None:
    place = await open_place("postgresql", max_connections=1, connection_timeout=0.2)
    lookups = Lookups(place.manager, place.table)
    lease = await place.manager.get_connection()

    async def elsewhere(key: int) -> Any:
        return await lookups.get(key)

    found = await asyncio.gather(*(elsewhere(key) for key in range(3)), return_exceptions=True)
    assert all(isinstance(each, PoolTimeoutError) for each in found)
    lease.release()
    assert await asyncio.gather(*(elsewhere(key) for key in range(3))) == [None, None, None]


async def test_when_the_manager_closes(filled: Place, lookups: Lookups[Item], gate: Gate) -> None:
    gate.open.clear()
    tasks = [asyncio.create_task(lookups.get(key)) for key in range(3)]
    await gate.reached()
    closing = asyncio.create_task(filled.manager.shutdown())
    await asyncio.sleep(0.01)
    gate.open.set()
    await closing
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, (Item, PoolClosedError)) for each in found)
    with pytest.raises(UsageError):
        await lookups.get(1)
    await filled.manager.initialize()  # for the fixture that drops the table


async def test_a_defect_leaves_nobody_waiting(lookups: Lookups[Item], gate: Gate) -> None:
    async def broken(execution: Execution, proceed: Any) -> Any:
        raise LookupError("a defect")

    gate.around = broken  # type: ignore[method-assign]
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, found: reported.append(found["exception"]))
    try:
        with pytest.raises(LookupError, match="a defect"):
            await asyncio.wait_for(lookups.get(1), 30)
        gc.collect()
    finally:
        asyncio.get_running_loop().set_exception_handler(None)
    assert reported == []
