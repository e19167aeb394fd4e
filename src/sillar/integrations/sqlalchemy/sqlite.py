"""SQLAlchemy's aiosqlite dialect over Sillar's SQLite connections.

A transaction of SQLAlchemy's holds the writer alone from its first statement to its end, like one of Sillar's; a
read-only session has a reader with a snapshot. Statements run in the thread of whoever is held.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import aiosqlite  # noqa: F401 - the dialect needs it, though its threads are not used
from sqlalchemy.engine import AdaptedConnection, Dialect

from sillar.engines.connection import DriverConnection, Reply, TransactionOptions
from sillar.engines.sqlite.errors import translated
from sillar.engines.sqlite.statement import Route
from sillar.errors import DatabaseError
from sillar.integrations.sqlalchemy.bridge import Bridge
from sillar.integrations.sqlalchemy.cursor import LentCursor
from sillar.integrations.sqlalchemy.lent import Lent, Watch
from sillar.integrations.sqlalchemy.private import await_only

_READ_ONLY = TransactionOptions(read_only=True)
_UNKNOWN_COLUMN = (None,) * 6


class LentSQLite(Lent, AdaptedConnection):
    """One light connection to a SQLite database, lent."""

    isolation_level: str | None = ""
    """None is autocommit, as in sqlite3."""

    def __init__(self, physical: Any) -> None:
        self._connection = physical
        self._functions: list[tuple[Any, ...]] = []
        self._installed: list[tuple[Any, ...]] = []  # in the open transaction

    def cursor(self, server_side: bool = False) -> Any:
        """A cursor."""
        return SQLiteCursor(self, server_side=server_side)

    def execute(self, operation: str, parameters: Any = None) -> Any:
        """A cursor that has run a statement."""
        cursor = self.cursor()
        cursor.execute(operation, parameters)
        return cursor

    def create_function(self, name: str, count: int, function: Callable[..., Any], **options: Any) -> None:
        """Have a function in every transaction of this connection, and nowhere else."""
        self._functions.append((name, count, function, options))

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        physical: Any = self.physical
        return bool(physical.in_transaction)

    async def begin_if_due(self, text: Any) -> bool:
        """Begin a transaction before its first statement; whether one is open then."""
        physical: Any = self.physical
        if physical.in_transaction:
            return True
        if self.read_only:
            await physical.begin(_READ_ONLY)
        elif self.isolation_level is None:
            return False
        else:
            await physical.begin()
        self.transaction_begun()
        return True

    def calls_function(self, sql: str) -> bool:
        """Whether a statement may call a function of this connection."""
        lowered = sql.lower()
        return any(name.lower() in lowered for name, *_ in self._functions)

    async def install_functions(self) -> None:
        """Give the driver's connection of the open transaction the functions that were asked for."""
        if self._installed != self._functions:
            self._installed = list(self._functions)
            physical: Any = self.physical
            await physical.on_driver(partial(_install, self._installed))

    async def remove_functions(self) -> None:
        """Nobody else is to find them."""
        if self._installed:
            physical: Any = self.physical
            installed, self._installed = self._installed, []
            await physical.on_driver(partial(_remove, installed))

    def detach(self) -> None:
        super().detach()
        self._installed = []

    def commit(self) -> None:
        """Commit what this connection has begun."""
        if self.physical.in_transaction and not self.refuse_end():
            await_only(self._end(self.physical.commit, "commit"))

    def rollback(self) -> None:
        """Roll back what this connection has begun."""
        if self.physical.in_transaction and not self.refuse_end():
            await_only(self._end(self.physical.rollback, "rollback"))

    def close(self) -> None:
        """The connection is Sillar's."""

    terminate = close

    async def _end(self, work: Callable[[], Any], outcome: str) -> None:
        with as_of_driver():
            await self.remove_functions()
            await work()
        self.transaction_ended(outcome)


class SQLiteCursor(LentCursor):
    """Sends statements to whoever the transaction holds."""

    _stream: AsyncIterator[Any] | None = None

    async def run(self, text: Any, sql: str, parameters: Any) -> None:
        lent, args = self.connection, parameters or ()
        physical = lent.physical
        with as_of_driver():
            held = await lent.begin_if_due(text)
            if lent.calls_function(sql):
                if not held:
                    await self._run_alone(text, args)
                    return
                await lent.install_functions()
            if self.server_side:
                await self._open(physical.stream(text, args, 1000), text)
                return
            self._keep(await physical.run(text, args))

    async def run_many(self, text: Any, sql: str, parameters: Any) -> None:
        with as_of_driver():
            if await self.connection.begin_if_due(text) and self.connection.calls_function(sql):
                await self.connection.install_functions()
            self.rowcount = await self.connection.physical.run_many(text, parameters)

    async def more(self, count: int | None) -> Sequence[Any]:
        rows, stream = self._rows, self._stream
        with as_of_driver():
            while stream is not None and (count is None or len(rows) < count):
                batch = await anext(stream, None)
                if batch is None:
                    break
                rows.extend(batch[1])
        wanted = len(rows) if count is None else min(count, len(rows))
        return [rows.popleft() for _ in range(wanted)]

    async def end(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator

    async def _open(self, stream: Any, text: Any) -> None:
        first = await anext(stream, None)
        shape = text.shape if first is None else first[0]
        self.description = None if shape is None else [(name, *_UNKNOWN_COLUMN) for name in shape.columns] or None
        self._stream = stream
        self._rows.extend(() if first is None else first[1])

    async def _run_alone(self, text: Any, args: Any) -> None:
        """One statement with functions of the connection: they are there in transactions only."""
        lent = self.connection
        physical = lent.physical
        await physical.begin(_READ_ONLY if text.route is Route.READ else TransactionOptions())
        try:
            await lent.install_functions()
            self._keep(await physical.run(text, args))
            await lent.remove_functions()
        except BaseException:
            lent.detach()
            await physical.rollback()
            raise
        await physical.commit()

    def _keep(self, reply: Reply) -> None:
        shape = reply.shape
        if shape is not None and shape.columns:
            self.description = [(name, *_UNKNOWN_COLUMN) for name in shape.columns]
            self._rows.extend(reply.rows)
        self.rowcount = reply.rows_affected
        self.lastrowid = reply.last_insert_id


class SQLiteBridge(Bridge):
    """The standard library's sqlite3, in Sillar's threads."""

    url = "sqlite+aiosqlite://"
    driver_module = "sqlite3"
    holds_views = True

    def prepare_dialect(self, dialect: Any) -> None:
        dialect.set_isolation_level, dialect.get_isolation_level = _set_isolation_level, _get_isolation_level

    def adapt(self, dialect: Dialect, physical: DriverConnection[Any], record: Any, watch: Watch) -> Lent:
        lent = LentSQLite(physical)
        lent.lend(physical, record, watch)
        return lent

    def in_autocommit(self, lent: Any, on: bool) -> None:
        lent.isolation_level = None if on else ""

    def statement_error(
        self, error: BaseException, address: str | None, *, safe_to_retry: bool = False
    ) -> DatabaseError | None:
        found = translated(error, None, address=address or "")
        return found if isinstance(found, DatabaseError) else None


def _install(functions: Sequence[tuple[Any, ...]], raw: Any) -> None:
    for name, count, function, options in functions:
        raw.create_function(name, count, function, **options)


def _remove(functions: Sequence[tuple[Any, ...]], raw: Any) -> None:
    for name, count, _, _ in functions:
        raw.create_function(name, count, None)


def _set_isolation_level(lent: LentSQLite, level: str) -> None:
    """SQLite has one level; ``AUTOCOMMIT`` lets each statement commit by itself."""
    lent.isolation_level = None if level == "AUTOCOMMIT" else ""


def _get_isolation_level(lent: LentSQLite) -> str:
    return "AUTOCOMMIT" if lent.isolation_level is None else "SERIALIZABLE"


@contextlib.contextmanager
def as_of_driver() -> Iterator[None]:
    """SQLAlchemy expects the driver's own errors."""
    try:
        yield
    except DatabaseError as error:
        cause = error.__cause__
        if cause is not None and type(cause).__module__ == "sqlite3":
            cause.sillar_error = error  # type: ignore[attr-defined]  # with what only the engine knew
            raise cause from None
        raise
