"""Facts from a live server."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa

from sillar.errors import UsageError
from sillar.migrations.lint.facts import TableFact, TableFacts, fold
from sillar.migrations.lint.mysql.facts import read_mysql
from sillar.migrations.lint.mysql.rules import MariaDBRules, MySQLRules
from sillar.migrations.lint.postgresql.facts import read_postgresql
from sillar.migrations.lint.postgresql.rules import PostgreSQLRules
from sillar.migrations.lint.sqlite.facts import read_sqlite
from sillar.migrations.lint.sqlite.rules import SQLiteRules

Reader = Callable[[sa.Connection, Collection[str] | None], TableFacts]
_READERS: dict[str, Reader] = dict(
    [
        *((name, lambda connection, _: read_postgresql(connection)) for name in PostgreSQLRules.names),
        *((name, read_mysql) for rules in (MySQLRules, MariaDBRules) for name in rules.names),
        *((name, lambda connection, _: read_sqlite(connection)) for name in SQLiteRules.names),
    ]
)


def read_facts(connection: sa.Connection, names: Collection[str] | None = None) -> TableFacts:
    """What a server knows of its tables: sizes, columns, constraints, its version.

    Nothing is locked and, except on SQLite, no table is read: sizes are the server's estimates.

    Args:
        connection: any, also the synchronous one of an ``AsyncConnection.run_sync``.
        names: the tables that are wanted, where each takes a question of its own; None: all.

    Raises:
        UsageError: the lint does not know that dialect.
    """
    try:
        read = _READERS[connection.dialect.name]
    except KeyError:
        raise UsageError(f"the lint cannot read the tables of {connection.dialect.name!r}") from None
    return read(connection, names)


def dialect_of(connection: sa.Connection) -> str:
    """The dialect whose rules hold for a server: ``mariadb`` apart from ``mysql``."""
    dialect = connection.dialect
    return MariaDBRules.names[0] if getattr(dialect, "is_mariadb", False) else dialect.name


async def read_collection_facts(database: Any) -> TableFacts:
    """What a document database knows of its collections: how many documents, and the names of their indexes.

    Args:
        database: the driver's own (PyMongo's ``AsyncDatabase``).
    """
    facts = TableFacts()
    for name in await database.list_collection_names():
        count = await database[name].estimated_document_count()
        facts.tables[fold(name)] = TableFact(name, rows=count)
    return facts
