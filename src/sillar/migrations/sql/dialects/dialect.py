"""The contract for what is particular to one kind of database."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, ClassVar

from alembic.script import Script
from sqlalchemy.engine import Connection

Ask = Callable[[str], Sequence[Any]]
"""Runs SQL text; gives its rows."""


class Verdict(Enum):
    """What became of a statement whose reply was lost."""

    DONE = "it was applied"
    AGAIN = "it was not applied, what it left is removed, or it does no harm a second time: run it again"
    AGAIN_OR_ALREADY = "run it again; that it exists already, or is gone already, says that it was applied"
    UNKNOWN = "nobody can tell"


class MigrationDialect(ABC):
    """How migrations run on one kind of database. Connections are SQLAlchemy's synchronous ones, of any driver."""

    names: ClassVar[tuple[str, ...]]
    """SQLAlchemy's names of the dialect."""

    enters_schema: ClassVar[str | None] = None
    """What makes a schema the one, and the only one, that names without a schema are looked up in: what a tenant does
    not have must not be found elsewhere. None: there are no schemas."""

    leaves_schema: ClassVar[str] = ""
    """What goes back to the schema before."""

    catalogue_queries: ClassVar[tuple[str, ...]] = ()
    """Names and definitions of what SQLAlchemy does not reflect, in a ``:schema`` or the default one."""

    drop_queries: ClassVar[tuple[str, ...]] = ()
    """Statements that empty the default schema, but for what belongs to extensions, as the rows of queries."""

    transactional_ddl: ClassVar[bool]
    """Whether DDL is undone with its transaction."""

    writes_in_queries: ClassVar[bool] = False
    """Whether one statement may insert what another one, in its ``WITH``, has changed."""

    records_directly: ClassVar[bool] = False
    """Whether what is recorded of a migration is sent on Sillar's own connection, where SQLAlchemy has begun a
    transaction on it, past SQLAlchemy: the statements stay prepared, whatever DDL there is between them."""

    lock_codes: ClassVar[frozenset[str | int]]
    """Codes of errors that say: a lock was not granted in time, or this transaction gave way in a deadlock."""

    rights_codes: ClassVar[frozenset[str | int]]
    """Codes of errors that say: this user may not."""

    already_codes: ClassVar[frozenset[str | int]]
    """Codes of errors by which a statement that is run a second time says that it was done the first time."""

    lost_codes: ClassVar[frozenset[str | int]] = frozenset()
    """Codes of errors that say: this session ends."""

    @abstractmethod
    def try_lock(self, connection: Connection, name: str) -> Any:
        """Take the migrators' lock, if nobody has it: something for :meth:`abandon`, or None. The server's locks end
        with the connection at the latest.

        Args:
            connection: what it has begun is committed.
            name: of the lock, the same for all migrators of one history in one database.
        """

    @abstractmethod
    def unlock(self, connection: Connection, name: str) -> None:
        """Give the lock back."""

    def abandon(self, held: Any) -> None:  # noqa: B027 - the server's locks have ended
        """The connection is gone: let go of what is held on this side."""

    @abstractmethod
    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        """Have statements wait for locks no longer than this many seconds, and run as long as they need. Whoever calls
        commits, or takes the migrators' lock next."""

    def prepare_rehearsal(self, connection: Connection, lock_timeout: float) -> None:  # noqa: B027 - as the session has it
        """The same in the transaction of a dry run."""

    @contextmanager
    def around(self, connection: Connection, script: Script) -> Iterator[None]:
        """What one migration needs around its transaction."""
        yield

    def begin(self, connection: Connection, script: Script) -> None:  # noqa: B027 - most drivers begin by themselves
        """Make sure that what follows is in a transaction, DDL too. Called in the transaction of a migration."""

    def before_commit(self, connection: Connection, script: Script) -> None:  # noqa: B027 - most have nothing to look at
        """Called in the transaction of a migration, when all of it has run. What it raises undoes the migration."""

    # --- statements that no transaction holds -------------------------------------------------------------------------

    @abstractmethod
    def stands_alone(self, statement: str, *, autocommit: bool) -> bool:
        """Whether a statement cannot commit together with the journal's row: it ends the transaction, or must not be in
        one.

        Args:
            statement: its text.
            autocommit: the migration has asked for no transaction.

        Raises:
            MigrationFileError: it cannot be journalled at all.
        """

    def evidence(self, ask: Ask, statement: str) -> str:
        """What the catalogue says before a statement that stands alone; kept until its reply is there."""
        return ""

    def settle(self, ask: Ask, statement: str, evidence: str) -> Verdict:
        """Find out about a statement that stands alone, and whose reply was lost with its connection. Nobody else is
        migrating, and the session that it ran in has ended.

        Args:
            ask: runs SQL text.
            statement: its text.
            evidence: what was found before it was sent.
        """
        return Verdict.UNKNOWN

    def clear(self, ask: Ask, statement: str, evidence: str) -> str:
        """Remove what a refused statement has left behind; says what it did, for the error, or nothing."""
        return ""

    @contextmanager
    def patient(self, ask: Ask, statement: str, seconds: float) -> Iterator[None]:
        """Let a statement that keeps nobody waiting wait longer for others."""
        yield

    # --- looking ------------------------------------------------------------------------------------------------------

    def invalid_indexes(self, connection: Connection) -> list[str]:
        """Indexes that were not built to their end, as ``schema.index on table``; none where there is no such thing."""
        return []


__all__ = ["Ask", "MigrationDialect", "Verdict"]
