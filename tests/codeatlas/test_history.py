"""The history that codeatlas ships: it makes what the models say, adopts older releases, and is told to go on."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codeatlas import history
from codeatlas.store import SCHEMA_HEAD, AtlasStore, SchemaVersionError
from codeatlas.stores import store_for
from sillar import Capability, DatabaseManager


def is_sql(manager: DatabaseManager) -> bool:
    return manager.session().capabilities.has(Capability.SQL)


@pytest.fixture
def next_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The next release, which has one migration more."""
    folder = tmp_path / "migrations"
    shutil.copytree(Path(history.__file__).parent / "migrations", folder)
    head = "from collections.abc import Sequence\n\nrevision = 'r0002'\ndown_revision = 'r0001'\n\n\n"
    sql = (
        "from alembic import op\nimport sqlalchemy as sa\n\n\ndef upgrade():\n"
        "    op.create_table('atlas_next', sa.Column('id', sa.Integer, primary_key=True))\n\n\n"
        "def downgrade():\n    op.drop_table('atlas_next')\n"
    )
    documents = (
        "async def upgrade(op):\n    await op.create_index('atlas_next', [('a', 1)], name='a')\n\n\n"
        "async def downgrade(op):\n    await op.drop_index('atlas_next', 'a')\n"
    )
    for kind, body in (("sql", sql), ("mongodb", documents)):
        (folder / kind / "versions" / "r0002_next.py").write_text(f'"""next"""\n\n{head}{body}')
    monkeypatch.setattr(history, "_FOLDER", folder)
    for module in ("codeatlas.store", "codeatlas.sql_store", "codeatlas.history"):
        monkeypatch.setattr(f"{module}.SCHEMA_HEAD", "r0002")


async def test_the_head_is_what_the_program_needs(store: AtlasStore, manager: DatabaseManager) -> None:
    migrations = history.migrations_of(manager)
    assert migrations.scripts.heads() == (SCHEMA_HEAD,)
    assert await migrations.current() == (SCHEMA_HEAD,)


async def test_models_and_history_agree(store: AtlasStore, manager: DatabaseManager) -> None:
    if is_sql(manager):  # documents have no models here
        assert await history.migrations_of(manager).runner.differences() == []
    else:
        assert await history.migrations_of(manager).pending() == []


async def test_a_database_of_a_release_without_history_is_adopted(
    new_store: AtlasStore, new_manager: DatabaseManager
) -> None:
    store, manager = new_store, new_manager
    project = await store.project("kept")
    async with manager.session() as session:
        for name in ("alembic_version", "_migrations"):
            if is_sql(manager):
                await session.execute(f"DROP TABLE {name}")
            else:
                await session.documents(name).delete_many({})
    await store.open_schema()
    assert await history.migrations_of(manager).current() == (SCHEMA_HEAD,)
    assert await store.projects() == [project]


@pytest.mark.usefixtures("next_release")
async def test_a_database_that_is_behind_is_migrated_when_told_to(
    new_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with DatabaseManager.from_url(new_url) as manager:
        store = store_for(manager)
        migrations = history.migrations_of(manager)
        await migrations.apply_migrations()
        await migrations.rollback_migration("r0001")
        with pytest.raises(SchemaVersionError, match="at r0001, and this program needs r0002: run `codeatlas upgrade`"):
            await store.open_schema()
        assert await migrations.current() == ("r0001",)
        await asyncio.gather(*(store_for(manager).open_schema(upgrade=True) for _ in range(3)))
        assert await migrations.current() == ("r0002",)
        assert [entry.version for entry in await migrations.history()].count("r0002") == 3  # up, down, up: once more
        await migrations.rollback_migration("r0001")


def test_the_command_says_where_the_database_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "codeatlas", "upgrade", "--database", f"sqlite:///{tmp_path}/atlas.db"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"The database is at {SCHEMA_HEAD}." in ended.stdout
