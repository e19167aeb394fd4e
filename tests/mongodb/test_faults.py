"""Faults, provoked for real: killed and frozen servers, cut sockets, refused logins, wrong certificates."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.mongodb.deployment import Observer, OpenManager, behind, endless, make_busy

from sillar import DatabaseManager
from sillar.errors import (
    AuthenticationError,
    CertificateError,
    CommitUnknownError,
    ConnectError,
    ConnectionLostError,
    DatabaseError,
    StatementTimeoutError,
    UnavailableError,
)
from sillar.testing.faults import Direction, FaultProxy
from sillar.testing.servers import CertificateAuthority, MongoDBServer

# The driver forgets to close a socket whose opening failed, or was cancelled when its client closed.
pytestmark = [
    pytest.mark.usefixtures("mongodb"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
QUICK = {"server_selection_timeout": 1.0}


@pytest.fixture(autouse=True)
def sockets_collected() -> Iterator[None]:
    """What the driver forgot is collected before the next test starts, so that it is not blamed for it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
async def proxy(mongodb: MongoDBServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(mongodb.host, mongodb.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def mortal() -> AsyncIterator[MongoDBServer]:
    """A server of these tests' own, with TLS, to be killed and frozen."""
    async with MongoDBServer(own=True, tls=True) as server:
        yield server


@pytest.fixture
async def own_server(mortal: MongoDBServer) -> MongoDBServer:
    """It, alive."""
    await mortal.revive()
    return mortal


def trusting(server: MongoDBServer, **more: Any) -> dict[str, Any]:
    return {"ssl_config": {"ca_file": str(server.ca_file), **more}}


# --- connecting -------------------------------------------------------------------------------------------------------


async def test_a_wrong_password(mongodb: MongoDBServer, open_manager: OpenManager) -> None:
    login = f"mongodb://sillar:wrong-secret@{mongodb.host}:{mongodb.port}/sillar?authSource=admin"
    with pytest.raises(AuthenticationError, match="refuses the login") as refused:
        await open_manager(url=login, pool={"on_unavailable": "wait"})
    assert "wrong-secret" not in str(refused.value)
    assert refused.value.permanent


async def test_nobody_listens(open_manager: OpenManager) -> None:
    async with FaultProxy("127.0.0.1", 1) as proxy:
        await proxy.refuse()
        with pytest.raises(
            ConnectError, match=r"no suitable server was found at 127\.0\.0\.1:\d+ within 0\.3 s: .*Connect call failed"
        ):
            await open_manager(url=f"mongodb://127.0.0.1:{proxy.port}/x", options={"server_selection_timeout": 0.3})


async def test_a_server_that_is_down_at_start_is_waited_for(
    mongodb: MongoDBServer, proxy: FaultProxy, open_manager: OpenManager
) -> None:
    await proxy.refuse()
    manager = await open_manager(
        url=behind(proxy, mongodb), pool={"on_unavailable": "wait"}, options={"server_selection_timeout": 0.3}
    )
    collection = manager.session().documents("late")
    with pytest.raises(ConnectError):
        await collection.count()
    assert not (await manager.health()).healthy
    await proxy.heal()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await collection.count() == 0
                break
            except ConnectError:
                await asyncio.sleep(0.05)
    assert (await manager.health_monitor.check(fresh=True)).healthy
    async with asyncio.timeout(5):
        while "7" not in manager.session().capabilities.engine and "8" not in manager.session().capabilities.engine:
            await asyncio.sleep(0.05)  # probed as soon as it was up


async def test_tls(own_server: MongoDBServer, open_manager: OpenManager, tmp_path: Path) -> None:
    manager = await open_manager(url=own_server.url, database=trusting(own_server))
    assert await manager.session().documents("a").count() >= 0

    other = tmp_path / "ca.pem"
    other.write_bytes(CertificateAuthority().certificate)
    with pytest.raises(CertificateError, match="not trusted") as refused:
        await open_manager(url=own_server.url, database={"ssl_config": {"ca_file": str(other)}}, options=QUICK)
    assert refused.value.permanent
    with pytest.raises(CertificateError, match=r"[Hh]ostname mismatch"):
        await open_manager(
            url=own_server.url, database=trusting(own_server, server_hostname="elsewhere.example"), options=QUICK
        )
    unverified = await open_manager(url=own_server.url, database={"ssl_config": {"mode": "require"}})
    assert await unverified.session().documents("a").count() >= 0
    authority_only = await open_manager(
        url=own_server.url, database=trusting(own_server, mode="verify-ca", server_hostname="elsewhere.example")
    )
    assert await authority_only.session().documents("a").count() >= 0
    with pytest.raises(ConnectError):
        await open_manager(url=own_server.url, database={"ssl_config": {"mode": "disable"}}, options=QUICK)


async def test_tls_where_the_server_has_none(mongodb: MongoDBServer, open_manager: OpenManager) -> None:
    with pytest.raises(ConnectError, match="TLS"):
        await open_manager(url=mongodb.url, database={"ssl_config": {}}, options=QUICK)


async def test_an_expired_certificate(open_manager: OpenManager) -> None:
    from sillar.testing.servers import ServerCertificate

    async with MongoDBServer(tls=ServerCertificate.EXPIRED) as server:
        with pytest.raises(CertificateError, match="expired"):
            await open_manager(url=server.url, database=trusting(server), options=QUICK)


# --- connections that break -------------------------------------------------------------------------------------


async def test_a_reset_during_a_read_is_survived(
    mongodb: MongoDBServer, proxy: FaultProxy, open_manager: OpenManager
) -> None:
    manager = await open_manager(url=behind(proxy, mongodb))
    collection = manager.session().documents("resets")
    for _ in range(5):
        assert await collection.count() == 0
        proxy.reset()
        assert await collection.count() == 0
    assert manager.pools["default"].stats().lost_total >= 5


async def test_a_reply_that_breaks_off(mongodb: MongoDBServer, proxy: FaultProxy, open_manager: OpenManager) -> None:
    manager = await open_manager(url=behind(proxy, mongodb), options={"retry_writes": False, "retry_reads": False})
    collection = manager.session().documents("broken")
    await collection.drop()
    await collection.count()
    proxy.cut_after(10, Direction.TO_CLIENT)
    with pytest.raises(ConnectionLostError) as lost:
        await collection.insert_one({"_id": 1})
    assert not lost.value.safe_to_retry
    await proxy.heal()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await collection.count() <= 1
                break
            except UnavailableError:
                await asyncio.sleep(0.05)
    await collection.drop()


async def test_a_reset_inside_a_transaction(
    mongodb: MongoDBServer, proxy: FaultProxy, open_manager: OpenManager
) -> None:
    manager = await open_manager(url=behind(proxy, mongodb))
    session = manager.session()
    collection = session.documents("in_transaction")
    await collection.drop()
    with pytest.raises(UnavailableError) as lost:
        async with session.transaction():
            await collection.insert_one({"_id": 1})
            proxy.black_hole(Direction.TO_CLIENT)
            asyncio.get_running_loop().call_later(0.2, proxy.reset)
            await collection.insert_one({"_id": 2})
    assert lost.value.safe_to_retry  # of the whole transaction: nothing of it was applied
    await proxy.heal()
    assert await collection.count() == 0
    async with session.transaction():
        await collection.insert_one({"_id": 3})
    assert await collection.count() == 1
    await collection.drop()


async def test_a_commit_whose_reply_is_lost(
    mongodb: MongoDBServer, proxy: FaultProxy, open_manager: OpenManager, observer: Observer
) -> None:
    manager = await open_manager(
        url=behind(proxy, mongodb),
        options={"server_selection_timeout": 0.5},
        database={"retry": {"resolution_timeout": 0.5}},
    )
    session = manager.session()
    collection = session.documents("commits")
    await collection.drop()
    transaction = await session.transaction().begin()
    await collection.insert_one({"_id": 1})
    proxy.black_hole(Direction.TO_CLIENT)

    async def cut() -> None:
        async with asyncio.timeout(20):
            while not await observer[mongodb.database]["commits"].count_documents({}):  # until it was applied
                await asyncio.sleep(0.02)
        await proxy.refuse()
        proxy.reset()

    cutting = asyncio.create_task(cut())
    with pytest.raises(CommitUnknownError, match="may or may not have been applied") as unknown:
        await transaction.commit()
    await cutting
    assert not unknown.value.safe_to_retry
    await proxy.heal()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await collection.count() == 1  # here it was applied: only the reply was lost
                break
            except UnavailableError:
                await asyncio.sleep(0.05)
    await collection.drop()


async def test_a_network_that_answers_nothing(
    mongodb: MongoDBServer, proxy: FaultProxy, open_manager: OpenManager
) -> None:
    manager = await open_manager(url=behind(proxy, mongodb))
    collection = manager.session().documents("silence")
    assert await collection.count() == 0
    proxy.black_hole()
    with pytest.raises(StatementTimeoutError):
        await collection.find_one({}, timeout_seconds=0.3)
    health = await asyncio.wait_for(manager.health_monitor.check(fresh=True), 5)
    assert not health.healthy
    await proxy.heal()
    proxy.reset()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await collection.count() == 0
                break
            except DatabaseError:
                await asyncio.sleep(0.05)


# --- servers that die -------------------------------------------------------------------------------------------


async def test_killed_in_the_middle_and_back_later(own_server: MongoDBServer, open_manager: OpenManager) -> None:
    manager = await open_manager(url=own_server.url, database=trusting(own_server), options=QUICK)
    session = manager.session()
    await make_busy(session)
    reading = asyncio.create_task(session.execute(endless("killed")))
    other = manager.session()
    transaction = await other.transaction().begin()
    await other.documents("dying").insert_one({"_id": 1})
    await asyncio.sleep(0.2)
    await own_server.kill()
    with pytest.raises(UnavailableError):
        await reading
    with pytest.raises(DatabaseError):
        await transaction.commit()
    with pytest.raises(ConnectError):
        await session.documents("dying").count()
    assert not (await manager.health_monitor.check(fresh=True)).healthy
    await own_server.start()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await session.documents("dying").count() == 0
                break
            except UnavailableError:
                await asyncio.sleep(0.05)
    assert (await manager.health_monitor.check(fresh=True)).healthy
    assert manager.pools["default"].stats().detail["leases"] == 0


async def test_frozen_and_thawed(own_server: MongoDBServer, open_manager: OpenManager) -> None:
    manager = await open_manager(url=own_server.url, database=trusting(own_server), options=QUICK)
    session = manager.session()
    collection = session.documents("frozen")
    await collection.drop()
    await own_server.freeze()
    try:
        with pytest.raises(StatementTimeoutError):
            await collection.find_one({}, timeout_seconds=0.3)
        leaving = asyncio.create_task(collection.insert_one({"_id": 1}))
        await asyncio.sleep(0.1)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(leaving, 1)  # the caller leaves at once, although nobody answers
        assert not (await asyncio.wait_for(manager.health_monitor.check(fresh=True), 5)).healthy
    finally:
        await own_server.thaw()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await collection.count() <= 1
                break
            except UnavailableError:
                await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        while manager.pools["default"].stats().detail["commands"]:
            await asyncio.sleep(0.05)


async def test_leaving_with_a_dead_server_does_not_hang(own_server: MongoDBServer, open_manager: OpenManager) -> None:
    manager: DatabaseManager = await open_manager(url=own_server.url, database=trusting(own_server), options=QUICK)
    session = manager.session()
    transaction = await session.transaction().begin()
    await session.documents("leaving").insert_one({"_id": 1})
    await own_server.freeze()
    try:
        await asyncio.wait_for(transaction.rollback(), 15)
        await asyncio.wait_for(manager.shutdown(1), 15)
    finally:
        await own_server.thaw()
