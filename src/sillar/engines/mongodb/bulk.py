"""Bulk writes as one list of operations, and reads by many keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import bson

from sillar import errors
from sillar.engines.mongodb.errors import parameter_error
from sillar.engines.mongodb.values import CODEC
from sillar.query.bulk import BulkVerb, BulkWrite, KeyedRead
from sillar.query.document import DocumentCommand

if TYPE_CHECKING:
    from sillar.engines.mongodb.connection import MongoDBConnection


async def write_batch(
    connection: MongoDBConnection, write: BulkWrite, rows: Sequence[Sequence[Any]], timeout_seconds: float | None
) -> int:
    """Write one batch; the rows affected.

    Raises:
        DatabaseError: ``row_number`` says which row is to blame, where one is.
    """
    try:
        reply = await connection.run(_command(write, rows), (), timeout_seconds)
    except errors.ParameterError as error:
        error.row_number = _unfit(rows)
        raise
    except errors.StatementError as error:
        if write.verb is not BulkVerb.DELETE and "index" in error.detail:
            error.row_number = int(error.detail["index"]) + 1
        raise
    if write.verb is BulkVerb.INSERT or write.verb is BulkVerb.DELETE:
        return reply.rows_affected
    _, matched, _, _, upserted = reply.rows[0]
    if write.verb is BulkVerb.UPSERT:
        return int(upserted) + (int(matched) if write.update else 0)
    return int(matched)


def _command(write: BulkWrite, rows: Sequence[Sequence[Any]]) -> DocumentCommand:
    columns = write.columns
    if write.verb is BulkVerb.INSERT:
        documents = [dict(zip(columns, row, strict=True)) for row in rows]
        return DocumentCommand(write.table, "insert_many", {"documents": documents})
    if write.verb is BulkVerb.DELETE:
        return DocumentCommand(write.table, "delete_many", {"filter": keyed_filter(columns, _keys(rows))})
    setting = [(name, columns.index(name)) for name in write.update]
    only_new = [(name, columns.index(name)) for name in columns if name not in (*write.key, *write.update)]
    keys = [(name, columns.index(name)) for name in write.key]
    operations: list[Any] = []
    options = {"upsert": write.verb is BulkVerb.UPSERT}
    for row in rows:
        change: dict[str, Any] = {}
        if setting:
            change["$set"] = {name: row[place] for name, place in setting}
        if write.verb is BulkVerb.UPSERT and (only_new or not setting):
            change["$setOnInsert"] = {name: row[place] for name, place in only_new or keys}
        found = {name: {"$eq": row[place]} for name, place in keys}  # $eq: a document stays a value
        operations.append(("update_one", found, change, options))
    return DocumentCommand(write.table, "bulk_write", {"operations": operations})


def _keys(rows: Sequence[Sequence[Any]]) -> list[Any]:
    return [row[0] for row in rows] if len(rows[0]) == 1 else list(rows)


def keyed_filter(key: Sequence[str], keys: Sequence[Any]) -> dict[str, Any]:
    """The filter that finds documents by keys; tuples where the key has several fields."""
    if len(key) == 1:
        return {key[0]: {"$in": list(keys)}}
    return {"$or": [{name: {"$eq": value} for name, value in zip(key, values, strict=True)} for values in keys]}


def keyed_command(read: KeyedRead, keys: Sequence[Any]) -> DocumentCommand:
    """The command that reads documents by keys."""
    arguments: dict[str, Any] = {"filter": keyed_filter(read.key, keys)}
    if read.columns is not None:
        arguments["projection"] = {"_id": False} | dict.fromkeys(read.columns, True)
    return DocumentCommand(read.table, "find", arguments)


def _unfit(rows: Sequence[Sequence[Any]]) -> int | None:
    """The number of the first row that has no form in BSON, which the driver does not tell."""
    for number, row in enumerate(rows, 1):
        try:
            bson.encode({"values": list(row)}, codec_options=CODEC)
        except errors.ParameterError:
            return number
        except Exception as error:
            if parameter_error(error) is None:
                raise
            return number
    return None
