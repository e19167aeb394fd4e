"""Whole transactions, run again where that cannot apply them twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from sillar.context import remaining_seconds
from sillar.errors import (
    ConnectionLostError,
    DatabaseError,
    StatementSyntaxError,
    TransientStatementError,
    UnknownStatementError,
)
from sillar.execution.retry import Backoff, may_be_repeated

if TYPE_CHECKING:
    from sillar.execution.executor import Executor
    from sillar.execution.transaction import Transaction

T = TypeVar("T")
_log: Final = structlog.get_logger("sillar.transaction")
_CONSEQUENCES: Final = (UnknownStatementError, StatementSyntaxError)
"""What a server says of a transaction that it has ended: it is aborted, or its savepoint does not exist."""


async def run_whole(
    executor: Executor,
    make_transaction: Callable[[], Transaction],
    work: Callable[[Transaction], Awaitable[T]],
    attempts_max: int,
) -> T:
    """Run the work in a transaction of its own, commit, and return what it returned; again and again where that helps.

    Args:
        executor: of the database.
        make_transaction: gives a new transaction, not begun, for each attempt.
        work: what to do in it.
        attempts_max: how often at most.

    Raises:
        what the last attempt has raised.
    """
    attempt, started = 1, perf_counter()
    backoff: Backoff | None = None
    while True:
        transaction = make_transaction()
        try:
            async with transaction:
                return await work(transaction)
        except Exception as error:
            failure = _failure(error, transaction, executor)
            if failure is None or not _may_run_again(failure, transaction, executor):
                raise
            if attempt >= attempts_max:
                spent = perf_counter() - started
                error.add_note(
                    f"the transaction was run {attempt} times within {spent:.3g} s; if that was by contention, let"
                    " fewer work on the same rows at once, or raise attempts_max"
                )
                raise
            backoff = backoff or Backoff(executor.adapter.config.retry)
            if not await backoff.pause(attempt):
                error.add_note(
                    f"the transaction was run {attempt} times, and not again: {remaining_seconds():.3g} s are left"
                    " until the deadline of this context"
                )
                raise
            _log.info("transaction is run again", database=executor.name, attempt=attempt, error=type(failure).__name__)
        attempt += 1


def _failure(error: Exception, transaction: Transaction, executor: Executor) -> DatabaseError | None:
    """The error in Sillar's terms, where it is one of the database or of an ORM on it."""
    failure = _translated(error, executor)
    if isinstance(failure, ConnectionLostError) and failure is not error:
        failure.safe_to_retry = transaction.was_lost  # the ORM does not know of the transaction around it
    if not isinstance(failure, _CONSEQUENCES):
        return failure
    # It may have come up while the real one was dealt with.
    behind: BaseException | None = error
    while behind is not None:
        found = _translated(behind, executor)
        if isinstance(found, TransientStatementError):
            return found
        behind = behind.__context__
    return failure


def _translated(error: BaseException, executor: Executor) -> DatabaseError | None:
    return error if isinstance(error, DatabaseError) else executor.translated(error)


def _may_run_again(error: DatabaseError, transaction: Transaction, executor: Executor) -> bool:
    """Whether nothing of the attempt stays, and another one may succeed."""
    if error.database not in (None, executor.name) or transaction.may_have_committed:
        return False
    options = transaction.options
    return may_be_repeated(error, writable=not (options.read_only or executor.adapter.config.read_only))
