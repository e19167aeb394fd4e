"""PostgreSQL servers that follow one another: synchronous commits, paused replay, demotion, a new primary."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from sillar.testing.servers import PostgreSQLServer, ServerStartError

pytestmark = pytest.mark.asyncio

COUNT = "select count(*)::int from stone"


async def ask(server: PostgreSQLServer, statement: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def becomes(server: PostgreSQLServer, statement: str, value: object) -> None:
    async def answer() -> object:
        try:
            return await ask(server, statement)
        except asyncpg.UndefinedTableError as error:  # not there yet, either
            return error

    async with asyncio.timeout(20):
        while await answer() != value:
            await asyncio.sleep(0.02)


async def test_synchronous_replicas_paused_replay_and_demotion() -> None:
    async with PostgreSQLServer(own=True) as primary:
        first, second = await asyncio.gather(primary.add_replica(synchronous=True), primary.add_replica())
        states = "select string_agg(application_name || ' ' || sync_state, ' ' order by sync_state) "
        states += "from pg_stat_replication"
        # Nothing waits for the second one to stream.
        await primary._await_answer(states, f"{second.replica_name} async {first.replica_name} quorum", "both stream")
        session = await asyncpg.connect(primary.url)
        await session.execute("create table stone as select 1 as id")

        await first.pause_replay()
        await session.execute("insert into stone values (2)")
        await becomes(second, COUNT, 2)
        assert await ask(first, COUNT) == 1
        assert await first.received_position() >= await second.received_position() > 0
        await first.resume_replay()
        await becomes(first, COUNT, 2)

        # A commit hangs while nobody else has it.
        await first.kill()
        with pytest.raises(TimeoutError):
            await session.execute("insert into stone values (3)", timeout=0.3)
        await first.start()
        await session.execute("insert into stone values (4)", timeout=20)
        await primary.set_synchronous()
        assert (await primary.execute_as_superuser("show synchronous_standby_names")) == [("",)]

        await primary.set_read_only()
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await session.execute("insert into stone values (5)")
        assert await session.fetchval("select true")
        await primary.set_writable()
        await session.execute("insert into stone values (5)")
        await session.close()
        with pytest.raises(ServerStartError, match=r"not within 0\.1 s: pigs fly \(\[\(1,\)\] instead of 2\)"):
            await primary._await_answer("select 1", 2, "pigs fly", timeout_seconds=0.1)


async def test_all_follow_the_promoted_replica() -> None:
    async with PostgreSQLServer(own=True) as primary:
        first, second = await asyncio.gather(*(primary.add_replica(synchronous=True) for _ in range(2)))
        await ask(primary, "create table stone as select 1 as id")
        await becomes(second, COUNT, 1)
        session = await asyncpg.connect(second.url)
        await primary.kill()
        await first.promote()
        assert await ask(first, "insert into stone values (2) returning id") == 2  # with no synchronous ones of its own
        await second.follow(first)
        await becomes(second, COUNT, 2)
        assert await session.fetchval(COUNT) == 2  # it kept its sessions
        await session.close()
        await primary.follow(first)
        await becomes(primary, COUNT, 2)
        assert await ask(primary, "select pg_is_in_recovery()") is True
        await first.set_synchronous(primary, second)

        # Whoever has more than its new primary starts over.
        await first.set_synchronous()
        await second.pause_replay()
        await primary.kill()
        await ask(first, "insert into stone values (3) returning id")
        await primary.start()
        await becomes(primary, COUNT, 3)
        await second.promote()
        await ask(second, "delete from stone where id > 1")
        await primary.follow(second)
        await becomes(primary, COUNT, 1)
        await first.follow(second)  # running, and a primary until now
        await becomes(first, COUNT, 1)


async def test_a_replica_with_more_than_the_promoted_one_starts_over() -> None:
    async with PostgreSQLServer(own=True) as primary:
        await ask(primary, "create table stone as select 1 as id")
        first, second = await asyncio.gather(*(primary.add_replica() for _ in range(2)))
        await first.stop_receiving()
        await ask(primary, "insert into stone values (2) returning id")
        await becomes(second, COUNT, 2)
        assert await ask(first, COUNT) == 1
        assert await first.received_position() < await second.received_position()

        await first.promote()
        await second.follow(first)
        await first.set_synchronous(second)
        assert await ask(first, "insert into stone values (3) returning id") == 3  # which it acknowledges
        await becomes(second, "select string_agg(id::text, ' ' order by id) from stone", "1 3")
