"""PostgreSQL servers, started for real: life and death, replicas, users, TLS."""

from __future__ import annotations

import asyncio
import ssl
import stat
from pathlib import Path

import asyncpg
import psutil
import pytest

from sillar.errors import UsageError
from sillar.testing.servers import (
    CertificateAuthority,
    PostgreSQLServer,
    ServerCertificate,
    ServerNotFoundError,
    ServerNotOursError,
    ServerStartError,
)

pytestmark = pytest.mark.asyncio


async def fetch(server: PostgreSQLServer, statement: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(server.url)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def test_life_of_a_server() -> None:
    """Starts, answers as a plain user, survives stop and kill with its data, leaves nothing at the end."""
    async with PostgreSQLServer() as server:
        assert 20000 <= server.port < 32768
        assert [(server.version, server.database, "sillar")] == await fetch(
            server, "select split_part(current_setting('server_version'), ' ', 1), current_database(), current_user"
        )
        assert server.how_found.startswith(("PATH", "distribution"))
        assert server.password not in repr(server)
        assert server.superuser_password not in repr(server)
        await fetch(server, "create table stone (id int primary key)")
        await fetch(server, "insert into stone values (1)")

        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert len(processes) > 4
        await server.kill()
        gone, alive = psutil.wait_procs(processes, timeout=5)
        assert not alive
        assert len(gone) == len(processes)
        assert not server.is_running
        with pytest.raises(ConnectionRefusedError):
            await asyncpg.connect(server.url)

        port = server.port
        await server.start()
        assert server.port == port
        await server.restart()
        assert await fetch(server, "select id from stone") == [(1,)]
        with pytest.raises(UsageError, match="running already"):
            await server.start()
        assert server.log is not None
        folder, pid = server.log.parent, server.pid
        assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    assert not folder.exists()
    assert not psutil.pid_exists(pid)
    await server.close()


async def test_freeze_and_thaw() -> None:
    async with PostgreSQLServer() as server:
        connection = await asyncpg.connect(server.url)
        await server.freeze()
        asking = asyncio.ensure_future(connection.fetchval("select 7"))
        done, _ = await asyncio.wait([asking], timeout=0.3)
        assert not done
        statuses = {child.status() for child in psutil.Process(server.pid).children()}
        assert statuses == {psutil.STATUS_STOPPED}
        await server.thaw()
        assert await asyncio.wait_for(asking, 10) == 7
        await connection.close()
        # Ending a frozen one must not hang.
        await server.freeze()


async def test_defaults_and_settings() -> None:
    async with PostgreSQLServer(settings={"max_connections": "23", "cluster_name": "it's here"}) as server:
        shown = {}
        for name in ("max_connections", "fsync", "wal_level", "max_prepared_transactions", "cluster_name"):
            [(shown[name],)] = await server.execute_as_superuser(f"show {name}")
    assert shown == {
        "max_connections": "23",
        "fsync": "off",
        "wal_level": "logical",
        "max_prepared_transactions": "20",
        "cluster_name": "it's here",
    }


async def test_replica_follows_and_is_promoted() -> None:
    async with PostgreSQLServer() as primary:
        await fetch(primary, "create table stone as select 1 as id")
        first, second = await primary.add_replica(), await primary.add_replica()
        assert len({primary.port, first.port, second.port}) == 3
        await fetch(primary, "insert into stone values (2)")
        async with asyncio.timeout(20):
            while await fetch(second, "select count(*) from stone") != [(2,)]:
                await asyncio.sleep(0.02)
            while await fetch(first, "select count(*) from stone") != [(2,)]:
                await asyncio.sleep(0.02)
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await fetch(first, "insert into stone values (3)")
        states = "select string_agg(state, ' ') from pg_stat_replication"
        await primary._await_answer(states, "streaming streaming", "both stream")
        await primary.kill()
        await first.promote()
        assert await fetch(first, "insert into stone values (3) returning id") == [(3,)]
        pids = [first.pid, second.pid]
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_wrong_password_and_unknown_user_are_refused() -> None:
    async with PostgreSQLServer() as server:
        for user, password in (("sillar", "wrong"), ("nobody", server.password), ("postgres", server.password)):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(
                    host=server.host, port=server.port, user=user, password=password, database=server.database
                )
        connection = await asyncpg.connect(host=str(server.socket_folder), port=server.port, user="postgres")
        assert await connection.fetchval("select 1") == 1
        await connection.close()


async def test_tls_verifies_and_client_certificates_are_known() -> None:
    async with PostgreSQLServer(tls=True) as server:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        context.load_cert_chain(*server.client_certificate("sillar"))
        connection = await asyncpg.connect(server.url, ssl=context)
        [row] = await connection.fetch("select ssl, client_dn from pg_stat_ssl where pid = pg_backend_pid()")
        assert tuple(row) == (True, "/CN=sillar")
        await connection.close()

        strangers = CertificateAuthority("strangers").certificate.decode()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncpg.connect(server.url, ssl=ssl.create_default_context(cadata=strangers))


@pytest.mark.parametrize(
    ("kind", "message"),
    [(ServerCertificate.EXPIRED, "expired"), (ServerCertificate.WRONG_HOST, "IP address mismatch")],
)
async def test_bad_certificates_are_bad(kind: ServerCertificate, message: str) -> None:
    async with PostgreSQLServer(tls=kind) as server:
        context = ssl.create_default_context(cafile=str(server.ca_file))
        with pytest.raises(ssl.SSLCertVerificationError, match=message):
            await asyncpg.connect(server.url, ssl=context)


async def test_postgresql_18_has_pgvector() -> None:
    async with PostgreSQLServer(18) as server:
        assert server.version.startswith("18.")
        await server.execute_as_superuser("create extension vector", database=server.database)
        assert await fetch(server, "select '[1,2]'::vector <-> '[4,6]'::vector") == [(5.0,)]
        replica = await server.add_replica()
        assert await replica.execute_as_superuser("select pg_is_in_recovery()") == [(True,)]


async def test_bad_setting_shows_the_log() -> None:
    server = PostgreSQLServer(settings={"max_connections": "lots"})
    with pytest.raises(ServerStartError, match='invalid value for parameter "max_connections": "lots"') as raised:
        await server.start()
    kept = str(raised.value).split("whole log: ")[1].splitlines()[0]
    assert "lots" in Path(kept).read_text()
    assert server.log is None
    assert not server.is_running


async def test_unknown_version_names_the_remedy() -> None:
    with pytest.raises(ServerNotFoundError, match=r"PostgreSQL 7 is not .*servers install"):
        await PostgreSQLServer(7).start()


async def test_server_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL in the environment wins, and such a server is never touched."""
    async with PostgreSQLServer() as real:
        monkeypatch.setenv("SILLAR_TEST_POSTGRESQL_URL", real.url)
        async with PostgreSQLServer() as server:
            assert server.is_external
            assert server.url == real.url
            assert (server.version, server.how_found) == (real.version, "environment (SILLAR_TEST_POSTGRESQL_URL)")
            assert await server.execute_as_superuser("select current_user") == [("sillar",)]
            for touch in (server.kill, server.freeze, server.stop, server.add_replica):
                with pytest.raises(ServerNotOursError, match="own=True"):
                    await touch()
        assert real.is_running
        async with PostgreSQLServer(own=True) as own:
            assert not own.is_external
            assert own.port != real.port
        await real.kill()
        with pytest.raises(ServerStartError, match="does not answer") as raised:
            await PostgreSQLServer().start()
        assert real.password not in str(raised.value)
