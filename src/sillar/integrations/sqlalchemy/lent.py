"""What the DBAPI connections of all drivers have in common while they are lent to SQLAlchemy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

from sillar.context import current_deadline, within_deadline
from sillar.engines.connection import DriverConnection
from sillar.errors import DatabaseError, UsageError
from sillar.execution import Execution, Executor
from sillar.execution.pipeline import observer_failed
from sillar.integrations.sqlalchemy.private import await_only

_TEXTS_MAX: Final = 2000
_CONTROL: Final = frozenset({"savepoint", "release", "rollback"})  # the end of the transaction undoes them
_PROBES: Final = frozenset({"describe"})  # SQLAlchemy asks so whether a table of MySQL exists: no failure of anybody

Translate = Callable[[BaseException, DriverConnection[Any]], DatabaseError | None]


class Watch:
    """What is known of the statements that SQLAlchemy sends to one database, and who is told of them.

    Args:
        executor: the path of the database.
        translate: makes a driver's error one of Sillar's, or None.
    """

    def __init__(self, executor: Executor, translate: Translate) -> None:
        self.executor = executor
        self.translate = translate
        self.observers = executor.observers
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
        read_only: the session may only read.
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
    read_only = attached = joined = silent = unobserved = False
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
        self.physical.dirty = True
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
        if not text.is_clean and text.verb not in _CONTROL:
            self.note_trace(text)
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
        if watch.observers and not self.unobserved:
            watch.tell(self, text, started, None)
        return result

    def attach(self) -> None:
        """Work in the transaction that is open on the physical connection, and is not SQLAlchemy's."""
        self.attached = True

    def detach(self) -> None:
        """That transaction is over, or others' work again."""
        self.attached = self.joined = False

    def note_trace(self, text: Any) -> None:
        """The session needs a reset before anybody else has it."""
        self.physical.dirty = True

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
        """Tell the observers."""
        self.watch.executor.observe_transaction(outcome, perf_counter() - self.began)
