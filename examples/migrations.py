"""Migrations from Python: a folder, two revisions, several instances that start at once, checks, and the way back.

The same code runs on PostgreSQL, MySQL, MariaDB and SQLite. On the command line it is `sillar init`, `sillar revision`,
`sillar upgrade`, `sillar check`, `sillar downgrade`.
"""

import asyncio
import os
import tempfile
from pathlib import Path

from sillar import DatabaseManager, load_config
from sillar.migrations import MigrationManager
from sillar.migrations.scripts import Scripts

URL = os.environ.get("SILLAR_EXAMPLE_URL", "sqlite:///example_migrations.db")
TABLE = 'op.create_table("example_quarry", sa.Column("id", sa.Integer, primary_key=True))'
COLUMN = 'op.add_column("example_quarry", sa.Column("name", sa.String(80), nullable=True))'


async def main(folder: Path) -> None:
    Scripts.create(folder, "sql")
    config = load_config(url=URL, overrides={"migration_config": {"directory": str(folder), "table": "example_log"}})
    migrations = MigrationManager.of(config)

    # Bodies are written by hand here; with models named in migration_config.models, they come from a comparison.
    await migrations.generate_migration(
        "quarries", autogenerate=False, upgrade_text=TABLE, downgrade_text='op.drop_table("example_quarry")'
    )
    await migrations.generate_migration(
        "their names",
        autogenerate=False,
        upgrade_text=COLUMN,
        downgrade_text='op.drop_column("example_quarry", "name")',
    )
    print("planned:", [migration.name for migration in await migrations.plan()])

    # Five instances start at once: one migrates, the others wait for it, and find nothing to do.
    done = await asyncio.gather(*(MigrationManager.of(config).apply_migrations() for _ in range(5)))
    print("applied by each:", sorted(len(applied) for applied in done))

    # A service that has its databases open migrates with them.
    async with DatabaseManager(config) as manager:
        opened = MigrationManager.of(manager)
        report = await opened.check()
        print("single head:", report["single head"].is_well, "| at head:", report["database is at head"].is_well)
        [undone] = await opened.rollback_migration("-1")
        print("undone:", undone.name)
        await opened.rollback_migration("base")
        print("log:", " ".join(entry.direction for entry in (await opened.history())[-4:]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder) / "migrations"))
