"""The queue of callers that wait for a connection: by priority, then first come, first served; bounded, with deadlines.

One timer serves the whole queue, armed for the earliest deadline: a caller that is served in time costs no timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Final

from sillar.context import Priority
from sillar.engines.connection import DriverConnection

RUN_MAX: Final = 4
"""How many callers in a row go before one of lower priority that waits."""


class Waiter:
    """A caller in the queue. Instants are on the loop's clock."""

    __slots__ = ("deadline", "future", "left", "priority", "since", "task")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, since: float, deadline: float, priority: Priority = Priority.NORMAL
    ) -> None:
        self.future: asyncio.Future[DriverConnection[Any]] = loop.create_future()
        self.since, self.deadline, self.priority = since, deadline, priority
        self.task = asyncio.current_task()
        self.left = False


class WaitingQueue:
    """Waiters in three lanes, each first in, first out.

    The first of the highest lane is served; after :data:`RUN_MAX` in a row the next lane has its turn, so that nobody
    starves.

    Args:
        expire: called with each waiter whose deadline has passed; returns the error it gets.
    """

    __slots__ = ("_expire", "_lanes", "_left", "_present", "_runs", "_timer")

    def __init__(self, expire: Callable[[Waiter], BaseException]) -> None:
        self._expire = expire
        self._lanes: tuple[deque[Waiter], ...] = tuple(deque() for _ in Priority)
        self._runs = [0] * len(self._lanes)
        self._present = 0  # waiters in the lanes
        self._left = 0  # of these, the ones that gave up
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._present - self._left

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for waiter in chain(*self._lanes) if not waiter.future.done())

    def join(self, loop: asyncio.AbstractEventLoop, timeout_seconds: float, priority: Priority) -> Waiter:
        """Put the calling task at the end of its lane."""
        now = loop.time()
        waiter = Waiter(loop, now, now + timeout_seconds, priority)
        self._lanes[priority].append(waiter)
        self._present += 1
        if self._timer is None or waiter.deadline < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(waiter.deadline, self._sweep, loop)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """A waiter gave up (its future is done); its place is cleared with the next ones.

        Its future was done before its task came round to say so: by then it may have been cleared already.
        """
        if waiter.left:
            return
        waiter.left = True
        self._left += 1
        if self._left > 64 and self._left * 2 > self._present:
            self._compact()

    def _compact(self) -> None:
        for lane in self._lanes:
            kept = [waiter for waiter in lane if not waiter.future.done()]
            for waiter in lane:
                waiter.left = waiter.left or waiter.future.done()
            lane.clear()
            lane.extend(kept)
        self._present, self._left = sum(map(len, self._lanes)), 0

    def pop(self) -> Waiter | None:
        """Take the caller whose turn it is."""
        if not self._present:
            return None
        turn: int | None = None
        for priority, lane in enumerate(self._lanes):
            while lane and lane[0].future.done():
                self._clear(lane.popleft())
            if not lane:
                continue
            if turn is not None:  # somebody lower waits, too
                if self._runs[turn] < RUN_MAX:
                    self._runs[turn] += 1
                    return self._taken(turn)
                self._runs[turn] = 0
            turn = priority
        if turn is None:
            return None
        self._runs[turn] = 0
        return self._taken(turn)

    def pop_last_below(self, priority: Priority) -> Waiter | None:
        """Take the caller of a lower priority that would be served last: its place is needed."""
        for lane in reversed(self._lanes[priority + 1 :]):
            while lane:
                waiter = lane.pop()
                if not waiter.future.done():
                    self._present -= 1
                    return waiter
                self._clear(waiter)
        return None

    def fail_all(self, error: Callable[[], BaseException]) -> None:
        """Tell everybody that nothing will come."""
        while (waiter := self.pop()) is not None:
            waiter.future.set_exception(error())

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _taken(self, priority: int) -> Waiter:
        waiter = self._lanes[priority].popleft()
        self._present -= 1
        return waiter

    def _clear(self, waiter: Waiter) -> None:
        """One that gave up is out of its lane."""
        self._present -= 1
        if waiter.left:
            self._left -= 1
        waiter.left = True

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time() + 0.001
        earliest: float | None = None
        for waiter in list(self):
            if waiter.deadline <= now:
                waiter.future.set_exception(self._expire(waiter))
                self.leave(waiter)
            elif earliest is None or waiter.deadline < earliest:
                earliest = waiter.deadline
        if earliest is not None:
            self._timer = loop.call_at(earliest, self._sweep, loop)
