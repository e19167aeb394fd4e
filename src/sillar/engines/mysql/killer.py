"""Stops statements from outside: KILL QUERY through short-lived side connections, few at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from asyncmy.errors import MySQLError

from sillar.engines.mysql import driver
from sillar.engines.mysql.errors import server_code

_UNKNOWN_THREAD: Final = 1094
_KILL_SECONDS: Final = 3.0


class _Request:
    __slots__ = ("done", "server_id", "still_wanted")

    def __init__(self, server_id: int, still_wanted: Callable[[], bool]) -> None:
        self.server_id, self.still_wanted = server_id, still_wanted
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Killer:
    """KILL QUERY for the connections of one node.

    A storm of cancellations costs few handshakes: each side connection works off everything that waits, then closes.

    Args:
        connect: opens a logged-in connection of the driver.
        connections_max: side connections at most.

    Attributes:
        connect: as given; replaced when the credentials change.
        handshakes: side connections opened so far.
    """

    def __init__(self, connect: Callable[[], Awaitable[Any]], connections_max: int) -> None:
        self.connect = connect
        self._connections_max = connections_max
        self._waiting: deque[_Request] = deque()
        self._working: set[asyncio.Task[None]] = set()
        self._alive: set[asyncio.Task[None]] = set()  # those that only say goodbye, too
        self.handshakes = 0

    async def kill_query(self, server_id: int, still_wanted: Callable[[], bool] = lambda: True) -> None:
        """Return once the server has been told, or it is not wanted any more.

        Raises:
            MySQLError, OSError, TimeoutError: the side connection failed.
        """
        request = _Request(server_id, still_wanted)
        self._waiting.append(request)
        if len(self._working) < self._connections_max:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._working.add(worker)
            self._alive.add(worker)
            worker.add_done_callback(self._alive.discard)
        await request.done

    async def _work(self) -> None:
        request: _Request | None = None
        raw: Any = None
        this = asyncio.current_task()
        assert this is not None
        try:
            async with asyncio.timeout(_KILL_SECONDS):
                while (request := self._next()) is not None:
                    if raw is None:
                        self.handshakes += 1
                        raw = await self.connect()
                        if not request.still_wanted():
                            _finish(request)
                            continue
                    await _kill(raw, request.server_id)
                    _finish(request)
                self._working.discard(this)  # before the goodbye: a request that comes now needs another worker
                if raw is not None:
                    await raw.ensure_closed()
        except BaseException as error:
            self._working.discard(this)
            failed = [request] if request is not None else []
            if not self._working:  # nobody else would come for them
                failed += self._waiting
                self._waiting.clear()
            for each in failed:
                if not each.done.done():
                    each.done.set_exception(error if isinstance(error, Exception) else ConnectionError("closing down"))
            if not isinstance(error, Exception):
                raise
        finally:
            if raw is not None:
                driver.abort(raw)

    def _next(self) -> _Request | None:
        while self._waiting:
            request = self._waiting.popleft()
            if not request.done.done() and request.still_wanted():
                return request
            _finish(request)
        return None


def _finish(request: _Request) -> None:
    with suppress(asyncio.InvalidStateError):  # its caller has left
        request.done.set_result(None)


async def end_session(raw: Any, server_id: int, age_seconds: float) -> None:
    """End a session of the same user that is at least that old, unless its COMMIT waits for a replica.

    A server that has started since may have given the id to somebody else.
    """
    uptime, sessions = await driver.query(raw, "SHOW GLOBAL STATUS LIKE 'Uptime'; SHOW PROCESSLIST")
    if float(uptime.rows[0][1]) < age_seconds:
        return
    user = (await driver.query(raw, "SELECT substring_index(user(), '@', 1)"))[0].rows[0][0]
    for number, owner, *_, state, _ in (row[:8] for row in sessions.rows):
        if number == server_id and owner == user and "semi-sync" not in str(state):
            await _kill(raw, server_id, "CONNECTION")


async def _kill(raw: Any, server_id: int, what: str = "QUERY") -> None:
    try:
        await driver.query(raw, f"KILL {what} {server_id:d}")
    except MySQLError as error:
        if server_code(error) != _UNKNOWN_THREAD:  # its session has ended: nothing runs
            raise
