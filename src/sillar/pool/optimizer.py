"""Watches a pool and says which size it needs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from math import ceil
from types import TracebackType
from typing import Final

import structlog

from sillar.errors import UsageError
from sillar.pool import forecast
from sillar.pool.analysis import PoolUsageAnalysis, analyze
from sillar.pool.forecast import LoadPrediction
from sillar.pool.pool import ConnectionPool
from sillar.pool.scaling import AutoScale, Scaler, ScalingStep, require_positive
from sillar.pool.sizing import PoolOptimization, Sizing, optimize
from sillar.pool.usage import UsageRecorder, UsageTrace

_log = structlog.get_logger("sillar.pool")
_WAIT_P99_SECONDS: Final = 0.010
_RECENT_INTERVALS: Final = 20
_STEPS_MAX: Final = 100


class PoolOptimizer:
    """From the callers of a pool: which size meets a wait target, why, and what the load will be.

    While it watches (from :meth:`start` to :meth:`stop`, or as an ``async with`` block) every lease is recorded: when
    it was asked for, when it was had, when it came back. The recorded callers are then replayed through a queue with as
    many servers as the size in question: a trace-driven G/G/c queue, first come first served, by the recursion of
    Kiefer and Wolfowitz (1955); see :mod:`sillar.pool.queueing`. So bursts, heavy tails and changing rates are in the
    prediction as they were in the record, and nothing is assumed of distributions. What is assumed: callers come when
    they come, whatever they waited before (no closed loop), and a lease takes as long at another size. Both are checked
    on the record, as far as it shows; and the model has to reproduce the waits that were measured at the size that
    there was. Where one of these fails, it says that it cannot tell. The forecast of the load is a damped trend; see
    :mod:`sillar.pool.forecast`.

    Args:
        pool: an open one of Sillar's own (PostgreSQL, MySQL, MariaDB).
        wait_p99_seconds: the target: 99 of 100 callers wait no longer for a connection. None: that of ``auto_scale``,
            or 10 ms.
        auto_scale: limits within which it changes the pool's size by itself; None: it only says.
        window_seconds: how far back the record goes.
        interval_seconds: the load's history is counted in intervals of this length; the last 720 are kept.
        leases_max: how many leases the record holds at most, some 150 bytes each.

    Attributes:
        pool: as given.
        steps: the last 100 changes that it made, the oldest first.

    Raises:
        UsageError: an argument is wrong.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        *,
        wait_p99_seconds: float | None = None,
        auto_scale: AutoScale | None = None,
        window_seconds: float = 300.0,
        interval_seconds: float = 5.0,
        leases_max: int = 20_000,
    ) -> None:
        if not isinstance(pool, ConnectionPool):
            raise UsageError(
                f"a PoolOptimizer needs a ConnectionPool, this is a {type(pool).__name__}; of several nodes each has "
                "its own (node.pool); where the driver owns the pool (MongoDB), or there is none (SQLite), set the "
                "limits in the configuration"
            )
        if auto_scale is not None and wait_p99_seconds is not None:
            raise UsageError("wait_p99_seconds is given twice; auto_scale has it already, leave out the other one")
        if auto_scale is not None:
            wait_p99_seconds = auto_scale.wait_p99_seconds
        self.pool = pool
        self.auto_scale = auto_scale
        self.wait_p99_seconds = _WAIT_P99_SECONDS if wait_p99_seconds is None else wait_p99_seconds
        self.interval_seconds = interval_seconds
        self.steps: deque[ScalingStep] = deque(maxlen=_STEPS_MAX)
        require_positive("wait_p99_seconds", self.wait_p99_seconds)
        require_positive("window_seconds", window_seconds)
        require_positive("interval_seconds", interval_seconds)
        if leases_max < 1000:
            raise UsageError(f"leases_max is {leases_max}; a record of at least 1000 is needed")
        self._recorder = UsageRecorder(
            pool, window_seconds=window_seconds, interval_seconds=interval_seconds, leases_max=leases_max
        )
        self._scaler = None if auto_scale is None else Scaler(auto_scale)
        self._scaling: asyncio.Task[None] | None = None
        self._started = False

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to watch, and to scale if that is wanted; once more does nothing.

        Raises:
            UsageError: the pool is not open in this loop, or another optimizer watches it.
        """
        if self.pool.recorder is self._recorder:
            return
        if self.pool._loop is not asyncio.get_running_loop():
            raise UsageError(
                f"pool {self.pool.name!r} is not open in this event loop; open it before the optimizer starts"
            )
        if self.pool.recorder is not None:
            raise UsageError(f"pool {self.pool.name!r} is watched by another optimizer; use that one, or stop it first")
        self._recorder.begin()
        self._started = True
        if self._scaler is not None:
            self._scaling = asyncio.get_running_loop().create_task(self._scale_again_and_again(self._scaler))
            self._scaling.add_done_callback(self._scaling_ended)

    async def stop(self) -> None:
        """Watch and scale no longer. The record stays and can be asked; the pool keeps its size."""
        self._recorder.end()
        scaling, self._scaling = self._scaling, None
        if scaling is not None:
            scaling.cancel()
            await asyncio.wait((scaling,))

    async def __aenter__(self) -> PoolOptimizer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # --- answers ----------------------------------------------------------------------------------------------------

    async def analyze_usage(self) -> PoolUsageAnalysis:
        """What the callers did, and whether something can be predicted from it.

        Raises:
            UsageError: it has never watched.
        """
        return await self._analyzed(self._trace())

    async def optimize_size(self, *, sizes: Iterable[int] = ()) -> PoolOptimization:
        """The smallest size that meets the target, with what the callers would have waited there and nearby.

        Takes the loop in turns of at most about ten milliseconds; of 20,000 leases a quarter of a second in all.

        Args:
            sizes: numbers of connections to predict the waits at, besides.

        Raises:
            UsageError: it has never watched, or a size is below 1.
        """
        sizes = tuple(sizes)
        if wrong := [size for size in sizes if size < 1]:
            raise UsageError(f"a pool of {wrong[0]} connections has no waits to predict; a size is at least 1")
        trace = self._trace()
        usage = await self._analyzed(trace)
        return await optimize(trace, usage, self.wait_p99_seconds, self.pool.connection_timeout, sizes=sizes)

    async def predict_load(self, horizon_seconds: float = 60.0) -> LoadPrediction:
        """How many callers will come, and which size they will need.

        The size is that of the recorded callers, coming faster or slower in proportion.

        Args:
            horizon_seconds: how far ahead.

        Raises:
            UsageError: it has never watched, or the horizon is not positive.
        """
        require_positive("horizon_seconds", horizon_seconds)
        trace = self._trace()
        history = list(self._recorder.intervals)
        seconds = self.interval_seconds
        recent = history[-_RECENT_INTERVALS:]
        callers = sum(each.callers for each in recent)
        if len(history) < forecast.INTERVALS_MIN:
            rate = callers / len(recent) / seconds if recent else 0.0
            reason = (
                f"{len(history)} intervals of {seconds:g} s were seen, {forecast.INTERVALS_MIN} are needed; "
                "watch for longer"
            )
            return LoadPrediction(seconds, len(history), horizon_seconds, rate, *(None,) * 6, reason)
        model = await forecast.fit([float(each.callers) for each in history])
        value, margin = model.forecast(ceil(horizon_seconds / seconds))
        now = max(0.0, model.level) / seconds
        if reason := forecast.doubt(model, value, margin):
            return LoadPrediction(seconds, len(history), horizon_seconds, now, *(None,) * 6, reason)
        predicted, high = value / seconds, (value + margin) / seconds
        lease_seconds = sum(each.busy_seconds for each in recent) / callers if callers else 0.0
        usage = await self._analyzed(trace)
        needed = needed_high = None
        if usage.can_predict:
            needed = await self._needed(trace, usage, predicted)
            needed_high = await self._needed(trace, usage, high)
        return LoadPrediction(
            interval_seconds=seconds,
            intervals=len(history),
            horizon_seconds=horizon_seconds,
            arrivals_per_second=now,
            arrivals_per_second_predicted=predicted,
            arrivals_per_second_low=max(0.0, value - margin) / seconds,
            arrivals_per_second_high=high,
            busy_predicted=predicted * lease_seconds,
            connections_needed=needed,
            connections_needed_high=needed_high,
            cannot_tell="the size needed: " + "; ".join(usage.obstacles) if usage.obstacles else "",
        )

    # --- within -----------------------------------------------------------------------------------------------------

    def _trace(self) -> UsageTrace:
        if not self._started:
            raise UsageError(
                f"pool {self.pool.name!r} was not watched; await optimizer.start() first, or use async with optimizer"
            )
        return self._recorder.trace()

    async def _analyzed(self, trace: UsageTrace) -> PoolUsageAnalysis:
        return await analyze(
            trace,
            database=self.pool.name,
            dedicated=self.pool._dedicated,
            patience_seconds=self.pool.connection_timeout,
        )

    async def _needed(self, trace: UsageTrace, usage: PoolUsageAnalysis, arrivals_per_second: float) -> int:
        faster = max(0.001, arrivals_per_second / usage.arrivals_per_second)
        sizing = Sizing(trace, self.pool.connection_timeout, dedicated=usage.dedicated, faster=faster)
        return await sizing.smallest(self.wait_p99_seconds)

    async def _scale_again_and_again(self, scaler: Scaler) -> None:
        while not self.pool._closing:
            await asyncio.sleep(scaler.limits.interval_seconds)
            optimization = await self.optimize_size()
            now = asyncio.get_running_loop().time()
            step = scaler.decide(now, optimization, connections_min=self.pool.min_connections)
            if step is None or self.pool.max_connections != step.before:
                continue
            self.pool.resize(max_connections=step.after)
            self.steps.append(step)
            _log.info("pool resized", database=self.pool.name, before=step.before, after=step.after, reason=step.reason)

    def _scaling_ended(self, task: asyncio.Task[None]) -> None:
        with suppress(asyncio.CancelledError):
            if (error := task.exception()) is not None:
                _log.error("pool is not scaled any more", database=self.pool.name, error=str(error), exc_info=error)

    def __repr__(self) -> str:
        return f"<PoolOptimizer of {self.pool!r}, p99 wait at most {self.wait_p99_seconds * 1000:g} ms>"
