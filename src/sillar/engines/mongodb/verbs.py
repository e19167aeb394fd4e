"""The document verbs on the driver's collections."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.results import UpdateResult

from sillar.engines.connection import DocumentShape, Reply, RowShape
from sillar.engines.mongodb.arguments import bulk_operation
from sillar.errors import ReadOnlyError
from sillar.query.document import DocumentCommand

Arguments = Mapping[str, Any]
_COUNT: Final = ("count",)
_OUTCOME: Final = ("matched", "modified", "upserted_id")
_WRITES: Final = frozenset((
    "insert_one", "insert_many", "update_one", "update_many", "replace_one", "delete_one", "delete_many",
    "find_one_and_update", "find_one_and_replace", "find_one_and_delete", "bulk_write", "create_index",
    "create_indexes", "drop_index", "drop_indexes", "drop_collection", "create_collection", "rename",
    "rename_collection",
))  # fmt: skip
_BULK_OUTCOME: Final = ("inserted", "matched", "modified", "deleted", "upserted")


class Call:
    """One command on its way to the driver.

    Attributes:
        collection: the driver's, of the command.
        arguments: checked and complete.
        first: only the first row is wanted.
    """

    __slots__ = ("arguments", "database", "first", "name", "session", "shape")

    def __init__(
        self,
        database: AsyncDatabase[dict[str, Any]],
        name: str,
        arguments: Arguments,
        session: AsyncClientSession,
        shape: DocumentShape,
        first: bool,
    ) -> None:
        self.database, self.name, self.arguments = database, name, arguments
        self.session, self.shape, self.first = session, shape, first

    @property
    def collection(self) -> Any:
        return self.database[self.name]

    @property
    def preference(self) -> Any:
        """The read preference of a command that is given as it is: the driver would send it to the primary."""
        return None if self.session.in_transaction else self.database.read_preference


def check_reads_only(command: DocumentCommand) -> None:
    """Refuse what writes, in a block that has said that it only reads.

    The driver would send it to the primary, and nobody would notice.

    Raises:
        ReadOnlyError: it writes.
    """
    if command.verb in _WRITES or (command.verb == "aggregate" and not command.is_read):
        raise ReadOnlyError(
            f"{command.fingerprint} writes, and the block or transaction that it stands in only reads"
            " (replica_context, read_only=True); move it out"
        )


async def cursor_of(call: Call, verb: str, batch_rows: int | None = None) -> Any:
    """The driver's cursor of a find or an aggregation."""
    arguments = dict(call.arguments)
    if batch_rows is not None:
        arguments.setdefault("batch_size", batch_rows)
    if verb == "find":
        if call.first:
            arguments["limit"] = 1
        return call.collection.find(**arguments, session=call.session)
    pipeline = arguments.pop("pipeline")
    return await call.collection.aggregate(pipeline, **_renamed(arguments), session=call.session)


def _renamed(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options of an aggregation as the driver has them: as the server spells them."""
    return {_AGGREGATE.get(name, name): value for name, value in arguments.items()}


_AGGREGATE: Final = {
    "allow_disk_use": "allowDiskUse",
    "batch_size": "batchSize",
    "bypass_document_validation": "bypassDocumentValidation",
    "max_time_ms": "maxTimeMS",
}


def _documents(call: Call, documents: list[dict[str, Any]]) -> Reply:
    return Reply(call.shape, list(zip(documents)), len(documents))


def _table(columns: tuple[str, ...], *rows: tuple[Any, ...], affected: int, last_id: Any = None) -> Reply:
    return Reply(RowShape(columns), rows, affected, last_id)


async def _find(call: Call) -> Reply:
    cursor = await cursor_of(call, "find")
    return _documents(call, await cursor.to_list())


async def _aggregate(call: Call) -> Reply:
    cursor = await cursor_of(call, "aggregate")
    if not call.first:
        return _documents(call, await cursor.to_list())
    documents = await cursor.to_list(1)
    await cursor.close()
    return _documents(call, documents)


async def _count(call: Call) -> Reply:
    arguments = {"filter": {}, **call.arguments}
    options = {"maxTimeMS" if name == "max_time_ms" else name: value for name, value in arguments.items()}
    number = await call.collection.count_documents(**options, session=call.session)
    return _table(_COUNT, (number,), affected=1)


async def _distinct(call: Call) -> Reply:
    options = {"maxTimeMS" if name == "max_time_ms" else name: value for name, value in call.arguments.items()}
    values = await call.collection.distinct(**options, session=call.session)
    return _table(("value",), *((value,) for value in values), affected=len(values))


async def _insert_one(call: Call) -> Reply:
    arguments = {**call.arguments, "document": dict(call.arguments["document"])}
    result = await call.collection.insert_one(**arguments, session=call.session)
    return _table(("inserted_id",), (result.inserted_id,), affected=1, last_id=result.inserted_id)


async def _insert_many(call: Call) -> Reply:
    documents = [dict(document) for document in call.arguments["documents"]]
    if not documents:
        return _table(("inserted_id",), affected=0)
    result = await call.collection.insert_many(**{**call.arguments, "documents": documents}, session=call.session)
    ids = result.inserted_ids
    return _table(("inserted_id",), *((each,) for each in ids), affected=len(ids), last_id=ids[-1] if ids else None)


def _change(method: str) -> Callable[[Call], Coroutine[Any, Any, Reply]]:
    async def change(call: Call) -> Reply:
        result: UpdateResult = await getattr(call.collection, method)(**call.arguments, session=call.session)
        upserted = result.upserted_id
        row = (result.matched_count, result.modified_count, upserted)
        affected = result.modified_count + (upserted is not None)
        return _table(_OUTCOME, row, affected=affected, last_id=upserted)

    return change


def _delete(method: str) -> Callable[[Call], Coroutine[Any, Any, Reply]]:
    async def delete(call: Call) -> Reply:
        result = await getattr(call.collection, method)(**call.arguments, session=call.session)
        return _table(("deleted",), (result.deleted_count,), affected=result.deleted_count)

    return delete


async def _find_one_and_update(call: Call) -> Reply:
    document = await call.collection.find_one_and_update(**call.arguments, session=call.session)
    return _documents(call, [] if document is None else [document])


async def _bulk_write(call: Call) -> Reply:
    arguments = dict(call.arguments)
    operations = [bulk_operation(each) for each in arguments.pop("operations")]
    if not operations:
        return _table(_BULK_OUTCOME, (0, 0, 0, 0, 0), affected=0)
    result = await call.collection.bulk_write(operations, **arguments, session=call.session)
    row = (
        result.inserted_count,
        result.matched_count,
        result.modified_count,
        result.deleted_count,
        result.upserted_count,
    )
    return _table(_BULK_OUTCOME, row, affected=sum(row) - result.matched_count)


async def _create_index(call: Call) -> Reply:
    name = await call.collection.create_index(**call.arguments, session=call.session)
    return _table(("name",), (name,), affected=0)


async def _drop_index(call: Call) -> Reply:
    await call.collection.drop_index(**call.arguments, session=call.session)
    return Reply(None, (), 0)


async def _drop_collection(call: Call) -> Reply:
    await call.collection.drop(session=call.session)
    return Reply(None, (), 0)


async def _rename_collection(call: Call) -> Reply:
    await call.collection.rename(call.arguments["new_name"], session=call.session)
    return Reply(None, (), 0)


async def _explain(call: Call) -> Reply:
    verbosity = call.arguments.get("verbosity", "queryPlanner")
    command = {"explain": dict(call.arguments["command"]), "verbosity": verbosity}
    reply = await call.database.command(command, read_preference=call.preference, session=call.session)
    return _documents(call, [reply])


async def _command(call: Call) -> Reply:
    reply = await call.database.command(
        dict(call.arguments["command"]),
        session=call.session,
        read_preference=call.preference,
        codec_options=call.database.codec_options,
    )
    return _documents(call, [reply])


VERBS: Final[Mapping[str, Callable[[Call], Coroutine[Any, Any, Reply]]]] = {
    "find": _find,
    "aggregate": _aggregate,
    "count": _count,
    "distinct": _distinct,
    "insert_one": _insert_one,
    "insert_many": _insert_many,
    "update_one": _change("update_one"),
    "update_many": _change("update_many"),
    "replace_one": _change("replace_one"),
    "delete_one": _delete("delete_one"),
    "delete_many": _delete("delete_many"),
    "find_one_and_update": _find_one_and_update,
    "bulk_write": _bulk_write,
    "create_index": _create_index,
    "drop_index": _drop_index,
    "drop_collection": _drop_collection,
    "rename_collection": _rename_collection,
    "explain": _explain,
    "command": _command,
}
"""Each verb by name: a call in, the reply out. What the driver raises comes through."""
