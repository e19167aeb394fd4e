"""Who runs a statement of SQLAlchemy."""

from __future__ import annotations

from enum import StrEnum


class Lane(StrEnum):
    """How a statement of SQLAlchemy gets to the server."""

    FAST = "fast"
    """Compiled once per shape, then sent by Sillar itself with the values in their places."""
    SLOW = "slow"
    """SQLAlchemy runs it, on the same lease."""
