"""On which terms SQLAlchemy asks for a connection: what its engine says, and what the block says that it stands in."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from sillar.consistency import Consistency, LineOfWork, current_line


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """What an engine wants of its connections.

    Attributes:
        read_only: nothing is written: a replica will do, and the server is told to refuse writes.
        consistency: how fresh the data has to be where there are replicas; None is what the context asks for, and then
            the database's default.
    """

    read_only: bool = False
    consistency: Consistency | None = None

    def line(self) -> LineOfWork | None:
        """The line of work of the running task with this consistency; None where the context decides alone."""
        return None if self.consistency is None else current_line(self.consistency)


PLAIN_TERMS: Final = LeaseTerms()

terms_of_checkout: Final[ContextVar[LeaseTerms | None]] = ContextVar("sillar_lease_terms", default=None)
"""The terms of the checkout that is under way in this context; None outside of one."""
