"""The tables that Sillar keeps beside ``alembic_version``: the log of migrations, and how far one has come."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Column, DateTime, Float, Integer, MetaData, String, Table, Text, inspect, select
from sqlalchemy.engine import Connection
from sqlalchemy.types import TypeDecorator

from sillar.migrations.applied import AppliedMigration
from sillar.migrations.names import BATCHES_TABLE, COPIES_TABLE

_STEPS: Final = "_steps"
_NAME_MAX: Final = 500


class _UTC(TypeDecorator[datetime]):
    """A time in UTC, kept without a zone: all engines have that."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class HistoryTables:
    """The two tables, by their configured name.

    Args:
        name: of the log; the journal has ``_steps`` behind it.
        schema: of a tenant; None is the default one.
    """

    def __init__(self, name: str, schema: str | None = None) -> None:
        self.schema = schema
        self.metadata = MetaData(schema=schema)
        self.log = Table(
            name,
            self.metadata,
            Column("id", Integer, primary_key=True),
            Column("version", String(64), nullable=False),
            Column("name", String(_NAME_MAX), nullable=False),
            Column("direction", String(8), nullable=False),
            Column("applied_by", String(200), nullable=False),
            Column("applied_at", _UTC(), nullable=False),
            Column("duration_seconds", Float(53), nullable=False),
            Column("checksum", String(64), nullable=False),
            Column("environment", String(16), nullable=False),
        )
        self.journal = Table(
            name + _STEPS,
            self.metadata,
            Column("version", String(64), primary_key=True),
            Column("direction", String(8), nullable=False),
            Column("done", Integer, nullable=False),
            Column("digested", Integer, nullable=False),
            Column("digest", String(64), nullable=False),
            Column("in_flight", Text),
            Column("evidence", Text),
            Column("at", _UTC(), nullable=False),
        )

    @property
    def names(self) -> frozenset[str]:
        """Of all tables that are no part of the models, for whoever compares these with the database."""
        return frozenset((self.log.name, self.journal.name, BATCHES_TABLE, COPIES_TABLE))

    def create(self, connection: Connection) -> None:
        """Create what is not there, and commit."""
        self.metadata.create_all(connection)
        connection.commit()

    def entries(self, connection: Connection) -> list[AppliedMigration]:
        """The log, oldest first; empty where there is none."""
        if not inspect(connection).has_table(self.log.name, schema=self.schema):
            return []
        rows = connection.execute(select(self.log).order_by(self.log.c.id)).mappings()
        return [AppliedMigration(**{key: value for key, value in row.items() if key != "id"}) for row in rows]

    def add(self, connection: Connection, entry: AppliedMigration) -> None:
        """Write an entry, in the transaction that the connection is in."""
        connection.execute(self.log.insert().values(**self.values(entry)))

    def values(self, entry: AppliedMigration) -> dict[str, Any]:
        """An entry as values of the log's columns."""
        found = {name: getattr(entry, name) for name in AppliedMigration.__slots__}
        return {**found, "name": entry.name[:_NAME_MAX]}

    def begun(self, connection: Connection) -> list[str]:
        """The versions that were begun and not ended."""
        if not inspect(connection).has_table(self.journal.name, schema=self.schema):
            return []
        return list(connection.execute(select(self.journal.c.version).order_by(self.journal.c.at)).scalars())


def now() -> datetime:
    """The time for an entry."""
    return datetime.now(UTC)


__all__ = ["HistoryTables", "now"]
