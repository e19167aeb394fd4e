"""Bulk writes: multi-row statements, and a temporary table where the rows have to be joined."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from sillar import errors
from sillar.engines.mysql import driver, probe
from sillar.engines.mysql.rows import insert_chunks
from sillar.engines.mysql.values import encode_parameters, identifier
from sillar.query.bulk import BulkVerb, BulkWrite, KeyedRead

if TYPE_CHECKING:
    from sillar.engines.mysql.connection import MySQLConnection

_STAGE: Final = "`sillar_bulk`"
_ROW: Final = re.compile(r"^row \d+ ")
_COUNTS: Final = re.compile(rb"Records: (\d+)\s+Duplicates: (\d+)")
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")


class Limit:
    """A time limit for work of several requests."""

    __slots__ = ("_deadline",)

    def __init__(self, timeout_seconds: float | None) -> None:
        self._deadline = None if timeout_seconds is None else monotonic() + timeout_seconds

    def left(self) -> float | None:
        """Seconds that are left; None without a limit."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())


class Batch:
    """One batch on its way to one connection.

    Args:
        connection: in a transaction where there is more than one statement.
        write: what is done.
        rows: encoded.
        timeout_seconds: for all statements together.
    """

    def __init__(
        self,
        connection: MySQLConnection,
        write: BulkWrite,
        rows: Sequence[Sequence[Any]],
        timeout_seconds: float | None,
    ) -> None:
        self._connection, self._write, self._rows = connection, write, rows
        self._limit = Limit(timeout_seconds)
        self._table = quoted(write.table)
        self._names = ", ".join(map(identifier, write.columns))

    async def written(self) -> int:
        """Write it; the rows affected."""
        verb = self._write.verb
        if verb is BulkVerb.INSERT:
            return sum(result.affected_rows for result in await self._rows_into(self._table))
        if verb is BulkVerb.DELETE:
            return await self._deleted()
        if verb is BulkVerb.UPDATE:
            await self._stage()
            affected = await self._updated()
            await self._query(f"DROP TEMPORARY TABLE {_STAGE}")
            return affected
        return await self._upserted()

    # --- upsert -----------------------------------------------------------------------------------------------------

    async def _upserted(self) -> int:
        if await self._only_the_key_conflicts():
            return await self._upserted_at_once()
        await self._stage()
        affected = await self._updated() if self._write.update else 0
        columns = ", ".join(f"given.{identifier(name)}" for name in self._write.columns)
        missing = f"target.{identifier(self._write.key[0])} IS NULL"
        inserted = await self._query(
            f"INSERT INTO {self._table} ({self._names}) SELECT {columns} FROM {_STAGE} AS given"  # noqa: S608 - quoted names
            f" LEFT JOIN {self._table} AS target ON {self._same} WHERE {missing}"
        )
        await self._query(f"DROP TEMPORARY TABLE {_STAGE}")
        return affected + int(inserted.affected_rows)

    async def _only_the_key_conflicts(self) -> bool:
        """Whether ON DUPLICATE KEY, which takes a conflict on any unique index for one on the key, says what is meant.

        Raises:
            UsageError: the key is not unique: then nothing would ever be a duplicate by it.
        """
        indexes: dict[str, set[str]] = {}
        for row in (await self._query(f"SHOW INDEX FROM {self._table} WHERE Non_unique = 0")).rows:
            indexes.setdefault(row[2], set()).add(str(row[4]).lower())
        key = {name.lower() for name in self._write.key}
        if key not in indexes.values():
            raise errors.UsageError(
                f"{self._write.table} has no unique index on ({', '.join(self._write.key)}), so an upsert cannot tell"
                " by it which rows are there; create one, or name the columns of one as the key"
            )
        columns = {name.lower() for name in self._write.columns}
        return not any(columns & index for index in indexes.values() if index != key)

    async def _upserted_at_once(self) -> int:
        update = self._write.update
        raw = self._connection.raw
        if not update:
            first = identifier(self._write.key[0])
            if len(self._rows) == 1:  # only a statement of several rows tells how many were there
                self._rows = [*self._rows, *self._rows]
            results = await self._rows_into(self._table, f" ON DUPLICATE KEY UPDATE {first} = {first}")
            return sum(_inserted(result) for result in results)
        if _has_row_alias(raw):
            values = ", ".join(f"{identifier(name)} = given.{identifier(name)}" for name in update)
            suffix = f" AS given ON DUPLICATE KEY UPDATE {values}"
        else:
            values = ", ".join(f"{identifier(name)} = VALUES({identifier(name)})" for name in update)
            suffix = f" ON DUPLICATE KEY UPDATE {values}"
        await self._rows_into(self._table, suffix)
        return len(self._rows)

    # --- update, delete ---------------------------------------------------------------------------------------------

    async def _stage(self) -> None:
        """The rows in a temporary table whose columns have the types and collations of the real one.

        The outer join makes them nullable: a NOT NULL column without a default would get one that strict mode refuses.
        """
        self._connection.dirty = True  # whatever happens: a reset drops it
        columns = ", ".join(f"target.{identifier(name)}" for name in self._write.columns)
        await self._query(
            f"DROP TEMPORARY TABLE IF EXISTS {_STAGE}; CREATE TEMPORARY TABLE {_STAGE} AS SELECT {columns}"  # noqa: S608 - quoted names
            f" FROM (SELECT 1 AS one) AS one LEFT JOIN {self._table} AS target ON 1 = 0 LIMIT 0"
        )
        await self._rows_into(_STAGE)

    async def _updated(self) -> int:
        values = ", ".join(f"target.{identifier(name)} = given.{identifier(name)}" for name in self._write.update)
        result = await self._query(
            f"UPDATE {self._table} AS target JOIN {_STAGE} AS given ON {self._same} SET {values}"  # noqa: S608 - as above
        )
        return int(result.affected_rows)

    async def _deleted(self) -> int:
        key = ", ".join(map(identifier, self._write.key))
        prefix = f"DELETE FROM {self._table} WHERE ({key}) IN ("  # noqa: S608 - quoted names
        return sum(result.affected_rows for result in await self._chunks(prefix, ")"))

    # --- within -----------------------------------------------------------------------------------------------------

    @property
    def _same(self) -> str:
        return " AND ".join(f"target.{identifier(name)} = given.{identifier(name)}" for name in self._write.key)

    async def _rows_into(self, table: str, suffix: str = "") -> list[Any]:
        return await self._chunks(f"INSERT INTO {table} ({self._names}) VALUES ", suffix)  # noqa: S608 - quoted names

    async def _chunks(self, prefix: str, suffix: str) -> list[Any]:
        connection = self._connection
        values = f"({', '.join(['%s'] * len(self._write.columns))})"
        chunks = insert_chunks(connection.raw, prefix, values, suffix, self._rows, connection._packet_max)
        try:
            return [await self._query(sql) for sql in chunks]
        except errors.ParameterError as error:  # a row beyond the server's packet
            error.args = (_ROW.sub("a row ", str(error.args[0])),)
            raise

    async def _query(self, sql: str) -> Any:
        connection = self._connection
        results = await connection._exchange.call(driver.query, connection.raw, sql, timeout_seconds=self._limit.left())
        return results[-1]


def checked_rows(rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    """The rows as the driver takes them.

    Raises:
        ParameterError: a row has another length than there are columns, or a value that cannot be stored.
    """
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise errors.ParameterError(f"row {number} has {len(row)} values for {len(columns)} columns")
        try:
            yield encode_parameters(row, columns)
        except errors.ParameterError as error:
            error.add_note(f"in row {number}")
            raise


def encoded(write: BulkWrite, rows: Iterable[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """The rows as the driver takes them.

    Raises:
        ParameterError: a value cannot be stored; ``row_number`` says where.
    """
    found: list[tuple[Any, ...]] = []
    try:
        for row in rows:
            found.append(encode_parameters(row, write.columns))
    except errors.ParameterError as error:
        error.row_number = len(found) + 1
        raise
    return found


def quoted(table: str) -> str:
    """A name, possibly qualified, as quoted identifiers."""
    return ".".join(map(identifier, table.split(".")))


def _has_row_alias(raw: Any) -> bool:
    """MySQL calls the new row by an alias from 8.0.19 on, and deprecates VALUES(); MariaDB has VALUES() alone."""
    if probe.is_mariadb(raw):
        return False
    version = _VERSION.match(raw.server_version)
    return version is not None and tuple(map(int, version.groups())) >= (8, 0, 19)


def _inserted(result: Any) -> int:
    """The rows that a statement with ON DUPLICATE KEY inserted: the others are counted as duplicates."""
    counts = _COUNTS.search(result.message or b"")
    return int(result.affected_rows) if counts is None else int(counts[1]) - int(counts[2])


@lru_cache(maxsize=500)
def keyed_sql(read: KeyedRead, count: int) -> str:
    """The text that reads rows by ``count`` keys."""
    columns = "*" if read.columns is None else ", ".join(map(identifier, read.columns))
    key = ", ".join(map(identifier, read.key))
    select = f"SELECT {columns} FROM {quoted(read.table)} WHERE ({key}) IN (".replace("%", "%%")  # noqa: S608 - quoted
    row = "%s" if len(read.key) == 1 else f"({', '.join(['%s'] * len(read.key))})"
    return f"{select}{', '.join([row] * count)})"
