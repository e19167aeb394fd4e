"""Local transactions: on one database, with savepoints inside."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from sillar.context import remaining_seconds, within_deadline
from sillar.engines.connection import DriverConnection, TransactionOptions
from sillar.errors import CommitUnknownError, ConnectionLostError, DatabaseError, StatementTimeoutError, UsageError
from sillar.execution import current
from sillar.execution.commit_outcome import CommitResolution, CommitWitness, resolve, witness_of
from sillar.execution.statements import Statements
from sillar.pool.place import calling_place

if TYPE_CHECKING:
    from sillar.execution.session import DatabaseSession

_log = structlog.get_logger("sillar.transaction")


class Companion(Protocol):
    """Something that has joined a transaction and holds state of it."""

    async def before_commit(self) -> None:
        """The transaction is about to commit (a savepoint: to be released): send what is pending."""
        ...

    async def ended(self) -> None:
        """The transaction has ended, or is about to be rolled back: let go of its connection. Sends nothing."""
        ...


_BEGIN_ATTEMPTS: Final = 3
_GRACE_SECONDS: Final = 0.5  # that a caller waits for a rollback, though the deadline has passed


class Transaction(Statements):
    """A transaction of a session, or inside another one a savepoint.

    ``async with session.transaction() as tx`` commits at the end of the block and rolls back on an exception. It holds
    one connection from begin to end and belongs to one task at a time. A COMMIT in flight is never cancelled: the
    caller may leave, the connection finishes it.
    """

    __slots__ = ("_companions", "_connection", "_entered", "_executor", "_line", "_open", "_resolution", "_savepoint",
                 "_session", "_started", "_task", "_unready", "may_have_committed", "options", "was_lost")  # fmt: skip

    def __init__(
        self, session: DatabaseSession, options: TransactionOptions, resolution: CommitResolution | None = None
    ) -> None:
        self._session = session
        self._executor = session._executor
        self._line = session._line
        self.options = options
        self._resolution = resolution
        self._connection: DriverConnection[Any] | None = None
        self._savepoint: str | None = None
        self._open = False
        self._unready = True
        self._started = 0.0
        self._task: asyncio.Task[Any] | None = None
        self._entered: current.Entered | None = None
        self._companions: list[Companion] = []
        self.may_have_committed = self.was_lost = False
        """Known once it has ended: whether a statement inside it may have committed something; whether its connection
        broke before COMMIT was sent."""

    @property
    def owning_transaction(self) -> Transaction | None:
        """Itself, or the innermost savepoint that is open inside it."""
        open_now = self._session._transactions
        return open_now[-1] if self._open and open_now else self

    @property
    def driver_connection(self) -> DriverConnection[Any]:
        """The physical connection that it holds: for an ORM that joins.

        Raises:
            UsageError: it has not begun, or has ended.
        """
        if not self._open or self._connection is None:
            raise UsageError("this transaction has not begun, or has ended")
        return self._connection

    @property
    def outermost(self) -> Transaction:
        """The transaction that this savepoint is nested in; itself where it is no savepoint.

        Raises:
            UsageError: it has not begun, or has ended.
        """
        if not self._open:
            raise UsageError("this transaction has not begun, or has ended")
        return self._session._transactions[0]

    def nested(self, **options: Any) -> Transaction:
        """A savepoint inside it, for ``async with``: what the transaction of an ORM becomes that has joined.

        Raises:
            UsageError: when it begins with ``options``, which belong to the outermost transaction.
        """
        return self._session.transaction(**options)

    def check_task(self) -> None:
        """Raise if it has ended, or if another task than the one that began it asks.

        Raises:
            UsageError: as said.
        """
        if not self._open:
            raise UsageError("the transaction of this block has ended already; leave the block, and begin another one")
        if self._task is not asyncio.current_task():
            raise UsageError(
                "the transaction that is open in this context belongs to the task that began it; do its work there"
                " (with asyncio.timeout() instead of wait_for()), or wrap this task's work in sillar.detached()"
            )

    def accompany(self, companion: Companion) -> None:
        """Have something told before this transaction ends: an ORM session that has joined it."""
        self._companions.append(companion)

    @property
    def is_open(self) -> bool:
        """Whether it has begun and not ended."""
        return self._open

    async def begin(self) -> Transaction:
        """Begin: lease a connection, or set a savepoint inside the open transaction.

        Raises:
            UsageError: it has begun already, or options were given for a savepoint.
        """
        session = self._session
        self._executor.check_loop()
        if self._connection is not None:
            raise UsageError("a transaction object begins once; ask the session for a new one")
        if session._beginning:
            raise UsageError(
                "another task begins a transaction on this session; a session belongs to one task at a time"
            )
        session._beginning = True
        try:
            if session._connection is None:
                await self._begin_outermost()
            else:
                await self._begin_nested(session._connection)
        finally:
            session._beginning = False
        session._transactions.append(self)
        self._task = asyncio.current_task()
        session._unready = self._unready = False
        self._open = True
        return self

    async def _begin_outermost(self) -> None:
        connection = await self._begun()
        self._started = perf_counter()
        if self._session._closed:  # meanwhile, by another task: nobody would end it
            await self._never_cancelled(self._rollback(connection), _time_to_roll_back())
            self._session._check_open()
        self._connection = self._session._connection = connection

    async def _begun(self) -> DriverConnection[Any]:
        """A connection on which the transaction has begun. Where it breaks under BEGIN, nothing has happened: another
        one is taken."""
        executor, options = self._executor, self.options
        attempt = 1
        while True:
            connection = await executor.acquire(is_read=options.read_only, line=self._line)
            connection.place = calling_place()
            try:
                async with within_deadline("BEGIN"):
                    await connection.begin(options)
            except BaseException as error:
                executor.source.release_connection(connection)
                if not isinstance(error, ConnectionLostError) or attempt >= _BEGIN_ATTEMPTS:
                    raise
                attempt += 1
            else:
                return connection

    async def _begin_nested(self, outer: DriverConnection[Any]) -> None:
        if self.options != TransactionOptions() or self._resolution is not None:
            raise UsageError(
                "isolation, read_only, settings and resolve_commit belong to the outermost transaction, this one is"
                " nested"
            )
        self._savepoint = f"sillar_{len(self._session._transactions)}"
        async with within_deadline("SAVEPOINT"):
            await outer.savepoint(self._savepoint)
        self._connection = outer

    async def commit(self) -> None:
        """Commit, or release the savepoint.

        Raises:
            CommitUnknownError: the reply was lost, or did not come within the deadline.
            StatementError: the server refused (a deferred constraint, a serialization failure); it is rolled back.
            StatementTimeoutError: the deadline had passed before; it is rolled back.
            UsageError: it is not open, or an inner one is.
        """
        remaining = remaining_seconds()
        if remaining is not None and remaining <= 0 and self._open:
            await self.rollback()
            raise StatementTimeoutError(
                f"the deadline of this context passed {-remaining:.3f} s ago; the transaction was rolled back instead"
            )
        if self._companions:
            await self._flush_companions()
        connection = self._ended("commit")
        if self._savepoint is not None:
            await self._release(connection, self._savepoint)
        elif not await self._never_cancelled(self._commit(connection), remaining):
            raise CommitUnknownError(
                "the deadline of this context passed while COMMIT was in flight; it goes on without its caller, and"
                " may or may not be applied"
            ).at(database=self._executor.name, node=connection.address)

    async def rollback(self) -> None:
        """Roll back, to the savepoint for a nested one. What is nested inside ends with it.

        Raises:
            UsageError: it is not open.
        """
        if self._open:
            await self._dismiss_companions()
        connection = self._ended("roll back", with_nested=True)
        if self._savepoint is None:
            await self._never_cancelled(self._rollback(connection), _time_to_roll_back())
        else:
            await self._rollback_to(connection, self._savepoint)

    async def _flush_companions(self) -> None:
        """Tell those that have joined, while it is still open; what they raise rolls it back."""
        try:
            for companion in self._companions:
                await companion.before_commit()
        except BaseException as error:
            try:
                await self.rollback()
            except DatabaseError as failure:
                error.add_note(f"the rollback failed, too: {failure}")
            raise
        await self._dismiss_companions()

    async def _dismiss_companions(self) -> None:
        """Have those that have joined let go, those of nested transactions first."""
        transactions = self._session._transactions
        for each in reversed(transactions[transactions.index(self) :]):
            companions, each._companions = each._companions, []
            for companion in reversed(companions):
                await companion.ended()

    async def _release(self, connection: DriverConnection[Any], savepoint: str) -> None:
        try:
            async with within_deadline("RELEASE SAVEPOINT"):
                await connection.release_savepoint(savepoint)
        except DatabaseError as error:
            try:
                await self._rollback_to(connection, savepoint)
            except DatabaseError as failure:
                error.add_note(f"the rollback failed, too: {failure}")
            raise

    async def _rollback_to(self, connection: DriverConnection[Any], savepoint: str) -> None:
        if connection.is_closed():
            return
        try:
            async with asyncio.timeout(_time_to_roll_back()):
                await connection.rollback_to_savepoint(savepoint)
        except TimeoutError as error:
            raise StatementTimeoutError("ROLLBACK TO SAVEPOINT was not answered within the deadline") from error

    async def __aenter__(self) -> Transaction:
        await self.begin()
        self._entered = current.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        entered, self._entered = self._entered, None
        current.leave(self, entered)
        if not self._open:
            return  # ended by hand inside the block
        if error is None:
            try:
                await self.commit()
            finally:
                if self._open:  # a nested one was left open
                    await self.rollback()
            return
        try:
            await self.rollback()
        except DatabaseError as failure:  # what went wrong inside the block is what the caller has to see
            error.add_note(f"the rollback failed, too: {failure}")

    async def _open_connection(self) -> DriverConnection[Any] | None:
        if not self._open:
            raise UsageError("this transaction has not begun, or has ended")
        return self._connection

    def _ended(self, what: str, *, with_nested: bool = False) -> DriverConnection[Any]:
        """Leave the session's stack; from here on the transaction is over, whatever the server says."""
        self._executor.check_loop()
        transactions = self._session._transactions
        if not self._open or self._connection is None:
            raise UsageError(f"cannot {what}: this transaction has not begun, or has ended")
        if transactions[-1] is not self and not with_nested:
            raise UsageError(f"cannot {what}: a nested transaction is open; end it first")
        depth = transactions.index(self)
        for ended in transactions[depth:]:
            ended._open = False
            ended._unready = True
        del transactions[depth:]
        if self._savepoint is None:
            self._session._connection = None
            self._session._unready = self._session._autobegin or self._session._closed
        return self._connection

    async def _commit(self, connection: DriverConnection[Any]) -> None:
        outcome = "rollback"
        doubt = witness = None
        try:
            try:
                witness = await self._witness(connection)
                await connection.commit()
                outcome = "commit"
            except CommitUnknownError as error:
                doubt, outcome = error, "unknown"
            finally:
                self._give_back(connection)
            if doubt is not None:
                await resolve(self, doubt, witness)
                outcome = "commit"
        except ConnectionLostError:
            outcome = "rollback"
            raise
        finally:
            self._executor.observe_transaction(outcome, perf_counter() - self._started)

    async def _witness(self, connection: DriverConnection[Any]) -> CommitWitness | None:
        if self._resolution is None or self.options.read_only:
            return None
        try:
            return await witness_of(self._executor, connection, self._resolution)
        except BaseException:
            await connection.rollback()
            raise

    async def _rollback(self, connection: DriverConnection[Any]) -> None:
        self.was_lost = connection.is_closed()
        try:
            await connection.rollback()
        except BaseException:
            connection.dirty = True
            raise
        finally:
            if not connection.may_have_committed:
                connection.causality = None  # nothing was written that a later read would have to see
            self._give_back(connection)
            self._executor.observe_transaction("rollback", perf_counter() - self._started)

    def _give_back(self, connection: DriverConnection[Any]) -> None:
        self.may_have_committed = connection.may_have_committed
        self._executor.source.release_connection(connection)

    async def _never_cancelled(self, work: Coroutine[Any, Any, None], seconds: float | None) -> bool:
        """Whether it came to its end in time. It goes on when its caller is cancelled, or will not wait any longer."""
        task = self._executor.spawn(work)
        try:
            done, _ = await asyncio.wait((task,), timeout=seconds)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise
        if not done:
            task.add_done_callback(_log_failure)
            return False
        task.result()
        return True


def _time_to_roll_back() -> float | None:
    remaining = remaining_seconds()
    return None if remaining is None else max(remaining, _GRACE_SECONDS)


def _log_failure(task: asyncio.Task[Any]) -> None:
    """A COMMIT or ROLLBACK whose caller has left: nobody else would hear of its failure."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the end of a transaction failed after its caller had left", error=str(error))
