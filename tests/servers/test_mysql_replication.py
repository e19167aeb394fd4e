"""MySQL and MariaDB servers that follow one another: synchronous commits, paused replay, demotion, a new primary."""

from __future__ import annotations

import asyncio
from typing import Any

import aiomysql
import pymysql.err
import pytest

from sillar.testing.servers import MariaDBServer, MySQLServer, ServerStartError

pytestmark = pytest.mark.asyncio

COUNT = "select count(*) from stone"
SERVERS = pytest.mark.parametrize("kind", [MariaDBServer, MySQLServer], ids=["mariadb", "mysql"])


async def session(server: MySQLServer) -> aiomysql.Connection:
    login = {"user": server.user, "password": server.password, "db": server.database}
    return await aiomysql.connect(host=server.host, port=server.port, autocommit=True, **login)


async def ask(connection: aiomysql.Connection, statement: str) -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute(statement)
        row = await cursor.fetchone()
        return row and row[0]


async def becomes(server: MySQLServer, count: int) -> None:
    async def counted() -> Any:
        try:
            return await server.execute_as_superuser(COUNT, database=server.database)
        except pymysql.err.ProgrammingError as error:  # the table is not there yet, either
            return error

    async with asyncio.timeout(20):
        while await counted() != [(count,)]:
            await asyncio.sleep(0.02)


@SERVERS
async def test_synchronous_replicas_paused_replay_and_demotion(kind: type[MySQLServer]) -> None:
    async with kind(own=True) as primary:
        first, second = await asyncio.gather(primary.add_replica(synchronous=True), primary.add_replica())
        writer = await session(primary)
        await ask(writer, "create table stone (id int primary key)")
        await becomes(first, 0)
        await first.pause_replay()
        await ask(writer, "insert into stone values (1)")
        await becomes(second, 1)
        assert await first.execute_as_superuser(COUNT, database=first.database) == [(0,)]
        assert await first.received_position() == await second.received_position() > 0
        await first.resume_replay()
        await becomes(first, 1)

        # A commit hangs while nobody else has it.
        await first.kill()
        inserting = asyncio.ensure_future(ask(writer, "insert into stone values (2)"))
        done, _ = await asyncio.wait([inserting], timeout=0.3)
        assert not done
        await first.start()
        await asyncio.wait_for(inserting, 20)
        await primary.set_synchronous()
        await first.kill()
        await asyncio.wait_for(ask(writer, "insert into stone values (3)"), 20)

        await primary.set_read_only()
        with pytest.raises(pymysql.err.OperationalError, match="read-only") as refused:
            await ask(writer, "insert into stone values (4)")
        assert refused.value.args[0] == 1290
        assert await ask(writer, COUNT) == 3
        await primary.set_writable()
        await ask(writer, "insert into stone values (4)")
        writer.close()


@SERVERS
async def test_all_follow_the_promoted_replica(kind: type[MySQLServer]) -> None:
    async with kind(own=True) as primary:
        first, second = await asyncio.gather(*(primary.add_replica(synchronous=True) for _ in range(2)))
        writer, reader = await session(primary), await session(second)
        await ask(writer, "create table stone (id int primary key)")
        await becomes(first, 0)
        await first.pause_replay()
        await ask(writer, "insert into stone values (1)")
        await becomes(second, 1)
        writer.close()
        await primary.kill()
        await first.promote()  # applies first what it has received
        await becomes(first, 1)
        await second.follow(first)
        await primary.follow(first)
        await first.set_synchronous(second, primary)
        writer = await session(first)
        await ask(writer, "insert into stone values (2)")
        await asyncio.gather(becomes(primary, 2), becomes(second, 2))
        assert await ask(reader, COUNT) == 2  # it kept its sessions
        reader.close()

        # Changing places keeps the sessions of both.
        await first.set_synchronous()
        await first.set_read_only()
        await becomes(primary, 2)
        await primary.promote()
        await primary.execute_as_superuser("insert into stone values (3)", database=primary.database)
        await first.follow(primary)
        assert await ask(writer, COUNT) == 3
        with pytest.raises(pymysql.err.OperationalError, match="read-only"):
            await ask(writer, "insert into stone values (4)")
        writer.close()

        # Whoever has more than its new primary starts over.
        await second.promote()
        await second.execute_as_superuser("insert into stone values (5)", database=second.database)
        await second.follow(primary)
        await becomes(second, 3)


async def test_a_server_without_primary_is_no_replica() -> None:
    async with MariaDBServer(own=True) as server:
        with pytest.raises(ServerStartError, match="is no replica"):
            await server.received_position()


@SERVERS
async def test_a_replica_that_stops_receiving_gets_nothing_more(kind: type[MySQLServer]) -> None:
    async with kind(own=True) as primary:
        writer = await session(primary)
        await ask(writer, "create table stone (id int primary key)")
        first, second = await asyncio.gather(*(primary.add_replica() for _ in range(2)))
        await first.stop_receiving()
        await ask(writer, "insert into stone values (1)")
        await becomes(second, 1)
        assert await first.received_position() < await second.received_position()
        await first.follow(primary)
        await becomes(first, 1)
        writer.close()
