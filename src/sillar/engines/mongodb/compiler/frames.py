"""The frame of a window, in the two forms that versions of SQLAlchemy give it: 2.0 a pair of numbers and marks, 2.1 an
object with parameters."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple


class Edge(Enum):
    """Where a frame begins or ends."""

    UNBOUNDED = "unbounded"
    CURRENT = "current"
    PRECEDING = "preceding"
    FOLLOWING = "following"


class Bound(NamedTuple):
    """One end of a frame.

    Attributes:
        edge: where it is.
        distance: rows or values from the current one: a parameter, or in 2.0 a number from 0 on; None without one.
    """

    edge: Edge
    distance: Any


def bounds_of(frame: Any) -> tuple[Bound, Bound]:
    """Both ends of ``over.rows`` or ``over.range_``."""
    if isinstance(frame, tuple):
        low, high = frame
        return _of_mark(low), _of_mark(high)
    return (
        Bound(Edge[frame.lower_type.name], frame.lower_bind),
        Bound(Edge[frame.upper_type.name], frame.upper_bind),
    )


def _of_mark(mark: Any) -> Bound:
    if isinstance(mark, Enum):
        return Bound(Edge[mark.name.removeprefix("RANGE_")], None)
    return Bound(Edge.PRECEDING if mark < 0 else Edge.FOLLOWING, abs(mark))
