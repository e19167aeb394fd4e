"""The MongoDB stand-in through the eyes of a real driver: AsyncMongoClient against the gateway over PostgreSQL 18."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import bson
import pytest
from bson import Binary, Decimal128, Int64, ObjectId
from pymongo import InsertOne, ReturnDocument, UpdateOne, WriteConcern
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    CollectionInvalid,
    DuplicateKeyError,
    ExecutionTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteError,
)

from sillar.testing.faults import Direction, FaultProxy
from sillar.testing.servers.certificates import CertificateAuthority, ServerCertificate
from sillar.testing.servers.mongodb_gateway.gateway import Gateway, GatewayOptions

from .conftest import Client, Database, Document, connect, until

# The stand-in that the other tests use is the same gateway, started as a process: here it is asked for to be counted.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("mongodb")]

# PyMongo forgets to close sockets whose opening failed or was cancelled.
sockets_forgotten = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def sockets_collected() -> Iterator[None]:
    """What a driver forgot is collected before the next test starts, so that it is not blamed for it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def running_on(backend: Any) -> Callable[[], Awaitable[int]]:
    """Counts the gateway's statements that run on PostgreSQL at this moment."""

    async def count() -> int:
        return int(
            await backend.fetchval(
                "select count(*) from pg_stat_activity where application_name = 'mongodb_gateway' "
                "and state = 'active' and query like '%documentdb_api%'"
            )
        )

    return count


ENDLESS: list[Document] = [
    {"$lookup": {"from": "n", "let": {"a": "$_id"}, "as": "b", "pipeline": [
        {"$lookup": {"from": "n", "let": {"c": "$_id"}, "as": "d", "pipeline": [
            {"$match": {"$expr": {"$gt": [{"$add": ["$_id", "$$c"]}, "$$a"]}}},
        ]}},
        {"$match": {"$expr": {"$gt": [{"$size": "$d"}, "$$a"]}}},
    ]}},
    {"$group": {"_id": None, "total": {"$sum": {"$size": "$b"}}}},
]  # fmt: skip


async def fill(database: Database, count: int = 1500) -> None:
    await database.n.insert_many([{"_id": number} for number in range(count)])


async def run_endless(database: Database, **keywords: Any) -> list[Document]:
    return await (await database.n.aggregate(ENDLESS, **keywords)).to_list()


async def find_operation(client: Client, comment: str) -> Document | None:
    stages: list[Document] = [
        {"$currentOp": {"allUsers": True}},
        {"$match": {"command.comment": comment, "op": "command"}},
    ]
    operations = await (await client.admin.aggregate(stages)).to_list()
    return next(iter(operations), None)


# --- documents --------------------------------------------------------------------------------------------------------


async def test_announces_a_replica_set_primary(client: Client, gateway: Gateway) -> None:
    hello = await client.admin.command("hello")
    assert hello["isWritablePrimary"] is True
    assert hello["setName"] == "sillar"
    assert hello["hosts"] == [gateway.options.announced] == [hello["me"]]
    assert hello["logicalSessionTimeoutMinutes"] == 30
    assert client.topology_description.topology_type_name == "ReplicaSetWithPrimary"
    assert (await client.server_info())["version"] == "7.0.0"
    status = await client.admin.command("serverStatus")
    assert status["connections"]["current"] == len(gateway.clients) >= 1
    with pytest.raises(OperationFailure) as refused:
        await client.admin.command("noSuchCommand")
    assert refused.value.code == 59


async def test_values_come_back_as_they_went(database: Database) -> None:
    document: Document = {
        "_id": ObjectId(),
        "int32": 7,
        "int64": Int64(2**40),
        "double": 1.5,
        "decimal": Decimal128("12.340"),
        "text": "né 𝄞",
        "empty": "",
        "null": None,
        "binary": b"\x00\xff",
        "uuid": Binary.from_uuid(uuid.uuid4()),
        "list": [1, [2, {"three": 3}]],
        "nested": {"b": 1, "a": {"c": True}},
    }
    await database.values.insert_one(document)
    found = await database.values.find_one({"_id": document["_id"]})
    assert found == document
    assert found is not None
    assert type(found["int64"]) is Int64
    assert list(found["nested"]) == ["b", "a"]


async def test_create_read_update_delete(database: Database) -> None:
    users = database.users
    result = await users.insert_many([{"_id": number, "age": number % 10, "tags": []} for number in range(100)])
    assert result.inserted_ids == list(range(100))
    updated = await users.update_many({"age": 3}, {"$inc": {"age": 100}, "$push": {"tags": "old"}})
    assert (updated.matched_count, updated.modified_count) == (10, 10)
    upserted = await users.update_one({"_id": 500}, {"$set": {"age": 1}}, upsert=True)
    assert upserted.upserted_id == 500
    replaced = await users.find_one_and_replace({"_id": 4}, {"new": True}, return_document=ReturnDocument.AFTER)
    assert replaced == {"_id": 4, "new": True}
    assert (await users.find_one_and_delete({"_id": 5}))["age"] == 5  # type: ignore[index]
    assert (await users.delete_many({"age": 0})).deleted_count == 10
    assert await users.count_documents({}) == 90
    assert await users.estimated_document_count() == 90
    assert await users.distinct("age", {"age": {"$gt": 8}}) == [9, 103]
    bulk = await users.bulk_write([InsertOne({"_id": 900}), UpdateOne({"_id": 900}, {"$set": {"q": 1}})])
    assert (bulk.inserted_count, bulk.modified_count) == (1, 1)
    await users.with_options(write_concern=WriteConcern(w=0)).insert_one({"_id": 901})

    async def unacknowledged_arrived() -> bool:
        return await users.find_one({"_id": 901}) is not None

    await until(unacknowledged_arrived)


async def test_collections_and_databases(client: Client, database: Database) -> None:
    await database.create_collection("made")
    with pytest.raises(CollectionInvalid):
        await database.create_collection("made")
    await database.other.insert_one({"a": 1})
    assert sorted(await database.list_collection_names()) == ["made", "other"]
    assert database.name in await client.list_database_names()
    await database.other.rename("renamed")
    await database.drop_collection("made")
    assert await database.list_collection_names() == ["renamed"]
    assert (await database.command("collStats", "renamed"))["count"] == 1
    assert (await database.command("dbStats"))["collections"] == 1
    await client.drop_database(database.name)
    assert database.name not in await client.list_database_names()


async def test_pipelines(database: Database) -> None:
    await database.orders.insert_many([{"_id": number, "user": number % 4, "amount": number} for number in range(20)])
    await database.users.insert_many([{"_id": number, "name": f"u{number}"} for number in range(4)])
    joined = await (
        await database.orders.aggregate(
            [
                {"$match": {"amount": {"$gte": 16}}},
                {"$lookup": {"from": "users", "localField": "user", "foreignField": "_id", "as": "who"}},
                {"$unwind": "$who"},
                {"$group": {"_id": "$who.name", "total": {"$sum": "$amount"}}},
                {"$sort": {"_id": 1}},
            ]
        )
    ).to_list()
    assert joined == [{"_id": f"u{number}", "total": 16 + number} for number in range(4)]
    faceted = await (
        await database.orders.aggregate(
            [
                {
                    "$facet": {
                        "count": [{"$count": "n"}],
                        "largest": [{"$sort": {"amount": -1}}, {"$limit": 1}, {"$project": {"_id": 1}}],
                    }
                }
            ]
        )
    ).to_list()
    assert faceted == [{"count": [{"n": 20}], "largest": [{"_id": 19}]}]
    windowed = await (
        await database.orders.aggregate(
            [
                {"$match": {"user": 1}},
                {
                    "$setWindowFields": {
                        "sortBy": {"_id": 1},
                        "output": {"running": {"$sum": "$amount", "window": {"documents": ["unbounded", "current"]}}},
                    }
                },
                {"$sort": {"_id": 1}},
            ]
        )
    ).to_list()
    assert [row["running"] for row in windowed] == list(itertools.accumulate([1, 5, 9, 13, 17]))
    grouped = {"$group": {"_id": "$user", "total": {"$sum": "$amount"}}}
    await database.orders.aggregate([grouped, {"$out": "totals"}])
    await database.orders.aggregate([grouped, {"$merge": {"into": "merged"}}])
    assert await database.totals.count_documents({}) == await database.merged.count_documents({}) == 4


@pytest.mark.parametrize("order", [None, -1])
async def test_cursors_get_more(database: Database, gateway: Gateway, order: int | None) -> None:
    await database.rows.insert_many([{"_id": number} for number in range(500)])
    cursor = database.rows.find(batch_size=60)
    cursor = cursor.sort("_id", order) if order else cursor
    found = [row["_id"] async for row in cursor]
    assert sorted(found) == list(range(500))
    assert not order or found == list(range(499, -1, -1))
    assert len(gateway.cursors) == 0, "a drained cursor is closed"
    open_cursor = database.rows.find(batch_size=60).sort("_id", 1)
    await open_cursor.next()
    assert len(gateway.cursors) == 1
    cursor_id = open_cursor.cursor_id
    await open_cursor.close()
    assert len(gateway.cursors) == 0, "a closed cursor is killed"
    with pytest.raises(OperationFailure) as gone:
        await database.command({"getMore": Int64(cursor_id or 0), "collection": "rows"})
    assert gone.value.code == 43


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_unique_index_names_index_key_and_value(database: Database) -> None:
    users = database.users
    await users.insert_many([{"_id": number, "mail": f"u{number}", "at": {"x": number}} for number in range(3)])
    await users.create_index("mail", unique=True, name="mail_once")
    await users.create_index([("at.x", 1), ("mail", -1)], unique=True)
    assert set(await users.index_information()) == {"_id_", "mail_once", "at.x_1_mail_-1"}
    with pytest.raises(DuplicateKeyError) as refused:
        await users.insert_one({"_id": 9, "mail": "u1"})
    details = refused.value.details
    assert details is not None
    assert details["code"] == 11000
    assert (details["keyPattern"], details["keyValue"]) == ({"mail": 1}, {"mail": "u1"})
    expected = (
        f'E11000 duplicate key error collection: {database.name}.users index: mail_once dup key: {{ mail: "u1" }}'
    )
    assert details["errmsg"] == expected
    with pytest.raises(DuplicateKeyError, match=r"index: _id_ dup key: \{ _id: 1 \}"):
        await users.insert_one({"_id": 1, "mail": "other"})
    with pytest.raises(DuplicateKeyError, match=r'index: mail_once dup key: \{ mail: "u2" \}'):
        await users.update_one({"_id": 1}, {"$set": {"mail": "u2"}})
    with pytest.raises(DuplicateKeyError, match=r'index: mail_once dup key: \{ mail: "u2" \}') as modified:
        await users.find_one_and_update({"_id": 1}, {"$set": {"mail": "u2"}})
    assert modified.value.details is not None
    assert modified.value.details["keyPattern"] == {"mail": 1}
    with pytest.raises(BulkWriteError) as bulk:
        await users.insert_many([{"_id": 20, "mail": "a"}, {"_id": 21, "mail": "a"}, {"_id": 22}], ordered=False)
    assert bulk.value.details["nInserted"] == 2
    assert [(error["index"], error["code"]) for error in bulk.value.details["writeErrors"]] == [(1, 11000)]
    await database.twice.insert_many([{"a": 1}, {"a": 1}])
    with pytest.raises(DuplicateKeyError):
        await database.twice.create_index("a", unique=True)


async def test_validator(database: Database) -> None:
    schema = {"$jsonSchema": {"bsonType": "object", "required": ["name"]}}
    await database.create_collection("strict", validator=schema)
    await database.strict.insert_one({"name": "there"})
    with pytest.raises(WriteError) as refused:
        await database.strict.insert_one({"nom": "absent"})
    assert refused.value.code == 121
    await database.command("collMod", "strict", validator={})
    await database.strict.insert_one({"nom": "absent"})


async def test_codes_of_common_mistakes(database: Database) -> None:
    await database.rows.insert_one({"_id": 1, "text": "a"})
    await database.rows.create_index("text", name="by_text")

    async def code(attempt: Awaitable[Any]) -> int | None:
        with pytest.raises(OperationFailure) as refused:
            await attempt
        return refused.value.code

    assert await code(database.rows.find({"$nope": 1}).to_list()) == 2
    assert await code(database.rows.update_one({}, {"$nope": {"a": 1}})) == 9
    assert await code(database.rows.update_one({}, {"$inc": {"text": 1}})) == 14
    assert await code(database.rows.update_one({}, {"$set": {"_id": 2}})) == 66
    assert await code(database.rows.aggregate([{"$nope": 1}])) == 40324
    assert await code(database.rows.drop_index("absent")) == 27
    assert await code(database.command({"listIndexes": "absent"})) == 26
    assert await code(database.rows.create_index("other", name="by_text")) in (85, 86)
    assert await code(database.rows.aggregate([{"$changeStream": {}}])) == 115


# --- transactions -----------------------------------------------------------------------------------------------------


async def test_transaction_commits_and_aborts(client: Client, database: Database, gateway: Gateway) -> None:
    await database.create_collection("accounts")
    async with client.start_session() as session:
        async with await session.start_transaction():
            await database.accounts.insert_one({"_id": "a"}, session=session)
            await database.ledger.insert_one({"_id": "a"}, session=session)
            assert await database.accounts.find_one({"_id": "a"}) is None, "not seen before the commit"
            assert await database.accounts.find_one({"_id": "a"}, session=session) == {"_id": "a"}
        assert await database.accounts.count_documents({}) == await database.ledger.count_documents({}) == 1
        with pytest.raises(ZeroDivisionError):
            async with await session.start_transaction():
                await database.accounts.insert_one({"_id": "b"}, session=session)
                raise ZeroDivisionError
        assert await database.accounts.count_documents({}) == 1
    assert len(gateway.transactions) == 0


async def test_write_conflict_is_labelled_and_the_other_transaction_goes_on(client: Client, database: Database) -> None:
    await database.rows.insert_one({"_id": 1, "n": 0})
    async with client.start_session() as first, client.start_session() as second:
        await first.start_transaction()
        await second.start_transaction()
        await database.rows.update_one({"_id": 1}, {"$set": {"n": 1}}, session=first)
        with pytest.raises(OperationFailure) as conflict:
            await database.rows.update_one({"_id": 1}, {"$set": {"n": 2}}, session=second)
        assert conflict.value.code == 112
        assert conflict.value.has_error_label("TransientTransactionError")
        with pytest.raises(OperationFailure) as ended:
            await database.rows.find_one({}, session=second)
        assert ended.value.code == 251
        assert ended.value.has_error_label("TransientTransactionError")
        await first.commit_transaction()
        await first.commit_transaction()  # a repeated commit of the same transaction is fine
    assert await database.rows.find_one({"_id": 1}) == {"_id": 1, "n": 1}


async def test_stale_snapshot_is_a_write_conflict(client: Client, database: Database) -> None:
    await database.rows.insert_one({"_id": 1, "n": 0})
    async with client.start_session() as session:
        await session.start_transaction()
        await database.rows.find_one({"_id": 1}, session=session)
        await database.rows.update_one({"_id": 1}, {"$set": {"n": 5}})
        with pytest.raises(OperationFailure) as conflict:
            await database.rows.update_one({"_id": 1}, {"$inc": {"n": 1}}, session=session)
        assert conflict.value.code == 112
        assert conflict.value.has_error_label("TransientTransactionError")


async def test_with_transaction_retries_until_all_increments_are_in(client: Client, database: Database) -> None:
    await database.rows.insert_one({"_id": 1, "n": 0})

    async def increment(session: Any) -> None:
        row = await database.rows.find_one({"_id": 1}, session=session)
        assert row is not None
        await database.rows.update_one({"_id": 1}, {"$set": {"n": row["n"] + 1}}, session=session)

    async def once() -> None:
        async with client.start_session() as session:
            await session.with_transaction(increment)

    await asyncio.wait_for(asyncio.gather(*(once() for _ in range(5))), 60)
    assert await database.rows.find_one({"_id": 1}) == {"_id": 1, "n": 5}


async def test_bulk_writes_that_lock_in_opposite_order_all_succeed(database: Database) -> None:
    await database.rows.insert_many([{"_id": number, "n": 0} for number in range(40)])

    async def write(order: range) -> None:
        await database.rows.bulk_write([UpdateOne({"_id": number}, {"$inc": {"n": 1}}) for number in order])

    forth, back = range(40), range(39, -1, -1)
    await asyncio.wait_for(asyncio.gather(*(write(forth if number % 2 else back) for number in range(6))), 60)
    assert await database.rows.distinct("n") == [6]


async def test_concurrent_first_inserts_make_the_collection_once(database: Database) -> None:
    await asyncio.gather(*(database.rows.insert_one({"_id": number}) for number in range(30)))
    assert await database.rows.count_documents({}) == 30
    await asyncio.gather(*(database.rows.update_one({"_id": "u"}, {"$inc": {"n": 1}}, upsert=True) for _ in range(20)))
    assert await database.rows.find_one({"_id": "u"}) == {"_id": "u", "n": 20}


async def test_cursor_inside_a_transaction(client: Client, database: Database) -> None:
    await database.rows.insert_many([{"_id": number} for number in range(300)])
    async with client.start_session() as session, await session.start_transaction():
        await database.rows.insert_one({"_id": 300}, session=session)
        rows = await database.rows.find(session=session, batch_size=50).sort("_id", 1).to_list()
        assert [row["_id"] for row in rows] == list(range(301))


@pytest.mark.parametrize("way", ["end_session", "disconnect", "kill_session"])
async def test_abandoned_transactions_are_aborted(gateway: Gateway, database: Database, way: str) -> None:
    await database.rows.insert_one({"_id": 1, "n": 0})
    client = connect(gateway)
    session = client.start_session()
    await session.start_transaction()
    await client[database.name].rows.update_one({"_id": 1}, {"$set": {"n": 1}}, session=session)
    assert len(gateway.transactions) == 1
    if way == "end_session":
        await database.client.admin.command("endSessions", [session.session_id])
    elif way == "kill_session":
        await database.client.admin.command("killSessions", [session.session_id])
    else:
        await _drop_sockets(client)

    async def aborted() -> bool:
        return len(gateway.transactions) == 0

    await until(aborted)
    await asyncio.wait_for(database.rows.update_one({"_id": 1}, {"$inc": {"n": 10}}), 5)
    assert await database.rows.find_one({"_id": 1}) == {"_id": 1, "n": 10}
    await client.close()


async def _drop_sockets(client: Client) -> None:
    """Close the driver's sockets without a goodbye to the session."""
    topology = client._topology  # the driver has no public way to lose its sockets
    for server in topology._servers.values():
        await server.pool.reset()


# --- time limits, kills, disconnects ----------------------------------------------------------------------------------


async def test_max_time_ms(database: Database, backend: Any) -> None:
    await fill(database)
    with pytest.raises(ExecutionTimeout) as expired:
        await asyncio.wait_for(run_endless(database, maxTimeMS=200), 10)
    assert expired.value.code == 50
    assert await running_on(backend)() == 0
    assert len(await database.n.find().to_list()) == 1500, "the limit is gone with its command"


async def test_kill_op(client: Client, database: Database, backend: Any) -> None:
    await fill(database)
    task = asyncio.ensure_future(run_endless(database, comment="victim"))
    found: list[Document] = []

    async def seen() -> bool:
        operation = await find_operation(client, "victim")
        found[:] = [operation] if operation else []
        return bool(operation) and await running_on(backend)() == 1

    await until(seen)
    assert found[0]["command"]["aggregate"] == "n"
    assert found[0]["ns"] == f"{database.name}.n"
    assert found[0]["lsid"]["id"]
    assert found[0]["secs_running"] >= 0
    await client.admin.command("killOp", op=found[0]["opid"])
    with pytest.raises(OperationFailure) as killed:
        await asyncio.wait_for(task, 20)
    assert killed.value.code == 11601
    assert await running_on(backend)() == 0
    assert await find_operation(client, "victim") is None


async def test_kill_sessions_stops_their_operations(client: Client, database: Database) -> None:
    await fill(database)
    async with client.start_session() as session:
        task = asyncio.ensure_future(run_endless(database, session=session, comment="in session"))

        async def seen() -> bool:
            return await find_operation(client, "in session") is not None

        await until(seen)
        await client.admin.command("killSessions", [session.session_id])
        with pytest.raises(OperationFailure) as killed:
            await asyncio.wait_for(task, 20)
        assert killed.value.code == 11601


async def test_a_client_that_leaves_cancels_its_statement(database: Database, backend: Any) -> None:
    await fill(database)
    count = running_on(backend)
    task = asyncio.ensure_future(run_endless(database))

    async def started() -> bool:
        return await count() == 1

    async def stopped() -> bool:
        return await count() == 0

    await until(started)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(stopped)


async def test_a_client_that_leaves_stops_waiting_for_a_lock(client: Client, database: Database, backend: Any) -> None:
    await database.rows.insert_one({"_id": 1, "n": 0})
    async with client.start_session() as session:
        await session.start_transaction()
        await database.rows.update_one({"_id": 1}, {"$set": {"n": 1}}, session=session)
        waiting = asyncio.ensure_future(database.rows.update_one({"_id": 1}, {"$inc": {"n": 100}}))
        count = running_on(backend)

        async def started() -> bool:
            return await count() == 1

        async def stopped() -> bool:
            return await count() == 0

        await until(started)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await until(stopped)
        await session.commit_transaction()
    assert await database.rows.find_one({"_id": 1}) == {"_id": 1, "n": 1}


@sockets_forgotten
async def test_a_storm_of_cancellations_leaves_nothing_and_crosses_nothing(
    gateway: Gateway, database: Database, backend: Any
) -> None:
    await database.rows.insert_many([{"_id": number, "text": f"row {number}"} for number in range(100)])
    chance = random.Random(11)

    async with connect(gateway, maxPoolSize=20) as client:
        rows = client[database.name].rows
        await rows.find_one({"_id": 0})

        async def read(number: int) -> None:
            assert await rows.find_one({"_id": number}) == {"_id": number, "text": f"row {number}"}

        async def storm(number: int) -> None:
            task = asyncio.ensure_future(read(number % 100))
            await asyncio.sleep(chance.uniform(0, 0.02))
            task.cancel()
            with suppress(asyncio.CancelledError, AutoReconnect):
                await task

        for start in range(0, 400, 40):
            await asyncio.gather(*(storm(number) for number in range(start, start + 40)))
        await asyncio.gather(*(read(number) for number in range(100)))
    count = running_on(backend)

    async def quiet() -> bool:
        return await count() == 0 and not list(gateway.operations)

    await until(quiet)


# --- retried writes ---------------------------------------------------------------------------------------------------


async def test_a_repeated_retryable_write_is_applied_once(client: Client, database: Database) -> None:
    await database.rows.insert_one({"_id": 1, "n": 0})
    lsid = {"id": Binary.from_uuid(uuid.uuid4())}
    command = {
        "update": "rows",
        "updates": [{"q": {"_id": 1}, "u": {"$inc": {"n": 1}}}],
        "lsid": lsid,
        "txnNumber": Int64(1),
    }
    first = await _raw(client, database.name, command)
    again = await _raw(client, database.name, command)
    assert first == again
    assert first["nModified"] == 1
    assert await database.rows.find_one({"_id": 1}) == {"_id": 1, "n": 1}
    assert (await _raw(client, database.name, {**command, "txnNumber": Int64(2)}))["nModified"] == 1
    old = await _raw(client, database.name, command)
    assert old["code"] == 225
    assert await database.rows.find_one({"_id": 1}) == {"_id": 1, "n": 2}


async def _raw(client: Client, database: str, command: Document) -> Document:
    """One OP_MSG over a socket of our own: the driver would put its own session into the command."""
    host, port = (await client.address) or ("", 0)
    reader, writer = await asyncio.open_connection(host, port)
    body = b"\0\0\0\0\0" + bson.encode({**command, "$db": database})
    writer.write((16 + len(body)).to_bytes(4, "little") + b"\1\0\0\0\0\0\0\0" + (2013).to_bytes(4, "little") + body)
    length = int.from_bytes(await reader.readexactly(4), "little")
    reply = await reader.readexactly(length - 4)
    writer.close()
    return bson.decode(reply[17:])


async def test_the_driver_retries_a_write_whose_reply_was_cut(options: GatewayOptions, database: Database) -> None:
    async with FaultProxy(options.host, options.port) as proxy:
        announced = replace(options, announce=f"{proxy.host}:{proxy.port}")
        async with Gateway(announced) as gateway, connect(gateway) as client:
            rows = client[database.name].rows
            await rows.insert_one({"_id": 1, "n": 0})
            for _ in range(5):
                proxy.cut_after(10, Direction.TO_CLIENT)
                write = asyncio.ensure_future(rows.update_one({"_id": 1}, {"$inc": {"n": 1}}))
                await asyncio.sleep(0.1)
                await proxy.heal()
                await asyncio.wait_for(write, 10)
    assert await database.rows.find_one({"_id": 1}) == {"_id": 1, "n": 5}


# --- who may come in --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def gateway_with(options: GatewayOptions, **changes: Any) -> AsyncIterator[Gateway]:
    async with Gateway(replace(options, **changes)) as gateway:
        yield gateway


async def test_authentication(options: GatewayOptions) -> None:
    async with gateway_with(options, user="ann", password="pässword,=") as gateway:
        assert "pässword" not in repr(gateway.options) + repr(gateway.users)
        async with connect(gateway, username="ann", password="pässword,=") as client:
            assert await client.admin.list_collection_names() is not None
            status = await client.admin.command("connectionStatus")
            assert status["authInfo"]["authenticatedUsers"] == [{"user": "ann", "db": "admin"}]
        for user, password in (("ann", "wrong"), ("bob", "pässword,=")):
            async with connect(gateway, username=user, password=password, authMechanism="SCRAM-SHA-256") as client:
                with pytest.raises(OperationFailure) as refused:
                    await client.admin.list_collection_names()
                assert refused.value.code == 18
        async with connect(gateway) as client:
            with pytest.raises(OperationFailure) as stranger:
                await client.test.rows.find_one()
            assert stranger.value.code == 13
            assert (await client.admin.command("ping"))["ok"] == 1


@sockets_forgotten
async def test_tls(options: GatewayOptions, tmp_path: Any) -> None:
    authority = CertificateAuthority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    certificate, key = authority.issue_server(ServerCertificate.VALID).write(tmp_path, "server")
    async with gateway_with(options, certificate=str(certificate), key=str(key)) as gateway:
        async with connect(gateway, tls=True, tlsCAFile=str(tmp_path / "ca.pem")) as client:
            assert (await client.admin.command("ping"))["ok"] == 1
        for wrong in ({"tls": True}, {"tls": False}):
            async with connect(gateway, **wrong) as client:
                with pytest.raises(ServerSelectionTimeoutError):
                    await client.admin.command("ping")


async def test_read_only(options: GatewayOptions, database: Database) -> None:
    await database.rows.insert_one({"_id": 1})
    async with gateway_with(options, read_only=True) as gateway:
        async with connect(gateway, directConnection=True) as client:
            rows = client[database.name].rows
            assert (await client.admin.command("hello"))["isWritablePrimary"] is False
            assert await rows.find_one() == {"_id": 1}
            with pytest.raises(NotPrimaryError) as refused:
                await rows.insert_one({"_id": 2})
            assert dict(refused.value.details or {})["code"] == 10107
            with pytest.raises(NotPrimaryError):
                await rows.aggregate([{"$out": "copy"}])
    assert await database.rows.count_documents({}) == 1


async def test_step_down_and_back(options: GatewayOptions, database: Database) -> None:
    async with gateway_with(options) as gateway, connect(gateway, retryWrites=False) as client:
        rows = client[database.name].rows
        await rows.insert_one({"_id": 1})
        await client.admin.command("replSetStepDown", 3)
        with pytest.raises(NotPrimaryError):
            await rows.insert_one({"_id": 2})

        async def writable() -> bool:
            try:
                await rows.insert_one({"_id": 3})
            except (NotPrimaryError, ServerSelectionTimeoutError):
                return False
            return True

        await until(writable, seconds=30)


@sockets_forgotten
async def test_connections_max(options: GatewayOptions) -> None:
    async with gateway_with(options, connections_max=2) as gateway:
        address = gateway.options.host, gateway.options.port
        held = [await asyncio.open_connection(*address) for _ in range(2)]
        reader, writer = await asyncio.open_connection(*address)
        assert await asyncio.wait_for(reader.read(1), 5) == b""
        assert (len(gateway.clients), gateway.connections_refused) == (2, 1)
        writer.close()
        held[0][1].close()

        async def let_go() -> bool:
            return len(gateway.clients) == 1

        await until(let_go)
        async with connect(gateway, maxPoolSize=1) as client:  # its monitor takes the one free place
            with pytest.raises(PyMongoError):
                await client.admin.command("ping")
        held[1][1].close()


async def test_explain_tells_index_from_collection_scan(database: Database) -> None:
    await database.rows.insert_many([{"_id": number, "k": number, "other": number} for number in range(500)])
    await database.rows.create_index("k", name="by_k")

    async def stages(condition: Document) -> str:
        return str((await database.rows.find(condition).explain())["queryPlanner"]["winningPlan"])

    assert "'indexName': 'by_k'" in await stages({"k": 7})
    assert "'indexName': '_id_'" in await stages({"_id": 7})
    scan = await stages({"other": 7})
    assert "COLLSCAN" in scan
    assert "IXSCAN" not in scan
    plan = await database.command("explain", {"aggregate": "rows", "pipeline": [{"$match": {"k": 3}}], "cursor": {}})
    assert plan["executionStats"]["nReturned"] == 1
