"""The queue of callers that wait for a connection: first come, first served, bounded, with deadlines.

One timer serves the whole queue, armed for the earliest deadline: a caller that is served in time costs no timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from sillar.engines.connection import DriverConnection


class Waiter:
    """A caller in the queue. Instants are on the loop's clock."""

    __slots__ = ("deadline", "future", "left", "since", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop, since: float, deadline: float) -> None:
        self.future: asyncio.Future[DriverConnection[Any]] = loop.create_future()
        self.since, self.deadline = since, deadline
        self.task = asyncio.current_task()
        self.left = False


class WaitingQueue:
    """FIFO of waiters.

    Args:
        expire: called with each waiter whose deadline has passed; returns the error it gets.
    """

    __slots__ = ("_expire", "_left", "_queue", "_timer")

    def __init__(self, expire: Callable[[Waiter], BaseException]) -> None:
        self._expire = expire
        self._queue: deque[Waiter] = deque()
        self._left = 0  # waiters that gave up and are still in the deque
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._queue) - self._left

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for waiter in self._queue if not waiter.future.done())

    def join(self, loop: asyncio.AbstractEventLoop, timeout_seconds: float) -> Waiter:
        """Put the calling task at the end."""
        now = loop.time()
        waiter = Waiter(loop, now, now + timeout_seconds)
        self._queue.append(waiter)
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
        if self._left > 64 and self._left * 2 > len(self._queue):
            self._compact()

    def _compact(self) -> None:
        kept: deque[Waiter] = deque()
        for waiter in self._queue:
            if waiter.future.done():
                waiter.left = True
            else:
                kept.append(waiter)
        self._queue, self._left = kept, 0

    def pop(self) -> Waiter | None:
        """Take the first caller that still waits."""
        queue = self._queue
        while queue:
            waiter = queue.popleft()
            if not waiter.future.done():
                return waiter
            if waiter.left:
                self._left -= 1
            waiter.left = True
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
