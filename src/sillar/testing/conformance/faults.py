"""Networks and servers that fail: for engines that are reached by TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sillar import DatabaseManager, DatabaseSession
from sillar.errors import (
    AuthenticationError,
    CertificateError,
    CommitUnknownError,
    ConnectError,
    ConnectionLostError,
    DatabaseError,
    PoolTimeoutError,
    TooManyConnectionsError,
    TransientStatementError,
    UnavailableError,
    UnknownDatabaseError,
)
from sillar.testing.conformance.cases import Cases, MakeTable, OpenManager, begun, eventually
from sillar.testing.conformance.subject import ConformanceSubject, Settings
from sillar.testing.faults import Direction, FaultProxy
from sillar.testing.servers import ServerCertificate

WRONG = "wrong-password"


class FaultCases(Cases[ConformanceSubject]):
    """Lost connections, lost replies, refused logins, untrusted certificates, crowded servers."""

    @pytest.fixture
    async def proxy(self, subject: ConformanceSubject) -> AsyncIterator[FaultProxy]:
        """A proxy in front of the server."""
        async with FaultProxy(*subject.address) as proxy:
            yield proxy

    @pytest.fixture
    async def behind(
        self, subject: ConformanceSubject, proxy: FaultProxy, open_manager: OpenManager
    ) -> DatabaseManager:
        """A manager whose connections go by way of the proxy."""
        return await open_manager(settings=subject.proxied(proxy))

    async def recovered(self, subject: ConformanceSubject, manager: DatabaseManager) -> None:
        """Return once statements run again, without a restart of anything."""

        async def answers() -> bool:
            try:
                return await manager.session().fetch_one(*subject.one) is not None
            except UnavailableError:
                return False

        await eventually(answers, 15)

    async def test_a_query_that_is_cut_is_told_and_recovered_from(
        self, subject: ConformanceSubject, proxy: FaultProxy, behind: DatabaseManager, session: DatabaseSession
    ) -> None:
        await subject.prepare(session)

        async def work() -> None:
            async with behind.session().transaction() as transaction:
                await transaction.execute(*subject.long)

        task = asyncio.create_task(work())
        await begun(subject, session)
        assert not task.done()
        proxy.reset()
        with pytest.raises((ConnectionLostError, TransientStatementError)) as caught:
            await asyncio.wait_for(task, 15)
        assert caught.value.node is not None
        await self.recovered(subject, behind)

    async def test_a_transaction_that_is_cut_is_rolled_back(
        self,
        subject: ConformanceSubject,
        proxy: FaultProxy,
        behind: DatabaseManager,
        session: DatabaseSession,
        table: MakeTable,
    ) -> None:
        name = await table()
        with pytest.raises((ConnectionLostError, TransientStatementError)):
            async with behind.session().transaction() as transaction:
                await transaction.execute(*subject.insert(name, 1))
                proxy.reset()
                await transaction.execute(*subject.insert(name, 2))
        await self.recovered(subject, behind)

        async def gone() -> bool:
            return await subject.count(session, name) == 0

        await eventually(gone)
        await asyncio.wait_for(session.execute(*subject.insert(name, 1)), 10)  # no lock is left, either

    async def test_a_lost_reply_to_a_commit_is_unknown(
        self,
        subject: ConformanceSubject,
        proxy: FaultProxy,
        behind: DatabaseManager,
        session: DatabaseSession,
        table: MakeTable,
    ) -> None:
        name = await table()
        transaction = await behind.begin_transaction()
        await transaction.execute(*subject.insert(name, 1))
        proxy.black_hole(Direction.TO_CLIENT)
        await proxy.refuse()  # a driver that asks again under the hood gets no answer, either
        breaking = asyncio.get_running_loop().call_later(0.3, proxy.reset)
        with pytest.raises(CommitUnknownError, match="may or may not") as caught:
            await asyncio.wait_for(transaction.commit(), 30)
        breaking.cancel()
        assert not caught.value.safe_to_retry
        await proxy.heal()
        await self.recovered(subject, behind)
        assert await subject.count(session, name) == 1
        assert behind.monitor.registry.figures("default").transactions["unknown"] == 1

    async def test_sessions_ended_by_an_administrator(
        self, subject: ConformanceSubject, open_manager: OpenManager, table: MakeTable
    ) -> None:
        manager = await open_manager(pool={"min_connections": 3})
        name = await table()
        transaction = await manager.begin_transaction()
        await transaction.execute(*subject.insert(name, 1))
        await subject.end_sessions()
        with pytest.raises((ConnectionLostError, TransientStatementError)):
            await transaction.execute(*subject.insert(name, 2))
        await transaction.rollback()
        await self.recovered(subject, manager)
        assert await subject.count(manager.session(), name) == 0

    async def test_a_server_that_is_down_at_the_start(self, subject: ConformanceSubject, proxy: FaultProxy) -> None:
        await proxy.refuse()
        settings = self._impatient(subject, subject.proxied(proxy))
        manager = DatabaseManager(subject.config(settings=settings))
        with pytest.raises(ConnectError) as caught:
            await asyncio.wait_for(manager.initialize(), 30)
        assert str(proxy.port) in str(caught.value)
        await proxy.heal()
        async with manager:
            assert await manager.session().fetch_one(*subject.one) is not None

    async def test_a_server_that_is_waited_for(
        self, subject: ConformanceSubject, proxy: FaultProxy, open_manager: OpenManager
    ) -> None:
        await proxy.refuse()
        pool = {"on_unavailable": "wait", "connection_timeout": 0.3, "backoff_max": 0.1}
        manager = await open_manager(settings=self._impatient(subject, subject.proxied(proxy)), pool=pool)
        with pytest.raises(UnavailableError):
            await manager.session().fetch_one(*subject.one)
        assert not (await manager.health_monitor.check(fresh=True)).healthy
        await proxy.heal()
        await self.recovered(subject, manager)
        assert (await manager.health_monitor.check(fresh=True)).healthy

    async def test_a_wrong_password(self, subject: ConformanceSubject) -> None:
        credentials = {**subject.settings["credentials"], "password": WRONG}
        await self._refused(subject, {**subject.settings, "credentials": credentials}, AuthenticationError)

    async def test_an_unknown_database(self, subject: ConformanceSubject) -> None:
        if subject.creates_databases:
            async with DatabaseManager(subject.config(settings={**subject.settings, "database": "nowhere"})) as manager:
                assert await manager.session().fetch_one(*subject.one) is not None
            return
        await self._refused(subject, {**subject.settings, "database": "nowhere"}, UnknownDatabaseError)

    async def test_a_crowded_server(self, subject: ConformanceSubject) -> None:
        async with subject.crowded() as settings:
            with pytest.raises((TooManyConnectionsError, ConnectError)) as caught:
                await DatabaseManager(subject.config(settings=settings)).initialize()
            if subject.tells_crowding:
                assert isinstance(caught.value, TooManyConnectionsError)

    async def test_certificates(self, subject: ConformanceSubject) -> None:
        async with subject.secured(ServerCertificate.VALID) as (settings, authority):
            trusted = {"mode": "verify-full", "ca_file": str(authority)}
            async with DatabaseManager(subject.config(settings={**settings, "ssl_config": trusted})) as manager:
                assert await manager.session().fetch_one(*subject.one) is not None
            for unfit in ({"mode": "verify-full"}, {**trusted, "server_hostname": "other.example"}):
                await self._refused(subject, {**settings, "ssl_config": unfit}, CertificateError)
        async with subject.secured(ServerCertificate.EXPIRED) as (settings, authority):
            trusted = {"mode": "verify-full", "ca_file": str(authority)}
            await self._refused(subject, {**settings, "ssl_config": trusted}, CertificateError)

    async def test_an_exhausted_pool_says_so_in_time(
        self, subject: ConformanceSubject, open_manager: OpenManager, session: DatabaseSession
    ) -> None:
        await subject.prepare(session)
        manager = await open_manager(pool={"max_connections": 1, "connection_timeout": 1.0})
        task = asyncio.create_task(manager.session().execute(*subject.long))

        async def taken() -> bool:
            return manager.pools["default"].stats().leased == 1

        try:
            await eventually(taken, 30)
            with pytest.raises(PoolTimeoutError, match="max_connections"):
                await manager.session().fetch_one(*subject.one)
        finally:
            task.cancel()
            await asyncio.wait([task])
        await self.recovered(subject, manager)

    async def test_closing_with_open_sessions_does_not_hang(self, subject: ConformanceSubject) -> None:
        manager = DatabaseManager(subject.config(pool={"drain_timeout": 0.2}))
        await manager.initialize()
        session = manager.session()
        transaction = await session.transaction().begin()
        await transaction.fetch_one(*subject.one)
        await asyncio.wait_for(manager.shutdown(), 5)
        with pytest.raises(DatabaseError):
            await transaction.fetch_one(*subject.one)

    async def _refused(self, subject: ConformanceSubject, settings: Settings, kind: type[DatabaseError]) -> None:
        manager = DatabaseManager(subject.config(settings=self._impatient(subject, settings)))
        with pytest.raises(kind) as caught:
            await asyncio.wait_for(manager.initialize(), 30)
        assert not caught.value.safe_to_retry
        password = subject.settings["credentials"]["password"]
        assert password not in str(caught.value)
        assert WRONG not in str(caught.value)

    def _impatient(self, subject: ConformanceSubject, settings: Settings) -> Settings:
        options = {**settings.get("connection_options", {}), **subject.impatient_connecting}
        return {**settings, "connection_options": options} if options else settings
