"""What the DBAPI connections of all drivers have in common while they are lent to SQLAlchemy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final, Protocol

from sillar.consistency import CausalContext
from sillar.context import current_deadline, within_deadline
from sillar.engines.connection import DriverConnection
from sillar.errors import CommitUnknownError, ConnectionLostError, DatabaseError, NoNodeError, UsageError
from sillar.execution import Execution, Executor
from sillar.execution.pipeline import observer_failed
from sillar.integrations.sqlalchemy.private import await_only
from sillar.integrations.sqlalchemy.terms import PLAIN_TERMS, LeaseTerms

_TEXTS_MAX: Final = 2000
_BETWEEN_LOOKS_SECONDS: Final = 0.005
_CONTROL: Final = frozenset({"savepoint", "release", "rollback"})  # the end of the transaction undoes them
_PROBES: Final = frozenset({"describe"})  # SQLAlchemy asks so whether a table of MySQL exists: no failure of anybody


class Translate(Protocol):
    """Makes a driver's error one of Sillar's, or None."""

    def __call__(
        self, error: BaseException, physical: DriverConnection[Any], *, safe_to_retry: bool = False
    ) -> DatabaseError | None: ...


class Watch:
    """What is known of the statements that SQLAlchemy sends to one database, and who is told of them.

    Args:
        executor: the path of the database.
        translate: makes a driver's error one of Sillar's, or None.
        move: takes another physical connection for one that is lent.
    """

    def __init__(self, executor: Executor, translate: Translate, move: Callable[[Lent], Awaitable[None]]) -> None:
        self.executor = executor
        self.translate = translate
        self.move = move
        self.observers = executor.observers
        self.is_routed = executor.source.is_routed
        self._texts: dict[str, Any] = {}

    def text(self, sql: str) -> Any:
        """The statement, scanned once: whether it reads, whether it leaves a trace, its fingerprint."""
        found = self._texts.get(sql)
        if found is None:
            if len(self._texts) >= _TEXTS_MAX:
                self._texts.clear()
            found = self._texts[sql] = self.executor.adapter.bind(sql, ())[0]
        return found

    def tell(self, lent: Lent, text: Any, started: float, error: BaseException | None) -> None:
        """Tell the observers of a statement that has ended."""
        execution = Execution(self.executor.name, sqlalchemy_statement, text, (), None, lent.physical)
        execution.address = lent.physical.address
        execution.waited_seconds, lent.waited_seconds = lent.waited_seconds, 0.0
        execution.started = started - execution.waited_seconds
        execution.duration_seconds = perf_counter() - execution.started
        seen = error
        if error is not None and not isinstance(error, DatabaseError):
            seen = self.translate(error, lent.physical) or error
        for observer in self.observers:
            try:
                observer.executed(execution, seen)
            except Exception as failure:
                observer_failed(observer, failure)


async def sqlalchemy_statement(connection: DriverConnection[Any], execution: Execution) -> Any:
    """The operation of executions that SQLAlchemy has run: named for observers, never called."""
    raise UsageError("a statement of SQLAlchemy is run by SQLAlchemy; what was observed of it cannot be run again")


class Lent:
    """Mixed into a DBAPI connection over a physical one.

    Attributes:
        physical: the connection of Sillar's pool.
        record: SQLAlchemy's record of it.
        watch: who is told.
        read_only: the session may only read: the server is told so.
        line_of_session: where the session was made that works here.
        terms: on which it was leased.
        leased: SQLAlchemy's pool has leased the physical connection; otherwise whoever lends it cares for it.
        has_traces: something was done since the checkout that may have left settings or temporary tables.
        writes: something was sent since the last commit that may write.
        is_ending: COMMIT or ROLLBACK is due.
        committing: COMMIT is in flight.
        attached: a transaction is open that is not SQLAlchemy's: nothing here begins or ends one.
        joined: besides, its user is told so when he tries.
        check: raises where a statement must not run now.
        silent: savepoints that the server has forgotten already are not ended again: nothing is sent.
        unobserved: somebody else observes the statements.
        last_text: the statement that was sent last, scanned.
        waited_seconds: of the checkout, until a statement has carried them to the observers.
    """

    physical: DriverConnection[Any]
    record: Any
    watch: Watch
    terms = PLAIN_TERMS
    line_of_session: CausalContext | None = None
    read_only = attached = joined = silent = unobserved = leased = has_traces = False
    writes = is_ending = committing = False
    check: Callable[[], None] | None = None
    last_text: Any = None
    waited_seconds = 0.0
    began = 0.0

    def lend(self, physical: DriverConnection[Any], record: Any, watch: Watch) -> None:
        """Set up."""
        self.physical, self.record, self.watch = physical, record, watch

    @property
    def driver_connection(self) -> Any:
        """The driver's own connection. Whoever has it can do anything with it, so the session is reset afterwards."""
        self.physical.dirty = self.has_traces = True
        return self._connection  # type: ignore[attr-defined]

    def run_async(self, fn: Callable[[Any], Awaitable[Any]]) -> Any:
        """Await something of the driver's own connection, as SQLAlchemy's adapters offer it."""
        return await_only(fn(self.driver_connection))

    async def watched(self, sql: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Run ``work(scanned text)``; note what it leaves behind in the session, and tell the observers."""
        watch = self.watch
        if self.silent:
            return None
        if self.check is not None:
            self.check()
        text = self.last_text = watch.text(sql)
        if watch.is_routed and self.leased and not self.attached and not self.in_transaction:
            await self._check_node(text)
        if not text.is_clean and text.verb not in _CONTROL:
            self.note_trace(text)
        self.writes = self.writes or not text.is_read
        started = perf_counter()
        try:
            if current_deadline() is None:
                result = await work(text)
            else:
                async with within_deadline("the statement"):
                    result = await work(text)
        except BaseException as error:
            if isinstance(error, (asyncio.CancelledError, TimeoutError)):
                self.physical.dirty = True  # its reply may be outstanding; the reset waits for it
            if not self.unobserved:
                watch.tell(self, text, started, None if text.verb in _PROBES else error)
            raise
        finally:
            if self.writes and not self.in_transaction:
                self._note_writes()
        if watch.observers and not self.unobserved:
            watch.tell(self, text, started, None)
        return result

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        raise NotImplementedError

    # --- which node, and what has become of it ------------------------------------------------------------------------

    def checked_out(self, terms: LeaseTerms, *, read_only: bool) -> None:
        """SQLAlchemy's pool has leased the physical connection: to write, or only to read."""
        self.terms, self.read_only = terms, read_only

    def greeted(self, *, leased: bool) -> None:
        """What was sent until now was SQLAlchemy's own, to learn whom it talks to; from here on its user works."""
        self.leased = leased
        self.writes = self.has_traces = self.physical.may_have_committed = False

    def checked_in(self) -> None:
        """SQLAlchemy's pool is about to give it back. Where nothing was written, there is nothing to wait for."""
        if self.leased:
            if self.writes or self.has_traces:
                self._note_writes()
            self.physical.causality = self.line_of_session = None
        self.leased = self.read_only = self.writes = False

    def failed(self, error: BaseException) -> DatabaseError | None:
        """Tell whoever looks after the node of an error of the driver's, once; it is kept with what it means."""
        if isinstance(error, DatabaseError):  # of a method of the physical connection, which has told
            return error
        found: DatabaseError | None = getattr(error, "sillar_error", None)
        if found is not None:
            return found
        physical = self.physical
        found = self.watch.translate(error, physical, safe_to_retry=self._loses_nothing())
        if found is None:
            return None
        if isinstance(found, ConnectionLostError):
            physical.terminate()
            if self.committing:
                found = self.in_doubt(f"its reply was lost ({found.args[0]})")
            elif found.safe_to_retry:  # nothing is there that somebody would have to see
                self.writes = self.has_traces = False
        error.sillar_error = found  # type: ignore[attr-defined]
        return physical.report(found)

    def in_doubt(self, what: str) -> CommitUnknownError:
        """The error for a COMMIT that may or may not have happened."""
        address = self.physical.address
        error = CommitUnknownError(
            f"COMMIT was sent to {address} and {what}; the transaction may or may not have been applied, or"
            " may not outlive a failover: look before you run it again"
        )
        error.at(node=address, database=self.watch.executor.name)
        return error

    @contextmanager
    def ending(self, *, commits: bool = False) -> Iterator[None]:
        """Within the block the transaction of this connection ends."""
        self.is_ending, self.committing = True, commits
        try:
            yield
        finally:
            self.is_ending = self.committing = False

    def _loses_nothing(self) -> bool:
        """Whether nothing stays behind on the server if the connection has broken now."""
        physical, text = self.physical, self.last_text
        if self.attached or not (self.in_transaction or self.is_ending):
            return physical.loses_nothing(text is not None and text.is_read)
        return not physical.may_have_committed

    async def _check_node(self, text: Any) -> None:
        """A connection that its user has kept begins nothing more on a node that is not the primary any more: it is
        closed, and SQLAlchemy takes another one. One that only reads is exchanged for one to a node that is fresh
        enough (its user may have written by other means meanwhile)."""
        physical, executor = self.physical, self.watch.executor
        source: Any = executor.source
        if physical.causality is not None:
            if not source.leads_to_primary(physical):
                physical.terminate()
        elif self.terms.read_only and text.is_read and not self._serves():
            if self.has_traces and not physical.is_closed():
                await self._caught_up()
            else:
                await self.watch.move(self)

    def _serves(self) -> bool:
        executor: Any = self.watch.executor
        need = executor.need(is_read=True, line=self.terms.line())
        return not self.physical.is_closed() and executor.source.still_serves(self.physical, need)

    async def _caught_up(self) -> None:
        """Wait for the node: settings of this session, or its temporary tables, keep it there."""
        source: Any = self.watch.executor.source
        try:
            async with asyncio.timeout(source.connection_timeout):
                while not self._serves():  # noqa: ASYNC110 - nobody tells when a replica gets further
                    await asyncio.sleep(_BETWEEN_LOOKS_SECONDS)
        except TimeoutError as error:
            raise NoNodeError(
                f"this session stays on {self.physical.address} for its settings or temporary tables, and what it has"
                f" to read did not come there within {source.connection_timeout:g} s: commit() or close() the session,"
                " and it goes elsewhere"
            ).at(node=self.physical.address, database=self.watch.executor.name) from error

    def _note_writes(self) -> None:
        """What this connection has written is there: whoever reads next in this line of work has to see it."""
        physical = self.physical
        if self.leased and physical.causality is not None:
            source: Any = self.watch.executor.source
            source.note_write(physical, self.line_of_session)
            self.writes = False

    # --- transactions of others ---------------------------------------------------------------------------------------

    def attach(self) -> None:
        """Work in the transaction that is open on the physical connection, and is not SQLAlchemy's."""
        self.attached = True

    def detach(self) -> None:
        """That transaction is over, or others' work again."""
        self.attached = self.joined = False

    def note_trace(self, text: Any) -> None:
        """The session needs a reset before anybody else has it."""
        self.has_traces = True
        self.physical.note(text)

    def refuse_end(self) -> bool:
        """Whether nothing is to be ended here.

        Raises:
            UsageError: its user believes so.
        """
        if self.joined and not self.silent:
            raise UsageError(
                "this connection has joined a transaction of Sillar's, which alone commits and rolls back: leave its"
                " block, or raise; session.commit() and session.begin_nested() work on savepoints inside it"
            )
        return self.attached

    def transaction_begun(self) -> None:
        """Note the time."""
        self.began = perf_counter()

    def transaction_ended(self, outcome: str) -> None:
        """Note what it has written, and tell the observers."""
        self.physical.may_have_committed = False
        if self.writes:
            self._note_writes()
        self.watch.executor.observe_transaction(outcome, perf_counter() - self.began)
