"""Exit statuses: 0 all is well, 1 it is not, 2 wrong use, 130 interrupted."""

from __future__ import annotations

from typing import Final

from sillar.errors import (
    ConfigurationError,
    MigrationRefusedError,
    MigrationStateError,
    UsageError,
)

INTERRUPTED: Final = 130


def status_of(error: Exception) -> int:
    """The exit status that says who must act: whoever typed the command (2) or looks after the database (1)."""
    if isinstance(error, MigrationRefusedError | MigrationStateError):
        return 1  # the command was right, what it found is not
    return 2 if isinstance(error, UsageError | ConfigurationError) else 1


__all__ = ["INTERRUPTED", "status_of"]
