"""Bulk writes: small batches as arrays in one statement, large ones by COPY into a table of the transaction's own."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from sillar.engines.postgresql.many import plain_column
from sillar.engines.postgresql.values import identifier
from sillar.errors import ParameterError
from sillar.query.bulk import BulkVerb, BulkWrite, KeyedRead
from sillar.query.functions import POSTGRESQL_FUNCTIONS
from sillar.query.text import LexicalRules, Placeholder, StatementText, StatementTexts

if TYPE_CHECKING:
    from sillar.engines.postgresql.connection import PostgreSQLConnection

_ARRAYS_ROWS_MAX: Final = 1000
"""Up to here one statement with arrays is faster: staging costs three round trips more, and each row less."""

_TEXTS: Final = StatementTexts(
    LexicalRules(Placeholder.DOLLAR, dollar_quotes=True, functions=POSTGRESQL_FUNCTIONS), size_max=500
)
_PARAMETER: Final = re.compile(r"parameter \$(\d+)")


async def write_batch(
    connection: PostgreSQLConnection, write: BulkWrite, rows: Sequence[Sequence[Any]], timeout_seconds: float | None
) -> int:
    """Write one batch, all of it or nothing; returns the rows affected."""
    if write.verb is BulkVerb.INSERT:
        return await _copied(connection, write, write.table, rows, timeout_seconds)
    types = await connection.column_types(write.table, write.columns, timeout_seconds)
    if len(rows) <= _ARRAYS_ROWS_MAX and not any(name.endswith("[]") for name in types):
        return await _by_arrays(connection, write, types, rows, timeout_seconds)
    return await _whole(connection, lambda: _staged(connection, write, rows, timeout_seconds))


async def _by_arrays(
    connection: PostgreSQLConnection,
    write: BulkWrite,
    types: Sequence[str],
    rows: Sequence[Sequence[Any]],
    timeout_seconds: float | None,
) -> int:
    arrays = ", ".join(f"${number}::{name}[]" for number, name in enumerate(types, 1))
    names = ", ".join(map(identifier, write.columns))
    statement = _text(_statement(write, f"unnest({arrays}) AS given ({names})"))
    columns = [plain_column(column) for column in zip(*rows, strict=True)]
    try:
        return (await connection.run(statement, columns, timeout_seconds)).rows_affected
    except ParameterError as error:  # a parameter is a whole column here
        message = _PARAMETER.sub(lambda found: f"the column {write.columns[int(found[1]) - 1]}", str(error.args[0]))
        error.args = (message,)
        raise


async def _staged(
    connection: PostgreSQLConnection, write: BulkWrite, rows: Sequence[Sequence[Any]], timeout_seconds: float | None
) -> int:
    """In a transaction: the table is dropped with it, and emptied between two batches of it."""
    digest = blake2b(repr((write.table, write.columns)).encode(), digest_size=8).hexdigest()
    name = f"sillar_bulk_{digest}"
    names = ", ".join(map(identifier, write.columns))
    create = (
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {name} ON COMMIT DROP AS"  # noqa: S608 - quoted names
        f" SELECT {names} FROM {quoted(write.table)} WITH NO DATA; TRUNCATE pg_temp.{name}"
    )
    await connection.run_script(create, timeout_seconds)
    await _copied(connection, write, f"pg_temp.{name}", rows, timeout_seconds)
    # As a script: kept prepared it would be of no use, since the table is another one in each transaction.
    return await connection.run_script(_statement(write, f"pg_temp.{name} AS given"), timeout_seconds)


async def _copied(
    connection: PostgreSQLConnection,
    write: BulkWrite,
    table: str,
    rows: Sequence[Sequence[Any]],
    timeout_seconds: float | None,
) -> int:
    try:
        return await connection.bulk_insert(table, write.columns, rows, timeout_seconds, typed_as=write.table)
    except ParameterError as error:
        if error.row_number is not None:  # the message has the number within the batch
            error.args = (f"a row has a value that the type of its column in {write.table} does not take",)
        raise


def _text(sql: str) -> StatementText:
    """A text of our own, scanned once; the scanner takes the list of columns for the call of a function."""
    text = _TEXTS.get(sql)
    text.is_clean = True
    return text


async def _whole(connection: PostgreSQLConnection, work: Callable[[], Awaitable[int]]) -> int:
    """Several statements as one: in the open transaction (with the caller's savepoint), else in one of their own."""
    if connection.in_transaction:
        return await work()
    await connection.begin()
    try:
        affected = await work()
    except BaseException:
        if not connection.is_closed():
            await connection.rollback()
        raise
    await connection.commit_undisturbed()
    return affected


def _statement(write: BulkWrite, source: str) -> str:
    """The statement that takes its rows from a source named ``given``.

    Inserts come in the order of the key: neighbours in the index are found together, and two such statements lock rows
    in the same order.
    """
    table = quoted(write.table)
    columns = ", ".join(map(identifier, write.columns))
    key = ", ".join(map(identifier, write.key))
    same = " AND ".join(f"target.{identifier(name)} = given.{identifier(name)}" for name in write.key)
    if write.verb is BulkVerb.DELETE:
        return f"DELETE FROM {table} AS target USING {source} WHERE {same}"  # noqa: S608 - quoted identifiers
    if write.verb is BulkVerb.UPDATE:
        values = ", ".join(f"{identifier(name)} = given.{identifier(name)}" for name in write.update)
        return f"UPDATE {table} AS target SET {values} FROM {source} WHERE {same}"  # noqa: S608 - quoted identifiers
    values = ", ".join(f"{identifier(name)} = EXCLUDED.{identifier(name)}" for name in write.update)
    return (
        f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {source} ORDER BY {key}"  # noqa: S608 - as above
        f" ON CONFLICT ({key}) DO {f'UPDATE SET {values}' if values else 'NOTHING'}"
    )


def type_name(kind: Any) -> str:
    """The name of a type as the driver describes it, quoted and qualified."""
    name = kind.name.removesuffix("[]")
    suffix = "[]" if kind.kind == "array" else ""
    return f"{identifier(kind.schema)}.{identifier(name)}{suffix}"


def quoted(table: str) -> str:
    """A name, possibly qualified, as quoted identifiers."""
    return ".".join(map(identifier, table.split(".")))


@lru_cache(maxsize=500)
def keyed_sql(read: KeyedRead, count: int = 0) -> str:
    """The text that reads rows by keys: as one array for a key of one column, else as ``count`` tuples."""
    columns = "*" if read.columns is None else ", ".join(map(identifier, read.columns))
    key = ", ".join(map(identifier, read.key))
    select = f"SELECT {columns} FROM {quoted(read.table)} WHERE"  # noqa: S608 - quoted identifiers
    width = len(read.key)
    if width == 1:
        return f"{select} {key} = ANY($1)"
    marks = [f"({', '.join(f'${row * width + place + 1}' for place in range(width))})" for row in range(count)]
    return f"{select} ({key}) IN ({', '.join(marks)})"
