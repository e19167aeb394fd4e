"""A canary in the place of every secret: no source, error, log, repr, traceback, metric or pickle lets it out."""

from __future__ import annotations

import asyncio
import json
import pickle
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.security.stand_in_vault import StandInVault
from tests.security.users import administrator, configured, database, new_user

from sillar import DatabaseManager
from sillar.config import DatabaseCredentials
from sillar.errors import DatabaseError, UsageError
from sillar.security.credential_manager import DatabaseCredentialManager
from sillar.security.rotation import AlternatingUsersRotation, SameUserRotation
from sillar.security.sources import (
    AWSSecretsSource,
    EncryptedStoreSource,
    EnvironmentSource,
    FolderSource,
    HostSource,
    Secret,
    SecretSource,
    StoreKeys,
    VaultAppRole,
    VaultDatabaseSource,
    VaultSource,
    VaultToken,
)
from sillar.security.sources.vault_connection import VaultConnection
from sillar.testing.servers import MariaDBServer, PostgreSQLServer

CANARY = "C4N4RYpassword"


def everything_said(error: BaseException) -> str:
    said = [repr(error), "".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:  # what handlers would print that show attributes
        said.append(repr(vars(seen)))
        seen = seen.__cause__
    return "\n".join(said)


async def fails(work: Callable[[], Awaitable[Any]]) -> None:
    """It fails, without a word about the secret."""
    with capture_logs() as logs:
        try:
            await work()
        except Exception as error:
            said = everything_said(error)
        else:
            raise AssertionError("it did not fail")
    assert CANARY not in said
    assert CANARY not in repr(logs)


class Talkative:
    """A secrets manager of a host whose errors quote the secret."""

    async def get_secret(self, name: str) -> str:
        raise LookupError(f"{CANARY} has expired")

    async def set_secret(self, name: str, value: str) -> None:
        raise LookupError(value)


async def test_files_and_stores_that_are_broken(tmp_path: Path) -> None:
    folder = FolderSource(tmp_path)
    (tmp_path / "latin").write_bytes(CANARY.encode() + b"\xff")
    await fails(lambda: folder.read("latin"))
    (tmp_path / "object").write_text(json.dumps({"passwort": CANARY}))
    secret = await folder.read("object")

    async def parse() -> None:
        secret.credentials("object")

    await fails(parse)
    key = f"k:{CANARY}"
    for text in (key, f"{key},{key}"):

        async def read_keys(text: str = text) -> None:
            StoreKeys.from_text(text)

        await fails(read_keys)
    store = EncryptedStoreSource(tmp_path / "store", StoreKeys.from_text(StoreKeys.generate("k")))
    await store.write("main", SecretStr(CANARY))
    await fails(lambda: store.read("other"))
    content = json.loads((tmp_path / "store").read_text())
    (tmp_path / "store").write_text(json.dumps(content | {"nonce": content["data"][:16]}))
    await fails(lambda: store.read("main"))
    (tmp_path / "store").write_text(CANARY)
    await fails(lambda: store.read("main"))
    await fails(lambda: EnvironmentSource(environment={"A": CANARY}).read("b"))


async def test_sources_that_are_away() -> None:
    async with StandInVault() as vault:
        vault.stored["main"] = [{"username": "u", "password": CANARY}]
        token = VaultToken(SecretStr(CANARY))
        await fails(lambda: VaultSource(vault.url, token).read("main"))
        role = VaultAppRole("role", SecretStr(CANARY))
        await fails(lambda: VaultDatabaseSource(vault.url, role).read("main"))
        good = VaultSource(vault.url, VaultToken(SecretStr(vault.root_token)))
        await good.read("main")
        vault.is_sealed = True
        await fails(lambda: good.write("main", SecretStr(json.dumps({"password": CANARY}))))
    aws = AWSSecretsSource(
        "eu-central-1", endpoint_url="http://127.0.0.1:9", aws_access_key_id="k", aws_secret_access_key=CANARY
    )
    await fails(lambda: aws.write("main", SecretStr(CANARY)))


@pytest.mark.parametrize("server", ["postgresql", "mariadb", "mongodb"], indirect=True)
async def test_logins_that_are_refused(server: Any) -> None:
    class Wrong:
        async def get_secret(self, name: str) -> str:
            return json.dumps({"username": "nobody", "password": CANARY})

    config = configured(server)
    for secrets in (Wrong(), Talkative()):
        await fails(DatabaseManager(config, secrets=secrets).initialize)


async def test_rotations_that_fail(postgresql: PostgreSQLServer, mariadb: MariaDBServer) -> None:
    for server in (postgresql, mariadb):
        user = await new_user(server, CANARY)

        class Keeper(Talkative):
            def __init__(self, user: str) -> None:
                self.user = user

            async def get_secret(self, name: str) -> str:
                return json.dumps({"username": self.user, "password": CANARY})

        for rotation in (
            SameUserRotation(database(server), administrator=DatabaseCredentials(user="n", password=SecretStr(CANARY))),
            SameUserRotation(database(server), administrator=administrator(server), password=lambda: f"{CANARY}'"),
            SameUserRotation(database(server), administrator=administrator(server), password=lambda: f"{CANARY}2"),
            AlternatingUsersRotation(
                database(server), (user, "gone"), administrator=administrator(server), password=lambda: CANARY
            ),
        ):
            manager = DatabaseCredentialManager(Keeper(user), rotations={"main": rotation})
            with capture_logs() as logs, pytest.raises((DatabaseError, LookupError)) as caught:
                await manager.rotate_credentials("main")
            await manager.close()
            assert CANARY not in repr(logs)
            if not isinstance(caught.value, LookupError):  # the host's own words are passed on to who rotates
                assert CANARY not in everything_said(caught.value)


async def test_metrics_and_figures(postgresql: PostgreSQLServer) -> None:
    class Sink:
        def __init__(self) -> None:
            self.said: list[Any] = []

        def count(self, *figures: Any) -> None:
            self.said.append(figures)

        observe = count

    user = await new_user(postgresql, CANARY)

    class Safe:
        async def get_secret(self, name: str) -> str:
            return json.dumps({"username": user, "password": CANARY})

    sink = Sink()
    with capture_logs() as logs:
        manager = DatabaseManager(configured(postgresql), secrets=Safe(), metrics_sink=sink)
        async with manager:
            await manager.session().fetch_value("SELECT 1")
            said = [repr(manager), repr(manager.credentials), repr(manager.pools), repr(await manager.health())]
            assert manager.credentials is not None
            lease = await manager.credentials.lease("default")
            said += [repr(lease), repr(lease.secret), str(lease), repr(lease.credentials), repr(manager.config)]
    assert sink.said
    assert CANARY not in "".join(said) + repr(sink.said) + repr(logs)


def holders(folder: Path) -> Iterator[Any]:
    secret = Secret(SecretStr(CANARY), 1.0, True, ("lease", CANARY), "v")
    keys = StoreKeys({"k": CANARY.encode().ljust(32)})
    way = VaultAppRole("r", SecretStr(CANARY))
    rotation = SameUserRotation(database_of("u", CANARY))
    yield from (secret, keys, way, rotation)
    yield HostSource(Talkative())
    yield EnvironmentSource(environment={"A": CANARY})
    yield FolderSource(folder)
    yield EncryptedStoreSource(folder / "store", keys)
    yield VaultSource("http://127.0.0.1:9", way)
    yield VaultConnection("http://127.0.0.1:9", way, namespace=None, verify=True, timeout_seconds=1.0)
    yield DatabaseCredentialManager(HostSource(Talkative()))


def database_of(user: str, password: str) -> Any:
    from sillar.config import DatabaseConfig

    return DatabaseConfig.from_url(f"postgresql://{user}:{password}@localhost/d").connection()


async def test_no_pickles_and_no_reprs(tmp_path: Path) -> None:
    for each in holders(tmp_path):
        assert CANARY not in f"{each!r} {each}"
        with pytest.raises(UsageError, match="cannot be pickled"):
            pickle.dumps(each)
    manager = DatabaseCredentialManager(HostSource(Holding()))
    with pytest.raises(UsageError, match="cannot be pickled"):
        pickle.dumps(await manager.lease("main"))


class Holding:
    async def get_secret(self, name: str) -> str:
        await asyncio.sleep(0)
        return CANARY


def test_every_source_is_here() -> None:
    here = {EnvironmentSource, FolderSource, EncryptedStoreSource, HostSource, VaultSource, VaultDatabaseSource}
    sources = {each for each in SecretSource.__subclasses__() if each.__module__.startswith("sillar.")}
    assert sources == here | {AWSSecretsSource}
