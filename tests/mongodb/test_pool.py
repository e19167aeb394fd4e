"""The driver's pool, as Sillar shows and bounds it."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from tests.mongodb.deployment import Observer, OpenManager, begun, connections, endless, make_busy, none_open

from sillar import DatabaseManager, deadline, load_config
from sillar.capabilities import Capability
from sillar.engines import open_adapter
from sillar.engines.mongodb import MongoDBAdapter
from sillar.engines.mongodb.connection import MongoDBConnection
from sillar.engines.mongodb.source import MongoDBSource
from sillar.errors import ConfigurationError, PoolClosedError, PoolExhaustedError, PoolTimeoutError, UsageError
from sillar.execution.documents import DocumentCollection
from sillar.query.document import DocumentCommand
from sillar.testing.servers import MongoDBServer

pytestmark = pytest.mark.usefixtures("mongodb")


def adapter_for(url: str, **database: Any) -> MongoDBAdapter:
    config = load_config(overrides={"databases": {"default": {"url": url, **database}}}, environment={})
    adapter = open_adapter(config.connection("default"))
    assert isinstance(adapter, MongoDBAdapter)
    return adapter


async def test_the_figures(manager: DatabaseManager, stones: DocumentCollection) -> None:
    await stones.insert_many([{"_id": n} for n in range(20)])
    await asyncio.gather(*(stones.find_one({"_id": n}) for n in range(20)))
    health = manager.pools["default"].stats()
    assert health.healthy
    assert health.connections_max == 10
    assert 1 <= health.open <= 11
    assert health.idle == health.open
    assert health.opened_total >= health.open
    assert health.acquired_total >= 21
    assert health.waited_total >= 1  # 20 at once into 10
    assert (health.leased, health.waiting, health.detail["leases"], health.detail["commands"]) == (0, 0, 0, 0)
    assert health.detail["servers"] == health.detail["servers_known"] == health.detail["has_primary"] == 1
    assert (await manager.health()).healthy
    assert manager.session().capabilities.has(Capability.DRIVER_POOL)
    assert manager.session().capabilities.engine.startswith("MongoDB ")


async def test_exhausted_by_time_and_by_number(open_manager: OpenManager, observer: Observer) -> None:
    manager = await open_manager(pool={"max_connections": 2, "connection_timeout": 2.0, "waiting_max": 1})
    session = manager.session()
    await make_busy(session)
    stuck = [asyncio.create_task(manager.session().execute(endless(f"stuck {n}"))) for n in range(2)]
    for number in range(2):
        await begun(observer, f"stuck {number}")
    waiting = asyncio.create_task(session.documents("busy").count())
    await asyncio.sleep(0.05)
    health = await manager.pools["default"].health_check()
    assert health.healthy  # answered, although every connection is in use
    assert (health.leased, health.waiting, health.detail["leases"]) == (2, 1, 3)
    assert health.oldest_lease_seconds > 0
    with pytest.raises(
        PoolExhaustedError, match=r"pool of 2 .*2 leased.*1 waiting.*waiting_max=1.*raise max_connections"
    ):
        await session.documents("busy").count()
    with pytest.raises(PoolTimeoutError, match=r"pool of 2 .*2 leased.*no turn came within 2 s; raise max_connections"):
        await waiting
    with pytest.raises(PoolTimeoutError, match=r"within 0\.0"), deadline(0.05):
        await session.documents("busy").count()
    cancelled = asyncio.create_task(session.documents("busy").count())
    await asyncio.sleep(0.02)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)
    async with asyncio.timeout(15):  # their turns come back with the answer of the server
        while manager.pools["default"].stats().detail["commands"]:
            await asyncio.sleep(0.01)
    assert await session.documents("busy").count() == 1500
    health = manager.pools["default"].stats()
    assert (health.timeouts_total, health.refused_total, health.waiting, health.leased) == (2, 1, 0, 0)
    assert health.wait_seconds_total > 2.0


async def test_first_come_first_served(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    served: list[int] = []

    async def ask(number: int) -> None:
        await manager.session().documents("queue").find_one({"_id": number})
        served.append(number)

    await asyncio.gather(*(ask(number) for number in range(50)))
    assert served == list(range(50))
    assert manager.pools["default"].stats().open <= 2


async def test_closing_leaves_nothing_on_the_server(
    mongodb: MongoDBServer, observer: Observer, open_manager: OpenManager
) -> None:
    before = await connections(observer)
    async with DatabaseManager.from_url(mongodb.url) as manager:
        pool = manager.pools["default"]
        await asyncio.gather(*(manager.session().documents("a").count() for _ in range(20)))
        assert await connections(observer) > before
    async with asyncio.timeout(15):
        while await connections(observer) > before:
            await asyncio.sleep(0.02)
    assert pool.stats().reason == "closed"
    assert pool.try_acquire() is None
    with pytest.raises(PoolClosedError):
        await pool.acquire_connection()
    await pool.close()


async def test_closing_waits_for_what_runs(open_manager: OpenManager) -> None:
    manager = await open_manager()
    session = manager.session()
    await session.documents("closing").drop()
    async with session.transaction():
        await session.documents("closing").insert_one({"_id": 1})
        closing = asyncio.create_task(manager.shutdown(5))
        await asyncio.sleep(0.1)
        assert not closing.done()
    await asyncio.wait_for(closing, 5)


async def test_closing_does_not_wait_for_ever(open_manager: OpenManager, observer: Observer) -> None:
    manager = await open_manager(pool={"drain_timeout": 0.1})
    lease = await manager.get_connection()
    await lease.connection.begin()
    await lease.execute(DocumentCommand("closing", "insert_one", {"document": {"left": True}}))
    await asyncio.wait_for(manager.shutdown(), 5)
    assert lease.connection.is_closed()
    await none_open(observer)


async def test_released_twice(manager: DatabaseManager) -> None:
    source = manager.pools["default"]
    connection = await source.acquire_connection()
    source.release_connection(connection)
    with pytest.raises(UsageError, match="twice"):
        source.release_connection(connection)


async def test_leases_are_used_again(manager: DatabaseManager) -> None:
    source = manager.pools["default"]
    first = await source.acquire_connection()
    source.release_connection(first)
    assert await source.acquire_connection() is first
    assert isinstance(first, MongoDBConnection)
    before = first.session
    first.dirty = True
    source.release_connection(first)
    async with asyncio.timeout(15):
        while source.stats().restoring:
            await asyncio.sleep(0.01)
    assert first.session is not before


async def test_the_adapter_alone(mongodb: MongoDBServer, observer: Observer) -> None:
    before = await connections(observer)
    adapter = adapter_for(mongodb.url)
    assert adapter.driver == "pymongo"
    client = await adapter.connect()
    assert type(client) is AsyncMongoClient
    assert (await client.admin.command("ping"))["ok"] == 1
    await client.close()

    drop = DocumentCommand("alone", "drop_collection", {})
    await adapter.execute_query(drop)
    reply = await adapter.execute_query(DocumentCommand("alone", "insert_one", {}), {"document": {"_id": 7}})
    assert (reply.rows_affected, reply.last_insert_id) == (1, 7)
    transaction = await adapter.begin_transaction()
    await transaction.run(DocumentCommand("alone", "delete_many", {"filter": {}}), ())
    await transaction.rollback()
    await transaction.ping()
    status = await transaction.probe()
    assert (status.role, status.read_only) == ("primary", False)
    await transaction.close()
    assert (await adapter.execute_query(DocumentCommand("alone", "count", {}))).rows[0][0] == 1
    await adapter.execute_query(drop)
    await adapter.close()
    terminated = await adapter.open_connection()
    terminated.terminate()
    assert terminated.is_closed()
    assert isinstance(adapter.own_source(), MongoDBSource)
    async with asyncio.timeout(15):
        while await connections(observer) > before:
            await asyncio.sleep(0.02)


def test_what_the_driver_cannot_do_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="local address"):
        adapter_for("mongodb://127.0.0.1/x", source_address="127.0.0.2")
    with pytest.raises(UsageError, match="MongoDBConfig"):
        MongoDBAdapter(
            load_config(
                overrides={"databases": {"default": {"url": "sqlite:///:memory:"}}}, environment={}
            ).connection()
        )


async def test_a_secret_is_asked_for_when_the_pool_opens(mongodb: MongoDBServer) -> None:
    class Secrets:
        asked: list[str] = []  # noqa: RUF012

        async def get_secret(self, name: str) -> str:
            self.asked.append(name)
            return mongodb.password or "none"

    if not mongodb.password:
        return  # a mongod of ours asks nobody
    url = mongodb.url.replace(f":{mongodb.password}@", "@")
    settings = {"databases": {"default": {"url": url, "credentials": {"password_secret": "mongo"}}}}
    async with DatabaseManager(load_config(overrides=settings, environment={}), secrets=Secrets()) as manager:
        assert await manager.session().documents("a").count() >= 0
    assert Secrets.asked == ["mongo"]


async def test_a_forked_child_leaves_the_sockets_alone(manager: DatabaseManager) -> None:
    collection = manager.session().documents("forked")
    assert await collection.count() == 0
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            manager.session()
            os.write(writing, b"served")
        except UsageError as error:
            os.write(writing, b"refused: " + str(error)[:60].encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.read().startswith("refused: ")
    os.waitpid(child, 0)
    assert await collection.count() == 0
