"""The session: what a route or a job talks to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar

from sillar.capabilities import Capability
from sillar.consistency import (
    AskedFor,
    Consistency,
    Target,
    ask_for,
    ask_no_more,
    current_line,
    current_target,
)
from sillar.engines.connection import DEFAULT_TRANSACTION, DriverConnection, Isolation, TransactionOptions
from sillar.errors import DatabaseError, UsageError
from sillar.execution import current
from sillar.execution.commit_outcome import CommitResolution
from sillar.execution.executor import Executor
from sillar.execution.rerun import run_whole
from sillar.execution.statements import Statements
from sillar.execution.transaction import Transaction

T = TypeVar("T")


class DatabaseSession(Statements):
    """Statements and transactions on one database.

    Outside a transaction every statement commits by itself. A connection is held only while a statement runs or a
    transaction is open, so sessions are cheap: one per request or job. A session belongs to one task at a time.

    Args:
        executor: the path of one database.
        autobegin: the first statement begins a transaction, which :meth:`commit` or :meth:`rollback` ends; leaving
            ``async with`` commits, or rolls back on an exception.
        consistency: how fresh reads have to be where the database has replicas; None is what the context asks for
            (``consistency_context``), and then the database's default. It holds for ORMs inside ``async with``, too.
    """

    __slots__ = ("_asked", "_autobegin", "_beginning", "_closed", "_connection", "_consistency", "_entered",
                 "_executor", "_line", "_transactions", "_unready")  # fmt: skip

    def __init__(self, executor: Executor, *, autobegin: bool = False, consistency: Consistency | None = None) -> None:
        self._executor = executor
        self._autobegin = autobegin
        self._consistency = consistency
        self._line = current_line(consistency) if executor.source.is_routed else None
        self._asked: AskedFor | None = None
        self._connection: DriverConnection[Any] | None = None
        self._transactions: list[Transaction] = []
        self._beginning = self._closed = False
        self._entered: current.Entered | None = None
        self._unready = autobegin

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return bool(self._transactions)

    @property
    def owning_transaction(self) -> Transaction | None:
        return self._transactions[-1] if self._transactions else None

    async def begin_if_due(self) -> None:
        await self._open_connection()

    def transaction(
        self,
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        settings: Iterable[tuple[str, str]] = (),
        resolve_commit: CommitResolution | bool = False,
    ) -> Transaction:
        """A transaction for ``async with``; inside an open one, a savepoint.

        Args:
            isolation: None is the server's default.
            read_only: the server refuses writes; a replica that is fresh enough will do.
            settings: transaction-local settings (PostgreSQL), sent together with BEGIN.
            resolve_commit: find out what became of a COMMIT whose reply was lost, at the price of a round trip before
                each COMMIT; True is ``CommitResolution.SERVER``. Without it, and where nobody can tell, a lost reply
                raises ``CommitUnknownError``.

        Raises:
            UsageError: the session is closed.
            UnsupportedCapabilityError: the engine has no such transaction; nothing was sent.
        """
        self._check_open()
        if self._line is not None and self._connection is None and current_target() is Target.REPLICA:
            read_only = True
        options = DEFAULT_TRANSACTION
        if isolation is not None or read_only or settings:
            options = TransactionOptions(isolation, read_only, tuple(settings))
        self._executor.adapter.check_transaction(options, nested=self._connection is not None)
        return Transaction(self, options, self._resolution(resolve_commit))

    async def run_in_transaction(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        isolation: Isolation | None = None,
        read_only: bool = False,
        settings: Iterable[tuple[str, str]] = (),
        attempts_max: int | None = None,
        resolve_commit: CommitResolution | bool = False,
    ) -> T:
        """Await ``work(transaction)`` in a transaction of its own, commit, and return what it returned.

        The whole of it is run again, on a new connection, after a serialization failure, a deadlock, a lock timeout, a
        connection that was lost before COMMIT was sent, and a write that met a node which is no primary any more. Not
        after waits for a connection that were in vain, after errors of the work itself, or of constraints. So the work
        has to begin from nothing each time, and has no effects outside the database but such as may happen again.

        Pauses have full jitter, as the ``retry`` of the database says; the deadline of the context bounds all of it.

        Args:
            work: gets the transaction; the session's own statements, and ORMs, run inside it, too.
            isolation, read_only, settings: as for :meth:`transaction`.
            attempts_max: how often it runs at most; None: ``retry.transaction_attempts_max`` of the database.
            resolve_commit: as for :meth:`transaction`; a transaction that turns out not to be applied is run again.

        Raises:
            UsageError: a transaction is open on this session already.
            CommitUnknownError: the reply to COMMIT was lost, and nobody could tell what became of it.
            DatabaseError: what the last attempt has raised.
        """
        if self._transactions:
            raise UsageError(
                "run_in_transaction begins a transaction, and one is open on this session already, which cannot be run"
                " again from here: await work(transaction) for a part of it, or session.transaction() for a savepoint"
            )
        if attempts_max is None:
            attempts_max = self._executor.adapter.config.retry.transaction_attempts_max
        elif attempts_max < 1:
            raise UsageError(f"attempts_max is {attempts_max}, and has to be 1 at least: 1 means no retries")
        local = tuple(settings)

        def make_transaction() -> Transaction:
            return self.transaction(
                isolation=isolation, read_only=read_only, settings=local, resolve_commit=resolve_commit
            )

        return await run_whole(self._executor, make_transaction, work, attempts_max)

    async def commit(self) -> None:
        """Commit the transaction that is open; without one, do nothing."""
        if self._transactions:
            await self._outermost("commit").commit()

    async def rollback(self) -> None:
        """Roll back the transaction that is open; without one, do nothing."""
        if self._transactions:
            await self._outermost("roll back").rollback()

    async def close(self) -> None:
        """Roll back what is open and refuse further use. Once more does nothing."""
        self._closed = self._unready = True
        if self._transactions:
            await self._transactions[0].rollback()

    async def __aenter__(self) -> DatabaseSession:
        self._check_open()
        self._entered = current.enter(self)
        if self._consistency is not None:
            self._asked = ask_for(self._consistency)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entered, self._entered = self._entered, None
        current.leave(self, entered)
        if self._asked is not None:
            ask_no_more(self._asked)
            self._asked = None
        try:
            if error is None and self._autobegin:
                await self.commit()
        finally:
            try:
                await self.close()
            except DatabaseError as failure:
                if error is None:
                    raise
                error.add_note(f"the rollback failed, too: {failure}")  # what went wrong inside has to be seen

    async def _open_connection(self) -> DriverConnection[Any] | None:
        if self._closed:
            self._check_open()
        if self._connection is None and self._autobegin:
            await Transaction(self, DEFAULT_TRANSACTION).begin()
        return self._connection

    def _resolution(self, resolve_commit: CommitResolution | bool) -> CommitResolution | None:
        if resolve_commit is False:
            return None
        resolution = CommitResolution.SERVER if resolve_commit is True else CommitResolution(resolve_commit)
        if resolution is CommitResolution.SERVER:
            self._executor.capabilities.require(
                Capability.COMMIT_OUTCOME,
                remedy="create the table of CommitMarkers and pass resolve_commit=CommitResolution.MARKER",
            )
        else:
            self._executor.capabilities.require(Capability.SQL, remedy="pass resolve_commit=CommitResolution.SERVER")
        return resolution

    def _outermost(self, what: str) -> Transaction:
        if len(self._transactions) > 1:
            raise UsageError(f"cannot {what}: a nested transaction is open; end it first")
        return self._transactions[0]

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this session is closed; ask the manager for a new one")

    def __reduce__(self) -> Any:
        raise UsageError("a session cannot be pickled; it belongs to one event loop")
