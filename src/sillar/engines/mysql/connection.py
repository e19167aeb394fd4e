"""One asyncmy connection under the session contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

from sillar import errors
from sillar.engines.connection import Reply, RowShape
from sillar.engines.mysql import driver
from sillar.engines.mysql.bulk import Batch, Limit, checked_rows, encoded
from sillar.engines.mysql.errors import server_code
from sillar.engines.mysql.rows import insert_chunks, multi_row_insert
from sillar.engines.mysql.server_session import ServerSession
from sillar.engines.mysql.statements import KeptStatement
from sillar.engines.mysql.values import encode_parameters, identifier
from sillar.query.bulk import BulkWrite
from sillar.query.text import StatementText

_NO_COLUMNS: Final = RowShape(())


class MySQLConnection(ServerSession):
    """One connection to one MySQL or MariaDB server.

    Statements with parameters are prepared on the server and kept, up to ``prepared_max``; all others go as text, their
    parameters escaped by the driver. ``rows_affected`` counts the rows that were found, changed or not.
    """

    __slots__ = ("_packet_max",)

    def __init__(self, raw: Any, *, packet_max: int, **session: Any) -> None:
        super().__init__(raw, **session)
        self._packet_max = packet_max

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

    # --- within -----------------------------------------------------------------------------------------------------

    async def _result(
        self, statement: StatementText, args: Sequence[Any], timeout_seconds: float | None
    ) -> tuple[Any, KeptStatement | None]:
        """Run a statement; the driver's result, and the kept statement where it was one: then values come in binary."""
        self._mark(statement)
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
