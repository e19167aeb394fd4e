"""COMMITs whose reply is lost: what is found out afterwards is what has happened, in every run."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.retry.conftest import MakeTable, OpenManager, Sniper, swallowed

from sillar import DatabaseManager, Transaction
from sillar.errors import CommitUnknownError, ConnectionLostError
from sillar.execution.commit_outcome import CommitMarkers, CommitResolution, MarkerWitness
from sillar.testing.faults import Direction, FaultProxy
from sillar.testing.servers import Server

SERVER, MARKER = CommitResolution.SERVER, CommitResolution.MARKER
WAYS = [("postgresql", SERVER), ("postgresql", MARKER), ("mariadb", MARKER), ("mysql", MARKER)]
EVERY_WAY = pytest.mark.parametrize(
    ("server", "resolution"), WAYS, indirect=["server"], ids=[f"{name}-{way}" for name, way in WAYS]
)
MARKERS = pytest.mark.parametrize("server", ["postgresql", "mariadb", "mysql"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("server", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
async def markers(manager: DatabaseManager) -> AsyncIterator[CommitMarkers]:
    """The table of the markers, as a user creates it."""
    markers = CommitMarkers(manager.session())
    await markers.create_table()
    yield markers
    await manager.session().execute("DROP TABLE sillar_commit_marker")


def faults(proxy: FaultProxy, chance: random.Random) -> list[tuple[str, Any]]:
    """What can happen to a COMMIT; each is over soon, since the question afterwards takes the same way."""

    async def black_hole(direction: Direction) -> None:
        await asyncio.gather(*healing)  # what ends the fault before must not end this one
        proxy.black_hole(direction)
        healing[:] = [asyncio.create_task(heal(swallowed))]

    async def cut_after(count: int, direction: Direction) -> None:
        await asyncio.gather(*healing)
        proxy.cut_after(count, direction)
        healing[:] = [asyncio.create_task(heal(lambda _: asyncio.sleep(0.03)))]

    async def heal(once: Callable[[FaultProxy], Awaitable[None]]) -> None:
        await once(proxy)
        await proxy.heal()

    healing: list[asyncio.Task[None]] = []

    async def reply_lost(connection: Any) -> None:
        await black_hole(Direction.TO_CLIENT)

    async def never_arrived(connection: Any) -> None:
        await black_hole(Direction.TO_SERVER)

    async def reply_cut(connection: Any) -> None:
        await cut_after(chance.randrange(24), Direction.TO_CLIENT)

    async def request_cut(connection: Any) -> None:
        await cut_after(chance.randrange(16), Direction.TO_SERVER)

    async def reset_in_flight(connection: Any) -> None:
        asyncio.get_running_loop().call_later(chance.uniform(0, 0.004), proxy.reset)

    async def nothing(connection: Any) -> None:
        pass

    return [(each.__name__, each) for each in
            (reply_lost, never_arrived, reply_cut, request_cut, reset_in_flight, nothing)]  # fmt: skip


@EVERY_WAY
async def test_no_transaction_is_lost_or_applied_twice(
    server: Server, resolution: CommitResolution, open_manager: OpenManager, manager: DatabaseManager, sniper: Sniper
) -> None:
    """120 transactions each way, 100 of them with a fault under COMMIT."""
    await manager.session().execute("DROP TABLE IF EXISTS applied")
    await manager.session().execute("CREATE TABLE applied (run INT NOT NULL, attempt INT NOT NULL)")
    numbers, attempts = itertools.count(1), dict[int, int]()

    async def worker(seed: int) -> None:
        async with FaultProxy(server.host, server.port or 0) as proxy:
            behind = await open_manager(through=proxy, pool={"max_connections": 2}, retry={"pause_initial": 0.01})
            for _, action in faults(proxy, random.Random(seed)) * 5:
                run = next(numbers)
                sniper.arm(proxy, action)

                async def work(tx: Transaction, run: int = run) -> int:
                    attempts[run] = attempts.get(run, 0) + 1
                    await tx.execute("INSERT INTO applied VALUES (:run, :attempt)",
                                     {"run": run, "attempt": attempts[run]})  # fmt: skip
                    return attempts[run]

                told = await behind.session().run_in_transaction(work, resolve_commit=resolution)
                rows = await manager.session().fetch_all(
                    "SELECT attempt FROM applied WHERE run = :run", {"run": run}, into=int
                )
                assert rows == [told], f"run {run}"

    await asyncio.wait_for(asyncio.gather(*(worker(seed) for seed in range(4))), 100)
    assert len(attempts) == 120
    assert sum(attempts.values()) > 140, "no COMMIT failed to arrive"
    assert await manager.session().fetch_value("SELECT count(*) FROM applied") == 120
    await manager.session().execute("DROP TABLE applied")


@EVERY_WAY
async def test_a_plain_transaction_returns_or_says_that_it_may_be_run_again(
    resolution: CommitResolution,
    open_manager: OpenManager,
    proxy: FaultProxy,
    table: MakeTable,
    sniper: Sniper,
) -> None:
    name = await table()
    behind = await open_manager(through=proxy)
    reply_lost, never_arrived = (action for _, action in faults(proxy, random.Random(0))[:2])
    sniper.arm(proxy, reply_lost)
    async with behind.session().transaction(resolve_commit=resolution) as tx:
        await tx.execute(f"UPDATE {name} SET amount = 1")
    assert await behind.session().fetch_value(f"SELECT amount FROM {name}") == 1
    sniper.arm(proxy, never_arrived)
    with pytest.raises(ConnectionLostError, match="was not applied") as caught:
        async with behind.session().transaction(resolve_commit=resolution) as tx:
            await tx.execute(f"UPDATE {name} SET amount = 2")
    assert caught.value.safe_to_retry
    assert await behind.session().fetch_value(f"SELECT amount FROM {name}") == 1
    transactions = behind.monitor.registry.figures("default").transactions
    assert (transactions["commit"], transactions["rollback"], transactions["unknown"]) == (1, 1, 0)


async def test_without_being_asked_for_it_stays_unknown(
    open_manager: OpenManager, proxy: FaultProxy, table: MakeTable, sniper: Sniper
) -> None:
    name = await table()
    behind = await open_manager(through=proxy)
    runs = 0

    async def work(tx: Transaction) -> None:
        nonlocal runs
        runs += 1
        await tx.execute(f"UPDATE {name} SET amount = amount + 1")

    for _, action in faults(proxy, random.Random(0))[:2]:
        sniper.arm(proxy, action)
        with pytest.raises(CommitUnknownError):
            await behind.session().run_in_transaction(work)
    assert runs == 2, "an ambiguous COMMIT was repeated blindly"


async def test_whoever_asks_again_gets_the_same_answer(manager: DatabaseManager) -> None:
    """Also where the reply to the first question was lost: a fence is not taken for the row of the transaction."""
    executor = manager.executor()
    async with await manager.get_connection() as lease, await manager.get_connection() as other:
        for ends, outcome in ((lease.connection.commit, "committed"), (lease.connection.rollback, "rolled back")):
            await lease.connection.begin()
            witness = MarkerWitness(executor, lease.connection)
            await witness.insert(lease.connection, is_fence=False)
            await ends()
            assert [await witness.outcome(other.connection) for _ in range(3)] == [outcome] * 3
