"""What batches have to know about each kind of database: found by the name of SQLAlchemy's dialect."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from sillar.errors import UsageError


class BatchDialect:
    """The facts that hold where nothing else is said.

    Attributes:
        names: names of SQLAlchemy's dialects.
        isolation: the level that short transactions of batches run at: they lock what they change and nothing beside.
        compares_rows: ``(a, b) > (x, y)`` is found by an index; where not, it is written out.
        keys_as_stored: keys are compared as the database has them, without conversion to a type and back.
        transient_codes: of errors after which the same batch may succeed: deadlocks, lock timeouts, serialization.
    """

    names: ClassVar[tuple[str, ...]] = ()
    isolation: ClassVar[str] = "READ COMMITTED"
    compares_rows: ClassVar[bool] = True
    keys_as_stored: ClassVar[bool] = False
    transient_codes: ClassVar[frozenset[Any]] = frozenset()

    def is_transient(self, error: DBAPIError) -> bool:
        """Whether the same batch may succeed in another attempt."""
        return not self.transient_codes.isdisjoint(self.codes(error.orig))

    def codes(self, error: Any) -> set[Any]:
        """How the driver's error is numbered."""
        return {error.args[0]} if error.args and isinstance(error.args[0], int) else set()

    def reported_lag(self, connection: Connection) -> tuple[float, int | None, int | None]:
        """What a primary knows of its replicas: lag of the slowest in seconds, position that all have replayed, and
        its own position; None where there is no replica.

        Raises:
            UsageError: it does not know.
        """
        raise UsageError(
            f"a primary of {connection.dialect.name} does not know how far its replicas are behind; give "
            "replica_lag=[URL, …] of the replicas, or a function that returns seconds"
        )

    def own_lag(self, connection: Connection) -> float:
        """By how many seconds this replica is behind; infinite where it does not follow anybody."""
        raise UsageError(f"{connection.dialect.name} has no replicas; leave replica_lag_max_seconds out")

    def load(self, connection: Connection) -> float:
        """How many sessions of others are at work."""
        raise UsageError(f"{connection.dialect.name} does not know its load; give load=, a function")


class PostgreSQLBatches(BatchDialect):
    """PostgreSQL."""

    names = ("postgresql",)
    transient_codes = frozenset({"40001", "40P01", "55P03"})

    def codes(self, error: Any) -> set[Any]:
        return {getattr(error, "sqlstate", None), getattr(error, "pgcode", None)}

    def reported_lag(self, connection: Connection) -> tuple[float, int | None, int | None]:
        lag, replayed, own, hidden = connection.execute(
            text(
                "SELECT coalesce(max(extract(epoch FROM replay_lag)), 0), min(replay_lsn - '0/0'),"
                " pg_current_wal_flush_lsn() - '0/0', count(*) FILTER (WHERE state IS NULL)"
                " FROM pg_stat_replication WHERE state IS NULL OR state IN ('streaming', 'catchup')"
            )
        ).one()
        if hidden:
            raise UsageError(
                f"{hidden} replicas are hidden from this role: GRANT pg_monitor TO it, or give replica_lag="
            )
        return float(lag), None if replayed is None else int(replayed), int(own)

    def own_lag(self, connection: Connection) -> float:
        found = connection.execute(
            text(
                "SELECT CASE WHEN NOT pg_is_in_recovery() THEN 0"
                " WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()"
                " AND EXISTS (SELECT 1 FROM pg_stat_wal_receiver) THEN 0"  # else it has lost its primary
                " ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END"
            )
        ).scalar_one()
        return float("inf") if found is None else float(found)

    def load(self, connection: Connection) -> float:
        active, hidden = connection.execute(
            text(
                "SELECT count(*) FILTER (WHERE state = 'active'),"
                " count(*) FILTER (WHERE query = '<insufficient privilege>')"
                " FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND (backend_type = 'client backend' OR backend_type IS NULL AND usesysid IS NOT NULL)"
            )
        ).one()
        if hidden:
            raise UsageError(f"{hidden} sessions are hidden from this role: GRANT pg_monitor TO it, or give load=")
        return float(active)


class MySQLBatches(BatchDialect):
    """MySQL and MariaDB, whose optimizer finds no range in a comparison of rows (manual, "Range Optimization of Row
    Constructor Expressions": equality alone)."""

    names = ("mysql", "mariadb")
    compares_rows = False
    transient_codes = frozenset({1205, 1213, 1020, 3572})

    def own_lag(self, connection: Connection) -> float:
        status = connection.execute(text("SHOW REPLICA STATUS")).mappings().first()
        if status is None:
            return 0.0
        seconds = status.get("Seconds_Behind_Source", status.get("Seconds_Behind_Master"))
        return float("inf") if seconds is None else float(seconds)

    def load(self, connection: Connection) -> float:
        _, running = connection.execute(text("SHOW GLOBAL STATUS LIKE 'Threads_running'")).one()
        return float(running) - 1  # this one


class SQLiteBatches(BatchDialect):
    """SQLite: one writer at a time, and columns whose values need not have their type."""

    names = ("sqlite",)
    isolation = "SERIALIZABLE"
    keys_as_stored = True
    transient_codes = frozenset({"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED"})

    def codes(self, error: Any) -> set[Any]:
        return {getattr(error, "sqlite_errorname", None)}


_DIALECTS = {name: kind() for kind in (PostgreSQLBatches, MySQLBatches, SQLiteBatches) for name in kind.names}


def batch_dialect(name: str) -> BatchDialect:
    """The facts about a dialect of SQLAlchemy's.

    Raises:
        UsageError: there are none.
    """
    found = _DIALECTS.get(name)
    if found is None:
        raise UsageError(f"batches are made on {', '.join(_DIALECTS)}; this connection is of {name}")
    return found
