"""Admission control: callers are told to come back later before everybody waits for too long.

A queue that is long for a moment is a burst, and does its work; one in which nobody is served soon any more is a
standing queue, and makes everything slower without serving anybody faster. CoDel tells them apart by the *least* wait
within an interval (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012), as servers have used it
since (Maurer, "Fail at Scale", ACM Queue 13(8), 2015). What is different here: whoever was let in is served, so that no
wait is wasted; refused is who comes while the queue is as long as connections come free within the target (Little's
law), callers of low priority before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sillar.context import Priority, current_priority
from sillar.errors import OverloadedError, PoolExhaustedError
from sillar.pool import messages

if TYPE_CHECKING:
    from sillar.pool.pool import ConnectionPool

_RETRY_SECONDS_MIN: Final = 0.1


class AdmissionControl:
    """Watches how long callers wait, and says who is let in. Instants are on the loop's clock.

    Args:
        target_seconds: the wait that is bearable; None lets everybody in.
        interval_seconds: for how long the least wait has to be above the target before anybody is refused.

    While the load is too high the queue stays about as long as the target says. As soon as somebody is served within
    half the target, everybody is let in again.

    Attributes:
        is_overloaded: callers are being refused.
        shed_total: callers that were refused, since the start.
    """

    def __init__(self, target_seconds: float | None, interval_seconds: float) -> None:
        self.target_seconds = target_seconds
        self.interval_seconds = interval_seconds
        self.is_overloaded = False
        self.shed_total = 0
        self._above_since: float | None = None  # since when nobody was served soon enough
        self._served_at = 0.0
        self._served = 0  # since the rate was taken
        self._rate_at = self._rate = 0.0  # callers served per second

    def served(self, priority: Priority, wait_seconds: float, now: float) -> None:
        """A caller got a connection after a wait."""
        elapsed = now - self._rate_at
        if elapsed >= self.interval_seconds:
            self._rate, self._rate_at, self._served = self._served / elapsed, now, 0
        self._served += 1
        if priority is Priority.HIGH or self.target_seconds is None:
            return  # who goes first says nothing of the others' waits
        self._forget_if_long_ago(now)
        self._served_at = now
        if wait_seconds <= (self.target_seconds / 2 if self.is_overloaded else self.target_seconds):
            self._above_since, self.is_overloaded = None, False
        elif self._above_since is None:
            self._above_since = now
        elif now - self._above_since >= self.interval_seconds:
            self.is_overloaded = True

    def refusal(self, priority: Priority, waiting: int, now: float) -> float | None:
        """Whether a caller has to go: in how many seconds it may come back; None lets it in.

        Args:
            priority: its priority; the highest is always let in.
            waiting: how many callers wait.
            now: the instant.
        """
        self._forget_if_long_ago(now)
        if self.target_seconds is None or not self.is_overloaded or priority is Priority.HIGH:
            return None
        longest = self._rate * self.target_seconds if priority is Priority.NORMAL else 0.0
        if waiting <= longest:
            return None
        self.shed_total += 1
        return max(waiting / self._rate if self._rate else self.interval_seconds, _RETRY_SECONDS_MIN)

    def _forget_if_long_ago(self, now: float) -> None:
        if now - self._served_at > 2 * self.interval_seconds:
            self._above_since, self.is_overloaded = None, False


def admit(pool: ConnectionPool, now: float) -> Priority:
    """Let the calling task into the queue of a pool: returns its priority. (A friend of the pool, which looks inside.)

    Where the queue is full, the last caller of a lower priority makes room.

    Raises:
        PoolExhaustedError, OverloadedError: it may not wait.
    """
    priority = current_priority()
    if priority is None:
        priority = Priority.NORMAL
    waiting = len(pool._waiting)
    error: PoolExhaustedError | OverloadedError | None = None
    if waiting and (seconds := pool._admission.refusal(priority, waiting, now)) is not None:
        error = messages.overloaded_error(pool, seconds)
    elif (excess := waiting - pool.config.waiting_max) >= 0 and excess >= pool._to_come():
        pool._refused += 1
        last = pool._waiting.pop_last_below(priority)
        if last is None:
            error = messages.exhausted_error(pool)
        else:
            last.future.set_exception(messages.exhausted_error(pool))
    if error is None:
        return priority
    if pool.recorder is not None:
        pool.recorder.lose(now)
    raise error
