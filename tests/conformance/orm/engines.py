"""The engines that ORMs share: what the suite for ORMs has to know of each besides what the one for engines knows."""

from __future__ import annotations

from sillar.testing.conformance import ConformanceSubject, ORMEngine

_MYSQL = {
    "backend_id": "SELECT CONNECTION_ID()",
    "session_settings": "SELECT @@session.time_zone AS zone, @@session.autocommit AS autocommit, DATABASE() AS place,"
    " {isolation} AS isolation, {read_only} AS read_only, @@session.sql_mode AS mode",
    "disturbances": (
        "SET SESSION time_zone = '+05:00'",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET SESSION TRANSACTION READ ONLY",
        "SET SESSION sql_mode = ''",
    ),
}


def _mysql(isolation: str, read_only: str) -> dict[str, object]:
    settings = str(_MYSQL["session_settings"]).format(isolation=isolation, read_only=read_only)
    return {**_MYSQL, "session_settings": settings}


_ENGINES: dict[str, dict[str, object]] = {
    "postgresql": {
        "backend_id": "SELECT pg_backend_pid()",
        "transaction_id": "SELECT CAST(pg_current_xact_id() AS text)",
        "session_settings": "SELECT current_setting('TimeZone') AS zone, current_setting('search_path') AS path,"
        " current_setting('default_transaction_isolation') AS isolation,"
        " current_setting('default_transaction_read_only') AS read_only, current_setting('lock_timeout') AS waits,"
        " pg_current_xact_id_if_assigned() IS NULL AS outside",
        "disturbances": (
            "SET TimeZone = 'Asia/Kabul'",
            "SET search_path = pg_catalog",
            "SET default_transaction_isolation = 'serializable'",
            "SET default_transaction_read_only = on",
            "SET lock_timeout = 4711",
        ),
    },
    "mariadb": _mysql("@@session.tx_isolation", "@@session.tx_read_only"),
    "mysql": _mysql("@@session.transaction_isolation", "@@session.transaction_read_only"),
    "sqlite": {
        "session_settings": "SELECT (SELECT foreign_keys FROM pragma_foreign_keys) AS foreign_keys,"
        " (SELECT timeout FROM pragma_busy_timeout) AS timeout",
    },
    "mongodb": {},
}
SQL_ENGINES = ("postgresql", "mariadb", "mysql", "sqlite")


def engine_of(name: str, subject: ConformanceSubject) -> ORMEngine:
    """The engine of that name."""
    details: dict[str, object] = _ENGINES[name]
    return ORMEngine(subject, **details)  # type: ignore[arg-type]
