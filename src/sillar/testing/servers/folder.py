"""The private folder that one server runs in."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "sillar-server-"
OWNER = "owner"
LOGS_KEPT_DAYS = 7


class RunFolder:
    """A new folder of one's own, removed at the end; folders whose test run is dead are swept away on the way.

    A lock on the file ``owner`` in it says that its test run lives.

    Args:
        parent: where to make it: the temporary folder of a tree, or None for the machine's.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or _temporary_folder()
        sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        # The server's user has to pass through; it owns what lies inside.
        self.path.chmod(0o711)
        # Locked before it gets its name: a sweeper never sees it without the lock.
        unnamed = self.path / f"{OWNER}.new"
        self._owner = unnamed.open("w")
        fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(self.path / OWNER)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        self._owner.close()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove one's own folders below ``parent`` whose test runs are dead."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid != os.geteuid():
                continue
            with (folder / OWNER).open() as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def keep_log(log: Path, name: str) -> Path:
    """Copy a log to where it survives its server; returns that place. Logs older than a week are removed there."""
    kept = Path(tempfile.gettempdir()) / f"sillar-server-logs-{os.geteuid()}"
    kept.mkdir(mode=0o700, exist_ok=True)
    for old in kept.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - old.stat().st_mtime > LOGS_KEPT_DAYS * 86400:
                old.unlink()
    target = kept / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{time.monotonic_ns() % 1000000}.log"
    shutil.copyfile(log, target)
    return target


def _temporary_folder() -> Path:
    """The machine's temporary folder; ``/tmp`` where ``TMPDIR`` lies somewhere that a server's user cannot reach."""
    folder = Path(tempfile.gettempdir())
    if os.geteuid() == 0 and any(not part.stat().st_mode & 0o001 for part in (folder, *folder.parents)):
        return Path("/tmp")  # noqa: S108 - only as the parent of folders that mkdtemp makes
    return folder
