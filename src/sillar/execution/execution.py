"""One execution: what goes down the pipeline, and what is observed of it afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sillar.consistency import LineOfWork
from sillar.engines.connection import CopyConnection, DriverConnection
from sillar.query.lane import Lane

Operation = Callable[[Any, "Execution"], Awaitable[Any]]
"""How an execution runs on a connection."""


class Execution:
    """One statement, or several on one lease, on the way to a database.

    Interceptors may change ``statement``, ``args`` and ``timeout_seconds``, and attach companions: statements that run
    on the same lease in the same transaction, before or after the main one.

    Attributes:
        database: configured name of the database.
        operation: how it runs on a connection; one of the functions below.
        statement, args: what the engine's adapter bound.
        timeout_seconds: how long the statement may run; None: the configured limit of the engine.
        connection: the connection of the open transaction, or None: then one is leased for this execution.
        before, after: companions.
        payload: what the operation needs beyond the statement (parameter sets, rows, a batch size).
        line: what the session's line of work has written and how fresh its reads have to be, where there are several
            nodes.
        attempt: 1, and one more for each retry.
        address: the node it ran on, once it ran.
        waited_seconds: how much of the time went into waiting for a connection.
        started, duration_seconds: filled by OBSERVE, on the ``time.perf_counter()`` scale.
    """

    __slots__ = (
        "address",
        "after",
        "args",
        "attempt",
        "before",
        "connection",
        "database",
        "duration_seconds",
        "line",
        "operation",
        "payload",
        "started",
        "statement",
        "timeout_seconds",
        "waited_seconds",
    )

    def __init__(
        self,
        database: str,
        operation: Operation,
        statement: Any,
        args: Sequence[Any],
        timeout_seconds: float | None,
        connection: DriverConnection[Any] | None,
        payload: Any = None,
        line: LineOfWork | None = None,
    ) -> None:
        self.database = database
        self.operation = operation
        self.statement = statement
        self.args = args
        self.timeout_seconds = timeout_seconds
        self.connection = connection
        self.payload = payload
        self.line = line
        self.before: Sequence[tuple[Any, Sequence[Any]]] = ()
        self.after: Sequence[tuple[Any, Sequence[Any]]] = ()
        self.attempt = 1
        self.address: str | None = None
        self.started = self.duration_seconds = self.waited_seconds = 0.0

    @property
    def fingerprint(self) -> str:
        """The statement without its values."""
        return str(self.statement.fingerprint) if self.statement is not None else self.operation.__name__

    @property
    def is_read(self) -> bool:
        """Whether it certainly does not write."""
        return self.statement is not None and bool(self.statement.is_read)

    @property
    def reads_only(self) -> bool:
        """Whether its statement, or none of several, writes. Its companions are not looked at."""
        statement = self.statement
        return statement is not None and statement.is_read and self.operation is not run_batch

    @property
    def lane(self) -> Lane | None:
        """Who runs a statement of SQLAlchemy; None for plain text and commands."""
        return getattr(self.statement, "lane", None)

    @property
    def lane_reason(self) -> str | None:
        """Why it is the slow lane; None for all others."""
        return getattr(self.statement, "lane_reason", None) if self.lane is Lane.SLOW else None

    def __repr__(self) -> str:
        return f"<Execution on {self.database}: {self.fingerprint}>"


def rows(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Any]:
    """All rows → ``(shape, rows)``."""
    return connection.fetch(execution.statement, execution.args, execution.timeout_seconds)


def keyed_rows(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Any]:
    """As :func:`rows`, by key: short, so it goes first where callers wait for a connection."""
    return connection.fetch(execution.statement, execution.args, execution.timeout_seconds)


def row(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Any]:
    """The first row → ``(shape, row or None)``."""
    return connection.fetch_row(execution.statement, execution.args, execution.timeout_seconds)


def run(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Any]:
    """Rows and counts → ``Reply``."""
    return connection.run(execution.statement, execution.args, execution.timeout_seconds)


def run_many(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Any]:
    """Once per parameter set of the payload → rows affected."""
    return connection.run_many(execution.statement, execution.payload, execution.timeout_seconds)


def run_batch(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Any]:
    """The statements of the payload in order → list of ``Reply``."""
    if type(execution.payload) is not list:  # some of them take the slow lane
        laned: Awaitable[Any] = execution.payload.run(connection, execution.timeout_seconds)
        return laned
    return connection.run_batch(execution.payload, execution.timeout_seconds)


def bulk_insert(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Any]:
    """The rows of the payload ``(table, columns, rows)`` → rows inserted."""
    table, columns, values = execution.payload
    return connection.bulk_insert(table, columns, values, execution.timeout_seconds)


def write_batch(connection: DriverConnection[Any], execution: Execution) -> Awaitable[Any]:
    """The rows of the payload, as the ``BulkWrite`` says → rows affected."""
    return connection.write_batch(execution.statement, execution.payload, execution.timeout_seconds)


def copy_out(connection: CopyConnection, execution: Execution) -> Awaitable[Any]:
    """The query of the payload ``(query, write)`` as COPY text → rows copied."""
    query, write = execution.payload
    return connection.copy_out(query, write, execution.timeout_seconds)


def copy_in(connection: CopyConnection, execution: Execution) -> Awaitable[Any]:
    """The bytes of the payload ``(table, columns, source)`` as COPY text → rows copied."""
    table, columns, source = execution.payload
    return connection.copy_in(table, columns, source, execution.timeout_seconds)
