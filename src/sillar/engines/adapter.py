"""What an engine provides: the contract between Sillar and one kind of database."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Final, Protocol, runtime_checkable

from sqlalchemy.sql.elements import ClauseElement

from sillar.capabilities import Capabilities, Capability
from sillar.config import DatabaseConnectionConfig, DatabaseCredentials, NodeAddress, ssl_context
from sillar.consistency import Position
from sillar.engines.accounts import Accounts
from sillar.engines.connection import (
    DEFAULT_TRANSACTION,
    DriverConnection,
    Isolation,
    NodeStatus,
    Reply,
    TransactionOptions,
)
from sillar.engines.health import PoolHealth
from sillar.engines.inspection import Catalogue, Explainer
from sillar.errors import ParameterError, UnsupportedCapabilityError, UsageError
from sillar.query.bulk import KeyedRead
from sillar.query.composed import Composed
from sillar.query.plans import PlanCache
from sillar.query.statement import Parameters

_LEVELS: Final = {
    Isolation.READ_UNCOMMITTED: Capability.READ_UNCOMMITTED,
    Isolation.READ_COMMITTED: Capability.READ_COMMITTED,
    Isolation.REPEATABLE_READ: Capability.REPEATABLE_READ,
    Isolation.SERIALIZABLE: Capability.SERIALIZABLE,
}


@runtime_checkable
class ConnectionSource(Protocol):
    """Where the executor gets connections: our pool, or the pool an engine brings along.

    A connection is held only while a statement runs or a transaction is open. ``read`` says what a caller reads, for a
    source that chooses between nodes; the others ignore it. None is a caller that may write.
    """

    is_routed: ClassVar[bool]
    """Whether it chooses between several nodes."""

    def try_acquire(self, read: Any = None) -> DriverConnection[Any] | None:
        """A connection if one can be had at once, else None. Never waits."""
        ...

    async def acquire_connection(self, timeout_seconds: float | None = None, read: Any = None) -> DriverConnection[Any]:
        """A connection; waits its turn.

        Raises:
            PoolTimeoutError, PoolExhaustedError, PoolClosedError, NestedAcquireError, ConnectError
        """
        ...

    def release_connection(self, connection: DriverConnection[Any]) -> None:
        """Give it back. Returns at once; a reset that is due happens before anybody else gets it."""
        ...

    async def open(self) -> None:
        """Begin to serve, in the running event loop."""
        ...

    async def close(self, drain_seconds: float | None = None) -> None:
        """Refuse new callers, wait for those inside, close."""
        ...

    def stats(self) -> PoolHealth:
        """The figures now, without a round trip."""
        ...

    async def health_check(self) -> PoolHealth:
        """The figures, and whether the server answers. Never queues behind application leases."""
        ...


class DatabaseAdapter(ABC):
    """One kind of database, found by URL scheme through the entry-point group ``sillar.engines``.

    An adapter can be used alone: ``connect`` returns the driver's real connection, and ``execute_query`` and
    ``begin_transaction`` work on a connection of the adapter's own, opened on first use and closed by ``close``.

    Args:
        config: where the database is and how to talk to it.
    """

    driver: str
    """Which driver package it uses."""

    schemes: ClassVar[tuple[str, ...]]
    """URL schemes, without the ``+driver`` part."""

    capabilities: Capabilities
    """What it can do at best; a probe of a live server narrows it."""

    plans: PlanCache
    """Of an SQL engine: its plans for statements of SQLAlchemy."""

    name_length_max: ClassVar[int] = 255
    """Bytes of UTF-8 that the name of a table or column may have."""

    keys_max: ClassVar[int] = 1000
    """Values of keys that one :meth:`bind_keys` takes."""

    def __init__(self, config: DatabaseConnectionConfig) -> None:
        self.config = config
        self.current_credentials: Callable[[], Awaitable[DatabaseCredentials]] = self._configured_credentials
        """Who logs in now; the manager puts the host's secrets manager behind it where the configuration names a
        secret."""
        self.other_credentials: Callable[[DatabaseCredentials], Awaitable[DatabaseCredentials | None]] = _no_others
        """Told which credentials a server has refused: others to try at once, or None."""
        self._own: DriverConnection[Any] | None = None

    # --- to be provided by each engine ---

    @abstractmethod
    async def connect(self) -> Any:
        """Open a connection and return the driver's own object, set up under the session contract.

        Raises:
            ConnectError: or one of its kinds (authentication, unknown database, certificate).
        """

    @abstractmethod
    async def open_connection(
        self, credentials: DatabaseCredentials | None = None, address: NodeAddress | None = None
    ) -> DriverConnection[Any]:
        """Open a connection for the pool.

        Args:
            credentials: what to log in with instead of the configured ones.
            address: the node; None is the first configured one. An engine that brings its own pool does without.
        """

    def position_from(self, text: str) -> Position:
        """The position that ``Position.encode`` of this engine has written.

        Raises:
            UsageError: it is none, or this engine has no positions.
        """
        raise UsageError(f"{self.capabilities.engine} has no replication positions")

    @abstractmethod
    def bind(self, statement: Any, params: Parameters) -> tuple[Any, Sequence[Any]]:
        """Check a statement and its parameters before anything is leased or sent.

        Returns:
            what :class:`DriverConnection` takes: the engine's statement and its values in order.

        Raises:
            ParameterError: missing, superfluous.
            UnsupportedCapabilityError: not this engine's kind of statement.
        """

    @abstractmethod
    def bind_keys(self, read: KeyedRead, keys: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
        """The statement that reads the rows with these keys, and its values, as :meth:`bind` returns them.

        Args:
            read: what to read; its names are checked, and quoted here.
            keys: at least one value, none of them None, each once; tuples where the key has several columns.
        """

    def plan(self, statement: Composed | ClauseElement) -> Any:
        """How statements of this shape are run: a plan with ``lane``, ``lane_reason``, and ``bound(values)``, which
        gives what :meth:`bind` gives.

        Raises:
            UsageError: it cannot be compiled for this engine.
            UnsupportedCapabilityError: not this engine's kind of statement.
        """
        return self.plans.plan(statement)

    def rendered(self, bound: Any, args: Sequence[Any]) -> str:
        """What is sent for a statement that :meth:`bind` gave: SQL with the driver's placeholders, or a command."""
        return str(getattr(bound, "text", bound).sql)

    @property
    def explainer(self) -> Explainer:
        """Asks the engine for plans of statements."""
        raise UnsupportedCapabilityError(
            "explain()", engine=self.capabilities.engine, remedy="its adapter has no explainer; ask the server by hand"
        )

    @property
    def accounts(self) -> Accounts:
        """Changes passwords of its users."""
        raise UnsupportedCapabilityError(
            "changing passwords", engine=self.capabilities.engine, remedy="change them where its users are kept"
        )

    @property
    def catalogue(self) -> Catalogue:
        """Asks the engine for its tables."""
        raise UnsupportedCapabilityError(
            "model checks", engine=self.capabilities.engine, remedy="its adapter has no catalogue; compare by hand"
        )

    def learn(self, status: NodeStatus) -> None:
        """Take in what a probe of a live server has found."""
        self.capabilities = status.capabilities

    def own_source(self, name: str = "") -> ConnectionSource | None:
        """The pool that this engine brings along (capability ``DRIVER_POOL``), or None: then Sillar's pool is used.

        Args:
            name: configured name of the database.
        """
        return None

    # --- the same for all ---

    def check_name(self, name: str) -> None:
        """Refuse what cannot be the name of a table or column, before a connection is leased. All others are quoted.

        Raises:
            ParameterError: no text, empty, a NUL in it, longer than the engine takes.
        """
        if not isinstance(name, str) or not name:
            raise ParameterError(f"a name of a table or column is a text with something in it, not {name!r:.40}")
        if "\0" in name:
            raise ParameterError("a name of a table or column has a NUL character")
        length = len(name.encode("utf-8", "surrogatepass"))
        if length > self.name_length_max:
            raise ParameterError(
                f"a name of a table or column has {length} bytes, {self.name_length_max} at most: {name[:20]}…"
            )

    def check_transaction(self, options: TransactionOptions, *, nested: bool) -> None:
        """Refuse what this engine cannot do, before a connection is leased.

        Raises:
            UnsupportedCapabilityError: no transactions, savepoints, such isolation or local settings here.
        """
        require = self.capabilities.require
        require(
            Capability.TRANSACTIONS,
            remedy="run the statements one by one, or use an engine or deployment that has them",
        )
        if nested:
            require(Capability.SAVEPOINTS, remedy="end the outer transaction first; this engine cannot nest them")
        if options.isolation is not None:
            require(_LEVELS[options.isolation], remedy="choose a level that this engine has, or leave its default")
        if options.read_only:
            require(Capability.READ_ONLY_TRANSACTIONS, remedy="leave read_only out")
        if options.settings:
            require(Capability.LOCAL_SETTINGS, remedy="pass the values as parameters of the statements instead")

    async def execute_query(self, query: Any, params: Parameters = None) -> Reply:
        """Run one statement on the adapter's own connection."""
        statement, args = self.bind(query, params)
        connection = await self._own_connection()
        return await connection.run(statement, args)

    async def begin_transaction(self, options: TransactionOptions = DEFAULT_TRANSACTION) -> DriverConnection[Any]:
        """Begin a transaction on a new connection; the caller commits or rolls back, and closes the connection."""
        connection = await self.open_connection()
        try:
            await connection.begin(options)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def close(self) -> None:
        """Close the adapter's own connection, if one was opened."""
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    @cached_property
    def tls_context(self) -> ssl.SSLContext | None:
        """The context of all connections, which follows its files; None without TLS.

        Raises:
            ConfigurationError: a certificate or key cannot be read.
        """
        return ssl_context(self.config.tls)

    async def _configured_credentials(self) -> DatabaseCredentials:
        return self.config.credentials

    async def _own_connection(self) -> DriverConnection[Any]:
        if self._own is None or self._own.is_closed():
            self._own = await self.open_connection()
        return self._own


async def _no_others(_: DatabaseCredentials) -> DatabaseCredentials | None:
    return None
