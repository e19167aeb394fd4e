"""Who the driver's client logs in as, changed while it is in use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from sillar import errors
from sillar.clock import system_random
from sillar.config import DatabaseCredentials
from sillar.engines.mongodb.client import MongoDBClient

_log = structlog.get_logger("sillar.mongodb")
_DRAIN_SECONDS = 2.0
"""How long a change of the user waits for transactions and cursors of the user before."""


class ClientLogin:
    """The login of one client.

    A new password is used by new sockets at once. A server's sessions, and with them transactions and cursors, belong
    to the user who began them: before another user takes over, those that are open are waited for.

    A refused login is looked into by one attempt at a time, with other credentials if there are any; until one has
    succeeded nobody else tries, and after a failure the next one is made after a back-off.

    Args:
        client: the client.
        current: the credentials of this moment.
        other: told of refused ones; others to try at once, or None.
        leased: how many leases are out.
    """

    def __init__(
        self,
        client: MongoDBClient,
        current: Callable[[], Awaitable[DatabaseCredentials]],
        other: Callable[[DatabaseCredentials], Awaitable[DatabaseCredentials | None]],
        leased: Callable[[], int],
    ) -> None:
        self._client, self._current, self._other, self._leased = client, current, other, leased
        self._task: asyncio.Task[None] | None = None
        self._refusal: errors.AuthenticationError | None = None
        self._failures, self._retry_at = 0, 0.0
        self._is_outdated = False
        self._random = system_random()
        client.login_refused = self.refused

    @property
    def is_settled(self) -> bool:
        """Whether leases may be handed out without a look at it."""
        return self._task is None and self._refusal is None

    def change(self) -> None:
        """The credentials have changed: use them soon."""
        self._is_outdated = True
        if self._task is None:
            self._begin(self._change())

    def refused(self, error: errors.AuthenticationError) -> None:
        """The server has refused a new socket. The command was not sent, so it may be run again."""
        error.safe_to_retry = True
        if self._task is None:
            self._refusal = error
            self._begin(self._renew())

    async def settle(self, timeout_seconds: float) -> None:
        """Wait for a change that is under way; after a refusal, see whether the server lets us in now.

        Raises:
            AuthenticationError: it does not, or did not a moment ago.
        """
        loop = asyncio.get_running_loop()
        if self._task is None and self._refusal is not None and loop.time() >= self._retry_at:
            self._begin(self._renew())
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout_seconds)
        if self._refusal is not None:
            again = errors.AuthenticationError(str(self._refusal))
            raise again.at(database=self._refusal.database, node=self._refusal.node)

    async def log_in(self, timeout_seconds: float | None = None) -> None:
        """Find a server and log in, with other credentials if these are refused and there are any.

        Raises:
            ConnectError: or one of its kinds.
        """
        try:
            await self._client.connect(timeout_seconds)
        except errors.AuthenticationError:
            other = await self._other(self._client.credentials)
            if other is None:
                raise
            await self._client.use_credentials(other)
            await self._client.connect(timeout_seconds)

    async def close(self) -> None:
        """Stop what is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # --- within -------------------------------------------------------------------------------------------------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("login not changed", node=self._client.address, error=type(task.exception()).__name__)
        elif self._is_outdated and not task.cancelled():  # once more since it began
            self._begin(self._change())

    async def _change(self) -> None:
        self._is_outdated = False
        try:
            credentials = await self._current()
        except errors.DatabaseError as error:
            _log.warning("login not changed", node=self._client.address, error=str(error))
            return
        await self._use(credentials)
        self._refusal, self._failures = None, 0

    async def _renew(self) -> None:
        try:
            other = await self._other(self._client.credentials)
            if other is not None:
                await self._use(other)
            await self._client.connect()
        except errors.AuthenticationError as error:
            self._back_off(error)
        except errors.DatabaseError as error:  # no question of the login: whoever comes next meets it
            _log.warning("login not renewed", node=self._client.address, error=str(error))
            self._refusal = None
        else:
            self._refusal, self._failures = None, 0

    async def _use(self, credentials: DatabaseCredentials) -> None:
        client = self._client
        if credentials == client.credentials:
            return
        if credentials.user != client.credentials.user:
            until = asyncio.get_running_loop().time() + _DRAIN_SECONDS
            while self._leased() and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - rare, and short
                await asyncio.sleep(0.01)
        await client.use_credentials(credentials)

    def _back_off(self, error: errors.AuthenticationError) -> None:
        pool = self._client.pool_config
        ceiling = min(pool.backoff_max, pool.backoff_initial * 2.0 ** min(self._failures, 30))
        self._failures += 1
        delay = self._random.uniform(ceiling / 2, ceiling)
        self._refusal = error
        self._retry_at = asyncio.get_running_loop().time() + delay
        _log.warning("login refused", node=self._client.address, failures=self._failures, retry_seconds=round(delay, 3))
