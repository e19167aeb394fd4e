"""A project whose migrations are checked."""

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
from sillar.migrations.scripts import Scripts
from sillar.testing.servers import Server
from sillar.testing.servers.sql_server import SQLServer


@asynccontextmanager
async def database_on(server: Server) -> AsyncIterator[str]:
    """An empty database of its own on a shared SQL server; its URL, for the superuser."""
    assert isinstance(server, SQLServer)
    name = f"migrations_{secrets.token_hex(5)}"
    await server.execute_as_superuser(f"CREATE DATABASE {name}")
    try:
        yield server.superuser_url.rpartition("/")[0] + f"/{name}"
    finally:
        await drop_database(server, name)


@dataclass
class Checked:
    """A project in a folder of its own."""

    folder: Path

    def write(self, version: str, follows: str | Sequence[str] | None, up: str, down: str | None = "pass") -> Path:
        """Write a migration; the bodies are Python, one statement in a line. Without ``down`` there is no function."""
        path = self.folder / "migrations" / "versions" / f"{version}.py"

        def body(text: str) -> str:
            return "\n".join(f"    {line}" for line in text.strip().splitlines())

        text = (
            f'"""make {version}"""\nimport sqlalchemy as sa\nfrom alembic import op\nrevision = {version!r}\n'
            f"down_revision = {follows!r}\nbranch_labels = None\ndepends_on = None\n\n\n"
            f"def upgrade() -> None:\n{body(up)}\n"
        )
        if down is not None:
            text += f"\n\ndef downgrade() -> None:\n{body(down)}\n"
        path.write_text(text, encoding="utf-8")
        return path

    def manager(self, url: str, models: Sequence[str] = (), **options: object) -> MigrationManager:
        """The manager of its migrations on a database."""
        overrides = {"migration_config": {"directory": str(self.folder / "migrations"), "models": list(models)}}
        return MigrationManager.of(load_config(url=url, environment={}, overrides=overrides), **options)


@pytest.fixture
def checked(tmp_path: Path) -> Checked:
    """A project without migrations."""
    Scripts.create(tmp_path / "migrations", "sql")
    return Checked(tmp_path)


CREATE_STONE = """
op.create_table(
    "stone", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String(40), nullable=False),
)
op.create_index("stone_name", "stone", ["name"])
"""
DROP_STONE = 'op.drop_table("stone")'
ADD_WEIGHT = 'op.add_column("stone", sa.Column("weight", sa.Integer, server_default="0"))'
DROP_WEIGHT = 'op.drop_column("stone", "weight")'


@pytest.fixture
def sound(checked: Checked) -> Checked:
    """Three migrations with nothing wrong."""
    checked.write("one", None, CREATE_STONE, DROP_STONE)
    checked.write("two", "one", ADD_WEIGHT, DROP_WEIGHT)
    checked.write(
        "three",
        "two",
        "op.execute(\"INSERT INTO stone (id, name) VALUES (1, '100%')\")",
        'op.execute("DELETE FROM stone WHERE id = 1")',
    )
    return checked
