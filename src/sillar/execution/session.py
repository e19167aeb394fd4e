"""The session: what a route or a job talks to."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from sillar.engines.connection import DEFAULT_TRANSACTION, DriverConnection, Isolation, TransactionOptions
from sillar.errors import DatabaseError, UsageError
from sillar.execution import current
from sillar.execution.executor import Executor
from sillar.execution.statements import Statements
from sillar.execution.transaction import Transaction


class DatabaseSession(Statements):
    """Statements and transactions on one database.

    Outside a transaction every statement commits by itself. A connection is held only while a statement runs or a
    transaction is open, so sessions are cheap: one per request or job. A session belongs to one task at a time.

    Args:
        executor: the path of one database.
        autobegin: the first statement begins a transaction, which :meth:`commit` or :meth:`rollback` ends; leaving
            ``async with`` commits, or rolls back on an exception.
    """

    __slots__ = ("_autobegin", "_beginning", "_closed", "_connection", "_entered", "_executor", "_transactions",
                 "_unready")  # fmt: skip

    def __init__(self, executor: Executor, *, autobegin: bool = False) -> None:
        self._executor = executor
        self._autobegin = autobegin
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
    ) -> Transaction:
        """A transaction for ``async with``; inside an open one, a savepoint.

        Args:
            isolation: None is the server's default.
            read_only: the server refuses writes.
            settings: transaction-local settings (PostgreSQL), sent together with BEGIN.

        Raises:
            UsageError: the session is closed.
            UnsupportedCapabilityError: the engine has no such transaction; nothing was sent.
        """
        self._check_open()
        options = DEFAULT_TRANSACTION
        if isolation is not None or read_only or settings:
            options = TransactionOptions(isolation, read_only, tuple(settings))
        self._executor.adapter.check_transaction(options, nested=self._connection is not None)
        return Transaction(self, options)

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
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entered, self._entered = self._entered, None
        current.leave(self, entered)
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

    def _outermost(self, what: str) -> Transaction:
        if len(self._transactions) > 1:
            raise UsageError(f"cannot {what}: a nested transaction is open; end it first")
        return self._transactions[0]

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this session is closed; ask the manager for a new one")

    def __reduce__(self) -> Any:
        raise UsageError("a session cannot be pickled; it belongs to one event loop")
