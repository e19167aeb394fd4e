"""Opens the connections of a pool, a few at a time, and stops knocking where nobody opens."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from sillar.clock import Random
from sillar.config import ConnectionPoolConfig
from sillar.engines.connection import DriverConnection
from sillar.errors import ConnectError, DatabaseError

_log = structlog.get_logger("sillar.pool")
_AFTER_OUTAGE_MAX: Final = 2
_CAREFUL_SECONDS: Final = 5.0


class Opener:
    """Handshakes in the background, bounded in number; after a failure one at a time, with back-off and jitter, and for
    some seconds after the first that succeeds again two at a time.

    Args:
        config: ``connect_timeout``, ``handshakes_max``, the back-off and the lifetime of connections.
        name: configured name of the database, for messages.
        open_connection: opens one connection.
        random: where jitter comes from.
        arrived: called with each connection that :meth:`begin` has opened.
        failed: called with the error of each that failed, or with None for one that was given up at shutdown.
        over: called when a back-off is over, and when another handshake may take the place of one given up.
        opened: called with each connection, before anybody else sees it.

    Attributes:
        connecting: handshakes in flight that :meth:`begin` has begun.
        failures: handshakes that failed since the last one that did not.
        last_error: of the last failure, until one succeeds.
        opened_total, failures_total: since the start.
    """

    def __init__(
        self,
        config: ConnectionPoolConfig,
        name: str,
        open_connection: Callable[[], Awaitable[DriverConnection[Any]]],
        random: Random,
        *,
        arrived: Callable[[DriverConnection[Any]], None],
        failed: Callable[[DatabaseError | None], None],
        over: Callable[[], None],
        opened: Callable[[DriverConnection[Any]], None],
    ) -> None:
        self._config = config
        self._name = name
        self._open_connection = open_connection
        self._random = random
        self._arrived, self._failed, self._over, self._opened = arrived, failed, over, opened
        self._generation = 0
        self._retry_at = self._careful_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.connecting = self.failures = 0
        self.last_error: DatabaseError | None = None
        self.opened_total = self.failures_total = 0

    def allowed(self, now: float) -> int:
        """How many more handshakes may begin at this instant."""
        if now < self._retry_at:
            return 0
        most = self._config.handshakes_max
        if self.failures:
            most = 1
        elif now < self._careful_until:
            most = min(most, _AFTER_OUTAGE_MAX)
        return most - self.connecting

    def refusal(self, now: float) -> ConnectError | None:
        """The error with which the server refuses for good, while nobody knocks again."""
        error = self.last_error
        return error if isinstance(error, ConnectError) and error.permanent and now < self._retry_at else None

    def begin(self) -> None:
        """Open one for whoever is first then; a caller that leaves does not stop it."""
        self.connecting += 1
        task = asyncio.get_running_loop().create_task(self._open())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def open(self) -> DriverConnection[Any]:
        """Open one, now and in this task.

        Raises:
            ConnectError: or one of its kinds.
        """
        generation = self._generation
        try:
            async with asyncio.timeout(self._config.connect_timeout):
                connection = await self._open_connection()
        except DatabaseError as error:
            self.failures_total += 1
            raise error.at(database=self._name) from error.__cause__
        except TimeoutError as error:
            self.failures_total += 1
            raise ConnectError(f"no connection within connect_timeout={self._config.connect_timeout} s").at(
                database=self._name
            ) from error
        except Exception as error:  # of the host application: its secrets manager
            self.failures_total += 1
            raise ConnectError(f"what is needed to connect could not be had: {type(error).__name__}").at(
                database=self._name
            ) from error
        now = asyncio.get_running_loop().time()
        jitter = self._config.max_lifetime_jitter * self._random.uniform(0.0, 1.0)
        connection.generation = generation
        connection.created_at = now
        limit = now + self._config.max_lifetime * (1.0 - jitter)
        connection.expires_at = min(limit, connection.expires_at or limit)  # its login may end earlier
        self.opened_total += 1
        self._opened(connection)
        if self.failures:
            _log.info("reconnected", database=self._name, failures=self.failures)
        self.forget_failures()
        return connection

    def begin_generation(self) -> int:
        """The number of a new generation: a handshake that is under way still belongs to the one before."""
        self._generation += 1
        self.forget_failures()
        return self._generation

    def forget_failures(self) -> None:
        """No back-off any more, but a server that has just come back is not stormed."""
        if self.failures:
            self.take_care()
        self.failures, self._retry_at, self.last_error = 0, 0.0, None

    def take_care(self) -> None:
        """The server has just come back: open few at once for some seconds."""
        self._careful_until = asyncio.get_running_loop().time() + _CAREFUL_SECONDS

    def close(self) -> None:
        """Knock no more, and give up what is under way."""
        if self._timer is not None:
            self._timer.cancel()
        self.give_up()

    def give_up(self) -> None:
        """Give up what is under way."""
        for task in self.tasks:
            task.cancel()

    async def _open(self) -> None:
        generation = self._generation
        try:
            connection = await self.open()
        except DatabaseError as error:
            self.connecting -= 1
            self._back_off(error)
            self._failed(error)
        except BaseException:
            self.connecting -= 1
            self._failed(None)
            if generation != self._generation:  # given up in favour of new ones
                self._over()
            raise
        else:
            self.connecting -= 1
            self._arrived(connection)

    def _back_off(self, error: DatabaseError) -> None:
        loop = asyncio.get_running_loop()
        self.last_error = error
        ceiling = min(self._config.backoff_max, self._config.backoff_initial * 2.0 ** min(self.failures, 30))
        self.failures += 1
        delay = self._random.uniform(ceiling / 2, ceiling)
        self._retry_at = loop.time() + delay
        _log.warning(
            "connect failed",
            database=self._name,
            error=str(error),
            failures=self.failures,
            retry_seconds=round(delay, 3),
        )
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(delay, self._over)


def once_more(error: DatabaseError) -> DatabaseError:
    """The same error for another caller, with a traceback of its own."""
    again = type(error)(str(error))
    again.__cause__ = error.__cause__
    return again.at(database=error.database, node=error.node)
