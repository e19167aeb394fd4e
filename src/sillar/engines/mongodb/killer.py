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


class SessionKiller:
    """Kills sessions by ``killSessions``: their commands, cursors and transactions.

    The driver closes the socket of a cancelled command; a server ends a read then by itself, but not a write. Every
    lease has a session of its own, so killing it ends just what that lease has run. Sessions of many callers go out
    together, and each goes out twice: a command may reach the server later than the first request to kill it.
    """

    def __init__(self, client: AsyncMongoClient[Any]) -> None:
        self._client = client
        self._fresh: list[Any] = []
        self._again: list[Any] = []
        self._task: asyncio.Task[None] | None = None

    def kill(self, session_id: Any) -> None:
        """Kill a session soon; returns at once."""
        self._fresh.append(session_id)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def kill_now(self, session_id: Any) -> None:
        """Kill a session, and return when the server has answered."""
        await self._send([session_id])

    async def close(self) -> None:
        """Send what is left."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._fresh or self._again:
            again = self._again
            self._again, self._fresh = self._fresh, []
            await self._send(again + self._again)
            if self._fresh or self._again:
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _send(self, session_ids: list[Any]) -> None:
        try:
            with pymongo.timeout(_ANSWER_SECONDS):
                await self._client.admin.command("killSessions", session_ids)
        except PyMongoError as error:  # the server is away, and with it what ran there; its sockets are closed anyway
            _log.warning("sessions could not be killed", sessions=len(session_ids), error=type(error).__name__)
