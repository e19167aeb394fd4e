"""The labels of the corpus, and so the lint, against what PostgreSQL really does.

A rewritten table has another ``relfilenode`` afterwards, as has an index that was built anew; a table that was read has
one more sequential scan in the statistics of the transaction; what is refused in a transaction is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
import pytest
from tests.migrations.lint.alembic_cases import alembic_cases
from tests.migrations.lint.labelled import Case, schema_text, sql_cases

from sillar.migrations.lint import model, planned_statements, read_statement_action
from sillar.testing.servers import PostgreSQLServer

SCHEMA = "lint_truth"
REWRITES = {
    "type-change-rewrites", "volatile-default", "identity-column-rewrites", "generated-column-rewrites",
    "table-rewritten", "domain-column-rewrites",
}  # fmt: skip
SCANS = {
    "set-not-null-scans", "check-without-not-valid", "foreign-key-without-not-valid", "validate-in-same-transaction",
    "default-partition-scans", "domain-constraint-scans", "attach-partition-scans",
}  # fmt: skip
BUILDS = {"unique-without-index", "index-blocks-writes", "type-change-rebuilds-indexes"}
REFUSED = {
    "concurrently-in-transaction", "outside-transaction-only", "enum-value-used-in-transaction",
    "concurrently-on-partitioned-table", "column-required",
}  # fmt: skip
LOCKS = {
    "index-blocks-writes": "ShareLock",
    "set-not-null-scans": "AccessExclusiveLock",
    "type-change-rewrites": "AccessExclusiveLock",
    "check-without-not-valid": "AccessExclusiveLock",
    "unique-without-index": "AccessExclusiveLock",
    "foreign-key-without-not-valid": "ShareRowExclusiveLock",
    "drop-index-locks": "AccessExclusiveLock",
    "detach-partition-locks": "AccessExclusiveLock",
    "volatile-default": "AccessExclusiveLock",
}
PARTS = (
    model.AddColumn, model.AlterType, model.SetNotNull, model.DropNotNull, model.SetDefault, model.AddConstraint,
    model.ValidateConstraint, model.DropConstraint, model.Rewrite, model.SetExpression, model.EnforceConstraint,
    model.AttachPartition,
)  # fmt: skip


def actions(case: Case) -> list[model.Action]:
    return [read_statement_action(each.sql, "postgresql") for each in case.statements]


def runs_here(case: Case) -> bool:
    """Whether the case is about types, columns, constraints or indexes, in one transaction, and needs nothing else."""
    if (
        case.options.keys() - {"version"}
        or not all(each.in_transaction for each in case.statements)
        or REFUSED & set(case.expected)
    ):
        return False
    if "tiny" in case.name or case.name == "alembic: drop constraint":  # harmless though it rewrites; not there
        return False
    if any(isinstance(each, model.TransactionControl) and each.what == "COMMIT" for each in actions(case)[:-1]):
        return False
    altered = [
        each
        for each in actions(case)
        if isinstance(each, (model.AlterTable, model.CreateIndex))
        or (isinstance(each, model.CreateTable) and each.partition_of is not None)
        or (isinstance(each, model.Maintain) and each.what == "domain")
    ]
    for action in altered:
        if isinstance(action, model.AlterTable):
            if not all(isinstance(part, PARTS) for part in action.parts):
                return False
            if any(isinstance(part, model.Rewrite) and part.what == "set tablespace" for part in action.parts):
                return False  # there is none
            if any(isinstance(p, model.AddConstraint) and p.constraint.kind == "exclude" for p in action.parts):
                return False  # an extension
    return bool(altered) and not any(
        isinstance(each, (model.Change, model.CreateTable)) and each not in altered for each in actions(case)
    )


ALL = [*sql_cases("postgresql"), *(case for case in alembic_cases() if case.dialect == "postgresql")]
CASES = [case for case in ALL if runs_here(case)]
REFUSED_CASES = [case for case in ALL if REFUSED & set(case.expected)]


@dataclass(frozen=True)
class State:
    """What the catalogue says of all tables and indexes: their files, and how often each table was read."""

    tables: dict[str, int]
    indexes: dict[str, int]
    scans: dict[str, int]


@pytest.fixture
async def connection(postgresql: PostgreSQLServer) -> AsyncIterator[asyncpg.Connection]:
    async with connected(postgresql) as opened:
        yield opened


@asynccontextmanager
async def connected(server: PostgreSQLServer) -> AsyncIterator[asyncpg.Connection]:
    """A schema with the tables of the corpus, and a row or two."""
    opened = await asyncpg.connect(server.superuser_url)
    await opened.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
    await opened.execute(f"SET search_path = {SCHEMA}; SET timezone = 'Europe/Madrid'")
    for each in planned_statements(schema_text("postgresql"), "postgresql"):
        await opened.execute(each.sql)
    await opened.execute("INSERT INTO teams VALUES (1, 'a')")
    await opened.execute("INSERT INTO users (id, email, nick, proven, age) VALUES (1, 'a', 'n', 1, 1)")
    yield opened
    await opened.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
    await opened.close()


async def state(connection: asyncpg.Connection) -> State:
    rows = await connection.fetch(
        "SELECT relname, relkind::text, relfilenode::bigint, pg_stat_get_xact_numscans(oid) AS scans FROM pg_class"
        f" WHERE relnamespace = '{SCHEMA}'::regnamespace AND relkind IN ('r', 'i')"
    )
    tables = {row["relname"]: row for row in rows if row["relkind"] == "r"}
    return State(
        {name: row["relfilenode"] for name, row in tables.items()},
        {row["relname"]: row["relfilenode"] for row in rows if row["relkind"] == "i"},
        {name: row["scans"] for name, row in tables.items()},
    )


def differ(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name in before if name in after and before[name] != after[name]}


async def test_the_server_does_what_the_labels_say(connection: asyncpg.Connection) -> None:
    cases = [case for case in CASES if not case.options]
    assert len(cases) >= 100
    await compare(connection, cases)


async def test_a_newer_server_does_what_the_labels_say_of_it(postgresql18: PostgreSQLServer) -> None:
    cases = [case for case in CASES if case.options == {"version": "18"}]
    assert len(cases) >= 6
    async with connected(postgresql18) as opened:
        await compare(opened, cases)


async def compare(connection: asyncpg.Connection, cases: list[Case]) -> None:
    for case in cases:
        transaction = connection.transaction()
        await transaction.start()
        try:
            before = await state(connection)
            for each in case.statements:
                if not isinstance(read_statement_action(each.sql, "postgresql"), model.TransactionControl):
                    await connection.execute(each.sql)
            after = await state(connection)
            held = {row["mode"] for row in await connection.fetch(
                "SELECT l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE l.pid = pg_backend_pid()"
                f" AND c.relnamespace = '{SCHEMA}'::regnamespace AND c.relkind = 'r'"
            )}  # fmt: skip
        finally:
            await transaction.rollback()
        expected = set(case.expected)
        rewritten = differ(before.tables, after.tables)
        assert bool(rewritten) == bool(expected & REWRITES), (case.name, rewritten)
        renamed = any("USING INDEX" in each.sql for each in case.statements)
        built = differ(before.indexes, after.indexes) or (
            set(after.indexes) - set(before.indexes) if not renamed else ()
        )
        if not rewritten:
            assert bool(built) == bool(expected & BUILDS), (case.name, built)
            if not built:
                read = differ(before.scans, after.scans)
                assert bool(read) == bool(expected & SCANS), (case.name, read)
        for rule in expected & set(LOCKS):
            assert LOCKS[rule] in held, (case.name, held)


async def test_the_server_refuses_what_the_labels_say_it_refuses(connection: asyncpg.Connection) -> None:
    assert len(REFUSED_CASES) >= 6
    for case in REFUSED_CASES:
        transaction = connection.transaction()
        inside = all(each.in_transaction for each in case.statements)
        if inside:
            await transaction.start()
        try:
            with pytest.raises(asyncpg.PostgresError):
                for each in case.statements:
                    if not isinstance(read_statement_action(each.sql, "postgresql"), model.TransactionControl):
                        await connection.execute(each.sql)
        finally:
            if inside:
                await transaction.rollback()
