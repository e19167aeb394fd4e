"""What is different from database to database when migrations run."""

from __future__ import annotations

from typing import Final

from sillar.errors import UnsupportedCapabilityError
from sillar.migrations.sql.dialects.dialect import MigrationDialect, Verdict
from sillar.migrations.sql.dialects.mysql import MySQLMigrations
from sillar.migrations.sql.dialects.postgresql import PostgreSQLMigrations
from sillar.migrations.sql.dialects.sqlite import SQLiteMigrations

_DIALECTS: Final[dict[str, MigrationDialect]] = {
    name: dialect
    for dialect in (PostgreSQLMigrations(), MySQLMigrations(), SQLiteMigrations())
    for name in dialect.names
}


def dialect_of(name: str) -> MigrationDialect:
    """What is particular to the database with this SQLAlchemy dialect.

    Raises:
        UnsupportedCapabilityError: nobody has looked at that database.
    """
    found = _DIALECTS.get(name)
    if found is None:
        raise UnsupportedCapabilityError(
            "migrations", engine=name, remedy=f"use one of {', '.join(sorted(_DIALECTS))}, or plain alembic"
        )
    return found


__all__ = ["MigrationDialect", "Verdict", "dialect_of"]
