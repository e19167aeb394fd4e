"""What a pool's callers did: when they asked, how long they waited, how long they kept their connection."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from sillar.pool.pool import ConnectionPool

_TICK_SECONDS: Final = 0.05
_TIMER_GRAIN_SECONDS: Final = 0.002  # a selector waits for whole milliseconds, so a timer is late by that anyway
_INTERVALS_MAX: Final = 720


class Lag(NamedTuple):
    """How late the event loop was at one instant.

    Attributes:
        at: the instant, on the loop's clock.
        seconds: how much later than due a timer ran, and what was ready then.
    """

    at: float
    seconds: float


class Interval(NamedTuple):
    """The load of one interval.

    Attributes:
        callers: that were served, or left without a connection.
        busy_seconds: connection time that the served ones used.
    """

    callers: int
    busy_seconds: float


@dataclass(frozen=True, slots=True)
class UsageTrace:
    """A record of callers, in the order in which they asked. Instants on the loop's clock, in seconds.

    Attributes:
        since, until: from when to when.
        callers: when each asked, and for how long it had a connection (reset included). For one that got none, the
            time of the one before it stands in.
        leases: of those that were served: when each asked, got a connection, and had given it back.
        unserved: how many got none: refused, out of time, cancelled, or still waiting at the end.
        limits: how many connections there could be, from which instant on.
        lags: of the event loop.
    """

    since: float
    until: float
    callers: tuple[tuple[float, float], ...]
    leases: tuple[tuple[float, float, float], ...]
    unserved: int
    limits: tuple[tuple[float, int], ...]
    lags: tuple[Lag, ...]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.until - self.since

    def mean_limit(self) -> float:
        """How many connections there could be, on average over the record."""
        ends = [at for at, _ in self.limits[1:]] + [self.until]
        starts = [self.since, *(at for at, _ in self.limits[1:])]
        seconds = [max(0.0, min(end, self.until) - max(at, self.since)) for at, end in zip(starts, ends, strict=True)]
        if not sum(seconds):
            return float(self.limits[-1][1])
        return sum(part * limit for part, (_, limit) in zip(seconds, self.limits, strict=True)) / sum(seconds)


class UsageRecorder:
    """Told by a pool of every lease that is over and of every caller that left without one.

    That costs about 0.3 µs a lease; nothing while no recorder is there. A timer looks 20 times a second how late the
    event loop is and whether the pool's limit was changed, and closes the intervals of the load.

    Args:
        pool: whose recorder it becomes with :meth:`begin`.
        window_seconds: how far back it remembers.
        interval_seconds: how long the intervals are whose load it counts; the last 720 are kept.
        leases_max: how many leases it remembers at most, some 150 bytes each.

    Attributes:
        intervals: the load so far, the oldest first.
    """

    def __init__(
        self, pool: ConnectionPool, *, window_seconds: float, interval_seconds: float, leases_max: int
    ) -> None:
        self._pool = pool
        self._window_seconds = window_seconds
        self._interval_seconds = interval_seconds
        self._leases: deque[tuple[float, float, float]] = deque(maxlen=leases_max)
        self._lost: deque[float] = deque(maxlen=leases_max)
        self._lags: deque[Lag] = deque(maxlen=max(1, int(window_seconds / _TICK_SECONDS)))
        self._limits: deque[tuple[float, int]] = deque(maxlen=1000)
        self.intervals: deque[Interval] = deque(maxlen=_INTERVALS_MAX)
        self._callers, self._busy_seconds = 0, 0.0  # of the interval that runs
        self._interval_ends = self._since = 0.0
        self._until: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    # --- called by the pool -----------------------------------------------------------------------------------------

    def record(self, asked_at: float, borrowed_at: float, returned_at: float) -> None:
        """A lease is over, and the connection in order again. Instants on the loop's clock."""
        self._leases.append((asked_at, borrowed_at, returned_at))
        self._callers += 1
        self._busy_seconds += returned_at - borrowed_at

    def lose(self, asked_at: float) -> None:
        """A caller left without a connection: refused, out of time, cancelled."""
        self._lost.append(asked_at)
        self._callers += 1

    # --- life -------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Watch the pool."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._since, self._until = now, None
        self._interval_ends = now + self._interval_seconds
        self._note_limit(now)
        self._pool.recorder = self
        self._timer = loop.call_later(_TICK_SECONDS, self._tick, loop)

    def end(self) -> None:
        """Watch no longer; what was recorded stays."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._until = asyncio.get_running_loop().time()
        if self._pool.recorder is self:
            self._pool.recorder = None

    def trace(self) -> UsageTrace:
        """The record of the window until now, with the leases and the waits that are not over yet."""
        now = asyncio.get_running_loop().time() if self._until is None else self._until
        leases = list(self._leases)
        since = max(self._since, now - self._window_seconds)
        if leases and len(leases) == self._leases.maxlen:
            since = max(since, leases[0][2])
        served = [(asked, borrowed, returned) for asked, borrowed, returned in leases if returned >= since]
        unserved = [asked for asked in self._lost if asked >= since]
        if self._until is None:
            self._note_limit(now)
            served += [(each.asked_at, each.borrowed_at, now) for each in self._pool._leased]
            unserved += [waiter.since for waiter in self._pool._waiting]
        return trace_of(
            served,
            unserved,
            since=since,
            until=now,
            limits=tuple(self._limits),
            lags=tuple(lag for lag in self._lags if lag.at >= since),
        )

    # --- within -----------------------------------------------------------------------------------------------------

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        assert self._timer is not None
        late = max(0.0, now - self._timer.when() - _TIMER_GRAIN_SECONDS)
        loop.call_soon(self._note_lag, loop, now, late)
        self._note_limit(now)
        while now >= self._interval_ends:
            self.intervals.append(Interval(self._callers, self._busy_seconds))
            self._callers, self._busy_seconds = 0, 0.0
            self._interval_ends += self._interval_seconds
        self._timer = loop.call_later(_TICK_SECONDS, self._tick, loop)

    def _note_lag(self, loop: asyncio.AbstractEventLoop, ticked_at: float, late: float) -> None:
        now = loop.time()
        self._lags.append(Lag(now, late + now - ticked_at))

    def _note_limit(self, now: float) -> None:
        limit = max(1, self._pool.max_connections - self._pool._dedicated)
        if not self._limits or self._limits[-1][1] != limit:
            self._limits.append((now, limit))


def trace_of(
    served: list[tuple[float, float, float]],
    unserved: list[float],
    *,
    since: float,
    until: float,
    limits: tuple[tuple[float, int], ...],
    lags: tuple[Lag, ...] = (),
) -> UsageTrace:
    """Put a record in order.

    Args:
        served: when each asked, got a connection, and had given it back.
        unserved: when each asked.
        since, until, limits, lags: as in the trace.
    """
    leases = sorted(served)
    mixed = [(asked, returned - borrowed) for asked, borrowed, returned in leases]
    if unserved:
        mixed += [(asked, -1.0) for asked in unserved]
        mixed.sort()
        service = leases[0][2] - leases[0][1] if leases else 0.0
        for place, (asked, own) in enumerate(mixed):
            if own < 0:
                mixed[place] = asked, service
            else:
                service = own
    return UsageTrace(since, until, tuple(mixed), tuple(leases), len(unserved), limits, lags)
