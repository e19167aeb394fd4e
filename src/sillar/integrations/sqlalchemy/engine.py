"""SQLAlchemy's stock engine over the connections of one database of a manager."""

from __future__ import annotations

from itertools import count
from time import perf_counter
from typing import Any, Final

from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sillar.consistency import Consistency
from sillar.engines.connection import DriverConnection
from sillar.execution import Executor
from sillar.integrations.sqlalchemy.bridge import Bridge, bridge_of
from sillar.integrations.sqlalchemy.lent import Lent, Watch
from sillar.integrations.sqlalchemy.private import BorrowingPool, Record, borrowed_connection, engine_on
from sillar.integrations.sqlalchemy.terms import PLAIN_TERMS, LeaseTerms, terms_of_checkout

_KEY: Final = "sqlalchemy"
_AUTOCOMMIT: Final = {"isolation_level": "AUTOCOMMIT"}
_numbers = count(1)


class SharedEngine:
    """An engine that owns no connection.

    Args:
        executor: the path of the database.
        options: for ``create_async_engine``; those of its pool are Sillar's to decide.

    Attributes:
        engine: the stock engine.
        read_only_engine: the same in autocommit, for sessions that only read: a replica will do.
        bridge: the driver's side.
    """

    def __init__(self, executor: Executor, options: dict[str, Any] | None = None) -> None:
        self.executor = executor
        self.bridge: Bridge = bridge_of(executor)
        self._watch = Watch(executor, self.bridge.translate, self._move)
        self._key = f"{_KEY} {next(_numbers)}"
        self.joined_key = f"{self._key} joined"
        self._waited = 0.0
        pool = BorrowingPool(
            self._borrow,
            self._wait,
            self._give_back,
            self._find,
            self._adapt,
            self._drop,
            lambda: repr(executor.source),
        )
        self.engine: AsyncEngine = create_async_engine(self.bridge.url, pool=pool, **(options or {}))
        dialect = self.engine.sync_engine.dialect
        self.bridge.dbapi_error = dialect.loaded_dbapi.Error
        self.bridge.prepare_dialect(dialect)
        self._tell_when_handed_out(dialect)
        _return_what_broke(dialect)
        self.read_only_engine: AsyncEngine = engine_on(self.engine, LeaseTerms(read_only=True), _AUTOCOMMIT)

    def engine_for(self, *, read_only: bool, consistency: Consistency | None) -> AsyncEngine:
        """The engine whose connections are asked for so."""
        if consistency is None:
            return self.read_only_engine if read_only else self.engine
        return engine_on(self.engine, LeaseTerms(read_only, consistency), _AUTOCOMMIT if read_only else {})

    def connection(self, physical: DriverConnection[Any]) -> tuple[Connection, Any]:
        """SQLAlchemy's connection and DBAPI connection over a leased physical one. Runs in a greenlet."""
        connection = borrowed_connection(self.engine.sync_engine, physical)
        return connection, physical.kept[self._key].dbapi_connection

    # --- for the pool -------------------------------------------------------------------------------------------------

    def _borrow(self) -> DriverConnection[Any] | None:
        executor = self.executor
        executor.check_loop()
        source = executor.source
        if not source.is_routed:
            return source.try_acquire()
        terms = terms_of_checkout.get() or PLAIN_TERMS
        return source.try_acquire(executor.need(is_read=terms.read_only, line=terms.line()))

    async def _wait(self) -> DriverConnection[Any]:
        terms = terms_of_checkout.get() or PLAIN_TERMS
        began = perf_counter()
        connection = await self.executor.acquire(is_read=terms.read_only, line=terms.line())
        self._waited = perf_counter() - began
        return connection

    def _find(self, physical: DriverConnection[Any]) -> Record | None:
        record: Any = physical.kept.get(self._key)
        if record is not None:
            lent = record.dbapi_connection
            if lent is None:  # its first words with the server were interrupted
                return None
            self.bridge.refresh(lent)
            if self._lend(lent):
                lent.greeted(leased=True)
        return record  # type: ignore[no-any-return]

    def _adapt(self, physical: DriverConnection[Any], record: Record, dialect: Dialect) -> Lent:
        lent = self.bridge.adapt(dialect, physical, record, self._watch)
        self._lend(lent)
        if physical.in_transaction:  # it joins; what SQLAlchemy asks a new connection must not end that transaction
            lent.attach()
        physical.kept[self._key] = record
        return lent

    def _lend(self, lent: Lent) -> bool:
        """Whether SQLAlchemy's pool has leased the connection itself."""
        lent.waited_seconds, self._waited = self._waited, 0.0
        terms = terms_of_checkout.get()
        if terms is None:
            return False
        lent.checked_out(terms, read_only=terms.read_only or self._leased_to_read(lent.physical))
        return True

    def _leased_to_read(self, physical: DriverConnection[Any]) -> bool:
        return self.executor.source.is_routed and physical.causality is None

    def _give_back(self, physical: DriverConnection[Any], dropped: bool) -> None:
        if dropped:
            physical.kept.pop(self._key, None)
        else:
            lent: Any = physical.kept[self._key].dbapi_connection
            lent.checked_in()
        if physical.leased:  # not yet given up by a shutdown
            self.executor.source.release_connection(physical)

    async def _move(self, lent: Lent) -> None:
        """Take another connection for a session that only reads, and keeps one that will not do any more."""
        new = await self.executor.acquire(is_read=True, line=lent.terms.line())
        old = lent.physical
        record = new.kept[self._key] = old.kept.pop(self._key)
        record.record_info["physical"] = new
        self.bridge.move(lent, new)
        self.executor.source.release_connection(old)

    def _drop(self, lent: Lent, close: bool) -> None:
        physical = lent.physical
        lent.checked_in()
        if close:
            physical.terminate()
        elif not physical.is_closed():
            physical.dirty = True

    def _tell_when_handed_out(self, dialect: Any) -> None:
        """Whoever asks for the driver's connection can do anything with it."""
        original = dialect.get_driver_connection

        def get_driver_connection(lent: Lent) -> Any:
            lent.physical.dirty = lent.has_traces = True
            return original(lent)

        dialect.get_driver_connection = get_driver_connection


def _return_what_broke(dialect: Any) -> None:
    """Have a connection come back though its isolation level cannot be restored, because it broke: SQLAlchemy's record
    calls this right before it gives the connection back, and after an error it never would."""
    original = dialect.reset_isolation_level

    def reset_isolation_level(lent: Lent) -> None:
        if lent.physical.is_closed():
            return
        try:
            original(lent)
        except Exception:  # whoever looks after the node was told by the connection
            lent.physical.terminate()

    dialect.reset_isolation_level = reset_isolation_level


def shared_engine(executor: Executor) -> SharedEngine:
    """The engine of a database without options of its own, made when it is first asked for."""
    found: SharedEngine | None = executor.integrations.get(_KEY)
    if found is None:
        found = executor.integrations[_KEY] = SharedEngine(executor)
    return found
