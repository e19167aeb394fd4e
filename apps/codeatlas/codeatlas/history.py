"""The history of codeatlas's schema: the migrations that it ships, and how a database is brought up to them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from codeatlas.store import SCHEMA_HEAD, SchemaVersionError
from sillar import Capability, DatabaseManager, MigrationConfig
from sillar.errors import MigrationFileError
from sillar.migrations import AppliedMigration, MigrationManager

_BASELINE: Final = "r0001"
_FOLDER: Final = Path(__file__).parent / "migrations"


def migrations_of(manager: DatabaseManager, database: str | None = None) -> MigrationManager:
    """The migrations of a database of an open manager.

    Args:
        manager: open.
        database: configured name; None is the default one.
    """
    name = database or manager.config.default_database
    is_sql = manager.session(name).capabilities.has(Capability.SQL)
    config = MigrationConfig(directories={name: _FOLDER / ("sql" if is_sql else "mongodb")})
    return MigrationManager(config, manager, name)


async def bring_up_to_date(
    manager: DatabaseManager, database: str | None, *, upgrade: bool, is_older_release: bool
) -> list[AppliedMigration]:
    """Create the schema in an empty database; migrate one that is behind, if told to.

    Args:
        manager: open.
        database: configured name; None is the default one.
        upgrade: whether it was told to.
        is_older_release: the tables are there, of a release that kept no history: it is at the baseline.

    Returns:
        what was applied.

    Raises:
        SchemaVersionError: it is behind, and nobody has said so; or it is ahead of this program.
    """
    migrations = migrations_of(manager, database)
    current = await migrations.current()
    try:
        if not current and is_older_release:
            await migrations.runner.stamp(_BASELINE)
            current = (_BASELINE,)
        pending = migrations.scripts.pending(current)
    except MigrationFileError as error:
        raise SchemaVersionError(
            f"the database is at {', '.join(current)}, which this program does not know: it was migrated by a newer"
            " one; run that, or give another database and index again"
        ) from error
    if pending and current and not upgrade:
        raise SchemaVersionError(
            f"the database is at {', '.join(current)}, and this program needs {SCHEMA_HEAD}: run `codeatlas upgrade`,"
            " or start with --upgrade"
        )
    return await migrations.apply_migrations() if pending else []
