"""SQLAlchemy's stock engine over the connections of one database of a manager."""

from __future__ import annotations

from itertools import count
from time import perf_counter
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sillar.engines.connection import DriverConnection
from sillar.execution import Executor
from sillar.integrations.sqlalchemy.bridge import Bridge, bridge_of
from sillar.integrations.sqlalchemy.lent import Lent, Watch
from sillar.integrations.sqlalchemy.private import BorrowingPool, Record, borrowed_connection

_KEY: Final = "sqlalchemy"
_numbers = count(1)


class SharedEngine:
    """An engine that owns no connection.

    Args:
        executor: the path of the database.
        options: for ``create_async_engine``; those of its pool are Sillar's to decide.

    Attributes:
        engine: the stock engine.
        read_only_engine: the same in autocommit, for sessions that only read.
        bridge: the driver's side.
    """

    def __init__(self, executor: Executor, options: dict[str, Any] | None = None) -> None:
        self.executor = executor
        self.bridge: Bridge = bridge_of(executor)
        self._watch = Watch(executor, self.bridge.translate)
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
        self.read_only_engine: AsyncEngine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        event.listen(self.read_only_engine.sync_engine, "engine_connect", _only_read)

    def connection(self, physical: DriverConnection[Any]) -> tuple[Connection, Any]:
        """SQLAlchemy's connection and DBAPI connection over a leased physical one. Runs in a greenlet."""
        connection = borrowed_connection(self.engine.sync_engine, physical)
        return connection, physical.kept[self._key].dbapi_connection

    # --- for the pool -------------------------------------------------------------------------------------------------

    def _borrow(self) -> DriverConnection[Any] | None:
        self.executor.check_loop()
        return self.executor.source.try_acquire()

    async def _wait(self) -> DriverConnection[Any]:
        began = perf_counter()
        connection = await self.executor.acquire()
        self._waited = perf_counter() - began
        return connection

    def _find(self, physical: DriverConnection[Any]) -> Record | None:
        record: Any = physical.kept.get(self._key)
        if record is not None:
            lent = record.dbapi_connection
            if lent is None:  # its first words with the server were interrupted
                return None
            self.bridge.refresh(lent)
            lent.waited_seconds, self._waited = self._waited, 0.0
        return record  # type: ignore[no-any-return]

    def _adapt(self, physical: DriverConnection[Any], record: Record, dialect: Dialect) -> Lent:
        lent = self.bridge.adapt(dialect, physical, record, self._watch)
        lent.waited_seconds, self._waited = self._waited, 0.0
        if physical.in_transaction:  # it joins; what SQLAlchemy asks a new connection must not end that transaction
            lent.attach()
        physical.kept[self._key] = record
        return lent

    def _give_back(self, physical: DriverConnection[Any], dropped: bool) -> None:
        if dropped:
            physical.kept.pop(self._key, None)
        else:
            lent: Any = physical.kept[self._key].dbapi_connection
            lent.read_only = False
        if physical.leased:  # not yet given up by a shutdown
            self.executor.source.release_connection(physical)

    def _drop(self, lent: Lent, close: bool) -> None:
        physical = lent.physical
        if close:
            physical.terminate()
        elif not physical.is_closed():
            physical.dirty = True

    def _tell_when_handed_out(self, dialect: Any) -> None:
        """Whoever asks for the driver's connection can do anything with it."""
        original = dialect.get_driver_connection

        def get_driver_connection(lent: Lent) -> Any:
            lent.physical.dirty = True
            return original(lent)

        dialect.get_driver_connection = get_driver_connection


def _only_read(connection: Connection) -> None:
    lent: Any = connection.connection.dbapi_connection
    lent.read_only = True


def shared_engine(executor: Executor) -> SharedEngine:
    """The engine of a database without options of its own, made when it is first asked for."""
    found: SharedEngine | None = executor.integrations.get(_KEY)
    if found is None:
        found = executor.integrations[_KEY] = SharedEngine(executor)
    return found
