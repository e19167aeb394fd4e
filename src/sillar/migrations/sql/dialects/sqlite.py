"""Migrations on SQLite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final

from alembic.script import Script
from sqlalchemy.engine import Connection
from sqlalchemy.util import await_only

from sillar.errors import MigrationFailedError, UsageError
from sillar.migrations.scripts import source_of
from sillar.migrations.sql.connections import lent_by_sillar
from sillar.migrations.sql.dialects.dialect import Ask, MigrationDialect, Verdict
from sillar.migrations.sql.statement import head

_LOCK: Final = "sillar.migrations.lock"
_OUTSIDE: Final = frozenset(("VACUUM",))


@dataclass(frozen=True)
class _Descriptor:
    """Of the file that is locked."""

    number: int


class SQLiteMigrations(MigrationDialect):
    """A lock on a file beside the database, one transaction for each migration, and foreign keys that hold afterwards.

    SQLite alters most things by copying a table under another name (Alembic's batch mode). While foreign keys are
    enforced, dropping the old table deletes what refers to it; so they are not enforced during such a migration, and
    checked before it commits.

    Python's sqlite3 begins a transaction before DML alone, not before DDL; so each migration begins with ``BEGIN
    IMMEDIATE``, whatever the driver.
    """

    names = ("sqlite",)
    catalogue_queries = (
        "SELECT 'trigger ' || name, sql FROM sqlite_master WHERE type = 'trigger' AND :schema IS NULL",
    )
    drop_queries = (
        "SELECT 'PRAGMA foreign_keys = OFF'",
        "SELECT 'DROP VIEW \"' || replace(name, '\"', '\"\"') || '\"' FROM sqlite_master WHERE type = 'view'",
        "SELECT 'DROP TABLE \"' || replace(name, '\"', '\"\"') || '\"' FROM sqlite_master"
        " WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'",
        "SELECT 'PRAGMA foreign_keys = ON'",
    )
    transactional_ddl: ClassVar[bool] = True
    records_directly: ClassVar[bool] = True
    lock_codes: ClassVar[frozenset[str | int]] = frozenset(
        {"SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_BUSY_RECOVERY", "SQLITE_BUSY_TIMEOUT", "SQLITE_LOCKED"}
    )
    rights_codes: ClassVar[frozenset[str | int]] = frozenset(
        {"SQLITE_READONLY", "SQLITE_PERM", "SQLITE_READONLY_DIRECTORY", "SQLITE_READONLY_DBMOVED", "SQLITE_AUTH"}
    )
    already_codes: ClassVar[frozenset[str | int]] = frozenset()

    def try_lock(self, connection: Connection, name: str) -> Any:
        path = _file(connection)
        if path is None:  # in memory: nobody else has it
            return True
        descriptor = os.open(f"{path}-migrating", os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock_file(descriptor):
            os.close(descriptor)
            return None
        connection.info[_LOCK] = descriptor
        return _Descriptor(descriptor)

    def unlock(self, connection: Connection, name: str) -> None:
        descriptor = connection.info.pop(_LOCK, None)
        if descriptor is not None:
            os.close(descriptor)  # the file stays: whoever removes it takes the lock from under the next one

    def abandon(self, held: Any) -> None:
        if isinstance(held, _Descriptor):
            os.close(held.number)

    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        if (
            _lender(connection) is None
        ):  # Sillar's own connections wait as they are configured; nobody queues behind them
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(lock_timeout * 1000)}")
            connection.commit()

    def prepare_rehearsal(self, connection: Connection, lock_timeout: float) -> None:
        if _lender(connection) is None:
            _execute(connection, "BEGIN IMMEDIATE")  # sqlite3 begins before DML alone

    @contextmanager
    def around(self, connection: Connection, script: Script) -> Iterator[None]:
        if _lender(connection) is not None or not _copies_tables(script):
            yield
            return
        enforced = connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one()
        connection.commit()
        try:
            yield
        finally:
            if enforced and not connection.invalidated and not connection.closed:
                connection.rollback()
                _execute(connection, "PRAGMA foreign_keys = ON")

    def begin(self, connection: Connection, script: Script) -> None:
        lender, copies = _lender(connection), _copies_tables(script)
        if lender is None:
            if copies:
                _execute(connection, "PRAGMA foreign_keys = OFF")
            _execute(connection, "BEGIN IMMEDIATE")
        elif copies:
            # In the transaction that holds the writer alone this does nothing by itself, but the connection is opened
            # anew after it, with its settings.
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            await_only(lender.on_driver(_begin_without_foreign_keys))

    def before_commit(self, connection: Connection, script: Script) -> None:
        if not _copies_tables(script):
            return
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            tables = ", ".join(sorted({f"{row[0]} (refers to {row[2]})" for row in broken}))
            raise MigrationFailedError(
                f"migration {script.revision} would leave {len(broken)} rows that refer to nothing, in {tables}; it was"
                " undone: correct the rows in the migration",
                revision=script.revision,
                statement_number=None,
                rolled_back=True,
            )

    def stands_alone(self, statement: str, *, autocommit: bool) -> bool:
        return autocommit and head(statement, 1)[0] in _OUTSIDE

    def settle(self, ask: Ask, statement: str, evidence: str) -> Verdict:
        return Verdict.AGAIN


def _lender(connection: Connection) -> Any:
    """Sillar's own connection behind SQLAlchemy's; None where the driver is a stock one."""
    lent = lent_by_sillar(connection)
    return None if lent is None else lent.physical


def _begin_without_foreign_keys(raw: Any) -> None:
    raw.execute("COMMIT")
    raw.execute("PRAGMA foreign_keys = OFF")
    raw.execute("BEGIN IMMEDIATE")


def _execute(connection: Connection, sql: str) -> None:
    """Send something outside of transactions, which SQLAlchemy need not know of."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql)
    finally:
        cursor.close()


def _copies_tables(script: Script) -> bool:
    path = Path(script.path)
    return _has_batches(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _has_batches(path: Path, modified_ns: int) -> bool:
    """Asked several times for each migration."""
    return "batch_alter_table" in source_of(path)


def _file(connection: Connection) -> str | None:
    lender = _lender(connection)
    if lender is not None and Path(lender.address).is_file():
        return os.path.realpath(
            str(lender.address)
        )  # asking would begin a transaction, behind that of a migrator at work
    rows = connection.exec_driver_sql("PRAGMA database_list").all()
    connection.commit()
    return next((row[2] for row in rows if row[1] == "main" and row[2]), None)


def _lock_file(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError as error:
        raise UsageError(
            "this system has no flock(), by which migrators of one SQLite file keep out of each other's way:"
            " migrate with plain alembic, from one process"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


__all__ = ["SQLiteMigrations"]
