"""Where batches run: the connection of a revision between two of its transactions, or one that nobody has begun on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError

from sillar.errors import UsageError
from sillar.migrations.data.dialects import BatchDialect, batch_dialect
from sillar.migrations.sql.connections import pause
from sillar.migrations.sql.journal import not_journalled

_ATTEMPTS = 6
_FIRST_PAUSE_SECONDS = 0.05


@dataclass
class Place:
    """A connection on which no transaction is open, and what is known of its database.

    Attributes:
        connection: of SQLAlchemy.
        dialect: the facts.
        schema: where Alembic's tables are; None: where unqualified names lead.
    """

    connection: Connection
    dialect: BatchDialect
    schema: str | None = None

    def pause(self, seconds: float) -> None:
        """Wait; an event loop below goes on."""
        pause(self.connection, seconds)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction; commits unless an error comes or somebody has rolled it back."""
        transaction = self.connection.begin()
        try:
            yield self.connection
        except BaseException:
            if not self.connection.invalidated:
                transaction.rollback()
            raise
        if transaction.is_active:
            transaction.commit()

    def attempts(self, *, conflicts: bool = False) -> Iterator[Attempt]:
        """Up to six attempts of a transaction, with growing pauses in between.

        Args:
            conflicts: as for :class:`Attempt`.
        """
        for number in range(1, _ATTEMPTS + 1):
            attempt = Attempt(self, is_last=number == _ATTEMPTS, conflicts=conflicts)
            yield attempt
            if attempt.succeeded:
                return
            self.pause(_FIRST_PAUSE_SECONDS * 2 ** (number - 1))


class Attempt:
    """A context manager that swallows errors after which the same transaction may succeed: deadlocks, lock timeouts,
    serialization failures; the last attempt raises them.

    Args:
        place: where it runs.
        is_last: nothing is swallowed.
        conflicts: unique violations are swallowed, too: another look finds the row that was in the way.
    """

    def __init__(self, place: Place, *, is_last: bool, conflicts: bool) -> None:
        self._place, self._is_last, self._conflicts = place, is_last, conflicts
        self.succeeded = False

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        self.succeeded = error is None
        return (
            not self._is_last
            and isinstance(error, DBAPIError)
            and not self._place.connection.invalidated
            and (self._place.dialect.is_transient(error) or (self._conflicts and isinstance(error, IntegrityError)))
        )


@contextmanager
def open_place(bind: Any) -> Iterator[Place]:
    """Within the block, batches can begin and commit transactions of their own.

    The transaction of a revision is committed before and another one begun afterwards, as in Alembic's
    ``autocommit_block()``. The isolation level is the dialect's for short transactions, and restored.

    Args:
        bind: ``alembic.op`` in a revision, or a connection.

    Raises:
        UsageError: it is something else, or a transaction of somebody else is open.
    """
    context = context_of(bind)
    if context is None:
        with _between_transactions(bind, None) as place:
            yield place
        return
    connection = context.connection
    assert connection is not None  # it is not offline
    if context._in_external_transaction:
        raise UsageError(
            "a transaction was open before the migrations began, so batches could not commit: in env.py, open the"
            " connection with connect() and leave transactions to context.begin_transaction()"
        )
    had_transaction = context._transaction is not None
    if context._transaction is not None:
        context._transaction.commit()
        context._transaction = None
    try:
        with not_journalled(connection), _between_transactions(connection, context.version_table_schema) as place:
            yield place
    finally:
        if had_transaction and not connection.closed and not connection.invalidated:
            context._transaction = connection.begin()


@contextmanager
def _between_transactions(connection: Connection, schema: str | None) -> Iterator[Place]:
    if connection.in_transaction():
        raise UsageError(
            "a transaction is open on this connection, and batches would have to commit it: commit() or rollback() it"
            " first; in a revision, pass `op` itself, outside of autocommit_block()"
        )
    place = Place(connection, batch_dialect(connection.dialect.name), schema)
    with place.transaction():
        level = connection.get_isolation_level()
    wanted = place.dialect.isolation
    if level != wanted:
        connection.execution_options(isolation_level=wanted)
    try:
        yield place
    finally:
        if not connection.closed and not connection.invalidated:
            if connection.in_transaction():
                connection.rollback()
            if level != wanted:
                connection.execution_options(isolation_level=level)


def context_of(bind: Any) -> MigrationContext | None:
    """The context of ``alembic.op``; None for a connection.

    Raises:
        UsageError: it is something else.
    """
    if isinstance(bind, Connection):
        return None
    try:
        found = bind.get_context()
    except (AttributeError, NameError, InvalidRequestError) as error:
        raise UsageError(
            "batches run on `alembic.op` within a revision, or on a synchronous SQLAlchemy Connection (of an"
            f" AsyncEngine: `await connection.run_sync(…)`, or run_batched()); this is a {type(bind).__name__}"
        ) from error
    if not isinstance(found, MigrationContext):
        raise UsageError(f"get_context() of {type(bind).__name__} is no MigrationContext of Alembic's")
    return found
