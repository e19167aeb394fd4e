"""What a pool says of itself, and how it asks its server. (It is a friend of the pool and looks inside.)"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from sillar.context import Priority, priority
from sillar.engines.connection import DriverConnection
from sillar.engines.health import PoolHealth
from sillar.errors import ConnectError, DatabaseError

if TYPE_CHECKING:
    from sillar.pool.pool import ConnectionPool

_CHECK_SECONDS: Final = 5.0


def figures(pool: ConnectionPool) -> PoolHealth:
    """The figures now, without a round trip."""
    oldest = pool.oldest_lease()
    healthy = not pool._is_shut and pool._loop is not None and pool._trouble is None
    return PoolHealth(
        name=pool.name,
        healthy=healthy,
        reason="" if healthy else str(pool._trouble or pool._shut_error()),
        connections_min=pool.min_connections,
        connections_max=pool.max_connections,
        open=pool._total - pool._opener.connecting + pool._dedicated,
        idle=len(pool._idle),
        leased=len(pool._leased),
        restoring=pool._upkeep.restoring + pool._upkeep.validating,
        connecting=pool._opener.connecting,
        dedicated=pool._dedicated,
        waiting=len(pool._waiting),
        opened_total=pool._opener.opened_total,
        closed_total=pool._closed + pool._dedicated_connections.closed_total,
        lost_total=pool._lost,
        connect_failures_total=pool._opener.failures_total,
        acquired_total=pool._acquired,
        waited_total=pool._waited,
        timeouts_total=pool._timeouts,
        refused_total=pool._refused,
        shed_total=pool._admission.shed_total,
        breaker=pool.breaker.state.value,
        breaker_openings_total=pool.breaker.openings_total,
        wait_seconds_total=pool._wait_seconds,
        resets_total=pool._upkeep.resets_total,
        oldest_lease_seconds=0.0 if oldest is None else pool._now() - oldest.borrowed_at,
    )


async def ask(pool: ConnectionPool) -> None:
    """Ping a connection that nobody uses, or a new one; what comes of it is in the figures afterwards."""
    for _ in range(2):  # a dead connection says nothing of the server: a second one is asked
        connection = await _one_to_ask(pool)
        if connection is None or await _answers(pool, connection):
            return


async def _one_to_ask(pool: ConnectionPool) -> DriverConnection[Any] | None:
    if pool._is_shut or pool._loop is None:
        return None
    for dead in [connection for connection in pool._idle if connection.is_closed()]:
        pool._idle.remove(dead)
        pool._retire(dead)
    connection = pool.try_acquire()
    if connection is not None:
        return connection
    if pool._idle:
        connection = pool._idle.pop()
        pool._lend(connection, asyncio.current_task())
    elif not pool._leased and not len(pool._waiting):
        try:
            with priority(Priority.HIGH):
                connection = await pool.acquire_connection(_CHECK_SECONDS)
        except DatabaseError as error:
            pool._trouble = error
        except asyncio.CancelledError:
            pool._trouble = ConnectError("no connection could be had in time")
            raise
    return connection


async def _answers(pool: ConnectionPool, connection: DriverConnection[Any]) -> bool:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            await connection.ping()
    except BaseException as error:
        connection.dirty = True
        pool._trouble = error if isinstance(error, DatabaseError) else ConnectError("no answer to a ping in time")
        if not isinstance(error, (DatabaseError, TimeoutError)):
            raise
        return False
    else:
        pool._trouble = None
        return True
    finally:
        pool.release_connection(connection)
