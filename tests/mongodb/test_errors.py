"""What the server refuses, as Sillar's errors: provoked for real, and without the values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.mongodb.deployment import OpenManager

from sillar import DatabaseManager, DatabaseSession, DocumentCommand
from sillar.engines.mongodb.wording import names_in, plain_message
from sillar.errors import (
    CheckViolationError,
    ReadOnlyError,
    ResultError,
    StatementError,
    StatementSyntaxError,
    UniqueViolationError,
    UnknownStatementError,
)
from sillar.execution.documents import DocumentCollection
from sillar.testing.servers import MongoDBServer
from sillar.testing.servers.mongodb_gateway.gateway import Gateway, GatewayOptions

pytestmark = pytest.mark.usefixtures("mongodb")
SECRET = "4711-secret"


async def test_unique_keys_name_index_and_fields(stones: DocumentCollection) -> None:
    await stones.create_index([("card.number", 1)], unique=True, name="card_number")
    await stones.insert_one({"_id": 1, "card": {"number": SECRET}})
    await stones.insert_one({"_id": 2, "card": {"number": "other"}})
    taken = {"card": {"number": SECRET}}
    attempts = [
        stones.insert_one(taken),
        stones.insert_many([taken]),
        stones.update_one({"_id": 2}, {"$set": {"card.number": SECRET}}),
        stones.replace_one({"_id": 2}, taken),
        stones.find_one_and_update({"_id": 2}, {"$set": taken}),
        stones.bulk_write([("insert_one", taken)]),
        stones.bulk_write([("update_one", {"_id": 2}, {"$set": taken})]),
    ]
    for attempt in attempts:
        with pytest.raises(UniqueViolationError) as refused:
            await attempt
        error = refused.value
        assert (error.code, error.constraint, error.column) == (11000, "card_number", "card.number")
        assert error.table == stones.name
        assert SECRET not in str(error)
        assert not error.safe_to_retry
        assert error.__cause__ is not None
    with pytest.raises(UniqueViolationError) as refused:
        await stones.insert_one({"_id": 1})
    assert (refused.value.constraint, refused.value.column) == ("_id_", "_id")


async def test_how_much_was_written_before_a_refused_document(stones: DocumentCollection) -> None:
    with pytest.raises(UniqueViolationError) as refused:
        await stones.insert_many([{"_id": 1}, {"_id": 2}, {"_id": 1}, {"_id": 3}])
    assert (refused.value.detail["inserted"], refused.value.detail["index"]) == (2, 2)
    assert await stones.count() == 2
    with pytest.raises(UniqueViolationError) as refused:
        await stones.insert_many([{"_id": 1}, {"_id": 4}], ordered=False)
    assert refused.value.detail["inserted"] == 1


async def test_validators(session: DatabaseSession, stones: DocumentCollection) -> None:
    schema = {"bsonType": "object", "required": ["weight"], "properties": {"weight": {"bsonType": "double"}}}
    create = {"create": stones.name, "validator": {"$jsonSchema": schema}}
    await session.execute(DocumentCommand("", "command", {"command": create}))
    await stones.insert_one({"_id": 1, "weight": 1.5})
    for attempt in (
        stones.insert_one({"weight": SECRET}),
        stones.insert_many([{"kind": SECRET}]),
        stones.update_one({"_id": 1}, {"$set": {"weight": SECRET}}),
    ):
        with pytest.raises(CheckViolationError) as refused:
            await attempt
        assert refused.value.code == 121
        assert SECRET not in str(refused.value)
    assert await stones.count() == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("find", {"filter": {"$nonsense": SECRET}}),
        ("find", {"filter": {"a": {"$nonsense": SECRET}}}),
        ("aggregate", {"pipeline": [{"$nonsense": SECRET}]}),
        ("aggregate", {"pipeline": [{"$project": {"a": {"$nonsense": SECRET}}}]}),
        ("aggregate", {"pipeline": [{"$match": SECRET}]}),
        ("find", {"filter": {"a": {"$in": SECRET}}}),
        ("update_one", {"filter": {}, "update": {"$nonsense": {"a": SECRET}}}),
        ("update_one", {"filter": {}, "update": {"$set": {"a": SECRET}, "$unset": {"a": SECRET}}}),
    ],
)
async def test_what_cannot_be_parsed(session: DatabaseSession, stones: DocumentCollection, arguments: Any) -> None:
    await stones.insert_one({"a": 1})
    verb, given = arguments
    with pytest.raises(StatementSyntaxError) as refused:
        await session.execute(DocumentCommand(stones.name, verb, given))
    assert refused.value.code
    assert SECRET not in str(refused.value)


async def test_unknown_command_and_everything_else(session: DatabaseSession, stones: DocumentCollection) -> None:
    with pytest.raises(StatementSyntaxError, match="59"):
        await session.execute(DocumentCommand("", "command", {"command": {"nonsense": 1}}))
    await stones.insert_one({"_id": 1, "text": SECRET})
    with pytest.raises(StatementError) as refused:
        await stones.update_one({"_id": 1}, {"$inc": {"text": 1}})
    assert refused.value.code
    assert SECRET not in str(refused.value)
    with pytest.raises(StatementError) as refused:
        await stones.update_one({"_id": 1}, {"$set": {"_id": SECRET}})
    assert type(refused.value) is UnknownStatementError
    assert refused.value.code == 66
    assert SECRET not in str(refused.value)


def test_messages_keep_names_and_lose_values() -> None:
    names = names_in({"filter": {"age": {"$in": 3}, "$or": [{"city": "Lima"}]}})
    assert {"age", "$in", "city"} <= names
    assert "Lima" not in names
    message = "Cannot apply $in to 'age' of \"Lima\" in {_id: 7, city: \"Lima\", a: [1]} and '$nonsense' of [1, 2]"
    assert plain_message(message, names) == "Cannot apply $in to 'age' of … in {…} and '$nonsense' of […]"
    assert plain_message("broken { city: 'Lima'", names) == "broken {…}"
    assert plain_message("slow, full error: {'x': 1}", ()) == "slow"


# --- read-only --------------------------------------------------------------------------------------------------------


async def test_a_read_only_configuration_refuses_writes(open_manager: OpenManager, stones: DocumentCollection) -> None:
    await stones.insert_one({"n": 1})
    manager = await open_manager(database={"read_only": True})
    session = manager.session()
    collection = session.documents(stones.name)
    assert await collection.count() == 1
    for attempt in (
        collection.insert_one({}),
        collection.delete_many({}),
        collection.aggregate([{"$match": {}}, {"$out": "elsewhere"}]),
        session.bulk_insert(stones.name, ["n"], [(1,)]),
    ):
        with pytest.raises(ReadOnlyError):
            await attempt
    assert await stones.count() == 1


@pytest.fixture
async def gateway(mongodb: MongoDBServer) -> AsyncIterator[Any]:
    """Starts further gateways before the documents of the stand-in; with a real MongoDB before documents of its own."""
    from contextlib import AsyncExitStack

    from sillar.testing.servers.mongodb import DocumentDBServer
    from sillar.testing.servers.port import PortReservation

    async with AsyncExitStack() as stack:
        documents = mongodb._documents or await stack.enter_async_context(DocumentDBServer())

        async def start(**options: Any) -> Gateway:
            reservation = PortReservation()
            stack.callback(reservation.release)
            return await stack.enter_async_context(
                Gateway(
                    GatewayOptions(
                        port=reservation.port,
                        postgresql_port=documents.port,
                        postgresql_user=documents.superuser,
                        postgresql_password=documents.superuser_password,
                        **options,
                    )
                )
            )

        yield start


async def test_a_write_reaches_a_secondary(gateway: Any, open_manager: OpenManager) -> None:
    secondary = await gateway(read_only=True)
    manager = await open_manager(
        url=f"mongodb://{secondary.options.announced}/sillar?directConnection=true&retryWrites=false&readPreference=nearest"
    )
    collection = manager.session().documents("elsewhere")
    assert await collection.count() == 0
    with pytest.raises(ReadOnlyError) as refused:
        await collection.insert_one({"n": 1})
    assert refused.value.code == 10107


async def test_a_standalone_server_has_no_transactions(gateway: Any, open_manager: OpenManager) -> None:
    from sillar.errors import UnsupportedCapabilityError

    alone = await gateway(standalone=True)
    manager: DatabaseManager = await open_manager(url=f"mongodb://{alone.options.announced}/alone")
    session = manager.session()
    with pytest.raises(UnsupportedCapabilityError, match="replica set"):
        session.transaction()
    lease = await manager.get_connection()
    with pytest.raises(UnsupportedCapabilityError, match="replica set"):
        await lease.connection.begin()
    lease.release()
    collection = session.documents("partial")
    await collection.drop()
    assert await session.bulk_insert("partial", ["_id"], [(n,) for n in range(5)]) == 5
    with pytest.raises(UniqueViolationError, match="the 2 documents before it were written and stay") as refused:
        await session.bulk_insert("partial", ["_id"], [(10,), (11,), (3,), (12,)])
    assert refused.value.detail["inserted"] == 2
    assert await collection.count() == 7
    await collection.drop()


async def test_a_result_error_names_what_it_found(stones: DocumentCollection) -> None:
    with pytest.raises(ResultError):
        await stones.find(into=complex)
