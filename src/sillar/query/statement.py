"""A statement with its parameters, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sillar.query.document import DocumentCommand

Parameters: TypeAlias = Mapping[str, Any] | Sequence[Any] | None
"""A mapping for ``:name`` placeholders, a sequence for the engine's own placeholders, or None."""


class Query:
    """A statement and its parameters, to be executed later.

    Args:
        statement: SQL text, or a document command for a document database.
        params: a mapping fills ``:name`` placeholders, which work on every SQL engine; a sequence fills the engine's
            own placeholders (``$1``, ``%s``, ``?``), and the text is sent as it stands.
        database: configured name of the database; None is the default one.
        timeout_seconds: how long it may run; None leaves the configured limit.
    """

    __slots__ = ("database", "params", "statement", "timeout_seconds")

    def __init__(
        self,
        statement: str | DocumentCommand,
        params: Parameters = None,
        *,
        database: str | None = None,
        timeout_seconds: float | None = None,
    ) -> None:
        self.statement, self.params = statement, params
        self.database, self.timeout_seconds = database, timeout_seconds

    def __repr__(self) -> str:
        return f"Query({self.statement!r}, database={self.database!r})"
