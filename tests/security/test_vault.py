"""Vault as a source. Verified against a stand-in only, which makes real roles on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from tests.security.load import read, transact, under_load
from tests.security.stand_in_vault import StandInVault
from tests.security.users import configured, login

from sillar import DatabaseManager
from sillar.config import DatabaseCredentials
from sillar.errors import ConfigurationError, ConnectError
from sillar.security.credential_manager import DatabaseCredentialManager
from sillar.security.sources import (
    VaultAppRole,
    VaultDatabaseSource,
    VaultKubernetes,
    VaultLogin,
    VaultSource,
    VaultToken,
)
from sillar.testing.servers import PostgreSQLServer


@pytest.fixture
async def vault(postgresql: PostgreSQLServer) -> AsyncIterator[StandInVault]:
    async with StandInVault(postgresql) as running:
        yield running


def app_role() -> VaultLogin:
    return VaultAppRole(StandInVault.ROLE_ID, SecretStr(StandInVault.SECRET_ID))


def logins(vault: StandInVault) -> int:
    return sum(call.endswith("/login") for call in vault.calls)


# --- stored secrets ---------------------------------------------------------------------------------------------------


async def test_stored_secrets_are_read_and_written(vault: StandInVault) -> None:
    vault.stored["shop/main"] = [{"username": "ann", "password": "one"}]
    async with VaultSource(vault.url, app_role()) as source:
        secret = await source.read("shop/main")
        assert secret.credentials("x") == DatabaseCredentials(user="ann", password=SecretStr("one"))
        source.check_writable("shop/main")
        await source.write("shop/main", SecretStr(login("ann", "two")))
        assert vault.stored["shop/main"][-1] == {"username": "ann", "password": "two"}
        assert json.loads(await source.get_secret("shop/main"))["password"] == "two"
        with pytest.raises(ConfigurationError, match=r"'none'.*has nothing there"):
            await source.read("none")
        assert logins(vault) == 1
    assert vault.calls[-1] == "POST auth/token/revoke-self"
    await source.close()  # once more does nothing
    assert await source.get_secret("shop/main")  # and it may be used again
    await source.close()


async def test_who_writes_at_the_same_time_is_refused(vault: StandInVault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.stored["main"] = [{"password": "one"}]
    async with VaultSource(vault.url, app_role()) as source:
        before = await source._read("main")
        vault.stored["main"].append({"password": "of somebody else"})

        async def stale(name: str) -> Any:
            return before

        monkeypatch.setattr(source, "_read", stale)
        with pytest.raises(ConnectError, match="InvalidRequest"):
            await source.write("main", SecretStr('{"password": "two"}'))
    assert vault.stored["main"][-1] == {"password": "of somebody else"}


async def test_every_way_to_log_in(vault: StandInVault, tmp_path: Path) -> None:
    vault.stored["main"] = [{"password": "one"}]
    token, jwt = tmp_path / "token", tmp_path / "jwt"
    token.write_text(f"{vault.root_token}\n")
    jwt.write_text(StandInVault.JWT)
    for way in (VaultToken(SecretStr(vault.root_token)), VaultToken(token), VaultKubernetes("r", token_file=jwt)):
        async with VaultSource(vault.url, way) as source:
            assert json.loads(await source.get_secret("main")) == {"password": "one"}
    assert vault.root_token in vault._tokens  # a given token is not revoked
    async with VaultSource(vault.url, VaultAppRole("r", SecretStr("wrong"))) as source:
        with pytest.raises(ConnectError, match="InvalidRequest"):
            await source.read("main")


async def test_a_token_is_renewed_and_had_anew_when_that_ends(vault: StandInVault) -> None:
    vault.stored["main"] = [{"password": "one"}]
    vault.token_seconds, vault.token_max_seconds = 0.6, 1.0
    async with VaultSource(vault.url, app_role()) as source:
        began = asyncio.get_running_loop().time()
        for _ in range(20):
            await source.read("main")
            await asyncio.sleep(0.1)
        passed = asyncio.get_running_loop().time() - began
        renewals = vault.calls.count("POST auth/token/renew-self")
        assert renewals >= 2
        assert 2 <= logins(vault) <= 1 + passed / 0.5
        before = logins(vault)
        await vault.revoke_tokens()
        await source.read("main")
        assert logins(vault) == before + 1
    await vault.revoke_tokens()


async def test_a_vault_that_cannot_be_asked(vault: StandInVault) -> None:
    vault.stored["main"] = [{"password": "one"}]
    async with VaultSource(vault.url, app_role(), timeout_seconds=2.0) as source:
        await source.read("main")
        vault.is_sealed = True
        with pytest.raises(ConnectError, match="VaultDown"):
            await source.read("main")
        vault.is_sealed, vault.is_away = False, True
        with contextlib.suppress(ConnectError):  # it may still come through on an open connection
            await source.read("main")
        with pytest.raises(ConnectError, match="ConnectionError") as caught:
            await source.read("main")
        assert caught.value.__cause__ is None


# --- users that it makes ----------------------------------------------------------------------------------------------


def dynamic(vault: StandInVault) -> DatabaseCredentialManager:
    source = VaultDatabaseSource(vault.url, app_role())
    return DatabaseCredentialManager(source, secret_names={"default": "shop"}, poll_seconds=0.05)


async def user_of(manager: DatabaseManager) -> str:
    return str(await manager.session().fetch_value("SELECT session_user"))


async def test_a_user_is_made_renewed_and_removed(vault: StandInVault, postgresql: PostgreSQLServer) -> None:
    vault.lease_seconds, vault.lease_max_seconds = 3.0, 600.0
    async with dynamic(vault) as credentials:
        async with DatabaseManager(configured(postgresql), secrets=credentials) as manager:
            user = await user_of(manager)
            assert vault.users == [user]
            async with under_load(manager, read, transact, workers=1) as load, asyncio.timeout(60):
                # No connection lives as long as its login.
                while (
                    vault.calls.count("PUT sys/leases/renew") < 2 or manager.pools["default"].stats().opened_total <= 3
                ):
                    await asyncio.sleep(0.05)
            assert load.failures == []
            assert await user_of(manager) == user
        assert vault.users == []
    assert await postgresql.execute_as_superuser(f"SELECT 1 FROM pg_roles WHERE rolname = '{user}'") == []


async def test_a_user_is_replaced_when_its_lease_cannot_be_prolonged(
    vault: StandInVault, postgresql: PostgreSQLServer
) -> None:
    vault.lease_seconds, vault.lease_max_seconds = 1.5, 2.4
    async with dynamic(vault) as credentials, DatabaseManager(configured(postgresql), secrets=credentials) as manager:
        users = set()
        async with under_load(manager, read, transact, workers=1) as load:
            async with asyncio.timeout(30):
                while len(users) < 3:
                    users.add(await user_of(manager))
                    await asyncio.sleep(0.1)
        assert load.failures == []


async def test_a_user_is_replaced_with_the_token_it_was_had_under(
    vault: StandInVault, postgresql: PostgreSQLServer
) -> None:
    vault.lease_seconds, vault.token_seconds, vault.token_max_seconds = 60.0, 1.0, 1.2
    async with dynamic(vault) as credentials, DatabaseManager(configured(postgresql), secrets=credentials) as manager:
        users = set()
        async with under_load(manager, read, workers=1) as load:
            for _ in range(20):
                users.add(await user_of(manager))
                await asyncio.sleep(0.1)
        assert load.failures == []
        assert len(users) >= 2


async def test_a_user_that_was_removed_is_replaced_by_rotating(
    vault: StandInVault, postgresql: PostgreSQLServer
) -> None:
    async with dynamic(vault) as credentials, DatabaseManager(configured(postgresql), secrets=credentials) as manager:
        before = await user_of(manager)
        async with under_load(manager, read, transact) as load:
            await credentials.rotate_credentials("default")
            await load.more(20)
        assert load.failures == []
        assert await user_of(manager) != before
        # Revoked at the server: the next connect is refused, and another user is asked for.
        await vault.revoke_tokens()
        manager.pools["default"].clear("a test")  # type: ignore[attr-defined]
        assert await user_of(manager) in vault.users


async def test_an_outage_of_vault_is_bridged_until_the_lease_ends(
    vault: StandInVault, postgresql: PostgreSQLServer
) -> None:
    vault.lease_seconds = 4.0
    async with dynamic(vault) as credentials:
        first = await credentials.get_credentials("default")
        vault.is_sealed = True
        await asyncio.sleep(3.0)
        assert await credentials.get_credentials("default") == first
        await asyncio.sleep(1.2)
        with pytest.raises(ConnectError, match="VaultDown"):
            await credentials.get_credentials("default")
        vault.is_sealed = False
        await asyncio.sleep(0.1)
        assert (await credentials.get_credentials("default")).user in vault.users


async def test_a_role_that_vault_does_not_have(vault: StandInVault) -> None:
    async with VaultDatabaseSource(vault.url, app_role()) as source:
        with pytest.raises(ConnectError, match=r"'none': InvalidRequest"):
            await source.read("none")
        secret = await source.read("shop")
        await source.revoke("shop", secret)
        assert await source.renew("shop", secret) is None
