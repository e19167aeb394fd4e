"""What a source of connections says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """The state of a pool at one instant.

    Attributes:
        name: configured name of the database.
        healthy: a connection answered, or nothing speaks against it.
        reason: why it is not healthy; empty otherwise.
        connections_min, connections_max: the limits in force.
        open: connections that exist, dedicated ones included.
        idle, leased, restoring, connecting, dedicated: how many of them are in which state.
        waiting: callers that wait for a connection.
        opened_total, closed_total, lost_total: connections since the start.
        connect_failures_total: handshakes that failed.
        acquired_total, waited_total, timeouts_total, refused_total: callers since the start.
        wait_seconds_total: time that callers spent waiting.
        resets_total: hand-overs that needed a reset.
        shed_total: callers refused because others wait for longer than they should.
        breaker: state of the node's circuit breaker; empty where there is none.
        breaker_openings_total: how often it opened.
        oldest_lease_seconds: age of the oldest lease, 0 without one.
        detail: figures that only this kind of source has.
        nodes: where there are several, each by its address; the figures above are their sums.
    """

    name: str
    healthy: bool
    reason: str = ""
    connections_min: int = 0
    connections_max: int = 0
    open: int = 0
    idle: int = 0
    leased: int = 0
    restoring: int = 0
    connecting: int = 0
    dedicated: int = 0
    waiting: int = 0
    opened_total: int = 0
    closed_total: int = 0
    lost_total: int = 0
    connect_failures_total: int = 0
    acquired_total: int = 0
    waited_total: int = 0
    timeouts_total: int = 0
    refused_total: int = 0
    wait_seconds_total: float = 0.0
    resets_total: int = 0
    shed_total: int = 0
    breaker: str = ""
    breaker_openings_total: int = 0
    oldest_lease_seconds: float = 0.0
    detail: Mapping[str, float] = field(default_factory=dict)
    nodes: Mapping[str, NodeHealth] = field(default_factory=dict)

    @property
    def utilisation(self) -> float:
        """Leased share of the limit, 0 to 1."""
        return self.leased / self.connections_max if self.connections_max else 0.0


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """The state of one of several nodes.

    Attributes:
        state: ``up``, ``down``, ``unknown``, ``foreign`` (it has other data than the rest), or ``alias`` (another name
            of a node that is used already).
        role: ``primary``, ``replica``, or ``unknown``.
        is_primary: it takes the writes now.
        serves_reads: reads go to it now.
        lag_seconds: by how much its data is older than the primary's, at most; None where that is not known.
        reason: why it does not serve; empty otherwise.
        pool: its connections.
    """

    state: str
    role: str
    is_primary: bool
    serves_reads: bool
    lag_seconds: float | None
    reason: str
    pool: PoolHealth
