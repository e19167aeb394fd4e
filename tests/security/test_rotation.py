"""Credentials are rotated again and again under load, and no request fails."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.replicated import ReplicatedFleet
from tests.security.load import read, transact, under_load
from tests.security.users import (
    Safe,
    administrator,
    configured,
    database,
    login,
    may_log_in,
    new_user,
    set_password,
)

from sillar import DatabaseManager
from sillar.config import DatabaseConfig, DatabaseCredentials, NodeConfig
from sillar.engines import open_adapter
from sillar.errors import AuthenticationError, DatabaseError, NoPrimaryError, StatementTimeoutError, UsageError
from sillar.security.credential_manager import DatabaseCredentialManager
from sillar.security.rotation import AlternatingUsersRotation, CredentialRotation, SameUserRotation
from sillar.security.sources import EncryptedStoreSource, FolderSource, StoreKeys
from sillar.testing.servers import MySQLServer, PostgreSQLServer

SQL = ["mariadb", "mysql"]


def managed(source: Any, rotation: CredentialRotation | None = None, **settings: Any) -> DatabaseCredentialManager:
    rotations = {} if rotation is None else {"default": rotation}
    names = {"default": "main"}
    return DatabaseCredentialManager(source, secret_names=names, rotations=rotations, poll_seconds=0.05, **settings)


async def rotated(server: Any, rotation: CredentialRotation, source: Any, times: int, *requests: Any) -> set[str]:
    """Rotate under load; the users who were current. Nothing may fail."""
    users = set()
    credentials = managed(source, rotation)
    async with DatabaseManager(configured(server, max_connections=3), secrets=credentials) as manager:
        async with under_load(manager, *requests, workers=2) as load:
            for _ in range(times):
                await credentials.rotate_credentials("default")
                users.add(str((await credentials.get_credentials("default")).user))
                await load.more(8)
        assert load.failures == []
        assert load.requests > times * 8
        opened = manager.pools["default"].stats().opened_total
        assert opened >= times
    return users


async def test_a_hundred_passwords_of_one_user_on_postgresql(
    postgresql: PostgreSQLServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sillar.engines.postgresql.accounts._ITERATIONS", 64)  # log-ins cost a fraction
    user = await new_user(postgresql)
    source = EncryptedStoreSource(tmp_path / "store", StoreKeys.from_text(StoreKeys.generate("k")))
    await source.write("main", SecretStr(login(user, "first")))
    rotation = SameUserRotation(database(postgresql), administrator=administrator(postgresql))
    assert await rotated(postgresql, rotation, source, 100, read, transact) == {user}
    assert not await may_log_in(postgresql, user, "first")


async def test_two_users_take_turns_on_postgresql(postgresql: PostgreSQLServer, tmp_path: Any) -> None:
    users = [await new_user(postgresql), await new_user(postgresql)]
    source = FolderSource(tmp_path)
    await source.write("main", SecretStr(login(users[0], "first")))

    async def current_administrator() -> DatabaseCredentials:
        return administrator(postgresql)

    rotation = AlternatingUsersRotation(database(postgresql), users, administrator=current_administrator)
    assert await rotated(postgresql, rotation, source, 20, read, transact) == set(users)


@pytest.mark.parametrize("server", SQL, indirect=True)
async def test_passwords_of_one_user_on_mysql(server: Any) -> None:
    user = await new_user(server)
    safe = Safe(main=login(user, "first"))
    rotation = SameUserRotation(database(server), administrator=administrator(server))
    assert await rotated(server, rotation, safe, 15, read, transact) == {user}
    # MySQL keeps the password before the current one; MariaDB has none to keep.
    before = json.loads(safe.values["main"])["password"]
    await rotation.rotate(DatabaseCredentials(user=user, password=SecretStr(before)), lambda _: asyncio.sleep(0))
    assert await may_log_in(server, user, before) is (type(server) is MySQLServer)


@pytest.mark.parametrize("server", SQL, indirect=True)
async def test_two_users_take_turns_on_mysql(server: Any) -> None:
    users = [await new_user(server), await new_user(server)]
    safe = Safe(main=login(users[0], "first"))
    rotation = AlternatingUsersRotation(database(server), users, administrator=administrator(server))
    assert await rotated(server, rotation, safe, 15, read, transact) == set(users)


@pytest.mark.parametrize("server", SQL, indirect=True)
async def test_statements_of_the_user_before_can_still_be_stopped(server: Any) -> None:
    adapter = open_adapter(database(server))
    before, after = [
        await adapter.open_connection(DatabaseCredentials(user=await new_user(server), password=SecretStr("first")))
        for _ in range(2)
    ]
    with pytest.raises(StatementTimeoutError):
        await before.run(*adapter.bind("SELECT sleep(60)", None), 0.3)
    # Killed by the user who had begun it; nobody else may, and then the connection would be lost.
    assert (await before.run(*adapter.bind("SELECT 1", None))).rows
    for connection in (before, after):
        await connection.close()


# --- the user's own rights, and failures ------------------------------------------------------------------------------


async def test_a_user_changes_its_own_password(postgresql: PostgreSQLServer) -> None:
    user = await new_user(postgresql)
    safe = Safe(main=login(user, "first"))
    async with managed(safe, SameUserRotation(database(postgresql))) as credentials:
        await credentials.rotate_credentials("default")
        await credentials.rotate_credentials("default")
    assert await may_log_in(postgresql, user, json.loads(safe.values["main"])["password"])


@pytest.mark.parametrize("server", ["postgresql", *SQL], indirect=True)
async def test_a_source_that_cannot_be_written_leaves_the_old_password(server: Any) -> None:
    class Stuck(Safe):
        async def set_secret(self, name: str, value: str) -> None:
            raise OSError("disk full")

    user = await new_user(server)
    safe = Stuck(main=login(user, "first"))
    for admin in (administrator(server), None):
        rotation = SameUserRotation(database(server), administrator=admin)
        async with managed(safe, rotation) as credentials:
            with pytest.raises(OSError, match="disk full") as caught:
                await credentials.rotate_credentials("default")
            assert not hasattr(caught.value, "__notes__")
        assert await may_log_in(server, user, "first")


async def test_a_password_that_cannot_be_restored_is_said(postgresql: PostgreSQLServer) -> None:
    user = await new_user(postgresql)

    async def publish(_: DatabaseCredentials) -> None:
        await postgresql.execute_as_superuser(f"ALTER ROLE {user} NOLOGIN")
        raise OSError("disk full")

    rotation = SameUserRotation(database(postgresql))
    with capture_logs() as logs, pytest.raises(OSError, match="disk full") as caught:
        await rotation.rotate(DatabaseCredentials(user=user, password=SecretStr("first")), publish)
    assert "could not be restored" in caught.value.__notes__[0]
    assert [each["event"] for each in logs] == ["password lost"]


async def test_what_the_server_does_not_take_is_not_published(postgresql: PostgreSQLServer) -> None:
    users = [await new_user(postgresql), await new_user(postgresql)]
    await postgresql.execute_as_superuser(f"ALTER ROLE {users[1]} NOLOGIN")
    safe = Safe(main=login(users[0], "first"))
    rotation = AlternatingUsersRotation(database(postgresql), users, administrator=administrator(postgresql))
    async with managed(safe, rotation) as credentials:
        with pytest.raises(DatabaseError):
            await credentials.rotate_credentials("default")
    assert safe.values["main"] == login(users[0], "first")


async def test_what_cannot_be_rotated(postgresql: PostgreSQLServer) -> None:
    admin = administrator(postgresql)
    for users in (["a"], ["a", "a"], "ab"):
        with pytest.raises(UsageError, match="two names"):
            AlternatingUsersRotation(database(postgresql), users, administrator=admin)
    rotation = AlternatingUsersRotation(database(postgresql), ["a", "b"], administrator=admin)
    with pytest.raises(UsageError, match="'c' is current and none of the alternating users a and b"):
        await rotation.rotate(DatabaseCredentials(user="c", password=SecretStr("x")), lambda _: asyncio.sleep(0))
    with pytest.raises(UsageError, match="no user or no password"):
        await rotation.rotate(DatabaseCredentials(user="a"), lambda _: asyncio.sleep(0))
    assert repr(rotation).startswith("<AlternatingUsersRotation on postgresql://")


# --- others change it -------------------------------------------------------------------------------------------------


async def test_a_file_that_somebody_else_changes_is_followed(postgresql: PostgreSQLServer, tmp_path: Any) -> None:
    users = [await new_user(postgresql), await new_user(postgresql)]
    source = FolderSource(tmp_path)
    await source.write("main", SecretStr(login(users[0], "first")))
    async with DatabaseManager(configured(postgresql), secrets=managed(source)) as manager:
        async with under_load(manager, read, transact) as load:
            for turn in range(1, 8):
                await source.write("main", SecretStr(login(users[turn % 2], "first")))
                async with asyncio.timeout(10):
                    while await manager.session().fetch_value("SELECT session_user") != users[turn % 2]:
                        await asyncio.sleep(0.01)
        assert load.failures == []


async def refused_logins(server: PostgreSQLServer, user: str) -> int:
    assert server.log is not None
    return len(re.findall(rf'password authentication failed for user "{user}"', server.log.read_text()))


async def test_a_password_changed_elsewhere_costs_one_refusal(postgresql: PostgreSQLServer) -> None:
    user = await new_user(postgresql)
    safe = Safe(main=login(user, "first"))
    credentials = managed(safe, refresh_seconds=3600)
    async with DatabaseManager(configured(postgresql), secrets=credentials) as manager:
        async with under_load(manager, read, workers=2) as load:
            for turn in range(5):
                await set_password(postgresql, user, f"pw{turn}")
                await asyncio.sleep(0.02)
                safe.values["main"] = login(user, f"pw{turn}")
                manager.pools["default"].clear("a test")  # type: ignore[attr-defined]
                await load.more(20)
        assert load.failures == []
    # A refusal for each handshake that was under way, at most, and never a second with the same password.
    assert 1 <= await refused_logins(postgresql, user) <= 5 * 4


async def test_a_wrong_password_is_tried_once_per_back_off_and_healed_by_the_source(
    postgresql: PostgreSQLServer,
) -> None:
    user = await new_user(postgresql)
    safe = Safe(main=login(user, "first"))
    config = configured(postgresql, backoff_initial=0.2, backoff_max=0.4, connection_timeout=1.0)
    async with DatabaseManager(config, secrets=managed(safe)) as manager:
        await set_password(postgresql, user, "second")
        manager.pools["default"].clear("a test")  # type: ignore[attr-defined]
        started = asyncio.get_running_loop().time()
        failed = 0
        while (passed := asyncio.get_running_loop().time() - started) < 2.0 or failed <= 100:
            assert passed < 60
            results = await asyncio.gather(*(manager.session().fetch_value("SELECT 1") for _ in range(20)),
                                           return_exceptions=True)  # fmt: skip
            assert all(isinstance(each, DatabaseError) for each in results)
            failed += sum(isinstance(each, AuthenticationError) for each in results)
            await asyncio.sleep(0.02)
        # The first burst may have three handshakes at once; from then on one per back-off of 0.1 to 0.4 seconds.
        assert 3 <= await refused_logins(postgresql, user) <= 3 + passed / 0.1
        safe.values["main"] = login(user, "second")
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await manager.session().fetch_value("SELECT 1") == 1
                    break
                except DatabaseError:
                    await asyncio.sleep(0.02)


# --- several nodes ----------------------------------------------------------------------------------------------------


async def test_users_take_turns_on_a_primary_and_its_replicas(replicated_fleet: ReplicatedFleet) -> None:
    """Replicas learn of a password a moment later than it is published, and a read goes elsewhere then."""
    replicated = await replicated_fleet.get()
    users = [await new_user(replicated.primary), await new_user(replicated.primary)]
    await replicated.caught_up()
    plain = DatabaseConfig.from_url(replicated.url)
    several = plain.databases["default"]
    secret = several.model_copy(update={"credentials": DatabaseCredentials(password_secret="main")})
    rotation = AlternatingUsersRotation(several, users, administrator=administrator(replicated.primary))
    credentials = managed(Safe(main=login(users[0], "first")), rotation)
    config = plain.model_copy(update={"databases": {"default": secret}})

    async def read_anywhere(session: Any) -> None:
        async with session.transaction(read_only=True):
            await session.fetch_value("SELECT 1")

    async with DatabaseManager(config, secrets=credentials) as manager:
        async with under_load(manager, read, read_anywhere, workers=2) as load:
            for _ in range(8):
                await credentials.rotate_credentials("default")
                await load.more(8)
        assert load.failures == []
        assert await manager.session().fetch_value("SELECT session_user") == users[0]


async def test_no_node_takes_the_new_password(replicated_fleet: ReplicatedFleet) -> None:
    replicated = await replicated_fleet.get()
    several = DatabaseConfig.from_url(replicated.url).connection()
    first = several.addresses[0]
    nodes = (NodeConfig(host=first.host, port=first.port), NodeConfig(host="127.0.0.1", port=9))
    without = several.model_copy(update={"host": None, "nodes": nodes})
    rotation = SameUserRotation(without, administrator=administrator(replicated.primary))
    with pytest.raises(NoPrimaryError, match=r"is a replica; 127\.0\.0\.1:9 cannot be reached"):
        await rotation.rotate(DatabaseCredentials(user="u", password=SecretStr("x")), lambda _: asyncio.sleep(0))
