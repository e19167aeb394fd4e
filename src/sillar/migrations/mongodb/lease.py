"""One migrator at a time: a document that one of them holds for a while.

The server's clock (``$$NOW``) alone says whether it is over, so the clocks of the migrators do not matter. The holder
renews it while it works. A holder that was away for longer (frozen, or cut off) may find that another one has taken
over; so each has a number greater than the one before, and whatever it writes into the journal is refused once a later
one has been there.

Source: C. Gray, D. Cheriton, "Leases" (SOSP 1989); M. Kleppmann, "How to do distributed locking" (2016), for the
numbers.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from sillar.errors import DatabaseError, MigrationLockError, UniqueViolationError
from sillar.migrations.mongodb.store import DocumentStore

_log: Final = structlog.get_logger("sillar.migrations")
_ID: Final = "migrator"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FREE: Final = {
    "$lte": [{"$ifNull": ["$expires_at", _LONG_AGO]}, "$$NOW"],
}
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux's other clock stands still while the machine is suspended, and the lease does not."""
_GOODBYE_SECONDS: Final = 2.0
LEASE_SECONDS: Final = 30.0
_FIRST_POLL_SECONDS: Final = 0.1
_POLL_SECONDS: Final = 0.5


def _now() -> float:
    return time.clock_gettime(_CLOCK)


class MigratorLease:
    """The lease of one migrator.

    Args:
        store: the database; it gets a session of its own.
        collection: where the document is.
        seconds: how long the lease is; a third of it is the pause between renewals.

    Attributes:
        owner: this migrator: host, process and a random part.
        number: of the lease that is held, greater than all before; 0 before it was.
    """

    def __init__(self, store: DocumentStore, collection: str, *, seconds: float = LEASE_SECONDS) -> None:
        self._documents = store.another().documents(collection)
        self._renewals = store.another().documents(collection)
        self.seconds = seconds
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.number = 0
        self._renewed_at = 0.0
        self._taken_by: str | None = None

    @asynccontextmanager
    async def held(self, timeout_seconds: float) -> AsyncIterator[MigratorLease]:
        """Hold it within the block, after waiting for whoever holds it now.

        Raises:
            MigrationLockError: another migrator held it for longer than the timeout.
        """
        await self.acquire(timeout_seconds)
        async with self.renewed():
            yield self

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """Renew it within the block, and give it back at the end."""
        renewing = asyncio.get_running_loop().create_task(self._renew_always())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
            await self._release()

    async def check(self) -> None:
        """Return if the lease is still held; ask the server where the last renewal is too long ago to know.

        Raises:
            MigrationLockError: another migrator has taken over.
        """
        if self._taken_by is None and _now() - self._renewed_at > self.seconds * 2 / 3:
            await self._renew(self._documents)
        if self._taken_by is not None:
            raise self.lost()

    def lost(self) -> MigrationLockError:
        """The error for a lease that another one has taken."""
        error = MigrationLockError(
            f"this migrator has lost its lease of {self.seconds:g} s"
            + (f" to {self._taken_by}" if self._taken_by else "")
            + ": it did not renew it in time, being frozen or cut off from the server; it has stopped before its next"
            " step, and the other one continues from the journal"
        )
        error.safe_to_retry = False  # a transaction that meets it is not begun again
        return error

    async def acquire(self, timeout_seconds: float, *, unless: Callable[[], Awaitable[bool]] | None = None) -> bool:
        """Wait for it.

        Args:
            timeout_seconds: how long.
            unless: asked while somebody else has it; once it says so, there is nothing to wait for any more.

        Returns:
            whether it is held now.

        Raises:
            MigrationLockError: another migrator held it for longer than the timeout.
        """
        until, pause = _now() + timeout_seconds, _FIRST_POLL_SECONDS
        while True:
            begun, found = _now(), None
            with suppress(UniqueViolationError):  # another one has made the document at the same moment
                found = await self._documents.find_one_and_update({"_id": _ID}, self._taking(), upsert=True)
            if found is not None and found["owner"] == self.owner:
                self.number, self._renewed_at, self._taken_by = int(found["number"]), begun, None
                return True
            if unless is not None and await unless():
                return False
            left = until - _now()
            if left <= 0:
                holder = "" if found is None else f" ({found['owner']}, since {found['since']:%H:%M:%S} UTC)"
                raise MigrationLockError(
                    f"another migrator{holder} is at work on the database for longer than"
                    f" migrator_timeout={timeout_seconds:g} s; wait for it, or raise the timeout. If it was killed, its"
                    f" lease ends by itself, {self.seconds:g} s after it was renewed last"
                )
            await asyncio.sleep(min(left, random.uniform(0.5, 1.0) * pause))
            pause = min(pause * 1.5, _POLL_SECONDS, self.seconds)

    # --- within -------------------------------------------------------------------------------------------------------

    def _taking(self) -> list[dict[str, Any]]:
        """Take it if it is free; else leave the document as it is. An upsert takes no such condition in its filter."""
        taken = {
            "owner": self.owner,
            "number": {"$add": [{"$ifNull": ["$number", 0]}, 1]},
            "since": "$$NOW",
            "expires_at": {"$add": ["$$NOW", round(self.seconds * 1000)]},
        }
        return [
            {"$set": {"free": _FREE}},
            {"$set": {name: {"$cond": ["$free", value, f"${name}"]} for name, value in taken.items()}},
            {"$unset": "free"},
        ]

    async def _renew_always(self) -> None:
        while self._taken_by is None:
            await asyncio.sleep(self.seconds / 3)
            try:
                await self._renew(self._renewals)
            except DatabaseError as error:  # the journal keeps the order, whoever holds the lease when it is back
                _log.warning("the lease of the migrator could not be renewed", error=str(error))

    async def _renew(self, documents: Any) -> None:
        begun = _now()
        mine = {"_id": _ID, "owner": self.owner, "number": self.number}
        later: list[dict[str, Any]] = [{"$set": {"expires_at": {"$add": ["$$NOW", round(self.seconds * 1000)]}}}]
        outcome = await documents.update_one(mine, later)
        if outcome.matched:
            self._renewed_at = begun
            return
        found = await documents.find_one({"_id": _ID})
        self._taken_by = "nobody" if found is None else str(found["owner"])

    async def _release(self) -> None:
        mine = {"_id": _ID, "owner": self.owner, "number": self.number}
        try:
            expired = {"$set": {"expires_at": _LONG_AGO}}
            await self._documents.update_one(mine, expired, timeout_seconds=_GOODBYE_SECONDS)
        except DatabaseError as error:  # it ends by itself
            _log.warning("the lease of the migrator could not be given back", error=str(error))
