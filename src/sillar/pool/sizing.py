"""Which size meets a wait target."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sillar.errors import UsageError
from sillar.pool.analysis import PoolUsageAnalysis, milliseconds
from sillar.pool.queueing import quantile, replay, servers_at_most
from sillar.pool.usage import UsageTrace

_QUARTERS = 4


@dataclass(frozen=True, slots=True)
class WaitPrediction:
    """How long the callers of a record would have waited at one size. Times are in seconds.

    Attributes:
        connections: the size (``max_connections``).
        utilisation: used share of the connection time, 0 to 1.
        wait_mean_seconds, wait_p50_seconds, wait_p99_seconds: the wait for a connection.
        wait_p99_best_seconds, wait_p99_worst_seconds: the p99 of the best and the worst quarter of the record: how much
            it moves by itself.
        unserved_share: share of the callers whose ``connection_timeout`` would have run out, 0 to 1.
    """

    connections: int
    utilisation: float
    wait_mean_seconds: float
    wait_p50_seconds: float
    wait_p99_seconds: float
    wait_p99_best_seconds: float
    wait_p99_worst_seconds: float
    unserved_share: float

    def __str__(self) -> str:
        spread = f"{self.wait_p99_best_seconds * 1000:.1f} … {milliseconds(self.wait_p99_worst_seconds)}"
        return (
            f"{self.connections:>11}  {self.utilisation:>8.0%}  {milliseconds(self.wait_p50_seconds):>10}  "
            f"{milliseconds(self.wait_p99_seconds):>10}  {spread:>20}  {self.unserved_share:>8.1%}"
        )


@dataclass(frozen=True, slots=True)
class PoolOptimization:
    """Which size meets the target, and why.

    Attributes:
        usage: the record that it rests on.
        wait_p99_target_seconds: the target: 99 of 100 callers wait no longer.
        connections: ``max_connections`` now.
        connections_recommended: the smallest size that meets the target for the recorded callers; None where that
            cannot be told.
        connections_with_reserve: the smallest size that still meets half the target.
        connections_at_least: of a saturated pool, which hides how much is wanted: what the callers that were seen would
            need for half the target, if that is more than there are; None otherwise.
        predictions: at the sizes that were looked at, the smallest first.
        cannot_tell: why there is no recommendation; empty if there is one.
    """

    usage: PoolUsageAnalysis
    wait_p99_target_seconds: float
    connections: int
    connections_recommended: int | None
    connections_with_reserve: int | None
    connections_at_least: int | None
    predictions: tuple[WaitPrediction, ...]
    cannot_tell: str

    def at(self, connections: int) -> WaitPrediction:
        """The prediction for a size.

        Raises:
            UsageError: there is none, because nothing can be told or the size was not asked for.
        """
        for prediction in self.predictions:
            if prediction.connections == connections:
                return prediction
        raise UsageError(
            f"no prediction for {connections} connections: "
            + (self.cannot_tell or f"ask for it with optimize_size(sizes=[{connections}])")
        )

    def explain(self) -> str:
        """The usage and a table of the sizes, for a reader."""
        lines = [self.usage.explain()]
        if self.predictions:
            lines.append(
                f"{'connections':>11}  {'utilised':>8}  {'wait p50':>10}  {'wait p99':>10}  "
                f"{'best … worst quarter':>20}  {'unserved':>8}"
            )
            lines += [f"{prediction}{self._remark(prediction.connections)}" for prediction in self.predictions]
        target = milliseconds(self.wait_p99_target_seconds)
        if self.connections_recommended is None:
            least = self.connections_at_least
            known = "cannot tell which size meets it" if least is None else f"at least {least} connections are needed"
            lines.append(f"target: p99 wait at most {target}; {known}; there are {self.connections}")
        else:
            lines.append(
                f"target: p99 wait at most {target}: {self.connections_recommended} connections meet it, "
                f"{self.connections_with_reserve} with reserve; there are {self.connections}"
            )
        if self.cannot_tell and self.usage.can_predict:
            lines.append(f"cannot tell: {self.cannot_tell}")
        return "\n".join(lines)

    __str__ = explain

    def _remark(self, connections: int) -> str:
        remarks = [
            word
            for word, size in (("now", self.connections), ("recommended", self.connections_recommended))
            if size == connections
        ]
        return f"  {', '.join(remarks)}" if remarks else ""


class Sizing:
    """Replays a trace at different sizes, each once.

    Args:
        trace: the record.
        patience_seconds: how long a caller waits at most.
        dedicated: connections outside the pool, which are part of each size.
        faster: how many times as fast the callers come as in the record.
    """

    def __init__(self, trace: UsageTrace, patience_seconds: float, *, dedicated: int = 0, faster: float = 1.0) -> None:
        since = trace.since
        self._callers: Sequence[tuple[float, float]] = (
            trace.callers
            if faster == 1.0
            else [(since + (asked - since) / faster, service) for asked, service in trace.callers]
        )
        self._seconds = trace.seconds / faster
        self._patience_seconds = patience_seconds
        self._dedicated = dedicated
        self._servers_max: int | None = None
        self._found: dict[int, WaitPrediction] = {}

    @property
    def predictions(self) -> tuple[WaitPrediction, ...]:
        """Those made so far, the smallest size first."""
        return tuple(self._found[size] for size in sorted(self._found))

    async def predict(self, connections: int) -> WaitPrediction:
        """The waits at a size."""
        found = self._found.get(connections)
        if found is None:
            found = self._found[connections] = await self._replayed(connections)
        return found

    async def smallest(self, wait_p99_seconds: float) -> int:
        """The smallest size that meets a target: with more servers nobody waits longer, so bisection finds it."""
        if self._servers_max is None:
            self._servers_max = await servers_at_most(self._callers)
        low, high = self._dedicated + 1, self._dedicated + self._servers_max
        while low < high:
            middle = (low + high) // 2
            found = await self.predict(middle)
            if found.wait_p99_seconds <= wait_p99_seconds and not found.unserved_share > 0.01:
                high = middle
            else:
                low = middle + 1
        await self.predict(low)
        return low

    async def _replayed(self, connections: int) -> WaitPrediction:
        servers = max(1, connections - self._dedicated)
        again = await replay(self._callers, [(0.0, servers)], self._patience_seconds)
        waits = again.waits
        count = max(1, len(waits))
        quarters = []
        for number in range(_QUARTERS):
            await asyncio.sleep(0)
            quarter = waits[count * number // _QUARTERS : count * (number + 1) // _QUARTERS]
            quarters.append(quantile(sorted(quarter), 0.99))
        await asyncio.sleep(0)
        ordered = sorted(waits)
        return WaitPrediction(
            connections=connections,
            utilisation=min(1.0, again.busy_seconds / (servers * max(self._seconds, 1e-9))),
            wait_mean_seconds=sum(waits) / count,
            wait_p50_seconds=quantile(ordered, 0.5),
            wait_p99_seconds=quantile(ordered, 0.99),
            wait_p99_best_seconds=min(quarters),
            wait_p99_worst_seconds=max(quarters),
            unserved_share=again.left / count,
        )


async def optimize(
    trace: UsageTrace,
    usage: PoolUsageAnalysis,
    wait_p99_seconds: float,
    patience_seconds: float,
    *,
    sizes: Iterable[int] = (),
) -> PoolOptimization:
    """Find the size.

    Args:
        trace: the record.
        usage: what it shows.
        wait_p99_seconds: the target.
        patience_seconds: how long a caller waits at most.
        sizes: to predict besides.
    """
    connections = usage.connections + usage.dedicated
    sizing = Sizing(trace, patience_seconds, dedicated=usage.dedicated)
    if not usage.can_predict:
        least = None
        if usage.is_saturated and usage.slower_when_busy == 1:
            seen = await sizing.smallest(wait_p99_seconds / 2)
            least = seen if seen > connections else None
        cannot_tell = "; ".join(usage.obstacles)
        return PoolOptimization(usage, wait_p99_seconds, connections, None, None, least, (), cannot_tell)
    recommended: int | None = await sizing.smallest(wait_p99_seconds)
    reserve: int | None = await sizing.smallest(wait_p99_seconds / 2)
    for size in (connections, *sizes):
        await sizing.predict(size)
    cannot_tell = ""
    if recommended is not None and recommended > connections and usage.slower_when_busy > 1:
        cannot_tell = (
            f"the recorded callers would need {recommended} connections, but leases take {usage.slower_when_busy:.1f} "
            "times as long while many are in use: the server is at its limit, and more connections make it slower; "
            "look for slow statements and locks first"
        )
        recommended = reserve = None
    return PoolOptimization(
        usage, wait_p99_seconds, connections, recommended, reserve, None, sizing.predictions, cannot_tell
    )
