"""How many callers will come, from how many came.

The model is exponential smoothing with a damped additive trend (C. C. Holt, 1957; E. S. Gardner and E. McKenzie,
"Forecasting trends in time series", Management Science 31, 1985), in the error-correction form ETS(A,Ad,N) of R. J.
Hyndman, A. B. Koehler, J. K. Ord and R. D. Snyder, "Forecasting with Exponential Smoothing" (2008), from where the
variance of the forecast is, too (chapter 6). Whether the series has just changed is asked of the tracking signal of
D. W. Trigg ("Monitoring a forecasting system", Operational Research Quarterly 15, 1964).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

INTERVALS_MIN: Final = 20

_SETTLING: Final = 5  # errors of the first steps say more of how it began than of how well it follows
_NINETY_PERCENT: Final = 1.645  # standard deviations to both sides
_TRACKING_SHARE: Final = 0.1
_TRACKING_MAX: Final = 0.75
_GRID: Final = tuple(
    (alpha, beta, phi)
    for alpha in (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
    for beta in (0.0, 0.1 * alpha, 0.4 * alpha)
    for phi in ((0.8, 0.95) if beta else (0.8,))
)


@dataclass(frozen=True, slots=True)
class LoadPrediction:
    """How many callers a pool will have.

    Attributes:
        interval_seconds: the load was counted in intervals of this length.
        intervals: how many there were.
        horizon_seconds: how far ahead this looks.
        arrivals_per_second: callers a second now, smoothed.
        arrivals_per_second_predicted: at the horizon; None where that cannot be told.
        arrivals_per_second_low, arrivals_per_second_high: between these with a probability of 90 %.
        busy_predicted: connections in use on average then, if a lease takes as long as now; None where unknown.
        connections_needed: the size that meets the wait target then; None where that cannot be told.
        connections_needed_high: the size for ``arrivals_per_second_high``.
        cannot_tell: what cannot be told, and why; empty if everything can.
    """

    interval_seconds: float
    intervals: int
    horizon_seconds: float
    arrivals_per_second: float
    arrivals_per_second_predicted: float | None
    arrivals_per_second_low: float | None
    arrivals_per_second_high: float | None
    busy_predicted: float | None
    connections_needed: int | None
    connections_needed_high: int | None
    cannot_tell: str

    def explain(self) -> str:
        """A few lines for a reader."""
        lines = [
            f"{self.arrivals_per_second:.1f} callers a second now, from {self.intervals} intervals of "
            f"{self.interval_seconds:g} s"
        ]
        if self.arrivals_per_second_predicted is not None:
            lines.append(
                f"in {self.horizon_seconds:g} s: {self.arrivals_per_second_predicted:.1f} a second "
                f"(90 %: {self.arrivals_per_second_low:.1f} to {self.arrivals_per_second_high:.1f}), "
                f"{self.busy_predicted:.1f} connections in use on average"
            )
        if self.connections_needed is not None:
            lines.append(
                f"connections needed then: {self.connections_needed} "
                f"({self.connections_needed_high} for the upper end of the callers)"
            )
        if self.cannot_tell:
            lines.append(f"cannot tell: {self.cannot_tell}")
        return "\n".join(lines)

    __str__ = explain


@dataclass(frozen=True, slots=True)
class Smoothing:
    """A fitted model.

    Attributes:
        level, trend: of the last interval; the trend is per interval.
        alpha, beta, phi: how quickly both follow, and what is left of the trend after each interval.
        deviation: standard deviation of the one-step errors.
        tracking: smoothed error over smoothed absolute error, -1 to 1: far from 0 if the series has just changed.
    """

    level: float
    trend: float
    alpha: float
    beta: float
    phi: float
    deviation: float
    tracking: float

    def forecast(self, steps: int) -> tuple[float, float]:
        """The value that many intervals ahead, and half the width of the range that holds it in 90 of 100 cases."""
        value, damped, variance = self.level, 0.0, 1.0
        for step in range(1, steps + 1):
            damped += self.phi**step
            if step < steps:
                variance += (self.alpha + self.beta * damped) ** 2
        value += self.trend * damped
        return value, _NINETY_PERCENT * self.deviation * variance**0.5


async def fit(values: Sequence[float]) -> Smoothing:
    """The parameters of a grid that had the smallest one-step errors. At least 6 values are needed."""
    best: tuple[float, Smoothing] | None = None
    for alpha, beta, phi in _GRID:
        squares, model = _smoothed(values, alpha, beta, phi)
        if best is None or squares < best[0]:
            best = squares, model
        await asyncio.sleep(0)
    assert best is not None
    return best[1]


def _smoothed(values: Sequence[float], alpha: float, beta: float, phi: float) -> tuple[float, Smoothing]:
    level = sum(values[:_SETTLING]) / _SETTLING
    trend = squares = tracked = tracked_absolute = 0.0
    for number, value in enumerate(values):
        expected = level + phi * trend
        error = value - expected
        level = expected + alpha * error
        trend = phi * trend + beta * error
        if number >= _SETTLING:
            squares += error * error
            tracked += _TRACKING_SHARE * (error - tracked)
            tracked_absolute += _TRACKING_SHARE * (abs(error) - tracked_absolute)
    deviation = (squares / (len(values) - _SETTLING)) ** 0.5
    tracking = tracked / tracked_absolute if tracked_absolute else 0.0
    return squares, Smoothing(level, trend, alpha, beta, phi, deviation, tracking)


def doubt(model: Smoothing, value: float, margin: float) -> str:
    """Why a forecast is not to be relied on; empty if it is."""
    if abs(model.tracking) > _TRACKING_MAX:
        return (
            f"the load has just changed (tracking signal {model.tracking:.2f}) and the forecast has not settled; "
            "ask again later"
        )
    if margin > 0.5 * max(value, 0.0):
        return (
            f"the load varies by more than half of itself until then ({value:.1f} ± {margin:.1f} callers an interval); "
            "use longer intervals or a shorter horizon"
        )
    return ""
