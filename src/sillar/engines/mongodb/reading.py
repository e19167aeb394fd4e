"""Which members of a replica set serve a read, and what they have to have: consistency in MongoDB's terms.

Sources: MongoDB manual, "Read Preference", "Causal Consistency and Read and Write Concerns"; driver specifications,
"Causal Consistency" and "Max Staleness".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import bson
from bson import Timestamp
from bson.errors import BSONError

from sillar.config import MongoDBConfig
from sillar.consistency import CausalContext, Consistency, ConsistencyLevel, Need
from sillar.errors import UsageError

STALENESS_SECONDS_MIN: Final = 90
"""The least ``maxStalenessSeconds`` that servers and drivers take."""
_PRIMARY, _SECONDARIES = "primary", "secondaryPreferred"


@dataclass(frozen=True, slots=True)
class WriteTime:
    """Up to when a line of work has written, on the clock of the deployment.

    Attributes:
        operation_time: a member that has it has all of it; None where nobody can tell (the deployment says no time, or
            the reply to a write was lost): then only the primary is certain to.
        cluster_time: as the server has signed it: another client has to show it before it asks for ``operation_time``.
    """

    operation_time: Timestamp | None
    cluster_time: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def later(self, other: WriteTime) -> WriteTime:
        """The one that includes both."""
        if self.operation_time is None or other.operation_time is None:
            return self if self.operation_time is None else other
        return self if self.operation_time >= other.operation_time else other

    def encode(self) -> str:
        """As text, for a token."""
        document = bson.encode({"operationTime": self.operation_time, "clusterTime": self.cluster_time})
        return base64.urlsafe_b64encode(document).decode()

    @classmethod
    def decode(cls, text: str) -> WriteTime:
        """From :meth:`encode`.

        Raises:
            UsageError: it is nothing of that kind.
        """
        try:
            document = bson.decode(base64.urlsafe_b64decode(text.encode("ascii")))
            operation_time, cluster_time = document["operationTime"], document["clusterTime"]
        except (BSONError, binascii.Error, UnicodeError, KeyError):
            raise _no_time() from None
        is_time = operation_time is None or isinstance(operation_time, Timestamp)
        if not is_time or not (cluster_time is None or isinstance(cluster_time.get("clusterTime"), Timestamp)):
            raise _no_time()
        return cls(operation_time, cluster_time)


UNKNOWN: Final = WriteTime(None)


def _no_time() -> UsageError:
    return UsageError("this is no operation time of MongoDB: does the token name a database of another engine so?")


class Reading(NamedTuple):
    """How one lease reads.

    Attributes:
        preference: which members: a mode of MongoDB's read preference; None is what is configured.
        staleness_seconds: how far they may be behind, -1 for any distance.
        after: what they have to have, or None.
    """

    preference: str | None
    staleness_seconds: int = -1
    after: WriteTime | None = None


_FROM_PRIMARY: Final = Reading(_PRIMARY)
_FROM_SECONDARIES: Final = Reading(_SECONDARIES)
_AS_CONFIGURED: Final = Reading(None)


class ReadRules:
    """Consistency levels as read preferences and causal consistency.

    A read that asks for nothing goes where ``connection_options.read_preference`` says, if that was configured; else to
    the secondaries, as far as ``topology.consistency`` allows.

    Args:
        name: configured name of the database, by which lines of work note what they have written.
        config: the database.
    """

    def __init__(self, name: str, config: MongoDBConfig) -> None:
        options = config.connection_options
        self.name = name
        self._default = Consistency(ConsistencyLevel(config.topology.consistency))
        self._is_configured = "read_preference" in options.model_fields_set
        self._has_to_be_primary = options.read_preference == _PRIMARY

    def reading(self, need: Need) -> Reading:
        """How a read is done: without a look at the server."""
        asked = need.consistency
        if asked is None and self._is_configured:
            if self._has_to_be_primary or self._default.level is not ConsistencyLevel.READ_YOUR_WRITES:
                return _AS_CONFIGURED
            return self._after_own_writes(need.causality, _AS_CONFIGURED)
        consistency = asked or self._default
        level = consistency.level
        if level is ConsistencyLevel.READ_YOUR_WRITES:
            return self._after_own_writes(need.causality, _FROM_SECONDARIES)
        if level is ConsistencyLevel.EVENTUAL:
            return _FROM_SECONDARIES
        if level is ConsistencyLevel.BOUNDED and (consistency.lag_seconds or 0.0) >= STALENESS_SECONDS_MIN:
            return Reading(_SECONDARIES, int(consistency.lag_seconds or 0.0))
        return _FROM_PRIMARY

    def _after_own_writes(self, causality: CausalContext, reading: Reading) -> Reading:
        written: WriteTime | None = causality.marks.get(self.name)
        if written is None:
            return reading
        return _FROM_PRIMARY if written.operation_time is None else reading._replace(after=written)

    def note(self, causality: CausalContext, written: WriteTime) -> None:
        """Note what a line of work has written: it is later than anything unknown that it had to wait for before."""
        known: WriteTime | None = causality.marks.get(self.name)
        if known is None or known.operation_time is None:
            causality.marks[self.name] = written
        elif known != written:
            causality.marks[self.name] = known.later(written)

    def token_position(self, causality: CausalContext) -> str | None:
        """What a reader elsewhere has to wait for, as text; None where nothing was written."""
        written: WriteTime | None = causality.marks.get(self.name)
        return None if written is None else written.encode()

    def accept_position(self, causality: CausalContext, text: str) -> None:
        """Have a line of work read what somebody else has written.

        Raises:
            UsageError: it is no time of MongoDB's.
        """
        received = WriteTime.decode(text)
        known: WriteTime | None = causality.marks.get(self.name)
        causality.marks[self.name] = received if known is None else known.later(received)
