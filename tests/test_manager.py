"""The manager: several databases, secrets, opening and closing, handing out."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest

from sillar import DatabaseConfig, DatabaseManager, Query, load_config
from sillar.engines.postgresql.connection import PostgreSQLConnection
from sillar.errors import AuthenticationError, ConfigurationError, ConnectError, ResultError, UsageError
from sillar.testing.servers import PostgreSQLServer


class Vault:
    """A secrets manager of a host application."""

    def __init__(self, **secrets: str) -> None:
        self.secrets = secrets
        self.asked: list[str] = []

    async def get_secret(self, name: str) -> str:
        self.asked.append(name)
        return self.secrets[name]


async def test_several_databases_and_a_default(tmp_path: Path, postgresql: PostgreSQLServer) -> None:
    config = load_config(
        databases={"main": postgresql.url, "local": f"sqlite:///{tmp_path / 'local.db'}"},
        overrides={"default_database": "main"},
        environment={},
    )
    async with DatabaseManager(config) as manager:
        assert await manager.session().fetch_value("SELECT current_database()") == "sillar"
        assert await (await manager.get_session("local")).fetch_value("SELECT sqlite_version()")
        result = await manager.execute_query(Query("SELECT :n + 1 AS n", {"n": 1}, database="local"))
        assert (result.one(), result.columns, result.scalars(), result.database) == ({"n": 2}, ("n",), [2], "local")
        assert sorted(manager.pools) == ["local", "main"]
        health = await manager.health()
        assert health.healthy
        assert sorted(health.databases) == ["local", "main"]
        with pytest.raises(UsageError, match="did you mean 'main'"):
            manager.session("mian")
    with pytest.raises(UsageError, match="not open"):
        manager.session()


async def test_one_database_that_fails_closes_the_others(tmp_path: Path, postgresql: PostgreSQLServer) -> None:
    config = load_config(
        databases={
            "good": postgresql.url,
            "bad": postgresql.url.replace("://sillar:", "://sillar:wrong"),
            "gone": "postgresql://someone@127.0.0.1:1/x",
        },
        overrides={"default_database": "good"},
        environment={},
    )
    manager = DatabaseManager(config)
    with pytest.raises((AuthenticationError, ConnectError)) as caught:
        await manager.initialize()
    assert caught.value.database in ("bad", "gone")
    assert any("besides:" in note for note in caught.value.__notes__)
    assert manager.pools == {}
    await manager.shutdown()  # does nothing


async def test_opening_twice_is_an_error_and_closing_twice_is_none(postgresql: PostgreSQLServer) -> None:
    manager = DatabaseManager.from_url(postgresql.url)
    await manager.initialize()
    with pytest.raises(UsageError, match="open already"):
        await manager.initialize()
    await manager.shutdown()
    await manager.shutdown()
    async with manager:  # and again
        assert await manager.session().fetch_value("SELECT 1") == 1


async def test_passwords_come_from_the_secrets_manager_at_each_connect(postgresql: PostgreSQLServer) -> None:
    user, password = postgresql.url.removeprefix("postgresql://").split("@")[0].split(":")
    settings = {
        "engine": "postgresql",
        "host": postgresql.host,
        "port": postgresql.port,
        "database": postgresql.url.rpartition("/")[2],
        "credentials": {"user": user, "password_secret": "db/main"},
    }
    vault = Vault(**{"db/main": password})
    config = DatabaseConfig(databases={"default": settings})
    async with DatabaseManager(config, secrets=vault) as manager:
        async with await manager.get_connection(), await manager.get_connection():
            assert sorted(manager.connections) == ["default", "default#2"]
        assert vault.asked == ["db/main", "db/main"]
    with pytest.raises((UsageError, ConfigurationError), match="secret"):
        await DatabaseManager(config).initialize()


async def test_a_transaction_by_hand(postgresql: PostgreSQLServer) -> None:
    async with DatabaseManager.from_url(postgresql.url) as manager:
        transaction = await manager.begin_transaction(read_only=True)
        assert transaction.is_open
        assert await transaction.fetch_value("SHOW transaction_read_only") == "on"
        await transaction.commit()
        assert not transaction.is_open
        with pytest.raises(UsageError, match="has not begun, or has ended"):
            await transaction.commit()
        with pytest.raises(UsageError, match="has not begun, or has ended"):
            await transaction.fetch_value("SELECT 1")


async def test_results_of_the_wrong_number_of_rows(postgresql: PostgreSQLServer) -> None:
    async with DatabaseManager.from_url(postgresql.url) as manager:
        result = await manager.session().execute("SELECT generate_series(1, 2) AS n")
        assert (result.first(), len(result), [row["n"] for row in result]) == ({"n": 1}, 2, [1, 2])
        with pytest.raises(ResultError, match="exactly one row was asked for, the statement returned 2"):
            result.one()


async def test_the_lifespan_opens_closes_and_leaves_the_manager_on_the_application(
    postgresql: PostgreSQLServer,
) -> None:
    manager = DatabaseManager.from_url(postgresql.url)
    app = SimpleNamespace(state=SimpleNamespace())
    async with manager.lifespan(app):
        assert app.state.database_manager is manager
        assert await manager.session().fetch_value("SELECT 1") == 1
    with pytest.raises(UsageError):
        manager.session()


async def test_it_keeps_probing_a_database_that_comes_up_late(postgresql: PostgreSQLServer) -> None:
    from sillar.testing.faults import FaultProxy

    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        await proxy.refuse()
        url = postgresql.url.replace(f":{postgresql.port}/", f":{proxy.port}/")
        limits = {"on_unavailable": "wait", "backoff_max": 0.1, "connection_timeout": 0.5}
        async with DatabaseManager.from_url(url, overrides={"connection_pools": limits}) as manager:
            assert manager.session().capabilities.engine == "PostgreSQL"
            await proxy.heal()
            async with asyncio.timeout(30):
                while manager.session().capabilities.engine == "PostgreSQL":
                    await asyncio.sleep(0.02)
            assert manager.session().capabilities.engine.startswith("PostgreSQL 15")


async def test_a_server_that_takes_the_connection_and_says_no_more_is_an_error(
    postgresql: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silence(connection: PostgreSQLConnection) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(PostgreSQLConnection, "probe", silence)
    manager = DatabaseManager.from_url(postgresql.url, overrides={"connection_pools": {"connect_timeout": 2.0}})
    with pytest.raises(ConnectError, match="did not answer a probe within connect_timeout=2"):
        await asyncio.wait_for(manager.initialize(), 30)


def test_the_manager_stays_small() -> None:
    public = [
        name for name, member in inspect.getmembers(DatabaseManager) if not name.startswith("_") and callable(member)
    ]
    assert len(public) <= 12, public
