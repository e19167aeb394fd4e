"""What an engine says of itself: probe, health, figures."""

from __future__ import annotations

import asyncio

import pytest

from sillar import Capability, DatabaseManager, DatabaseSession
from sillar.engines import NodeRole
from sillar.errors import DatabaseError, UniqueViolationError
from sillar.testing.conformance.cases import Cases, MakeTable, eventually
from sillar.testing.conformance.subject import ConformanceSubject


class HealthCases(Cases[ConformanceSubject]):
    """Probe, health, metrics."""

    async def test_a_probe_tells_version_role_and_abilities(self, manager: DatabaseManager) -> None:
        async with await manager.get_connection() as lease:
            status = await lease.connection.probe()
        assert status.version[0].isdigit()
        assert status.role is NodeRole.PRIMARY
        assert status.read_only is False
        assert status.address
        assert any(each.isdigit() for each in status.capabilities.engine), "the version is part of the name"
        assert Capability.TRANSACTIONS in status.capabilities
        assert (Capability.SQL in status.capabilities) != (Capability.DOCUMENTS in status.capabilities)

    async def test_capabilities_are_those_of_the_live_server(
        self, manager: DatabaseManager, session: DatabaseSession
    ) -> None:
        assert any(each.isdigit() for each in session.capabilities.engine)
        async with await manager.get_connection() as lease:
            probed = await lease.connection.probe()
            assert set(probed.capabilities) == set(session.capabilities)
            assert set(session.capabilities) <= set(type(lease.adapter).capabilities)

    async def test_health(self, manager: DatabaseManager) -> None:
        health = await manager.health()
        assert health.healthy
        assert health.databases["default"].healthy
        assert health.databases["default"].reason == ""
        assert health.databases["default"].connections_max >= 1
        assert health.checked_at > 0

    async def test_health_does_not_queue_behind_the_application(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession
    ) -> None:
        leases = [await manager.get_connection() for _ in range(3)]
        try:
            async with asyncio.timeout(5):
                assert (await manager.health_monitor.check(fresh=True)).healthy
        finally:
            for lease in leases:
                lease.release()

    async def test_the_six_figures_move(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession, table: MakeTable
    ) -> None:
        name = await table()
        before = await manager.monitor.collect_metrics()
        async with session.transaction():
            await session.execute(*subject.insert(name, 1))
        with pytest.raises(UniqueViolationError):
            await session.execute(*subject.insert(name, 1))
        await session.fetch_all(*subject.one)
        after = await manager.monitor.collect_metrics()
        assert after.active_connections == before.active_connections == 0
        assert after.connection_pool_size >= 1
        assert after.query_count == before.query_count + 3
        assert after.query_latency > 0
        assert before.error_rate == 0 < after.error_rate < 1
        assert after.transaction_count == before.transaction_count + 1

    async def test_a_running_statement_is_an_active_connection(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession
    ) -> None:
        await subject.prepare(session)

        async def work() -> None:
            async with session.transaction():
                await session.execute(*subject.long)

        task = asyncio.create_task(work())

        async def active() -> bool:
            return (await manager.monitor.collect_metrics()).active_connections == 1

        async def idle() -> bool:
            return (await manager.monitor.collect_metrics()).active_connections == 0

        try:
            await eventually(active)
            assert (await manager.health_monitor.check(fresh=True)).healthy or subject.serves_one_at_a_time
        finally:
            task.cancel()
            await asyncio.wait([task])
        await eventually(idle)
        assert manager.monitor.registry.figures("default").cancelled == 1

    async def test_a_closed_manager_refuses_and_may_be_opened_again(self, subject: ConformanceSubject) -> None:
        manager = DatabaseManager(subject.config())
        await manager.initialize()
        await manager.shutdown()
        await manager.shutdown()
        with pytest.raises(DatabaseError, match="not open"):
            manager.session()
        async with manager:  # and may be opened again
            assert await manager.session().fetch_one(*subject.one) is not None
