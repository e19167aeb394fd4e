"""Freshly initialised data folders, kept for the next server of the same version: making one takes MySQL seconds."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from sillar.testing.servers.tree import servers_folder


class DataTemplate:
    """One data folder as it is right after its initialisation, kept below the folder of the installed trees.

    Args:
        product, version, options: what it depends on; any other value is another template.
    """

    def __init__(self, product: str, version: str, *options: str) -> None:
        digest = hashlib.sha256(repr((version, options, os.geteuid())).encode()).hexdigest()[:12]
        self.folder = servers_folder() / "templates" / f"{product}-{version}-{digest}"

    async def copy_to(self, data: Path) -> bool:
        """Fill an empty folder from it; returns False when there is no template yet."""
        if not self.folder.is_dir():
            return False
        await asyncio.to_thread(copy_folder, self.folder, data)
        return True

    async def fill_from(self, data: Path) -> None:
        """Keep a copy of the folder. Whoever is first wins; nobody ever sees half a template."""
        await asyncio.to_thread(self._fill_from, data)

    def _fill_from(self, data: Path) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix="partial-", dir=self.folder.parent))
        copy_folder(data, partial)
        try:
            partial.rename(self.folder)
        except OSError:
            if not self.folder.is_dir():
                raise
            shutil.rmtree(partial)


def copy_folder(source: Path, target: Path) -> None:
    """Copy what is in one folder into another, with owners and modes."""
    # shutil does not keep owners.
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True, capture_output=True)  # noqa: S603, S607
