"""Batches wait for replicas and for load, take the time they are given, and never wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.engine import Connection
from tests.children import left
from tests.migrations.data.conftest import Ground

from sillar import DatabaseManager
from sillar.errors import OverloadedError, UsageError
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.migrations.data import BatchReport, Throttle, batched_update, undo_batches
from sillar.migrations.data.dialects import batch_dialect
from sillar.migrations.progress import Progress
from sillar.testing.conformance import eventually
from sillar.testing.servers import MariaDBServer, PostgreSQLServer

UP = {"key": "id", "values": {"n": "n + 1"}, "name": "up"}


@pytest.fixture(scope="module")
async def primary() -> AsyncIterator[tuple[PostgreSQLServer, PostgreSQLServer]]:
    """A primary and its replica. Its user may see the state of both."""
    async with PostgreSQLServer(own=True) as server:
        await server.execute_as_superuser(f"grant pg_monitor to {server.user}")
        yield server, await server.add_replica()


@pytest.fixture
async def followed(primary: tuple[PostgreSQLServer, PostgreSQLServer]) -> AsyncIterator[Ground]:
    url = primary[0].url
    async with DatabaseManager.from_url(url) as manager:
        ground = Ground("postgresql", url, manager, SQLAlchemyIntegration(manager))
        await ground.execute(
            "DROP TABLE IF EXISTS stone, _migration_batches",
            "CREATE TABLE stone (id integer PRIMARY KEY, kind text, n integer NOT NULL DEFAULT 0)",
        )
        await ground.fill(rows=100)
        yield ground


async def caught_up(primary: tuple[PostgreSQLServer, PostgreSQLServer]) -> None:
    [(position,)] = await primary[0].execute_as_superuser("select pg_current_wal_flush_lsn()::text")
    asked = f"select pg_last_wal_replay_lsn() >= '{position}'"

    async def is_there() -> bool:
        return bool(await primary[1].execute_as_superuser(asked) == [(True,)])

    await eventually(is_there, 60)


async def load_of(ground: Ground) -> float:
    return await ground.run(lambda connection: batch_dialect(connection.dialect.name).load(connection))


async def beside(ground: Ground, statement: str, **options: Any) -> tuple[BatchReport, list[Any]]:
    """A run beside a long statement, which ends when the run has waited for a while; and what the run has logged.

    What is at work without either is the load that is allowed.
    """
    idle = min([await load_of(ground) for _ in range(5)])

    async def is_busy() -> bool:
        return await load_of(ground) > idle

    async def waits() -> bool:
        return any(entry["event"] == "batches wait" for entry in logs)

    with structlog.testing.capture_logs() as logs:
        async with ground.orm.engine.connect() as other:
            busy = asyncio.create_task(other.exec_driver_sql(statement))
            async with left(busy):
                await eventually(is_busy, 60)
                throttle = Throttle(load_max=idle, **options)
                run = asyncio.create_task(ground.run(batched_update, "stone", **UP, throttle=throttle))
                async with left(run):
                    await eventually(waits, 60)
                    await asyncio.sleep(0.5)
                    assert not run.done()
                    busy.cancel()
                    await asyncio.wait([busy], timeout=60)
                    return await asyncio.wait_for(run, 120), logs


async def test_a_replica_that_is_behind_is_waited_for(
    followed: Ground, primary: tuple[PostgreSQLServer, PostgreSQLServer]
) -> None:
    replica = primary[1]
    throttle = Throttle(replica_lag_max_seconds=0.3, check_seconds=0.05, pause_seconds=0.1, wait_max_seconds=60)
    done: list[int] = []

    def tell(progress: Progress) -> None:
        done.append(progress.done)

    async def has_begun() -> bool:
        return bool(done)

    await caught_up(primary)
    await replica.pause_replay()
    try:
        run = asyncio.create_task(
            followed.run(batched_update, "stone", **UP, batch_rows=5, throttle=throttle, progress=tell)
        )
        async with left(run):
            await eventually(has_begun, 60)
            await asyncio.sleep(2)
            assert not run.done()
            seen = len(done)
            assert seen <= 8  # 20 batches would have fitted into the time
            await asyncio.sleep(0.5)
            assert len(done) == seen
            await replica.resume_replay()
            report = await asyncio.wait_for(run, 120)
    finally:
        await replica.resume_replay()
    assert report.rows_done == 100
    assert report.waited_seconds > 1
    assert await followed.counters() == [(1, 100)]


async def test_it_does_not_wait_for_ever(followed: Ground, primary: tuple[PostgreSQLServer, PostgreSQLServer]) -> None:
    replica = primary[1]
    throttle = Throttle(replica_lag_max_seconds=0.1, check_seconds=0.05, pause_seconds=0.1, wait_max_seconds=0.4)
    await replica.pause_replay()
    try:
        with pytest.raises(
            OverloadedError, match=r"batches of 'up' waited \d+\.\d s: a replica is \d+\.\d s behind, 0\.1 s are"
        ):
            await followed.run(batched_update, "stone", **UP, batch_rows=5, throttle=throttle)
    finally:
        await replica.resume_replay()
    counters = await followed.counters()
    assert counters[0][0] == 0
    report = await followed.run(batched_update, "stone", **UP, batch_rows=5)
    assert report.resumed
    assert await followed.counters() == [(1, 100)]


async def test_the_primary_may_not_say_or_has_nobody(
    postgresql_ground: Ground, followed: Ground, primary: object
) -> None:
    server = primary[0]  # type: ignore[index]
    await server.execute_as_superuser(f"revoke pg_monitor from {server.user}")
    try:
        with pytest.raises(UsageError, match="1 replicas are hidden from this role: GRANT pg_monitor"):
            await followed.run(batched_update, "stone", **UP, throttle=Throttle(replica_lag_max_seconds=1))
        with pytest.raises(
            UsageError, match=r"\d+ sessions are hidden from this role: GRANT pg_monitor TO it, or give load="
        ):
            await followed.run(batched_update, "stone", **UP, throttle=Throttle(load_max=1))
    finally:
        await server.execute_as_superuser(f"grant pg_monitor to {server.user}")
    await postgresql_ground.fill(rows=10)  # a server without replicas
    report = await postgresql_ground.run(
        batched_update, "stone", **UP, batch_rows=3, throttle=Throttle(replica_lag_max_seconds=0)
    )
    assert report.waited_seconds == 0


async def test_load_on_postgresql(followed: Ground) -> None:
    report, logs = await beside(followed, "SELECT pg_sleep(60)", check_seconds=0.05)
    assert report.waited_seconds > 0.2
    assert logs[0]["event"] == "batches wait"
    assert logs[0]["reason"] == "the load is 1, 0 are allowed"


@pytest.mark.parametrize("engine", ["mariadb", "mysql"])
async def test_load_on_mysql(engine: str, request: pytest.FixtureRequest, fleet: object, tmp_path: Path) -> None:
    from tests.migrations.data.conftest import grounds

    async for ground in grounds(engine, fleet, tmp_path):  # type: ignore[arg-type]
        await ground.fill(rows=10)
        report, _ = await beside(ground, "SELECT sleep(60)", check_seconds=0.05)
        assert report.waited_seconds > 0.2
        with pytest.raises(UsageError, match="a primary of mysql does not know how far its replicas are behind; give"):
            await ground.run(
                batched_update, "stone", **{**UP, "name": "lag"}, throttle=Throttle(replica_lag_max_seconds=1)
            )


async def test_replicas_of_mysql_are_asked() -> None:
    async with MariaDBServer(own=True) as server:
        replica = await server.add_replica()
        urls = [make_url(each.superuser_url).set(drivername="mysql+pymysql") for each in (server, replica)]
        dialect = batch_dialect("mysql")

        def follow() -> None:
            primary, other = (create_engine(url) for url in urls)
            with primary.connect() as connection:
                connection.execute(text("CREATE TABLE stone (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"))
                connection.execute(text("INSERT INTO stone VALUES (1, 0), (2, 0)"))
                connection.commit()
                assert dialect.own_lag(connection) == 0
                connection.commit()
                for name, replicas in (("url", [urls[1]]), ("engine", [other])):
                    batched_update(
                        connection, "stone", key="id", values={"n": "n + 1"}, name=name,
                        throttle=Throttle(replica_lag_max_seconds=5, replica_lag=replicas),
                    )  # fmt: skip
                with other.connect() as asked:
                    asked.execute(text("STOP REPLICA SQL_THREAD"))
                    assert dialect.own_lag(asked) == float("inf")
                    with pytest.raises(OverloadedError, match="a replica is inf s behind, 5 s are allowed"):
                        batched_update(
                            connection, "stone", key="id", values={"n": "n + 1"}, name="stopped",
                            throttle=Throttle(replica_lag_max_seconds=5, replica_lag=[asked], wait_max_seconds=0.1),
                        )  # fmt: skip
                assert connection.execute(text("SELECT n FROM stone")).scalars().all() == [2, 2]
            primary.dispose()
            other.dispose()

        await asyncio.to_thread(follow)


async def test_a_replica_of_postgresql_knows_its_own_lag(
    followed: Ground, primary: tuple[PostgreSQLServer, PostgreSQLServer]
) -> None:
    replica = primary[1]
    dialect = batch_dialect("postgresql")

    def lag(connection: Connection) -> float:
        return dialect.own_lag(connection)

    async with DatabaseManager.from_url(replica.url) as manager:
        engine = SQLAlchemyIntegration(manager).read_only_engine

        async def asked() -> float:
            async with engine.connect() as connection:
                return await connection.run_sync(lag)

        async def is_behind() -> bool:
            return await asked() > 0.3

        async def has_all() -> bool:
            return await asked() == 0

        async def is_alone() -> bool:
            return await asked() > 0

        async def receives() -> bool:
            return bool(await replica.execute_as_superuser("SELECT 1 FROM pg_stat_wal_receiver"))

        await replica.pause_replay()
        try:
            await followed.fill(first=1000, rows=10)
            await eventually(is_behind, 60)
        finally:
            await replica.resume_replay()
        await eventually(has_all, 60)
        [(conninfo,)] = await replica.execute_as_superuser("SHOW primary_conninfo")
        try:  # a replica that has lost its primary has replayed all that it received
            await replica.execute_as_superuser("ALTER SYSTEM SET primary_conninfo = ''")
            await replica.execute_as_superuser("SELECT pg_reload_conf()")
            await eventually(is_alone, 60)
        finally:
            quoted = conninfo.replace("'", "''")
            await replica.execute_as_superuser(f"ALTER SYSTEM SET primary_conninfo = '{quoted}'")
            await replica.execute_as_superuser("SELECT pg_reload_conf()")
            await eventually(receives, 60)
    assert await followed.run(lag) == 0


async def test_a_replica_that_catches_up_is_behind_too(postgresql_ground: Ground) -> None:
    """The state is over too soon to be met: a view stands in for the server's."""
    states = (("9 s", "catchup"), ("99 s", "backup"), ("1 s", "streaming"))
    rows = [f"SELECT interval '{lag}' AS replay_lag, '0/{len(state)}'::pg_lsn AS replay_lsn, '{state}' AS state"
            for lag, state in states]  # fmt: skip
    await postgresql_ground.execute(
        "CREATE SCHEMA beside", f"CREATE VIEW beside.pg_stat_replication AS {' UNION ALL '.join(rows)}"
    )

    def reported(connection: Connection) -> tuple[float, int | None]:
        with connection.begin():
            connection.execute(text("SET LOCAL search_path = beside, pg_catalog"))
            return batch_dialect("postgresql").reported_lag(connection)[:2]

    try:
        assert await postgresql_ground.run(reported) == (9.0, len("catchup"))
    finally:
        await postgresql_ground.execute("DROP SCHEMA beside CASCADE")


async def test_the_size_follows_the_time(sqlite_ground: Ground) -> None:
    await sqlite_ground.fill(rows=700)
    sizes: list[int] = []

    def tell(progress: Progress) -> None:
        sizes.append(progress.done - sum(sizes))

    throttle = Throttle(target_batch_seconds=30, batch_rows_max=200)
    report = await sqlite_ground.run(batched_update, "stone", **UP, batch_rows=20, throttle=throttle, progress=tell)
    assert sizes == [20, 40, 80, 160, 200, 200]
    assert report.batches == 6
    sizes.clear()
    await sqlite_ground.run(
        batched_update, "stone", **{**UP, "name": "slow"}, batch_rows=200, progress=tell,
        throttle=Throttle(target_batch_seconds=1e-9, batch_rows_min=45),
    )  # fmt: skip
    assert sizes[:4] == [200, 100, 50, 45]


async def test_functions_say_what_lag_and_load_are(sqlite_ground: Ground) -> None:
    await sqlite_ground.fill(rows=30)
    lags, loads = iter([5.0, 5.0, 0.0]), iter([9.0, 1.0])
    throttle = Throttle(
        replica_lag_max_seconds=1, replica_lag=lambda: next(lags, 0.0), load_max=3, load=lambda: next(loads, 0.0),
        check_seconds=0.02,
    )  # fmt: skip
    report = await sqlite_ground.run(batched_update, "stone", **UP, throttle=throttle, undo={"n": "n - 1"})
    assert report.waited_seconds >= 0.06
    with pytest.raises(OverloadedError, match="the load is 4, 3 are allowed"):
        await sqlite_ground.run(undo_batches, "up", throttle=Throttle(load_max=3, load=lambda: 4, wait_max_seconds=0))
    assert await sqlite_ground.counters() == [(1, 30)]


async def test_sqlite_has_neither(sqlite_ground: Ground) -> None:
    for throttle, problem in (
        (Throttle(replica_lag_max_seconds=1), "a primary of sqlite does not know"),
        (Throttle(load_max=1), "sqlite does not know its load; give load="),
        (Throttle(replica_lag_max_seconds=1, replica_lag=[]), "replica_lag is an empty list"),
        (Throttle(replica_lag_max_seconds=1, replica_lag=[create_engine("sqlite://")]), "sqlite has no replicas"),
    ):
        with pytest.raises(UsageError, match=problem):
            await sqlite_ground.run(batched_update, "stone", **UP, throttle=throttle)
    with pytest.raises(
        UsageError, match="batches are made on postgresql, mysql, mariadb, sqlite; this connection is of x"
    ):
        batch_dialect("x")


def test_a_throttle_that_makes_no_sense() -> None:
    with pytest.raises(UsageError) as caught:
        Throttle(
            pause_seconds=-1, target_batch_seconds=0, batch_rows_min=5, batch_rows_max=4, replica_lag_max_seconds=-2,
            load_max=-3, check_seconds=0, wait_max_seconds=-4,
        )  # fmt: skip
    assert str(caught.value) == (
        "this throttle makes no sense: pause_seconds is -1; replica_lag_max_seconds is -2; load_max is -3;"
        " wait_max_seconds is -4; target_batch_seconds is 0; check_seconds is 0;"
        " batch_rows_min is 5 and batch_rows_max 4"
    )
