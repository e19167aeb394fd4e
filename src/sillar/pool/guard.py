"""The circuit breaker of a pool's node: what it hears, what happens when it opens, and who tries the node again.

No caller's work is spent on finding out whether the node is back: the pool probes it by itself, one handshake and one
ping after another, so recovery needs no traffic, and a readiness check that keeps traffic away does no harm. (A friend
of the pool, which looks inside.)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sillar.clock import Random
from sillar.engines.connection import DriverConnection
from sillar.errors import BreakerOpenError, CommitUnknownError, ConnectError, ConnectionLostError, DatabaseError
from sillar.pool import messages
from sillar.pool.breaker import BreakerState, CircuitBreaker, Permit

if TYPE_CHECKING:
    from sillar.pool.pool import ConnectionPool


class NodeGuard:
    """Feeds the breaker of a pool, and does what its state asks for.

    Args:
        pool: the pool.
        random: where jitter comes from.
    """

    def __init__(self, pool: ConnectionPool, random: Random) -> None:
        self._pool = pool
        self.breaker = CircuitBreaker(pool.config.breaker, random=random, name=pool.name)
        self.breaker.on_change.append(self._changed)
        self._timer: asyncio.TimerHandle | None = None
        self._probing: asyncio.Task[None] | None = None

    # --- what it hears ------------------------------------------------------------------------------------------------

    def reported(self, connection: DriverConnection[Any], error: DatabaseError) -> None:
        """An error that the server or the socket gave on a connection. A lost connection counts once."""
        lost = isinstance(error, ConnectionLostError)
        if not lost and not (isinstance(error, CommitUnknownError) and connection.is_closed()):
            return
        if connection.generation == self._pool._generation:  # else it was given up, and that it breaks is no news
            connection.generation = -1
            self.breaker.record_failure(type(error).__name__)

    def connect_failed(self, error: DatabaseError) -> None:
        """A handshake failed. A refusal for good (a wrong password) is none of the breaker's business: callers get it
        at once as it is, and its remedy is another one."""
        if not (isinstance(error, ConnectError) and error.permanent):
            self.breaker.record_failure(type(error).__name__)

    def waited_in_vain(self) -> None:
        """A caller waited for a connection in vain. That is the node's fault where none exists and connects fail."""
        pool = self._pool
        if pool._opener.failures and pool._total == pool._opener.connecting:
            asyncio.get_running_loop().call_soon(self.breaker.record_failure, "PoolTimeoutError")

    def refusal(self) -> BreakerOpenError:
        """The error for a caller while the breaker is not closed."""
        return messages.breaker_error(self._pool, self.breaker)

    # --- what it does -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Probe the node if it is time to and nobody does."""
        pool = self._pool
        if pool._closing or pool._suspension is not None or pool._loop is None or self._probing is not None:
            return
        if self.breaker.state is BreakerState.HALF_OPEN:
            self._probing = task = pool._loop.create_task(self._probe())
            pool._opener.tasks.add(task)
            task.add_done_callback(pool._opener.tasks.discard)

    def forget(self) -> None:
        """What the node did before does not count any more; a breaker opened by hand stays so."""
        if self.breaker.state is not BreakerState.FORCED_OPEN:
            self.breaker.close()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _changed(self, old: BreakerState, new: BreakerState, reason: str) -> None:
        pool = self._pool
        self.close()
        pool._decide()
        if pool._loop is None or pool._closing:
            return
        if self.breaker.is_passing:
            pool._trouble = None
            pool._opener.forget_failures()
            pool._opener.take_care()
            pool._serve()
        elif new is BreakerState.HALF_OPEN:
            self.look()
        else:
            pool._retire_idle()
            pool._waiting.fail_all(self.refusal)
            self._arm()

    def _arm(self) -> None:
        seconds = self.breaker.retry_after_seconds
        if seconds is not None and self._pool._loop is not None:
            self._timer = self._pool._loop.call_later(seconds + 0.001, self._time_is_over)

    def _time_is_over(self) -> None:
        self._timer = None
        self.breaker.refresh()
        if self._timer is None and not self.breaker.is_passing and self.breaker.state is not BreakerState.HALF_OPEN:
            self._arm()  # the loop's clock was ahead of the breaker's

    async def _probe(self) -> None:
        pool = self._pool
        generation = pool._generation
        opened: list[DriverConnection[Any]] = []
        try:
            while (permit := self._permit(opened)) is not None:
                await self._probe_once(permit, opened)
        finally:
            self._probing = None
            for connection in opened:
                if self.breaker.is_passing:
                    pool._put(connection)
                else:
                    pool._retire(connection)
            if generation != pool._generation and pool._loop is not None:  # given up in favour of another one
                pool._loop.call_soon(self.look)

    def _permit(self, opened: list[DriverConnection[Any]]) -> Permit | None:
        """Leave for one probe, while the breaker wants any and there is a connection for it, or room for one."""
        pool = self._pool
        if self.breaker.state is not BreakerState.HALF_OPEN or pool._suspension is not None:
            return None
        if not opened and not self._has_room:
            return None  # a connection that comes back makes room, and looks again
        return self.breaker.enter()

    @property
    def _has_room(self) -> bool:
        return self._pool._total + self._pool._dedicated < self._pool.max_connections

    async def _probe_once(self, permit: Permit, opened: list[DriverConnection[Any]]) -> None:
        pool = self._pool
        connection: DriverConnection[Any] | None = None
        if self._has_room:
            pool._total += 1
        else:  # a limit below the number of probes
            connection = opened.pop()
        try:
            async with asyncio.timeout(self.breaker.config.probe_timeout):
                if connection is None:
                    pool._opener.connecting += 1
                    try:
                        connection = await pool._opener.open()
                    finally:
                        pool._opener.connecting -= 1
                await connection.ping()
        except (DatabaseError, TimeoutError) as error:
            self._drop(connection)
            late = ConnectError(f"a probe was not answered within {self.breaker.config.probe_timeout:g} s")
            pool._trouble = error if isinstance(error, DatabaseError) else late
            permit.failed(type(error).__name__)
        except BaseException:
            self._drop(connection)
            permit.give_back()
            raise
        else:
            opened.append(connection)
            permit.succeeded()

    def _drop(self, connection: DriverConnection[Any] | None) -> None:
        self._pool._total -= 1
        if connection is not None:
            self._pool._closed += 1
            connection.terminate()
