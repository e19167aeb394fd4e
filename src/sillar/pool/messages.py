"""What a pool says when it cannot serve: always with its numbers, and with the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sillar.errors import NestedAcquireError, PoolClosedError, PoolExhaustedError, PoolTimeoutError

if TYPE_CHECKING:
    from sillar.pool.pool import ConnectionPool


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


def closed_error(name: str, *, was_open: bool) -> PoolClosedError:
    """For a caller that came too late, or too early."""
    error = PoolClosedError(f"pool {name!r} is {'closing' if was_open else 'not open'}")
    error.at(database=name)
    return error
