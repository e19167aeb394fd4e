"""What the suite has to know about the engine it examines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from sillar import DatabaseConfig, DatabaseSession, load_config
from sillar.errors import StatementError
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import ServerCertificate

Settings: TypeAlias = dict[str, Any]
Command: TypeAlias = tuple[Any, Any]
"""A statement and its parameters, as ``session.execute`` takes them."""

NAMES = ("constraint", "table", "column", "position")


class ConformanceSubject(ABC):
    """One engine on one server, as the cases see it.

    Everything that differs between engines and that no capability tells is said here: how types are spelled, how the
    server is looked at and disturbed from outside, and what the server names in its errors.

    Attributes:
        name: shown in the ids of the tests.
        long_marker: text in a long statement by which :meth:`running` finds it.
        creates_databases: a database that is not there comes into being with its first row.
        tells_crowding: the driver passes on that a server has no room, instead of trying until its time is over.
        serves_one_at_a_time: everything waits for the statement that runs, health included (a database in memory).
        impatient_connecting: ``connection_options`` with which a failing connect is soon told.
    """

    name: str
    long_marker: ClassVar[str] = "sillar-conformance-long"
    creates_databases: ClassVar[bool] = False
    tells_crowding: ClassVar[bool] = True
    serves_one_at_a_time: bool = False
    impatient_connecting: ClassVar[Mapping[str, Any]] = {}

    # --- the database -----------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def settings(self) -> Settings:
        """The settings of the database, as they stand under ``databases.<name>`` in a configuration."""

    def config(self, *, settings: Settings | None = None, pool: Settings | None = None) -> DatabaseConfig:
        """The configuration of one database, ``default``.

        Args:
            settings: of the database, in place of :attr:`settings`.
            pool: limits of the pool.
        """
        chosen = self.settings if settings is None else settings
        overrides = {"databases": {"default": chosen}, "connection_pools": pool or {}}
        return load_config(overrides=overrides, environment={})

    # --- statements -------------------------------------------------------------------------------------------------

    @abstractmethod
    def insert(self, table: str, number: int) -> Command:
        """Insert a row with that ``id`` into a table of :meth:`create`."""

    @property
    @abstractmethod
    def one(self) -> Command:
        """A read that gives one row."""

    @property
    @abstractmethod
    def long(self) -> Command:
        """A read that runs for a minute or longer unless it is stopped, with :attr:`long_marker` in its text."""

    @abstractmethod
    async def create(self, session: DatabaseSession, table: str) -> None:
        """Create a table (or collection) whose one column ``id`` is an integer and unique."""

    @abstractmethod
    async def drop(self, session: DatabaseSession, table: str) -> None:
        """Drop a table if it is there."""

    @abstractmethod
    async def count(self, statements: Any, table: str) -> int:
        """Count its rows through a session or transaction."""

    async def prepare(self, session: DatabaseSession) -> None:  # noqa: B027 - most need nothing
        """Whatever :attr:`long` needs to be there. Called before it is used."""

    # --- the server, from outside -----------------------------------------------------------------------------------

    async def running(self) -> int:
        """How many sessions of the server run a statement with :attr:`long_marker` now.

        Needed where the engine has ``SERVER_SESSIONS``.
        """
        raise NotImplementedError(f"{type(self).__name__} has SERVER_SESSIONS and no running()")

    async def session_count(self) -> int:
        """How many sessions of the configured user the server has. Needed where the engine has ``SERVER_SESSIONS``."""
        raise NotImplementedError(f"{type(self).__name__} has SERVER_SESSIONS and no session_count()")

    async def end_sessions(self) -> None:
        """End all sessions of the configured user, as an administrator would.

        Needed where the engine has ``SERVER_SESSIONS``.
        """
        raise NotImplementedError(f"{type(self).__name__} has SERVER_SESSIONS and no end_sessions()")

    def proxied(self, proxy: FaultProxy) -> Settings:
        """The settings by way of a proxy."""
        return {**self.settings, "host": proxy.host, "port": proxy.port}

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server, for a proxy in front of it. Needed for ``FaultCases``."""
        return self.settings["host"], self.settings["port"]

    def crowded(self) -> AbstractAsyncContextManager[Settings]:
        """A server that has no room for a further session. Needed for ``FaultCases``."""
        raise NotImplementedError(f"{type(self).__name__} has no crowded()")

    def secured(self, certificate: ServerCertificate) -> AbstractAsyncContextManager[tuple[Settings, Path]]:
        """A server with TLS and that certificate: its settings without ``ssl_config``, and the authority's file.

        Needed for ``FaultCases``.
        """
        raise NotImplementedError(f"{type(self).__name__} has no secured()")


class SQLSubject(ConformanceSubject):
    """An engine that speaks SQL.

    Attributes:
        types: how the engine spells ``integer``, ``big_integer``, ``text``, ``key_text`` (short enough for an index),
            ``decimal`` (38 digits, 10 of them behind the point), ``aware_time``, ``naive_time``, ``date``, ``uuid``,
            ``json``, ``bytes``, ``float``, ``bool`` and ``list`` (of text). Times are exact to the microsecond.
        names: for each error, which of ``constraint``, ``table``, ``column`` and ``position`` the server tells.
        conflict: what the loser of two serializable transactions that read and write the same row gets, or None where
            one of them waits from the start.
        bounds_text: whether ``key_text`` has a greatest length, at most 200.
        stream_bytes_max: memory that reading a large result in batches of half a megabyte may take.
        buffers_streams: a stream outside a transaction may be read at once (a database in memory).
    """

    types: ClassVar[Mapping[str, str]]
    names: ClassVar[Mapping[type[StatementError], frozenset[str]]]
    conflict: ClassVar[type[Exception] | None]
    bounds_text: ClassVar[bool] = True
    stream_bytes_max: ClassVar[int] = 12_000_000
    buffers_streams: bool = False

    @property
    @abstractmethod
    def impatient(self) -> Settings:
        """The settings with a lock timeout of a second at most."""

    @property
    @abstractmethod
    def lock_error(self) -> type[Exception]:
        """What that timeout raises."""

    @property
    @abstractmethod
    def unknown_error(self) -> Command:
        """A statement that the server refuses for a reason without a class of its own."""

    @asynccontextmanager
    async def full(self) -> AsyncIterator[tuple[Settings, list[Command]]]:
        """A server without space: its settings, and statements of one transaction that need more than there is."""
        raise NotImplementedError(f"{type(self).__name__} has no full()")
        yield {}, []

    def insert(self, table: str, number: int) -> Command:
        return f"INSERT INTO {table} (id) VALUES (:id)", {"id": number}

    @property
    def one(self) -> Command:
        return "SELECT 1 AS one", None

    async def create(self, session: DatabaseSession, table: str) -> None:
        await self.drop(session, table)
        await session.execute(f"CREATE TABLE {table} (id {self.types['integer']} PRIMARY KEY)")

    async def drop(self, session: DatabaseSession, table: str) -> None:
        await session.execute(f"DROP TABLE IF EXISTS {table}")

    async def count(self, statements: Any, table: str) -> int:
        return int(await statements.fetch_value(f"SELECT count(*) FROM {table}"))


_DIGITS = " UNION ALL ".join(["SELECT 0 AS d", *(f"SELECT {digit}" for digit in range(1, 10))])


def series(digits: int) -> str:
    """A query in plain SQL whose one column ``number`` goes from 1 to ten to the power of ``digits``."""
    sources = " CROSS JOIN ".join(f"({_DIGITS}) AS d{place}" for place in range(digits))
    value = " + ".join(f"d{place}.d * {10**place}" for place in range(digits))
    return f"SELECT 1 + {value} AS number FROM {sources}"
