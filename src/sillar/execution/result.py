"""The result of a statement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from sillar.engines.connection import Reply
from sillar.errors import ResultError
from sillar.execution.rows import row_maker
from sillar.query.lane import Lane

T = TypeVar("T")


class QueryResult:
    """Rows and counts of one statement.

    Attributes:
        rows_affected: rows inserted, updated or deleted; for a query: returned.
        last_insert_id: generated key, where the protocol reports one (MySQL, SQLite, MongoDB); with PostgreSQL use
            RETURNING.
        database: configured name of the database.
        duration_seconds: from the call to the reply, the wait for a connection included.
        lane: who ran a statement of SQLAlchemy; None for plain text and commands.
        lane_reason: why it was the slow lane; None for all others.
    """

    __slots__ = ("_dicts", "_reply", "database", "duration_seconds", "lane", "lane_reason", "last_insert_id",
                 "rows_affected")  # fmt: skip

    def __init__(
        self,
        reply: Reply,
        *,
        database: str,
        duration_seconds: float,
        lane: Lane | None = None,
        lane_reason: str | None = None,
    ) -> None:
        self.lane, self.lane_reason = lane, lane_reason
        self._reply = reply
        self._dicts: list[dict[str, Any]] | None = None
        self.rows_affected = reply.rows_affected
        self.last_insert_id = reply.last_insert_id
        self.database = database
        self.duration_seconds = duration_seconds

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names in order; empty where the statement returns no rows."""
        return self._reply.shape.columns if self._reply.shape is not None else ()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts."""
        if self._dicts is None:
            shape = self._reply.shape
            self._dicts = [] if shape is None else row_maker(shape, None).many(self._reply.rows)
        return self._dicts

    def into(self, kind: type[T], *, validate: bool | None = None) -> list[T]:
        """The rows as objects.

        Raises:
            ResultError: they do not fit.
        """
        shape = self._reply.shape
        if shape is None:
            return []
        made: list[T] = row_maker(shape, kind, validate).many(self._reply.rows)
        return made

    def first(self) -> dict[str, Any] | None:
        """The first row, or None."""
        return self.rows[0] if self.rows else None

    def one(self) -> dict[str, Any]:
        """The only row.

        Raises:
            ResultError: there is none, or more than one.
        """
        if len(self._reply.rows) != 1:
            raise ResultError(f"exactly one row was asked for, the statement returned {len(self._reply.rows)}")
        return self.rows[0]

    def scalar(self) -> Any:
        """The first column of the first row, or None."""
        return self._reply.rows[0][0] if self._reply.rows else None

    def scalars(self) -> list[Any]:
        """The first column of all rows."""
        return [row[0] for row in self._reply.rows]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self._reply.rows)

    def __repr__(self) -> str:
        return f"<QueryResult of {self.database}: {len(self)} rows, {self.rows_affected} affected>"
