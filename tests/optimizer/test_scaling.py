"""A pool that changes its size by itself: on paper with the real decisions, and for real."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import structlog
from tests.optimizer.conftest import OpenPool
from tests.optimizer.traffic import on_paper, play, steady

from sillar.errors import UsageError
from sillar.pool.analysis import analyze
from sillar.pool.optimizer import PoolOptimizer
from sillar.pool.scaling import AutoScale, Scaler, ScalingStep
from sillar.pool.sizing import PoolOptimization, optimize

LIMITS = AutoScale(
    min_connections=2, max_connections=40, wait_p99_seconds=0.010, interval_seconds=10, cool_down_seconds=60
)


async def judged(rate: float, size: int, seed: int, seconds: float = 12.0) -> PoolOptimization:
    """What the optimizer says of Poisson callers with exponential times of 20 ms at a size."""
    trace = on_paper(steady(rate, 0.020, seconds, seed=seed), size)
    usage = await analyze(trace, database="paper", patience_seconds=30.0)
    return await optimize(trace, usage, LIMITS.wait_p99_seconds, 30.0)


async def scaled(rates: Sequence[float], size: int, scaler: Scaler) -> tuple[int, list[ScalingStep]]:
    """Let it decide every ten seconds, at one rate after the other; the size in the end, and the changes."""
    steps = []
    for number, rate in enumerate(rates):
        step = scaler.decide(number * 10.0, await judged(rate, size, seed=number))
        if step is not None:
            size = step.after
            steps.append(step)
    return size, steps


async def test_a_steady_noisy_load_changes_the_size_at_most_twice() -> None:
    chance = random.Random(11)
    rates = [chance.uniform(180, 220) for _ in range(40)]
    needed = [(await judged(rate, 40, seed=number)).connections_recommended or 0 for number, rate in enumerate(rates)]
    assert len(set(needed)) > 2  # whoever followed each answer would change again and again
    assert sum(before != after for before, after in pairwise(needed)) > 15
    for size in (2, 30):
        end, steps = await scaled(rates, size, Scaler(LIMITS))
        assert 1 <= len(steps) <= 2, steps
        assert max(needed) <= end <= max(needed) + 4


async def test_it_grows_at_once_and_shrinks_after_the_cool_down() -> None:
    size, steps = await scaled([100, 100, 500, 500], 6, Scaler(LIMITS))
    (step,) = steps
    assert (step.at, step.before, step.after) == (20.0, 6, size)
    assert f"100% utilised, {size} are needed at least" in step.reason
    assert size > 500 * 0.020
    rates = [300.0] * 3 + [50.0] * 12
    size, steps = await scaled(rates, 10, Scaler(LIMITS))
    assert [step.before < step.after for step in steps] == [True, False]
    up, down = steps
    assert up.at == 0.0
    assert "target 10.0 ms" in up.reason
    assert down.at == 30.0 + LIMITS.cool_down_seconds
    assert down.after == size < 0.8 * up.after
    assert "were enough for 60 s" in down.reason


async def test_a_load_that_comes_back_within_the_cool_down_keeps_the_size() -> None:
    rates = [300.0, 50.0, 50.0, 50.0] * 6
    _, steps = await scaled(rates, 12, Scaler(LIMITS))
    assert len(steps) <= 1


async def test_it_stays_within_its_limits() -> None:
    limits = replace(LIMITS, max_connections=8)
    assert (await scaled([300.0] * 3, 7, Scaler(limits)))[0] == 8
    assert (await scaled([300.0] * 3, 8, Scaler(limits)))[1] == []
    size, (step,) = await scaled([300.0], 20, Scaler(limits))
    assert (size, step.reason) == (8, "back within the limits")
    assert (await scaled([300.0], 1, Scaler(limits)))[0] == 2
    size, _ = await scaled([50.0] * 12, 8, Scaler(replace(limits, min_connections=5)))
    assert size == 5
    lowest = Scaler(limits)
    steps = [lowest.decide(at, await judged(30.0, 8, seed=1, seconds=40), connections_min=6) for at in (0.0, 70.0)]
    assert [step and step.after for step in steps] == [None, 6]


async def test_what_cannot_be_told_changes_nothing() -> None:
    answer = await judged(20.0, 8, seed=1)  # too few
    assert answer.cannot_tell
    scaler = Scaler(LIMITS)
    assert [scaler.decide(at, answer) for at in (0.0, 1000.0)] == [None, None]
    saturated = replace(answer, usage=replace(answer.usage, wait_p99_seconds=0.005), connections_at_least=20)
    assert scaler.decide(2000.0, saturated) is None  # busy, but nobody waits for too long


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_connections": 0}, r"1 <= min_connections \(0\) <= max_connections \(40\); correct the limits"),
        ({"min_connections": 41}, r"min_connections \(41\) <= max_connections \(40\)"),
        ({"wait_p99_seconds": 0}, r"AutoScale.wait_p99_seconds is 0; a positive number is needed"),
        ({"interval_seconds": float("nan")}, r"AutoScale.interval_seconds is nan"),
        ({"cool_down_seconds": True}, r"AutoScale.cool_down_seconds is True"),
    ],
)
def test_limits_are_checked(change: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(LIMITS, **change)  # type: ignore[arg-type]


@pytest.mark.slow
async def test_a_real_pool_grows_under_load_and_shrinks_after_it(open_pool: OpenPool) -> None:
    pool = await open_pool(2)
    limits = AutoScale(
        min_connections=2, max_connections=30, wait_p99_seconds=0.020, interval_seconds=0.25, cool_down_seconds=1.0
    )
    with structlog.testing.capture_logs() as logs:
        async with PoolOptimizer(pool, auto_scale=limits, window_seconds=3.0) as optimizer:
            await play(pool, steady(200, 0.060, 4.0, seed=3))
            grown, steps_up = pool.max_connections, list(optimizer.steps)
            loaded = await optimizer.optimize_size()
            for turn in range(4):  # it shrinks when it has seen enough, and can tell
                await play(pool, steady(190, 0.020, 6.0, seed=4 + turn))
                if pool.max_connections <= 0.8 * grown:
                    break
            last = await optimizer.optimize_size()
    assert 2 < grown <= 30
    if grown < 13:  # then it cannot tell how much is missing: this machine is busy with other things
        assert loaded.cannot_tell, list(optimizer.steps)
        assert loaded.usage.loop_lag_seconds > 0.0005, loaded.explain()
    assert 1 <= len(steps_up) <= 6
    assert all(step.after > step.before for step in steps_up)
    if last.cannot_tell:  # then it must not shrink, and this machine is busy with other things
        assert last.usage.loop_lag_seconds > 0.0005, last.explain()
    else:
        assert pool.max_connections <= 0.8 * grown, list(optimizer.steps)
    said = [entry for entry in logs if entry["event"] == "pool resized"]
    assert [(entry["before"], entry["after"]) for entry in said] == [
        (step.before, step.after) for step in optimizer.steps
    ]
    size = pool.max_connections
    await asyncio.sleep(0.6)
    assert pool.max_connections == size  # it does not go on after the end


async def test_scaling_ends_with_the_pool_and_its_failure_is_told(
    open_pool: OpenPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = AutoScale(min_connections=1, max_connections=2, interval_seconds=0.02)
    pool = await open_pool(1)
    optimizer = PoolOptimizer(pool, auto_scale=limits)
    await optimizer.start()
    await pool.close(0)
    assert optimizer._scaling is not None
    await asyncio.wait_for(optimizer._scaling, 10)
    await optimizer.stop()

    def broken() -> None:
        raise RuntimeError("no trace")

    other = await open_pool(1)
    optimizer = PoolOptimizer(other, auto_scale=limits)
    monkeypatch.setattr(optimizer._recorder, "trace", broken)
    with structlog.testing.capture_logs() as logs:
        async with optimizer:
            assert optimizer._scaling is not None
            await asyncio.wait((optimizer._scaling,), timeout=10)
    assert [(entry["event"], entry["error"]) for entry in logs if entry["log_level"] == "error"] == [
        ("pool is not scaled any more", "no trace")
    ]
