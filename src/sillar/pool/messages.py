"""What a pool says when it cannot serve: always with its numbers, and with the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sillar.errors import (
    BreakerOpenError,
    NestedAcquireError,
    NoNodeError,
    NoPrimaryError,
    OverloadedError,
    PoolClosedError,
    PoolExhaustedError,
    PoolTimeoutError,
)
from sillar.pool.breaker import BreakerState

if TYPE_CHECKING:
    from sillar.pool.breaker import CircuitBreaker
    from sillar.pool.pool import ConnectionPool
    from sillar.pool.topology import Topology


_RETRY_SECONDS_MIN: Final = 0.1


def numbers(pool: ConnectionPool) -> str:
    """The state of a pool in one line, with the age and the place of its oldest lease."""
    stats = pool.stats()
    parts = [f"{stats.leased} leased", f"{stats.waiting} waiting", f"{stats.connecting} connecting"]
    if stats.restoring:
        parts.append(f"{stats.restoring} being reset")
    if stats.dedicated:
        parts.append(f"{stats.dedicated} dedicated")
    oldest = pool.oldest_lease()
    if oldest is not None:
        where = f" at {oldest.place}" if oldest.place else ""
        parts.append(f"oldest lease {stats.oldest_lease_seconds:.1f} s{where}")
    return f"pool {pool.name!r} of {pool.max_connections}: {', '.join(parts)}"


def exhausted_error(pool: ConnectionPool) -> PoolExhaustedError:
    """For one caller more than may wait."""
    error = PoolExhaustedError(
        f"{numbers(pool)}; waiting_max={pool.config.waiting_max} callers wait already;"
        " raise max_connections, release earlier, or shed load upstream"
    )
    error.retry_after_seconds = 1.0
    error.at(database=pool.name)
    return error


def overloaded_error(pool: ConnectionPool, retry_after_seconds: float) -> OverloadedError:
    """For a caller that would have to wait for too long."""
    error = OverloadedError(
        f"{numbers(pool)}; for {pool.config.queue_interval:g} s nobody was served within"
        f" queue_target={pool.config.queue_target:g} s, so no more callers are let in; come back in"
        f" {retry_after_seconds:.1f} s, raise max_connections, or send less"
    )
    error.retry_after_seconds = retry_after_seconds
    error.at(database=pool.name)
    return error


def timeout_error(
    pool: ConnectionPool, waited_seconds: float, last_error: BaseException | None, *, holds_one: bool
) -> PoolTimeoutError:
    """For a caller that has waited in vain; ``holds_one``: it has a connection already."""
    if last_error is not None:
        remedy = f"the last connect failed: {last_error}"
    elif holds_one:
        remedy = "this task holds a connection already: use that one"
    else:
        remedy = "raise max_connections or release earlier"
    error = PoolTimeoutError(f"{numbers(pool)}; no connection within {waited_seconds:.1f} s; {remedy}")
    error.__cause__ = last_error
    error.retry_after_seconds = 1.0
    error.at(database=pool.name)
    return error


def nested_error(pool: ConnectionPool, places: list[str]) -> NestedAcquireError:
    """For the caller whose waiting would be a deadlock; ``places`` are those of its own leases."""
    error = NestedAcquireError(
        f"{numbers(pool)}; all connections are held by tasks that wait for another one, so none would ever come"
        f" free; this task holds {len(places)} (leased at {', '.join(places)}); use the connection or transaction that"
        " is open instead of acquiring a second one"
    )
    error.at(database=pool.name)
    return error


def breaker_error(pool: ConnectionPool, breaker: CircuitBreaker) -> BreakerOpenError:
    """For a caller while the node is not asked."""
    seconds = breaker.retry_after_seconds
    if seconds is None:
        until = "it stays open until somebody closes it with pool.breaker.close()"
    elif breaker.state is BreakerState.HALF_OPEN:
        until = "the node is being probed"
    else:
        until = f"the node is probed in {seconds:.1f} s"
    trouble = f" ({pool._trouble})" if pool._trouble is not None else ""
    error = BreakerOpenError(
        f"the circuit breaker of pool {pool.name!r} opened {breaker.opened_seconds:.1f} s ago:"
        f" {breaker.reason}{trouble}; {until}; nothing was sent: look after the server, and come back later"
    )
    error.retry_after_seconds = None if seconds is None else max(seconds, _RETRY_SECONDS_MIN)
    error.at(database=pool.name, node=None if pool._trouble is None else pool._trouble.node)
    return error


def nobody_error(topology: Topology, *, is_read: bool) -> NoNodeError:
    """For a caller that has waited in vain for a node that will do."""
    if not is_read and (primary := topology.primary) is not None:
        error: NoNodeError = NoPrimaryError(
            f"{primary.name} has taken over the writes of {topology.name!r}, and has not caught up yet with what its"
            f" cluster had committed: {topology.describe()}; look what keeps it from applying that"
        )
    elif not is_read:
        error = NoPrimaryError(
            f"no primary is known for {topology.name!r}: {topology.describe()};"
            " promote a node, or look why none can be reached"
        )
    else:
        error = NoNodeError(f"no node of {topology.name!r} can serve this read: {topology.describe()}")
    error.retry_after_seconds = topology.config.check_interval
    error.at(database=topology.name)
    return error


def no_room_error(topology: Topology, waiting: int) -> PoolExhaustedError:
    """For one caller more than may wait for a node."""
    error = PoolExhaustedError(
        f"{waiting} callers wait for a node of {topology.name!r} already (waiting_max); {topology.describe()}"
    )
    error.retry_after_seconds = topology.config.check_interval
    error.at(database=topology.name)
    return error


def closed_error(name: str, *, was_open: bool) -> PoolClosedError:
    """For a caller that came too late, or too early."""
    error = PoolClosedError(f"pool {name!r} is {'closing' if was_open else 'not open'}")
    error.at(database=name)
    return error
