"""One asyncmy connection under the session contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

from asyncmy.errors import MySQLError

from sillar import errors
from sillar.capabilities import Capabilities
from sillar.engines.connection import (
    DEFAULT_TRANSACTION,
    DriverConnection,
    NodeStatus,
    Reply,
    RowShape,
    TransactionOptions,
)
from sillar.engines.mysql import driver, probe
from sillar.engines.mysql.bulk import Batch, Limit, checked_rows, encoded
from sillar.engines.mysql.errors import is_lost, server_code, statement_error
from sillar.engines.mysql.exchange import Exchange, in_order_after
from sillar.engines.mysql.killer import Killer
from sillar.engines.mysql.placeholders import PreparedTexts, fault_position
from sillar.engines.mysql.rows import insert_chunks, multi_row_insert
from sillar.engines.mysql.statements import KeptStatement, StatementRunner
from sillar.engines.mysql.values import ResultShapes, encode_parameters, identifier
from sillar.query.bulk import BulkWrite
from sillar.query.text import StatementText

_NO_COLUMNS: Final = RowShape(())
_ALL_OR_NOTHING: Final = "sillar_all_or_nothing"


class MySQLConnection(DriverConnection[StatementText]):
    """One connection to one MySQL or MariaDB server.

    Statements with parameters are prepared on the server and kept, up to ``prepared_max``; all others go as text, their
    parameters escaped by the driver. ``rows_affected`` counts the rows that were found, changed or not.
    """

    __slots__ = ("_capabilities", "_contract", "_exchange", "_killer", "_packet_max", "_statements", "_texts",
                 "_write_limit")  # fmt: skip

    def __init__(
        self,
        raw: Any,
        *,
        address: str,
        capabilities: Capabilities,
        contract: str,
        packet_max: int,
        killer: Killer,
        shapes: ResultShapes,
        texts: PreparedTexts,
        prepared_max: int,
        statement_timeout: float | None,
    ) -> None:
        super().__init__(raw, address=address, server_id=raw.thread_id())
        self._capabilities = capabilities
        self._contract = contract
        self._packet_max = packet_max
        self._killer = killer
        self._texts = texts
        self._statements = StatementRunner(raw, texts=texts, shapes=shapes, prepared_max=prepared_max)
        # max_execution_time of MySQL holds for SELECT alone; MariaDB's max_statement_time for everything.
        self._write_limit = None if probe.is_mariadb(raw) else statement_timeout
        self._exchange = Exchange(raw, self._kill)

    @property
    def exchange(self) -> Exchange:
        """For another consumer of this connection (an ORM): its requests have to go through it as well."""
        return self._exchange

    @property
    def write_timeout_seconds(self) -> float | None:
        """The configured limit of statements that the server does not hold itself."""
        return self._write_limit

    # --- statements -------------------------------------------------------------------------------------------------

    async def fetch(
        self, statement: StatementText, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> tuple[RowShape, Sequence[Any]]:
        result, kept = await self._result(statement, args, timeout_seconds)
        shape = self._statements.shape(statement, result, kept)
        if shape is None:
            return _NO_COLUMNS, ()
        return shape.shape, result.rows if shape.decode is None else shape.rows(result.rows)

    async def fetch_row(
        self, statement: StatementText, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> tuple[RowShape, Any | None]:
        """Run a statement and return its first row. All its rows are read: give it a LIMIT."""
        result, kept = await self._result(statement, args, timeout_seconds)
        shape = self._statements.shape(statement, result, kept)
        if shape is None:
            return _NO_COLUMNS, None
        if not result.rows:
            return shape.shape, None
        row = result.rows[0]
        return shape.shape, row if shape.decode is None else shape.decode(row)

    async def run(self, statement: StatementText, args: Sequence[Any], timeout_seconds: float | None = None) -> Reply:
        result, kept = await self._result(statement, args, timeout_seconds)
        shape = self._statements.shape(statement, result, kept)
        if shape is None:
            return Reply(None, (), result.affected_rows, result.insert_id or None)
        return Reply(shape.shape, shape.rows(result.rows), len(result.rows), result.insert_id or None)

    async def run_plain(
        self, statement: StatementText, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> Reply:
        result, kept = await self._result(statement, args, timeout_seconds)
        shape = self._statements.shape(statement, result, kept)
        if shape is None:
            return Reply(None, (), result.affected_rows, result.insert_id or None)
        return Reply(shape.shape, result.rows, len(result.rows), result.insert_id or None)

    async def run_many(
        self, statement: StatementText, args: Iterable[Sequence[Any]], timeout_seconds: float | None = None
    ) -> int:
        rows = list(args) if statement.results else [encode_parameters(row, statement.names) for row in args]
        if not rows:
            return 0
        self._mark(statement)
        limit = Limit(timeout_seconds)
        text = self._texts.get(statement.sql)
        for number, row in enumerate(rows, 1):
            if len(row) != text.count:
                raise errors.ParameterError(
                    f"the statement has {text.count} parameters, {len(row)} were given in parameter set {number}"
                )
        parts = multi_row_insert(statement.sql)
        affected = 0
        try:
            async with self._all_or_nothing():
                if parts is None:
                    affected = await self._exchange.call(
                        self._execute_each, statement, rows, timeout_seconds=limit.left()
                    )
                else:
                    for sql in insert_chunks(self.raw, *parts, rows, self._packet_max):
                        results = await self._exchange.call(driver.query, self.raw, sql, timeout_seconds=limit.left())
                        affected += results[0].affected_rows
        except BaseException as error:
            self._raise(error, statement, timeout_seconds)
        return affected

    async def stream(
        self, statement: StatementText, args: Sequence[Any], batch_rows: int, timeout_seconds: float | None = None
    ) -> AsyncIterator[tuple[RowShape, Sequence[Any]]]:
        """Run a statement and yield its rows in batches, unbuffered.

        The server waits while a batch is consumed, for its ``net_write_timeout`` (60 s) at most.
        """
        self._mark(statement)
        sql = self._statements.text(statement, args)
        await self._exchange.stream_opens()
        complete = False
        try:
            cursor = await self._exchange.call(
                driver.open_stream, self.raw, sql, timeout_seconds=timeout_seconds, of_stream=True
            )
            complete = cursor.description is None
            shape = None if complete else self._statements.shape_of_text(statement, cursor.description)
            while shape is not None and not complete:
                rows = await self._exchange.call(
                    driver.next_rows, self.raw, cursor, batch_rows, timeout_seconds=timeout_seconds, of_stream=True
                )
                complete = len(rows) < batch_rows
                if rows:
                    yield shape.shape, shape.rows(rows)
        except GeneratorExit:
            raise
        except BaseException as error:
            complete = complete or server_code(error) is not None
            self._raise(error, statement, timeout_seconds)
        finally:
            self.dirty = self.dirty or not complete
            self._exchange.stream_ends(complete=complete)

    async def bulk_insert(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        timeout_seconds: float | None = None,
    ) -> int:
        names = ", ".join(identifier(column) for column in columns)
        prefix = f"INSERT INTO {'.'.join(map(identifier, table.split('.')))} ({names}) VALUES "  # noqa: S608 - quoted names
        limit = Limit(timeout_seconds)
        inserted = 0
        try:
            async with self._all_or_nothing():
                encoded = checked_rows(rows, columns)
                values = f"({', '.join(['%s'] * len(columns))})"
                for sql in insert_chunks(self.raw, prefix, values, "", encoded, self._packet_max):
                    results = await self._exchange.call(driver.query, self.raw, sql, timeout_seconds=limit.left())
                    inserted += results[0].affected_rows
        except BaseException as error:
            self._raise(error, None, timeout_seconds)
        return inserted

    async def write_batch(
        self, write: BulkWrite, rows: Sequence[Sequence[Any]], timeout_seconds: float | None = None
    ) -> int:
        batch = Batch(self, write, encoded(write, rows), timeout_seconds)
        try:
            if self.in_transaction:  # in the caller's savepoint
                return await batch.written()
            async with self._all_or_nothing():
                return await batch.written()
        except BaseException as error:
            self._raise(error, None, timeout_seconds)

    # --- transactions -----------------------------------------------------------------------------------------------

    async def begin(self, options: TransactionOptions = DEFAULT_TRANSACTION) -> None:
        if options.settings:
            raise errors.UnsupportedCapabilityError(
                "transaction-local settings", engine=self._capabilities.engine, remedy="pass the values as parameters"
            )
        start = "START TRANSACTION READ ONLY" if options.read_only else "START TRANSACTION"
        if options.isolation is not None:  # without SESSION it holds for the next transaction only
            start = f"SET TRANSACTION ISOLATION LEVEL {options.isolation.value.upper()}; {start}"
        await self._control(start)
        self.in_transaction = True

    async def commit(self) -> None:
        await self._exchange.settled()
        if self.is_closed():
            self.in_transaction = False
            raise errors.ConnectionLostError(
                "the connection was lost before COMMIT was sent: the transaction is rolled back", safe_to_retry=True
            ).at(node=self.address)
        try:
            await self._exchange.call(driver.query, self.raw, "COMMIT", stoppable=False)
        except (MySQLError, OSError) as error:
            if is_lost(error) or server_code(error) == 1317:
                self.terminate()
                reason = error.args[-1] if error.args else type(error).__name__
                raise errors.CommitUnknownError(
                    f"COMMIT was sent to {self.address} and its reply was lost ({reason}); the transaction may or may"
                    " not have been applied: look before you run it again"
                ).at(node=self.address) from error
            self.dirty = True
            self._raise(error, None, None)
        except BaseException:
            self.dirty = True
            raise
        self.in_transaction = False

    async def rollback(self) -> None:
        if not self.in_transaction or self.is_closed():
            self.in_transaction = False
            return
        await self._control("ROLLBACK")
        self.in_transaction = False

    async def savepoint(self, name: str) -> None:
        await self._control(f"SAVEPOINT {identifier(name)}")

    async def release_savepoint(self, name: str) -> None:
        await self._control(f"RELEASE SAVEPOINT {identifier(name)}")

    async def rollback_to_savepoint(self, name: str) -> None:
        quoted = identifier(name)
        await self._control(f"ROLLBACK TO SAVEPOINT {quoted}; RELEASE SAVEPOINT {quoted}")

    # --- life -------------------------------------------------------------------------------------------------------

    def is_closed(self) -> bool:
        return driver.is_broken(self.raw)

    async def ping(self) -> None:
        try:
            await self._exchange.call(self.raw.ping, False, stoppable=False)
        except BaseException as error:
            self._raise(error, None, None)

    async def reset(self) -> None:
        try:
            await self._exchange.settled()
            self._statements.forget()
            await self._exchange.call(driver.restore, self.raw, self._contract, stoppable=False)
        except BaseException as error:
            self._raise(error, None, None)
        self.in_transaction = self.dirty = False

    async def cancel(self) -> None:
        try:
            await self._kill(lambda: True)
        except BaseException as error:
            self._raise(error, None, None, terminate=False)

    async def probe(self) -> NodeStatus:
        try:
            return await self._exchange.call(probe.probe, self.raw, self._capabilities, self.address)
        except BaseException as error:
            self._raise(error, None, None)

    async def close(self) -> None:
        await self._exchange.settled()
        if not self.is_closed():
            try:
                await self.raw.ensure_closed()
            except BaseException as error:
                self._raise(error, None, None)

    def terminate(self) -> None:
        self.in_transaction = False
        driver.abort(self.raw)

    # --- within -----------------------------------------------------------------------------------------------------

    async def _result(
        self, statement: StatementText, args: Sequence[Any], timeout_seconds: float | None
    ) -> tuple[Any, KeptStatement | None]:
        """Run a statement; the driver's result, and the kept statement where it was one: then values come in binary."""
        if not statement.is_clean:
            self.dirty = True
        if timeout_seconds is None and self._write_limit is not None and not statement.is_read:
            timeout_seconds = self._write_limit
        try:
            return await self._exchange.call(
                self._statements.execute,
                statement,
                args,
                timeout_seconds=timeout_seconds,
                keep_late=not statement.is_read and statement.verb != "do",  # DO answers OK when it is interrupted
            )
        except BaseException as error:
            self._raise(error, statement, timeout_seconds)

    async def _execute_each(self, statement: StatementText, rows: Sequence[Sequence[Any]]) -> int:
        affected = 0
        for row in rows:
            if self._exchange.is_left:
                raise asyncio.CancelledError
            result, _ = await self._statements.execute(statement, row)
            affected += result.affected_rows
        return affected

    @asynccontextmanager
    async def _all_or_nothing(self) -> AsyncIterator[None]:
        """A transaction of its own, or a savepoint in the one that is open."""
        if self.in_transaction:
            await self.savepoint(_ALL_OR_NOTHING)
            try:
                yield
            except BaseException as error:
                await self._undo(self.rollback_to_savepoint(_ALL_OR_NOTHING), error)
                raise
            await self.release_savepoint(_ALL_OR_NOTHING)
            return
        await self.begin()
        try:
            yield
        except Exception as error:
            await self._undo(self.rollback(), error)
            raise
        except BaseException:
            self.dirty = True  # the caller has left: the transaction ends with the reset
            raise
        await self.commit()

    async def _undo(self, work: Any, error: BaseException) -> None:
        try:
            await work
        except errors.DatabaseError as failure:  # a deadlock has ended the transaction; what led here is what counts
            self.dirty = True
            error.add_note(f"undoing it failed, too: {failure}")

    async def _control(self, sql: str) -> None:
        try:
            await self._exchange.call(driver.query, self.raw, sql, stoppable=False)
        except BaseException as error:
            self._raise(error, None, None)

    async def _kill(self, still_wanted: Any) -> None:
        assert self.server_id is not None
        await self._killer.kill_query(self.server_id, still_wanted)

    def _mark(self, statement: StatementText) -> None:
        if not statement.is_clean:
            self.dirty = True

    def _raise(
        self,
        error: BaseException,
        statement: StatementText | None,
        timeout_seconds: float | None,
        *,
        terminate: bool = True,
    ) -> NoReturn:
        """Raise the error in Sillar's terms, and note what state the connection is in."""
        if isinstance(error, errors.DatabaseError):
            raise error
        if isinstance(error, (asyncio.CancelledError, TimeoutError)):
            self.dirty = True  # its reply may still be outstanding; the reset waits for it
        elif terminate and not in_order_after(error):
            self.terminate()
        translated = statement_error(
            error,
            address=self.address,
            safe_to_retry=statement is not None and statement.is_read,
            timeout_seconds=timeout_seconds,
        )
        if translated is None:
            self.dirty = True
            raise error
        if terminate and isinstance(translated, errors.ConnectionLostError):
            self.terminate()
        if isinstance(translated, errors.StatementSyntaxError) and statement is not None:
            self._locate(translated, error, statement)
        raise translated from error

    def _locate(self, translated: errors.StatementError, error: BaseException, statement: StatementText) -> None:
        """Say where in the statement the fault is, if the server's message tells."""
        as_it_stands = not statement.names and statement.sql not in self._texts
        sent = None if as_it_stands else self._texts.get(statement.sql)
        translated.position = fault_position(str(error.args[1]), statement, sent)
        if translated.position is not None:
            translated.args = (f"{translated.args[0]} (at character {translated.position} of the statement)",)
