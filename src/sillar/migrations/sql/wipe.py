"""Empties a throwaway database."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from sillar.migrations.sql.dialects import dialect_of


def wipe(connection: Connection) -> None:
    """Drop everything in the default schema, but what belongs to extensions.

    Args:
        connection: in autocommit mode.
    """
    for listing in dialect_of(connection.dialect.name).drop_queries:
        for statement in connection.exec_driver_sql(listing).scalars().all():
            connection.exec_driver_sql(statement)


__all__ = ["wipe"]
