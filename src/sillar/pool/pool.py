"""The connection pool for engines whose driver has none of its own.

Semantics after HikariCP, psycopg_pool and puddle: callers wait for the pool, never for a connect; the queue is first
come, first served and bounded; a connect is never cancelled by a caller that leaves; a connection in an unknown state
is restored before anybody gets it, or closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

from sillar.clock import Random, system_random
from sillar.config import ConnectionPoolConfig
from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.connection import DriverConnection
from sillar.engines.health import PoolHealth
from sillar.errors import ConnectError, DatabaseError, PoolClosedError, PoolExhaustedError, PoolTimeoutError, UsageError
from sillar.pool import health, messages
from sillar.pool.admission import AdmissionControl, admit
from sillar.pool.breaker import CircuitBreaker
from sillar.pool.closing import drain_and_close
from sillar.pool.controls import PoolControls
from sillar.pool.deadlock import detect_deadlock
from sillar.pool.dedicated import DedicatedConnections
from sillar.pool.guard import NodeGuard
from sillar.pool.housekeeping import housekeep
from sillar.pool.lease import DatabaseConnection
from sillar.pool.opener import Opener, once_more
from sillar.pool.place import calling_place
from sillar.pool.upkeep import Upkeep
from sillar.pool.usage import UsageRecorder
from sillar.pool.waiting import Waiter, WaitingQueue

_LATENCY_SECONDS: Final = 10.0  # time constant of the mean of how long leases are out


class ConnectionPool(PoolControls):
    """Physical connections to one node, shared by everybody who talks to it.

    Args:
        config: limits and times; the numbers of connections can be changed while running with :meth:`resize`.
        adapter: opens the connections.
        name: configured name of the database, for messages.
        open_connection: opens a connection, where it is not ``adapter.open_connection`` (fresh credentials, another
            node).
        random: where jitter comes from.

    A connection is *clean* when it is released without ``dirty``, outside a transaction: it goes to the next caller at
    once. Every other one is reset first (one round trip, in the background), and closed if that fails.

    Attributes:
        breaker: of the node; open, it has callers refused at once.
        on_error: told of every error that the server or the socket gives on one of the connections.
    """

    is_routed: ClassVar[bool] = False

    def __init__(
        self,
        config: ConnectionPoolConfig,
        adapter: DatabaseAdapter,
        *,
        name: str = "default",
        open_connection: Callable[[], Awaitable[DriverConnection[Any]]] | None = None,
        random: Random | None = None,
    ) -> None:
        self.config = config
        self.adapter = adapter
        self.name = name
        self.min_connections: int = config.min_connections
        self.max_connections: int = config.max_connections
        self.connection_timeout: float = config.connection_timeout
        self.idle_timeout: float = config.idle_timeout
        self._open_connection = open_connection or adapter.open_connection
        random = random or system_random()
        self._upkeep = Upkeep(name, self._put)
        self._opener = Opener(
            config,
            name,
            lambda: self._open_connection(),
            random,
            arrived=self._arrived,
            failed=self._connect_failed,
            over=self._serve,
            opened=self._adopt,
        )
        self._dedicated_connections = DedicatedConnections(adapter, self._opener, self._upkeep, self._dedicated_changed)
        self._idle: list[DriverConnection[Any]] = []
        self._leased: dict[DriverConnection[Any], asyncio.Task[Any] | None] = {}
        self._waiting = WaitingQueue(self._timeout_error)
        self._admission = AdmissionControl(config.queue_target, config.queue_interval)
        self._total = 0  # idle, leased, restoring, validating and connecting ones; not the dedicated
        self._dedicated = self._generation = 0
        self._validate_after = config.validate_after_idle
        self._closing = False
        self._suspension: Callable[[], DatabaseError] | None = None
        self._is_shut = False  # closing, suspended or behind an open breaker: nothing is kept, nobody is served
        self._guard = NodeGuard(self, random)
        self.breaker: CircuitBreaker = self._guard.breaker
        self.on_error: Callable[[DriverConnection[Any], DatabaseError], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now: Callable[[], float] = lambda: 0.0
        self._trouble: DatabaseError | None = None  # of the last connect or ping, until one succeeds
        self._housekeeper: asyncio.TimerHandle | None = None
        self._released = asyncio.Event()
        self._closed = self._lost = self._acquired = self._waited = self._timeouts = self._refused = 0
        self.recorder: UsageRecorder | None = None  # of an optimizer that watches
        self._wait_seconds = 0.0
        self._latency_seconds = self._latency_at = 0.0

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the pool in the running loop.

        With ``on_unavailable="fail"`` one connection is opened first, and its failure raised; with ``"wait"`` the pool
        opens at once and keeps trying in the background.

        Raises:
            ConnectError: the server cannot be reached or refuses, and the configuration says to fail.
            UsageError: it was closed.
        """
        if self._closing:
            raise UsageError(f"pool {self.name!r} was closed; a pool is opened once, make a new one")
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        if self.config.on_unavailable == "fail" and not self._is_shut:
            self._total += 1
            try:
                connection = await self._opener.open()
            except BaseException:
                self._total -= 1
                raise
            self._put(connection)
        housekeep(self)

    async def close(self, drain_seconds: float | None = None) -> None:
        """Refuse new callers, wait for leases to come back, then close everything.

        Args:
            drain_seconds: how long to wait; None is the configured ``drain_timeout``. Leases still out then are
                terminated.
        """
        if self._loop is not None:
            await drain_and_close(self, self.config.drain_timeout if drain_seconds is None else drain_seconds)

    def abandon(self) -> None:
        """Forget everything without touching a socket: for a forked child, whose sockets belong to the parent."""
        self._closing = self._is_shut = True
        self._loop = None

    # --- acquire and release ----------------------------------------------------------------------------------------

    def try_acquire(self, read: Any = None) -> DriverConnection[Any] | None:
        """A fresh, idle connection, or None. Never waits, never connects."""
        idle = self._idle
        if not idle:
            return None
        connection = idle[-1]
        now = self._now()
        if (
            now - connection.idle_since > self._validate_after
            or connection.generation != self._generation
            or now >= connection.expires_at
            or connection.is_closed()
        ):
            return None
        idle.pop()
        connection.leased = True
        connection.asked_at = connection.borrowed_at = now
        self._leased[connection] = asyncio.current_task()
        self._acquired += 1
        return connection

    async def acquire_connection(self, timeout_seconds: float | None = None, read: Any = None) -> DriverConnection[Any]:
        """A connection; waits in the queue while none is free.

        Args:
            timeout_seconds: how long to wait at most; the configured ``connection_timeout`` bounds it from above.
            read: for a source that routes.

        Raises:
            PoolTimeoutError: none came free in time.
            PoolExhaustedError: ``waiting_max`` callers wait already.
            PoolClosedError: the pool is closed or closing.
            OverloadedError: callers wait for longer than ``queue_target``, and it would be one more.
            BreakerOpenError, NodeUnavailableError: the node failed too often, or is out of service.
            NestedAcquireError: every connection is held by a task that waits for another one.
            ConnectError: the server refuses for good (password, database name, certificate).
        """
        connection = self.try_acquire()
        if connection is not None:
            return connection
        loop = self._loop
        if loop is None or self._is_shut:
            raise self._shut_error()
        priority = admit(self, loop.time())
        if not self._total and (refusal := self._opener.refusal(loop.time())) is not None:
            raise once_more(refusal)
        timeout = self.connection_timeout if timeout_seconds is None else min(timeout_seconds, self.connection_timeout)
        waiter = self._waiting.join(loop, timeout, priority)
        self._serve()
        if not waiter.future.done():
            detect_deadlock(self, waiter)
        self._waited += 1
        try:
            connection = await waiter.future
        except asyncio.CancelledError:
            if waiter.future.cancelled() or not waiter.future.done():
                waiter.future.cancel()
                self._waiting.leave(waiter)
            elif waiter.future.exception() is None:
                self.release_connection(waiter.future.result())  # handed over and cancelled in the same turn
            raise
        finally:
            self._wait_seconds += loop.time() - waiter.since
            if self.recorder is not None and connection is None:
                self.recorder.lose(waiter.since)
        return connection

    def release_connection(self, connection: DriverConnection[Any]) -> None:
        """Give a connection back. Returns at once.

        Raises:
            UsageError: it is not leased.
        """
        if not connection.leased:
            raise UsageError(f"a connection of pool {self.name!r} was released twice")
        connection.leased = False
        connection.holder = connection.place = None
        self._leased.pop(connection, None)
        now = self._now()
        seconds, mean = now - connection.borrowed_at, self._latency_seconds
        if seconds < mean:
            elapsed = now - self._latency_at
            seconds = mean + (seconds - mean) * (elapsed / (elapsed + _LATENCY_SECONDS))
        self._latency_seconds, self._latency_at = seconds, now
        if connection.dirty or connection.in_transaction or self._is_shut:
            self._released.set()
            if not (self._is_shut or connection.is_closed() or connection.generation != self._generation):
                self._upkeep.restore(connection)
                return
        self._put(connection, now)

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[DatabaseConnection]:
        """A new connection outside the pool, counted in its budget: for LISTEN, advisory locks, replication.

        It is closed at the end of the block, never handed on.

        Raises:
            PoolExhaustedError: the budget is spent on other connections that are all in use.
            ConnectError: it could not be opened.
        """
        if self._loop is None or self._is_shut:
            raise self._shut_error()
        if self._total + self._dedicated >= self.max_connections:
            if not self._idle:
                raise PoolExhaustedError(
                    f"{messages.numbers(self)}; no room for a dedicated connection; raise max_connections"
                ).at(database=self.name)
            self._retire(self._idle.pop(0))
        async with self._dedicated_connections.lease(self._now, calling_place()) as lease:
            yield lease

    # --- figures ----------------------------------------------------------------------------------------------------

    def stats(self) -> PoolHealth:
        """The figures now, without a round trip."""
        return health.figures(self)

    async def health_check(self) -> PoolHealth:
        """The figures, and whether an idle connection answers. Never queues behind application leases.

        When every connection is busy with other callers, that alone is no sign of ill health.
        """
        await health.ask(self)
        return self.stats()

    @property
    def leased_count(self) -> int:
        """How many connections are out."""
        return len(self._leased)

    @property
    def latency_seconds(self) -> float:
        """How long leases are out: an exponentially weighted mean over some ten seconds that rises at once to what is
        longer than itself ("peak EWMA" of Twitter's Finagle), and fades while nobody comes."""
        elapsed = self._now() - self._latency_at
        return self._latency_seconds * (_LATENCY_SECONDS / (elapsed + _LATENCY_SECONDS))

    def oldest_lease(self) -> DriverConnection[Any] | None:
        """The connection that is out for longest."""
        return min(self._leased, key=lambda connection: connection.borrowed_at, default=None)

    # --- within -----------------------------------------------------------------------------------------------------

    def _put(self, connection: DriverConnection[Any], now: float | None = None) -> None:
        """A connection in order: to the first waiter, or to the idle ones; or out, when it is old or one too many."""
        if now is None:
            now = self._now()
        if self.recorder is not None and connection.borrowed_at > connection.idle_since:  # it was leased until now
            self.recorder.record(connection.asked_at, connection.borrowed_at, now)
        if (
            connection.is_closed()
            or connection.generation != self._generation
            or now >= connection.expires_at
            or self._total + self._dedicated > self.max_connections
            or self._is_shut
        ):
            self._retire(connection)
            self._serve()
            return
        self.breaker.calls += 1  # one that succeeded
        waiter = self._waiting.pop()
        if waiter is None:
            connection.idle_since = now
            self._idle.append(connection)
            return
        connection.leased = True
        connection.asked_at, connection.borrowed_at = waiter.since, now
        self._leased[connection] = waiter.task
        self._acquired += 1
        self._admission.served(waiter.priority, now - waiter.since, now)
        waiter.future.set_result(connection)

    def _lend(self, connection: DriverConnection[Any], task: asyncio.Task[Any] | None) -> None:
        connection.leased = True
        connection.asked_at = connection.borrowed_at = self._now()
        self._leased[connection] = task

    def _dedicated_changed(self, change: int) -> None:
        self._dedicated += change
        if change < 0:
            self._released.set()
            self._serve()

    def _to_come(self) -> int:
        """Connections that callers may wait for though nobody gives one back."""
        room = max(0, self.max_connections - self._total - self._dedicated)
        return len(self._idle) + self._upkeep.restoring + self._upkeep.validating + self._opener.connecting + room

    def _serve(self) -> None:
        """Give waiters what is idle, then open what is missing."""
        room = self.max_connections - self._total - self._dedicated
        if self._is_shut or self._loop is None or (room <= 0 and not self._idle):
            self._guard.look()
            return
        now = self._now()
        upkeep, opener = self._upkeep, self._opener
        while self._idle and len(self._waiting) > upkeep.validating:
            connection = self._idle.pop()
            stale = now - connection.idle_since > self._validate_after
            if not stale or connection.is_closed() or now >= connection.expires_at:
                self._put(connection)
            else:
                upkeep.validate(connection, self.connection_timeout / 4)  # time is left to connect
        coming = upkeep.restoring + upkeep.validating + opener.connecting
        missing = max(len(self._waiting) - coming, self.min_connections - self._total)
        room = self.max_connections - self._total - self._dedicated
        for _ in range(min(missing, room, opener.allowed(now))):
            self._total += 1
            opener.begin()

    def _adopt(self, connection: DriverConnection[Any]) -> None:
        connection.pool = self
        connection.on_error = self._reported

    def _reported(self, connection: DriverConnection[Any], error: DatabaseError) -> None:
        """An error that the server or the socket gave on one of the connections."""
        self._guard.reported(connection, error)
        if self.on_error is not None:
            self.on_error(connection, error)

    def _arrived(self, connection: DriverConnection[Any]) -> None:
        self._trouble = None
        self._put(connection)
        self._serve()

    def _connect_failed(self, error: DatabaseError | None) -> None:
        self._total -= 1
        if error is None:
            return
        self._trouble = error
        self._guard.connect_failed(error)
        if isinstance(error, ConnectError) and error.permanent and not self._total:
            self._waiting.fail_all(lambda: once_more(error))

    def _retire(self, connection: DriverConnection[Any]) -> None:
        self._total -= 1
        self._closed += 1
        if not connection.is_closed():
            self._upkeep.part(connection)
        elif not self._closing:
            self._lost += 1

    def _timeout_error(self, waiter: Waiter) -> PoolTimeoutError:
        self._timeouts += 1
        self._guard.waited_in_vain()
        waited = self._now() - waiter.since
        holds_one = waiter.task in self._leased.values()
        return messages.timeout_error(self, waited, self._opener.last_error, holds_one=holds_one)

    def _shut_error(self) -> DatabaseError:
        """Why nobody is served."""
        if self._suspension is not None and not self._closing:
            return self._suspension()
        if self._loop is not None and not self._closing:
            return self._guard.refusal()
        return self._closed_error()

    def _closed_error(self) -> PoolClosedError:
        return messages.closed_error(self.name, was_open=self._loop is not None)

    def __repr__(self) -> str:
        return f"<ConnectionPool {messages.numbers(self)}>"

    def __reduce__(self) -> Any:
        raise UsageError("a connection pool cannot be pickled; open one in each process")
