"""What has become of a transaction whose COMMIT was sent and whose reply was lost."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class CommitOutcome(StrEnum):
    """What the server says of it."""

    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    OPEN = "open"
    """It has not ended yet: ask again."""
    UNKNOWN = "unknown"
    """This server cannot tell, now or later: it is another one, or has forgotten."""


class CommitInquiry:
    """What a connection has to do with COMMITs whose reply was lost, its own and those of others.

    As it stands here: of an engine whose COMMITs are never in doubt, or that repeats them by itself.
    """

    __slots__ = ()

    async def transaction_mark(self) -> Any:
        """What another connection takes to tell the outcome of the transaction that is open on this one; asked before
        COMMIT. None: there is nothing to ask afterwards."""
        return None

    async def transaction_outcome(self, mark: Any) -> CommitOutcome:
        """What has become of a transaction of this server."""
        return CommitOutcome.UNKNOWN

    async def confirm_commits(self) -> None:
        """Return once everything that was committed until now is as safe as COMMITs here are; raise if it is not.

        A COMMIT that was applied without its reply may be one that no standby has, where standbys are waited for.
        """

    async def end_session(self, server_id: int, age_seconds: float) -> None:
        """End a session of the same user on this server, if it is at least that old; what is open there is rolled back.
        Not one that waits for standbys: that would make its COMMIT a local one."""
