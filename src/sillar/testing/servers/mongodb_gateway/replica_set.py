"""What the members of the stand-in's replica set share, and what each of them knows.

All members serve the same data of one PostgreSQL. What makes a secondary one is played: it refuses writes, and it can
be held back, which leaves it with a snapshot of that moment until it catches up. The clock of the set is a counter in
the form of MongoDB's: one tick for each write.

Source: the MongoDB manual, "Causal Consistency", and the driver specification "Causal Consistency" (``operationTime``,
``$clusterTime``, ``afterClusterTime``).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bson
from bson import Binary, DatetimeMS, Int64, ObjectId, Timestamp

from sillar.testing.servers.mongodb_gateway.command_error import CommandError
from sillar.testing.servers.mongodb_gateway.operation import Operation
from sillar.testing.servers.mongodb_gateway.session import RetryableWrites

_SEEN_MAX = 5000
_LOOK_SECONDS = 0.01
_NOT_PRIMARY, _NO_SECONDARY_OK, _INVALID_OPTIONS = 10107, 13435, 72
_WITHOUT_PRIMARY = frozenset(("getMore",))
_UNSIGNED = {"hash": Binary(bytes(20)), "keyId": Int64(0)}


@dataclass(frozen=True, slots=True)
class Seen:
    """A command on stored documents, as a member has received it.

    Attributes:
        name: its canonical name; ``namespace``: database and collection.
        preference: mode of its ``$readPreference``, or None; ``staleness_seconds``: its ``maxStalenessSeconds``.
        after: its ``afterClusterTime``, or None.
        in_transaction: whether it belongs to one.
    """

    name: str
    namespace: str
    preference: str | None
    staleness_seconds: int | None
    after: Timestamp | None
    in_transaction: bool


class ReplicaSet:
    """The members, and what they agree about.

    Attributes:
        primary: None while nobody is elected.
        term: of the latest election.
        latest: time of the latest write.
        retryable_writes: repeated on another member, a write is not applied twice either.
    """

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.primary: Member | None = None
        self.term = 1
        self.latest = Timestamp(int(time.time()), 1)
        self.retryable_writes = RetryableWrites()

    def tick(self) -> None:
        """A write was applied."""
        now = int(time.time())
        self.latest = Timestamp(now, 1) if now > self.latest.time else Timestamp(self.latest.time, self.latest.inc + 1)

    @property
    def has_several(self) -> bool:
        """Whether it is more than one member that is always the primary."""
        return len(self.members) > 1

    @property
    def election_id(self) -> ObjectId:
        """Greater in each term."""
        return ObjectId(f"7fffffff{self.term:016x}")


class Member:
    """One gateway as a member of the set.

    Attributes:
        address: by which drivers come back.
        seen: the latest commands on documents that it has received.
        snapshot: of PostgreSQL, which its reads see while it is held back; None otherwise.
        cluster_time: the greatest time that it has heard of.
    """

    def __init__(self, replica_set: ReplicaSet) -> None:
        self.set = replica_set
        self.address = ""
        self.seen: deque[Seen] = deque(maxlen=_SEEN_MAX)
        self.snapshot: str | None = None
        self.cluster_time = Timestamp(0, 0)
        self._held: Timestamp | None = None
        self._held_date = 0.0
        replica_set.members.append(self)

    @property
    def is_primary(self) -> bool:
        """Whether it takes the writes. The only member always does."""
        return not self.set.has_several or self.set.primary is self

    @property
    def applied(self) -> Timestamp:
        """Up to when its data goes."""
        return self._held or self.set.latest

    @property
    def applied_date(self) -> float:
        """The same on the clock of the machine."""
        return self._held_date if self._held is not None else time.time()

    def hold(self, snapshot: str, applied: Timestamp) -> None:
        """Stay at that snapshot."""
        self.snapshot, self._held, self._held_date = snapshot, applied, time.time()

    def catch_up(self) -> None:
        """Have all that was written."""
        self.snapshot = self._held = None

    # --- one command --------------------------------------------------------------------------------------------------

    def receive(self, operation: Operation) -> None:
        """Take notice of a command on documents, and of the time that its sender knows."""
        command = operation.command
        preference, concern = dict(command.get("$readPreference") or {}), dict(command.get("readConcern") or {})
        self.seen.append(
            Seen(
                operation.name,
                operation.namespace,
                preference.get("mode"),
                preference.get("maxStalenessSeconds"),
                concern.get("afterClusterTime"),
                operation.in_transaction,
            )
        )
        told = dict(command.get("$clusterTime") or {}).get("clusterTime")
        if told is not None:
            self.cluster_time = max(self.cluster_time, told)

    def check_role(self, operation: Operation, *, is_write: bool) -> None:
        """Refuse what only the primary does. Raises ``CommandError``."""
        if self.is_primary or operation.name in _WITHOUT_PRIMARY:
            return
        if is_write or operation.in_transaction:
            raise CommandError(_NOT_PRIMARY, "not primary")
        if dict(operation.command.get("$readPreference") or {}).get("mode", "primary") == "primary":
            raise CommandError(_NO_SECONDARY_OK, "not primary and secondaryOk=false")

    async def reach(self, operation: Operation) -> None:
        """Wait until the data goes as far as the command asks for. Raises ``CommandError``."""
        after = dict(operation.command.get("readConcern") or {}).get("afterClusterTime")
        if after is None:
            return
        if after > max(self.cluster_time, self.applied):
            raise CommandError(
                _INVALID_OPTIONS, "readConcern afterClusterTime value must not be greater than the current clusterTime"
            )
        while self.applied < after:
            operation.check()
            if operation.is_out_of_time:
                raise operation.cancelled_error()
            await asyncio.sleep(_LOOK_SECONDS)

    def with_times(self, reply: bytes) -> bytes:
        """The reply with the times that a member of a set adds."""
        applied = self.applied
        known = {"clusterTime": max(self.cluster_time, applied), "signature": _UNSIGNED}
        times = bson.encode({"operationTime": applied, "$clusterTime": known})
        body = reply[4:-1] + times[4:-1] + b"\0"
        return (len(body) + 4).to_bytes(4, "little") + body

    def hello(self) -> Mapping[str, Any]:
        """What it says of the set."""
        members, primary = self.set, self.set.primary
        said: dict[str, Any] = {
            "hosts": [each.address for each in members.members],
            "lastWrite": {
                "opTime": {"ts": self.applied, "t": Int64(members.term)},
                "lastWriteDate": DatetimeMS(int(self.applied_date * 1000)),
            },
        }
        if members.has_several and primary is not None:
            said["primary"] = primary.address
            if primary is self:
                said["electionId"] = members.election_id
        return said
