"""COMMITs whose reply was lost: what tells afterwards whether they were applied.

There are two ways, both asked for by ``resolve_commit`` of the transaction, since both cost a round trip before COMMIT:

- ``server``: the server is asked by the id of the transaction (PostgreSQL; MongoDB repeats the commit itself).
- ``marker``: a row with a random id is inserted before COMMIT. Afterwards the same id is inserted *again*, on
  whichever node is the primary then. While the old transaction is open, this waits for it; if it was applied, the row
  is refused as a duplicate; if it was not, the new row is a *fence*, which says so to whoever asks later.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import structlog

from sillar.context import remaining_seconds
from sillar.engines.connection import DriverConnection
from sillar.engines.outcome import CommitOutcome
from sillar.errors import (
    CommitUnknownError,
    ConnectionLostError,
    DatabaseError,
    PoolClosedError,
    ReadOnlyError,
    StatementTimeoutError,
    TransientStatementError,
    UnavailableError,
    UniqueViolationError,
    UsageError,
)
from sillar.execution.retry import Backoff
from sillar.pool.place import calling_place

if TYPE_CHECKING:
    from sillar.execution.executor import Executor
    from sillar.execution.session import DatabaseSession
    from sillar.execution.transaction import Transaction

_log: Final = structlog.get_logger("sillar.transaction")
_TABLE: Final = "sillar_commit_marker"
_INSERT: Final = f"INSERT INTO {_TABLE} (id, created_at, is_fence) VALUES (:id, :created_at, :is_fence)"  # noqa: S608
_LOCK_SECONDS: Final = 0.5
"""How long one insertion of a fence waits for the transaction before it."""
_PATIENCE_SECONDS: Final = 1.0
"""How long a session that has not ended its transaction is left alone: most do so at once."""
_AGE_MIN_SECONDS: Final = 3600.0
_PASSING: Final = (UnavailableError, ReadOnlyError)


class CommitResolution(StrEnum):
    """What finds out what became of a COMMIT whose reply was lost."""

    SERVER = "server"
    """The server, asked by the id of the transaction: PostgreSQL, as long as there is no failover."""
    MARKER = "marker"
    """A row of the table that :class:`CommitMarkers` creates: every SQL engine, across failovers, too."""


class CommitMarkers:
    """The table of the rows that tell what became of a COMMIT; nothing creates it silently.

    Args:
        session: on the database.
    """

    def __init__(self, session: DatabaseSession) -> None:
        self._session = session

    async def create_table(self) -> None:
        """Create ``sillar_commit_marker`` if it is not there."""
        await self._session.execute(
            f"CREATE TABLE IF NOT EXISTS {_TABLE}"
            " (id CHAR(32) NOT NULL PRIMARY KEY, created_at BIGINT NOT NULL, is_fence SMALLINT NOT NULL)"
        )

    async def delete(self, *, older_than_seconds: float = 86_400.0) -> int:
        """Delete the rows that nobody asks for any more; how many there were. Run it now and then.

        Args:
            older_than_seconds: by the clock of whoever wrote them. Far more than any COMMIT is asked about
                (``retry.resolution_timeout``): a row that is gone too early makes its transaction look rolled back.

        Raises:
            UsageError: less than an hour.
        """
        if older_than_seconds < _AGE_MIN_SECONDS:
            raise UsageError(
                f"older_than_seconds is {older_than_seconds:g} and has to be {_AGE_MIN_SECONDS:g} at least: a row that"
                " is still asked for would make its transaction look rolled back"
            )
        result = await self._session.execute(
            f"DELETE FROM {_TABLE} WHERE created_at < :before",  # noqa: S608 - a constant
            {"before": int(time.time() - older_than_seconds)},
        )
        return result.rows_affected


class CommitWitness(ABC):
    """Knows one transaction, and what to ask about it. Made on its connection, before COMMIT is sent.

    Args:
        connection: on which it is open.
    """

    def __init__(self, connection: DriverConnection[Any]) -> None:
        self.address, self.server_id = connection.address, connection.server_id
        self._since = time.monotonic()

    @abstractmethod
    async def outcome(self, connection: DriverConnection[Any]) -> CommitOutcome:
        """What a connection to the primary of now says."""

    async def hasten(self, connection: DriverConnection[Any]) -> None:
        """End the old session if it is still there: it may never hear that its client has gone."""
        if self.server_id is not None and connection.address == self.address:
            await connection.end_session(self.server_id, time.monotonic() - self._since)


class ServerWitness(CommitWitness):
    """The server itself, by the id of the transaction."""

    def __init__(self, connection: DriverConnection[Any], mark: Any) -> None:
        super().__init__(connection)
        self._mark = mark

    async def outcome(self, connection: DriverConnection[Any]) -> CommitOutcome:
        return await connection.transaction_outcome(self._mark)


class MarkerWitness(CommitWitness):
    """A row that is there if and only if the transaction was applied."""

    def __init__(self, executor: Executor, connection: DriverConnection[Any]) -> None:
        super().__init__(connection)
        self._executor = executor
        self._id = secrets.token_hex(16)

    async def insert(self, connection: DriverConnection[Any], *, is_fence: bool) -> None:
        """Insert the row of the transaction, or a fence in its place."""
        values = {"id": self._id, "created_at": int(time.time()), "is_fence": int(is_fence)}
        statement, args = self._executor.adapter.bind(_INSERT, values)
        await connection.run(statement, args, _LOCK_SECONDS if is_fence else None)

    async def outcome(self, connection: DriverConnection[Any]) -> CommitOutcome:
        try:
            await self.insert(connection, is_fence=True)
        except UniqueViolationError:
            bind = self._executor.adapter.bind
            statement, args = bind(f"SELECT is_fence FROM {_TABLE} WHERE id = :id", {"id": self._id})  # noqa: S608
            _, row = await connection.fetch_row(statement, args)
            if row is None:
                return CommitOutcome.OPEN
            return CommitOutcome.ROLLED_BACK if row[0] else CommitOutcome.COMMITTED
        return CommitOutcome.ROLLED_BACK


async def witness_of(
    executor: Executor, connection: DriverConnection[Any], resolution: CommitResolution
) -> CommitWitness | None:
    """What will tell of the transaction that is open on a connection; None where its COMMIT tells by itself."""
    if resolution is CommitResolution.MARKER:
        witness = MarkerWitness(executor, connection)
        await witness.insert(connection, is_fence=False)
        return witness
    mark = await connection.transaction_mark()
    return None if mark is None else ServerWitness(connection, mark)


async def resolve(transaction: Transaction, doubt: CommitUnknownError, witness: CommitWitness | None) -> None:
    """Return if the transaction was applied.

    Args:
        transaction: it has given its connection back.
        doubt: what COMMIT has raised.
        witness: made before COMMIT, if that was asked for.

    Raises:
        ConnectionLostError: it was not applied, and never will be.
        CommitUnknownError: nobody could tell in time.
    """
    executor = transaction._executor
    if transaction.options.read_only:
        raise _lost("the reply to COMMIT was lost; the transaction had nothing to apply", transaction, doubt) from doubt
    if witness is None:
        raise doubt
    outcome = await _outcome(executor, witness)
    _log.info("asked for the outcome of a COMMIT", database=executor.name, outcome=str(outcome))
    if outcome is CommitOutcome.COMMITTED:
        return
    if outcome is CommitOutcome.ROLLED_BACK:
        message = "the connection broke under COMMIT; the server says that the transaction was not applied"
        raise _lost(message, transaction, doubt) from doubt
    doubt.add_note(
        "the server that was asked afterwards cannot tell: it is another one, or was promoted, or has crashed since"
        if outcome is CommitOutcome.UNKNOWN
        else "no server could tell in time (retry.resolution_timeout, or the deadline of the context)"
    )
    raise doubt


def _lost(message: str, transaction: Transaction, doubt: CommitUnknownError) -> ConnectionLostError:
    error = ConnectionLostError(message, safe_to_retry=not transaction.may_have_committed)
    error.at(database=transaction._executor.name, node=doubt.node)
    return error


async def _outcome(executor: Executor, witness: CommitWitness) -> CommitOutcome:
    """Ask until the answer is final; ``OPEN``: time is up."""
    config = executor.adapter.config.retry
    remaining = remaining_seconds()
    seconds = config.resolution_timeout if remaining is None else min(remaining, config.resolution_timeout)
    backoff, attempt, began = Backoff(config), 1, time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            while True:
                outcome = await _asked(executor, witness, patient=time.monotonic() - began < _PATIENCE_SECONDS)
                if outcome is not CommitOutcome.OPEN:
                    return outcome
                await asyncio.sleep(min(backoff.pause_seconds(attempt), 0.2))
                attempt += 1
    except TimeoutError:
        return CommitOutcome.OPEN


async def _asked(executor: Executor, witness: CommitWitness, *, patient: bool) -> CommitOutcome:
    try:
        connection = await executor.acquire()
        connection.place = calling_place()
        try:
            outcome = await witness.outcome(connection)
            if outcome is CommitOutcome.COMMITTED:
                await connection.confirm_commits()
            elif outcome is CommitOutcome.OPEN and not patient:
                await witness.hasten(connection)
        except (StatementTimeoutError, TransientStatementError):  # it waits for the old transaction
            if not patient:
                await witness.hasten(connection)
            return CommitOutcome.OPEN
        finally:
            executor.source.release_connection(connection)
    except PoolClosedError:
        return CommitOutcome.UNKNOWN
    except _PASSING as error:
        _log.debug("the outcome of a COMMIT cannot be had yet", database=executor.name, error=type(error).__name__)
        return CommitOutcome.OPEN
    except DatabaseError as error:
        _log.warning("the outcome of a COMMIT cannot be had", database=executor.name, error=str(error))
        return CommitOutcome.UNKNOWN
    return outcome
