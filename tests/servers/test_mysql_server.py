"""MySQL and MariaDB servers, started for real: life and death, GTID replicas, users, TLS."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import aiomysql
import psutil
import pymysql.err
import pytest

from sillar.testing.servers import MariaDBServer, MySQLServer, ServerCertificate, ServerStartError

pytestmark = pytest.mark.asyncio


async def fetch(server: MySQLServer, statement: str, **options: Any) -> list[tuple[Any, ...]]:
    login = {"user": server.user, "password": server.password, "db": server.database, **options}
    connection = await aiomysql.connect(host=server.host, port=server.port, autocommit=True, **login)
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(statement)
            return list(await cursor.fetchall())
    finally:
        connection.close()


async def check_life_with_replica_and_tls(primary: MySQLServer) -> None:
    """One long story, because a MySQL server takes seconds to make."""
    context = ssl.create_default_context(cafile=str(primary.ca_file))
    cipher = await fetch(primary, "show status like 'Ssl_cipher'", ssl=context)
    assert cipher[0][1]
    assert await fetch(primary, "select database()") == [("sillar",)]
    with pytest.raises(pymysql.err.OperationalError, match="Access denied") as refused:
        await fetch(primary, "select 1", password="wrong")
    assert refused.value.args[0] == 1045
    with pytest.raises(pymysql.err.OperationalError, match="Access denied"):
        await fetch(primary, "select 1", user="root", password="", db=None)

    await fetch(primary, "create table stone (id int primary key)")
    await fetch(primary, "insert into stone values (1)")
    replica = await primary.add_replica()
    await fetch(primary, "insert into stone values (2)")
    async with asyncio.timeout(20):
        while tuple(row[0] for row in await fetch(replica, "select id from stone order by id")) != (1, 2):
            await asyncio.sleep(0.02)
    with pytest.raises(pymysql.err.OperationalError, match=r"read-only|read only") as read_only:
        await fetch(replica, "insert into stone values (3)")
    assert read_only.value.args[0] == 1290

    await primary.freeze()
    asking = asyncio.ensure_future(fetch(primary, "select 8"))
    done, _ = await asyncio.wait([asking], timeout=0.3)
    assert not done
    await primary.thaw()
    assert await asyncio.wait_for(asking, 20) == [(8,)]
    pid = primary.pid
    await primary.kill()
    assert not psutil.pid_exists(pid)
    await replica.promote()
    await fetch(replica, "insert into stone values (3)")
    assert await fetch(replica, "select count(*) from stone") == [(3,)]
    await primary.start()
    assert await fetch(primary, "select count(*) from stone") == [(2,)]


async def test_mariadb() -> None:
    async with MariaDBServer(tls=True) as server:
        assert "MariaDB" in (await fetch(server, "select version()"))[0][0]
        assert server.url.startswith("mariadb://sillar:")
        await check_life_with_replica_and_tls(server)


async def test_mysql() -> None:
    async with MySQLServer(tls=True, settings={"max-connections": "33"}) as server:
        assert int(server.version.split(".")[0]) >= 8
        assert await fetch(server, "select @@max_connections") == [(33,)]
        await check_life_with_replica_and_tls(server)


async def test_mariadb_replica_comes_back_as_replica() -> None:
    async with MariaDBServer(tls=ServerCertificate.EXPIRED) as primary:
        with pytest.raises(pymysql.err.OperationalError) as refused:
            await fetch(primary, "select 1", ssl=ssl.create_default_context(cafile=str(primary.ca_file)))
        assert "certificate has expired" in str(refused.value.__cause__ or refused.value.__context__)
        replica = await primary.add_replica()
        await replica.restart()
        assert await replica.execute_as_superuser("select @@read_only") == [(1,)]
        await fetch(primary, "create table stone as select 7 as id")
        async with asyncio.timeout(20):
            while not await replica.execute_as_superuser("show tables in sillar"):
                await asyncio.sleep(0.02)
            while await fetch(replica, "select id from stone") != [(7,)]:  # its rows come after it
                await asyncio.sleep(0.02)


async def test_bad_option_shows_the_log() -> None:
    with pytest.raises(ServerStartError, match="unknown variable 'no-such-option=1'"):
        await MariaDBServer(settings={"no-such-option": "1"}).start()
