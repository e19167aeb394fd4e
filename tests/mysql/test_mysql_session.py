"""How a session begins, what a reset restores, and who is let in."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import aiomysql
import pytest

from sillar import DatabaseManager
from sillar.capabilities import Capability
from sillar.config import MySQLConfig
from sillar.engines.mysql import MySQLAdapter
from sillar.engines.mysql.connection import MySQLConnection
from sillar.errors import (
    AuthenticationError,
    CertificateError,
    ConnectError,
    TooManyConnectionsError,
    UnknownDatabaseError,
    UnsupportedCapabilityError,
    UsageError,
)
from sillar.query import DocumentCommand
from sillar.testing.servers import MariaDBServer, MySQLServer, ServerCertificate

Ask = Callable[..., Awaitable[Any]]
Open = Callable[..., Awaitable[MySQLConnection]]
CONTRACT = (
    "SELECT @@autocommit, @@time_zone, @@character_set_client, @@character_set_results, @@character_set_connection,"
    " DATABASE(), @@innodb_lock_wait_timeout, @@sql_mode LIKE '%STRICT_TRANS_TABLES%'"
)


async def test_the_contract_holds_at_the_start_and_after_a_reset(
    open_connection: Open, ask: Ask, server: MySQLServer, observer: aiomysql.Connection
) -> None:
    async with observer.cursor() as cursor:
        await cursor.execute("SELECT @@global.sql_mode")
        (server_mode,) = await cursor.fetchone()
    try:
        async with observer.cursor() as cursor:
            await cursor.execute("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES,ANSI_QUOTES'")
        connection = await open_connection(
            connection_options={"lock_timeout": 7, "init_command": "SET @greeting = 'hello';"}
        )
        expected = [(1, "+00:00", "utf8mb4", "utf8mb4", "utf8mb4", server.database, 7, 1)]
        assert await ask(connection, CONTRACT) == expected
        assert await ask(connection, "SELECT @greeting, '\\\\', @@sql_mode") == [
            ("hello", "\\", "ANSI_QUOTES,STRICT_TRANS_TABLES")
        ]
        for statement in (
            "SET autocommit = 0",
            "SET time_zone = '+05:00'",
            "SET NAMES latin1",
            "SET innodb_lock_wait_timeout = 3",
            "SET sql_mode = ''",
            "USE information_schema",
            "SET @greeting = 'bye'",
        ):
            connection.dirty = False
            await ask(connection, statement)
            assert connection.dirty, f"{statement} leaves a trace"
        assert await ask(connection, CONTRACT) != expected
        await connection.reset()
        assert await ask(connection, CONTRACT) == expected
        assert await ask(connection, "SELECT @greeting") == [("hello",)]
        assert not connection.raw.get_transaction_status()
    finally:
        async with observer.cursor() as cursor:
            await cursor.execute(f"SET GLOBAL sql_mode = '{server_mode}'")


async def test_a_reset_leaves_nothing_behind(
    open_connection: Open, ask: Ask, table: Callable[[str], Awaitable[str]]
) -> None:
    name = await table("id INT")
    connection, other = await open_connection(), await open_connection()
    await ask(connection, "SET @secret = 5")
    await ask(connection, "CREATE TEMPORARY TABLE leftover (id INT)")
    assert await ask(connection, "SELECT GET_LOCK('mine', 0)") == [(1,)]
    await ask(connection, f"LOCK TABLES {name} WRITE")
    assert await ask(other, "SELECT IS_FREE_LOCK('mine')") == [(0,)]
    assert await ask(connection, "SELECT :n + 1", {"n": 1}) == [(2,)]
    await connection.reset()
    assert await ask(connection, "SELECT @secret") == [(None,)]
    with pytest.raises(Exception, match="leftover"):
        await ask(connection, "SELECT * FROM leftover")
    assert await ask(other, "SELECT IS_FREE_LOCK('mine')") == [(1,)]
    assert (await ask(other, f"INSERT INTO {name} VALUES (1)", timeout_seconds=2)).rows_affected == 1
    assert await ask(connection, "SELECT :n + 1", {"n": 2}) == [(3,)], "prepared statements are prepared anew"
    await ask(connection, "BEGIN")
    await ask(connection, f"INSERT INTO {name} VALUES (2)")
    await connection.reset()
    assert await ask(other, f"SELECT COUNT(*) FROM {name}") == [(1,)], "rolled back"


async def test_through_the_pool_nobody_sees_what_another_left(
    open_manager: Callable[..., Awaitable[DatabaseManager]],
) -> None:
    manager = await open_manager(pool={"max_connections": 1})
    session = manager.session()
    await session.execute("SET @mine = 1")
    assert await session.fetch_value("SELECT @mine") is None
    resets = manager.pools["default"].stats().resets_total
    assert resets >= 1
    await session.fetch_value(
        "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = :name", {"name": "x"}
    )
    assert manager.pools["default"].stats().resets_total <= resets + 1, "a clean statement costs no reset"
    async with await manager.get_connection() as lease:
        await lease.raw.query("SET @mine = 2")
    assert await session.fetch_value("SELECT @mine") is None


async def test_probe_of_a_primary(connection: MySQLConnection, is_mariadb: bool, server: MySQLServer) -> None:
    status = await connection.probe()
    assert status.version == server.version.split("-")[0]
    assert (status.role, status.read_only) == ("primary", False)
    assert status.capabilities.engine == f"{server.product} {status.version}"
    assert status.capabilities.has(Capability.RETURNING) is is_mariadb
    assert status.capabilities.has(Capability.NATIVE_JSON) is not is_mariadb
    assert status.capabilities.has(Capability.CHECK_CONSTRAINTS)
    assert not status.capabilities.has(Capability.TRANSACTIONAL_DDL)
    with pytest.raises(UnsupportedCapabilityError, match="MariaDB"):
        (status.capabilities.without(Capability.RETURNING, "only MariaDB has it")).require(
            Capability.RETURNING, remedy="x"
        )


@pytest.mark.parametrize("kind", [MariaDBServer, MySQLServer])
async def test_probe_of_a_replica(kind: type[MySQLServer]) -> None:
    async with kind(own=True) as primary:
        replica = await primary.add_replica()
        for user, password in ((replica.superuser, replica.superuser_password), (replica.user, replica.password)):
            adapter = MySQLAdapter(
                MySQLConfig(
                    host=replica.host,
                    port=replica.port,
                    database=replica.database,
                    credentials={"user": user, "password": password},
                )
            )
            connection = await adapter.open_connection()
            status = await connection.probe()
            assert (status.role, status.read_only) == ("replica", True), user
            await connection.close()


async def test_who_is_not_let_in(make_adapter: Callable[..., MySQLAdapter], server: MySQLServer) -> None:
    wrong = {"user": server.user, "password": "wrong secret"}
    with pytest.raises(AuthenticationError, match="1045") as refused:
        await make_adapter(credentials=wrong).open_connection()
    assert "wrong secret" not in str(refused.value)
    assert refused.value.node == f"{server.host}:{server.port}"
    with pytest.raises(UnknownDatabaseError, match="nowhere"):
        await make_adapter(database="nowhere").open_connection()
    root = {"user": server.superuser, "password": server.superuser_password}
    with pytest.raises(UnknownDatabaseError, match="1049"):
        await make_adapter(database="nowhere", credentials=root).open_connection()
    with pytest.raises(ConnectError, match="cannot be reached"):
        await make_adapter(port=9).open_connection()
    with pytest.raises(UsageError, match="charset"):
        make_adapter(connection_options={"charset": "gbk"})
    with pytest.raises(UsageError, match="NO_BACKSLASH_ESCAPES"):
        make_adapter(connection_options={"sql_mode": "ansi,no_backslash_escapes"})
    with pytest.raises(UnsupportedCapabilityError, match="document"):
        make_adapter().bind(DocumentCommand("c", "find", {}), None)


async def test_too_many_connections(
    make_adapter: Callable[..., MySQLAdapter], server: MySQLServer, observer: Any
) -> None:
    async with observer.cursor() as cursor:
        await cursor.execute("CREATE USER few@'%' IDENTIFIED BY 'x' WITH MAX_USER_CONNECTIONS 1")
        await cursor.execute(f"GRANT ALL ON {server.database}.* TO few@'%'")
    try:
        adapter = make_adapter(credentials={"user": "few", "password": "x"})
        first = await adapter.open_connection()
        with pytest.raises(TooManyConnectionsError, match="max_connections"):
            await adapter.open_connection()
        await first.close()
    finally:
        async with observer.cursor() as cursor:
            await cursor.execute("DROP USER few@'%'")


async def test_passwords_beyond_latin1(
    make_adapter: Callable[..., MySQLAdapter], server: MySQLServer, observer: Any
) -> None:
    password = "пароль 'мой' 🗿"
    async with observer.cursor() as cursor:
        await cursor.execute("CREATE USER foreigner@'%%' IDENTIFIED BY %s", (password,))
        await cursor.execute(f"GRANT ALL ON {server.database}.* TO foreigner@'%'")
    try:
        adapter = make_adapter(credentials={"user": "foreigner", "password": password})
        for _ in range(2):  # MySQL: in full through RSA, then from the server's cache
            connection = await adapter.open_connection()
            assert not _is_tls(connection)
            await connection.close()
    finally:
        async with observer.cursor() as cursor:
            await cursor.execute("DROP USER foreigner@'%'")


def _is_tls(connection: MySQLConnection) -> bool:
    return connection.raw._transport.get_extra_info("ssl_object") is not None


async def test_source_address(open_connection: Open, ask: Ask) -> None:
    connection = await open_connection(source_address="127.0.0.9")
    assert connection.raw._transport.get_extra_info("sockname")[0] == "127.0.0.9"
    assert await ask(connection, "SELECT SUBSTRING_INDEX(host, ':', 1) FROM information_schema.processlist"
                     " WHERE id = CONNECTION_ID()") == [("127.0.0.9",)]  # fmt: skip
    assert connection.raw._loop is asyncio.get_running_loop()


async def test_unix_socket(open_connection: Open, ask: Ask, server: MySQLServer) -> None:
    connection = await open_connection(unix_socket=str(server._path / "socket" / "server.sock"))
    assert await ask(connection, "SELECT USER()") == [(f"{server.user}@localhost",)]
    assert connection.address.endswith("server.sock")


async def test_the_adapter_alone(adapter: MySQLAdapter) -> None:
    raw = await adapter.connect()
    assert type(raw).__module__.startswith("asyncmy")
    await raw.query("SELECT @@time_zone")
    assert raw._result.rows == (("+00:00",),)
    await raw.ensure_closed()
    assert (await adapter.execute_query("SELECT :a", {"a": 1})).rows[0] == (1,)
    transaction = await adapter.begin_transaction()
    assert transaction.in_transaction
    await transaction.rollback()
    await transaction.close()
    await adapter.close()
    assert adapter.driver == "asyncmy"


# --- TLS: servers of their own ---


def _tls_config(server: MySQLServer, **ssl_config: Any) -> MySQLAdapter:
    return MySQLAdapter(
        MySQLConfig(
            host=server.host,
            port=server.port,
            database=server.database,
            credentials={"user": server.user, "password": server.password},
            ssl_config=ssl_config,
        )
    )


@pytest.mark.parametrize("kind", [MariaDBServer, MySQLServer])
async def test_tls_is_verified(kind: type[MySQLServer]) -> None:
    async with kind(tls=True) as server:
        connection = await _tls_config(server, ca_file=server.ca_file).open_connection()  # MySQL: in full, over TLS
        assert _is_tls(connection)
        statement, args = _tls_config(server, mode="require").bind("SHOW STATUS LIKE 'Ssl_cipher'", None)
        reply = await connection.run(statement, args)
        assert reply.rows[0][1]
        task = asyncio.create_task(connection.run(*_tls_config(server, mode="require").bind("SELECT SLEEP(9)", None)))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.wait([task])
        await connection.reset()  # the side connection that kills speaks TLS, too
        await connection.close()
        unverified = await _tls_config(server, mode="require").open_connection()
        assert _is_tls(unverified)
        await unverified.close()
        with pytest.raises(CertificateError, match="not trusted"):
            await _tls_config(server).open_connection()
        with pytest.raises(CertificateError, match="not trusted"):
            await _tls_config(server, ca_file=server.ca_file, server_hostname="elsewhere.example").open_connection()
        by_authority = await _tls_config(
            server, ca_file=server.ca_file, mode="verify-ca", server_hostname="elsewhere.example"
        ).open_connection()
        assert _is_tls(by_authority)
        await by_authority.close()


async def test_an_expired_certificate_is_refused() -> None:
    async with MariaDBServer(tls=ServerCertificate.EXPIRED) as server:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(CertificateError, match="expired"):
                await _tls_config(server, ca_file=server.ca_file).open_connection()


async def test_tls_is_not_given_up(server: MySQLServer, is_mariadb: bool) -> None:
    """A server without TLS (MySQL makes its own certificate by itself) is refused, never talked to in the clear."""
    with pytest.raises(CertificateError, match="does not offer TLS" if is_mariadb else "not trusted"):
        await _tls_config(server, mode="verify-full").open_connection()
