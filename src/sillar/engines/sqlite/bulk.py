"""Bulk writes as one statement with many parameter sets, and reads by many keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sillar.engines.sqlite.statement import SQLiteStatement, SQLiteStatements, quoted
from sillar.query.bulk import BulkVerb, BulkWrite, KeyedRead

_STATEMENTS = SQLiteStatements(size_max=500)


@lru_cache(maxsize=500)
def prepared(write: BulkWrite) -> tuple[SQLiteStatement, Callable[[Sequence[Any]], Sequence[Any]] | None]:
    """The statement for one row, and what puts a row's values into its order (None: they are)."""
    table = quoted(write.table)
    same = " AND ".join(f"{_column(name)} = ?" for name in write.key)
    if write.verb is BulkVerb.DELETE:
        return _STATEMENTS.get(f"DELETE FROM {table} AS target WHERE {same}"), _arranged(write, write.key)  # noqa: S608 - quoted
    if write.verb is BulkVerb.UPDATE:
        values = ", ".join(f"{_name(name)} = ?" for name in write.update)
        statement = _STATEMENTS.get(f"UPDATE {table} AS target SET {values} WHERE {same}")  # noqa: S608 - quoted names
        return statement, _arranged(write, (*write.update, *write.key))
    columns = ", ".join(map(_name, write.columns))
    insert = f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' for _ in write.columns)})"  # noqa: S608 - as above
    if write.verb is BulkVerb.UPSERT:
        values = ", ".join(f"{_name(name)} = excluded.{_name(name)}" for name in write.update)
        key = ", ".join(map(_name, write.key))
        insert += f" ON CONFLICT ({key}) DO {f'UPDATE SET {values}' if values else 'NOTHING'}"
    return _STATEMENTS.get(insert), None


def _arranged(write: BulkWrite, order: Sequence[str]) -> Callable[[Sequence[Any]], Sequence[Any]] | None:
    if tuple(order) == write.columns:
        return None
    places = [write.columns.index(name) for name in order]
    return itemgetter(*places)


@lru_cache(maxsize=500)
def keyed_sql(read: KeyedRead, count: int) -> str:
    """The text that reads rows by ``count`` keys."""
    columns = "*" if read.columns is None else ", ".join(map(_column, read.columns))
    key = ", ".join(map(_column, read.key))
    select = f"SELECT {columns} FROM {quoted(read.table)} AS target WHERE"  # noqa: S608 - quoted names
    if len(read.key) == 1:
        return f"{select} {key} = ?" if count == 1 else f"{select} {key} IN ({', '.join('?' * count)})"
    row = f"({', '.join('?' for _ in read.key)})"
    return f"{select} ({key}) IN (VALUES {', '.join([row] * count)})"


def _column(name: str) -> str:
    """A column that has to be there: a quoted name alone that is no column SQLite takes for a text."""
    return f"target.{_name(name)}"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
