"""Ends on the server what its caller has left."""

from __future__ import annotations

import asyncio
from typing import Any

import pymongo
import structlog
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

_log = structlog.get_logger("sillar.mongodb")
_AGAIN_SECONDS = 0.2
_ANSWER_SECONDS = 2.0
_ROUNDS = 15


class SessionKiller:
    """Kills sessions by ``killSessions``: their commands, cursors and transactions.

    A command whose caller is cancelled stays in the driver until the server has ended it: cancelled there, it would
    cost its socket. Every lease has a session of its own, so killing it ends just what that lease has run. A command
    may reach the server later than the request to kill it, so its session is killed again and again until it has come
    back; if it does not in time, it is given up and its socket closed. The sessions of many callers go out together.

    Attributes:
        killed: sessions since the start.
    """

    def __init__(self, client: AsyncMongoClient[Any]) -> None:
        self._client = client
        self._left: list[_Left] = []
        self._task: asyncio.Task[None] | None = None
        self.killed = 0

    def kill(self, session_id: Any, command: asyncio.Task[Any] | None = None) -> None:
        """Kill a session soon, and until its command has come back; returns at once."""
        self.killed += 1
        self._left.append(_Left(session_id, command))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def kill_now(self, session_id: Any) -> None:
        """Kill a session, and return when the server has answered."""
        self.killed += 1
        await self._send([session_id])

    async def close(self) -> None:
        """Finish what is left."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._left:
            await self._send([each.session_id for each in self._left])
            await asyncio.sleep(_AGAIN_SECONDS)
            self._left = [each for each in self._left if each.goes_on()]

    async def _send(self, session_ids: list[Any]) -> None:
        try:
            with pymongo.timeout(_ANSWER_SECONDS):
                await self._client.admin.command("killSessions", session_ids)
        except PyMongoError as error:  # the server is away, and with it what ran there
            _log.warning("sessions could not be killed", sessions=len(session_ids), error=type(error).__name__)


class _Left:
    """One session to be killed, and the command that has to come back."""

    __slots__ = ("command", "rounds", "session_id")

    def __init__(self, session_id: Any, command: asyncio.Task[Any] | None) -> None:
        self.session_id, self.command = session_id, command
        self.rounds = 0

    def goes_on(self) -> bool:
        """Whether another round is due: a last one is, once the command has come back, for what it has left open."""
        self.rounds += 1
        if self.command is None:
            return self.rounds < 2
        if self.command.done():
            self.command, self.rounds = None, 1
            return True
        if self.rounds >= _ROUNDS:
            self.command.cancel()  # the server does not answer: close the socket
            return False
        return True
