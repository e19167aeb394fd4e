"""What an engine, or the deployment at hand, can do.

Code outside the engines never asks which engine it talks to; it asks for a capability. Capabilities are static per
adapter and then narrowed by a probe of the live server, which gives the reason for what is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from sillar.errors import UnsupportedCapabilityError


class Capability(StrEnum):
    """One thing that some engines or deployments can do and others cannot."""

    SQL = "SQL statements"
    DOCUMENTS = "document verbs"
    TRANSACTIONS = "transactions"
    SAVEPOINTS = "savepoints"
    COMMIT_OUTCOME = "the outcome of a COMMIT whose reply was lost"
    READ_ONLY_TRANSACTIONS = "read-only transactions"
    LOCAL_SETTINGS = "transaction-local settings"
    READ_COMMITTED = "isolation level read committed"
    REPEATABLE_READ = "isolation level repeatable read"
    SERIALIZABLE = "isolation level serializable"
    READ_UNCOMMITTED = "isolation level read uncommitted"
    TRANSACTIONAL_DDL = "DDL inside transactions"
    DEFERRED_CONSTRAINTS = "deferred constraints"
    FOREIGN_KEYS = "foreign keys"
    CHECK_CONSTRAINTS = "check constraints"
    RETURNING = "RETURNING"
    UPDATE_RETURNING = "RETURNING of an UPDATE"
    COPY = "COPY in and out"
    ARRAYS = "array columns"
    NATIVE_UUID = "uuid columns"
    NATIVE_JSON = "json columns"
    NATIVE_DECIMAL = "exact decimal columns"
    NATIVE_TIME_ZONE = "timezone-aware time columns"
    NUL_IN_TEXT = "NUL characters in text"
    NAN = "NaN in floating-point columns"
    ROW_LOCKS = "row locks"
    DEADLOCK_DETECTION = "deadlock detection"
    NOTIFICATIONS = "LISTEN and NOTIFY"
    ADVISORY_LOCKS = "advisory locks"
    SERVER_SESSIONS = "server sessions that can be listed and cancelled"
    AUTHENTICATION = "users and passwords"
    TLS = "TLS"
    ONLINE_BACKUP = "online backup through the driver"
    DRIVER_POOL = "a pool and topology owned by the driver"


class Capabilities:
    """An immutable set of capabilities that knows, for what is missing, why.

    Args:
        engine: name shown in errors, such as ``PostgreSQL 15.14``.
        present: what can be done.
        reasons: for what cannot, the reason where a probe found one.
    """

    __slots__ = ("_present", "_reasons", "engine")

    def __init__(
        self, engine: str, present: Iterable[Capability], reasons: Mapping[Capability, str] | None = None
    ) -> None:
        self.engine = engine
        self._present = frozenset(present)
        self._reasons = dict(reasons or {})

    def has(self, capability: Capability) -> bool:
        """Whether it can be done."""
        return capability in self._present

    def require(self, capability: Capability, *, remedy: str) -> None:
        """Return if it can be done.

        Raises:
            UnsupportedCapabilityError: it cannot; the message has the remedy and, where known, the reason.
        """
        if capability not in self._present:
            reason = self._reasons.get(capability)
            raise UnsupportedCapabilityError(
                capability.value, engine=self.engine, remedy=f"{remedy} ({reason})" if reason else remedy
            )

    def without(self, capability: Capability, reason: str) -> Capabilities:
        """The same set narrowed by one capability that the live server lacks."""
        return Capabilities(self.engine, self._present - {capability}, {**self._reasons, capability: reason})

    def named(self, engine: str) -> Capabilities:
        """The same set under the name and version that the live server gave."""
        return Capabilities(engine, self._present, self._reasons)

    def __contains__(self, capability: object) -> bool:
        return capability in self._present

    def __iter__(self) -> Iterator[Capability]:
        return iter(sorted(self._present))

    def __len__(self) -> int:
        return len(self._present)

    def __repr__(self) -> str:
        return f"Capabilities({self.engine!r}, {sorted(c.name for c in self._present)})"
