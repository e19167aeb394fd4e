"""SQLAlchemy's asyncmy dialect over connections of Sillar's pool.

The session stays in autocommit, as the session contract has it: a transaction begins with its first statement, in the
same round trip, and again after a statement that commits implicitly. So nothing has to be put back at a hand-over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from sqlalchemy.engine import AdaptedConnection, Dialect

from sillar.engines.connection import DriverConnection
from sillar.engines.mysql import driver
from sillar.engines.mysql.errors import server_code, statement_error
from sillar.engines.mysql.exchange import in_order_after
from sillar.errors import DatabaseError, StatementTimeoutError
from sillar.integrations.sqlalchemy.bridge import Bridge
from sillar.integrations.sqlalchemy.cursor import LentCursor
from sillar.integrations.sqlalchemy.lent import Lent, Watch
from sillar.integrations.sqlalchemy.private import await_only

_DEADLOCK: Final = 1213
_SERVER_LOST: Final = 2013  # CR_SERVER_LOST
_BEGINS_NOTHING: Final = frozenset(
    {"begin", "commit", "lock", "release", "rollback", "set", "start", "unlock", "use", "xa"}
)
_BATCH_ROWS: Final = 200
_READ_ONLY: Final = 1792  # ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION
_HELD_BY_READ_ONLY: Final = frozenset(
    {"delete", "desc", "describe", "do", "explain", "insert", "replace", "select", "show", "table", "update", "with"}
)  # others may commit implicitly, and so leave a read-only transaction


class LentAsyncmy(Lent, AdaptedConnection):
    """One asyncmy connection, lent."""

    def __init__(self, dbapi: Any, physical: Any) -> None:
        self.dbapi = dbapi
        self._connection: Any = physical.raw
        self._autocommit = False
        self._in_distributed = False  # between XA BEGIN and the end of that transaction
        self._lost = False  # the server has rolled the transaction back, and its flag does not say so
        self._opened = False  # a transaction was begun here, and neither COMMIT nor ROLLBACK was sent since

    def cursor(self, server_side: bool = False) -> MySQLCursor:
        """A cursor."""
        return MySQLCursor(self, server_side=server_side)

    async def call(self, work: Any, *args: Any, reads: bool = False, **options: Any) -> Any:
        """Send a request and read its reply, whoever leaves meanwhile; the errors are the driver's own."""
        physical: Any = self.physical
        limit = None if reads else physical.write_timeout_seconds
        try:
            return await physical.exchange.call(work, *args, timeout_seconds=limit, **options)
        except asyncio.CancelledError:
            physical.dirty = True  # its reply may still be outstanding; the reset waits for it
            raise
        except TimeoutError as error:
            physical.dirty = True
            raise StatementTimeoutError(
                f"the statement ran longer than statement_timeout={limit:g} s and was cancelled; raise the limit, or"
                " look at its plan"
            ).at(node=physical.address) from error
        except BaseException as error:
            self._lost = self._lost or server_code(error) == _DEADLOCK
            if not in_order_after(error):
                physical.terminate()
            found = self.failed(error)
            if isinstance(error, OSError) and found is not None:
                lost = self.dbapi.OperationalError(_SERVER_LOST, f"{type(error).__name__}: {error}")
                lost.sillar_error = found
                raise lost from error  # SQLAlchemy knows it as a lost connection
            raise

    def opening(self, text: Any) -> str:
        """What goes before a statement so that it runs in a transaction, if it has to."""
        if self.attached and text.verb not in _BEGINS_NOTHING:
            physical: Any = self.physical
            physical.note_end()
        if text.verb == "xa":
            self._in_distributed = not {"commit", "rollback"} & set(text.source.lower().split())
        if self.attached or self._in_distributed or text.verb in _BEGINS_NOTHING or self.in_transaction:
            return ""
        if self._autocommit:
            if not self.read_only or text.is_read:
                return ""
            if text.verb not in _HELD_BY_READ_ONLY:
                raise self.dbapi.OperationalError(
                    _READ_ONLY, f"{text.verb.upper()} in a session that was opened with read_only=True"
                )
            return "START TRANSACTION READ ONLY; "
        self._lost, self._opened = False, True
        self.transaction_begun()
        return "START TRANSACTION READ ONLY; " if self.read_only else "START TRANSACTION; "

    @property
    def in_transaction(self) -> bool:
        """Whether the server has a transaction open."""
        return bool(self._connection.get_transaction_status()) and not self._lost

    def commit(self) -> None:
        """Commit what is open."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Roll back what is open."""
        self._end("ROLLBACK")

    def autocommit(self, value: Any) -> None:
        """Let each statement commit by itself, or not: the session is in that mode anyway."""
        self._autocommit = bool(value)

    def get_autocommit(self) -> bool:
        """Whether each statement commits by itself."""
        return self._autocommit

    def character_set_name(self) -> str:
        """What the session speaks."""
        return str(self._connection.character_set_name())

    def ping(self, reconnect: bool = False) -> None:
        """One round trip."""
        await_only(self.physical.ping())

    def close(self) -> None:
        """The connection is Sillar's."""

    terminate = close

    def _end(self, verb: str) -> None:
        opened, self._opened = self._opened, False
        if self.physical.is_closed():
            if opened and verb == "COMMIT":
                self._lost_before_commit()
            return
        if self._in_distributed or not self._connection.get_transaction_status():
            return
        if self.refuse_end():
            return
        with self.ending(commits=verb == "COMMIT"):
            await_only(self.call(driver.query, self._connection, verb, stoppable=False))
        self._lost = False
        self.transaction_ended(verb.lower())

    def _lost_before_commit(self) -> NoReturn:
        error = self.dbapi.OperationalError(
            _SERVER_LOST, "the connection was lost before COMMIT was sent: the transaction is rolled back"
        )
        with self.ending():
            self.failed(error)
        raise error


class MySQLCursor(LentCursor):
    """asyncmy's own cursor behind one request, or a stream that is not buffered."""

    connection: LentAsyncmy
    _stream: Any = None
    _complete = True

    def execute(self, operation: str, parameters: Any = None) -> None:
        if operation != f"SET NAMES {self.connection.character_set_name()}":  # as SQLAlchemy greets: it is set already
            super().execute(operation, parameters)

    async def run(self, text: Any, sql: str, parameters: Any) -> None:
        lent = self.connection
        raw = lent._connection
        opening = lent.opening(text)
        args = parameters
        if not self.server_side:
            await lent.call(self._execute, raw, opening, sql, args, reads=text.is_read)
            return
        if opening:
            await lent.call(driver.query, raw, opening.rstrip("; "))
        exchange: Any = lent.physical.exchange  # type: ignore[attr-defined]
        await exchange.stream_opens()
        self._complete = False
        try:
            sent = raw.cursor().mogrify(sql, args)
            self._stream = await lent.call(driver.open_stream, raw, sent, reads=text.is_read, of_stream=True)
        except BaseException as error:
            self._end(complete=server_code(error) is not None)
            raise
        self.description = self._stream.description
        if self.description is None:
            self._end(complete=True)

    async def run_many(self, text: Any, sql: str, parameters: Any) -> None:
        opening = self.connection.opening(text)
        await self.connection.call(self._execute_many, self.connection._connection, opening, sql, parameters)

    async def more(self, count: int | None) -> Sequence[Any]:
        rows, lent = self._rows, self.connection
        while not self._complete and (count is None or len(rows) < count):
            wanted = _BATCH_ROWS if count is None else count - len(rows)
            try:
                batch = await lent.call(
                    driver.next_rows, lent._connection, self._stream, wanted, reads=True, of_stream=True
                )
            except BaseException as error:
                self._end(complete=server_code(error) is not None)
                raise
            rows.extend(batch)
            if len(batch) < wanted:
                self._end(complete=True)
        return [rows.popleft() for _ in range(len(rows) if count is None else min(count, len(rows)))]

    async def end(self) -> None:
        if not self._complete:
            self._end(complete=False)
            await self.connection.physical.exchange.settled()  # type: ignore[attr-defined]

    def _end(self, *, complete: bool) -> None:
        physical: Any = self.connection.physical
        self._complete = True
        physical.dirty = physical.dirty or not complete
        physical.exchange.stream_ends(complete=complete)

    async def _execute(self, raw: Any, opening: str, sql: str, args: Any) -> None:
        cursor = raw.cursor()
        await cursor.execute(opening + sql, args)
        if opening:
            await cursor.nextset()
        self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
        if cursor.description is not None:
            self._rows.extend(await cursor.fetchall())
        while await cursor.nextset():
            pass

    async def _execute_many(self, raw: Any, opening: str, sql: str, parameters: Any) -> None:
        if opening:
            await driver.query(raw, opening.rstrip("; "))
        cursor = raw.cursor()
        await cursor.executemany(sql, parameters)
        self.rowcount, self.lastrowid = cursor.rowcount, cursor.lastrowid


class MySQLBridge(Bridge):
    """asyncmy, for MySQL and MariaDB: SQLAlchemy's dialect asks the server which of the two it is."""

    url = "mysql+asyncmy://"
    driver_module = "asyncmy"

    def adapt(self, dialect: Dialect, physical: DriverConnection[Any], record: Any, watch: Watch) -> Lent:
        lent = LentAsyncmy(dialect.loaded_dbapi, physical)
        lent.lend(physical, record, watch)
        return lent

    def in_autocommit(self, lent: Any, on: bool) -> None:
        lent.autocommit(on)

    def statement_error(
        self, error: BaseException, address: str | None, *, safe_to_retry: bool = False
    ) -> DatabaseError | None:
        return statement_error(error, address=address or "", safe_to_retry=safe_to_retry, timeout_seconds=None)
