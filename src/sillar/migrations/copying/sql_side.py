"""An SQL database as a side of a copy. What its engine writes differently is in its dialect."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from sillar.engines.connection import Isolation
from sillar.execution.statements import Statements
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.manager import DatabaseManager
from sillar.migrations.copying import ddl
from sillar.migrations.copying.dialects.dialect import Dialect
from sillar.migrations.copying.expressions import Words, translated
from sillar.migrations.copying.model import Column, ColumnType, Kind, Table
from sillar.migrations.copying.reflection import foreign_key_names, reflected
from sillar.migrations.copying.rows import converted
from sillar.migrations.copying.side import (
    PROGRESS_TABLE,
    ProgressRow,
    Reader,
    Refuse,
    Row,
    Shelf,
    Side,
    Sink,
    Usage,
    Writer,
)
from sillar.migrations.copying.values import Convert

_COLUMNS: Final = ("table_name", "source", "state", "last_key", "rows_done", "plan")


class SQLSide(Side):
    """An SQL database."""

    def __init__(self, manager: DatabaseManager, database: str | None, dialect: Dialect) -> None:
        super().__init__(manager, database)
        self.dialect = dialect
        self.words = Words(dialect.family, dialect.translator)
        self.enforces_types = dialect.enforces_types
        self.engine = SQLAlchemyIntegration(manager, database).engine

    async def prepare(self) -> None:
        await self.dialect.prepare(self.session())
        self.words = Words(self.dialect.family, self.dialect.translator)  # MySQL and MariaDB differ

    # --- schema -----------------------------------------------------------------------------------------------------

    async def table_names(self) -> list[str]:
        found = await self.session().fetch_all(self.dialect.tables_sql, into=str)
        return sorted(name for name in found if name != PROGRESS_TABLE)

    async def tables(self, names: Sequence[str]) -> list[Table]:
        if not names:
            return []
        natives = await self.dialect.natives(self.session())
        unseen = await self.dialect.indexes(self.session())
        async with self.engine.connect() as connection:
            found = await connection.run_sync(reflected, list(names), self.dialect, natives, unseen)
        lost = await self.dialect.lost(self.session())
        return [
            replace(table, native=self.dialect.said_of(table.name), lost=tuple(lost.get(table.name, ())))
            for table in found
        ]

    def computes(self, expression: str, source: Words) -> bool:
        return translated(expression, source, self.dialect).sql is not None

    def portable(self, kind: ColumnType) -> ColumnType:
        return self.dialect.portable(kind)

    def fitted(self, columns: Sequence[Column], source: Sequence[Column], keyed: Collection[str]) -> list[Column]:
        return self.dialect.fitted(columns, source, keyed)

    def impossible(self, table: Table, names: Sequence[str]) -> Iterator[tuple[str | None, str]]:
        given: list[tuple[str | None, str]] = [(None, table.name), *((each.name, each.name) for each in table.columns)]
        for where, name in given:
            if not name or len(name.encode()) > self.dialect.name_length_max:
                yield where, f"a name has 1 to {self.dialect.name_length_max} bytes there"
        if self.dialect.tables_ignore_case and _is_twice(table.name, names):
            yield None, "another table has the same name there, where upper and lower case are the same"
        for column in table.columns if self.dialect.ignores_case else ():
            if _is_twice(column.name, [each.name for each in table.columns]):
                yield column.name, "another column has the same name there, where upper and lower case are the same"

    def numbers(self, table: Table, column: Column, stored: ColumnType) -> bool:
        return stored.kind is Kind.INTEGER and self.dialect.numbers(table, column)

    def storage(self, column: Column, usage: Usage) -> ColumnType:
        return self.dialect.storage(column, usage)

    def losses(self, column: Column, stored: ColumnType) -> Iterator[tuple[str, str]]:
        return self.dialect.losses(column, stored)

    def definition_losses(self, table: Table, source: Words) -> Iterator[tuple[str | None, str, str]]:
        return ddl.losses(self.dialect, table, source)

    async def create_table(self, table: Table, source: Words) -> None:
        session = self.session()
        for statement in ddl.create_table(self.dialect, table, source):
            await session.execute(statement)

    async def finish_table(self, table: Table, source: Words) -> None:
        session = self.session()
        (present,) = await self.tables([table.name])
        for statement in ddl.finish_table(self.dialect, table, present, source):
            await session.execute(statement)

    async def add_foreign_keys(self, table: Table) -> None:
        if self.dialect.inline_foreign_keys or not table.foreign_keys:
            return
        async with self.engine.connect() as connection:
            present = await connection.run_sync(foreign_key_names, table.name)
        session = self.session()
        for statement in ddl.foreign_keys(self.dialect, table, present):
            await session.execute(statement)

    async def number_on(self, table: Table) -> None:
        session = self.session()
        for column in table.written:
            if column.identity:
                for statement in self.dialect.number_on(table.name, column.name):
                    await session.execute(statement)

    async def drop_tables(self, names: Sequence[str]) -> None:
        async with self.session() as session, session.transaction() as transaction:
            if self.dialect.suspend_foreign_keys is not None:
                await transaction.execute(self.dialect.suspend_foreign_keys)
            for name in names:
                await transaction.execute(self.dialect.drop_table(name))

    async def clear_table(self, name: str) -> None:
        await self.session().execute(f"DELETE FROM {self.dialect.quoted(name)}")  # noqa: S608 - quoted

    async def is_empty(self, name: str) -> bool:
        found = await self.session().fetch_all(f"SELECT 1 FROM {self.dialect.quoted(name)} LIMIT 1")  # noqa: S608
        return not found

    def checks(self, shelf: Shelf) -> list[Convert | None]:
        return [self.dialect.encoder(each) for each in shelf.fields]

    # --- rows -------------------------------------------------------------------------------------------------------

    def snapshot(self) -> AbstractAsyncContextManager[Reader]:
        return self._snapshot()

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Reader]:
        dialect = self.dialect
        options: dict[str, Any] = {"settings": dialect.reading_settings} if dialect.reading_settings else {}
        isolation = Isolation.REPEATABLE_READ if dialect.has_isolation else None
        async with (
            self.session() as session,
            session.transaction(isolation=isolation, read_only=True, **options) as transaction,
        ):
            yield SQLReader(dialect, transaction)

    @asynccontextmanager
    async def _together(self) -> AsyncIterator[Any]:
        suspend = self.dialect.suspend_foreign_keys
        if suspend is None:
            yield None
            return
        async with self.session() as session, session.transaction() as transaction:
            await transaction.execute(suspend)
            yield transaction

    def together(self) -> AbstractAsyncContextManager[Any]:
        return self._together()

    def writer(self, shelf: Shelf) -> Writer:
        return SQLWriter(self, shelf)

    # --- progress ---------------------------------------------------------------------------------------------------

    async def open_progress(self) -> dict[str, ProgressRow]:
        session = self.session()
        if PROGRESS_TABLE not in await session.fetch_all(self.dialect.tables_sql, into=str):
            return {}
        names = ", ".join(map(self.dialect.quoted, _COLUMNS))
        rows = await session.fetch_all(f"SELECT {names} FROM {self.dialect.quoted(PROGRESS_TABLE)}")  # noqa: S608
        return {row["table_name"]: ProgressRow(*(row[name] for name in _COLUMNS)) for row in rows}

    async def create_progress(self) -> None:
        quoted, text = self.dialect.quoted, self.dialect.long_text
        types = (f"VARCHAR(255){self.dialect.exact_text} NOT NULL PRIMARY KEY", f"{text} NOT NULL",
                 "VARCHAR(20) NOT NULL", text, "BIGINT NOT NULL", f"{text} NOT NULL")  # fmt: skip
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in zip(_COLUMNS, types, strict=True))
        await self.session().execute(f"CREATE TABLE IF NOT EXISTS {quoted(PROGRESS_TABLE)} ({columns})")

    async def note(self, row: ProgressRow) -> None:
        await self.noted(self.session(), row)

    async def noted(self, statements: Statements, row: ProgressRow) -> None:
        """Remember it in an open transaction."""
        values = (row.table, row.source, row.state, row.last_key, row.rows, row.plan)
        await statements.bulk_upsert(PROGRESS_TABLE, _COLUMNS, [values], key="table_name")

    async def drop_progress(self) -> None:
        await self.session().execute(f"DROP TABLE IF EXISTS {self.dialect.quoted(PROGRESS_TABLE)}")


def _is_twice(name: str, names: Sequence[str]) -> bool:
    return sum(each.lower() == name.lower() for each in names) > 1


class SQLReader(Reader):
    """Reads in one transaction.

    Args:
        dialect: of the engine.
        statements: the open transaction.
    """

    def __init__(self, dialect: Dialect, statements: Statements) -> None:
        self._dialect, self._statements = dialect, statements

    def pages(self, shelf: Shelf) -> bool:
        keys = [shelf.fields[place].stored for place in shelf.key_places]
        return bool(keys) and all(map(self._dialect.pages, keys))

    async def read(
        self,
        shelf: Shelf,
        sink: Sink,
        *,
        batch_rows: int,
        in_order: bool = False,
        after: Row | None = None,
        refuse: Refuse | None = None,
    ) -> None:
        dialect = self._dialect
        quoted = dialect.quoted
        selected = ", ".join(dialect.selected(quoted(each.name), each.stored) for each in shelf.fields)
        sql = f"SELECT {selected} FROM {quoted(shelf.table)}"  # noqa: S608 - quoted names
        params: dict[str, Any] = {}
        if after is not None:
            keys = [shelf.fields[place] for place in shelf.key_places]
            condition, params = dialect.after(keys, after)
            sql += f" WHERE {condition}"
        if shelf.key and in_order:
            sql += f" ORDER BY {', '.join(dialect.ordered(quoted(name)) for name in shelf.key)}"
        steps = [dialect.decoder(each) for each in shelf.fields]

        async def decoded(rows: list[Any]) -> None:
            await sink(converted(shelf, steps, rows, refuse))

        types = [each.stored for each in shelf.fields]
        await dialect.read(self._statements, sql, params, types, batch_rows, decoded)


class SQLWriter(Writer):
    """Writes into one table.

    Args:
        side: the database.
        shelf: the table.
    """

    def __init__(self, side: SQLSide, shelf: Shelf) -> None:
        self._side, self._shelf = side, shelf
        self._steps = [side.dialect.encoder(each) for each in shelf.fields]
        self._names = tuple(each.name for each in shelf.fields)

    async def write(self, rows: list[Row], progress: ProgressRow, within: Any = None) -> None:
        encoded = converted(self._shelf, self._steps, rows)
        if within is not None:
            await self._into(within, encoded, progress)
            return
        async with self._side.session() as session, session.transaction() as transaction:
            await self._into(transaction, encoded, progress)

    async def _into(self, transaction: Statements, rows: list[Row], progress: ProgressRow) -> None:
        await self._side.dialect.insert(transaction, self._shelf.table, self._names, rows)
        await self._side.noted(transaction, progress)

    async def attempt(self, rows: list[Row]) -> None:
        encoded = converted(self._shelf, self._steps, rows)
        async with self._side.session() as session:
            transaction = await session.transaction().begin()
            try:
                await self._side.dialect.insert(transaction, self._shelf.table, self._names, encoded)
            finally:
                await transaction.rollback()
