"""E11000 in MongoDB's words: which index, which key, which value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import bson

from sillar.testing.servers.mongodb_gateway.command_error import CommandError
from sillar.testing.servers.mongodb_gateway.operation import Operation

_CODE = 11000
# DocumentDB names the index in its own words; where PostgreSQL's error comes through, it is the constraint's name.
_INDEX_NAME = re.compile(r"Index '(?P<name>.+)'|constraint \"documents_rum_index_(?P<number>\d+)\"")
_NEW_DOCUMENT = re.compile(r"=\(BSONHEX([0-9a-f]+)")
_INDEX_KEY = """
    select (index_spec).index_name as name, documentdb_core.bson_to_bytea((index_spec).index_key) as key
    from documentdb_api_catalog.collection_indexes join documentdb_api_catalog.collections using (collection_id)
    where database_name = $1 and collection_name = $2 and ((index_spec).index_name = $3 or index_id = $4)
"""
_MISSING = object()


async def duplicate_key(
    pool: Any,
    operation: Operation,
    collection: str,
    message: str,
    *,
    document: Mapping[str, Any] | None = None,
    detail: str | None = None,
) -> CommandError:
    """The E11000 for one refused document.

    Args:
        message: what DocumentDB or PostgreSQL said.
        document: the refused document, or what the command shows of it.
        detail: PostgreSQL's DETAIL, which has the refused document.
    """
    found = _INDEX_NAME.search(message)
    name = found["name"] if found else None
    number = int(found["number"]) if found and found["number"] else None
    row = await pool.fetchrow(_INDEX_KEY, operation.database, collection, name, number)
    if row is not None:
        name = row["name"]
    text = f"E11000 duplicate key error collection: {operation.database}.{collection} index: {name or 'unknown'}"
    fields: dict[str, Any] = {}
    if row is not None:
        fields["keyPattern"] = pattern = bson.decode(row["key"])
        if document is None and detail and (new := _NEW_DOCUMENT.search(detail)):
            document = bson.decode(bytes.fromhex(new[1]))
        values = {path: _value(document or {}, path) for path in pattern}
        if _MISSING not in values.values():
            fields["keyValue"] = values
            shown = ", ".join(f"{path}: {_literal(value)}" for path, value in values.items())
            text = f"{text} dup key: {{ {shown} }}"
    return CommandError(_CODE, text, fields=fields)


def shown_by_update(update: Mapping[str, Any]) -> dict[str, Any]:
    """What an update statement shows of the document it would make, as far as that is plain.

    That is: a replacement, ``$set`` and ``$setOnInsert``, and equalities of the query.
    """
    equalities = {
        path: value
        for path, value in dict(update.get("q", update.get("query", {}))).items()
        if not path.startswith("$") and not (isinstance(value, Mapping) and any(key.startswith("$") for key in value))
    }
    change = update.get("u", update.get("update", {}))
    if isinstance(change, Sequence):
        return {}
    change = dict(change)
    if not any(path.startswith("$") for path in change):
        return {**({"_id": equalities["_id"]} if "_id" in equalities else {}), **change}
    return {**equalities, **dict(change.get("$setOnInsert", {})), **dict(change.get("$set", {}))}


def _value(document: Mapping[str, Any], path: str) -> Any:
    if path in document:
        return document[path]
    head, _, tail = path.partition(".")
    inner = document.get(head, _MISSING)
    return _value(inner, tail) if tail and isinstance(inner, Mapping) else _MISSING


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return "null" if value is None else str(value)
