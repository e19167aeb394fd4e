"""How many commands are in the driver at once, and who waits for a turn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from sillar import errors


class CommandGate:
    """Lets as many commands into the driver as its pool has sockets; the others wait, first come, first served.

    The driver's own queue has no bound, and a command's timeout would replace ``connection_timeout`` there. Who is
    cancelled while waiting here has not touched the driver.

    Args:
        limit: commands at once.
        waiting_max: callers that may wait.
        timeout_seconds: how long one waits at most.
        numbers: the pool's figures for messages.

    Attributes:
        running: commands in the driver.
        waited, timeouts, refused, wait_seconds: callers since the start.
    """

    def __init__(self, limit: int, waiting_max: int, timeout_seconds: float, numbers: Callable[[], str]) -> None:
        self.limit, self.waiting_max, self.timeout_seconds = limit, waiting_max, timeout_seconds
        self.running = self.waited = self.timeouts = self.refused = 0
        self.wait_seconds = 0.0
        self._numbers = numbers
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Callers that wait."""
        return len(self._waiters)

    async def enter(self, timeout_seconds: float | None) -> float:
        """Take a turn; whoever has it calls leave() once.

        Args:
            timeout_seconds: how long to wait, where that is less than the gate's own.

        Returns:
            the seconds waited.

        Raises:
            PoolTimeoutError: no turn came in time.
            PoolExhaustedError: too many wait already.
        """
        if self.running < self.limit and not self._waiters:
            self.running += 1
            return 0.0
        if len(self._waiters) >= self.waiting_max:
            self.refused += 1
            raise errors.PoolExhaustedError(
                f"{self._numbers()}; waiting_max={self.waiting_max} callers wait already;"
                " raise max_connections, or shed load upstream"
            )
        return await self._wait(min(self.timeout_seconds, timeout_seconds or self.timeout_seconds))

    def leave(self) -> None:
        """Give the turn to the next one."""
        self.running -= 1
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self.running += 1
                waiter.set_result(None)
                return

    async def _wait(self, timeout_seconds: float) -> float:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        since = loop.time()
        self.waited += 1
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                self.leave()  # handed over and left in the same turn
            else:
                waiter.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                self.timeouts += 1
                raise errors.PoolTimeoutError(
                    f"{self._numbers()}; no turn came within {timeout_seconds:.3g} s;"
                    " raise max_connections, or run fewer commands at once"
                ) from None
            raise
        finally:
            waited = loop.time() - since
            self.wait_seconds += waited
        return waited
