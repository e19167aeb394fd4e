"""Migrations on PostgreSQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Final

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from sillar.migrations.sql.connections import words_of
from sillar.migrations.sql.dialects.dialect import Ask, MigrationDialect, Verdict
from sillar.migrations.sql.statement import head

_PART: Final = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_NAME: Final = rf"{_PART}(?:\s*\.\s*{_PART})?"
_CREATE_INDEX: Final = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:(?:IF\s+NOT\s+EXISTS\s+)?"
    rf"(?!ON\b)(?P<name>{_NAME})\s+)?ON\s+(?:ONLY\s+)?(?P<table>{_NAME})",
    re.IGNORECASE,
)
_DROP_INDEX: Final = re.compile(rf"DROP\s+INDEX\s+CONCURRENTLY\s+(?:IF\s+EXISTS\s+)?(?P<name>{_NAME})", re.IGNORECASE)
_DETACH: Final = re.compile(
    rf"ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?(?P<table>{_NAME})\s+DETACH\s+PARTITION\s+(?P<name>{_NAME})"
    r"\s+CONCURRENTLY",
    re.IGNORECASE,
)
_CONCURRENTLY: Final = re.compile(r"\bCONCURRENTLY\b", re.IGNORECASE)
_ENDS: Final = re.compile(r"\b(?:COMMIT|ROLLBACK)\b", re.IGNORECASE)
_OUTSIDE: Final = frozenset(("VACUUM", "CALL", "CLUSTER", "REINDEX", "DISCARD"))
_SERVER_WIDE: Final = frozenset(("DATABASE", "TABLESPACE", "SUBSCRIPTION", "SYSTEM"))
_INDEXES: Final = (
    "SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_index i"
    " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
)
_INVALID: Final = """
    SELECT n.nspname || '.' || c.relname || ' on ' || t.relname
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT (i.indisvalid AND i.indisready) AND c.relkind = 'i' AND n.nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = c.oid)
    ORDER BY 1"""


class PostgreSQLMigrations(MigrationDialect):
    """An advisory lock, ``lock_timeout``, and indexes that a broken ``CREATE INDEX CONCURRENTLY`` leaves behind."""

    names = ("postgresql",)
    enters_schema = "SET search_path TO {}"
    leaves_schema = "SET search_path TO DEFAULT"
    catalogue_queries = (
        "SELECT 'sequence ' || c.relname, '' FROM pg_catalog.pg_class c WHERE c.relkind = 'S' AND NOT EXISTS"
        " (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i', 'e'))"  # a column's
        " AND c.relnamespace = COALESCE(CAST(:schema AS text), current_schema())::regnamespace",
        "SELECT 'function ' || p.oid::regprocedure::text, pg_catalog.pg_get_functiondef(p.oid)"
        " FROM pg_catalog.pg_proc p WHERE p.prokind IN ('f', 'p') AND NOT EXISTS"
        " (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"  # an extension's
        " AND p.pronamespace = COALESCE(CAST(:schema AS text), current_schema())::regnamespace",
        "SELECT 'trigger ' || t.tgname || ' of ' || c.relname, pg_catalog.pg_get_triggerdef(t.oid)"
        " FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid"
        " WHERE NOT t.tgisinternal"
        " AND c.relnamespace = COALESCE(CAST(:schema AS text), current_schema())::regnamespace",
        "SELECT 'policy ' || policyname || ' of ' || tablename,"
        " concat_ws(' ', permissive, roles::text, cmd, qual, with_check)"
        " FROM pg_catalog.pg_policies WHERE schemaname = COALESCE(CAST(:schema AS text), current_schema())",
        "SELECT 'row security of ' || c.relname, concat(c.relrowsecurity, c.relforcerowsecurity)"
        " FROM pg_catalog.pg_class c WHERE c.relrowsecurity"
        " AND c.relnamespace = COALESCE(CAST(:schema AS text), current_schema())::regnamespace",
    )
    drop_queries = (
        "SELECT format('DROP %s IF EXISTS %I.%I CASCADE', CASE o.relkind WHEN 'v' THEN 'VIEW'"
        " WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,"
        " current_schema(), o.relname) FROM pg_catalog.pg_class o"
        " WHERE o.relnamespace = current_schema()::regnamespace AND o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
        " AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = o.oid AND d.deptype = 'e')",
        "SELECT format('DROP %s IF EXISTS %s CASCADE', CASE o.prokind WHEN 'p' THEN 'PROCEDURE'"
        " WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END, o.oid::regprocedure) FROM pg_catalog.pg_proc o"
        " WHERE o.pronamespace = current_schema()::regnamespace"
        " AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = o.oid AND d.deptype = 'e')",
        "SELECT format('DROP TYPE IF EXISTS %I.%I CASCADE', current_schema(), o.typname) FROM pg_catalog.pg_type o"
        " LEFT JOIN pg_catalog.pg_class c ON c.oid = o.typrelid"
        " WHERE o.typnamespace = current_schema()::regnamespace AND (o.typtype IN ('e', 'd', 'r') OR c.relkind = 'c')"
        " AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.objid = o.oid AND d.deptype = 'e')",
    )
    transactional_ddl: ClassVar[bool] = True
    writes_in_queries: ClassVar[bool] = True
    records_directly: ClassVar[bool] = True
    lock_codes = frozenset({"55P03", "40P01"})
    rights_codes = frozenset({"42501"})
    already_codes = frozenset({"42P04", "3D000", "42710", "42704"})
    lost_codes = frozenset({"57P01", "57P02", "57P03", "08000", "08003", "08006"})

    def try_lock(self, connection: Connection, name: str) -> Any:
        # Asked again and again, never waited for in the server: whoever waits there holds a snapshot, and CREATE INDEX
        # CONCURRENTLY of the one who has the lock waits for all snapshots.
        taken = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _key(name)}).scalar_one()
        connection.commit()
        return True if taken else None

    def unlock(self, connection: Connection, name: str) -> None:
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _key(name)})
        connection.commit()

    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        connection.execute(
            text(
                "SELECT set_config('lock_timeout', :limit, false), set_config('statement_timeout', '0', false),"
                " set_config('idle_in_transaction_session_timeout', '0', false)"
            ),
            {"limit": str(max(1, int(lock_timeout * 1000)))},
        )

    def prepare_rehearsal(self, connection: Connection, lock_timeout: float) -> None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, int(lock_timeout * 1000))}")

    # --- statements that no transaction holds -------------------------------------------------------------------------

    def stands_alone(self, statement: str, *, autocommit: bool) -> bool:
        if not autocommit:  # the server refuses such statements in a transaction
            return False
        words = head(statement, 3)
        if words[0] in _OUTSIDE or (len(words) > 1 and words[1] in _SERVER_WIDE):
            return True
        if words[0] == "DO":
            return _ENDS.search(statement) is not None
        return words[0] in ("CREATE", "DROP", "ALTER") and _CONCURRENTLY.search(statement) is not None

    def evidence(self, ask: Ask, statement: str) -> str:
        created = _CREATE_INDEX.search(statement)
        if created is None:
            return ""
        if created["name"] is not None:  # IF NOT EXISTS would take an invalid one for what is wanted
            name = _beside(created["name"], created["table"])
            if _is_valid(ask, name) is False:
                ask(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        return ",".join(sorted(_indexes(ask, created["table"])))

    def settle(self, ask: Ask, statement: str, evidence: str) -> Verdict:
        if (found := _CREATE_INDEX.search(statement)) is not None:
            if found["name"] is not None:
                made = [_beside(found["name"], found["table"])]
            else:
                made = sorted(_indexes(ask, found["table"]) - set(evidence.split(",")))
            for name in made:
                valid = _is_valid(ask, name)
                if valid:
                    return Verdict.DONE
                if valid is False:
                    ask(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            return Verdict.AGAIN
        if (found := _DROP_INDEX.search(statement)) is not None:
            return Verdict.DONE if _is_valid(ask, found["name"]) is None else Verdict.AGAIN
        if (found := _DETACH.search(statement)) is not None:
            return _detached(ask, found["table"], found["name"])
        words = head(statement, 2)
        if words[0] in ("CALL", "DO"):
            return Verdict.UNKNOWN
        if words[0] in ("CREATE", "DROP"):
            return Verdict.AGAIN_OR_ALREADY
        if words[0] == "REINDEX":
            _drop_remains(ask)
        return Verdict.AGAIN

    def clear(self, ask: Ask, statement: str, evidence: str) -> str:
        if head(statement, 1) == ("REINDEX",) and _CONCURRENTLY.search(statement):
            return _drop_remains(ask)
        found = _CREATE_INDEX.search(statement)
        if found is None:
            return ""
        left = sorted(_indexes(ask, found["table"]) - set(evidence.split(",")))
        return "; ".join(_drop_invalid(ask, name) for name in left if _is_valid(ask, name) is False)

    @contextmanager
    def patient(self, ask: Ask, statement: str, seconds: float) -> Iterator[None]:
        if _CONCURRENTLY.search(statement) is None:
            yield
            return
        before = ask("SELECT pg_catalog.current_setting('lock_timeout')")[0][0]
        ask(f"SET lock_timeout = {max(1, int(seconds * 1000))}")
        yield
        ask(f"SET lock_timeout = '{before}'")

    # --- looking ------------------------------------------------------------------------------------------------------

    def invalid_indexes(self, connection: Connection) -> list[str]:
        return list(connection.exec_driver_sql(_INVALID).scalars())


def _key(name: str) -> int:
    """The number of the advisory lock: 63 bits of a hash, so that nobody else's small numbers are hit."""
    return int.from_bytes(hashlib.sha256(f"sillar migrations {name}".encode()).digest()[:8], "big") >> 1


def _quoted(name: str) -> str:
    """A name of the statement as text of another one."""
    return "'" + re.sub(r"\s*\.\s*", ".", name).replace("'", "''") + "'"


def _beside(name: str, table: str) -> str:
    """The name of an index with the schema of its table: it has no other."""
    parts = re.findall(_PART, table)
    return name if len(parts) == 1 or len(re.findall(_PART, name)) > 1 else f"{parts[0]}.{name}"


def _is_valid(ask: Ask, name: str) -> bool | None:
    """Whether an index is built; None: there is none of that name."""
    rows = ask(
        "SELECT i.indisvalid AND i.indisready AND i.indislive FROM pg_catalog.pg_index i"  # noqa: S608 - quoted names
        f" WHERE i.indexrelid = pg_catalog.to_regclass({_quoted(name)})"
    )
    return bool(rows[0][0]) if rows else None


def _indexes(ask: Ask, table: str) -> set[str]:
    return {row[0] for row in ask(f"{_INDEXES} WHERE i.indrelid = pg_catalog.to_regclass({_quoted(table)})")}


def _detached(ask: Ask, table: str, partition: str) -> Verdict:
    rows = ask(
        "SELECT inhdetachpending FROM pg_catalog.pg_inherits"  # noqa: S608 - quoted names
        f" WHERE inhrelid = pg_catalog.to_regclass({_quoted(partition)})"
        f" AND inhparent = pg_catalog.to_regclass({_quoted(table)})"
    )
    if not rows:
        return Verdict.DONE
    if rows[0][0]:
        ask(f"ALTER TABLE {table} DETACH PARTITION {partition} FINALIZE")
        return Verdict.DONE
    return Verdict.AGAIN


def _drop_remains(ask: Ask) -> str:
    """Drop what a broken REINDEX CONCURRENTLY leaves: copies that are not valid, ``…_ccnew`` or ``…_ccold``."""
    rows = ask(f"{_INDEXES} WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND n.nspname !~ '^pg_'")
    return "; ".join(_drop_invalid(ask, row[0]) for row in rows)


def _drop_invalid(ask: Ask, name: str) -> str:
    try:
        ask(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    except DBAPIError as error:
        return f"it left the invalid index {name}, which could not be dropped ({words_of(error)}): the next run does it"
    return f"the invalid index {name} that it left was dropped"


__all__ = ["PostgreSQLMigrations"]
