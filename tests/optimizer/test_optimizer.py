"""What an optimizer sees of a real pool, what it makes of it, and when it says that it cannot tell."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from heapq import heapify, heappop, heappush, heapreplace
from itertools import pairwise
from typing import Any

import pytest
from tests.optimizer.conftest import OpenPool
from tests.optimizer.traffic import on_paper, play, steady

from sillar import ConnectionPool, ConnectionPoolConfig, DatabaseManager
from sillar.errors import PoolExhaustedError, PoolTimeoutError, UsageError
from sillar.pool import AutoScale, PoolOptimizer
from sillar.pool.analysis import analyze
from sillar.pool.queueing import replay, variation
from sillar.pool.sizing import optimize
from sillar.pool.usage import trace_of


async def lease_for(pool: ConnectionPool, seconds: float) -> None:
    async with pool.lease() as lease:
        await lease.fetch_value("SELECT pg_sleep(:seconds)", {"seconds": seconds})


async def work(pool: ConnectionPool, workers: int, leases: int, think: Callable[[], Awaitable[None]]) -> None:
    """A closed loop: each worker asks again only when its last lease is over."""

    async def worker() -> None:
        for _ in range(leases):
            await lease_for(pool, 0.004)
            await think()

    await asyncio.gather(*(worker() for _ in range(workers)))


async def test_usage_is_what_was_played(open_pool: OpenPool) -> None:
    pool = await open_pool(6)
    callers = steady(250, 0.010, 2.4, seed=1)
    seen: list[tuple[float, float, float]] = []
    async with PoolOptimizer(pool) as optimizer:
        waits = await play(pool, callers, seen)
        usage = await optimizer.analyze_usage()
    assert (usage.leases, usage.unserved, usage.connections, usage.dedicated) == (len(callers), 0, 6, 0)
    assert usage.arrivals_per_second == pytest.approx(len(callers) / usage.seconds)
    # A machine that is busy with other things lets callers come late and keeps them for longer: what they saw counts.
    gaps = [after - before for before, after in pairwise(sorted(asked for asked, _, _ in seen))]
    assert usage.arrival_variation == pytest.approx(variation(gaps), abs=0.1)
    held = sum(done - borrowed for _, borrowed, done in seen) / len(seen)
    assert usage.lease_mean_seconds == pytest.approx(held, abs=0.003)
    assert held > 0.010
    on_time = await analyze(on_paper(callers, 6), database="paper", patience_seconds=60.0)
    assert on_time.arrival_variation == pytest.approx(1.0, abs=0.25)
    assert usage.lease_p50_seconds < usage.lease_mean_seconds < usage.lease_p95_seconds < usage.lease_p99_seconds
    assert usage.busy_mean == pytest.approx(usage.arrivals_per_second * usage.lease_mean_seconds, rel=0.02)
    assert usage.utilisation == pytest.approx(usage.busy_mean / 6, rel=0.01)
    assert 3 <= usage.busy_max <= 6
    assert usage.wait_mean_seconds == pytest.approx(sum(waits) / len(waits), abs=0.003)
    assert 0 < usage.waited_share < 1
    text = str(usage)
    assert f"{len(callers)} leases" in text
    assert f"of 6: {usage.utilisation:.0%} utilised" in text


async def test_sizes_are_explained_in_a_table() -> None:
    trace = on_paper(steady(200, 0.018, 10.0, seed=2), 5)
    usage = await analyze(trace, database="paper", patience_seconds=0.5)
    answer = await optimize(trace, usage, 0.005, 0.5, sizes=[2, 30])
    assert answer.usage.can_predict, answer.explain()
    recommended, reserve = answer.connections_recommended, answer.connections_with_reserve
    assert recommended is not None
    assert reserve is not None
    assert 5 < recommended <= reserve < 30
    assert answer.at(recommended).wait_p99_seconds <= 0.005 < answer.at(recommended - 1).wait_p99_seconds
    assert answer.at(reserve).wait_p99_seconds <= 0.0025
    waits = [answer.at(size).wait_p99_seconds for size in sorted({2, 5, recommended, 30})]
    assert waits == sorted(waits, reverse=True)
    assert answer.at(2).wait_p99_seconds == 0.5  # nobody has more patience
    assert 0 < answer.at(2).unserved_share < 1
    assert waits[-1] == 0.0
    worst = answer.at(5)
    assert worst.wait_p99_best_seconds <= worst.wait_p99_seconds <= worst.wait_p99_worst_seconds
    assert worst.wait_p50_seconds <= worst.wait_p99_seconds
    assert worst.utilisation == pytest.approx(answer.usage.utilisation, rel=0.05)
    lines = str(answer).splitlines()
    assert [line for line in lines if line.endswith("  now") and line.split()[0] == "5"]
    assert [line for line in lines if line.endswith("  recommended") and line.split()[0] == str(recommended)]
    assert (
        f"p99 wait at most 5.0 ms: {recommended} connections meet it, {reserve} with reserve; there are 5" in lines[-1]
    )
    with pytest.raises(
        UsageError, match=r"no prediction for 29 connections: ask for it with optimize_size\(sizes=\[29\]"
    ):
        answer.at(29)


async def test_nothing_is_recorded_before_and_after(open_pool: OpenPool) -> None:
    pool = await open_pool(2)
    optimizer = PoolOptimizer(pool)
    assert pool.recorder is None
    for question in (optimizer.analyze_usage, optimizer.optimize_size, optimizer.predict_load):
        with pytest.raises(UsageError, match=r"was not watched; await optimizer\.start"):
            await question()
    await lease_for(pool, 0)
    async with optimizer:
        await optimizer.start()  # once more does nothing
        with pytest.raises(UsageError, match="watched by another optimizer"):
            await PoolOptimizer(pool).start()
        for _ in range(3):
            await lease_for(pool, 0)
    await lease_for(pool, 0)
    assert pool.recorder is None
    usage = await optimizer.analyze_usage()
    assert usage.leases == 3
    await optimizer.stop()  # once more does nothing
    assert (await optimizer.analyze_usage()).seconds == usage.seconds


async def test_wrong_arguments_are_refused(open_pool: OpenPool) -> None:
    pool = await open_pool(1)
    limits = AutoScale(min_connections=1, max_connections=4)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"wait_p99_seconds": 0.0}, "wait_p99_seconds is 0.0; a positive number"),
        ({"window_seconds": float("inf")}, "window_seconds is inf"),
        ({"interval_seconds": "5"}, "interval_seconds is '5'"),
        ({"leases_max": 10}, "leases_max is 10; a record of at least 1000"),
        ({"wait_p99_seconds": 0.1, "auto_scale": limits}, "given twice"),
    ]
    for arguments, message in wrong:
        with pytest.raises(UsageError, match=message):
            PoolOptimizer(pool, **arguments)
    assert PoolOptimizer(pool, auto_scale=limits).wait_p99_seconds == limits.wait_p99_seconds
    async with DatabaseManager.from_url("sqlite://") as manager:
        source: Any = manager.pools["default"]
        with pytest.raises(UsageError, match=r"needs a ConnectionPool, this is a \w+; .*\(SQLite\)"):
            PoolOptimizer(source)
    async with PoolOptimizer(pool) as optimizer:
        with pytest.raises(UsageError, match="a pool of 0 connections"):
            await optimizer.optimize_size(sizes=[3, 0])
        with pytest.raises(UsageError, match="horizon_seconds is -1"):
            await optimizer.predict_load(-1)
    closed = PoolOptimizer(ConnectionPool(ConnectionPoolConfig(), pool.adapter, name="orders"))
    with pytest.raises(UsageError, match="pool 'orders' is not open in this event loop"):
        await closed.start()
    assert repr(closed).startswith("<PoolOptimizer of <ConnectionPool")


async def test_few_leases_tell_nothing(open_pool: OpenPool) -> None:
    pool = await open_pool(2)
    async with PoolOptimizer(pool) as optimizer:
        await lease_for(pool, 0)
        answer = await optimizer.optimize_size()
    assert (answer.connections_recommended, answer.predictions) == (None, ())
    assert answer.cannot_tell == "1 leases were seen, 500 are needed; watch for longer"
    assert "cannot tell: 1 leases" in answer.explain()
    with pytest.raises(UsageError, match="no prediction for 2 connections: 1 leases were seen"):
        answer.at(2)


async def test_a_saturated_pool_hides_how_much_is_wanted(open_pool: OpenPool) -> None:
    pool = await open_pool(4)

    async def at_once() -> None:
        pass

    async with PoolOptimizer(pool) as optimizer:
        await work(pool, 12, 50, at_once)
        answer = await optimizer.optimize_size()
    assert answer.usage.is_saturated
    assert "of the connection time was used: how much more is wanted cannot be seen" in answer.cannot_tell
    assert answer.connections_at_least is not None
    assert answer.connections_at_least > 4
    assert f"at least {answer.connections_at_least} connections are needed; there are 4" in answer.explain()


@pytest.mark.parametrize(("workers", "pause"), [(6, 0.006), (8, 0.012)])
async def test_a_closed_loop_is_seen(workers: int, pause: float) -> None:
    """Workers on paper that pause for about as long as a lease takes: with more connections they would come faster."""
    chance = random.Random(4)
    asking = [chance.expovariate(1 / pause) for _ in range(workers)]
    heapify(asking)
    free = [0.0] * 3
    served = []
    for _ in range(1500):
        asked = heappop(asking)
        begins = max(asked, free[0])
        ends = begins + 0.006 * chance.uniform(0.8, 1.2)
        heapreplace(free, ends)
        served.append((asked, begins, ends))
        heappush(asking, ends + chance.expovariate(1 / pause))
    trace = trace_of(served, [], since=0.0, until=served[-1][2], limits=((0.0, 3),))
    usage = await analyze(trace, database="paper", patience_seconds=60.0)
    assert not usage.is_saturated
    (obstacle,) = usage.obstacles
    assert "callers come more rarely while others are there" in obstacle


async def test_callers_like_a_clock_are_no_closed_loop() -> None:
    chance = random.Random(5)
    callers = [(number * 0.0045, 0.010 * chance.uniform(0.8, 1.2)) for number in range(1500)]
    usage = await analyze(on_paper(callers, 4), database="paper", patience_seconds=60.0)
    assert usage.arrival_variation < 0.1
    assert usage.can_predict, usage.explain()


async def test_a_blocked_event_loop_is_seen(open_pool: OpenPool) -> None:
    pool = await open_pool(8)

    async def block() -> None:
        while True:
            await asyncio.sleep(0.2)
            time.sleep(0.06)  # what must not be done

    async with PoolOptimizer(pool) as optimizer:
        blocking = asyncio.create_task(block())
        try:
            await play(pool, steady(300, 0.008, 2.2, seed=5))
        finally:
            blocking.cancel()
        answer = await optimizer.optimize_size()
    assert answer.usage.stalled_share > 0.05
    assert "the process is what callers wait for" in answer.cannot_tell


async def test_waits_that_no_queue_explains_are_seen() -> None:
    trace = on_paper(steady(200, 0.015, 10.0, seed=6), 8)
    delays = [0.2 if asked % 1.0 < 0.1 else 0.0 for asked, _, _ in trace.leases]
    late = [(asked, at + delay, end + delay) for (asked, at, end), delay in zip(trace.leases, delays, strict=True)]
    usage = await analyze(replace(trace, leases=tuple(late)), database="paper", patience_seconds=60.0)
    (obstacle,) = usage.obstacles
    assert "200." in obstacle
    assert "callers waited for something else (connecting, validation, a server that was away)" in obstacle


@pytest.mark.parametrize("size", [4, 30])
async def test_a_server_at_its_limit_is_not_given_more_connections(size: int) -> None:
    """Leases that take the longer the more of them there are, on paper: a real server that does so evenly on every
    machine there is not. A pool that is too large may shrink all the same."""
    quick = on_paper(steady(150, 0.012, 10.0, seed=7), size).leases
    served = []
    for number, (asked, borrowed, returned) in enumerate(quick):
        others = sum(end > borrowed for _, _, end in quick[max(0, number - 50) : number])
        served.append((asked, borrowed, borrowed + (returned - borrowed) * (1 + others)))
    trace = trace_of(served, [], since=0.0, until=11.0, limits=((0.0, size),))
    usage = await analyze(trace, database="paper", patience_seconds=10.0)
    usage = replace(usage, obstacles=())
    assert 1.3 < usage.slower_when_busy < 5
    answer = await optimize(trace, usage, 0.001, 10.0)
    if size == 4:
        assert (answer.connections_recommended, answer.connections_with_reserve) == (None, None)
        assert "the server is at its limit" in answer.explain()
        saturated = await optimize(trace, replace(usage, utilisation=1.0, obstacles=("saturated",)), 0.001, 10.0)
        assert saturated.connections_at_least is None
    else:
        assert answer.connections_recommended is not None
        assert 4 < answer.connections_recommended < 30
        assert "times as long while many connections are in use" in str(answer)


async def test_callers_that_got_nothing_are_counted_and_replayed(open_pool: OpenPool) -> None:
    pool = await open_pool(1, waiting_max=3, connection_timeout=0.5)
    async with PoolOptimizer(pool) as optimizer:
        async with pool.lease() as lease:
            await lease.fetch_value("SELECT 1")
            queue = [asyncio.create_task(lease_for(pool, 0)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(PoolExhaustedError):
                await pool.acquire()
            queue[0].cancel()
            outcomes = await asyncio.gather(*queue, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [
                asyncio.CancelledError,
                PoolTimeoutError,
                PoolTimeoutError,
            ]
            waiting = asyncio.create_task(lease_for(pool, 0))
            await asyncio.sleep(0)
            usage = await optimizer.analyze_usage()  # with the lease that is out and the caller that waits
            assert (usage.leases, usage.unserved) == (1, 5)
            assert usage.busy_max == 1
        await waiting
        trace = optimizer._recorder.trace()
    assert (len(trace.leases), trace.unserved, len(trace.callers)) == (2, 4, 6)
    long = trace.leases[0][2] - trace.leases[0][1]
    assert [seconds for _, seconds in trace.callers[:5]] == [long] * 5  # the time of the one before stands in
    assert sorted(trace.callers) == list(trace.callers)


async def test_a_reset_is_part_of_the_lease(open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = await open_pool(1)
    async with PoolOptimizer(pool) as optimizer:
        async with pool.lease() as lease:
            kind = type(lease.connection)
            reset = kind.reset

            async def slow_reset(connection: Any) -> None:
                await asyncio.sleep(0.2)
                await reset(connection)

            monkeypatch.setattr(kind, "reset", slow_reset)
            lease.raw.get_server_pid()
        async with pool.lease():
            pass
        usage = await optimizer.analyze_usage()
    assert usage.leases == 2
    assert usage.lease_mean_seconds >= 0.1


async def test_an_idle_connection_that_is_validated_was_no_lease(open_pool: OpenPool) -> None:
    pool = await open_pool(1, validate_after_idle=0.0)
    for _ in range(2):
        await lease_for(pool, 0)
    async with PoolOptimizer(pool) as optimizer:
        await asyncio.sleep(0.05)
        await lease_for(pool, 0)
        assert pool.stats().waited_total > 0  # it was asked first
        assert (await optimizer.analyze_usage()).leases == 1


async def test_dedicated_connections_are_part_of_the_size(open_pool: OpenPool) -> None:
    pool = await open_pool(8, warm=False)
    async with pool.dedicated(), pool.dedicated(), PoolOptimizer(pool) as optimizer:
        await lease_for(pool, 0)
        usage = await optimizer.analyze_usage()
        assert (usage.connections, usage.dedicated) == (6, 2)
        assert (await optimizer.optimize_size()).connections == 8
    trace = on_paper(steady(200, 0.015, 10.0, seed=8), 6)
    usage = await analyze(trace, database="paper", dedicated=2, patience_seconds=60.0)
    answer = await optimize(trace, usage, 0.010, 60.0, sizes=[3])
    alone = await optimize(trace, replace(usage, dedicated=0), 0.010, 60.0, sizes=[1])
    assert answer.connections == 8
    assert answer.at(3) == replace(alone.at(1), connections=3)  # only one of the three serves callers
    assert answer.connections_recommended == (alone.connections_recommended or 0) + 2


async def test_a_change_of_size_in_the_record_is_no_obstacle(open_pool: OpenPool) -> None:
    callers = steady(200, 0.018, 10.0, seed=9)
    limits = ((0.0, 4), (5.0, 10))
    waits = (await replay(callers, limits, 60.0)).waits
    served = [(at, at + wait, at + wait + own) for (at, own), wait in zip(callers, waits, strict=True)]
    trace = trace_of(served, [], since=0.0, until=10.0, limits=limits)
    assert trace.mean_limit() == pytest.approx(7.0)
    usage = await analyze(trace, database="paper", patience_seconds=60.0)
    assert usage.can_predict, usage.explain()
    assert usage.utilisation == pytest.approx(200 * 0.018 / 7, rel=0.1)
    answer = await optimize(trace, usage, 0.010, 60.0)
    assert answer.connections == 10
    assert answer.at(10).wait_p99_seconds < usage.wait_p99_seconds / 2
    wrong = replace(trace, limits=limits[1:])
    assert "the queue accounts for" in (await analyze(wrong, database="paper", patience_seconds=60.0)).explain()
    pool = await open_pool(2)
    async with PoolOptimizer(pool) as optimizer:  # and the record notices
        pool.resize(max_connections=3)
        assert [limit for _, limit in optimizer._recorder.trace().limits] == [2, 3]


async def test_the_window_moves_and_the_record_is_bounded(open_pool: OpenPool) -> None:
    pool = await open_pool(1)
    async with PoolOptimizer(pool, window_seconds=2.0, leases_max=1000) as optimizer:
        for _ in range(5):
            await lease_for(pool, 0)
        assert (await optimizer.analyze_usage()).leases == 5
        await asyncio.sleep(2.1)
        usage = await optimizer.analyze_usage()
        assert (usage.leases, usage.arrivals_per_second, usage.utilisation) == (0, 0.0, 0.0)
        assert usage.seconds == pytest.approx(2.0)
    async with PoolOptimizer(pool, leases_max=1000) as optimizer:
        for _ in range(1200):
            pool.release_connection(await pool.acquire_connection())
        usage = await optimizer.analyze_usage()
        assert usage.leases == 1000
        assert usage.arrivals_per_second > 1000 / 1.2 / usage.seconds * 0.99
