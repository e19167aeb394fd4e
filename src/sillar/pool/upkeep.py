"""What is done to connections between two callers: reset, validation, goodbye. All of it in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final

import structlog

from sillar.engines.connection import DriverConnection
from sillar.errors import DatabaseError

_log = structlog.get_logger("sillar.pool")
_GOODBYE_SECONDS: Final = 2.0
_RESET_SECONDS: Final = 5.0


class Upkeep:
    """Work on single connections, bounded in time. A connection on which it fails is terminated.

    Args:
        name: configured name of the database, for messages.
        done: called with each connection when its reset or validation has ended, well or not.

    Attributes:
        restoring, validating: connections in the middle of it.
        resets_total: resets begun.
        tasks: what runs.
    """

    def __init__(self, name: str, done: Callable[[DriverConnection[Any]], None]) -> None:
        self._name = name
        self._done = done
        self.restoring = self.validating = self.resets_total = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def restore(self, connection: DriverConnection[Any]) -> None:
        """Restore the session contract."""
        self.restoring += 1
        self.resets_total += 1
        self._spawn(self._restore(connection))

    def validate(self, connection: DriverConnection[Any], seconds: float) -> None:
        """Ask a connection that was idle for long, before anybody relies on it."""
        self.validating += 1
        self._spawn(self._validate(connection, min(seconds, _RESET_SECONDS)))

    def part(self, connection: DriverConnection[Any]) -> None:
        """Say goodbye and close."""
        self._spawn(self.goodbye(connection))

    async def goodbye(self, connection: DriverConnection[Any]) -> None:
        """As :meth:`part`, in this task."""
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await connection.close()
        except (DatabaseError, TimeoutError) as error:
            _log.debug("connection terminated, its goodbye failed", database=self._name, error=str(error))
        finally:
            connection.terminate()

    async def settle(self, others: set[asyncio.Task[None]]) -> None:
        """Wait for what runs, for ``others``, and for what comes of both; what takes too long is cancelled."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS + 1):
                while tasks := self.tasks | others:
                    await asyncio.wait(tasks)
        if tasks := self.tasks | others:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=1)

    def report_leaks(self, leased: Iterable[DriverConnection[Any]], limit_seconds: float, now: float) -> None:
        """Name the place of each lease that is out for longer than the limit, once."""
        for connection in leased:
            age = now - connection.borrowed_at
            if limit_seconds < age and connection.kept.get("leak_reported") != connection.borrowed_at:
                connection.kept["leak_reported"] = connection.borrowed_at
                _log.warning(
                    "possible leak: a lease is out for long",
                    database=self._name,
                    leased_seconds=round(age, 1),
                    place=connection.place or "a statement",
                )

    async def _restore(self, connection: DriverConnection[Any]) -> None:
        try:
            async with asyncio.timeout(_RESET_SECONDS):
                await connection.reset()
            connection.dirty = connection.in_transaction = False
        except (DatabaseError, TimeoutError) as error:
            _log.warning("connection closed, it could not be reset", database=self._name, error=str(error))
            connection.terminate()
        except BaseException:
            connection.terminate()
            raise
        finally:
            self.restoring -= 1
            self._done(connection)

    async def _validate(self, connection: DriverConnection[Any], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await connection.ping()
        except (DatabaseError, TimeoutError):
            connection.terminate()
        except BaseException:
            connection.terminate()
            raise
        finally:
            self.validating -= 1
            self._done(connection)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
