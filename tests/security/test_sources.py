"""Secrets in the environment, in files, in an encrypted store, and with an object of the host's."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from sillar.config import DatabaseCredentials
from sillar.errors import ConfigurationError, ConnectError, UsageError
from sillar.security.sources import (
    AWSSecretsSource,
    EncryptedStoreSource,
    EnvironmentSource,
    FolderSource,
    HostSource,
    Secret,
    SecretSource,
    StoreKeys,
    VaultSource,
    VaultToken,
    as_source,
    secret_text,
)


def credentials(user: str, password: str) -> DatabaseCredentials:
    return DatabaseCredentials(user=user, password=SecretStr(password))


# --- what a secret is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "user", "password"),
    [
        ("s3cret", "configured", "s3cret"),
        ('{"username": "ann", "password": "pw"}', "ann", "pw"),
        ('{"user": "ann", "password": "pw", "port": 5432}', "ann", "pw"),
        ('{"password": "pw"}', "configured", "pw"),
        ("{not json", "configured", "{not json"),
        ('{"username": "ann", "password": "pw"', "configured", '{"username": "ann", "password": "pw"'),
    ],
)
def test_a_secret_is_a_password_or_an_object(text: str, user: str, password: str) -> None:
    assert Secret(SecretStr(text)).credentials("main", "configured") == credentials(user, password)


def test_an_object_without_a_password_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="without the text field `password`"):
        Secret(SecretStr('{"username": "ann", "password": 7}')).credentials("main")


def test_what_replaces_a_secret_has_its_form() -> None:
    new = credentials("bob", "new")
    assert Secret(SecretStr("old")).replaced(new).get_secret_value() == "new"
    before = '{"user": "ann", "password": "old", "host": "db"}'
    assert json.loads(Secret(SecretStr(before)).replaced(new).get_secret_value()) == {
        "user": "bob",
        "password": "new",
        "host": "db",
    }
    assert json.loads(secret_text(new).get_secret_value()) == {"username": "bob", "password": "new"}


# --- environment ------------------------------------------------------------------------------------------------------


async def test_the_environment_is_read_at_each_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    source = EnvironmentSource("APP_")
    monkeypatch.setenv("APP_SHOP_MAIN", "one")
    assert await source.get_secret("shop/main") == "one"
    monkeypatch.setenv("APP_SHOP_MAIN", "two")
    assert await source.get_secret("shop-main") == "two"
    monkeypatch.delenv("APP_SHOP_MAIN")
    with pytest.raises(ConfigurationError, match="APP_SHOP_MAIN is not set"):
        await source.read("shop/main")
    with pytest.raises(UsageError, match="cannot be written"):
        await source.write("shop/main", SecretStr("three"))
    assert await EnvironmentSource(environment={"PW": "x"}).get_secret("pw") == "x"


# --- files ------------------------------------------------------------------------------------------------------------


class Mounted:
    """A folder as the kubelet keeps it: data in a new folder each time, the link ``..data`` turned at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = 0
        folder.mkdir()

    def update(self, **files: str) -> None:
        self._number += 1
        data = self.folder / f"..2026_{self._number}"
        data.mkdir()
        for name, content in files.items():
            (data / name).write_text(content)
        turned = self.folder / "..data_tmp"
        turned.symlink_to(data.name)
        turned.rename(self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for old in self.folder.glob("..2026_*"):
            if old != data:
                for file in old.iterdir():
                    file.unlink()
                old.rmdir()


async def test_a_mounted_secret_is_followed(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "main")
    mounted.update(username="ann\n", password="one\n")
    source = FolderSource(tmp_path)
    first = await source.read("main")
    assert first.credentials("main") == credentials("ann", "one")
    assert source.version("main") == first.version
    mounted.update(username="bob", password="two")
    assert source.version("main") != first.version
    assert (await source.read("main")).credentials("main") == credentials("bob", "two")
    with pytest.raises(UsageError, match="is mounted"):
        await source.write("main", SecretStr("x"))


async def test_a_pair_is_never_mixed_while_the_link_turns(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "main")
    mounted.update(username="user0", password="pw0")
    source = FolderSource(tmp_path)

    enough = threading.Event()

    def turn() -> None:
        for number in range(1, 20_000):
            mounted.update(username=f"user{number}", password=f"pw{number}")
            if number >= 120 and enough.is_set():
                return

    turning = asyncio.create_task(asyncio.to_thread(turn))
    seen = set()
    try:
        while not turning.done():
            try:
                found = (await source.read("main")).credentials("main")
            except ConnectError:  # it changed under each of the attempts
                continue
            assert found.user is not None
            assert found.password is not None
            assert found.user.removeprefix("user") == found.password.get_secret_value().removeprefix("pw")
            seen.add(found.user)
            if len(seen) > 1:
                enough.set()
    finally:
        enough.set()
    await turning
    assert len(seen) > 1


async def test_one_file_per_secret(tmp_path: Path) -> None:
    source = FolderSource(tmp_path)
    with pytest.raises(ConfigurationError, match="does not exist"):
        await source.read("main")
    await source.write("main", SecretStr("one"))
    assert (tmp_path / "main").stat().st_mode & 0o777 == 0o600
    first = await source.read("main")
    assert first.text.get_secret_value() == "one"
    await source.write("main", SecretStr("two"))
    assert source.version("main") != first.version
    assert await source.get_secret("main") == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["main"]
    (tmp_path / "main").write_text("")
    with pytest.raises(ConnectError, match="empty, incomplete"):
        await source.read("main")
    (tmp_path / "main").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        await source.read("main")


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../other", "main/../../other", "..data/main", "a\0b"])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="names no file below"):
        await FolderSource(tmp_path).read(name)


async def test_what_cannot_be_read_or_replaced(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    (tmp_path / "main" / "username").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        await FolderSource(tmp_path).read("main")
    (tmp_path / "full").mkdir()
    source = FolderSource(tmp_path / "full")
    (tmp_path / "full" / "x").mkdir()
    with pytest.raises(UsageError, match="is mounted"):
        await source.write("x", SecretStr("1"))


# --- encrypted store --------------------------------------------------------------------------------------------------


def keys(*names: str) -> StoreKeys:
    return StoreKeys({name: name.encode().ljust(32, b".") for name in names})


async def test_the_store_keeps_secrets_encrypted(tmp_path: Path) -> None:
    file = tmp_path / "store"
    source = EncryptedStoreSource(file, keys("k1"))
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        await source.read("main")
    assert source.version("main") == "-"
    await source.write("main", SecretStr("CANARY"))
    await source.write("other", SecretStr("x"))
    assert file.stat().st_mode & 0o777 == 0o600
    content = file.read_bytes()
    assert b"CANARY" not in content
    assert b"main" not in content
    assert await source.names() == ["main", "other"]
    secret = await source.read("main")
    assert secret.text.get_secret_value() == "CANARY"
    assert secret.version == source.version("main")
    await source.remove("other")
    assert source.version("main") != secret.version
    with pytest.raises(ConfigurationError, match="has no secret of that name"):
        await source.read("other")


async def test_keys_of_the_store_are_rotated(tmp_path: Path) -> None:
    file = tmp_path / "store"
    await EncryptedStoreSource(file, keys("k1")).write("main", SecretStr("value"))
    with pytest.raises(ConfigurationError, match="encrypted with the key 'k1', and <StoreKeys k2> is all there is"):
        await EncryptedStoreSource(file, keys("k2")).read("main")
    both = EncryptedStoreSource(file, keys("k2", "k1"))
    assert await both.get_secret("main") == "value"
    await both.reencrypt()
    assert await EncryptedStoreSource(file, keys("k2")).get_secret("main") == "value"
    with pytest.raises(ConfigurationError):
        await EncryptedStoreSource(file, keys("k1")).read("main")


async def test_a_store_that_was_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "store"
    source = EncryptedStoreSource(file, keys("k1", "k2"))
    await source.write("main", SecretStr("value"))
    whole = json.loads(file.read_bytes())
    data = whole["data"]
    flipped = ("B" if data[0] == "A" else "A") + data[1:]
    for change in ({"data": flipped}, {"key": "k2"}, {"nonce": whole["nonce"][::-1]}):
        file.write_text(json.dumps(whole | change))
        with pytest.raises(ConfigurationError, match=r"does not decrypt with the key 'k[12]'"):
            await source.read("main")
    for broken in ("", "[]", "{", json.dumps(whole | {"format": "other"}), json.dumps({"format": "sillar-secrets-1"})):
        file.write_text(broken)
        with pytest.raises(ConfigurationError, match="is not in the format"):
            await source.read("main")
    file.write_text(json.dumps(whole))
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="has mode 0640"):
        await source.read("main")
    file.chmod(0o600)
    assert await source.get_secret("main") == "value"


async def test_writers_of_one_store_take_turns(tmp_path: Path) -> None:
    sources = [EncryptedStoreSource(tmp_path / "store", keys("k1")) for _ in range(4)]
    await asyncio.gather(*(sources[n % 4].write(f"s{n}", SecretStr(str(n))) for n in range(24)))
    assert await sources[0].names() == sorted(f"s{n}" for n in range(24))


def test_where_keys_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{StoreKeys.generate('new')}\n\n{StoreKeys.generate('old')}\n"
    file = tmp_path / "keys"
    file.write_text(text)
    file.chmod(0o440)
    found = StoreKeys.from_file(file)
    assert found.current == "new"
    assert found.key("old") is not None
    assert found.key("none") is None
    file.chmod(0o444)
    with pytest.raises(ConfigurationError, match="may be read by anybody"):
        StoreKeys.from_file(file)
    file.chmod(0o600)
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="is no text"):
        StoreKeys.from_file(file)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        StoreKeys.from_file(tmp_path / "none")
    monkeypatch.setenv("KEYS", text)
    assert repr(StoreKeys.from_environment("KEYS")) == "<StoreKeys new, old>"
    monkeypatch.delenv("KEYS")
    with pytest.raises(ConfigurationError, match="KEYS is not set"):
        StoreKeys.from_environment("KEYS")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is none"),
        ("a:QUJD", "'a' has not 32 bytes"),
        (f"a:{'A' * 43}=,b:???", "entry 2 is not id:base64"),
        (f"a:{'A' * 43}=,a:{'B' * 43}=", "'a' stands there twice"),
        (f":{'A' * 43}=", "'' has not 32 bytes"),
    ],
)
def test_wrong_keys(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        StoreKeys.from_text(text)


@pytest.mark.parametrize(
    ("package", "make", "extra"),
    [
        ("cryptography.hazmat.primitives.ciphers.aead", lambda: EncryptedStoreSource("x", keys("k")), "secrets"),
        ("hvac", lambda: VaultSource("http://localhost", VaultToken(SecretStr("x"))), "vault"),
        ("aiobotocore.session", lambda: AWSSecretsSource("eu-central-1"), "aws"),
    ],
)
def test_a_package_that_is_missing(
    package: str, make: Callable[[], object], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"install sillar\[{extra}\]"):
        make()


async def test_a_store_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    source = EncryptedStoreSource(tmp_path / "none" / "store", keys("k1"))
    with pytest.raises(UsageError, match="cannot be written by this user"):
        await source.write("main", SecretStr("x"))


async def test_a_file_that_cannot_be_replaced_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    source = FolderSource(tmp_path)
    await source.write("main", SecretStr("one"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        await source.write("main", SecretStr("two"))
    assert [path.name for path in tmp_path.iterdir()] == ["main"]
    assert await source.get_secret("main") == "one"


# --- the host's own ---------------------------------------------------------------------------------------------------


class Vault:
    def __init__(self) -> None:
        self.values = {"main": "pw"}

    async def get_secret(self, name: str) -> str:
        return self.values[name]


class WritableVault(Vault):
    async def set_secret(self, name: str, value: str) -> None:
        self.values[name] = value


async def test_an_object_of_the_host() -> None:
    source = as_source(Vault())
    assert isinstance(source, HostSource)
    assert await source.get_secret("main") == "pw"
    with pytest.raises(UsageError, match="has no method set_secret"):
        await source.write("main", SecretStr("new"))
    vault = WritableVault()
    await as_source(vault).write("main", SecretStr("new"))
    assert vault.values == {"main": "new"}
    assert as_source(source) is source


class Fixed(SecretSource):
    async def read(self, name: str) -> Secret:
        return Secret(SecretStr("x"), valid_seconds=60)


async def test_what_every_source_can_do() -> None:
    async with Fixed() as source:
        secret = await source.read("main")
        assert await source.renew("main", secret) is None
        await source.revoke("main", secret)
        assert source.version("main") is None
        assert not source.issues_credentials
        assert repr(source) == "<Fixed secrets>"
        assert repr(secret) == "<Secret, valid for 60 s>"
