"""An Alembic project is adopted as it is: its folder, its env.py, its history. Nothing in it is changed."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config

from sillar import load_config
from sillar.migrations import MigrationManager

REVISION = '''"""make stones"""

import sqlalchemy as sa
from alembic import op

revision = "a1"
down_revision = None


def upgrade() -> None:
    op.create_table("stone", sa.Column("id", sa.Integer, primary_key=True), sa.Column("kind", sa.String(20)))


def downgrade() -> None:
    op.drop_table("stone")
'''


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        database = root / "stones.db"

        # A project that somebody made with `alembic init`, and has never heard of Sillar.
        with redirect_stdout(StringIO()):
            command.init(Config(str(root / "alembic.ini")), str(root / "alembic"))
        ini = root / "alembic.ini"
        url = f"sqlalchemy.url = sqlite:///{database}"
        ini.write_text(ini.read_text().replace("sqlalchemy.url = driver://user:pass@localhost/dbname", url))
        (root / "alembic" / "versions" / "a1_stones.py").write_text(REVISION)

        config = load_config(
            overrides={
                "databases": {"default": {"engine": "sqlite", "database": str(database)}},
                "migration_config": {"directory": str(root / "alembic"), "alembic_ini": str(ini)},
            },
            environment={},
        )
        migrations = MigrationManager.of(config)
        applied = await migrations.apply_migrations()  # through its own env.py and driver, under Sillar's lock
        print("applied:", [each.version for each in applied])
        (entry,) = await migrations.history()
        print("log:", entry.direction, entry.name)

        # It stays an Alembic project: the stock command goes on with it, and so does Sillar.
        await asyncio.to_thread(command.downgrade, Config(str(ini)), "base")
        print("after alembic downgrade:", await migrations.current())
        print("applied:", [each.version for each in await migrations.apply_migrations()])


if __name__ == "__main__":
    asyncio.run(main())
