"""The labels of the corpus, and so the lint, against what MySQL and MariaDB accept under ``ALGORITHM=`` and ``LOCK=``.

What is accepted as INSTANT costs nothing; INPLACE without a lock lets writes go on; with LOCK=SHARED they wait; what is
refused as anything but COPY copies the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit

import pymysql
import pytest
from tests.migrations.lint.alembic_cases import alembic_cases
from tests.migrations.lint.labelled import Case, schema_text, sql_cases

from sillar.migrations.lint import model, planned_statements, read_statement_action
from sillar.testing.servers import MariaDBServer, MySQLServer
from sillar.testing.servers.sql_server import SQLServer

NOT_SUPPORTED = {1845, 1846}
UNSAFE_TO_REPLICATE = 1674  # with a binary log MySQL refuses a default that differs from row to row altogether
PARTS = (
    model.AddColumn, model.DropColumn, model.ModifyColumn, model.RenameColumn, model.AddConstraint,
    model.DropConstraint, model.AddIndex, model.DropTableIndex, model.SetDefault, model.Rewrite, model.Harmless,
    model.EnforceConstraint,
)  # fmt: skip


class Way(IntEnum):
    """How the server carries a change out, from cheap to dear."""

    INSTANT = 0
    ONLINE = 1
    SHARED = 2
    COPY = 3


WAYS = {
    Way.INSTANT: "ALGORITHM=INSTANT",
    Way.ONLINE: "ALGORITHM=INPLACE, LOCK=NONE",
    Way.SHARED: "ALGORITHM=INPLACE, LOCK=SHARED",
    Way.COPY: "ALGORITHM=COPY",
}
COSTS = {
    "type-change-rewrites": Way.COPY,
    "table-copied": Way.COPY,
    "volatile-default": Way.COPY,
    "default-rewrites": Way.COPY,
    "generated-column-rewrites": Way.COPY,
    "foreign-key-copies-table": Way.COPY,
    "drop-primary-key": Way.COPY,
    "identity-column-rewrites": Way.SHARED,
    "fulltext-index-blocks-writes": Way.SHARED,
    "index-blocks-writes": Way.SHARED,
    "table-rebuilt": Way.ONLINE,
}


@dataclass(frozen=True)
class Alteration:
    """The statement of a case that alters a table, and what goes before it."""

    case: Case
    sql: str
    table: str
    before: tuple[str, ...]


def alterations(dialect: str) -> Iterator[Alteration]:
    """The cases that one ALTER TABLE is about, of a table that holds rows, on a server of today."""
    cases = [*sql_cases(dialect), *(case for case in alembic_cases() if case.dialect == dialect)]
    for case in cases:
        actions = [read_statement_action(each.sql, dialect) for each in case.statements]
        altered = [
            number
            for number, action in enumerate(actions)
            if isinstance(action, model.AlterTable) and not action.algorithm and not action.lock
        ]
        others = [each for each in actions if not isinstance(each, (model.AlterTable, model.Setting))]
        if case.options or "tiny" in case.name or len(altered) != 1 or others:
            continue
        action, sql = actions[altered[0]], case.statements[altered[0]].sql
        assert isinstance(action, model.AlterTable)
        whats = {part.what for part in action.parts if isinstance(part, model.Rewrite)}
        engines = "MyISAM" in sql or "FROBNICATE" in sql or "something" in sql or "*/" in sql
        if " NOWAIT " in sql:  # with ONLINE, which asks for LOCK=NONE itself
            continue
        if (
            whats & {"partition", "drop partition", "add partitions", "truncate partition"}
            or engines
            or not all(isinstance(p, PARTS) for p in action.parts)
        ):
            continue
        before = tuple(each.sql for each in case.statements[: altered[0]])
        yield Alteration(case, sql, action.table, before)


@contextmanager
def connected(server: SQLServer) -> Iterator[pymysql.cursors.Cursor]:
    """A database with the schema of the corpus."""
    url = urlsplit(server.superuser_url)
    connection = pymysql.connect(
        host=url.hostname, port=url.port or 0, user=url.username, password=url.password or "", autocommit=True
    )
    try:
        cursor = connection.cursor()
        cursor.execute("DROP DATABASE IF EXISTS lint_truth")
        cursor.execute("CREATE DATABASE lint_truth CHARACTER SET utf8mb4")
        cursor.execute("USE lint_truth")
        cursor.execute("SET SESSION binlog_format = 'ROW'")
        yield cursor
        cursor.execute("DROP DATABASE lint_truth")
    finally:
        connection.close()


def way_of(cursor: pymysql.cursors.Cursor, alteration: Alteration) -> Way:
    """The cheapest way that the server accepts."""
    for way, words in WAYS.items():
        try:
            cursor.execute(f"{alteration.sql}, {words}")
        except (pymysql.err.OperationalError, pymysql.err.NotSupportedError) as error:
            if error.args[0] in NOT_SUPPORTED:
                continue
            if error.args[0] == UNSAFE_TO_REPLICATE:
                return Way.COPY
            raise AssertionError(f"{alteration.case.name}: {error}") from error
        return way
    raise AssertionError(f"{alteration.case.name}: refused in every way")


def compare(server: SQLServer, dialect: str) -> int:
    """Compare all alterations with the labels; how many there are."""
    tables = {
        action.table: each.sql
        for each in planned_statements(schema_text(dialect), dialect)
        if isinstance(action := read_statement_action(each.sql, dialect), model.CreateTable)
    }
    compared = 0
    with connected(server) as cursor:
        for sql in tables.values():
            cursor.execute(sql)
        for alteration in alterations(dialect):
            cursor.execute("SET foreign_key_checks = 1")
            if dialect == "mariadb":
                cursor.execute("SET check_constraint_checks = 1")
            for sql in alteration.before:
                cursor.execute(sql)
            way = way_of(cursor, alteration)
            expected = max((COSTS.get(rule, Way.INSTANT) for rule in alteration.case.expected), default=Way.INSTANT)
            cheap = expected is Way.INSTANT and way <= Way.ONLINE  # an index that is built online is safe
            assert way is expected or cheap, (alteration.case.name, way, alteration.case.expected)
            cursor.execute("SET foreign_key_checks = 0")
            cursor.execute(f"DROP TABLE {alteration.table}")
            cursor.execute(tables[alteration.table])
            compared += 1
    return compared


def test_mysql_does_what_the_labels_say(mysql: MySQLServer) -> None:
    assert compare(mysql, "mysql") >= 60


def test_mariadb_does_what_the_labels_say(mariadb: MariaDBServer) -> None:
    assert compare(mariadb, "mariadb") >= 25


def test_the_server_refuses_what_is_said_to_be_refused(mysql: MySQLServer) -> None:
    cases = [case for case in sql_cases("mysql") if "algorithm-refused" in case.expected]
    assert len(cases) >= 2
    with connected(mysql) as cursor:
        for each in planned_statements(schema_text("mysql"), "mysql"):
            cursor.execute(each.sql)
        for case in cases:
            with pytest.raises((pymysql.err.OperationalError, pymysql.err.NotSupportedError)) as refused:
                cursor.execute(case.statements[0].sql)
            assert refused.value.args[0] in NOT_SUPPORTED
