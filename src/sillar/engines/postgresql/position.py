"""Where a PostgreSQL server stands: the end of its write-ahead log, of one system, on one timeline.

Source: PostgreSQL manual, "Continuous Archiving and Point-in-Time Recovery", section "Timelines"; "System
Administration Functions", tables "Backup Control Functions" and "Recovery Information Functions".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from sillar.errors import UsageError

_ENCODED: Final = re.compile(r"pg:([0-9]{1,20}):([0-9]{1,10}):([0-9A-F]{1,8})/([0-9A-F]{1,8})")


@dataclass(frozen=True, slots=True)
class LogPosition:
    """A byte of the write-ahead log.

    Attributes:
        system: the system identifier, which a database cluster and its physical copies share.
        timeline: one more after each promotion. The same byte of another timeline is other data.
        lsn: log sequence number, in bytes.
    """

    system: str
    timeline: int
    lsn: int

    def covers(self, other: Any) -> bool:
        return (
            isinstance(other, LogPosition)
            and self.lsn >= other.lsn
            and self.timeline == other.timeline
            and self.system == other.system
        )

    def merged(self, other: Any) -> LogPosition:
        """The later of the two: of the newer timeline, then of the higher byte."""
        if not isinstance(other, LogPosition) or other.system != self.system:
            return self
        return max(self, other, key=lambda each: (each.timeline, each.lsn))

    def encode(self) -> str:
        return f"pg:{self.system}:{self.timeline}:{self.lsn >> 32:X}/{self.lsn & 0xFFFFFFFF:X}"

    @classmethod
    def decode(cls, text: str) -> LogPosition:
        """What :meth:`encode` has written.

        Raises:
            UsageError: it is something else.
        """
        match = _ENCODED.fullmatch(text)
        if match is None:
            raise UsageError("this is no position of PostgreSQL's log, as pg:system:timeline:0/0 is one")
        return cls(match[1], int(match[2]), int(match[3], 16) << 32 | int(match[4], 16))


PROBE: Final = """
SELECT current_setting('server_version') AS version, recovering,
       current_setting('default_transaction_read_only') = 'on' AS read_only,
       (SELECT system_identifier::text FROM pg_control_system()) AS system,
       CASE WHEN recovering THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
                                  FROM pg_control_checkpoint() c, pg_control_recovery() r)
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END AS timeline,
       CASE WHEN recovering THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_insert_lsn() END
           - '0/0'::pg_lsn AS lsn,
       CASE WHEN NOT recovering THEN 0.0
            WHEN pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn() THEN 0.0
            ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float8 AS lag_seconds,
       CASE WHEN recovering THEN EXISTS (SELECT FROM pg_stat_wal_receiver) ELSE true END AS attached,
       pg_postmaster_start_time()::text || ' ' || current_setting('port') AS identity
FROM (SELECT pg_is_in_recovery() AS recovering) AS node
"""
"""Everything that a probe wants to know, in one round trip. The functions and columns are open to every role."""

POSITION: Final = """
SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,
       CASE WHEN recovering THEN (SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
                                  FROM pg_control_checkpoint() c, pg_control_recovery() r)
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int END AS timeline,
       CASE WHEN recovering THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE pg_current_wal_insert_lsn() END
           - '0/0'::pg_lsn AS lsn
FROM (SELECT pg_is_in_recovery() AS recovering) AS node
"""

MEMBERS: Final = "SELECT application_name FROM pg_stat_replication"
"""Of this view a role without pg_monitor sees little more than that, which is enough."""
