"""What has become of a transaction, by its id.

The id means something only where it was given: on the same system and timeline, and only as long as the server has not
crashed, since an id whose log was not flushed is given out once more after a crash. A crash resets the server's
statistics, and an orderly restart does not; so the time of the last reset tells.

Sources: PostgreSQL manual, "Transaction ID and Snapshot Information Functions" (``pg_xact_status``) and "The Cumulative
Statistics System" (statistics are lost in a crash); ``pg_logical_emit_message``, "Replication Management Functions".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sillar.engines.outcome import CommitOutcome

_HISTORY: Final = """
(SELECT system_identifier::text FROM pg_control_system()) || ' '
    || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || ' '
    || (SELECT stats_reset::text FROM pg_stat_bgwriter)
"""
_MARK: Final = f"SELECT pg_current_xact_id()::text AS id, {_HISTORY} AS history"
_STATUS: Final = f"SELECT CASE WHEN {_HISTORY} = $2 THEN pg_xact_status($1::text::xid8) END"
_WAITS: Final = """
SELECT current_setting('synchronous_standby_names') <> ''
       AND current_setting('synchronous_commit') NOT IN ('off', 'local')
"""
_END_SESSION: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE pid = $1 AND usename = current_user AND backend_start < clock_timestamp() - $2 * interval '1 second'
      AND wait_event IS DISTINCT FROM 'SyncRep'
"""
_OUTCOMES: Final = {
    "committed": CommitOutcome.COMMITTED,
    "aborted": CommitOutcome.ROLLED_BACK,
    "in progress": CommitOutcome.OPEN,
}


@dataclass(frozen=True, slots=True)
class TransactionMark:
    """One transaction.

    Attributes:
        id: 64 bits, as text.
        history: system, timeline and last crash of the server that gave the id.
    """

    id: str
    history: str


async def mark_of(raw: Any) -> TransactionMark:
    """The transaction that is open on a connection of the driver's; it gets an id if it has none yet."""
    row = await raw.fetchrow(_MARK)
    return TransactionMark(row["id"], row["history"])


async def outcome_of(raw: Any, mark: TransactionMark) -> CommitOutcome:
    """What the server says of it."""
    return _OUTCOMES.get(await raw.fetchval(_STATUS, mark.id, mark.history), CommitOutcome.UNKNOWN)


async def waits_for_standbys(raw: Any) -> bool:
    """Whether a COMMIT here is answered only once standbys have it."""
    return bool(await raw.fetchval(_WAITS))


async def write_message(raw: Any) -> None:
    """Write something to the log that no table knows of; its COMMIT waits for standbys like any other, and so for all
    that was written before."""
    await raw.execute("SELECT pg_logical_emit_message(true, 'sillar', '')")


async def end_session(raw: Any, server_id: int, age_seconds: float) -> None:
    """End a session of the same user that is older than that, unless its COMMIT waits for standbys."""
    await raw.execute(_END_SESSION, server_id, age_seconds)
