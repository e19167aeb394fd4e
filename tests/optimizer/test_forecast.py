"""How many callers will come."""

from __future__ import annotations

import asyncio
import random
import re

import pytest
from tests.optimizer.conftest import OpenPool
from tests.optimizer.traffic import on_paper, steady

from sillar.pool import PoolOptimizer
from sillar.pool.forecast import doubt, fit
from sillar.pool.usage import Interval


def noisy(mean: float, chance: random.Random) -> float:
    """A Poisson number, by its normal approximation."""
    return max(0.0, round(chance.gauss(mean, mean**0.5)))


async def test_a_level_is_forecast_with_its_noise() -> None:
    chance = random.Random(1)
    model = await fit([noisy(400, chance) for _ in range(120)])
    value, margin = model.forecast(12)
    assert value == pytest.approx(400, abs=25)
    assert 25 < margin < 80  # 1.645 times a deviation of 20, and what the level may drift
    assert doubt(model, value, margin) == ""


async def test_a_trend_goes_on_and_is_damped() -> None:
    chance = random.Random(2)
    model = await fit([noisy(200 + 5 * number, chance) for number in range(100)])
    value, margin = model.forecast(6)
    assert 700 < value < 760
    assert value - margin < 200 + 5 * 106 < value + margin
    far, wider = model.forecast(200)
    assert far < 200 + 5 * 300  # no trend goes on for ever
    assert wider > margin


async def test_ninety_of_a_hundred_values_lie_in_the_range() -> None:
    chance = random.Random(3)
    inside = 0
    for _ in range(60):
        values = [noisy(300, chance) for _ in range(43)]
        model = await fit(values[:40])
        value, margin = model.forecast(3)
        inside += abs(values[42] - value) <= margin
    assert 46 <= inside <= 60


async def test_a_sudden_change_is_not_forecast() -> None:
    chance = random.Random(4)
    values = [noisy(300, chance) for _ in range(80)]
    model = await fit([*values, 900.0, 900.0, 910.0])
    assert "the load has just changed" in doubt(model, *model.forecast(6))


async def test_a_wild_load_is_not_forecast() -> None:
    chance = random.Random(5)
    model = await fit([chance.choice([0.0, 50.0, 400.0]) for _ in range(80)])
    assert "varies by more than half of itself" in doubt(model, *model.forecast(6))
    calm = await fit([0.0] * 30)
    assert doubt(calm, *calm.forecast(5)) == ""
    assert calm.forecast(5) == (0.0, 0.0)


async def test_the_size_for_a_load(open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = await open_pool(1)
    optimizer = PoolOptimizer(pool, wait_p99_seconds=0.010, interval_seconds=0.1)
    async with optimizer:
        early = await optimizer.predict_load()
        assert early.arrivals_per_second_predicted is None
        assert re.fullmatch(r"\d intervals of 0\.1 s were seen, 20 are needed; watch for longer", early.cannot_tell)
    trace = on_paper(steady(200, 0.018, 10.0, seed=6), 8)
    monkeypatch.setattr(optimizer._recorder, "trace", lambda: trace)
    size = (await optimizer.optimize_size()).connections_recommended
    assert size is not None
    for callers in (20, 50):  # as in the record, and more
        optimizer._recorder.intervals.clear()
        optimizer._recorder.intervals.extend([Interval(callers, callers * 0.018)] * 60)
        answer = await optimizer.predict_load(1.0)
        rate = callers / 0.1
        assert answer.arrivals_per_second == pytest.approx(rate)
        assert answer.arrivals_per_second_predicted == pytest.approx(rate)
        assert answer.arrivals_per_second_low == answer.arrivals_per_second_high == answer.arrivals_per_second_predicted
        assert answer.busy_predicted == pytest.approx(rate * 0.018)
        assert answer.connections_needed is not None
        assert answer.connections_needed_high == answer.connections_needed
        if callers == 20:
            assert abs(answer.connections_needed - size) <= 1
        else:
            assert answer.connections_needed > max(size + 1, rate * 0.018)
        assert f"connections needed then: {answer.connections_needed}" in str(answer)
        assert f"in 1 s: {rate:.1f} a second" in str(answer)
    optimizer._recorder.intervals.extend([Interval(0, 0.0)] * 720)
    nobody = await optimizer.predict_load(1.0)
    assert (nobody.arrivals_per_second_predicted, nobody.connections_needed) == (0.0, 1)


async def test_what_is_missing_is_said(open_pool: OpenPool) -> None:
    pool = await open_pool(1)
    async with PoolOptimizer(pool) as optimizer:
        optimizer._recorder.intervals.extend([Interval(100, 1.0)] * 30)
        answer = await optimizer.predict_load(10.0)
        assert answer.arrivals_per_second_predicted == pytest.approx(20.0)
        assert answer.connections_needed is None
        assert answer.cannot_tell == "the size needed: 0 leases were seen, 500 are needed; watch for longer"
        optimizer._recorder.intervals.extend([Interval(0, 0.0), Interval(400, 4.0)] * 10)
        wild = await optimizer.predict_load(10.0)
        assert wild.arrivals_per_second_predicted is None
        assert "cannot tell: the load" in wild.explain()


async def test_intervals_close_in_time(open_pool: OpenPool) -> None:
    pool = await open_pool(1)
    async with PoolOptimizer(pool, interval_seconds=0.05) as optimizer:
        loop, held = asyncio.get_running_loop(), 0.0
        for _ in range(3):
            async with pool.lease():
                borrowed = loop.time()
                await asyncio.sleep(0.02)
                held += loop.time() - borrowed
        await asyncio.sleep(0.3)
        async with asyncio.timeout(10):
            while len(optimizer._recorder.intervals) < 6:
                await asyncio.sleep(0.01)
        intervals = list(optimizer._recorder.intervals)
    assert sum(each.callers for each in intervals) == 3
    assert sum(each.busy_seconds for each in intervals) == pytest.approx(held, abs=0.03)
