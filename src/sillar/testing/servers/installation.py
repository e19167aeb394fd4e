"""Where the binaries of a server are on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sillar.testing.servers import tree
from sillar.testing.servers.errors import ServerNotFoundError
from sillar.testing.servers.process import Identity
from sillar.testing.servers.tree import Tree

REMEDY = "run `python -m sillar.testing.servers install` as root, or put it on PATH"
SYSTEM_FOLDERS = (Path("/usr/sbin"), Path("/usr/bin"), Path("/usr/local/sbin"), Path("/usr/local/bin"))
GALERA_LIBRARIES = (Path("/usr/lib/galera/libgalera_smm.so"), Path("/usr/lib/libgalera_smm.so"))
DISTRIBUTION_POSTGRESQL = Path("/usr/lib/postgresql")
NUMBER = re.compile(r"(\d+(?:\.\d+)+)")


@dataclass(frozen=True, slots=True)
class Installation:
    """Binaries of one server.

    Attributes:
        version: as its binary says, such as ``15.18``.
        how_found: in words, for people.
        binaries: the folder of the binaries, as the server itself sees it.
        root: the tree to run in by chroot, or None.
    """

    version: str
    how_found: str
    binaries: str
    root: Path | None = None

    def binary(self, name: str) -> str:
        """The absolute path of a binary, as the server itself sees it."""
        return f"{self.binaries}/{name}"

    @property
    def temporary_folder(self) -> Path | None:
        """Where run folders of this server have to be made; None where any place does."""
        return None if self.root is None else self.root / "tmp"

    def identity(self, user: str) -> Identity:
        """As whom its processes run."""
        return Identity.of(user, self.root)


def find_postgresql(major: int | None, *, variable: str | None) -> Installation:
    """PostgreSQL of one major version, or of whichever version PATH and the distribution have.

    Raises:
        ServerNotFoundError: there is none.
    """
    for how, folder in _postgresql_folders():
        if (folder / "postgres").is_file() and (folder / "initdb").is_file():
            version = version_of(folder / "postgres")
            if major in (None, int(version.split(".")[0])):
                return Installation(version, f"{how} ({folder})", str(folder))
    if major in (None, 18) and (installed := _in_tree(tree.POSTGRESQL18)):
        return installed
    raise _not_found(f"PostgreSQL {major or ''}".strip(), variable, tree.POSTGRESQL18 if major == 18 else None)


def _postgresql_folders() -> Iterator[tuple[str, Path]]:
    if on_path := shutil.which("postgres"):
        # Usually a link into the folder where initdb and the other tools are.
        yield "PATH", Path(on_path).resolve().parent
    yield from (
        ("distribution", folder / "bin")
        for folder in sorted(
            DISTRIBUTION_POSTGRESQL.glob("[0-9]*"), key=lambda path: int(path.name.split(".")[0]), reverse=True
        )
    )


def find_documentdb() -> Installation:
    """The PostgreSQL 18 that has DocumentDB beside it: the installed tree.

    Raises:
        ServerNotFoundError: it is not there.
    """
    installed = _in_tree(tree.POSTGRESQL18)
    if installed is None:
        raise _not_found("PostgreSQL 18 with DocumentDB", "SILLAR_TEST_MONGODB_URL", tree.POSTGRESQL18)
    return installed


def find_mariadb() -> Installation:
    """MariaDB's server. Raises ServerNotFoundError when there is none."""
    return _find_binary("mariadbd", "MariaDB", "SILLAR_TEST_MARIADB_URL")


def find_mysql() -> Installation:
    """MySQL's server. Raises ServerNotFoundError when there is none."""
    # MariaDB installs a link named mysqld; its version says which one it is.
    for folder in _system_folders():
        binary = folder / "mysqld"
        if binary.is_file() and "MariaDB" not in _version_line(binary):
            how = "PATH" if shutil.which("mysqld") == str(binary) else "distribution"
            return Installation(version_of(binary), f"{how} ({binary})", str(folder))
    if installed := _in_tree(tree.MYSQL):
        return installed
    raise _not_found("MySQL", "SILLAR_TEST_MYSQL_URL", tree.MYSQL)


def find_redis() -> Installation:
    """Redis' server. Raises ServerNotFoundError when there is none."""
    return _find_binary("redis-server", "Redis", "SILLAR_TEST_REDIS_URL")


def find_pgbouncer() -> Installation:
    """PgBouncer. Raises ServerNotFoundError when there is none."""
    return _find_binary("pgbouncer", "PgBouncer", None)


def find_patroni() -> Installation:
    """Patroni. Raises ServerNotFoundError when there is none."""
    return _find_binary("patroni", "Patroni", None)


def find_etcd() -> Installation:
    """etcd's server. Raises ServerNotFoundError when there is none."""
    return _find_binary("etcd", "etcd", None)


def find_galera() -> Path:
    """The library by which MariaDB's nodes form a cluster.

    Raises:
        ServerNotFoundError: it is not there, or not ``rsync``, by which a node gets the data of another.
    """
    if shutil.which("rsync", path=os.pathsep.join(map(str, _system_folders()))) is None:
        raise _not_found("rsync, which Galera copies data with,", None, None)
    for library in GALERA_LIBRARIES:
        if library.is_file():
            return library
    raise _not_found("Galera (libgalera_smm.so)", None, None)


def find_mongod() -> Installation | None:
    """A real MongoDB server, or None: then the stand-in takes its place."""
    try:
        return _find_binary("mongod", "MongoDB", "SILLAR_TEST_MONGODB_URL")
    except ServerNotFoundError:
        return None


def _find_binary(name: str, product: str, variable: str | None) -> Installation:
    for folder in _system_folders():
        binary = folder / name
        if os.access(binary, os.X_OK) and binary.is_file():
            how = "PATH" if shutil.which(name) == str(binary) else "distribution"
            return Installation(version_of(binary), f"{how} ({binary})", str(folder))
    raise _not_found(product, variable, None)


def _system_folders() -> Iterator[Path]:
    yield from (Path(folder) for folder in os.get_exec_path() if folder.startswith("/"))
    # A user's PATH often lacks the folders of daemons.
    yield from SYSTEM_FOLDERS


def _in_tree(wanted: Tree) -> Installation | None:
    noted = wanted.marker()
    # Entering a tree takes root.
    if noted is None or os.geteuid() != 0:
        return None
    return Installation(
        _number(noted["version"]),
        f"installed tree ({wanted.folder}, from {noted['suite']})",
        wanted.binaries,
        wanted.folder,
    )


def version_of(binary: Path) -> str:
    """The version that a binary states, such as ``15.18``."""
    return _number(_version_line(binary))


def _version_line(binary: Path) -> str:
    asked = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return asked.stdout.strip()


def _number(text: str) -> str:
    found = NUMBER.search(text)
    if found is None:
        raise ServerNotFoundError(f"no version number in {text!r}; the binary may be broken or incomplete")
    return found.group(1)


def _not_found(product: str, variable: str | None, wanted: Tree | None) -> ServerNotFoundError:
    remedy = REMEDY if variable is None else f"{REMEDY}, or name a running one in {variable}"
    if wanted is not None and wanted.marker() is not None and os.geteuid() != 0:
        return ServerNotFoundError(
            f"{product} is installed in {wanted.folder}, but only root can enter a tree; {remedy}"
        )
    return ServerNotFoundError(f"{product} is not on this machine; {remedy}")
