"""Trees: folders with the extracted packages of another Debian release, run by ``chroot``.

A tree holds a server that the machine's own release does not have. It is made by the installer, never changed
afterwards, and shared by all test runs; only its ``/tmp`` is written to.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

MARKER = ".sillar-tree.json"
RUNTIME_PACKAGES = ("base-files", "coreutils", "dash", "libc-bin", "sed", "grep")
"""What every tree needs besides its server: a shell and the few tools that initdb and its like call."""


def servers_folder() -> Path:
    """Where installed trees live: ``$SILLAR_SERVERS_DIR``, else ``sillar/servers`` in the user's cache folder."""
    if given := os.environ.get("SILLAR_SERVERS_DIR"):
        return Path(given).absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sillar" / "servers"


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree.

    Attributes:
        name: the name of its folder.
        suite: the Debian suite that it is taken from. These suites move, so no version is pinned.
        packages: the packages to extract.
        binaries: the folder of the server's binaries, as seen from inside the tree.
        server: the server's binary in that folder; asked for its version.
        required: the installation fails without it; otherwise it warns loudly.
    """

    name: str
    suite: str
    packages: tuple[str, ...]
    binaries: str
    server: str
    required: bool = True

    @property
    def folder(self) -> Path:
        """Where the tree is, or would be."""
        return servers_folder() / self.name

    def marker(self) -> dict[str, str] | None:
        """What the installer noted when it completed the tree (``version``, ``suite``, …), or None without a tree."""
        try:
            text = (self.folder / MARKER).read_text()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        noted: dict[str, str] = json.loads(text)
        return noted

    @property
    def is_complete(self) -> bool:
        """Whether the tree is there with the packages that are asked for now."""
        noted = self.marker()
        return noted is not None and noted["packages"] == " ".join(self.packages)


POSTGRESQL18 = Tree(
    name="postgresql18",
    suite="forky",
    packages=(
        *RUNTIME_PACKAGES,
        "postgresql-18",
        "postgresql-18-pgvector",
        "postgresql-18-documentdb",
        "postgresql-18-postgis-3",
    ),
    binaries="/usr/lib/postgresql/18/bin",
    server="postgres",
)
MYSQL = Tree(
    name="mysql",
    suite="sid",
    packages=(*RUNTIME_PACKAGES, "mysql-server-core", "mysql-client-core", "openssl"),
    binaries="/usr/sbin",
    server="mysqld",
    required=False,
)
TREES = (POSTGRESQL18, MYSQL)
