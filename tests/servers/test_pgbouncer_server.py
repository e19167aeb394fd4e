"""PgBouncer in front of a PostgreSQL server, started for real."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from sillar import DatabaseManager
from sillar.testing.servers import PgBouncerServer, PostgreSQLServer, ServerStartError

pytestmark = pytest.mark.asyncio

PID = "select pg_backend_pid()"


async def connect(pooler: PgBouncerServer, **options: object) -> asyncpg.Connection[asyncpg.Record]:
    login = urlsplit(pooler.url)
    settings = {"user": login.username, "password": login.password, "database": pooler.target.database, **options}
    return await asyncpg.connect(host=pooler.host, port=pooler.port, statement_cache_size=0, **settings)  # type: ignore[arg-type]


async def test_life_of_a_pooler() -> None:
    """It pools by transaction, verifies passwords, outlives its server, and its own restart cuts clients."""
    async with PgBouncerServer(settings={"default_pool_size": "1"}) as pooler:
        assert pooler.version.startswith("1.")
        assert pooler.target.port != pooler.port
        assert pooler.url.endswith(f"@127.0.0.1:{pooler.port}/sillar?pgbouncer=true")
        assert not pooler.is_external
        first, second = await asyncio.gather(connect(pooler), connect(pooler))
        assert await first.fetchval(PID) == await second.fetchval(PID)
        await second.close()
        with pytest.raises(asyncpg.PostgresError):
            await connect(pooler, password="wrong")
        async with DatabaseManager.from_url(pooler.url) as manager:
            assert await manager.session().fetch_value("SELECT 7") == 7

        # A password that was changed in the server is known here.
        await pooler.target.execute_as_superuser("alter role sillar password 'another'")
        await (await connect(pooler, password="another")).close()

        await pooler.restart()
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError)):
            await first.fetchval(PID)
        first.terminate()
        await pooler.target.kill()
        await pooler.restart()  # without anybody behind it
        await pooler.target.start()
        pids = [pooler.pid, pooler.target.pid]
        async with asyncio.timeout(20):
            while True:
                try:
                    again = await connect(pooler, password="another")
                    break
                except asyncpg.PostgresError:
                    await asyncio.sleep(0.05)
        assert await again.fetchval("select 1") == 1
        again.terminate()
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_in_front_of_a_given_server_and_another_one_with_tls() -> None:
    async with PostgreSQLServer(own=True) as server:
        async with PgBouncerServer(server, tls=True) as pooler:
            context = ssl.create_default_context(cafile=str(pooler.ca_file))
            session = await connect(pooler, ssl=context)
            assert await session.fetchval("show port") == str(server.port)
            replica = await server.add_replica()
            await pooler.point_to(replica)
            async with asyncio.timeout(20):
                while await session.fetchval("show port") != str(replica.port):
                    await asyncio.sleep(0.02)
            await session.close()
        assert server.is_running
        with pytest.raises(ServerStartError, match="pool_mode"):
            await PgBouncerServer(server, settings={"pool_mode": "never"}).start()
