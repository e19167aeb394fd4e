"""Projects that know nothing of Sillar: made by stock ``alembic init``, with histories of their own."""

from __future__ import annotations

import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from alembic import command
from alembic.config import Config
from tests.children import ended
from tests.migrations.running.project import Place, Project


class ForeignProject(Project):
    """A project of ``alembic init``.

    Args:
        root: folder of the project.
        template: of Alembic: ``generic``, ``async``, ``multidb``.
        url: of the database, with a stock driver.
    """

    def __init__(self, root: Path, template: str, url: str) -> None:
        super().__init__(root, create=False)
        self.url, self.ini = url, root / "alembic.ini"
        command.init(Config(str(self.ini)), str(self.folder), template=template)
        self.edit_ini(r"sqlalchemy.url = .*", f"sqlalchemy.url = {url}")

    def edit_ini(self, pattern: str, text: str) -> None:
        self.ini.write_text(re.sub(pattern, lambda _: text, self.ini.read_text()))

    def edit_env(self, before: str, after: str) -> None:
        env = self.folder / "env.py"
        source = env.read_text()
        assert before in source
        env.write_text(source.replace(before, after))

    async def alembic(self, *arguments: str) -> str:
        """Run the stock command in a process of its own; what it printed."""
        return await stock(self.root, *arguments)


async def stock(root: Path, *arguments: str) -> str:
    """Run stock ``alembic`` in a folder; what it printed."""
    command = (sys.executable, "-m", "alembic", *arguments)
    status, output, _ = await ended(*command, cwd=root, stdout=PIPE, stderr=STDOUT)
    assert status == 0, output.decode()
    return output.decode()


def url_of(place: Place, driver: str) -> str:
    """The address of a database for a stock driver."""
    settings = place.settings
    if settings["engine"] == "sqlite":
        return f"{driver}:///{settings['database']}"
    login = settings["credentials"]
    address = f"{settings['host']}:{settings['port']}"
    return f"{driver}://{login['user']}:{login['password']}@{address}/{settings['database']}"
