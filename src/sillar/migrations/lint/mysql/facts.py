"""What a MySQL or MariaDB server says of its tables. Sizes are InnoDB's estimates; no table is read."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from sillar.migrations.lint.facts import TableFact, TableFacts, fold
from sillar.migrations.lint.model import CreateTable
from sillar.migrations.lint.mysql.rules import MySQLRules
from sillar.migrations.lint.reader import read_statement

_TABLES = """
SELECT TABLE_NAME, TABLE_TYPE, TABLE_ROWS, DATA_LENGTH, TABLE_COLLATION, CREATE_OPTIONS
FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()
"""
_VIEWS = "SELECT TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE()"
_TRIGGERS = "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()"
_FRESH = "SET SESSION information_schema_stats_expiry = {}"


def read_mysql(connection: sa.Connection, names: Collection[str] | None = None) -> TableFacts:
    """Read what the server knows of tables.

    Args:
        connection: any that may read the tables' definitions.
        names: the tables whose columns are wanted; None: all.
    """
    dialect = connection.dialect
    schema = connection.exec_driver_sql("SELECT DATABASE()").scalar()
    facts = TableFacts(version=_version(connection), schemas=(fold(str(schema)),))
    is_mysql = not getattr(dialect, "is_mariadb", False)
    if is_mysql:  # its estimates are a day old otherwise
        connection.exec_driver_sql(_FRESH.format(0))
    rows = connection.exec_driver_sql(_TABLES).all()
    if is_mysql:
        connection.exec_driver_sql(_FRESH.format("DEFAULT"))
    wanted = None if names is None else {facts.key(name) for name in names}
    for name, kind, count, size, collation, options in rows:
        if kind != "BASE TABLE":
            continue
        fact = TableFact(name, count, size, charset=(collation or "").partition("_")[0] or None)
        fact.partitioned = "partitioned" in (options or "")
        facts.tables[fold(name)] = fact
        if wanted is None or fold(name) in wanted:
            _define(connection, fact)
        else:
            fact.complete = False
    for name, text in connection.exec_driver_sql(_VIEWS):
        facts.views[fold(name)] = text
    for table, name in connection.exec_driver_sql(_TRIGGERS):
        facts.ensure(table).triggers.add(name)
    return facts


def _define(connection: sa.Connection, fact: TableFact) -> None:
    quoted = connection.dialect.identifier_preparer.quote_identifier(fact.name)
    text = connection.exec_driver_sql(f"SHOW CREATE TABLE {quoted}").one()[1]
    action = read_statement(text, MySQLRules.lexicon).action
    if not isinstance(action, CreateTable):
        fact.complete = False
        return
    fact.columns = {fold(each.name): each for each in action.columns}
    fact.constraints = list(action.constraints)
    fact.indexes = {fold(each.name or ""): each for each in action.indexes}


def _version(connection: sa.Connection) -> tuple[int, ...]:
    info = connection.dialect.server_version_info or ()
    return tuple(part for part in info if isinstance(part, int))[:3]
