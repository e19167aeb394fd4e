"""Every error that Sillar raises, sorted by who has to act.

::

    DatabaseError
    ├── ConfigurationError              the operator: fix the configuration (all faults at once)
    ├── UsageError                      the developer: fix the call
    │   ├── UnsupportedCapabilityError      the engine or deployment cannot do this
    │   ├── NestedAcquireError              tasks hold connections while waiting for more of them
    │   ├── ParameterError                  parameters missing, superfluous or of the wrong type
    │   └── ResultError                     the rows do not fit what was asked (`into=`, one row, one value)
    ├── UnavailableError                the person on call: a server or a pool cannot serve right now
    │   ├── ConnectionError                 (also a builtin ``ConnectionError``)
    │   │   ├── ConnectError                    no connection could be opened
    │   │   │   ├── AuthenticationError
    │   │   │   ├── UnknownDatabaseError
    │   │   │   └── CertificateError                the TLS peer could not be verified
    │   │   ├── TooManyConnectionsError         the server refuses more sessions
    │   │   └── ConnectionLostError             an open connection broke
    │   ├── PoolTimeoutError                waited too long for a connection (also a ``TimeoutError``)
    │   ├── PoolExhaustedError              too many callers wait already
    │   ├── PoolClosedError                 the pool is shutting down
    │   ├── OverloadedError                 load is shed: callers wait for longer than they should
    │   ├── BreakerOpenError                the node failed too often; nobody knocks for a while
    │   ├── NodeUnavailableError            the node was taken out of service while a caller waited for it
    │   ├── NoNodeError                     no node can serve this
    │   │   └── NoPrimaryError                  no node, or more than one, is known to be the primary
    │   └── CommitUnknownError              the reply to COMMIT was lost
    └── StatementError                  the statement: the server refused it
        ├── IntegrityError
        │   ├── UniqueViolationError
        │   ├── ForeignKeyViolationError
        │   ├── NotNullViolationError
        │   └── CheckViolationError
        ├── TransientStatementError         running the whole transaction again may succeed
        │   ├── SerializationError
        │   ├── DeadlockError
        │   └── LockTimeoutError
        ├── DataError                       a value does not fit its column: out of range, too long, malformed
        ├── StatementTimeoutError           (also a ``TimeoutError``)
        ├── ReadOnlyError                   a write reached a read-only node or transaction
        ├── DiskFullError
        ├── StatementSyntaxError            with the position
        └── UnknownStatementError           everything the server says that has no class of its own

``error.safe_to_retry`` answers whether running the same thing again cannot apply it twice. The driver's own exception
is always the ``__cause__``.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class DatabaseError(Exception):
    """The root of all errors that Sillar raises.

    Attributes:
        safe_to_retry: running the failed operation again cannot apply it twice.
        database: the configured name of the database, where one was involved.
        node: ``host:port`` (or path) of the server, where one was involved.
        row_number: the row of a bulk write that is to blame, by its number in the input, from 1; None where not known.
        bulk_report: what a bulk write had done until then (a ``BulkReport``).
    """

    safe_to_retry: bool = False
    database: str | None = None
    node: str | None = None
    row_number: int | None = None
    bulk_report: Any = None

    def at(self, *, database: str | None = None, node: str | None = None) -> DatabaseError:
        """Say where it happened; what is already known stays. Returns the error itself."""
        if self.database is None:
            self.database = database
        if self.node is None:
            self.node = node
        return self


# --- the operator -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfigurationFault:
    """One thing that is wrong in a configuration.

    Attributes:
        where: dotted path of the setting, such as ``databases.main.port``.
        source: where the value came from, such as ``environment SILLAR__DATABASES__MAIN__PORT`` or ``sillar.toml``.
        problem: what is wrong, without the value of a secret.
        remedy: what would be right.
    """

    where: str
    source: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where} ({self.source}): {self.problem}; {self.remedy}"


class ConfigurationError(DatabaseError):
    """The configuration is wrong; nothing was connected. ``faults`` lists everything that was found, at once."""

    def __init__(self, faults: Sequence[ConfigurationFault]) -> None:
        self.faults = tuple(faults)
        count = len(self.faults)
        head = f"the configuration has {count} fault{'s' if count != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  {number}. {fault}" for number, fault in enumerate(self.faults, 1))]))


# --- the developer ----------------------------------------------------------------------------------------------------


class UsageError(DatabaseError):
    """The call is wrong whatever the state of the servers."""


class UnsupportedCapabilityError(UsageError):
    """The engine, or this deployment of it, cannot do what was asked. Nothing was sent."""

    def __init__(self, capability: str, *, engine: str, remedy: str) -> None:
        self.capability, self.engine, self.remedy = capability, engine, remedy
        super().__init__(f"{engine} cannot do {capability}: {remedy}")


class MigrationFileError(UsageError):
    """A migration file, or the history that the files make, is wrong: not importable, a cycle, two heads, a missing
    revision. Nothing was run."""


class MigrationStateError(UsageError):
    """The database is not in a state that these migrations can go on from: at an unknown revision, without a right that
    they need, or interrupted in a way that only a person can decide. Nothing more was run."""


class MigrationRefusedError(UsageError):
    """A policy, the safety lint or a question without an answer refuses. Nothing was run.

    Attributes:
        findings: what is in the way, one by one.
    """

    def __init__(self, message: str, findings: Sequence[Any] = ()) -> None:
        self.findings = tuple(findings)
        super().__init__(message)


class NestedAcquireError(UsageError):
    """Every connection of the pool is held by a task that itself waits for another one: nobody would ever get one."""


class ParameterError(UsageError):
    """Parameters are missing, superfluous, or of a type that the column does not take."""


class ResultError(UsageError):
    """The rows do not fit what was asked for: the columns of ``into=``, exactly one row, exactly one value."""


# --- the person on call -----------------------------------------------------------------------------------------------


class UnavailableError(DatabaseError):
    """A server or a pool cannot serve right now.

    Attributes:
        retry_after_seconds: when trying again makes sense, where that is known.
    """

    safe_to_retry = True
    retry_after_seconds: float | None = None


class ConnectionError(UnavailableError, builtins.ConnectionError):  # noqa: A001 - a subclass of the builtin
    """A connection could not be opened or broke. Also a builtin ``ConnectionError``."""


class ConnectError(ConnectionError):
    """No connection could be opened: refused, unreachable, too slow."""

    permanent: ClassVar[bool] = False
    """Trying again without a change of configuration is pointless, so callers are told at once."""


class AuthenticationError(ConnectError):
    """The server refuses user, password or certificate."""

    safe_to_retry = False
    permanent = True


class UnknownDatabaseError(ConnectError):
    """The server has no database of that name, or does not let this user in."""

    safe_to_retry = False
    permanent = True


class CertificateError(ConnectError):
    """The server's certificate could not be verified: unknown authority, expired, wrong host name; or TLS is
    refused."""

    safe_to_retry = False
    permanent = True


class TooManyConnectionsError(ConnectionError):
    """The server refuses a further session."""


class ConnectionLostError(ConnectionError):
    """An open connection broke while a statement was running on it or before it was sent.

    ``safe_to_retry`` is true outside a transaction where the statement certainly did not write, and inside one, before
    COMMIT, where all of it is certainly undone: the whole transaction may be run again.
    """

    safe_to_retry = False

    def __init__(self, message: str, *, safe_to_retry: bool = False) -> None:
        super().__init__(message)
        self.safe_to_retry = safe_to_retry


class PoolTimeoutError(UnavailableError, builtins.TimeoutError):
    """No connection came free in time. The message has the pool's numbers and the remedy."""


class PoolExhaustedError(UnavailableError):
    """``waiting_max`` callers wait already. The message has the pool's numbers and the remedy."""


class PoolClosedError(UnavailableError):
    """The pool is closed or closing."""

    safe_to_retry = False


class OverloadedError(UnavailableError):
    """Load is shed before everybody waits too long; ``retry_after_seconds`` says when to come back."""


class BreakerOpenError(UnavailableError):
    """The node failed too often, and its circuit breaker lets nobody through; ``retry_after_seconds`` says until
    when."""


class NodeUnavailableError(UnavailableError):
    """The node was taken out of service while a caller waited for one of its connections."""


class NoNodeError(UnavailableError):
    """No node can serve this; the message has the state of each."""


class NoPrimaryError(NoNodeError):
    """No node is known to be the primary, or several claim to be and none of them is certainly the right one."""


class MigrationLockError(UnavailableError):
    """Another migrator is at work for longer than is waited, or a lock that a migration needs was not granted in any of
    its attempts. What was not applied is still to be applied; running it again is safe."""


class CommitUnknownError(UnavailableError):
    """COMMIT was sent and its reply was lost: the transaction may or may not have been applied. Never retried
    blindly."""

    safe_to_retry = False


# --- the statement ----------------------------------------------------------------------------------------------------


class StatementError(DatabaseError):
    """The server refused a statement.

    Attributes:
        code: the server's own code: SQLSTATE, MySQL error number, SQLite extended result name, MongoDB code.
        constraint, table, column: named where the server says so.
        position: 1-based character position of the fault in the statement, where the server says so.
        detail: further fields that the server sent, without row values.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | int | None = None,
        constraint: str | None = None,
        table: str | None = None,
        column: str | None = None,
        position: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.constraint, self.table, self.column = constraint, table, column
        self.position = position
        self.detail: Mapping[str, Any] = detail or {}


class IntegrityError(StatementError):
    """A constraint of the schema refused the row."""


class UniqueViolationError(IntegrityError):
    """A unique or primary key has this value already."""


class ForeignKeyViolationError(IntegrityError):
    """The referenced row is missing, or the row is still referenced."""


class NotNullViolationError(IntegrityError):
    """A column that needs a value got none."""


class CheckViolationError(IntegrityError):
    """A CHECK constraint (or a MongoDB validator) refused the row."""


class TransientStatementError(StatementError):
    """The transaction was rolled back in favour of another one; running the whole transaction again may succeed."""

    safe_to_retry = True


class SerializationError(TransientStatementError):
    """Concurrent transactions could not be put in an order."""


class DeadlockError(TransientStatementError):
    """Transactions waited for each other; the server chose this one to give way."""


class LockTimeoutError(TransientStatementError):
    """A lock was not granted in time."""


class DataError(StatementError):
    """A value does not fit its column or function: out of range, too long, malformed, division by zero."""


class StatementTimeoutError(StatementError, builtins.TimeoutError):
    """The statement ran longer than allowed and was cancelled on the server."""


class ReadOnlyError(StatementError):
    """A write reached a read-only node or a read-only transaction."""


class DiskFullError(StatementError):
    """The server has no space left."""


class StatementSyntaxError(StatementError):
    """The server could not parse the statement, or a name in it does not exist; ``position`` says where."""


class MigrationFailedError(StatementError):
    """A statement of a migration was refused; the message says which, and exactly what state the database is in.

    Attributes:
        revision: the migration.
        statement_number: the statement of it, from 1; None where it failed between statements.
        rolled_back: nothing of this migration is left in the database.
    """

    def __init__(
        self, message: str, *, revision: str, statement_number: int | None, rolled_back: bool, **fields: Any
    ) -> None:
        super().__init__(message, **fields)
        self.revision, self.statement_number, self.rolled_back = revision, statement_number, rolled_back


class UnknownStatementError(StatementError):
    """The server refused the statement for a reason that has no class of its own; ``code`` is the server's."""
