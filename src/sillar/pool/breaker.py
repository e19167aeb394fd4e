"""A circuit breaker: it stops asking a node that fails, and tries it again with a few probes.

States and window after resilience4j (count-based sliding window, half-open with a bounded number of calls), back-off of
the open time after Envoy's outlier detection. What is different: a success costs one addition, since the window keeps
only where in the sequence of calls the failures were; and the rate has to stay high for a while before it opens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum

import structlog

from sillar.clock import Clock, Random, SystemClock, system_random
from sillar.config import BreakerConfig

_log = structlog.get_logger("sillar.pool")


class BreakerState(StrEnum):
    """What a breaker does with calls."""

    CLOSED = "closed"
    """They pass."""

    OPEN = "open"
    """They are refused, until it tries the node again."""

    HALF_OPEN = "half_open"
    """A few probes pass."""

    FORCED_OPEN = "forced_open"
    """They are refused because somebody said so."""

    DISABLED = "disabled"
    """They pass, and failures change nothing."""


_PASSING = (BreakerState.CLOSED, BreakerState.DISABLED)

Change = Callable[[BreakerState, BreakerState, str], None]


class Permit:
    """Leave for one call. Its outcome counts once, and only while the breaker has not moved on."""

    __slots__ = ("_breaker", "_period", "deadline")

    def __init__(self, breaker: CircuitBreaker, period: int, deadline: float | None) -> None:
        self._breaker: CircuitBreaker | None = breaker
        self._period = period
        self.deadline = deadline

    def succeeded(self) -> None:
        """The call came back in order."""
        if (breaker := self._take()) is not None:
            breaker._permit_succeeded(self)

    def failed(self, reason: str) -> None:
        """The node is to blame for a failure; ``reason`` is for messages."""
        if (breaker := self._take()) is not None:
            breaker._permit_failed(self, reason)

    def give_back(self) -> None:
        """The call says nothing of the node: it was cancelled, or never made. Somebody else may have the permit."""
        if (breaker := self._take()) is not None:
            breaker._permit_returned(self)

    def _take(self) -> CircuitBreaker | None:
        """The breaker, once, if it still waits for this outcome."""
        breaker, self._breaker = self._breaker, None
        if breaker is None:
            return None
        breaker.refresh()
        return breaker if breaker._period == self._period else None


class CircuitBreaker:
    """Closed, open, half-open.

    Args:
        config: window, rate and times.
        clock: where time comes from.
        random: where jitter comes from.
        name: what it protects, for messages.

    Closed, it looks at the last ``window_calls`` calls. When a failure finds that ``failure_rate`` of at least
    ``minimum_calls`` have failed, and every failure in the last ``patience`` seconds found it so, it opens for
    ``open_seconds`` (twice as long with each opening that follows within ``open_seconds_max`` of having closed; half of
    it is jitter). Then it is half-open: ``half_open_probes`` permits are given, no more; when all have succeeded it
    closes, when one fails, or has not come back within ``probe_timeout``, it opens again. Time passes lazily: whoever
    asks, or calls :meth:`refresh`, moves it on.

    Attributes:
        calls: calls since it was closed the last time. Whoever counts many successes adds to it directly.
        successes_total, failures_total: outcomes of permits and :meth:`record_failure` since the start.
        openings_total: how often it opened, by itself or by hand.
        refused_total: callers that got no permit.
        last_failure: what failed last.
        on_change: called with the old state, the new one and the reason, after each transition.
    """

    def __init__(
        self,
        config: BreakerConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        name: str = "default",
    ) -> None:
        self.config = config or BreakerConfig()
        self.name = name
        self._now = (clock or SystemClock()).monotonic
        self._random = random or system_random()
        self._state = self._passing_state
        self._period = 0  # one more with each transition: permits of an earlier one are void
        self.calls = 0
        self._failures: deque[int] = deque()  # numbers of the calls in the window that failed
        self._failing_since: float | None = None
        self._opened_at = self._closed_at = self._until = 0.0
        self._consecutive = 0
        self._issued: set[Permit] = set()
        self._probes_succeeded = 0
        self.successes_total = self.failures_total = self.openings_total = self.refused_total = 0
        self.reason = ""
        self.last_failure = ""
        self.on_change: list[Change] = []

    # --- state --------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> BreakerState:
        """The state now."""
        self.refresh()
        return self._state

    @property
    def is_passing(self) -> bool:
        """Whether calls pass without a permit: closed or disabled."""
        return self._state in _PASSING

    @property
    def retry_after_seconds(self) -> float | None:
        """When it tries the node again, or will know more; 0 while calls pass, None while it is open until somebody
        closes it."""
        now = self._now()
        if self._state is BreakerState.HALF_OPEN:
            deadlines = [permit.deadline for permit in self._issued if permit.deadline is not None]
            return max(0.0, min(deadlines, default=now) - now)
        if self._state in _PASSING:
            return 0.0
        return None if self._until == float("inf") else max(0.0, self._until - now)

    @property
    def opened_seconds(self) -> float:
        """How long ago it opened the last time."""
        return self._now() - self._opened_at

    @property
    def window(self) -> tuple[int, int]:
        """How many calls in the window failed, and how many there are."""
        while self._failures and self._failures[0] <= self.calls - self.config.window_calls:
            self._failures.popleft()
        return len(self._failures), min(self.calls, self.config.window_calls)

    def refresh(self) -> None:
        """Let time pass: an open one becomes half-open, a probe that is late has failed."""
        if self._state is BreakerState.HALF_OPEN:
            now = self._now()
            late = [permit for permit in self._issued if permit.deadline is not None and permit.deadline <= now]
            if late:
                self.failures_total += 1
                self.last_failure = "no answer"
                self._fail(f"a probe was not answered within probe_timeout={self.config.probe_timeout:g} s")
        elif self._state not in _PASSING and self._until <= self._now():
            self._change(BreakerState.HALF_OPEN, "its time is over")

    # --- calls --------------------------------------------------------------------------------------------------------

    def enter(self) -> Permit | None:
        """Leave for one call, or None. Its outcome has to be told to the permit, whatever becomes of the call."""
        self.refresh()
        if self._state in _PASSING:
            return Permit(self, self._period, None)
        probes = len(self._issued) + self._probes_succeeded
        if self._state is BreakerState.HALF_OPEN and probes < self.config.half_open_probes:
            permit = Permit(self, self._period, self._now() + self.config.probe_timeout)
            self._issued.add(permit)
            return permit
        self.refused_total += 1
        return None

    def record_failure(self, reason: str) -> None:
        """A call without a permit failed. Counts while closed; later the probes say how the node is."""
        self.failures_total += 1
        self.last_failure = reason
        if self._state is not BreakerState.CLOSED:
            return
        self.calls += 1
        self._failures.append(self.calls)
        failed, calls = self.window
        if calls < self.config.minimum_calls or failed < self.config.failure_rate * calls:
            self._failing_since = None
            return
        now = self._now()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self.config.patience:
            self._open(f"{failed} of the last {calls} calls failed, the last one with: {reason}")

    # --- by hand ------------------------------------------------------------------------------------------------------

    def open(self, reason: str, seconds: float | None = None) -> None:
        """Refuse calls: for ``seconds``, after which the node is probed, or until :meth:`close`."""
        self._until = float("inf") if seconds is None else self._now() + seconds
        self._change(BreakerState.FORCED_OPEN, reason)

    def close(self) -> None:
        """Let calls pass, whatever happened before."""
        self._consecutive = 0
        if self._state is not self._passing_state:
            self._change(self._passing_state, "closed by hand")
        else:
            self._forget()

    # --- within -------------------------------------------------------------------------------------------------------

    @property
    def _passing_state(self) -> BreakerState:
        return BreakerState.CLOSED if self.config.enabled else BreakerState.DISABLED

    def _permit_succeeded(self, permit: Permit) -> None:
        self.successes_total += 1
        if self._state is not BreakerState.HALF_OPEN:
            self.calls += 1
            return
        self._issued.discard(permit)
        self._probes_succeeded += 1
        if self._probes_succeeded >= self.config.half_open_probes:
            self._change(self._passing_state, f"{self._probes_succeeded} probes succeeded")

    def _permit_failed(self, permit: Permit, reason: str) -> None:
        if self._state is not BreakerState.HALF_OPEN:
            self.record_failure(reason)
            return
        self.failures_total += 1
        self.last_failure = reason
        self._fail(f"a probe failed with: {reason}")

    def _permit_returned(self, permit: Permit) -> None:
        self._issued.discard(permit)

    def _fail(self, reason: str) -> None:
        if self.config.enabled:
            self._open(reason)
        else:  # it was opened by hand for some time, and what follows is not its business
            self._change(BreakerState.DISABLED, reason)

    def _open(self, reason: str) -> None:
        now = self._now()
        if self._state is BreakerState.CLOSED and now - self._closed_at > self.config.open_seconds_max:
            self._consecutive = 0
        ceiling = min(self.config.open_seconds_max, self.config.open_seconds * 2.0 ** min(self._consecutive, 30))
        self._consecutive += 1
        self._until = now + self._random.uniform(ceiling / 2, ceiling)
        self._change(BreakerState.OPEN, reason)

    def _forget(self) -> None:
        self.calls = 0
        self._failures.clear()
        self._failing_since = None

    def _change(self, new: BreakerState, reason: str) -> None:
        old, self._state, self.reason = self._state, new, reason
        self._period += 1
        self._issued.clear()
        self._probes_succeeded = 0
        now = self._now()
        if new in _PASSING:
            self._closed_at = now
            self._forget()
        elif new is not BreakerState.HALF_OPEN:
            self._opened_at = now
            self.openings_total += 1
        _log.warning("circuit breaker", database=self.name, before=old, now=new, reason=reason)
        for listener in tuple(self.on_change):
            try:
                listener(old, new, reason)
            except Exception as error:
                _log.error("a listener to a circuit breaker failed", database=self.name, exc_info=error)

    def __repr__(self) -> str:
        failed, calls = self.window
        return f"<CircuitBreaker of {self.name!r}: {self._state}, {failed} of {calls} calls failed>"
