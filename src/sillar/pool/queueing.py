"""A queue with several servers, first come, first served: how long callers would have waited at another size.

The model is the G/G/c queue, driven by the trace itself: no distribution is assumed for the times between the callers
nor for how long they keep a connection. Waits follow from the recursion of J. Kiefer and J. Wolfowitz, "On the theory
of queues with many servers" (Transactions of the American Mathematical Society 78, 1955): of the servers, that one
takes the next caller that is free first. Here the workloads are kept as the instants at which servers come free, in a
heap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from typing import Final

CALLERS_A_TURN: Final = 1000
"""About half a millisecond of work, then the loop has its turn."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of the callers of a trace.

    Attributes:
        waits: how long each waited, in seconds, in the order of the trace; who left waited all its patience.
        left: how many left because nothing came free in time.
        busy_seconds: connection time used.
    """

    waits: list[float]
    left: int
    busy_seconds: float


async def replay(
    callers: Sequence[tuple[float, float]], limits: Sequence[tuple[float, int]], patience_seconds: float
) -> Replay:
    """Let the callers of a trace queue again.

    Args:
        callers: when each asks and for how long it will have a server, ordered by the first, in seconds.
        limits: how many servers there are, from which instant on; at least one entry. The first holds from the start.
            Where servers are added, they are free at that instant; where some are taken away, it is those that come
            free first.
        patience_seconds: who has waited for longer leaves unserved.
    """
    start = callers[0][0] if callers else 0.0
    free = [start] * limits[0][1]
    changes = list(reversed(limits[1:]))
    waits: list[float] = []
    busy = 0.0
    left = 0
    for number, (asked, service) in enumerate(callers, 1):
        begins = max(asked, free[0])
        while changes and changes[-1][0] <= begins:
            _change(free, *changes.pop())
            begins = max(asked, free[0])
        if begins - asked > patience_seconds:
            waits.append(patience_seconds)
            left += 1
        else:
            waits.append(begins - asked)
            heapreplace(free, begins + service)
            busy += service
        if number % CALLERS_A_TURN == 0:
            await asyncio.sleep(0)
    return Replay(waits, left, busy)


def _change(free: list[float], at: float, servers: int) -> None:
    while len(free) > servers:
        heappop(free)
    for _ in range(servers - len(free)):
        heappush(free, at)


async def servers_at_most(callers: Sequence[tuple[float, float]]) -> int:
    """How many servers the callers of a trace would use at once if nobody ever had to wait; at least 1."""
    busy: list[float] = []
    most = 1
    for number, (asked, service) in enumerate(callers, 1):
        if number % CALLERS_A_TURN == 0:
            await asyncio.sleep(0)
        while busy and busy[0] <= asked:
            heappop(busy)
        heappush(busy, asked + service)
        most = max(most, len(busy))
    return most


def quantile(ordered: Sequence[float], share: float) -> float:
    """The quantile of values in ascending order, interpolated between neighbours; 0 without values."""
    if not ordered:
        return 0.0
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def variation(values: Sequence[float]) -> float:
    """The coefficient of variation: standard deviation over mean; 0 where there is none."""
    if len(values) < 2:
        return 0.0
    mean = sum(values) / len(values)
    if mean <= 0:
        return 0.0
    return float((sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5 / mean)


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's; 0 where one of both does not vary."""
    count = len(xs)
    if count < 2:
        return 0.0
    mean_x, mean_y = sum(xs) / count, sum(ys) / count
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    spread = sum((x - mean_x) ** 2 for x in xs) * sum((y - mean_y) ** 2 for y in ys)
    return float(covariance / spread**0.5) if spread > 0 else 0.0
