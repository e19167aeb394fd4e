"""A database and a folder of migrations, for the tests of migrations of documents."""

from __future__ import annotations

import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sillar import DatabaseManager
from sillar.config import MigrationConfig
from sillar.migrations.mongodb import MongoDBRunner
from sillar.migrations.progress import Progress
from sillar.migrations.runner import RunSettings
from sillar.migrations.scripts import Scripts

STEPS = """
from sillar.migrations.mongodb import DocumentOperations

revision = {version!r}
down_revision = {follows!r}
branch_labels = None
depends_on = None

{body}
"""


class Ground:
    """A database, a folder of migrations, and runners of them.

    Attributes:
        url: of the database, which is this test's alone.
        folder: of the migrations.
        manager: on the database.
        told: what the runners have reported.
    """

    def __init__(self, url: str, folder: Path, manager: DatabaseManager) -> None:
        self.url, self.folder, self.manager = url, folder, manager
        self.told: list[Progress] = []

    def write(self, version: str, body: str, follows: Any = None, name: str = "a step forward") -> Path:
        """Write a migration file; what goes up and what goes down stands in the body."""
        text = f'"""{name}"""\n' + STEPS.format(version=version, follows=follows, body=textwrap.dedent(body))
        if "def downgrade" not in body:
            text += "\n\nasync def downgrade(op: DocumentOperations) -> None:\n    pass\n"
        file = self.folder / "versions" / f"{version}_step.py"
        file.write_text(text, encoding="utf-8")
        return file

    def runner(self, manager: DatabaseManager | None = None, **more: Any) -> MongoDBRunner:
        """A runner that reads the folder anew."""
        config: dict[str, Any] = {"migrator_timeout": 60.0, "directory": self.folder, **more.pop("config", {})}
        given = {"report": self.told.append, **more.pop("settings", {})}
        settings = RunSettings(MigrationConfig(**config), "default", **given)
        used = manager or self.manager

        @asynccontextmanager
        async def opened() -> AsyncIterator[DatabaseManager]:
            yield used

        return MongoDBRunner(Scripts(self.folder), settings, opened, **{"lease_seconds": 20.0, **more})

    def documents(self, name: str) -> Any:
        return self.manager.session().documents(name)

    async def names(self) -> set[str]:
        """The collections, without those of the migrations."""
        listing = await self.driver.list_collection_names()
        return {name for name in listing if not name.startswith("_migration")}

    @property
    def driver(self) -> Any:
        """The driver's database."""
        return self.manager.pools["default"].client.database  # type: ignore[attr-defined]  # MongoDB's has one

    async def journal(self) -> list[dict[str, Any]]:
        """The runs that are not at their end."""
        found: list[dict[str, Any]] = await self.documents("_migration_steps").find()
        return found


NewGround = Callable[..., Any]
