"""SQLAlchemy's asyncpg dialect over connections of Sillar's pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from json import loads
from typing import TYPE_CHECKING, Any, Final, NoReturn

from sqlalchemy.dialects.postgresql import asyncpg as dialect_module
from sqlalchemy.engine import Dialect

from sillar.engines.connection import DriverConnection
from sillar.engines.postgresql.errors import statement_error
from sillar.engines.postgresql.session import PlainTransaction
from sillar.errors import CommitUnknownError, ConnectionLostError, DatabaseError
from sillar.integrations.sqlalchemy.bridge import Bridge
from sillar.integrations.sqlalchemy.lent import Lent, Watch
from sillar.integrations.sqlalchemy.private import await_only

if TYPE_CHECKING:  # SQLAlchemy's own classes have no annotations

    class _Stock:
        _cursor: Any

        def __init__(self, *args: Any, **settings: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...
        def commit(self) -> None: ...
        def rollback(self) -> None: ...
        async def _start_transaction(self) -> None: ...
        def _handle_exception(self, error: Exception) -> NoReturn: ...

    _StockConnection = _Stock
    _StockCursor = _Stock
    _StockStreamingCursor = _Stock
else:
    _StockConnection = dialect_module.AsyncAdapt_asyncpg_connection
    _StockCursor = dialect_module.AsyncAdapt_asyncpg_cursor
    _StockStreamingCursor = dialect_module.AsyncAdapt_asyncpg_ss_cursor

Decode = Callable[[Any], tuple[Any, ...]]
_DESCRIPTIONS_MAX: Final = 200
_JSON_OIDS: Final = frozenset({114, 3802, 199, 3807})  # json, jsonb, and arrays of them
_DDL: Final = frozenset({"create", "alter", "drop", "comment"})
_CHANGES: Final = frozenset({"alter", "drop"})  # after them the plan of a prepared statement may be invalid
_COUNTED: Final = (b"SELECT", b"INSERT", b"UPDATE", b"DELETE")
_HAS_STARTED = "_started" in getattr(dialect_module.AsyncAdapt_asyncpg_connection, "__slots__", ())  # SQLAlchemy 2.0


class _Foreign:
    """Stands for a transaction that somebody else has begun, so that SQLAlchemy begins none."""

    async def commit(self) -> None:
        """Not here."""

    async def rollback(self) -> None:
        """Not here."""


class LentAsyncpg(Lent, _StockConnection):
    """One asyncpg connection, lent."""

    generation = 0
    _descriptions: dict[Any, tuple[Any, Decode | None]]
    json_loads: Callable[[str], Any]

    def cursor(self, server_side: bool = False) -> Any:
        return _StreamingCursor(self) if server_side else _Cursor(self)

    def forget_prepared(self) -> None:
        """Have every statement prepared anew."""
        if self._prepared_statement_cache is not None:
            self._prepared_statement_cache.clear()

    async def prepare_for(self, text: Any, *, server_side: bool = False) -> None:
        """Begin what the next statement needs: a read-only session sends proven reads without a transaction, everything
        else in one that the server keeps from writing."""
        if self._transaction is None and self.isolation_level == "autocommit":
            if self.read_only and (server_side or not text.is_read):
                await self._start(partial(self._connection.transaction, readonly=True))
        elif self._transaction is None:
            self.transaction_begun()

    @property
    def in_transaction(self) -> bool:
        return self._transaction is not None

    def description(self, prepared: Any, attributes: Any) -> tuple[Any, Decode | None]:
        """The columns of a prepared statement as PEP 249 has them, None where there are none; and what decodes json."""
        found = self._descriptions.get(prepared)
        if found is None:
            if not attributes:
                return None, None
            if len(self._descriptions) >= _DESCRIPTIONS_MAX:
                self._descriptions.clear()
            described = [(each.name, each.type.oid, None, None, None, None, None) for each in attributes]
            found = self._descriptions[prepared] = described, json_decoder(described, self.json_loads)
        return found

    def attach(self) -> None:
        super().attach()
        self._began(_Foreign())

    def detach(self) -> None:
        super().detach()
        self._began(None)

    def commit(self) -> None:
        if self._transaction is not None and not self.refuse_end():
            raw = self._connection
            raw.sillar_warned_by = None
            with self.ending(commits=not raw.is_closed()):
                super().commit()
            self.transaction_ended("commit")
            if raw.sillar_warned_by == "SyncRepWaitForLSN":
                raise self.dbapi.OperationalError("COMMIT was not confirmed by the standbys") from self.in_doubt(
                    "the wait for synchronous replication was cancelled"
                )

    def rollback(self) -> None:
        if self._transaction is not None and not self.refuse_end():
            with self.ending():
                try:
                    await_only(self._roll_back(self._transaction))
                except Exception as error:
                    self._handle_exception(error)
            self.transaction_ended("rollback")

    async def _roll_back(self, transaction: Any) -> None:
        try:
            await transaction.rollback()
        finally:  # whatever the server says, it is over
            self._began(None)

    async def _start_transaction(self) -> None:
        level = self.isolation_level
        if level == "autocommit":
            return
        read_only = self.readonly or (self.read_only and self.leased)
        if level is not None or read_only or self.deferrable or self._connection.is_closed():  # which asyncpg refuses
            await self._start(
                partial(self._connection.transaction, isolation=level, readonly=read_only, deferrable=self.deferrable)
            )
        else:
            await self._start(partial(PlainTransaction, self._connection))

    async def _start(self, make: Callable[[], Any]) -> None:
        try:
            transaction = make()
            await transaction.start()
        except Exception as error:
            self._handle_exception(error)
        self._began(transaction)

    def _handle_exception(self, error: Exception) -> NoReturn:
        """Whatever the driver raises goes through here, and on as SQLAlchemy knows it."""
        if not isinstance(error, self.dbapi.Error):
            found = self.failed(error)
            if isinstance(error, OSError) and isinstance(found, (ConnectionLostError, CommitUnknownError)):
                self._began(None)
                raise self.dbapi.OperationalError(f"{type(error).__name__}: {error}") from error  # as a lost connection
        super()._handle_exception(error)

    def _began(self, transaction: Any) -> None:
        self._transaction = transaction
        if _HAS_STARTED:
            self._started = transaction is not None


class _Cursor(_StockCursor):
    """Runs statements under the eyes of the observers."""

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        await_only(self._adapt_connection.watched(operation, partial(self._run, operation, parameters)))

    async def _run(self, operation: Any, parameters: Any, text: Any) -> None:
        """As SQLAlchemy's ``_prepare_and_execute``, straight to the protocol, with the description made once."""
        lent = self._adapt_connection
        await lent.prepare_for(text)
        async with lent._execute_mutex:
            if lent._transaction is None:
                await lent._start_transaction()
            if text.verb in _CHANGES:
                lent.forget_prepared()
            try:
                if text.verb in _DDL and text.is_single and not parameters:  # one round trip; prepared, it would be two
                    status = await lent._connection.execute(operation)
                    self._rows = deque[Any]()
                    self._keep(None, _row_count(status.encode()))
                    return
                prepared, attributes = await lent._prepare(operation, self._invalidate_schema_cache_asof)
                rows, tag = await lent.physical.run_prepared(prepared, parameters or ())
                description, decode = lent.description(prepared, attributes)
                self._rows = deque(rows if decode is None else map(decode, rows))
                self._keep(description, _row_count(tag))
            except Exception as error:
                self._handle_exception(error)

    if _HAS_STARTED:

        def _keep(self, description: Any, rowcount: int) -> None:
            self.description, self.rowcount = description, rowcount
    else:

        def _keep(self, description: Any, rowcount: int) -> None:
            self._description, self._rowcount = description, rowcount

    def executemany(self, operation: Any, seq_of_parameters: Any) -> Any:
        async def work(text: Any) -> Any:
            await self._adapt_connection.prepare_for(text)
            self._connection = self._adapt_connection._connection  # it may be another one meanwhile
            return await self._executemany(operation, seq_of_parameters)

        return await_only(self._adapt_connection.watched(operation, work))


class _StreamingCursor(_StockStreamingCursor):
    """A server-side cursor under the eyes of the observers."""

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        async def work(text: Any) -> None:
            await self._adapt_connection.prepare_for(text, server_side=True)
            await self._prepare_and_execute(operation, parameters)
            decode = json_decoder(self.description or (), self._adapt_connection.json_loads)
            self._cursor = _Fetching(self._adapt_connection, self._cursor, decode)

        await_only(self._adapt_connection.watched(operation, work))


class _Fetching:
    """A cursor of asyncpg whose json is decoded, and whose errors are told."""

    def __init__(self, lent: LentAsyncpg, cursor: Any, decode: Decode | None) -> None:
        self._lent, self._cursor, self._decode = lent, cursor, decode

    async def fetch(self, count: int) -> Any:
        """The next rows."""
        try:
            rows = await self._cursor.fetch(count)
        except Exception as error:
            self._lent._handle_exception(error)
        return rows if self._decode is None else [self._decode(row) for row in rows]


def json_decoder(description: Sequence[Any], loads: Callable[[str], Any]) -> Decode | None:
    """Decodes the json columns of a row, as the codecs do that SQLAlchemy sets on connections of its own; None where
    there are none."""
    json = {index for index, column in enumerate(description) if column[1] in _JSON_OIDS}
    if not json:
        return None

    def value(given: Any) -> Any:
        if isinstance(given, list):  # of an array column
            return [value(each) for each in given]
        return None if given is None else loads(given)

    return lambda row: tuple([value(each) if index in json else each for index, each in enumerate(row)])


class PostgreSQLBridge(Bridge):
    """asyncpg. json and jsonb stay text on the wire: each consumer of the connection decodes for itself.

    SQLAlchemy sets codecs for them on its own connections, which decode whatever column is of that type, declared or
    not. Here the cursor does.
    """

    url = "postgresql+asyncpg://"
    driver_module = "asyncpg"
    streams_in_transaction = True

    def prepare_dialect(self, dialect: Any) -> None:
        dialect.setup_asyncpg_json_codec = dialect.setup_asyncpg_jsonb_codec = _no_codec

    def adapt(self, dialect: Dialect, physical: DriverConnection[Any], record: Any, watch: Watch) -> Lent:
        kept = self.prepared_max
        lent = LentAsyncpg(
            dialect.loaded_dbapi,
            physical.raw,
            prepared_statement_cache_size=kept,
            prepared_statement_name_func=None if kept else _unnamed,
        )
        lent.lend(physical, record, watch)
        lent.generation = physical.prepared_generation
        lent._descriptions = {}
        given: Any = dialect
        lent.json_loads = given._json_deserializer or loads
        return lent

    @property
    def prepared_max(self) -> int:
        """Statements that SQLAlchemy keeps prepared on one connection; 0 behind PgBouncer."""
        options: Any = self.executor.adapter.config.connection_options
        return min(100, int(options.prepared_statements))

    def refresh(self, lent: Any) -> None:
        generation = lent.physical.prepared_generation
        if lent.generation != generation:  # a reset has dropped every prepared statement of the session
            lent.generation = generation
            lent.forget_prepared()

    def move(self, lent: Any, physical: DriverConnection[Any]) -> None:
        super().move(lent, physical)
        lent.generation = -1  # of no connection: whatever was prepared belongs to another one
        self.refresh(lent)
        lent._descriptions.clear()

    def in_autocommit(self, lent: Any, on: bool) -> None:
        lent.autocommit = on

    def driver_error(self, error: BaseException) -> BaseException | None:
        """asyncpg's own error behind SQLAlchemy's emulation of it."""
        return error.__cause__ if isinstance(error, self.dbapi_error) else error

    def statement_error(
        self, error: BaseException, address: str | None, *, safe_to_retry: bool = False
    ) -> DatabaseError | None:
        return statement_error(error, address=address or "", safe_to_retry=safe_to_retry, timeout_seconds=None)


def _row_count(tag: bytes | None) -> int:
    """The row count of a command tag such as ``INSERT 0 3``, -1 for statements that have none."""
    if tag is None:
        return -1
    count = tag.rpartition(b" ")[2]
    return int(count) if count.isdigit() and tag.startswith(_COUNTED) else -1


async def _no_codec(connection: Any) -> None:
    """Nothing is set on a socket that others use as well."""


def _unnamed() -> str:
    """Behind PgBouncer a prepared statement has no name."""
    return ""
