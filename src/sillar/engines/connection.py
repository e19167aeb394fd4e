"""One physical connection, as every engine presents it to the pool and the executor."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final, Generic, NamedTuple, Protocol, TypeVar

from sillar.consistency import CausalContext, Position
from sillar.engines.node import NodeRole, NodeStatus
from sillar.engines.outcome import CommitInquiry
from sillar.errors import DatabaseError
from sillar.query.bulk import BulkWrite

__all__ = [
    "DEFAULT_TRANSACTION",
    "CopyConnection",
    "DocumentShape",
    "DriverConnection",
    "Isolation",
    "NodeRole",
    "NodeStatus",
    "PlannedShape",
    "Reply",
    "RowShape",
    "TransactionOptions",
]

StatementT = TypeVar("StatementT")


NATIVE_EVERYWHERE: Final[frozenset[type]] = frozenset({int, float, str, bytes})


class RowShape:
    """The columns of a result, shared by all results of one prepared statement.

    Attributes:
        columns: names in order.
        native: Python types that the engine gives by itself wherever a field of that type is asked for; only the others
            are converted.
        decimals: columns that the engine gives as ``Decimal``: a field that asks for ``int`` or ``float`` is converted.
        makers: row constructors that were compiled for this shape, by target type. Owned by the result layer.
    """

    __slots__ = ("columns", "decimals", "makers", "native")

    def __init__(
        self,
        columns: Sequence[str],
        native: frozenset[type] = NATIVE_EVERYWHERE,
        decimals: frozenset[str] = frozenset(),
    ) -> None:
        self.columns = tuple(columns)
        self.native = native
        self.decimals = decimals
        self.makers: dict[Any, Any] = {}

    def dicts(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """The rows as dicts by column name."""
        columns = self.columns
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def __repr__(self) -> str:
        return f"RowShape{self.columns}"


class PlannedShape(RowShape):
    """The result of a plan for a statement of SQLAlchemy, shared by all connections.

    Attributes:
        decode: makes SQLAlchemy's values of one row of the driver; None where they are the same.
    """

    __slots__ = ("decode",)

    def __init__(
        self,
        columns: Sequence[str],
        native: frozenset[type],
        decimals: frozenset[str],
        decode: Callable[[Any], tuple[Any, ...]] | None,
    ) -> None:
        super().__init__(columns, native, decimals)
        self.decode = decode

    def rows(self, rows: Sequence[Any]) -> Sequence[Any]:
        """Rows of the driver with SQLAlchemy's values."""
        decode = self.decode
        return rows if decode is None else [decode(row) for row in rows]


class DocumentShape(RowShape):
    """A result of documents: each row is a tuple of one mapping, under the column ``document``.

    Attributes:
        converters: for types that a field may be annotated with, what turns the engine's own values into them
            (an object id into ``str``). They come before the conversions that all engines share.
    """

    __slots__ = ("converters",)

    def __init__(
        self,
        native: frozenset[type] = NATIVE_EVERYWHERE,
        converters: Mapping[type, Callable[[Any], Any]] | None = None,
    ) -> None:
        super().__init__(("document",), native)
        self.converters: Mapping[type, Callable[[Any], Any]] = converters or {}

    def dicts(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """The documents themselves."""
        return [row[0] for row in rows]


class Reply(NamedTuple):
    """What a server answered to one statement.

    Attributes:
        shape: the columns, or None where the statement returns no rows.
        rows: tuple-like rows (documents: tuples of one dict, under a :class:`DocumentShape`).
        rows_affected: rows inserted, updated or deleted (for a query: returned).
        last_insert_id: generated key, where the protocol reports one.
    """

    shape: RowShape | None
    rows: Sequence[Any]
    rows_affected: int
    last_insert_id: Any = None


class Isolation(StrEnum):
    """Isolation levels, as SQL names them."""

    READ_UNCOMMITTED = "read uncommitted"
    READ_COMMITTED = "read committed"
    REPEATABLE_READ = "repeatable read"
    SERIALIZABLE = "serializable"


@dataclass(frozen=True, slots=True)
class TransactionOptions:
    """How a transaction begins.

    Attributes:
        isolation: None is the server's default.
        read_only: the server refuses writes.
        settings: transaction-local settings (PostgreSQL ``SET LOCAL``), sent together with BEGIN in one round trip.
    """

    isolation: Isolation | None = None
    read_only: bool = False
    settings: tuple[tuple[str, str], ...] = ()


DEFAULT_TRANSACTION = TransactionOptions()


class DriverConnection(CommitInquiry, ABC, Generic[StatementT]):
    """One physical connection to one node, with the session contract that every hand-over restores.

    ``StatementT`` is what the engine's adapter binds: a scanned SQL text, or a document command. All methods raise
    errors of :mod:`sillar.errors`, with the driver's own as cause. ``timeout_seconds`` cancels the statement *on the
    server*.

    The session contract: codecs (json stays text on the wire), autocommit, default isolation, time zone UTC, search
    path, prepared statements owned by Sillar. ``dirty`` says that something outside the contract may have happened;
    :meth:`reset` restores it.

    Attributes:
        raw: the driver's own connection.
        server_id: id of the session on the server (backend pid, connection id), or None.
        address: the node it leads to.
        dirty: a reset is due before anybody else may have it.
        kept: what other consumers (an ORM) keep with this physical connection, by their own key.
        in_transaction: a transaction that Sillar began is open.
        may_have_committed: since that transaction began, something was sent that may have ended it or committed what
            was done until then (a COMMIT in a text, a definition on an engine without transactional ones): it cannot be
            said any more that a lost connection rolls back all of it.
        prepared_generation: one more each time that all prepared statements of the session were dropped, those of other
            consumers included.
        pool: the source that it goes back to, where there are several.
        on_error: told of every error that the server or the socket gives; whoever uses the driver past these methods
            (an ORM) calls :meth:`report` instead.
        causality: of the line of work that leased it to write; None for a lease that only reads.
    """

    __slots__ = (
        "address",
        "asked_at",
        "borrowed_at",
        "causality",
        "created_at",
        "dirty",
        "expires_at",
        "generation",
        "holder",
        "idle_since",
        "in_transaction",
        "kept",
        "leased",
        "may_have_committed",
        "on_error",
        "place",
        "pool",
        "prepared_generation",
        "raw",
        "server_id",
    )

    sequential: ClassVar[bool] = True
    """One statement at a time; a second one while the first runs is a usage error."""

    def __init__(self, raw: Any, *, address: str, server_id: int | None = None) -> None:
        self.raw = raw
        self.address = address
        self.server_id = server_id
        self.dirty = False
        self.in_transaction = self.may_have_committed = False
        self.kept: dict[str, Any] = {}
        self.prepared_generation = 0
        # Owned by the pool:
        self.generation = 0
        self.created_at = self.expires_at = self.idle_since = self.asked_at = self.borrowed_at = 0.0
        self.leased = False
        self.holder: asyncio.Task[Any] | None = None
        self.place: str | None = None
        self.pool: Any = None
        self.on_error: Callable[[DriverConnection[Any], DatabaseError], None] | None = None
        self.causality: CausalContext | None = None

    def note(self, statement: Any) -> None:
        """Take notice of a statement that is about to be sent and may leave something behind in the session."""
        self.dirty = True

    def loses_nothing(self, is_read: bool) -> bool:
        """Whether nothing stays behind on the server if the connection breaks now: then all of it may be run again.

        Args:
            is_read: the statement that runs certainly does not write.
        """
        return not self.may_have_committed if self.in_transaction else is_read

    def report(self, error: DatabaseError) -> DatabaseError:
        """Tell whoever looks after this node of an error; returns it."""
        if self.on_error is not None:
            self.on_error(self, error)
        return error

    # --- statements ---

    @abstractmethod
    async def fetch(
        self, statement: StatementT, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> tuple[RowShape, Sequence[Any]]:
        """Run a statement and return all its rows."""

    @abstractmethod
    async def fetch_row(
        self, statement: StatementT, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> tuple[RowShape, Any | None]:
        """Run a statement and return its first row, or None."""

    @abstractmethod
    async def run(self, statement: StatementT, args: Sequence[Any], timeout_seconds: float | None = None) -> Reply:
        """Run a statement; rows and counts."""

    def run_plain(
        self, statement: StatementT, args: Sequence[Any], timeout_seconds: float | None = None
    ) -> Awaitable[Reply]:
        """As :meth:`run`, with the values as the driver gives them (json as text): for an ORM, which decodes itself."""
        return self.run(statement, args, timeout_seconds)

    @abstractmethod
    async def run_many(
        self, statement: StatementT, args: Iterable[Sequence[Any]], timeout_seconds: float | None = None
    ) -> int:
        """Run a statement once per parameter set, all or nothing. Returns the rows affected."""

    async def run_batch(
        self, statements: Sequence[tuple[StatementT, Sequence[Any]]], timeout_seconds: float | None = None
    ) -> list[Reply]:
        """Run several statements in order and return their replies. A pipelining driver sends them together."""
        return [await self.run(statement, args, timeout_seconds) for statement, args in statements]

    @abstractmethod
    def stream(
        self, statement: StatementT, args: Sequence[Any], batch_rows: int, timeout_seconds: float | None = None
    ) -> AsyncIterator[tuple[RowShape, Sequence[Any]]]:
        """Run a statement and yield its rows in batches; memory is bounded by ``batch_rows``.

        The async generator is closed by the caller; closing it ends the statement on the server.
        """

    @abstractmethod
    async def bulk_insert(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        timeout_seconds: float | None = None,
    ) -> int:
        """Insert many rows by the engine's fastest means, all or nothing. Returns the rows inserted.

        ``table`` may be qualified (``schema.table``); names are quoted here.
        """

    @abstractmethod
    async def write_batch(
        self, write: BulkWrite, rows: Sequence[Sequence[Any]], timeout_seconds: float | None = None
    ) -> int:
        """Write one batch of a bulk operation, all of it or nothing. Returns the rows affected.

        Affected are the rows that were inserted, found by an update (changed or not), or deleted. The rows have as many
        values as there are columns; no key is NULL or there twice. Where the engine knows which row is to blame for an
        error, the error's ``row_number`` says it, from 1 within the batch. Inside a transaction the caller has set a
        savepoint.
        """

    # --- transactions ---

    @abstractmethod
    async def begin(self, options: TransactionOptions = DEFAULT_TRANSACTION) -> None:
        """Begin a transaction."""

    @abstractmethod
    async def commit(self) -> None:
        """Commit.

        Raises:
            CommitUnknownError: the reply was lost.
        """

    async def commit_undisturbed(self) -> None:
        """Commit; a caller that is cancelled meanwhile leaves when it is over: a COMMIT in flight is never
        cancelled."""
        task = asyncio.get_running_loop().create_task(self.commit())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait((task,))
            raise

    @abstractmethod
    async def rollback(self) -> None:
        """Roll back."""

    @abstractmethod
    async def savepoint(self, name: str) -> None:
        """Set a savepoint."""

    @abstractmethod
    async def release_savepoint(self, name: str) -> None:
        """Keep what happened since the savepoint."""

    @abstractmethod
    async def rollback_to_savepoint(self, name: str) -> None:
        """Undo what happened since the savepoint."""

    # --- life ---

    @abstractmethod
    def is_closed(self) -> bool:
        """Whether the connection is known to be unusable. Costs no round trip."""

    @abstractmethod
    async def ping(self) -> None:
        """One round trip that touches no table."""

    @abstractmethod
    async def reset(self) -> None:
        """Restore the session contract: roll back, drop locks, settings, temporary tables, listeners."""

    @abstractmethod
    async def cancel(self) -> None:
        """Ask the server to stop the statement that runs now, from outside. Harmless when none runs."""

    @abstractmethod
    async def probe(self) -> NodeStatus:
        """Ask the server for version, role, abilities, and where it stands in the replication."""

    async def position(self) -> Position | None:
        """How far its data goes: of a primary everything that was committed until now, of a replica what it has
        replayed. None where the engine has no such thing."""
        return None

    async def catch_up(self) -> Position | None:
        """As :meth:`position`, once everything is here that the node's cluster had committed when this was called. Only
        where every member of a cluster takes writes is there anything to wait for."""
        return await self.position()

    async def members(self) -> list[tuple[str, int]]:
        """Host and port of the other servers that this one knows to have the same data; needs what the engine's page
        says. Empty where the engine cannot tell."""
        return []

    @abstractmethod
    async def close(self) -> None:
        """Say goodbye and close."""

    @abstractmethod
    def terminate(self) -> None:
        """Close at once, without a goodbye."""


class CopyConnection(Protocol):
    """What a connection has besides where the capability ``COPY`` is there."""

    async def copy_out(
        self, query: str, write: Callable[[bytes], Awaitable[None]], timeout_seconds: float | None = None
    ) -> int:
        """Stream the result of a query as COPY text to ``write``. Returns the rows copied."""
        ...

    async def copy_in(
        self,
        table: str,
        columns: Sequence[str],
        source: AsyncIterable[bytes],
        timeout_seconds: float | None = None,
    ) -> int:
        """Stream COPY text into a table, all or nothing. Returns the rows copied."""
        ...
