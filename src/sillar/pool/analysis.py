"""What a record of a pool's callers says, and whether a prediction may be built on it."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final

from sillar.pool.queueing import CALLERS_A_TURN, correlation, quantile, replay, variation
from sillar.pool.usage import Lag, UsageTrace

LEASES_MIN: Final = 500
"""A p99 of fewer would rest on less than five callers."""

_SATURATED: Final = 0.95
_LAG_SHARE_MAX: Final = 0.05  # of a lease's time; it is in there about twice, and p99 waits grow faster than leases
_LAG_SECONDS_MIN: Final = 0.0005  # below, nobody's target is touched
_STALLED_SHARE_MAX: Final = 0.03  # of the record's time
_MODEL_ERROR_MAX: Final = 0.3
_FEEDBACK: Final = -0.18
_REGULAR: Final = 0.5  # callers that come like a clock look as if they knew of each other
_SLOWER_RATIO: Final = 1.3
_BINS_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class PoolUsageAnalysis:
    """What the callers of a pool did while it was watched. Times are in seconds.

    Attributes:
        database: configured name.
        seconds: how long the record is.
        connections: how many there may be now, those outside the pool (dedicated) not counted.
        dedicated: of these, how many there are now.
        leases: how many callers had a connection.
        unserved: how many got none: refused, out of time, cancelled, or still waiting.
        arrivals_per_second: callers that asked, on average.
        arrival_variation: coefficient of variation of the times between two callers: 0 like a clock, 1 at random
            (Poisson), above in bursts.
        lease_mean_seconds, lease_p50_seconds, lease_p95_seconds, lease_p99_seconds: how long a connection was in use
            (the reset after it included).
        lease_variation: coefficient of variation of that: 1 as with exponential times, above with a heavy tail.
        busy_mean: connections in use on average (the offered load in erlang).
        busy_max: most that were in use at once.
        utilisation: used share of the connection time that there was, 0 to 1.
        wait_mean_seconds, wait_p50_seconds, wait_p95_seconds, wait_p99_seconds: how long callers waited for a
            connection, as measured.
        waited_share: share of the callers that had to wait, 0 to 1.
        loop_lag_seconds: how late the event loop was, on average.
        stalled_share: share of the time that the event loop was later than a lease takes, 0 to 1.
        slower_when_busy: leases take longer while many connections are in use, by this factor (of medians); 1 where
            that is not seen. More connections then make each of them slower: the server is at its limit.
        obstacles: why nothing can be predicted from this record; empty if it can.
    """

    database: str
    seconds: float
    connections: int
    dedicated: int
    leases: int
    unserved: int
    arrivals_per_second: float
    arrival_variation: float
    lease_mean_seconds: float
    lease_p50_seconds: float
    lease_p95_seconds: float
    lease_p99_seconds: float
    lease_variation: float
    busy_mean: float
    busy_max: int
    utilisation: float
    wait_mean_seconds: float
    wait_p50_seconds: float
    wait_p95_seconds: float
    wait_p99_seconds: float
    waited_share: float
    loop_lag_seconds: float
    stalled_share: float
    slower_when_busy: float
    obstacles: tuple[str, ...]

    @property
    def can_predict(self) -> bool:
        """Whether there is no obstacle."""
        return not self.obstacles

    @property
    def is_saturated(self) -> bool:
        """Whether practically all connection time was used: how much more is wanted cannot be seen."""
        return self.utilisation >= _SATURATED

    def explain(self) -> str:
        """A few lines for a reader."""
        lines = [
            f"pool {self.database!r}: {self.leases} leases in {self.seconds:.1f} s, {self.unserved} callers unserved",
            f"  callers    {self.arrivals_per_second:.1f} a second, gaps vary by {self.arrival_variation:.2f}",
            f"  a lease    {milliseconds(self.lease_mean_seconds)} on average, "
            f"p50 {milliseconds(self.lease_p50_seconds)}, p95 {milliseconds(self.lease_p95_seconds)}, "
            f"p99 {milliseconds(self.lease_p99_seconds)}, varies by {self.lease_variation:.2f}",
            f"  in use     {self.busy_mean:.1f} on average, {self.busy_max} at most, of {self.connections}: "
            f"{self.utilisation:.0%} utilised",
            f"  waits      {self.waited_share:.1%} waited; p50 {milliseconds(self.wait_p50_seconds)}, "
            f"p95 {milliseconds(self.wait_p95_seconds)}, p99 {milliseconds(self.wait_p99_seconds)}",
            f"  event loop {milliseconds(self.loop_lag_seconds)} late on average",
        ]
        if self.slower_when_busy > 1:
            lines.append(f"  leases take {self.slower_when_busy:.1f} times as long while many connections are in use")
        lines += [f"  cannot tell: {obstacle}" for obstacle in self.obstacles]
        return "\n".join(lines)

    __str__ = explain


async def analyze(
    trace: UsageTrace, *, database: str, dedicated: int = 0, patience_seconds: float
) -> PoolUsageAnalysis:
    """Say what a trace shows.

    Args:
        trace: the record.
        database: configured name, for the reader.
        dedicated: connections outside the pool.
        patience_seconds: how long a caller waits at most.
    """
    leases = trace.leases
    services = sorted(returned - borrowed for _, borrowed, returned in leases)
    await asyncio.sleep(0)
    waits = sorted(borrowed - asked for asked, borrowed, _ in leases)
    await asyncio.sleep(0)
    asked = [at for at, _ in trace.callers]
    await asyncio.sleep(0)
    gap_variation = variation([after - before for before, after in pairwise(asked)])
    await asyncio.sleep(0)
    lease_variation = variation(services)
    await asyncio.sleep(0)
    count, seconds = len(leases), max(trace.seconds, 1e-9)
    busy = sum(returned - max(borrowed, trace.since) for _, borrowed, returned in leases)
    mean = sum(services) / count if count else 0.0
    await asyncio.sleep(0)
    concurrency = await _concurrency(trace)
    slower = await _slower_when_busy(concurrency)
    usage = PoolUsageAnalysis(
        database=database,
        seconds=trace.seconds,
        connections=trace.limits[-1][1],
        dedicated=dedicated,
        leases=count,
        unserved=trace.unserved,
        arrivals_per_second=len(asked) / seconds,
        arrival_variation=gap_variation,
        lease_mean_seconds=mean,
        lease_p50_seconds=quantile(services, 0.5),
        lease_p95_seconds=quantile(services, 0.95),
        lease_p99_seconds=quantile(services, 0.99),
        lease_variation=lease_variation,
        busy_mean=busy / seconds,
        busy_max=max((number for number, _ in concurrency), default=0),
        utilisation=busy / seconds / trace.mean_limit(),
        wait_mean_seconds=sum(waits) / count if count else 0.0,
        wait_p50_seconds=quantile(waits, 0.5),
        wait_p95_seconds=quantile(waits, 0.95),
        wait_p99_seconds=quantile(waits, 0.99),
        waited_share=sum(wait > 0 for wait in waits) / count if count else 0.0,
        loop_lag_seconds=sum(lag.seconds for lag in trace.lags) / len(trace.lags) if trace.lags else 0.0,
        stalled_share=_stalled_share(trace.lags, mean, seconds),
        slower_when_busy=slower,
        obstacles=(),
    )
    await asyncio.sleep(0)
    return replace(usage, obstacles=await _obstacles(usage, trace, patience_seconds))


async def _obstacles(usage: PoolUsageAnalysis, trace: UsageTrace, patience_seconds: float) -> tuple[str, ...]:
    if usage.leases < LEASES_MIN:
        return (f"{usage.leases} leases were seen, {LEASES_MIN} are needed; watch for longer",)
    found = []
    if usage.is_saturated:
        found.append(
            f"{usage.utilisation:.0%} of the connection time was used: how much more is wanted cannot be seen; "
            "raise max_connections and watch again"
        )
    mean = usage.lease_mean_seconds
    if (
        usage.loop_lag_seconds > max(_LAG_SHARE_MAX * mean, _LAG_SECONDS_MIN)
        or usage.stalled_share > _STALLED_SHARE_MAX
    ):
        found.append(
            f"the event loop was {milliseconds(usage.loop_lag_seconds)} late on average, and later than a lease takes "
            f"({milliseconds(mean)}) for {usage.stalled_share:.1%} of the time: the process is what callers wait for; "
            "give it less work, or run more of them"
        )
    feedback = _feedback(trace, mean)
    if feedback < _FEEDBACK and usage.arrival_variation > _REGULAR:
        found.append(
            f"callers come more rarely while others are there (correlation {feedback:.2f}): they wait for their own "
            "leases before they ask again, so another size would change the load; raise max_connections step by step"
        )
    await asyncio.sleep(0)
    again = await replay(trace.callers, trace.limits, patience_seconds)
    modelled = quantile(sorted(again.waits), 0.99)
    larger = max(modelled, usage.wait_p99_seconds)
    if not found and abs(modelled - usage.wait_p99_seconds) > max(
        _MODEL_ERROR_MAX * larger, 0.002 + usage.loop_lag_seconds
    ):
        found.append(
            f"the queue accounts for a p99 wait of {milliseconds(modelled)}, "
            f"{milliseconds(usage.wait_p99_seconds)} were measured: callers waited for something else "
            "(connecting, validation, a server that was away)"
        )
    return tuple(found)


def _stalled_share(lags: tuple[Lag, ...], lease_seconds: float, seconds: float) -> float:
    return min(1.0, sum(lag.seconds for lag in lags if lag.seconds > lease_seconds) / seconds)


async def _concurrency(trace: UsageTrace) -> list[tuple[int, float]]:
    """Of each lease: how many were out when it began (itself included), and how long it took."""
    out: list[float] = []
    found = []
    spans = sorted((borrowed, returned) for _, borrowed, returned in trace.leases)
    for number, (borrowed, returned) in enumerate(spans, 1):
        if number % CALLERS_A_TURN == 0:
            await asyncio.sleep(0)
        while out and out[0] <= borrowed:
            heappop(out)
        heappush(out, returned)
        found.append((len(out), returned - borrowed))
    return found


async def _slower_when_busy(concurrency: list[tuple[int, float]]) -> float:
    """By which factor leases take longer while more connections than in the median are in use.

    Compared are medians; Mood's median test has to be five standard deviations sure.
    """
    if len(concurrency) < LEASES_MIN:
        return 1.0
    middle = sorted(number for number, _ in concurrency)[len(concurrency) // 2]
    few = sorted(seconds for number, seconds in concurrency if number <= middle)
    await asyncio.sleep(0)
    many = sorted(seconds for number, seconds in concurrency if number > middle)
    if min(len(few), len(many)) < LEASES_MIN / 5:
        return 1.0
    usual = quantile(few, 0.5)
    above = 1 - bisect_right(many, usual) / len(many)
    sure = above - 0.5 > 5 * 0.5 * (1 / len(few) + 1 / len(many)) ** 0.5
    ratio = quantile(many, 0.5) / usual if usual > 0 else 1.0
    return ratio if sure and ratio > _SLOWER_RATIO else 1.0


def _feedback(trace: UsageTrace, lease_seconds: float) -> float:
    """Correlation of how many are there (waiting or served) with how many come during half a lease's time after.

    Callers that do not know of each other come as often as ever (Poisson arrivals see time averages: R. W. Wolff,
    1982); in bursts, the correlation is positive. A fixed number of callers that ask again after their last lease, and
    a pause of about its length, gives -0.25 to -0.6.
    """
    asked = [at for at, _, _ in trace.leases]
    returned = sorted(at for _, _, at in trace.leases)
    width = max(lease_seconds / 2, trace.seconds / len(asked))
    bins = min(int(trace.seconds / width), _BINS_MAX)
    edges = [trace.until - number * width for number in range(bins, -1, -1)]
    places = [bisect_right(asked, edge) for edge in edges]
    there = [float(place - bisect_right(returned, edge)) for place, edge in zip(places, edges, strict=True)]
    coming = [float(after - before) for before, after in pairwise(places)]
    found = correlation(there[:-1], coming)
    return found if found * len(coming) ** 0.5 < -4 else 0.0


def milliseconds(seconds: float) -> str:
    """As a reader likes it."""
    return f"{seconds * 1000:.1f} ms"
