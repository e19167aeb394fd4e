"""One asyncpg connection under the session contract."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

import asyncpg

from sillar import errors
from sillar.engines.connection import (
    Reply,
    RowShape,
)
from sillar.engines.postgresql import bulk, session
from sillar.engines.postgresql.errors import refused_by_driver
from sillar.engines.postgresql.many import CopyRecords, inserts_one_row_per_set, run_each
from sillar.engines.postgresql.prepared import PreparedStatement
from sillar.engines.postgresql.server_session import ServerSession
from sillar.engines.postgresql.values import identifier, parameter_encoder, plain_parameters
from sillar.query.bulk import BulkWrite
from sillar.query.text import StatementText


class PostgreSQLConnection(ServerSession):
    """One connection to one PostgreSQL server.

    Statements are kept prepared up to ``prepared_max`` (0 behind PgBouncer: each is parsed anew, unnamed).
    """

    __slots__ = ()

    # --- statements -------------------------------------------------------------------------------------------------

    async def fetch(
        self,
        statement: StatementText,
        args: Sequence[Any],
        timeout_seconds: float | None = None,
        *,
        _again: bool = False,
    ) -> tuple[RowShape, Sequence[Any]]:
        prepared = self._prepared.get(statement.key)
        if not statement.is_clean:
            self.note(statement)
        try:
            if prepared is None:
                prepared = await self._prepare(statement, timeout_seconds)
            values = args if prepared.encode is None else prepared.encode(args)
            rows, _, _ = await self._execute(prepared.state, values, "", 0, True, timeout_seconds)
        except BaseException as error:
            again = await self._failed(error, statement, args, timeout_seconds, again=_again)
            return await self.fetch(statement, again, timeout_seconds, _again=True)
        if prepared.decode is not None:
            rows = [prepared.decode(row) for row in rows]
        return prepared.shape, rows

    async def fetch_row(
        self,
        statement: StatementText,
        args: Sequence[Any],
        timeout_seconds: float | None = None,
        *,
        _again: bool = False,
    ) -> tuple[RowShape, Any | None]:
        prepared = self._prepared.get(statement.key)
        if not statement.is_clean:
            self.note(statement)
        try:
            if prepared is None:
                prepared = await self._prepare(statement, timeout_seconds)
            values = args if prepared.encode is None else prepared.encode(args)
            rows, _, _ = await self._execute(prepared.state, values, "", 1, True, timeout_seconds)
        except BaseException as error:
            again = await self._failed(error, statement, args, timeout_seconds, again=_again)
            return await self.fetch_row(statement, again, timeout_seconds, _again=True)
        if not rows:
            return prepared.shape, None
        return prepared.shape, rows[0] if prepared.decode is None else prepared.decode(rows[0])

    async def run(
        self,
        statement: StatementText,
        args: Sequence[Any],
        timeout_seconds: float | None = None,
        *,
        _again: bool = False,
        _plain: bool = False,
    ) -> Reply:
        if not statement.is_clean:
            self.note(statement)
        try:
            if not statement.is_single:
                status = await self._run_script(statement, args, timeout_seconds)
                return Reply(None, (), _affected(status))
            prepared = self._prepared.get(statement.key)
            if prepared is None:
                prepared = await self._prepare(statement, timeout_seconds)
            values = args if prepared.encode is None else prepared.encode(args)
            rows, tag, _ = await self._execute(prepared.state, values, "", 0, True, timeout_seconds)
            status = "" if tag is None else tag.decode()
        except BaseException as error:
            again = await self._failed(error, statement, args, timeout_seconds, again=_again)
            return await self.run(statement, again, timeout_seconds, _again=True, _plain=_plain)
        if not prepared.shape.columns:
            return Reply(None, (), _affected(status))
        if prepared.decode is not None and not _plain:
            rows = [prepared.decode(row) for row in rows]
        return Reply(prepared.shape, rows, _affected(status))

    def run_plain(
        self, statement: StatementText, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> Awaitable[Reply]:
        return self.run(statement, args, timeout_seconds, _plain=True)

    async def run_many(
        self,
        statement: StatementText,
        args: Iterable[Sequence[Any]],
        timeout_seconds: float | None = None,
        *,
        _again: bool = False,
    ) -> int:
        rows = list(args)
        if not inserts_one_row_per_set(statement):
            return await run_each(self, statement, rows, timeout_seconds)
        if not statement.is_clean:
            self.note(statement)
        nested = self.in_transaction  # then the driver would keep the sets before one that it refuses
        try:
            prepared = self._prepared.get(statement.key) or await self._prepare(statement, timeout_seconds)
            encoded = rows if prepared.encode is None else [prepared.encode(row) for row in rows]
            if nested:
                await self.raw.execute("SAVEPOINT sillar_many")
            await prepared.raw.executemany(encoded, timeout=timeout_seconds)
            if nested:
                await self.raw.execute("RELEASE SAVEPOINT sillar_many")
        except BaseException as error:
            if not refused_by_driver(error):
                await self._failed(error, statement, (), timeout_seconds, again=_again)
                return await self.run_many(statement, rows, timeout_seconds, _again=True)
            if nested:
                await self.rollback_to_savepoint("sillar_many")
            plain = [plain_parameters(row) or row for row in rows]
            if all(new is old for new, old in zip(plain, rows, strict=True)):
                self._raise(error, statement, timeout_seconds)
            return await self.run_many(statement, plain, timeout_seconds, _again=True)
        return len(rows)

    async def stream(
        self, statement: StatementText, args: Sequence[Any], batch_rows: int, timeout_seconds: float | None = None
    ) -> AsyncIterator[tuple[RowShape, Sequence[Any]]]:
        if not statement.is_clean:
            self.note(statement)
        own = not self.in_transaction  # a cursor lives in a transaction
        if own:
            await self.begin()
        try:
            prepared, cursor = await self._cursor(statement, args, timeout_seconds, own=own)
            while rows := await cursor.fetch(batch_rows, timeout=timeout_seconds):
                if prepared.decode is not None:
                    rows = [prepared.decode(row) for row in rows]
                yield prepared.shape, rows
            if own:
                await self.commit_undisturbed()
        except GeneratorExit:
            raise
        except BaseException as error:
            self._raise(error, statement, timeout_seconds)
        finally:
            if own and self.in_transaction and not self.is_closed():
                await self.rollback()

    async def _cursor(
        self,
        statement: StatementText,
        args: Sequence[Any],
        timeout_seconds: float | None,
        *,
        own: bool,
        _again: bool = False,
    ) -> tuple[PreparedStatement, Any]:
        try:
            prepared = self._prepared.get(statement.key) or await self._prepare(statement, timeout_seconds)
            values = args if prepared.encode is None else prepared.encode(args)
            return prepared, await prepared.raw.cursor(*values, timeout=timeout_seconds)
        except BaseException as error:
            again = await self._failed(error, statement, args, timeout_seconds, restart=own, again=_again)
            return await self._cursor(statement, again, timeout_seconds, own=own, _again=True)

    async def bulk_insert(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        timeout_seconds: float | None = None,
        *,
        typed_as: str | None = None,
    ) -> int:
        """COPY; ``typed_as`` is a lasting table with the same columns, where ``table`` is a temporary one."""
        schema, _, name = table.rpartition(".")
        encode = (await self._row_types(typed_as or table, columns, timeout_seconds)).encode
        records = CopyRecords(rows if encode is None else map(encode, rows))
        try:
            status = await self.raw.copy_records_to_table(
                name, schema_name=schema or None, columns=list(columns), records=records, timeout=timeout_seconds
            )
        except BaseException as error:
            if records.is_to_blame(error):
                self.dirty = True  # the driver asked the server to stop
                raise records.refusal(table).at(node=self.address) from None
            self._raise(error, None, timeout_seconds)
        return _affected(status)

    async def write_batch(
        self, write: BulkWrite, rows: Sequence[Sequence[Any]], timeout_seconds: float | None = None
    ) -> int:
        return await bulk.write_batch(self, write, rows, timeout_seconds)

    async def column_types(self, table: str, columns: Sequence[str], timeout_seconds: float | None) -> list[str]:
        """The types of columns, quoted and qualified; those of arrays end in ``[]``. Asked of the server once."""
        prepared = await self._row_types(table, columns, timeout_seconds)
        return [bulk.type_name(attribute.type) for attribute in prepared.raw.get_attributes()]

    async def run_script(self, sql: str, timeout_seconds: float | None = None) -> int:
        """Run a text of Sillar's own without preparing it; the rows that its last statement affected."""
        try:
            return _affected(await self.raw.execute(sql, timeout=timeout_seconds))
        except BaseException as error:
            self._raise(error, None, timeout_seconds)

    async def copy_out(
        self, query: str, write: Callable[[bytes], Awaitable[None]], timeout_seconds: float | None = None
    ) -> int:
        self.dirty = True  # the query is not looked at
        try:
            return _affected(await self.raw.copy_from_query(query, output=write, timeout=timeout_seconds))
        except BaseException as error:
            self._raise(error, None, timeout_seconds)

    async def copy_in(
        self,
        table: str,
        columns: Sequence[str],
        source: AsyncIterable[bytes],
        timeout_seconds: float | None = None,
    ) -> int:
        schema, _, name = table.rpartition(".")
        try:
            status = await self.raw.copy_to_table(
                name, schema_name=schema or None, columns=list(columns), source=source, timeout=timeout_seconds
            )
        except BaseException as error:
            self._raise(error, None, timeout_seconds)
        return _affected(status)

    async def run_prepared(self, prepared: Any, args: Sequence[Any]) -> tuple[Sequence[Any], bytes | None]:
        """Run a statement that another consumer of this connection (an ORM) has prepared with the driver.

        Returns:
            rows and command tag.

        Raises:
            the driver's own errors.
        """
        statement = session.state(prepared)
        try:
            rows, tag, _ = await self._execute(statement, args, "", 0, True, None)
        except asyncpg.OutdatedSchemaCacheError:
            await self.raw.reload_schema_state()
            statement.mark_closed()
            raise
        return rows, tag

    # --- within -----------------------------------------------------------------------------------------------------

    async def _prepare(self, statement: StatementText, timeout_seconds: float | None) -> PreparedStatement:
        raw = await self.raw.prepare(statement.sql, timeout=timeout_seconds)
        prepared = PreparedStatement(raw, statement.results)
        self._keep(statement.key, prepared)
        return prepared

    def _keep(self, key: str, prepared: PreparedStatement) -> None:
        if self._prepared_max:
            if len(self._prepared) >= self._prepared_max:
                del self._prepared[next(iter(self._prepared))]
            self._prepared[key] = prepared

    async def _row_types(self, table: str, columns: Sequence[str], timeout_seconds: float | None) -> PreparedStatement:
        """What the server says of columns, once per table and columns; ``encode`` is of rows on their way into them."""
        key = f"copy {table} {columns}"
        prepared = self._prepared.get(key)
        if prepared is None:
            quoted = ".".join(identifier(part) for part in table.split("."))
            names = ", ".join(identifier(column) for column in columns)
            try:
                sql = f"SELECT {names} FROM {quoted} WHERE false"  # noqa: S608 - quoted identifiers
                raw = await self.raw.prepare(sql, timeout=timeout_seconds)
            except BaseException as error:
                self._raise(error, None, timeout_seconds)
            prepared = PreparedStatement(raw)
            prepared.encode = parameter_encoder([attribute.type.oid for attribute in raw.get_attributes()])
            self._keep(key, prepared)
        return prepared

    async def _run_script(self, statement: StatementText, args: Sequence[Any], timeout_seconds: float | None) -> str:
        if args:
            raise errors.ParameterError("several statements in one text take no parameters; send them one by one")
        return str(await self.raw.execute(statement.sql, timeout=timeout_seconds))

    async def _failed(  # noqa: RET503 - _raise never returns
        self,
        error: BaseException,
        statement: StatementText,
        args: Sequence[Any],
        timeout_seconds: float | None,
        *,
        again: bool,
        restart: bool = False,
    ) -> Sequence[Any]:
        """Return the parameters to run the statement with once more, or raise.

        Once more: after DDL of somebody else has outdated a kept plan or somebody has dropped it (nothing was
        executed), and with enums and Json unwrapped where the driver refused them (nothing was sent). With ``restart``
        the transaction holds nothing but this statement, and is begun anew. ``again``: this was the second run
        already.
        """
        if isinstance(error, (asyncpg.InvalidCachedStatementError, asyncpg.InvalidSQLStatementNameError)):
            self._prepared.pop(statement.key, None)
            if isinstance(error, asyncpg.InvalidSQLStatementNameError):
                self.dirty = self._prepared_lost = True
            if restart:
                await self.rollback()
                await self.begin()
            if not again and (restart or not self.raw.is_in_transaction()):
                return args
            raise errors.TransientStatementError(
                "the tables of the statement were changed under this transaction; run the transaction again",
                code=error.sqlstate,
            ).at(node=self.address) from error
        if isinstance(error, asyncpg.OutdatedSchemaCacheError):
            self._prepared.clear()
            await self.raw.reload_schema_state()
            if not again and statement.is_read:
                return args
            raise errors.UnknownStatementError(
                "the statement was executed, and its result could not be read: a type in it was changed meanwhile"
            ).at(node=self.address) from error
        if refused_by_driver(error) and statement.results is None:
            plain = plain_parameters(args)
            if plain is not None:
                return plain
        self._raise(error, statement, timeout_seconds)


def _affected(status: str) -> int:
    """The row count of a command tag such as ``INSERT 0 3``."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0
