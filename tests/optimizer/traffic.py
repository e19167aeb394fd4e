"""Loads for a pool: when callers come, and for how long each keeps its connection. Played for real, or on paper."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterator, Sequence
from heapq import heapreplace

from sillar import ConnectionPool
from sillar.pool.usage import UsageTrace, trace_of

Callers = list[tuple[float, float]]
"""Of each caller: when it comes and for how long it needs a connection, in seconds."""


def poisson(rate: float, seconds: float, chance: random.Random) -> Iterator[float]:
    """Instants at random, so many a second."""
    at = chance.expovariate(rate)
    while at < seconds:
        yield at
        at += chance.expovariate(rate)


def changing(rate: Callable[[float], float], most: float, seconds: float, chance: random.Random) -> Iterator[float]:
    """Instants at random, at a rate that changes (Lewis and Shedler's thinning)."""
    return (at for at in poisson(most, seconds, chance) if chance.random() * most < rate(at))


def exponential(mean: float, chance: random.Random) -> float:
    return chance.expovariate(1 / mean)


def heavy_tailed(mean: float, variation: float, chance: random.Random) -> float:
    """Log-normal."""
    variance = math.log1p(variation * variation)
    return chance.lognormvariate(math.log(mean) - variance / 2, variance**0.5)


def steady(rate: float, mean: float, seconds: float, seed: int) -> Callers:
    """Poisson callers with exponential times: M/M/c."""
    chance = random.Random(seed)
    return [(at, exponential(mean, chance)) for at in poisson(rate, seconds, chance)]


async def play(
    pool: ConnectionPool, callers: Sequence[tuple[float, float]], seen: list[tuple[float, float, float]] | None = None
) -> list[float]:
    """Let each caller come at its instant and sleep on the server for its time. How long each waited, as itself saw
    it; in ``seen`` when it asked, got its connection, and was done with it."""
    loop = asyncio.get_running_loop()
    start = loop.time() + 0.05
    waits: list[float] = []

    async def caller(seconds: float) -> None:
        asked = loop.time()
        async with pool.lease() as lease:
            borrowed = loop.time()
            waits.append(borrowed - asked)
            await lease.fetch_value("SELECT pg_sleep(:seconds)", {"seconds": seconds})
            if seen is not None:
                seen.append((asked, borrowed, loop.time()))

    async with asyncio.TaskGroup() as group:
        for at, seconds in callers:
            await asyncio.sleep(start + at - loop.time())
            group.create_task(caller(seconds))
    return waits


def on_paper(callers: Sequence[tuple[float, float]], size: int, *, start: float = 0.0) -> UsageTrace:
    """The record that a pool of this size would leave of the callers, without a pool."""
    free = [0.0] * size
    served = []
    for asked, seconds in callers:
        begins = max(asked, free[0])
        heapreplace(free, begins + seconds)
        served.append((start + asked, start + begins, start + begins + seconds))
    until = max(returned for _, _, returned in served)
    return trace_of(served, [], since=start, until=until, limits=((start, size),))
