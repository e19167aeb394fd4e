"""The database file, and how its connections are opened."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from sillar import errors
from sillar.config import SQLiteConfig
from sillar.engines.sqlite.errors import translated

MEMORY: Final = ":memory:"
_STATEMENTS_KEPT: Final = 512
_INLINE_BYTES_MAX: Final = 1 << 20  # of one value or row; a larger one is read by a thread


class DatabaseFile:
    """One SQLite database: a path, a ``file:`` URI, or ``:memory:``.

    Attributes:
        address: as shown in errors.
        in_memory: it lives in one connection and vanishes with it.
        read_only: the configuration refuses writes.
    """

    __slots__ = ("_options", "address", "in_memory", "read_only")

    def __init__(self, config: SQLiteConfig) -> None:
        self.address = config.database
        self.in_memory = config.database == MEMORY
        self._options = config.connection_options
        self.read_only = config.read_only

    @property
    def path(self) -> Path:
        """Where the file is, for a database that has one of its own."""
        return Path(self.address)

    def open_writer(self) -> sqlite3.Connection:
        """The connection that writes. Waiting for other processes is the caller's, in steps that can be given up.

        Raises:
            ConnectError: the file cannot be opened.
            UnknownDatabaseError: its folder is missing, or it is no SQLite database.
        """
        return self._open(busy_seconds=0.0, query_only=self.read_only)

    def open_reader(self) -> sqlite3.Connection:
        """A connection that SQLite itself keeps from writing."""
        return self._open(busy_seconds=0.0, query_only=True)

    def open_inline_reader(self) -> sqlite3.Connection:
        """A reader for the event loop: never waits, never reads a value larger than 1 MiB."""
        connection = self._open(busy_seconds=0.0, query_only=True)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _INLINE_BYTES_MAX)
        return connection

    def open_plain(self) -> sqlite3.Connection:
        """A connection on its own, as the driver's user would open it, with our settings."""
        return self._open(busy_seconds=self._options.busy_timeout, query_only=self.read_only)

    def configure(self, connection: sqlite3.Connection, *, query_only: bool) -> None:
        """Put the session settings in force."""
        options = self._options
        connection.execute(f"PRAGMA synchronous = {options.synchronous}")
        connection.execute(f"PRAGMA foreign_keys = {int(options.foreign_keys)}")
        connection.execute(f"PRAGMA cache_size = {-options.cache_kib}")
        connection.execute(f"PRAGMA mmap_size = {options.mmap_bytes}")
        connection.execute("PRAGMA temp_store = memory")
        connection.execute("PRAGMA trusted_schema = off")
        connection.execute(f"PRAGMA query_only = {int(query_only)}")

    def _open(self, *, busy_seconds: float, query_only: bool) -> sqlite3.Connection:
        self._require_folder()
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(
                self.address,
                timeout=self._options.busy_timeout,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=_STATEMENTS_KEPT,
                uri=self.address.startswith("file:"),
            )
            self._choose_journal(connection)
            self.configure(connection, query_only=query_only)
            connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
            connection.execute(f"PRAGMA busy_timeout = {round(busy_seconds * 1000)}")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            found = translated(error, None, address=self.address)
            if not isinstance(found, errors.UnavailableError):
                found = errors.ConnectError(f"{self.address} cannot be opened: {error}").at(node=self.address)
            raise found from error
        return connection

    def _choose_journal(self, connection: sqlite3.Connection) -> None:
        """Set the journal mode. A file that cannot be written keeps the one it has."""
        wanted = self._options.journal_mode
        if self.in_memory and wanted not in ("memory", "off"):
            return
        deadline = time.monotonic() + self._options.busy_timeout
        while True:
            try:
                if connection.execute("PRAGMA journal_mode").fetchone()[0] != wanted:
                    connection.execute(f"PRAGMA journal_mode = {wanted}").fetchall()
            except sqlite3.OperationalError as error:
                primary = error.sqlite_errorcode & 0xFF
                if primary == sqlite3.SQLITE_READONLY:
                    return
                # Two processes that both turn a new file to WAL get SQLITE_BUSY without the busy handler being asked.
                if primary != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(0.01)

    def _require_folder(self) -> None:
        if self.in_memory or self.address.startswith("file:"):
            return
        folder = self.path.absolute().parent
        if not folder.is_dir():
            raise errors.UnknownDatabaseError(
                f"the folder {folder} of the database {self.address} does not exist; create it, or correct `database`"
            ).at(node=self.address)
        if self.path.is_dir():
            raise errors.UnknownDatabaseError(
                f"the database {self.address} is a folder; give the path of a file in `database`"
            ).at(node=self.address)
