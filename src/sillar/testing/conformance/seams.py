"""The seams that later features and other consumers of a connection rely on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from sillar import Capability, DatabaseManager, DatabaseSession, Execution, Stage
from sillar.engines import open_adapter
from sillar.errors import DatabaseError, UniqueViolationError, UsageError
from sillar.execution import Proceed
from sillar.testing.conformance.cases import Cases, MakeTable, OpenManager
from sillar.testing.conformance.subject import ConformanceSubject


class Companions:
    """Attaches bound statements to the executions of the statement verbs, as an audit would."""

    stage = Stage.AUDIT

    def __init__(self) -> None:
        self.before: Sequence[tuple[Any, Sequence[Any]]] = ()
        self.after: Sequence[tuple[Any, Sequence[Any]]] = ()

    async def around(self, execution: Execution, proceed: Proceed) -> Any:
        execution.before, execution.after = self.before, self.after
        return await proceed(execution)


class Witness:
    """Notes when an execution passes its stage."""

    def __init__(self, stage: Stage, passed: list[Stage]) -> None:
        self.stage = stage
        self._passed = passed

    async def around(self, execution: Execution, proceed: Proceed) -> Any:
        self._passed.append(self.stage)
        return await proceed(execution)


class SeamCases(Cases[ConformanceSubject]):
    """Companions, stages, raw connections, dedicated leases."""

    async def companions(
        self, subject: ConformanceSubject, open_manager: OpenManager
    ) -> tuple[DatabaseManager, Companions]:
        """A manager whose executions get companions."""
        companions = Companions()
        return await open_manager(interceptors=[companions]), companions

    async def bound(self, manager: DatabaseManager, command: Any) -> tuple[Any, Sequence[Any]]:
        """A statement as an interceptor attaches it."""
        async with await manager.get_connection() as lease:
            statement, args = lease.adapter.bind(*command)
        return statement, args

    async def test_companions_commit_with_their_statement(
        self, subject: ConformanceSubject, open_manager: OpenManager, table: MakeTable
    ) -> None:
        manager, companions = await self.companions(subject, open_manager)
        session = manager.session()
        name = await table(session)
        before = await self.bound(manager, subject.insert(name, 2))
        after = await self.bound(manager, subject.insert(name, 3))
        companions.before, companions.after = [before], [after]
        assert (await session.execute(*subject.insert(name, 1))).rows_affected == 1
        companions.before, companions.after = [], []
        assert await subject.count(session, name) == 3

    async def test_companions_are_rolled_back_together(
        self, subject: ConformanceSubject, open_manager: OpenManager, table: MakeTable
    ) -> None:
        manager, companions = await self.companions(subject, open_manager)
        session = manager.session()
        name = await table(session)
        two, three = [await self.bound(manager, subject.insert(name, number)) for number in (2, 3)]
        for before, main, after in (([two], 2, []), ([two], 1, [two]), ([], 1, [three, three])):
            companions.before, companions.after = before, after
            with pytest.raises(UniqueViolationError):
                await session.execute(*subject.insert(name, main))
            companions.before, companions.after = [], []
            assert await subject.count(session, name) == 0
        assert manager.pools["default"].stats().leased == 0

    async def test_companions_belong_to_the_open_transaction(
        self, subject: ConformanceSubject, open_manager: OpenManager, table: MakeTable
    ) -> None:
        manager, companions = await self.companions(subject, open_manager)
        session = manager.session()
        name = await table(session)
        companion = await self.bound(manager, subject.insert(name, 2))
        with pytest.raises(RuntimeError):
            async with session.transaction():
                companions.after = [companion]
                await session.execute(*subject.insert(name, 1))
                companions.after = []
                assert await subject.count(session, name) == 2
                raise RuntimeError
        assert await subject.count(session, name) == 0

    async def test_stages_are_passed_in_their_order(
        self, subject: ConformanceSubject, open_manager: OpenManager
    ) -> None:
        passed: list[Stage] = []
        stages = list(Stage)
        random.Random(7).shuffle(stages)
        assert stages != sorted(stages)
        manager = await open_manager(interceptors=[Witness(stage, passed) for stage in stages])
        assert await manager.session().fetch_one(*subject.one) is not None
        assert passed == sorted(Stage)

    async def test_a_lease_has_the_real_connection_of_the_driver(
        self, subject: ConformanceSubject, manager: DatabaseManager
    ) -> None:
        async with await manager.get_connection() as lease:
            if lease.raw is not None:
                assert self._package(lease.adapter) in self._packages(lease.raw)
            else:  # a lease on a source that sends its statements to several connections
                assert manager.session().capabilities.has(Capability.DRIVER_POOL)
            assert manager.connections["default"] is lease
            if manager.session().capabilities.has(Capability.SERVER_SESSIONS):
                assert lease.server_id is None or lease.server_id > 0
        assert manager.connections == {}
        with pytest.raises(UsageError, match="released"):
            _ = lease.raw

    async def test_connect_returns_the_real_connection_of_the_driver(self, subject: ConformanceSubject) -> None:
        adapter = open_adapter(subject.config().connection())
        raw = await adapter.connect()
        try:
            assert self._package(adapter) in self._packages(raw)
        finally:
            closing = raw.close()
            if closing is not None:
                await closing
            await adapter.close()

    async def test_an_adapter_alone(self, subject: ConformanceSubject, manager: DatabaseManager) -> None:
        adapter = open_adapter(subject.config().connection())
        try:
            assert len((await adapter.execute_query(*subject.one)).rows) == 1
            connection = await adapter.begin_transaction()
            assert connection.in_transaction
            await connection.rollback()
            assert not connection.in_transaction
            await connection.close()
        finally:
            await adapter.close()

    async def test_a_dedicated_lease_is_counted_and_closed(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession
    ) -> None:
        source = manager.pools["default"]
        dedicated = getattr(source, "dedicated", None)
        if session.capabilities.has(Capability.DRIVER_POOL):
            assert dedicated is None, "a pool of the driver's has no dedicated leases"
            return
        assert dedicated is not None
        async with dedicated() as lease:
            assert source.stats().dedicated == 1
            assert len((await lease.execute(*subject.one)).rows) == 1
        assert source.stats().dedicated == 0
        assert lease.connection.is_closed()

    async def test_a_wrong_statement_is_refused_before_anything_is_leased(
        self, subject: ConformanceSubject, manager: DatabaseManager, session: DatabaseSession
    ) -> None:
        acquired = manager.pools["default"].stats().acquired_total
        with pytest.raises(DatabaseError):
            await session.execute(object())  # type: ignore[arg-type]
        assert manager.pools["default"].stats().acquired_total == acquired

    def _package(self, adapter: Any) -> str:
        return str(adapter.driver)

    def _packages(self, raw: Any) -> set[str]:
        return {kind.__module__.partition(".")[0] for kind in type(raw).__mro__}
