"""Secrets in one encrypted file."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pydantic import SecretStr

from sillar.errors import ConfigurationError, ConfigurationFault, UsageError
from sillar.security.sources.folder import replace_file
from sillar.security.sources.secret import Secret, SecretSource, wrong_secret

_FORMAT = "sillar-secrets-1"
_KEY_BYTES = 32
_NONCE_BYTES = 12


class StoreKeys:
    """The keys of an encrypted store: AES-256 keys by id. The first one encrypts; the others still decrypt.

    In text, each is ``id:key`` with the key in base64 (32 bytes), separated by commas or line ends.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Raises ``ConfigurationError`` for no key, or one that has not 32 bytes."""
        wrong = [name for name, key in keys.items() if len(key) != _KEY_BYTES or not name]
        if wrong or not keys:
            raise _wrong_keys(f"key {wrong[0]!r} has not {_KEY_BYTES} bytes" if wrong else "there is none")
        self._keys = dict(keys)

    @classmethod
    def from_text(cls, text: str) -> StoreKeys:
        """Read ``id:base64,id:base64``, the current key first. Raises ``ConfigurationError``."""
        keys: dict[str, bytes] = {}
        for number, entry in enumerate(text.replace("\n", ",").split(","), 1):
            if not entry.strip():
                continue
            name, _, encoded = entry.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                raise _wrong_keys(f"entry {number} is not id:base64") from None
            if name in keys:
                raise _wrong_keys(f"the id {name!r} stands there twice")
            keys[name] = key
        return cls(keys)

    @classmethod
    def from_environment(cls, variable: str = "SILLAR_STORE_KEYS") -> StoreKeys:
        """Read them from an environment variable. Raises ``ConfigurationError``."""
        text = os.environ.get(variable)
        if not text:
            raise _wrong_keys(f"the environment variable {variable} is not set")
        return cls.from_text(text)

    @classmethod
    def from_file(cls, path: str | Path) -> StoreKeys:
        """Read them from a file that nobody but its owner and group may read. Raises ``ConfigurationError``."""
        file = Path(path)
        try:
            if file.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
                raise _wrong_keys(f"{file} may be read by anybody, or written by its group; chmod 400 {file}")
            return cls.from_text(file.read_bytes().decode())
        except OSError as error:
            raise _wrong_keys(f"{file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise _wrong_keys(f"{file} is no text") from None

    @staticmethod
    def generate(name: str) -> str:
        """A new random key as text, ``id:base64``."""
        return f"{name}:{base64.b64encode(os.urandom(_KEY_BYTES)).decode()}"

    @property
    def current(self) -> str:
        """Id of the key that encrypts."""
        return next(iter(self._keys))

    def key(self, name: str) -> bytes | None:
        """The key of that id, if it is there."""
        return self._keys.get(name)

    def __repr__(self) -> str:
        return f"<StoreKeys {', '.join(self._keys)}>"

    def __reduce__(self) -> NoReturn:
        raise UsageError("keys cannot be pickled")


class EncryptedStoreSource(SecretSource):
    """A file of secrets by name, encrypted as a whole with AES-256-GCM; key id and format are authenticated with it.

    Each write takes a new random nonce and replaces the file at once; writers of several processes take turns by a
    lock on ``<file>.lock``. The file has to be private to its owner (mode 0600). Whoever can write the folder can put
    an older file back: that is not noticed.

    Args:
        path: the file; the first :meth:`write` creates it.
        keys: what decrypts; its first key encrypts.
    """

    def __init__(self, path: str | Path, keys: StoreKeys) -> None:
        self.path = Path(path)
        self._keys = keys
        self.description = f"the encrypted store {self.path}"
        _cipher(bytes(_KEY_BYTES))  # says at once when the package is missing

    async def read(self, name: str) -> Secret:
        version = self.version(name)
        secrets = await asyncio.to_thread(self._load)
        if name not in secrets:
            raise wrong_secret(name, f"{self.path} has no secret of that name", "write it, or correct the name")
        return Secret(SecretStr(secrets[name]), version=version)

    def version(self, name: str) -> str:
        try:
            found = self.path.stat()
        except OSError:
            return "-"
        return f"{found.st_mtime_ns}.{found.st_size}.{found.st_ino}"

    def check_writable(self, name: str) -> None:
        if not os.access(self.path.parent, os.W_OK):
            raise UsageError(f"{self.path.parent} cannot be written by this user: secret {name!r} is read only")

    async def write(self, name: str, text: SecretStr) -> None:
        self.check_writable(name)
        await asyncio.to_thread(self._change, lambda secrets: {**secrets, name: text.get_secret_value()})

    async def remove(self, name: str) -> None:
        """Remove a secret; one that is not there does no harm."""
        await asyncio.to_thread(
            self._change, lambda secrets: {key: value for key, value in secrets.items() if key != name}
        )

    async def names(self) -> list[str]:
        """The names of all secrets, sorted."""
        return sorted(await asyncio.to_thread(self._load))

    async def reencrypt(self) -> None:
        """Encrypt the file with the current key, after which the keys before it are not needed any more."""
        await asyncio.to_thread(self._change, lambda secrets: secrets)

    # --- in a thread --------------------------------------------------------------------------------------------------

    def _change(self, change: Callable[[Mapping[str, str]], Mapping[str, str]]) -> None:
        with _locked(self.path.with_name(f"{self.path.name}.lock")):
            secrets = change(self._load() if self.path.exists() else {})
            key_id, nonce = self._keys.current, os.urandom(_NONCE_BYTES)
            key = self._keys.key(key_id)
            assert key is not None
            sealed = _cipher(key).encrypt(nonce, json.dumps(secrets).encode(), _header(key_id))
            content = {"format": _FORMAT, "key": key_id, "nonce": _encoded(nonce), "data": _encoded(sealed)}
            replace_file(self.path, json.dumps(content).encode())

    def _load(self) -> dict[str, str]:
        try:
            mode = self.path.stat().st_mode
            content = self.path.read_bytes()
        except OSError as error:
            raise self._unusable(f"cannot be read: {error.strerror}", "create it with write()") from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise self._unusable(f"has mode {stat.S_IMODE(mode):04o}: others than its owner may use it",
                                 f"chmod 600 {self.path}")  # fmt: skip
        key_id, nonce, sealed = self._parts(content)
        key = self._keys.key(key_id)
        if key is None:
            raise self._unusable(f"is encrypted with the key {key_id!r}, and {self._keys!r} is all there is",
                                 "give that key as well")  # fmt: skip
        from cryptography.exceptions import InvalidTag

        try:
            secrets: dict[str, str] = json.loads(_cipher(key).decrypt(nonce, sealed, _header(key_id)))
        except InvalidTag:
            raise self._unusable(
                f"does not decrypt with the key {key_id!r}: it was changed, or that id had another key",
                "restore the file or the key",
            ) from None
        return secrets

    def _parts(self, content: bytes) -> tuple[str, bytes, bytes]:
        try:
            parts: Any = json.loads(content)
            if parts["format"] == _FORMAT:
                return str(parts["key"]), base64.b64decode(parts["nonce"]), base64.b64decode(parts["data"])
        except (ValueError, TypeError, KeyError):
            pass
        raise self._unusable(f"is not in the format {_FORMAT}", "restore it, or write a new one")

    def _unusable(self, problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError([ConfigurationFault(str(self.path), "encrypted store", problem, remedy)])


def _header(key_id: str) -> bytes:
    return f"{_FORMAT}\0{key_id}".encode()


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _cipher(key: bytes) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise UsageError("an encrypted store needs the package cryptography: install sillar[secrets]") from None
    return AESGCM(key)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl  # there is none on Windows, where everything else of this package works

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _wrong_keys(problem: str) -> ConfigurationError:
    remedy = "give id:key, each key 32 random bytes in base64; StoreKeys.generate makes one"
    return ConfigurationError([ConfigurationFault("keys", "encrypted store", problem, remedy)])
