"""A leased connection: the caller's alone until it is released."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any

from sillar.context import time_left, within_deadline
from sillar.engines.adapter import ConnectionSource, DatabaseAdapter
from sillar.engines.connection import DEFAULT_TRANSACTION, DriverConnection, Reply, TransactionOptions
from sillar.errors import DatabaseError, UsageError
from sillar.query.statement import Parameters


class DatabaseConnection:
    """The lease of one connection.

    Statements run on it in order, one at a time. Release it with :meth:`release`, ``async with``, or
    ``pool.release(lease)``; afterwards every method raises :class:`UsageError`. For typed results use a session.
    """

    __slots__ = (
        "_abandoned",
        "_connection",
        "_on_release",
        "_reason",
        "_source",
        "_statements_running",
        "adapter",
    )

    def __init__(
        self, source: ConnectionSource | None, adapter: DatabaseAdapter, connection: DriverConnection[Any]
    ) -> None:
        self._source = source
        self._connection: DriverConnection[Any] | None = connection
        self.adapter = adapter
        self._on_release: Callable[[], object] | None = None
        self._abandoned: DriverConnection[Any] | None = None
        self._statements_running = 0
        self._reason = "this lease was released; acquire a new one"

    @property
    def connection(self) -> DriverConnection[Any]:
        """The physical connection, as the engine presents it.

        Raises:
            UsageError: the lease was released.
        """
        if self._connection is None:
            raise UsageError(self._reason)
        return self._connection

    @property
    def raw(self) -> Any:
        """The driver's own connection. Since anything can be done with it, the session is reset on release."""
        connection = self.connection
        connection.dirty = True
        return connection.raw

    @property
    def server_id(self) -> int | None:
        """Id of the session on the server (backend pid, connection id)."""
        return self.connection.server_id

    async def execute(
        self, statement: Any, params: Parameters = None, *, timeout_seconds: float | None = None
    ) -> Reply:
        """Run a statement; rows and counts."""
        bound, args = self.adapter.bind(statement, params)
        with self._running() as connection:
            return await connection.run(bound, args, time_left(timeout_seconds))

    async def fetch_all(
        self, statement: Any, params: Parameters = None, *, timeout_seconds: float | None = None
    ) -> list[dict[str, Any]]:
        """Run a statement; all rows as dicts."""
        bound, args = self.adapter.bind(statement, params)
        with self._running() as connection:
            shape, rows = await connection.fetch(bound, args, time_left(timeout_seconds))
        return shape.dicts(rows)

    async def fetch_value(
        self, statement: Any, params: Parameters = None, *, timeout_seconds: float | None = None
    ) -> Any:
        """Run a statement; the first column of the first row, or None."""
        bound, args = self.adapter.bind(statement, params)
        with self._running() as connection:
            _, row = await connection.fetch_row(bound, args, time_left(timeout_seconds))
        return None if row is None else row[0]

    @asynccontextmanager
    async def transaction(self, options: TransactionOptions = DEFAULT_TRANSACTION) -> AsyncIterator[DatabaseConnection]:
        """Run the block in a transaction of this connection; commits, or rolls back on an exception.

        Raises:
            UsageError: a transaction is open already (use savepoints of the session, or ``connection.savepoint``).
        """
        connection = self.connection
        if connection.in_transaction:
            raise UsageError("a transaction is open on this connection already")
        async with within_deadline("BEGIN"):
            await connection.begin(options)
        try:
            yield self
        except BaseException as error:
            try:
                await connection.rollback()
            except DatabaseError as failure:  # what went wrong inside the block is what the caller has to see
                error.add_note(f"the rollback failed, too: {failure}")
            raise
        await connection.commit_undisturbed()

    def release(self) -> None:
        """Give the connection back; once more does nothing."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._statements_running:  # another task's: nobody knows what will be left of it
            connection.dirty = True
        if self._source is not None:
            self._source.release_connection(connection)
        if self._on_release is not None:
            self._on_release()

    def abandon(self, reason: str) -> None:
        """Refuse further use without giving the connection back: in a forked child it is the parent's."""
        self._abandoned, self._connection = self._connection, None
        self._reason = reason

    def on_release(self, callback: Callable[[], object]) -> None:
        """Call something once when the lease is released."""
        self._on_release = callback

    @contextmanager
    def _running(self) -> Iterator[DriverConnection[Any]]:
        connection = self.connection
        self._statements_running += 1
        try:
            yield connection
        finally:
            self._statements_running -= 1

    async def __aenter__(self) -> DatabaseConnection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __reduce__(self) -> Any:
        raise UsageError("a lease cannot be pickled; it belongs to one event loop")

    def __repr__(self) -> str:
        if self._connection is None:
            return "<DatabaseConnection released>"
        return f"<DatabaseConnection to {self._connection.address}, session {self._connection.server_id}>"
