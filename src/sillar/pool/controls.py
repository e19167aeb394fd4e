"""Changes of a pool while it runs: its limits, its generation, whether it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from sillar.engines.connection import DriverConnection
from sillar.errors import DatabaseError, UsageError
from sillar.pool.dedicated import DedicatedConnections
from sillar.pool.guard import NodeGuard
from sillar.pool.leasing import Leasing
from sillar.pool.opener import Opener
from sillar.pool.waiting import WaitingQueue

_log = structlog.get_logger("sillar.pool")


class PoolControls(Leasing, Protocol):
    """The half of :class:`~sillar.pool.ConnectionPool` that operators and the topology use."""

    name: str
    min_connections: int
    max_connections: int
    _opener: Opener
    _guard: NodeGuard
    _dedicated_connections: DedicatedConnections
    _idle: list[DriverConnection[Any]]
    _leased: dict[DriverConnection[Any], asyncio.Task[Any] | None]
    _waiting: WaitingQueue
    _total: int
    _dedicated: int
    _generation: int
    _closing: bool
    _suspension: Callable[[], DatabaseError] | None
    _is_shut: bool
    _trouble: DatabaseError | None

    def _serve(self) -> None: ...

    def _retire(self, connection: DriverConnection[Any]) -> None: ...

    @property
    def generation(self) -> int:
        """The number of the present generation; connections of an earlier one are not handed out any more."""
        return self._generation

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
        self._generation = self._opener.begin_generation()
        closed = self._retire_idle()
        _log.info("pool cleared", database=self.name, reason=reason, closed=closed, leased=len(self._leased))
        self._serve()

    def sever(self, reason: str) -> None:
        """As :meth:`clear`, and everything that is out ends now: who waits on it gets ``ConnectionLostError``.

        For a node that does not answer any more, where waiting is in vain. Handshakes that are under way are given up.
        """
        out = (*self._leased, *self._dedicated_connections.open)
        self._opener.give_up()
        self.clear(reason)
        for connection in out:
            connection.terminate()

    def suspend(self, make_error: Callable[[], DatabaseError]) -> None:
        """Take the node out of service: nobody waits for it, nothing is opened. Leases that are out go on.

        Args:
            make_error: the error for whoever waits, and for whoever comes until :meth:`resume`; a new one each time.
        """
        self._suspension = make_error
        self._decide()
        self._retire_idle()
        self._waiting.fail_all(make_error)

    def resume(self) -> None:
        """Serve again after :meth:`suspend`: earlier failures are forgotten and the minimum is opened."""
        if self._suspension is None:
            return
        self._suspension = self._trouble = None
        self._opener.forget_failures()
        self._guard.forget()
        self._decide()
        self._serve()

    @property
    def is_suspended(self) -> bool:
        """Whether the node is out of service."""
        return self._suspension is not None

    def _decide(self) -> None:
        """Find out whether callers are served."""
        self._is_shut = self._closing or self._suspension is not None or not self._guard.breaker.is_passing

    def _take_idle(self) -> list[DriverConnection[Any]]:
        idle, self._idle = self._idle, []
        return idle

    def _retire_idle(self) -> int:
        idle = self._take_idle()
        for connection in idle:
            self._retire(connection)
        return len(idle)
