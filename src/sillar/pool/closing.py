"""How a pool comes to its end. (A friend of the pool, which looks inside.)"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from sillar.pool.pool import ConnectionPool

_log = structlog.get_logger("sillar.pool")


async def drain_and_close(pool: ConnectionPool, drain_seconds: float) -> None:
    """Tell the waiting callers, wait for the leases, terminate those that are still out, then close everything.

    When the wait is cancelled, the leases are terminated at once.
    """
    pool._closing = pool._is_shut = True
    pool._waiting.fail_all(pool._closed_error)
    pool._waiting.close()
    pool._opener.close()
    pool._guard.close()
    if pool._housekeeper is not None:
        pool._housekeeper.cancel()
    for connection in pool._take_idle():
        pool._retire(connection)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                while pool._leased or pool._dedicated:
                    pool._released.clear()
                    await pool._released.wait()
    finally:
        _terminate_leases(pool)
    await pool._upkeep.settle(pool._opener.tasks)


def _terminate_leases(pool: ConnectionPool) -> None:
    for connection in (*pool._leased, *pool._dedicated_connections.open):
        _log.warning(
            "lease terminated at shutdown",
            database=pool.name,
            leased_seconds=round(pool._now() - connection.borrowed_at, 1),
            place=connection.place,
        )
        connection.terminate()
