"""What is recorded of a migration that was applied, undone, or taken as applied."""

from __future__ import annotations

import getpass
import platform
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Direction = Literal["up", "down", "stamp"]


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """One entry of the log that a database keeps of its migrations.

    Attributes:
        version: the revision.
        name: what the file says it does.
        direction: ``up``: applied; ``down``: undone; ``stamp``: taken as applied without running it.
        applied_by: user and host of the process.
        applied_at: when it was done, in UTC.
        duration_seconds: how long it ran.
        checksum: of the file as it was then.
        environment: the profile it ran in.
    """

    version: str
    name: str
    direction: Direction
    applied_by: str
    applied_at: datetime
    duration_seconds: float
    checksum: str
    environment: str = "dev"


def who() -> str:
    """User and host of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container whose user has no name
        user = "unknown"
    return f"{user}@{platform.node()}"
