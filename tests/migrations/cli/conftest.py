"""A project in an empty folder, and the command line as somebody types it there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sillar.cli.application import run


@dataclass
class Ended:
    """How a command has ended."""

    status: int
    printed: str
    complained: str

    @property
    def document(self) -> Any:
        """What ``--json`` printed."""
        return json.loads(self.printed)

    @property
    def result(self) -> Any:
        """What it says of the only target."""
        [result] = self.document["results"]
        return result


@dataclass
class Project:
    """A folder with a configuration and migrations."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    async def sillar(self, *arguments: str) -> Ended:
        """Run a command."""
        self.capsys.readouterr()
        status = await asyncio.to_thread(run, arguments)
        printed, complained = self.capsys.readouterr()
        return Ended(status, printed, complained)

    async def well(self, *arguments: str) -> Ended:
        """Run a command that must end well."""
        ended = await self.sillar(*arguments)
        assert ended.status == 0, ended
        return ended

    def configure(self, text: str) -> None:
        """Write the configuration."""
        (self.folder / "sillar.toml").write_text(text, encoding="utf-8")

    def migration(
        self,
        version: str,
        follows: str | tuple[str, ...] | None,
        up: str = "",
        down: str = "",
        *,
        folder: str = "migrations",
    ) -> Path:
        """Write a migration of SQL statements, one in a line."""
        path = self.folder / folder / "versions" / f"{version}.py"
        path.parent.mkdir(parents=True, exist_ok=True)

        def body(statements: str) -> str:
            return "\n".join(f"    op.execute({line!r})" for line in statements.splitlines() if line) or "    pass"

        path.write_text(
            f'"""make {version}\n"""\nfrom alembic import op\nrevision = {version!r}\ndown_revision = {follows!r}\n'
            f"branch_labels = None\ndepends_on = None\n\n\ndef upgrade() -> None:\n{body(up)}\n\n\n"
            f"def downgrade() -> None:\n{body(down)}\n",
            encoding="utf-8",
        )
        return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Project:
    """An empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Project(tmp_path, capsys)


MakeQuarry = Callable[..., Any]


@pytest.fixture
async def quarry(project: Project) -> Project:
    """A project on SQLite with two migrations, of which nothing is applied."""
    await project.well("init", "--url", "sqlite:///quarry.db")
    project.migration("one", None, "CREATE TABLE stone (id INTEGER PRIMARY KEY)", "DROP TABLE stone")
    project.migration("two", "one", "ALTER TABLE stone ADD COLUMN name TEXT", "ALTER TABLE stone DROP COLUMN name")
    return project
