"""The connection pool for engines whose driver has none of its own.

Semantics after HikariCP, psycopg_pool and puddle: callers wait for the pool, never for a connect; the queue is first
come, first served and bounded; a connect is never cancelled by a caller that leaves; a connection in an unknown state
is restored before anybody gets it, or closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog

from sillar.clock import Random, system_random
from sillar.config import ConnectionPoolConfig
from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.connection import DriverConnection
from sillar.engines.health import PoolHealth
from sillar.errors import (
    ConnectError,
    DatabaseError,
    NestedAcquireError,
    PoolClosedError,
    PoolExhaustedError,
    PoolTimeoutError,
    UsageError,
)
from sillar.pool.lease import DatabaseConnection
from sillar.pool.place import calling_place
from sillar.pool.waiting import Waiter, WaitingQueue

_log = structlog.get_logger("sillar.pool")
_GOODBYE_SECONDS = 2.0
_RESET_SECONDS = 5.0
_HOUSEKEEPING_SECONDS = 5.0


class ConnectionPool:
    """Physical connections to one node, shared by everybody who talks to it.

    Args:
        config: limits and times; all of them can be changed while running with :meth:`resize`.
        adapter: opens the connections.
        name: configured name of the database, for messages.
        open_connection: opens a connection, where it is not ``adapter.open_connection`` (fresh credentials, another
            node).
        random: where jitter comes from.

    A connection is *clean* when it is released without ``dirty``, outside a transaction: it goes to the next caller at
    once. Every other one is reset first (one round trip, in the background), and closed if that fails.
    """

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
        self._random = random or system_random()
        self._idle: list[DriverConnection[Any]] = []
        self._leased: dict[DriverConnection[Any], asyncio.Task[Any] | None] = {}
        self._waiting = WaitingQueue(self._timeout_error)
        self._total = 0  # idle, leased, restoring and connecting ones; not the dedicated
        self._connecting = 0
        self._restoring = 0
        self._dedicated = 0
        self._generation = 0
        self._validate_after = config.validate_after_idle
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._now: Callable[[], float] = lambda: 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._retry_at = 0.0
        self._retry_timer: asyncio.TimerHandle | None = None
        self._last_error: DatabaseError | None = None
        self._housekeeper: asyncio.TimerHandle | None = None
        self._released = asyncio.Event()
        self._opened = self._closed = self._lost = self._connect_failures = 0
        self._acquired = self._waited = self._timeouts = self._refused = self._resets = 0
        self._wait_seconds = 0.0

    # --- life -------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the pool in the running loop.

        With ``on_unavailable="fail"`` one connection is opened first, and its failure raised; with ``"wait"`` the pool
        opens at once and keeps trying in the background.

        Raises:
            ConnectError: the server cannot be reached or refuses, and the configuration says to fail.
        """
        self._loop = asyncio.get_running_loop()
        self._now = self._loop.time
        if self.config.on_unavailable == "fail":
            self._total += 1
            try:
                connection = await self._connected()
            except BaseException:
                self._total -= 1
                raise
            self._put(connection)
        self._housekeep()

    async def close(self, drain_seconds: float | None = None) -> None:
        """Refuse new callers, wait for leases to come back, then close everything.

        Args:
            drain_seconds: how long to wait; None is the configured ``drain_timeout``. Leases still out then are
                terminated.
        """
        if self._loop is None:
            return
        drain = self.config.drain_timeout if drain_seconds is None else drain_seconds
        self._closing = True
        self._waiting.fail_all(self._closed_error)
        self._waiting.close()
        for timer in (self._housekeeper, self._retry_timer):
            if timer is not None:
                timer.cancel()
        self._housekeeper = self._retry_timer = None
        for connection in self._take_idle():
            self._retire(connection)
        with suppress(TimeoutError):
            async with asyncio.timeout(drain):
                while self._leased or self._dedicated:
                    self._released.clear()
                    await self._released.wait()
        for connection in list(self._leased):
            _log.warning(
                "lease terminated at shutdown",
                database=self.name,
                leased_seconds=round(self._now() - connection.borrowed_at, 1),
                place=connection.place,
            )
            connection.terminate()
        for task in self._handshakes:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_GOODBYE_SECONDS + 1)
        for task in self._tasks:
            task.cancel()

    def abandon(self) -> None:
        """Forget everything without touching a socket: for a forked child, whose sockets belong to the parent."""
        self._closing = True
        self._loop = None

    # --- acquire and release ----------------------------------------------------------------------------------------

    def try_acquire(self) -> DriverConnection[Any] | None:
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
        connection.borrowed_at = now
        self._leased[connection] = asyncio.current_task()
        self._acquired += 1
        return connection

    async def acquire_connection(self, timeout_seconds: float | None = None) -> DriverConnection[Any]:
        """A connection; waits in the queue while none is free.

        Args:
            timeout_seconds: how long to wait at most; the configured ``connection_timeout`` bounds it from above.

        Raises:
            PoolTimeoutError: none came free in time.
            PoolExhaustedError: ``waiting_max`` callers wait already.
            PoolClosedError: the pool is closed or closing.
            NestedAcquireError: every connection is held by a task that waits for another one.
            ConnectError: the server refuses for good (password, database name, certificate).
        """
        connection = self.try_acquire()
        if connection is not None:
            return connection
        loop = self._loop
        if loop is None or self._closing:
            raise self._closed_error()
        if len(self._waiting) >= self.config.waiting_max:
            self._refused += 1
            raise PoolExhaustedError(
                f"{self._numbers()}; waiting_max={self.config.waiting_max} callers wait already;"
                " raise max_connections, release earlier, or shed load upstream"
            ).at(database=self.name)
        self._refuse_while_permanent()
        timeout = self.connection_timeout
        if timeout_seconds is not None and timeout_seconds < timeout:
            timeout = timeout_seconds
        waiter = self._waiting.join(loop, timeout)
        self._serve()
        if not waiter.future.done():
            self._detect_deadlock(waiter)
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
        return connection

    def release_connection(self, connection: DriverConnection[Any]) -> None:
        """Give a connection back. Returns at once.

        Raises:
            UsageError: it is not leased.
        """
        if not connection.leased:
            raise UsageError(f"a connection of pool {self.name!r} was released twice")
        connection.leased = False
        connection.holder = None
        connection.place = None
        self._leased.pop(connection, None)
        if connection.dirty or connection.in_transaction or self._closing:
            self._release_slowly(connection)
        else:
            self._put(connection)

    async def acquire(self) -> DatabaseConnection:
        """Lease a connection; give it back with :meth:`release` or use ``async with pool.lease()``.

        Raises:
            See :meth:`acquire_connection`.
        """
        connection = await self.acquire_connection()
        connection.place = calling_place()
        return DatabaseConnection(self, self.adapter, connection)

    async def release(self, connection: DatabaseConnection) -> None:
        """Give a lease back."""
        connection.release()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[DatabaseConnection]:
        """Lease a connection for the block."""
        connection = await self.acquire_connection()
        connection.place = calling_place()
        lease = DatabaseConnection(self, self.adapter, connection)
        try:
            yield lease
        finally:
            lease.release()

    @asynccontextmanager
    async def dedicated(self) -> AsyncIterator[DatabaseConnection]:
        """A new connection outside the pool, counted in its budget: for LISTEN, advisory locks, replication.

        It is closed at the end of the block, never handed on.

        Raises:
            PoolExhaustedError: the budget is spent on other connections that are all in use.
            ConnectError: it could not be opened.
        """
        if self._loop is None or self._closing:
            raise self._closed_error()
        if self._total + self._dedicated >= self.max_connections:
            if not self._idle:
                raise PoolExhaustedError(
                    f"{self._numbers()}; no room for a dedicated connection; raise max_connections"
                ).at(database=self.name)
            self._retire(self._idle.pop(0))
        self._dedicated += 1
        try:
            connection = await self._open_connection()
            self._opened += 1
            connection.leased = True
            try:
                yield DatabaseConnection(None, self.adapter, connection)
            finally:
                self._closed += 1
                await self._goodbye(connection)
        finally:
            self._dedicated -= 1
            self._released.set()
            self._serve()

    # --- changes while running --------------------------------------------------------------------------------------

    def resize(self, *, min_connections: int | None = None, max_connections: int | None = None) -> None:
        """Change the limits while running. Surplus connections leave when they become idle.

        Raises:
            UsageError: the limits contradict each other.
        """
        low = self.min_connections if min_connections is None else min_connections
        high = self.max_connections if max_connections is None else max_connections
        if not 0 <= low <= high or high < 1:
            raise UsageError(
                f"0 <= min_connections ({low}) <= max_connections ({high}) and 1 <= max_connections is needed"
            )
        self.min_connections, self.max_connections = low, high
        while self._idle and self._total + self._dedicated > high:
            self._retire(self._idle.pop(0))
        self._serve()

    def clear(self, reason: str) -> None:
        """Begin a new generation: idle connections are closed now, leased ones when they come back."""
        self._generation += 1
        self._failures, self._retry_at, self._last_error = 0, 0.0, None
        idle = self._take_idle()
        _log.info("pool cleared", database=self.name, reason=reason, closed=len(idle), leased=len(self._leased))
        for connection in idle:
            self._retire(connection)
        self._serve()

    # --- figures ----------------------------------------------------------------------------------------------------

    def stats(self) -> PoolHealth:
        """The figures now, without a round trip."""
        now = self._now()
        oldest = max((now - connection.borrowed_at for connection in self._leased), default=0.0)
        healthy = not self._closing and self._loop is not None and self._failures == 0
        return PoolHealth(
            name=self.name,
            healthy=healthy,
            reason="" if healthy else str(self._last_error or "the pool is closed"),
            connections_min=self.min_connections,
            connections_max=self.max_connections,
            open=self._total - self._connecting + self._dedicated,
            idle=len(self._idle),
            leased=len(self._leased),
            restoring=self._restoring,
            connecting=self._connecting,
            dedicated=self._dedicated,
            waiting=len(self._waiting),
            opened_total=self._opened,
            closed_total=self._closed,
            lost_total=self._lost,
            connect_failures_total=self._connect_failures,
            acquired_total=self._acquired,
            waited_total=self._waited,
            timeouts_total=self._timeouts,
            refused_total=self._refused,
            wait_seconds_total=self._wait_seconds,
            resets_total=self._resets,
            oldest_lease_seconds=oldest,
        )

    async def health_check(self) -> PoolHealth:
        """The figures, and whether an idle connection answers. Never queues behind application leases.

        When every connection is busy with other callers, that alone is no sign of ill health.
        """
        connection = self.try_acquire()
        if connection is None and self._idle and not self._closing:
            connection = self._idle.pop()
            self._lend(connection, asyncio.current_task())
        elif connection is None and not self._total and not self._closing:
            with suppress(DatabaseError):  # the figures below name it
                connection = await self.acquire_connection(_RESET_SECONDS)
        if connection is not None:
            try:
                async with asyncio.timeout(_RESET_SECONDS):
                    await connection.ping()
                self._failures = 0
            except (DatabaseError, TimeoutError) as error:
                connection.dirty = True
                self._last_error = error if isinstance(error, DatabaseError) else ConnectError("no answer to a ping")
                self._failures = max(1, self._failures)
            finally:
                self.release_connection(connection)
        return self.stats()

    # --- within -----------------------------------------------------------------------------------------------------

    def _put(self, connection: DriverConnection[Any]) -> None:
        """A connection in order: to the first waiter, or to the idle ones; or out, when it is old or one too many."""
        now = self._now()
        if (
            connection.is_closed()
            or connection.generation != self._generation
            or now >= connection.expires_at
            or self._total + self._dedicated > self.max_connections
            or self._closing
        ):
            self._retire(connection)
            self._serve()
            return
        waiter = self._waiting.pop()
        if waiter is None:
            connection.idle_since = now
            self._idle.append(connection)
            return
        connection.leased = True
        connection.borrowed_at = now
        self._leased[connection] = waiter.task
        self._acquired += 1
        waiter.future.set_result(connection)

    def _lend(self, connection: DriverConnection[Any], task: asyncio.Task[Any] | None) -> None:
        connection.leased = True
        connection.borrowed_at = self._now()
        self._leased[connection] = task

    def _release_slowly(self, connection: DriverConnection[Any]) -> None:
        self._released.set()
        if connection.is_closed() or self._closing or connection.generation != self._generation:
            if connection.is_closed():
                self._lost += 1
            self._retire(connection)
            self._serve()
        elif connection.dirty or connection.in_transaction:
            self._restoring += 1
            self._spawn(self._restore(connection))
        else:
            self._put(connection)

    async def _restore(self, connection: DriverConnection[Any]) -> None:
        self._resets += 1
        try:
            async with asyncio.timeout(_RESET_SECONDS):
                await connection.reset()
            connection.dirty = connection.in_transaction = False
        except (DatabaseError, TimeoutError) as error:
            _log.warning("connection closed, it could not be reset", database=self.name, error=str(error))
            self._lost += 1
            connection.terminate()
        except BaseException:
            connection.terminate()
            raise
        finally:
            self._restoring -= 1
            self._put(connection)

    async def _validate(self, connection: DriverConnection[Any]) -> None:
        """A connection that was idle for long: ask before anybody relies on it."""
        try:
            async with asyncio.timeout(_RESET_SECONDS):
                await connection.ping()
        except (DatabaseError, TimeoutError):
            self._lost += 1
            connection.terminate()
        except BaseException:
            connection.terminate()
            raise
        finally:
            self._restoring -= 1
            self._put(connection)

    def _serve(self) -> None:
        """Give waiters what is idle, then open what is missing."""
        if self._closing or self._loop is None:
            return
        while self._idle and len(self._waiting):
            connection = self._idle.pop()
            now = self._now()
            stale = now - connection.idle_since > self._validate_after
            if not stale or connection.is_closed() or now >= connection.expires_at:
                self._put(connection)
            else:
                self._restoring += 1
                self._spawn(self._validate(connection))
        wanted = max(len(self._waiting) - self._restoring, self.min_connections - self._total)
        handshakes_max = 1 if self._failures else self.config.handshakes_max
        while (
            self._connecting < min(wanted, handshakes_max)
            and self._total + self._dedicated < self.max_connections
            and self._now() >= self._retry_at
        ):
            self._total += 1
            self._connecting += 1
            task = self._spawn(self._connect())
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _connect(self) -> None:
        """Open one connection for whoever is first then; a caller that leaves does not stop it."""
        try:
            connection = await self._connected()
        except DatabaseError as error:
            self._total -= 1
            self._connecting -= 1
            self._back_off(error)
            return
        except BaseException:
            self._total -= 1
            self._connecting -= 1
            raise
        self._connecting -= 1
        self._put(connection)
        self._serve()

    async def _connected(self) -> DriverConnection[Any]:
        generation = self._generation
        try:
            async with asyncio.timeout(self.config.connect_timeout):
                connection = await self._open_connection()
        except TimeoutError as error:
            self._connect_failures += 1
            raise ConnectError(f"no connection within connect_timeout={self.config.connect_timeout} s").at(
                database=self.name
            ) from error
        except DatabaseError as error:
            self._connect_failures += 1
            error.at(database=self.name)
            raise
        now = self._now()
        jitter = self.config.max_lifetime_jitter * self._random.uniform(0.0, 1.0)
        connection.generation = generation
        connection.created_at = now
        connection.expires_at = now + self.config.max_lifetime * (1.0 - jitter)
        self._opened += 1
        if self._failures:
            _log.info("reconnected", database=self.name, failures=self._failures)
        self._failures, self._retry_at, self._last_error = 0, 0.0, None
        return connection

    def _back_off(self, error: DatabaseError) -> None:
        """After a failed connect: exponential back-off with full jitter, one attempt at a time."""
        assert self._loop is not None
        self._last_error = error
        ceiling = min(self.config.backoff_max, self.config.backoff_initial * 2.0 ** min(self._failures, 30))
        self._failures += 1
        delay = self._random.uniform(ceiling / 2, ceiling)
        self._retry_at = self._now() + delay
        _log.warning(
            "connect failed",
            database=self.name,
            error=str(error),
            failures=self._failures,
            retry_seconds=round(delay, 3),
        )
        if isinstance(error, ConnectError) and error.permanent:
            self._waiting.fail_all(lambda: _once_more(error))
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        self._retry_timer = self._loop.call_later(delay, self._serve)

    def _refuse_while_permanent(self) -> None:
        """During the back-off after a refusal for good, tell callers at once instead of knocking again."""
        error = self._last_error
        if isinstance(error, ConnectError) and error.permanent and not self._total and self._now() < self._retry_at:
            raise _once_more(error)

    def _detect_deadlock(self, waiter: Waiter) -> None:
        """Raise if every connection is held by a task that itself waits here."""
        leased = self._leased
        if waiter.task not in leased.values() or len(leased) < self.max_connections - self._dedicated:
            return
        waiting = {other.task for other in self._waiting}
        if all(task in waiting for task in leased.values()):
            held = [connection.place or "a statement" for connection, task in leased.items() if task is waiter.task]
            waiter.future.cancel()
            self._waiting.leave(waiter)
            raise NestedAcquireError(
                f"{self._numbers()}; all connections are held by tasks that wait for another one, so none would ever"
                f" come free; this task holds {len(held)} (leased at {', '.join(held)}); use the connection or"
                " transaction that is open instead of acquiring a second one"
            ).at(database=self.name)

    def _retire(self, connection: DriverConnection[Any]) -> None:
        self._total -= 1
        self._closed += 1
        if not connection.is_closed():
            self._spawn(self._goodbye(connection))

    async def _goodbye(self, connection: DriverConnection[Any]) -> None:
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await connection.close()
        except (DatabaseError, TimeoutError) as error:
            _log.debug("connection terminated, its goodbye failed", database=self.name, error=str(error))
        finally:
            connection.terminate()

    def _take_idle(self) -> list[DriverConnection[Any]]:
        idle, self._idle = self._idle, []
        return idle

    def _housekeep(self) -> None:
        """Every few seconds: reap what is idle for long, retire what is old, name leaks, keep the minimum."""
        assert self._loop is not None
        now = self._now()
        keep: list[DriverConnection[Any]] = []
        for connection in self._take_idle():  # the longest idle first
            surplus = self._total > self.min_connections and now - connection.idle_since > self.idle_timeout
            if surplus or now >= connection.expires_at or connection.is_closed():
                self._retire(connection)
            else:
                keep.append(connection)
        self._idle = keep
        self._report_leaks(now)
        self._serve()
        limits = [_HOUSEKEEPING_SECONDS, self.idle_timeout / 2, self.config.max_lifetime / 4]
        if self.config.leak_detection is not None:
            limits.append(self.config.leak_detection / 2)
        self._housekeeper = self._loop.call_later(max(0.02, min(limits)), self._housekeep)

    def _report_leaks(self, now: float) -> None:
        limit = self.config.leak_detection
        if limit is None:
            return
        for connection in self._leased:
            age = now - connection.borrowed_at
            if limit < age and connection.kept.get("leak_reported") != connection.borrowed_at:
                connection.kept["leak_reported"] = connection.borrowed_at
                _log.warning(
                    "possible leak: a lease is out for long",
                    database=self.name,
                    leased_seconds=round(age, 1),
                    place=connection.place or "a statement",
                )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _numbers(self) -> str:
        now = self._now()
        parts = [f"{len(self._leased)} leased", f"{len(self._waiting)} waiting", f"{self._connecting} connecting"]
        if self._restoring:
            parts.append(f"{self._restoring} being reset")
        if self._dedicated:
            parts.append(f"{self._dedicated} dedicated")
        if self._leased:
            oldest = min(self._leased, key=lambda connection: connection.borrowed_at)
            where = f" at {oldest.place}" if oldest.place else ""
            parts.append(f"oldest lease {now - oldest.borrowed_at:.1f} s{where}")
        return f"pool {self.name!r} of {self.max_connections}: {', '.join(parts)}"

    def _timeout_error(self, waiter: Waiter) -> PoolTimeoutError:
        self._timeouts += 1
        waited = self._now() - waiter.since
        nested = waiter.task is not None and waiter.task in self._leased.values()
        remedy = (
            f"the last connect failed: {self._last_error}"
            if self._last_error is not None
            else "this task holds a connection already: use that one"
            if nested
            else "raise max_connections or release earlier"
        )
        error = PoolTimeoutError(f"{self._numbers()}; no connection within {waited:.1f} s; {remedy}")
        error.__cause__ = self._last_error
        error.retry_after_seconds = 1.0
        error.at(database=self.name)
        return error

    def _closed_error(self) -> PoolClosedError:
        error = PoolClosedError(f"pool {self.name!r} is {'closing' if self._loop is not None else 'not open'}")
        error.at(database=self.name)
        return error

    def __repr__(self) -> str:
        return f"<ConnectionPool {self._numbers()}>"

    def __reduce__(self) -> Any:
        raise UsageError("a connection pool cannot be pickled; open one in each process")


def _once_more(error: DatabaseError) -> DatabaseError:
    """The same error for another caller, with a traceback of its own."""
    again = type(error)(str(error))
    again.__cause__ = error.__cause__
    return again.at(database=error.database, node=error.node)
