"""How far a long piece of work has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one piece of work has come.

    Attributes:
        what: the piece of work, such as ``upgrade 1f3a add users`` or ``copy orders``.
        done: how much is done.
        total: of how much; None where nobody knows.
        unit: of what: ``migrations``, ``statements``, ``rows``, ``documents``.
    """

    what: str
    done: int
    total: int | None = None
    unit: str = "rows"


Report = Callable[[Progress], None]
"""Is told from time to time."""


def silent(_: Progress) -> None:
    """Tells nobody."""
