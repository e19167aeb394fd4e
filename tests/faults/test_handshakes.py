"""Partitions, and handshakes counted through the proxy, with real servers behind it."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

import aiomysql
import asyncpg
import pytest

from sillar.testing.faults import Direction, FaultProxy, Handshake
from sillar.testing.servers import PostgreSQLServer, RedisServer, Server

pytestmark = pytest.mark.asyncio


async def connect(server: Server, proxy: FaultProxy, **options: Any) -> Any:
    login = urlsplit(server.url)
    name = login.path.lstrip("/")
    place = {"host": proxy.host, "port": proxy.port, "user": login.username, "password": login.password}
    if isinstance(server, PostgreSQLServer):
        return await asyncpg.connect(**{**place, "database": name, **options})
    return await aiomysql.connect(**{**place, "db": name, **options})


async def close(connection: Any) -> None:
    if isinstance(connection, asyncpg.Connection):
        await connection.close()
    else:
        await connection.ensure_closed()


@pytest.mark.parametrize("server", ["postgresql", "mariadb", "mysql"], indirect=True)
async def test_handshakes_in_flight(server: Server) -> None:
    async with FaultProxy(server.host, server.port) as proxy:
        connections = []
        for _ in range(3):
            connections.append(await connect(server, proxy))
            assert proxy.handshakes_in_flight == 0
        assert proxy.handshakes_in_flight_max == 1, "one after the other, though all stay open"
        assert proxy.accepted_at == sorted(proxy.accepted_at)
        assert len(proxy.accepted_at) == proxy.connections_accepted == 3

        proxy.delay(0.1)
        proxy.count_anew()
        started = time.monotonic()
        connections += await asyncio.gather(*(connect(server, proxy) for _ in range(4)))
        assert proxy.handshakes_in_flight_max == 4
        assert all(moment >= started for moment in proxy.accepted_at)
        assert len(proxy.accepted_at) == 4
        proxy.delay(0)

        # One that is refused is over when its connection is.
        with pytest.raises((asyncpg.InvalidPasswordError, aiomysql.OperationalError)):
            await connect(server, proxy, password="wrong")
        async with asyncio.timeout(5):
            while proxy.handshakes_in_flight:
                await asyncio.sleep(0.01)
        await asyncio.gather(*(close(connection) for connection in connections))


async def test_with_tls_a_handshake_is_over_when_encryption_begins() -> None:
    async with PostgreSQLServer(tls=True) as server, FaultProxy(server.host, server.port) as proxy:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        connection = await connect(server, proxy, ssl=context)
        assert (proxy.handshakes_in_flight, proxy.handshakes_in_flight_max) == (0, 1)
        await connection.close()


async def test_a_partition_takes_connections_and_answers_none(postgresql: PostgreSQLServer) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        name = {"server_settings": {"application_name": "partitioned"}}
        connection = await connect(postgresql, proxy, **name)
        proxy.partition()
        proxy.count_anew()
        asking = asyncio.ensure_future(connection.fetchval("select 1"))
        connecting = [asyncio.ensure_future(connect(postgresql, proxy, **name)) for _ in range(2)]
        async with asyncio.timeout(5):
            while proxy.handshakes_in_flight < 2:
                await asyncio.sleep(0.01)
        done, _ = await asyncio.wait([asking, *connecting], timeout=0.3)
        assert not done
        assert (proxy.handshakes_in_flight, proxy.connections_open) == (2, 3)
        # The server sees none of them.
        seen = await postgresql.execute_as_superuser(
            "select count(*)::int from pg_stat_activity where application_name = 'partitioned'"
        )
        assert seen == [(1,)]
        connecting[0].cancel()
        async with asyncio.timeout(5):
            while proxy.handshakes_in_flight != 1:
                await asyncio.sleep(0.01)
        await proxy.heal()
        for task in (asking, connecting[1]):
            with pytest.raises((asyncpg.PostgresConnectionError, ConnectionError)):
                await asyncio.wait_for(task, 5)
        await (await connect(postgresql, proxy)).close()
        connection.terminate()
        async with asyncio.timeout(5):
            while proxy.connections_open:
                await asyncio.sleep(0.01)

        proxy.partition()
        _, writer = await asyncio.open_connection(proxy.host, proxy.port)
        async with asyncio.timeout(5):
            while not proxy.connections_open:
                await asyncio.sleep(0.01)
        assert proxy.reset() == 1
        writer.close()


async def test_other_protocols_are_over_with_the_first_answer(redis: RedisServer) -> None:
    async with FaultProxy(redis.host, redis.port) as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(b"PI")
        async with asyncio.timeout(5):
            while not proxy.bytes_to_server:
                await asyncio.sleep(0.01)
        assert proxy.handshakes_in_flight == 1
        writer.write(b"NG\r\n")
        assert await asyncio.wait_for(reader.readline(), 5) == b"+PONG\r\n"
        assert proxy.handshakes_in_flight == 0
        writer.close()


async def test_answers_in_pieces() -> None:
    handshake = Handshake()
    handshake.saw(Direction.TO_SERVER, b"\0\0\0\x08\0\x03\0\0")
    for byte in b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05":
        handshake.saw(Direction.TO_CLIENT, bytes([byte]))
    assert not handshake.is_over
    handshake.saw(Direction.TO_CLIENT, b"I")
    assert handshake.is_over

    mysql = Handshake()
    mysql.saw(Direction.TO_CLIENT, b"\x02\0\0\0\x0a")
    mysql.saw(Direction.TO_CLIENT, b"8")
    mysql.saw(Direction.TO_SERVER, b"\x03\0\0\x01abc")
    mysql.saw(Direction.TO_CLIENT, b"\x01\0\0\x02\xfe")
    mysql.saw(Direction.TO_SERVER, b"\x20\0\0\x03" + b"x" * 32)  # a login of that length, not a request for TLS
    assert not mysql.is_over
    mysql.saw(Direction.TO_CLIENT, b"\x01\0\0\x04\0")
    assert mysql.is_over

    encrypted = Handshake()
    encrypted.saw(Direction.TO_CLIENT, b"\x02\0\0\0\x0a8")
    encrypted.saw(Direction.TO_SERVER, b"\x20\0\0\x01" + b"x" * 32)
    assert encrypted.is_over
