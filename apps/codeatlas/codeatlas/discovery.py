"""Which source files a tree has, and which of them need to be looked at again."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from codeatlas.analysis import ANALYSER_VERSION

SUFFIXES = (".py", ".pyw")
PATH_LENGTH_MAX = 500
SKIPPED_FOLDERS = frozenset({"__pycache__", "site-packages", "dist-packages", "node_modules"})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file on disk.

    Attributes:
        path: inside the tree, with ``/``, legible even where the name on disk is no valid text.
        location: what the operating system opens.
        size_bytes, mtime_ns: as last seen; together the cheap sign that nothing changed.
    """

    path: str
    location: str
    size_bytes: int
    mtime_ns: int


class KnownFile(msgspec.Struct, frozen=True):
    """What the store remembers of a file for change detection."""

    id: int
    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    analyser: int


@dataclass(frozen=True, slots=True)
class Discovery:
    """A tree's source files in the order of their paths, and what could not be read or stored, with the reason."""

    files: list[SourceFile] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Changes:
    """A tree compared with what is known of it.

    Attributes:
        suspects: new files, and files whose size, time or analyser differ, each with what is known of it.
        unchanged: how many files need no look.
        removed: known files that are gone.
    """

    suspects: list[tuple[SourceFile, KnownFile | None]]
    unchanged: int
    removed: list[KnownFile]


def discover(root: Path) -> Discovery:
    """Find the Python files below ``root``.

    Left out: hidden files and folders, ``__pycache__``, installed packages (``site-packages``, virtual environments)
    and every symbolic link, so that loops cannot occur and nothing outside the tree is read. ``root`` itself may be a
    link.

    Raises:
        NotADirectoryError, FileNotFoundError, PermissionError: ``root`` cannot be listed.
    """
    found = Discovery()
    folders = [(os.fspath(root), "")]
    os.scandir(root).close()  # What is wrong with the root is an error; what is wrong deeper down is reported.
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    _enter(entry, prefix, found, folders)
        except OSError as error:
            found.skipped.append((prefix or ".", error.strerror or str(error)))
    found.files.sort(key=lambda file: file.path)
    return found


def compare(files: Iterable[SourceFile], known: Mapping[str, KnownFile]) -> Changes:
    """Tell what changed by size and time alone; whether a suspect really differs, its hash tells later."""
    suspects: list[tuple[SourceFile, KnownFile | None]] = []
    unchanged = 0
    seen: set[str] = set()
    for file in files:
        seen.add(file.path)
        before = known.get(file.path)
        if before is not None and (before.size_bytes, before.mtime_ns, before.analyser) == (
            file.size_bytes,
            file.mtime_ns,
            ANALYSER_VERSION,
        ):
            unchanged += 1
        else:
            suspects.append((file, before))
    removed = [before for path, before in known.items() if path not in seen]
    return Changes(suspects, unchanged, removed)


def package_of(path: str) -> str:
    """The folder a file is counted with, at most two levels deep.

    ``argparse.py`` → ``(top level)``, ``email/header.py`` → ``email``, ``src/a/b/c.py`` → ``src/a``.
    """
    folders = path.split("/")[:-1]
    return "/".join(folders[:2]) or "(top level)"


def _enter(entry: os.DirEntry[str], prefix: str, found: Discovery, folders: list[tuple[str, str]]) -> None:
    name = entry.name
    if name.startswith(".") or entry.is_symlink():
        return
    path = prefix + _legible(name)
    if entry.is_dir(follow_symlinks=False):
        if name not in SKIPPED_FOLDERS and not Path(entry.path, "pyvenv.cfg").exists():
            folders.append((entry.path, path + "/"))
        return
    if not name.endswith(SUFFIXES):
        return
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return
    if len(path) > PATH_LENGTH_MAX:
        found.skipped.append((path, f"the path has {len(path)} characters, {PATH_LENGTH_MAX} can be stored"))
        return
    found.files.append(SourceFile(path, entry.path, status.st_size, status.st_mtime_ns))


def _legible(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "backslashreplace")
