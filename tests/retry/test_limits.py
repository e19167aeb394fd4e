"""What is not run again, how often something is, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.retry.conftest import MakeTable, OpenManager, Sniper

from sillar import DatabaseManager, Transaction, deadline, load_config
from sillar.config import RetryConfig
from sillar.errors import (
    CommitUnknownError,
    ConfigurationError,
    ConnectionLostError,
    LockTimeoutError,
    PoolTimeoutError,
    ReadOnlyError,
    SerializationError,
    StatementError,
    UniqueViolationError,
    UnsupportedCapabilityError,
    UsageError,
)
from sillar.execution.commit_outcome import CommitMarkers, CommitResolution
from sillar.execution.retry import Backoff, Retry
from sillar.testing.faults import Direction, FaultProxy
from sillar.testing.servers import PostgreSQLServer, Server

ON_POSTGRESQL = pytest.mark.parametrize("server", ["postgresql"], indirect=True)
ON_MYSQL = pytest.mark.parametrize("server", ["mysql"], indirect=True)


class Runs:
    """Work that counts its runs and raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.count, self._error = 0, error

    async def __call__(self, tx: Transaction) -> int:
        self.count += 1
        if self._error is not None:
            raise self._error
        return self.count


def passing() -> SerializationError:
    return SerializationError("no order was found")


@ON_POSTGRESQL
async def test_attempts_are_counted_and_told(open_manager: OpenManager) -> None:
    manager = await open_manager(retry={"transaction_attempts_max": 3, "pause_initial": 0.001})
    for options, expected in (({}, 3), ({"attempts_max": 5}, 5), ({"attempts_max": 1}, 1)):
        runs = Runs(passing())
        with pytest.raises(SerializationError) as caught:
            await manager.session().run_in_transaction(runs, **options)  # type: ignore[arg-type]
        assert runs.count == expected
        assert f"was run {expected} times" in caught.value.__notes__[0]
    with pytest.raises(UsageError, match="attempts_max is 0"):
        await manager.session().run_in_transaction(Runs(), attempts_max=0)


@ON_POSTGRESQL
async def test_the_deadline_bounds_all_attempts(open_manager: OpenManager) -> None:
    manager = await open_manager(retry={"pause_initial": 10, "pause_max": 10})
    runs = Runs(passing())
    with deadline(0.3), pytest.raises(SerializationError) as caught:
        await asyncio.wait_for(manager.session().run_in_transaction(runs, attempts_max=1000), 5)
    assert runs.count < 20
    assert "until the deadline" in caught.value.__notes__[0]


@ON_POSTGRESQL
async def test_what_is_not_of_this_transaction_is_not_run_again(manager: DatabaseManager, table: MakeTable) -> None:
    name = await table()
    elsewhere = passing().at(database="archive")
    for error in (ValueError("mine"), elsewhere, UniqueViolationError("twice"), CommitUnknownError("inside")):
        runs = Runs(error)
        with pytest.raises(type(error)):
            await manager.session().run_in_transaction(runs)
        assert runs.count == 1

    async def twice(tx: Transaction) -> None:
        await tx.execute(f"UPDATE {name} SET amount = amount + 1")
        await tx.execute(f"INSERT INTO {name} VALUES (1, 1)")

    with pytest.raises(UniqueViolationError):
        await manager.session().run_in_transaction(twice)
    assert await manager.session().fetch_value(f"SELECT amount FROM {name}") == 0


@ON_POSTGRESQL
async def test_a_wait_in_vain_is_not_repeated(open_manager: OpenManager) -> None:
    manager = await open_manager(pool={"max_connections": 1, "connection_timeout": 0.2})
    runs = Runs()

    async def late() -> None:
        await manager.session().run_in_transaction(runs)

    async with await manager.get_connection():
        with pytest.raises(PoolTimeoutError):
            await asyncio.wait_for(asyncio.create_task(late()), 5)
    assert runs.count == 0
    assert manager.pools["default"].stats().acquired_total <= 2


@ON_POSTGRESQL
async def test_inside_a_transaction_it_is_refused(manager: DatabaseManager) -> None:
    runs = Runs()
    async with manager.session().transaction() as tx:
        with pytest.raises(UsageError, match="await work"):
            await tx._session.run_in_transaction(runs)
        with pytest.raises(UsageError, match="nested"):
            await tx.nested(resolve_commit=True).begin()
    assert runs.count == 0


async def test_a_lock_that_is_not_granted_is_waited_for_again(open_manager: OpenManager, table: MakeTable) -> None:
    name = await table()
    manager = await open_manager(options={"lock_timeout": 1})
    held = await manager.begin_transaction()
    await held.execute(f"UPDATE {name} SET amount = 1")
    runs: list[BaseException | None] = []

    async def work(tx: Transaction) -> None:
        try:
            await tx.execute(f"UPDATE {name} SET amount = amount + 1")
        except LockTimeoutError as error:
            runs.append(error)
            await held.commit()
            raise
        runs.append(None)

    async def other() -> None:
        await manager.session().run_in_transaction(work)

    await asyncio.wait_for(asyncio.create_task(other()), 20)
    assert [type(each) for each in runs] == [LockTimeoutError, type(None)]
    assert await manager.session().fetch_value(f"SELECT amount FROM {name}") == 2


@ON_MYSQL
async def test_what_a_definition_has_committed_is_not_run_again(
    open_manager: OpenManager, table: MakeTable, proxy: FaultProxy
) -> None:
    """MySQL commits what was done before it, whatever becomes of the rest."""
    name = await table()
    manager = await open_manager(through=proxy)
    runs = 0

    async def work(tx: Transaction) -> None:
        nonlocal runs
        runs += 1
        await tx.execute(f"UPDATE {name} SET amount = amount + 1")
        await tx.execute(f"ALTER TABLE {name} COMMENT 'x'")
        if runs == 1:
            proxy.reset()
        await tx.execute(f"UPDATE {name} SET amount = amount + 1")

    with pytest.raises(ConnectionLostError) as caught:
        await manager.session().run_in_transaction(work)
    assert not caught.value.safe_to_retry
    assert (runs, await manager.session().fetch_value(f"SELECT amount FROM {name}")) == (1, 1)


@ON_MYSQL
async def test_a_deadlock_that_was_not_heeded_is_not_run_again(manager: DatabaseManager, table: MakeTable) -> None:
    """The server has rolled back, and commits what follows one by one."""
    name = await table(3)
    barrier, update = asyncio.Barrier(2), f"UPDATE {name} SET amount = amount + 1 WHERE id = :id"
    runs: list[int] = []

    async def work(tx: Transaction, first: int, second: int) -> None:
        runs.append(first)
        await tx.execute(update, {"id": first})
        await barrier.wait()
        try:
            await tx.execute(update, {"id": second})
        except SerializationError:
            raise
        except StatementError:
            await tx.execute(update, {"id": 3})
            raise

    async def cross(first: int, second: int) -> None:
        await manager.session().run_in_transaction(lambda tx: work(tx, first, second))

    outcomes = await asyncio.wait_for(asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True), 20)
    assert sum(isinstance(outcome, StatementError) for outcome in outcomes) == 1
    assert len(runs) == 2
    assert await manager.session().fetch_all(f"SELECT amount FROM {name} ORDER BY id", into=int) == [1, 1, 1]


@asynccontextmanager
async def refusing_writes(server: Any) -> AsyncIterator[Callable[[], None]]:
    """The server is read-only until half a second after what it gives was called; its sessions stay."""
    enough, run = asyncio.Event(), server.execute_as_superuser

    async def switch(value: str) -> None:
        if not isinstance(server, PostgreSQLServer):
            await run(f"SET GLOBAL read_only = {value}")
            return
        await run(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        await run("SELECT pg_reload_conf()")
        async with asyncio.timeout(20):
            while await run("SHOW default_transaction_read_only") != [(value,)]:
                await asyncio.sleep(0.02)
        await run("SELECT 1")  # who takes this connection has told all sessions before

    async def end() -> None:
        await enough.wait()
        await asyncio.sleep(0.5)
        await switch("off")

    ending = asyncio.create_task(end())
    try:
        await switch("on")
        yield enough.set
    finally:
        enough.set()
        await ending


async def test_a_write_that_met_no_primary_is_run_again(
    server: Server, open_manager: OpenManager, table: MakeTable
) -> None:
    """Alone and in a transaction; not where the caller has asked for no writes, and not twice as often as allowed."""
    name = await table()
    patient = RetryConfig(attempts_max=200, transaction_attempts_max=200, pause_max=0.1)
    manager = await open_manager(retry=patient.model_dump(), interceptors=[Retry(patient)])
    session = manager.session()
    update = f"UPDATE {name} SET amount = amount + 1"
    refused = 0

    async with refusing_writes(server) as end:

        async def work(tx: Transaction) -> None:
            nonlocal refused
            refused += 1
            if refused > 1:
                end()
            await tx.execute(update)

        await asyncio.wait_for(session.run_in_transaction(work), 20)
    assert refused > 1
    impatient = (await open_manager(retry={"pause_initial": 0.001})).session()
    async with refusing_writes(server) as end:
        with pytest.raises(ReadOnlyError):
            await impatient.execute(update)
        end()
        await asyncio.wait_for(session.execute(update), 20)
    assert await session.fetch_value(f"SELECT amount FROM {name}") == 2
    runs = Runs(ReadOnlyError("refused"))
    with pytest.raises(ReadOnlyError):
        await session.run_in_transaction(runs, read_only=True)
    assert runs.count == 1


@ON_POSTGRESQL
async def test_a_lost_reply_to_a_commit_that_only_read(
    open_manager: OpenManager, proxy: FaultProxy, sniper: Sniper
) -> None:
    manager = await open_manager(through=proxy)
    runs = Runs()

    async def heal(connection: Any) -> None:
        while not connection.is_closed():
            await asyncio.sleep(0.005)
        await proxy.heal()

    async def cut(connection: Any) -> None:
        proxy.cut_after(0, Direction.TO_CLIENT)
        tasks.append(asyncio.create_task(heal(connection)))

    tasks: list[asyncio.Task[None]] = []
    sniper.arm(proxy, cut)
    assert await asyncio.wait_for(manager.session().run_in_transaction(runs, read_only=True), 30) == 2
    await asyncio.wait_for(asyncio.gather(*tasks), 5)


@ON_MYSQL
async def test_a_server_that_cannot_tell_refuses_before(manager: DatabaseManager) -> None:
    with pytest.raises(UnsupportedCapabilityError, match="MARKER"):
        manager.session().transaction(resolve_commit=True)


async def test_markers(manager: DatabaseManager, table: MakeTable) -> None:
    session, markers = manager.session(), CommitMarkers(manager.session())
    name = await table()
    await session.execute("DROP TABLE IF EXISTS sillar_commit_marker")  # of a test that failed
    with pytest.raises(StatementError, match="sillar_commit_marker"):  # nobody has created the table
        async with session.transaction(resolve_commit=CommitResolution.MARKER) as tx:
            await tx.execute(f"UPDATE {name} SET amount = 5")
    assert await session.fetch_value(f"SELECT amount FROM {name}") == 0
    assert manager.pools["default"].stats().leased == 0
    await markers.create_table()
    await markers.create_table()
    for _ in range(3):
        async with session.transaction(resolve_commit=CommitResolution.MARKER) as tx:
            await tx.execute(f"UPDATE {name} SET amount = 5")
    assert await markers.delete() == 0
    await session.execute("UPDATE sillar_commit_marker SET created_at = created_at - 90000")
    with pytest.raises(UsageError, match="3600 at least"):
        await markers.delete(older_than_seconds=60)
    assert await markers.delete() == 3
    await session.execute("DROP TABLE sillar_commit_marker")


@ON_POSTGRESQL
async def test_a_manager_that_closes_does_not_wait_for_an_answer(
    open_manager: OpenManager, proxy: FaultProxy, sniper: Sniper, table: MakeTable
) -> None:
    name = await table()
    manager = await open_manager(through=proxy, retry={"resolution_timeout": 60}, pool={"drain_timeout": 0.1})

    async def cut(connection: Any) -> None:
        proxy.black_hole(Direction.TO_CLIENT)
        await proxy.refuse()
        asyncio.get_running_loop().call_later(0.05, reset)

    def reset() -> None:
        proxy.reset()
        lost.set()

    lost = asyncio.Event()
    sniper.arm(proxy, cut)

    async def write() -> None:
        async with manager.session().transaction(resolve_commit=True) as tx:
            await tx.execute(f"UPDATE {name} SET amount = 1")

    writing = asyncio.create_task(write())
    await asyncio.wait_for(lost.wait(), 10)
    await asyncio.sleep(0.25)
    await asyncio.wait_for(manager.shutdown(), 10)
    with pytest.raises(CommitUnknownError):
        await asyncio.wait_for(writing, 5)


async def test_both_ways_are_there_on_sqlite(tmp_path: Any) -> None:
    """A COMMIT in a file is never in doubt, so the same code works there."""
    async with DatabaseManager.from_url(f"sqlite:///{tmp_path}/one.db") as manager:
        session = manager.session()
        await CommitMarkers(session).create_table()
        await session.execute("CREATE TABLE counted (n INT)")
        for resolution in CommitResolution:
            assert await session.run_in_transaction(Runs(), resolve_commit=resolution) == 1
        assert await session.fetch_value("SELECT count(*) FROM sillar_commit_marker") == 1


def test_pauses_are_jittered_and_bounded() -> None:
    class Highest:
        def uniform(self, a: float, b: float) -> float:
            return b

    config = RetryConfig(pause_initial=0.1, pause_max=1.0)
    ceilings = [Backoff(config, Highest()).pause_seconds(attempt) for attempt in (1, 2, 3, 4, 5, 5000)]
    assert ceilings == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    pauses = {Backoff(config).pause_seconds(3) for _ in range(50)}
    assert len(pauses) == 50
    assert 0 <= min(pauses) < 0.15
    assert max(pauses) <= 0.4


def test_a_pause_below_the_first_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is below pause_initial"):
        load_config(
            overrides={"databases": {"default": {"url": "sqlite://", "retry": {"pause_initial": 3, "pause_max": 1}}}},
            environment={},
        )
