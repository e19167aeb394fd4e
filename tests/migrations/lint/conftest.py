"""A project with migrations, and databases to lint it on."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.databases import drop_database

from sillar.config import load_config
from sillar.migrations import MigrationManager
from sillar.migrations.lint.recipes import Recipe
from sillar.migrations.runner import Generation
from sillar.migrations.scripts import Scripts
from sillar.testing.servers.sql_server import SQLServer


@asynccontextmanager
async def database_on(server: SQLServer) -> AsyncIterator[str]:
    """An empty database of its own on a shared server; its URL, for the superuser."""
    name = f"lint_{secrets.token_hex(5)}"
    await server.execute_as_superuser(f"CREATE DATABASE {name}")
    try:
        yield server.superuser_url.rpartition("/")[0] + f"/{name}"
    finally:
        await drop_database(server, name)


@dataclass
class Project:
    """A folder of migrations."""

    folder: Path

    def manager(self, url: str, *, template: str = "sql") -> MigrationManager:
        """The manager of its migrations on a database in which every table with rows is large."""
        folder = self.folder / "migrations"
        if not folder.exists():
            Scripts.create(folder, template)
        overrides = {"migration_config": {"directory": str(folder), "large_table_rows": 1}}
        return MigrationManager.of(load_config(url=url, environment={}, overrides=overrides))

    async def write(self, manager: MigrationManager, message: str, up: str) -> str:
        """Write a migration; its version."""
        return (await manager.runner.generate(Generation(message, upgrade_text=up)))[0]

    async def write_recipes(self, manager: MigrationManager, recipes: Sequence[Recipe]) -> None:
        """Write the revisions of recipes, one behind the other."""
        for recipe in recipes:
            for revision in recipe.revisions:
                await manager.runner.generate(
                    Generation(
                        revision.message,
                        upgrade_text=revision.upgrade_text,
                        downgrade_text=revision.downgrade_text,
                        imports_text=revision.imports_text,
                    )
                )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)
