"""Migrations on MySQL and MariaDB."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any, ClassVar, Final

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from sillar.errors import MigrationFileError
from sillar.migrations.sql.dialects.dialect import Ask, MigrationDialect, Verdict
from sillar.migrations.sql.statement import head, is_several, is_temporary, names

_IN_TRANSACTION: Final = frozenset(("INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "DO", "LOAD", "HANDLER"))
_OPAQUE: Final = frozenset(("CALL", "EXECUTE", "PREPARE", "XA", "IMPORT"))
_BEYOND_TABLES: Final = frozenset(
    ("USER", "ROLE", "DATABASE", "SCHEMA", "SERVER", "TABLESPACE", "LOGFILE", "UNDO", "RESOURCE", "SPATIAL", "INSTANCE")
)
_COUNTER: Final = re.compile(r"\sAUTO_INCREMENT=\d+")
_TRICKY: Final = re.compile(r"['\\%]")  # no name that a table ought to have
_EXCHANGE: Final = re.compile(r"\bEXCHANGE\s+PARTITION\b", re.IGNORECASE)
_RENAMED: Final = re.compile(r"([\w`.$]+)\s+TO\s+([\w`.$]+)", re.IGNORECASE)


class MySQLMigrations(MigrationDialect):
    """``GET_LOCK``, ``lock_wait_timeout``, and DDL that commits by itself: one journalled statement after the other.

    DDL is atomic there (MySQL 8.0 and MariaDB 10.6 and later), so after a crash a statement is applied or not: what the
    catalogue says of the tables that it names is another thing than before it, or it is the same. A statement that
    changes nothing in the catalogue (TRUNCATE, OPTIMIZE) does no harm a second time.
    """

    names = ("mysql", "mariadb")
    enters_schema = "USE {}"
    leaves_schema = "USE {}"
    catalogue_queries = (
        "SELECT CONCAT('sequence ', table_name), '' FROM information_schema.tables"
        " WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_type = 'SEQUENCE'",
        "SELECT CONCAT('routine ', routine_name), routine_definition FROM information_schema.routines"
        " WHERE routine_schema = COALESCE(:schema, DATABASE())",
        "SELECT CONCAT('trigger ', trigger_name, ' of ', event_object_table),"
        " CONCAT(action_timing, ' ', event_manipulation, ' ', action_statement) FROM information_schema.triggers"
        " WHERE trigger_schema = COALESCE(:schema, DATABASE())",
    )
    drop_queries = (
        "SELECT 'SET FOREIGN_KEY_CHECKS = 0'",
        "SELECT CONCAT('DROP VIEW `', table_name, '`') FROM information_schema.views WHERE table_schema = DATABASE()",
        "SELECT CONCAT('DROP TABLE `', table_name, '`') FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'",
        "SELECT CONCAT('DROP ', routine_type, ' `', routine_name, '`') FROM information_schema.routines"
        " WHERE routine_schema = DATABASE()",
        "SELECT 'SET FOREIGN_KEY_CHECKS = 1'",
    )
    transactional_ddl: ClassVar[bool] = False
    lock_codes = frozenset({1205, 1213, 3572})
    rights_codes = frozenset({1044, 1142, 1143, 1227, 1370})
    already_codes = frozenset({1007, 1008, 1051, 1396, 1410, 1476, 1477, 3162, 3163, 4091, 4092})
    lost_codes = frozenset({0, 1053, 1077, 1079, 1152, 1927, 4031, *range(2000, 2100)})

    def try_lock(self, connection: Connection, name: str) -> Any:
        taken = connection.execute(text("SELECT GET_LOCK(:name, 0)"), {"name": _lock(name)}).scalar_one()
        connection.commit()
        return True if taken else None

    def unlock(self, connection: Connection, name: str) -> None:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": _lock(name)})
        connection.commit()

    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        seconds = max(1, math.ceil(lock_timeout))
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {seconds}")
        connection.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {seconds}")
        if getattr(connection.dialect, "is_mariadb", False):
            connection.exec_driver_sql("SET SESSION max_statement_time = 0")
        else:
            connection.exec_driver_sql("SET SESSION max_execution_time = 0")
        connection.commit()

    # --- statements that no transaction holds -------------------------------------------------------------------------

    def stands_alone(self, statement: str, *, autocommit: bool) -> bool:
        if is_several(statement):
            raise MigrationFileError(
                "a text with several statements cannot be resumed in its middle: give each its own op.execute()"
                f" ({' '.join(statement.split())[:80]} ...)"
            )
        words = head(statement, 2)
        if words[0] in _IN_TRANSACTION or is_temporary(statement):
            return False
        return words != ("DROP", "TEMPORARY")

    def evidence(self, ask: Ask, statement: str) -> str:
        listed = ", ".join(f"'{name}'" for name in sorted(names(statement)) if not _TRICKY.search(name))
        seen: list[Any] = []
        rows = ask(
            "SELECT table_schema, table_name, table_type, create_time FROM information_schema.tables"  # noqa: S608 - names without quotes in them
            f" WHERE (table_schema = DATABASE() OR table_schema IN ({listed})) AND table_name IN ({listed})"
            " AND table_schema NOT IN ('information_schema', 'performance_schema', 'mysql', 'sys') ORDER BY 1, 2"
        )
        for schema, table, kind, _ in rows:
            seen.append((schema, table, kind, _definition(ask, f"{_quoted(schema)}.{_quoted(table)}")))
        words = set(head(statement))
        if words & {"PROCEDURE", "FUNCTION", "PACKAGE"}:
            seen += ask(
                "SELECT routine_schema, routine_name, routine_type, last_altered, routine_definition"  # noqa: S608 - names without quotes in them
                f" FROM information_schema.routines WHERE routine_name IN ({listed}) ORDER BY 1, 2, 3"
            )
        if words & {"TRIGGER"}:
            seen += ask(
                "SELECT trigger_schema, trigger_name, event_object_table, created, action_statement"  # noqa: S608 - names without quotes in them
                f" FROM information_schema.triggers WHERE trigger_name IN ({listed}) ORDER BY 1, 2"
            )
        if words & {"EVENT"}:
            seen += ask(
                "SELECT event_schema, event_name, last_altered, event_definition, status"  # noqa: S608 - names without quotes in them
                f" FROM information_schema.events WHERE event_name IN ({listed}) ORDER BY 1, 2"
            )
        return hashlib.sha256(repr([tuple(map(str, each)) for each in seen]).encode()).hexdigest()

    def settle(self, ask: Ask, statement: str, evidence: str) -> Verdict:
        words = head(statement)
        if words[0] in _OPAQUE or _EXCHANGE.search(statement):
            return Verdict.UNKNOWN
        if words[0] in ("CREATE", "DROP", "ALTER", "RENAME") and _BEYOND_TABLES & set(words[1:4]):
            return Verdict.AGAIN_OR_ALREADY
        if words[:2] in (("DROP", "TABLE"), ("DROP", "VIEW")):  # MariaDB drops those of a list one by one
            return Verdict.AGAIN_OR_ALREADY
        if self.evidence(ask, statement) != evidence:
            return Verdict.DONE
        return Verdict.UNKNOWN if _goes_round(statement) else Verdict.AGAIN


def _definition(ask: Ask, table: str) -> str:
    try:
        return _COUNTER.sub("", str(ask(f"SHOW CREATE TABLE {table}")[0][1]))
    except DBAPIError as error:  # a view over something that is gone
        return str(error.orig)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _goes_round(statement: str) -> bool:
    """Whether tables change names with each other, so that the catalogue may look as before."""
    if head(statement, 1) != ("RENAME",):
        return False
    pairs = _RENAMED.findall(statement)
    return bool({old for old, _ in pairs} & {new for _, new in pairs})


def _lock(name: str) -> str:
    """The name of the lock; MySQL takes 64 characters. It is the server's, so the database is in it."""
    return f"sillar migrations {hashlib.sha256(name.encode()).hexdigest()[:40]}"


__all__ = ["MySQLMigrations"]
