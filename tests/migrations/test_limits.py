"""What a service limits for its requests does not limit its migrations; what work leaves behind is no drift."""

from __future__ import annotations

from pathlib import Path

from sillar import DatabaseManager
from sillar.config import load_config
from sillar.migrations import MigrationManager
from sillar.migrations.scripts import Scripts

SLOW = (
    "op.execute('CREATE TABLE slow AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)"
    " SELECT max(i) AS i FROM n')"
)


async def test_a_migration_may_take_longer_than_a_request(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    Scripts.create(folder, "sql")
    Scripts(folder).write("slow", upgrade_text=SLOW)
    config = load_config(
        url=f"sqlite:///{tmp_path}/app.db?statement_timeout=0.1",
        environment={},
        overrides={"migration_config": {"directory": str(folder)}},
    )
    assert [each.name for each in await MigrationManager.of(config).apply_migrations()] == ["slow"]


async def test_tables_of_the_work_are_no_difference(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    Scripts.create(folder, "sql")
    env = folder / "env.py"
    env.write_text(
        env.read_text().replace(
            "target_metadata = None", "from sqlalchemy import MetaData\ntarget_metadata = MetaData()"
        )
    )
    url = f"sqlite:///{tmp_path}/app.db"
    config = load_config(url=url, environment={}, overrides={"migration_config": {"directory": str(folder)}})
    async with DatabaseManager.from_url(url) as manager:
        for name in ("_migration_batches", "_copy_progress", "forgotten"):
            await manager.session().execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")
    [difference] = await MigrationManager.of(config).runner.differences()
    assert "forgotten" in difference
