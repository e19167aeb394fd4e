"""Commands on stored documents, each by a function of the DocumentDB extension."""

# The SQL below is put together from constants; what comes from clients travels as parameters.
# ruff: noqa: S608

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import bson

from sillar.testing.servers.mongodb_gateway.command_error import QUERY_CANCELLED, CommandError, code_of, unpack_sqlstate
from sillar.testing.servers.mongodb_gateway.cursor import Cursor, CursorTable
from sillar.testing.servers.mongodb_gateway.duplicate_key import duplicate_key, shown_by_update
from sillar.testing.servers.mongodb_gateway.operation import Operation
from sillar.testing.servers.mongodb_gateway.plan import winning_plan
from sillar.testing.servers.mongodb_gateway.session import Transaction
from sillar.testing.servers.mongodb_gateway.wire import split_documents

Reply = dict[str, Any] | bytes
_OK: dict[str, Any] = {"ok": 1.0}
# What belongs to the session and the driver, not to the command.
_ENVELOPE = frozenset(
    (
        "$db",
        "lsid",
        "$clusterTime",
        "txnNumber",
        "autocommit",
        "startTransaction",
        "$readPreference",
        "readConcern",
        "writeConcern",
        "apiVersion",
        "apiStrict",
        "apiDeprecationErrors",
        "maxTimeMS",
        "stmtId",
        "stmtIds",
    )
)
_IN = "documentdb_core.bson_from_bytea(${}::bytea)".format
_OUT = "documentdb_core.bson_to_bytea({})".format
_FIRST_PAGE = (
    f"select {_OUT('cursorpage')} as page, {_OUT('continuation')} as continuation, persistconnection "
    f"from documentdb_api.{{}}_cursor_first_page($1, {_IN(2)}, $3)"
).format
_NEXT_PAGE = (
    f"select {_OUT('cursorpage')} as page, {_OUT('continuation')} as continuation "
    f"from documentdb_api.cursor_get_more($1, {_IN(2)}, {_IN(3)})"
)
_WRITE = (
    f"select {_OUT('p_result')} from documentdb_api.{{}}"
    f"($1, {_IN(2)}, documentdb_core.bsonsequence_from_bytea($3::bytea), null)"
).format
_EXPLAINED = {"find": "find", "aggregate": "pipeline", "count": "count", "distinct": "distinct"}
_SEQUENCES = {"insert": "documents", "update": "updates", "delete": "deletes"}


def _body(command: Mapping[str, Any]) -> bytes:
    return bson.encode({field: value for field, value in command.items() if field not in _ENVELOPE})


class StoredCommands:
    """The commands that need a PostgreSQL connection; the gateway leases it before and translates errors after.

    ``handlers`` maps a command's canonical name to its coroutine function; ``writes`` are the names that change data.
    """

    writes = frozenset(
        (
            "insert",
            "update",
            "delete",
            "findAndModify",
            "create",
            "drop",
            "dropDatabase",
            "createIndexes",
            "dropIndexes",
            "collMod",
            "renameCollection",
        )
    )

    def __init__(self, pool: Any, cursors: CursorTable) -> None:
        self._pool, self._cursors = pool, cursors
        self.handlers: dict[str, Callable[[Operation, Transaction | None], Awaitable[Reply]]] = {
            "find": self._first_page("find"),
            "aggregate": self._first_page("aggregate"),
            "listCollections": self._first_page("list_collections"),
            "listIndexes": self._first_page("list_indexes"),
            "getMore": self._get_more,
            "insert": self._write,
            "update": self._write,
            "delete": self._write,
            "findAndModify": self._find_and_modify,
            "count": self._count,
            "distinct": self._document("distinct_query", "document"),
            "create": self._document("create_collection_view"),
            "drop": self._drop,
            "dropDatabase": self._drop_database,
            "createIndexes": self._create_indexes,
            "dropIndexes": self._drop_indexes,
            "listDatabases": self._list_databases,
            "collStats": self._coll_stats,
            "dbStats": self._db_stats,
            "collMod": self._coll_mod,
            "renameCollection": self._rename_collection,
            "explain": self._explain,
        }

    def is_write(self, operation: Operation) -> bool:
        """The command changes data: by its name, or by an aggregation's last stage."""
        if operation.name == "aggregate":
            pipeline = operation.command.get("pipeline") or [{}]
            return next(iter(dict(pipeline[-1])), "") in ("$out", "$merge")
        return operation.name in self.writes

    # --- cursors ------------------------------------------------------------------------------------------------------

    def _first_page(self, function: str) -> Callable[[Operation, Transaction | None], Awaitable[Reply]]:
        sql = _FIRST_PAGE(function)

        async def first_page(operation: Operation, transaction: Transaction | None) -> Reply:
            cursor_id = self._cursors.new_id()
            row = await operation.fetchrow(sql, operation.database, _body(operation.command), cursor_id)
            if row["continuation"] is not None:
                cursor = Cursor(
                    cursor_id, operation.namespace, row["continuation"], operation.lsid, transaction=transaction
                )
                if row["persistconnection"] and transaction is None:
                    # The portal lives on this connection: it goes with the cursor.
                    cursor.connection, operation.connection = operation.connection, None
                self._cursors.add(cursor)
            page: bytes = row["page"]
            return page

        return first_page

    async def _get_more(self, operation: Operation, transaction: Transaction | None) -> Reply:
        cursor = self._cursors.take(int(operation.command["getMore"]), transaction)
        operation.cursor_id = cursor.cursor_id
        leased = operation.connection
        if cursor.connection is not None:
            operation.connection = cursor.connection
        continuation = None
        try:
            row = await operation.fetchrow(
                _NEXT_PAGE, operation.database, _body(operation.command), cursor.continuation
            )
            continuation, page = row["continuation"], row["page"]
            assert isinstance(page, bytes)
            return page
        finally:
            operation.connection = leased
            if continuation is None:
                await self._cursors.drop(cursor)
            else:
                self._cursors.put_back(cursor, continuation)

    # --- writes -------------------------------------------------------------------------------------------------------

    async def _write(self, operation: Operation, transaction: Transaction | None) -> Reply:
        # A batch keeps what it did before an item was refused. One that is going to run again, after a conflict or as a
        # retried write after a kill, must not have left anything: so a transaction around more than one item.
        whole = transaction is None and self._has_several(operation)
        async with operation.connection.transaction() if whole else contextlib.nullcontext():
            reply: bytes = await operation.fetchval(
                _WRITE(operation.name), operation.database, _body(operation.command), operation.request.documents
            )
            if b"writeErrors\0" not in reply:
                return reply
            document = bson.decode(reply)
            for error in document.get("writeErrors", ()):
                self._raise_if_fatal(operation, error)
        for error in document.get("writeErrors", ()):
            await self._word(operation, error)
        return document

    def _has_several(self, operation: Operation) -> bool:
        documents = operation.request.documents
        if documents is not None:
            return int.from_bytes(documents[:4], "little") < len(documents)
        return len(operation.command.get(_SEQUENCES[operation.name], ())) > 1

    def _raise_if_fatal(self, operation: Operation, error: dict[str, Any]) -> None:
        """Cancellation and conflicts are errors of the whole command, even if DocumentDB reports them for one item."""
        sqlstate = unpack_sqlstate(error["code"])
        if sqlstate == QUERY_CANCELLED:
            raise operation.cancelled_error()
        if code_of(sqlstate) == 112:
            raise CommandError(112, error["errmsg"])

    async def _word(self, operation: Operation, error: dict[str, Any]) -> None:
        """Give a write error MongoDB's code and words."""
        error["code"] = code = code_of(unpack_sqlstate(error["code"]))
        if code == 11000:
            collection = operation.command[operation.name]
            document = self._refused(operation, error["index"])
            worded = await duplicate_key(self._pool, operation, collection, error["errmsg"], document=document)
            error.update(errmsg=worded.message, **worded.fields)

    def _refused(self, operation: Operation, index: int) -> Mapping[str, Any]:
        items: Any
        if operation.request.documents is not None:
            items = split_documents(operation.request.documents)
        else:
            items = operation.command[_SEQUENCES[operation.name]]
        item: Mapping[str, Any] = items[index]
        return item if operation.name == "insert" else shown_by_update(item)

    async def _find_and_modify(self, operation: Operation, transaction: Transaction | None) -> Reply:
        command = dict(operation.command)
        name = next(iter(command))
        command = {"findAndModify": command.pop(name), **command}  # DocumentDB knows only this spelling
        return await self._one(
            operation,
            f"select {_OUT('p_result')} from documentdb_api.find_and_modify($1, {_IN(2)}, null)",
            operation.database,
            _body(command),
        )

    # --- reads --------------------------------------------------------------------------------------------------------

    def _document(
        self, function: str, column: str | None = None
    ) -> Callable[[Operation, Transaction | None], Awaitable[Reply]]:
        call = f"documentdb_api.{function}($1, {_IN(2)})"
        sql = f"select {_OUT(column)} from {call}" if column else f"select {_OUT(call)}"

        async def document(operation: Operation, transaction: Transaction | None) -> Reply:
            return await self._one(operation, sql, operation.database, _body(operation.command))

        return document

    async def _count(self, operation: Operation, transaction: Transaction | None) -> Reply:
        command = dict(operation.command)
        if not dict(command.get("query") or {}):
            command["query"] = {"_id": {"$exists": True}}  # without a condition DocumentDB only estimates
        sql = f"select {_OUT('document')} from documentdb_api.count_query($1, {_IN(2)})"
        return await self._one(operation, sql, operation.database, _body(command))

    async def _list_databases(self, operation: Operation, transaction: Transaction | None) -> Reply:
        sql = f"select {_OUT(f'documentdb_api.list_databases({_IN(1)})')}"
        return await self._one(operation, sql, _body(operation.command))

    async def _coll_stats(self, operation: Operation, transaction: Transaction | None) -> Reply:
        sql = f"select {_OUT('documentdb_api.coll_stats($1, $2, $3)')}"
        scale = float(operation.command.get("scale") or 1)
        return await self._one(operation, sql, operation.database, operation.command["collStats"], scale)

    async def _db_stats(self, operation: Operation, transaction: Transaction | None) -> Reply:
        sql = f"select {_OUT('documentdb_api.db_stats($1, $2)')}"
        return await self._one(operation, sql, operation.database, float(operation.command.get("scale") or 1))

    async def _explain(self, operation: Operation, transaction: Transaction | None) -> Reply:
        explained = dict(operation.command["explain"])
        name = next(iter(explained))
        if name in ("update", "delete"):
            (only,) = explained.get("updates" if name == "update" else "deletes") or [{"q": {}}]
            explained, name = {"find": explained[name], "filter": only["q"]}, "find"
        elif name in ("findAndModify", "findandmodify"):
            explained, name = {"find": explained[name], "filter": explained.get("query", {})}, "find"
        if name not in _EXPLAINED:
            raise CommandError(59, f"Explain failed due to unknown command: {name}")
        analyze = operation.command.get("verbosity", "allPlansExecution") != "queryPlanner"
        if name == "aggregate":
            explained.setdefault("cursor", {})
        text = await operation.fetchval(
            f"explain (format json, analyze {analyze}, timing false, buffers false) select document "
            f"from documentdb_api_catalog.bson_aggregation_{_EXPLAINED[name]}($1, {_IN(2)})",
            operation.database,
            _body(explained),
        )
        (result,) = json.loads(text)
        planner = {
            "namespace": f"{operation.database}.{explained[name]}",
            "winningPlan": winning_plan(result["Plan"]),
            "rejectedPlans": [],
        }
        reply: dict[str, Any] = {"explainVersion": "1", "queryPlanner": planner, "postgresqlPlan": result["Plan"]}
        if analyze:
            reply["executionStats"] = {
                "executionSuccess": True,
                "nReturned": int(result["Plan"]["Actual Rows"]),
                "executionTimeMillis": round(result["Execution Time"]),
            }
        return {**reply, "command": explained, "ok": 1.0}

    # --- collections and indexes --------------------------------------------------------------------------------------

    async def _drop(self, operation: Operation, transaction: Transaction | None) -> Reply:
        name = operation.command["drop"]
        dropped = await operation.fetchval("select documentdb_api.drop_collection($1, $2)", operation.database, name)
        return {"ns": f"{operation.database}.{name}", "ok": 1.0} if dropped else _OK

    async def _drop_database(self, operation: Operation, transaction: Transaction | None) -> Reply:
        await operation.fetchval("select documentdb_api.drop_database($1)", operation.database)
        return {"dropped": operation.database, "ok": 1.0}

    async def _create_indexes(self, operation: Operation, transaction: Transaction | None) -> Reply:
        # Inside a transaction the extension refuses collections that have documents, as MongoDB does; else it may lock.
        sql = f"select {_OUT(f'documentdb_api_internal.create_indexes_non_concurrently($1, {_IN(2)}, $3)')}"
        locking = transaction is None
        reply = bson.decode(await operation.fetchval(sql, operation.database, _body(operation.command), locking))
        return {**next(iter(reply.get("raw", {}).values()), {}), "ok": 1.0}

    async def _drop_indexes(self, operation: Operation, transaction: Transaction | None) -> Reply:
        sql = f"call documentdb_api.drop_indexes($1, {_IN(2)}, null)"
        text: str = await operation.fetchval(sql, operation.database, _body(operation.command))
        reply = bson.decode(bytes.fromhex(text.removeprefix("BSONHEX")))
        if not reply["ok"]:
            raise CommandError(code_of(unpack_sqlstate(reply["code"])), reply["errmsg"])
        return {**reply, "ok": 1.0}

    async def _coll_mod(self, operation: Operation, transaction: Transaction | None) -> Reply:
        sql = f"select {_OUT(f'documentdb_api.coll_mod($1, $2, {_IN(3)})')}"
        name = operation.command["collMod"]
        return await self._one(operation, sql, operation.database, name, _body(operation.command))

    async def _rename_collection(self, operation: Operation, transaction: Transaction | None) -> Reply:
        source, target = (str(operation.command[field]).partition(".") for field in ("renameCollection", "to"))
        if source[0] != target[0]:
            raise CommandError(20, "renaming a collection across databases is not supported")
        await operation.fetchval(
            "select documentdb_api.rename_collection($1, $2, $3, $4)",
            source[0],
            source[2],
            target[2],
            bool(operation.command.get("dropTarget")),
        )
        return _OK

    async def _one(self, operation: Operation, sql: str, *arguments: Any) -> Reply:
        reply: bytes = await operation.fetchval(sql, *arguments)
        return reply
