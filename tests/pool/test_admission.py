"""Who is served first, and who is told to come back later."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pool.pools import OpenPool, eventually

from sillar import DatabaseManager
from sillar.context import Priority, current_priority, priority
from sillar.errors import OverloadedError, PoolExhaustedError, PoolTimeoutError
from sillar.pool.admission import AdmissionControl
from sillar.pool.waiting import RUN_MAX, WaitingQueue
from sillar.testing.servers import PostgreSQLServer

HIGH, NORMAL, LOW = Priority.HIGH, Priority.NORMAL, Priority.LOW


# --- the queue ---


def queue() -> WaitingQueue:
    return WaitingQueue(lambda waiter: PoolTimeoutError("too late"))


async def test_the_higher_priority_goes_first_and_nobody_starves() -> None:
    waiting = queue()
    loop = asyncio.get_running_loop()
    names = {}
    for level in (LOW, NORMAL, HIGH):
        for number in range(30):
            names[waiting.join(loop, 60, level)] = (level, number)
    served = []
    while (waiter := waiting.pop()) is not None:
        served.append(names[waiter])
    for level in Priority:  # first come, first served within a priority
        assert [number for each, number in served if each is level] == list(range(30))
    levels = [level for level, _ in served]
    assert levels[:10] == [HIGH] * 4 + [NORMAL] + [HIGH] * 4 + [NORMAL]
    first_low = levels.index(LOW)
    assert levels[:first_low].count(NORMAL) == RUN_MAX, "the lowest has its turn after as many of the next higher"
    waiting.close()


def test_the_queue_counts_right_whatever_happens() -> None:
    steps = st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.sampled_from(list(Priority))),
            st.tuples(st.sampled_from(["leave", "cancel"]), st.integers(0, 200)),
            st.tuples(st.just("make room"), st.sampled_from(list(Priority))),
            st.tuples(st.just("pop"), st.none()),
        ),
        max_size=120,
    )

    @given(steps)
    def check(steps: list[tuple[str, Any]]) -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(follow(steps))
        finally:
            loop.close()

    check()


async def follow(steps: list[tuple[str, Any]]) -> None:
    """Do these steps, beside a model that keeps plain lists."""
    loop = asyncio.get_running_loop()
    waiting = queue()
    lanes: dict[Priority, list[Any]] = {level: [] for level in Priority}
    gone: list[Any] = []  # cancelled, and their task has not come round to say so
    for step, value in steps:
        everybody = [waiter for lane in lanes.values() for waiter in lane]
        if step == "join":
            lanes[value].append(waiting.join(loop, 60, value))
        elif step in ("leave", "cancel") and everybody:
            waiter = everybody[value % len(everybody)]
            waiter.future.cancel()
            lanes[waiter.priority].remove(waiter)
            gone.append(waiter)
            if step == "leave":
                waiting.leave(waiter)
                waiting.leave(waiter)
                gone.remove(waiter)
        elif step == "make room":
            found = waiting.pop_last_below(value)
            lower = [level for level in reversed(Priority) if level > value and lanes[level]]
            assert found is (lanes[lower[0]].pop() if lower else None)
            if found is not None:
                found.future.cancel()
        elif step == "pop":
            waiter = waiting.pop()
            if waiter is None:
                assert not everybody
            else:
                assert waiter is lanes[waiter.priority].pop(0)
                waiter.future.cancel()
        assert set(waiting) == {waiter for lane in lanes.values() for waiter in lane}
    for waiter in gone:
        waiting.leave(waiter)
    assert len(waiting) == sum(map(len, lanes.values()))
    waiting.fail_all(lambda: PoolTimeoutError("closed"))
    for lane in lanes.values():
        for waiter in lane:
            with pytest.raises(PoolTimeoutError):
                waiter.future.result()
    assert len(waiting) == 0
    waiting.close()


async def test_who_has_a_higher_priority_is_served_first(open_pool: OpenPool) -> None:
    pool = await open_pool(max_connections=1)
    served: list[str] = []

    async def caller(name: str) -> None:
        async with pool.lease():
            served.append(name)

    lease = await pool.acquire()
    tasks = []
    for name, level in (("report", LOW), ("request", None), ("check", HIGH), ("request 2", NORMAL)):
        if level is None:
            tasks.append(asyncio.create_task(caller(name)))
        else:
            with priority(level):
                tasks.append(asyncio.create_task(caller(name)))
    await asyncio.sleep(0)
    lease.release()
    await asyncio.gather(*tasks)
    assert served == ["check", "request", "request 2", "report"]
    assert current_priority() is None


async def test_lookups_by_key_go_first_by_themselves(postgresql: PostgreSQLServer) -> None:
    settings = {"connection_pools": {"max_connections": 1}}
    async with DatabaseManager.from_url(postgresql.url, overrides=settings) as manager:
        session = manager.session()
        pool: Any = manager.pools["default"]
        served: list[str] = []

        async def count() -> None:
            await session.fetch_value("SELECT count(*) FROM pg_class")
            served.append("count")

        async def look_up(name: str) -> None:
            await session.get_many("pg_catalog.pg_am", ["heap"], key="amname", columns=["amname"])
            served.append(name)

        lease = await pool.acquire()
        tasks = [asyncio.create_task(count()), asyncio.create_task(look_up("look-up"))]
        with priority(LOW):  # what somebody says counts more
            tasks.append(asyncio.create_task(look_up("prefetch")))
        await eventually(lambda: pool.stats().waiting == 3)
        lease.release()
        await asyncio.gather(*tasks)
        assert served == ["look-up", "count", "prefetch"]


async def test_in_a_full_queue_a_lower_priority_makes_room(open_pool: OpenPool) -> None:
    pool = await open_pool(max_connections=1, waiting_max=2)
    lease = await pool.acquire()
    with priority(LOW):
        low = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    normal = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    with pytest.raises(PoolExhaustedError) as caught:
        await low[1]
    assert caught.value.retry_after_seconds == 1.0
    with priority(LOW), pytest.raises(PoolExhaustedError):
        await pool.acquire()
    lease.release()
    (await normal).release()
    (await low[0]).release()
    assert pool.stats().refused_total == 2


# --- the judgement ---


def serve(control: AdmissionControl, began: float, seconds: float, wait: float, per_second: int = 100) -> float:
    """So many callers are served for so long, after such a wait; when that ends."""
    for number in range(int(seconds * per_second)):
        control.served(NORMAL, wait, began + number / per_second)
    return began + seconds


def test_a_burst_is_no_overload() -> None:
    control = AdmissionControl(0.5, 1.0)
    now = serve(control, 10.0, 0.9, 3.0)
    control.served(NORMAL, 0.1, now)  # one was served soon: the queue does not stand
    now = serve(control, now, 0.9, 3.0)
    assert control.refusal(LOW, 1000, now) is None
    assert not control.is_overloaded


def test_a_standing_queue_is_one_and_low_priority_goes_first() -> None:
    control = AdmissionControl(0.5, 1.0)
    now = serve(control, 10.0, 2.1, 0.6)
    assert control.is_overloaded
    assert control.refusal(HIGH, 1000, now) is None
    assert control.refusal(LOW, 0, now) is None
    assert control.refusal(LOW, 1, now) is not None
    assert control.refusal(NORMAL, 45, now) is None, "as many as are served within the target may wait"
    assert control.refusal(NORMAL, 200, now) == pytest.approx(2.0, rel=0.1), "then the queue has gone"
    assert control.shed_total == 2
    now = serve(control, now, 1.1, 0.4)
    assert control.is_overloaded, "it stays above half the target"
    now = serve(control, now, 0.1, 0.2)
    assert not control.is_overloaded
    now = serve(control, now, 2.1, 0.6)
    assert control.is_overloaded
    assert control.refusal(LOW, 1000, now + 60) is None, "the load went long ago"


def test_waits_of_high_priority_do_not_hide_an_overload() -> None:
    control = AdmissionControl(0.5, 1.0)
    for number in range(300):
        control.served(HIGH if number % 2 else NORMAL, 0.01 if number % 2 else 0.7, 10 + number / 100)
    assert control.is_overloaded


def test_without_a_target_everybody_is_let_in() -> None:
    control = AdmissionControl(None, 1.0)
    now = serve(control, 10.0, 3.0, 100.0)
    assert control.refusal(LOW, 10_000, now) is None


# --- for real ---


async def test_three_times_the_load_that_can_be_served(postgresql: PostgreSQLServer) -> None:
    """Memory and waits stay bounded, health checks and look-ups answer, and it recovers by itself."""
    pool_settings = {
        "min_connections": 4,
        "max_connections": 4,
        "queue_target": 0.2,
        "queue_interval": 0.2,
        "connection_timeout": 20,
    }
    async with DatabaseManager.from_url(postgresql.url, overrides={"connection_pools": pool_settings}) as manager:
        session = manager.session()
        pool: Any = manager.pools["default"]
        outcomes: Counter[tuple[Priority, str]] = Counter()
        waits: dict[Priority, list[float]] = {level: [] for level in Priority}
        retries: list[float | None] = []
        longest_queue = 0

        async def request(level: Priority) -> None:
            began = time.monotonic()
            try:
                await session.fetch_value("SELECT 1 FROM pg_sleep(0.02)")
            except OverloadedError as error:
                outcomes[level, "refused"] += 1
                retries.append(error.retry_after_seconds)
            else:
                outcomes[level, "served"] += 1
                waits[level].append(time.monotonic() - began)

        tasks = []
        checks: list[float] = []
        began = time.monotonic()
        turn = 0
        while time.monotonic() - began < 4:  # at most 4 / 0.02 s = 200 a second can be served; 600 come
            due = min(int((time.monotonic() - began) * 600), turn + 30)  # a machine that stood still makes no burst
            while turn < due:
                turn += 1
                level = HIGH if turn % 60 == 0 else LOW if turn % 3 == 0 else NORMAL
                with priority(level):
                    tasks.append(asyncio.create_task(request(level)))
            if turn // 300 > len(checks):
                asked = time.monotonic()
                await manager.health_monitor.check()
                checks.append(time.monotonic() - asked)
            longest_queue = max(longest_queue, pool.stats().waiting)
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)
        stats = pool.stats()
        assert outcomes[HIGH, "refused"] == 0
        assert outcomes[NORMAL, "served"] > outcomes[LOW, "served"], "the lower priority is refused first"
        assert outcomes[NORMAL, "refused"] > 100
        assert stats.shed_total == outcomes[NORMAL, "refused"] + outcomes[LOW, "refused"]
        assert all(seconds is not None and 0.1 <= seconds < 10 for seconds in retries)
        served_per_second = (outcomes.total() - stats.shed_total) / (time.monotonic() - began)
        unlimited = turn - 4 * served_per_second  # how long the queue would become without a limit: about 1600
        assert longest_queue < unlimited * 0.7
        assert max(waits[NORMAL]) < unlimited / served_per_second * 0.7
        assert sorted(waits[HIGH])[len(waits[HIGH]) // 2] < sorted(waits[NORMAL])[len(waits[NORMAL]) // 2]
        assert max(checks) < 1.5
        assert len(checks) >= turn // 300 - 1 > 0

        await asyncio.sleep(1)  # the load has gone
        shed = stats.shed_total
        for _ in range(10):
            await asyncio.gather(*(request(LOW) for _ in range(8)))
        assert pool.stats().shed_total == shed
