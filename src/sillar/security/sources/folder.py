"""Secrets in files, as Kubernetes and Docker mount them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path, PurePosixPath

from pydantic import SecretStr

from sillar.config import DatabaseCredentials
from sillar.errors import ConnectError, UsageError
from sillar.security.sources.secret import Secret, SecretSource, secret_text, wrong_secret

_DATA = "..data"
_READS = 3


class FolderSource(SecretSource):
    """Secret ``main`` is the file ``main`` of a folder, or the files ``username`` and ``password`` of its folder
    ``main``.

    A line end at the end of a file is not part of the value. Kubernetes replaces a mounted secret by turning the link
    ``..data`` to a new folder; both files of a pair are read from the same one. Changes are noticed by the link and by
    time, size and inode of the files, which are looked at whenever a connection is opened, and every few seconds.

    Args:
        folder: such as ``/run/secrets/database``.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.description = f"the files in {self.folder}"

    async def read(self, name: str) -> Secret:
        path = self._path(name)
        for _ in range(_READS):
            version = self.version(name)
            try:
                text = await asyncio.to_thread(_read, path)
            except FileNotFoundError:
                if version == self.version(name):
                    break
                continue  # the link was turned meanwhile
            except (OSError, UnicodeDecodeError) as error:
                problem = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else _reason(error)
                raise wrong_secret(name, f"{path} {problem}", "let this user read it as text") from None
            if version == self.version(name) and text is not None:
                return Secret(text, version=version)
        if path.exists():
            raise ConnectError(f"{path} is empty, incomplete, or changes while it is read; secret {name!r} is not used")
        raise wrong_secret(name, f"{path} does not exist", "mount it, or correct the name") from None

    def version(self, name: str) -> str:
        path = self._path(name)
        link = _link(path if path.is_dir() else path.parent)
        files = (path / "username", path / "password") if path.is_dir() else (path,)
        return "|".join((link, *map(_stamp, files)))

    def check_writable(self, name: str) -> None:
        path = self._path(name)
        if path.is_dir() or path.is_symlink():
            raise UsageError(f"{path} is mounted: change secret {name!r} where it is mounted from")

    async def write(self, name: str, text: SecretStr) -> None:
        self.check_writable(name)
        await asyncio.to_thread(replace_file, self._path(name), text.get_secret_value().encode())

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or any(part in ("/", "..", _DATA) for part in parts) or "\0" in name:
            raise UsageError(f"secret {name!r} names no file below {self.folder}")
        return self.folder.joinpath(*parts)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read; whoever reads sees the old one or the new one, after a crash, too."""
    number, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> SecretStr | None:
    """The secret, or None while it is being written."""
    if not path.is_dir():
        return SecretStr(_text(path)) if path.stat().st_size else None
    folder = Path(os.path.realpath(path / _DATA)) if (path / _DATA).is_symlink() else path
    user, password = _text(folder / "username"), _text(folder / "password")
    if not user or not password:
        return None
    return secret_text(DatabaseCredentials(user=user, password=SecretStr(password)))


def _text(path: Path) -> str:
    text = path.read_bytes().decode()
    return text.removesuffix("\n").removesuffix("\r")


def _link(folder: Path) -> str:
    try:
        return str((folder / _DATA).readlink())
    except OSError:
        return ""


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "-"
    return f"{found.st_mtime_ns}.{found.st_size}.{found.st_ino}"


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror or type(error).__name__}"
