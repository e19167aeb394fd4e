"""What a SQLite file says of its tables. Rows are counted up to a limit."""

from __future__ import annotations

import sqlalchemy as sa

from sillar.migrations.lint.facts import TableFacts, facts_from
from sillar.migrations.lint.reader import read_statement
from sillar.migrations.lint.sqlite.rules import SQLiteRules

ROWS_COUNTED_MAX = 1_000_000


def read_sqlite(connection: sa.Connection) -> TableFacts:
    """Read what the file says of all tables.

    Args:
        connection: any.
    """
    texts = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").scalars()
    version = tuple(part for part in connection.dialect.server_version_info or () if isinstance(part, int))
    facts = facts_from((read_statement(text, SQLiteRules.lexicon).action for text in texts), version=version)
    facts.foreign_keys = bool(connection.exec_driver_sql("PRAGMA foreign_keys").scalar())
    quote = connection.dialect.identifier_preparer.quote_identifier
    for table in facts.tables.values():
        counted = f"SELECT count(*) FROM (SELECT 1 FROM {quote(table.name)} LIMIT {ROWS_COUNTED_MAX})"  # noqa: S608 (a quoted name)
        table.rows = connection.exec_driver_sql(counted).scalar()
    return facts
