"""A statement that SQLAlchemy itself has to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sqlalchemy.sql.elements import ClauseElement

from sillar.errors import UsageError
from sillar.query.lane import Lane
from sillar.query.text import StatementText


class SlowStatement:
    """What an adapter binds for the slow lane: the statement as it is, and what is known of its text.

    Attributes:
        text: its compiled text, scanned.
        statement: SQLAlchemy's.
        params: values for its named parameters, or None.
        lane_reason: why the fast lane does not take it.
    """

    __slots__ = ("lane_reason", "params", "statement", "text")

    lane: ClassVar = Lane.SLOW

    def __init__(
        self, text: StatementText, statement: ClauseElement, params: Mapping[str, Any] | None, lane_reason: str
    ) -> None:
        self.text, self.statement, self.params, self.lane_reason = text, statement, params, lane_reason

    @property
    def verb(self) -> str:
        """Its first word in lower case."""
        return self.text.verb

    @property
    def fingerprint(self) -> str:
        """The statement without its values."""
        return self.text.fingerprint

    @property
    def fingerprint_id(self) -> str:
        """Sixteen hexadecimal digits that stand for the fingerprint."""
        return self.text.fingerprint_id

    @property
    def is_read(self) -> bool:
        """Whether it certainly does not write."""
        return self.text.is_read

    @property
    def is_clean(self) -> bool:
        """Whether it certainly leaves nothing behind in the session."""
        return self.text.is_clean

    @property
    def is_atomic(self) -> bool:
        """Whether it certainly is applied as a whole or not at all."""
        return self.text.is_atomic

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise UsageError(
            f"this statement takes the slow lane ({self.lane_reason}), which a connection by itself cannot: run it"
            " through a session"
        )

    def __repr__(self) -> str:
        return f"SlowStatement({self.fingerprint!r})"
