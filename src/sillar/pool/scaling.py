"""When a pool changes its size by itself: up at once, down late, and not back and forth."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Final

from sillar.errors import UsageError
from sillar.pool.sizing import PoolOptimization

_SHRINK_AT: Final = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoScale:
    """Limits within which an optimizer changes the size of its pool.

    Attributes:
        min_connections, max_connections: ``max_connections`` of the pool stays between these. What the server allows
            is shared by all processes that connect to it: the upper one is this pool's share.
        wait_p99_seconds: the target: 99 of 100 callers wait no longer.
        interval_seconds: how often it looks.
        cool_down_seconds: for so long a smaller size must have been enough, and no change made, before the pool
            shrinks.

    Raises:
        UsageError: they contradict each other.
    """

    min_connections: int
    max_connections: int
    wait_p99_seconds: float = 0.010
    interval_seconds: float = 10.0
    cool_down_seconds: float = 300.0

    def __post_init__(self) -> None:
        if not 1 <= self.min_connections <= self.max_connections:
            raise UsageError(
                f"AutoScale needs 1 <= min_connections ({self.min_connections}) <= max_connections "
                f"({self.max_connections}); correct the limits"
            )
        for name in ("wait_p99_seconds", "interval_seconds", "cool_down_seconds"):
            require_positive(f"AutoScale.{name}", getattr(self, name))


@dataclass(frozen=True, slots=True)
class ScalingStep:
    """One change that was made.

    Attributes:
        at: when, on the loop's clock.
        before, after: ``max_connections``.
        reason: why.
    """

    at: float
    before: int
    after: int
    reason: str


class Scaler:
    """Decides on changes.

    It grows to the size that meets *half* the target as soon as the present size misses the target, so that noise
    around the border does not make it grow again; a saturated pool, of which nobody knows how much it lacks, grows to
    what is known to be needed at least. It shrinks to the largest of the sizes that met half the target during the
    whole cool-down, and only if that is at most 80 % of the present size.

    Args:
        limits: and pace.
    """

    def __init__(self, limits: AutoScale) -> None:
        self.limits = limits
        self._changed_at: float | None = None
        self._enough: list[tuple[float, int]] = []  # sizes that were enough, since the last one that was not smaller

    def decide(self, now: float, optimization: PoolOptimization, *, connections_min: int = 1) -> ScalingStep | None:
        """The change that is due.

        Args:
            now: on the loop's clock.
            optimization: what the last record says.
            connections_min: the pool's own ``min_connections``.
        """
        before = optimization.connections
        low = max(self.limits.min_connections, connections_min)
        high = max(low, self.limits.max_connections)
        step: ScalingStep | None = None
        if not low <= before <= high:
            step = ScalingStep(now, before, min(max(before, low), high), "back within the limits")
        elif optimization.connections_recommended is None:
            self._enough.clear()
            step = self._grown(now, optimization, high)
        else:
            step = self._moved(now, optimization, low, high)
        if step is None or step.after == before:
            return None
        self._changed_at = now
        self._enough.clear()
        return step

    def _grown(self, now: float, optimization: PoolOptimization, high: int) -> ScalingStep | None:
        usage, least = optimization.usage, optimization.connections_at_least
        if least is None or usage.wait_p99_seconds <= optimization.wait_p99_target_seconds:
            return None
        reason = f"{usage.utilisation:.0%} utilised, {least} are needed at least"
        return ScalingStep(now, optimization.connections, min(high, least), reason)

    def _moved(self, now: float, optimization: PoolOptimization, low: int, high: int) -> ScalingStep | None:
        before, reserve = optimization.connections, optimization.connections_with_reserve
        assert optimization.connections_recommended is not None
        assert reserve is not None
        target = optimization.wait_p99_target_seconds
        if optimization.connections_recommended > before:
            self._enough.clear()
            return ScalingStep(
                now, before, min(high, reserve),
                f"p99 wait {optimization.at(before).wait_p99_seconds * 1000:.1f} ms, target {target * 1000:.1f} ms",
            )  # fmt: skip
        if max(low, reserve) > _SHRINK_AT * before:
            self._enough.clear()
            return None
        self._enough.append((now, max(low, reserve)))
        since = self._enough[0][0] if self._changed_at is None else max(self._enough[0][0], self._changed_at)
        if now - since < self.limits.cool_down_seconds:
            return None
        after = max(size for _, size in self._enough)
        return ScalingStep(now, before, after, f"{after} were enough for {now - since:.0f} s")


def require_positive(name: str, value: float) -> None:
    """Refuse what is no positive, finite number.

    Raises:
        UsageError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value) or value <= 0:
        raise UsageError(f"{name} is {value!r}; a positive number is needed")
