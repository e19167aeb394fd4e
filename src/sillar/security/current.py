"""The current credentials of one database: asked for once however many wait, kept for their lease, watched."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from sillar.clock import Clock
from sillar.config import DatabaseCredentials
from sillar.errors import ConnectError, DatabaseError
from sillar.security.lease import CredentialLease
from sillar.security.sources import Secret, SecretSource

T = TypeVar("T")

_log = structlog.get_logger("sillar.credentials")
_RENEW_AFTER = 2 / 3  # of a lease: time is left to try again
_AGAIN_SECONDS = 5.0  # after the source did not answer
_PATIENCE_SECONDS = 1.0  # with a source that does not answer, where what it said last holds still
_ANSWER_SECONDS = 30.0  # after these it has failed
_SETTLE_SECONDS = 0.5
_FAILED_SECONDS = 0.05


class CurrentCredentials:
    """What one database is logged in to with now.

    Args:
        database: its configured name, for messages.
        secret: the name of its secret.
        source: where it is kept.
        clock: where time comes from.
        refresh_seconds: after how long a secret without an end is read again; 0: for each connect.
        grace_seconds: how long such a secret is used while its source does not answer.

    Attributes:
        user: who logs in where the secret does not say.
        listeners: called with a reason after the credentials have changed.
        asked: how often the source was asked.
    """

    def __init__(
        self,
        database: str,
        secret: str,
        source: SecretSource,
        clock: Clock,
        *,
        refresh_seconds: float,
        grace_seconds: float,
    ) -> None:
        self.database, self.secret, self.source = database, secret, source
        self.user: str | None = None
        self.listeners: list[Callable[[str], None]] = []
        self.asked = 0
        self._clock = clock
        self._refresh, self._grace = refresh_seconds, grace_seconds
        self._lease: CredentialLease | None = None
        self._last: CredentialLease | None = None
        self._usable_until = -math.inf
        self._refused: DatabaseCredentials | None = None
        self._proven: DatabaseCredentials | None = None
        self._issued: list[CredentialLease] = []
        self._asking: asyncio.Task[CredentialLease] | None = None
        self._asking_since = 0.0  # by the loop's clock
        self._rotation: asyncio.Lock = asyncio.Lock()

    async def lease(self) -> CredentialLease:
        """The current credentials; asks the source if they are not known, stale, or were refused.

        Raises:
            ConfigurationError: the secret is missing or unusable.
            ConnectError: the source cannot be asked, and what it said before does not hold any more.
        """
        lease = self._lease
        if lease is not None and not self._is_stale(lease):
            return lease
        asking = self._begin_asking()
        known = lease or self._last
        if known is not None and known.credentials != self._refused and self._clock.monotonic() < self._usable_until:
            left = self._asking_since + _PATIENCE_SECONDS - asyncio.get_running_loop().time()
            if left > 0:
                await asyncio.wait((asking,), timeout=left)
            if not asking.done():
                return known
        return await asyncio.shield(asking)

    async def replacement(self, refused: DatabaseCredentials) -> CredentialLease | None:
        """The server has refused a login: other credentials to try at once, or None if there are none.

        A rotation by this process is waited for. Where the login has worked before, the source is asked once more after
        half a second, in case it learns of a change later than the server.
        """
        self._refused = refused
        rotating = self._rotation.locked()
        if rotating:
            async with self._rotation:
                pass
        lease = await self.lease()
        if rotating or lease.credentials != refused:
            return lease
        if refused != self._proven:
            return None
        self._proven = None
        await asyncio.sleep(_SETTLE_SECONDS)
        lease = await self.lease()
        return None if lease.credentials == refused else lease

    def worked(self, credentials: DatabaseCredentials) -> None:
        """A login with them has succeeded."""
        self._proven = credentials
        if credentials == self._refused:
            self._refused = None

    async def rotate(self, change: Callable[[CredentialLease], Awaitable[None]]) -> None:
        """Let ``change`` replace the credentials, one after the other; it is given those that hold now."""
        async with self._rotation:
            await change(await self._asked_anew())

    async def publish(self, credentials: DatabaseCredentials) -> None:
        """Write new credentials to the source, then use them.

        Raises:
            UsageError, ConnectError: the source cannot be written; nothing has changed.
        """
        current = await self.lease()
        text = current.secret.replaced(credentials)
        try:
            await self.source.write(self.secret, text)
        except Exception:  # it may have been written, and the reply was lost
            if not await self._is_written(credentials):
                raise
        await self._let_finish()
        self._adopt(Secret(text, version=self.source.version(self.secret)), self._clock.monotonic(), None)

    async def keep(self, poll_seconds: float) -> None:
        """Renew the lease in time and look for changes, until cancelled."""
        while True:
            await asyncio.sleep(self._pause(poll_seconds))
            try:
                if self._lease is None or self._is_stale(self._lease):
                    await asyncio.shield(self._begin_asking())
            except Exception as error:
                _log.warning("credentials not refreshed", database=self.database, error=_said(error))
                await asyncio.sleep(_AGAIN_SECONDS)

    async def drop(self) -> None:
        """Forget everything, and have the source revoke what it has issued."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._asking
        self._lease = None
        issued, self._issued = self._issued, []
        for lease in issued:
            try:
                await self.source.revoke(self.secret, lease.secret)
            except Exception as error:
                _log.warning("credentials not revoked", database=self.database, error=_said(error))

    # --- within -------------------------------------------------------------------------------------------------------

    def _is_stale(self, lease: CredentialLease) -> bool:
        if self._clock.monotonic() >= lease.ask_again_at or lease.credentials == self._refused:
            return True
        return lease.secret.version is not None and self.source.version(self.secret) != lease.secret.version

    async def _asked_anew(self) -> CredentialLease:
        await self._let_finish()
        self._lease = None
        return await asyncio.shield(self._begin_asking())

    def _begin_asking(self) -> asyncio.Task[CredentialLease]:
        """Ask the source, unless somebody does."""
        if self._asking is None:
            loop = asyncio.get_running_loop()
            self._asking, self._asking_since = loop.create_task(self._ask()), loop.time()
            self._asking.add_done_callback(self._asked)
        return self._asking

    async def _let_finish(self) -> None:
        """An asking that is under way may have been answered before what has changed."""
        while self._asking is not None and not self._asking.done():
            await asyncio.wait([self._asking])
        self._asking = None

    def _pause(self, poll_seconds: float) -> float:
        lease = self._lease
        if lease is None:
            return poll_seconds
        return max(0.05, min(poll_seconds, lease.ask_again_at - self._clock.monotonic()))

    def _asked(self, task: asyncio.Task[CredentialLease]) -> None:
        if not task.cancelled() and task.exception() is not None:  # looked at: with nobody left it is not reported
            # It answers those as well who come a moment later: handshakes that were begun together.
            asyncio.get_running_loop().call_later(_FAILED_SECONDS, self._ask_again, task)
        else:
            self._ask_again(task)

    def _ask_again(self, task: asyncio.Task[CredentialLease]) -> None:
        if self._asking is task:
            self._asking = None

    async def _ask(self) -> CredentialLease:
        self.asked += 1
        before, now = self._lease, self._clock.monotonic()
        limit = asyncio.timeout(_ANSWER_SECONDS)
        try:
            async with limit:
                secret, is_renewed = await self._secret(before, now)
        except Exception as error:
            late = ConnectError(f"it did not answer within {_ANSWER_SECONDS:g} s")
            return self._without_source(before, self._clock.monotonic(), late if limit.expired() else error)
        return self._adopt(secret, now, before.credentials if before is not None and is_renewed else None)

    def _adopt(self, secret: Secret, now: float, credentials: DatabaseCredentials | None) -> CredentialLease:
        lease = self._leased(secret, now, credentials)
        if lease.ends:
            self._remember(lease, now)
        known, self._lease, self._last = self._last, lease, lease
        if known is not None and lease.credentials != known.credentials:
            _log.info("credentials changed", database=self.database, user=lease.credentials.user)
            for listener in list(self.listeners):
                listener("the credentials have changed")
        return lease

    async def _is_written(self, credentials: DatabaseCredentials) -> bool:
        try:
            return (await self.source.read(self.secret)).credentials(self.secret, self.user) == credentials
        except Exception:
            return False

    async def _secret(self, before: CredentialLease | None, now: float) -> tuple[Secret, bool]:
        is_alive = before is not None and before.valid_until > now and before.credentials != self._refused
        if before is not None and before.renewable and is_alive:
            renewed = await self.source.renew(self.secret, before.secret)
            if renewed is not None:
                return renewed, True
        return await self.source.read(self.secret), False

    def _leased(self, secret: Secret, now: float, credentials: DatabaseCredentials | None) -> CredentialLease:
        found = credentials or secret.credentials(self.secret, self.user)
        seconds = secret.valid_seconds
        if seconds is None:
            self._usable_until = now + max(self._grace, self._refresh)
            return CredentialLease(found, math.inf, now + self._refresh, False, secret)
        self._usable_until = now + seconds
        return CredentialLease(found, now + seconds, now + seconds * _RENEW_AFTER, secret.renewable, secret)

    def _without_source(self, before: CredentialLease | None, now: float, error: Exception) -> CredentialLease:
        """The source has failed: what is known holds for as long as it was promised, unless a server refused it."""
        before = before or self._last
        if before is None:
            raise self._unavailable("has failed", error) from _cause(error)
        if before.credentials == self._refused:
            raise self._unavailable("has failed, and the server refuses what it said before", error) from _cause(error)
        if now >= self._usable_until:
            ended = f"has failed, and what it said before ended {now - self._usable_until:.0f} s ago"
            raise self._unavailable(ended, error) from _cause(error)
        left = self._usable_until - now
        _log.warning(
            "source of credentials failed", database=self.database, error=_said(error), usable_seconds=round(left)
        )
        self._lease = CredentialLease(
            before.credentials, before.valid_until, min(now + _AGAIN_SECONDS, self._usable_until), before.renewable,
            Secret(before.secret.text, before.secret.valid_seconds, before.secret.renewable, before.secret.lease),
        )  # fmt: skip
        return self._lease

    def _unavailable(self, what: str, error: Exception) -> Exception:
        if isinstance(error, DatabaseError) and not isinstance(error, ConnectError) and self._last is None:
            return error
        return ConnectError(
            f"no credentials for {self.database!r}: {self.source.description} {what}: {_said(error)};"
            " bring the source back"
        ).at(database=self.database)

    def _remember(self, lease: CredentialLease, now: float) -> None:
        """Keep what has to be revoked in the end; a renewed one takes the place of itself."""
        handle = lease.secret.lease
        self._issued = [each for each in self._issued if each.valid_until > now and each.secret.lease != handle]
        self._issued.append(lease)


def _said(error: Exception) -> str:
    """What may be told of an error: the text of our own, of others the type, as they may quote anything."""
    return str(error) if isinstance(error, DatabaseError) else type(error).__name__


def _cause(error: Exception) -> Exception | None:
    return error if isinstance(error, DatabaseError) else None
