"""What a pool does by itself every few seconds. (A friend of the pool, which looks inside.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sillar.engines.connection import DriverConnection

if TYPE_CHECKING:
    from sillar.pool.pool import ConnectionPool

_INTERVAL_SECONDS: Final = 5.0


def housekeep(pool: ConnectionPool) -> None:
    """Reap what is idle for long, retire what is old, name leaks, keep the minimum; and come again."""
    assert pool._loop is not None
    now = pool._now()
    keep: list[DriverConnection[Any]] = []
    for connection in pool._take_idle():  # the longest idle first
        surplus = pool._total > pool.min_connections and now - connection.idle_since > pool.idle_timeout
        if surplus or now >= connection.expires_at or connection.is_closed():
            pool._retire(connection)
        else:
            keep.append(connection)
    pool._idle = keep
    leak_detection = pool.config.leak_detection
    if leak_detection is not None:
        pool._upkeep.report_leaks(pool._leased, leak_detection, now)
    pool._serve()
    limits = [_INTERVAL_SECONDS, pool.idle_timeout / 2, pool.config.max_lifetime / 4]
    if leak_detection is not None:
        limits.append(leak_detection / 2)
    pool._housekeeper = pool._loop.call_later(max(0.02, min(limits)), housekeep, pool)
