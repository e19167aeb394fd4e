"""What a node says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sillar.capabilities import Capabilities
from sillar.consistency import Position


class NodeRole(StrEnum):
    """What a node says of itself. Unknown is never treated as a primary."""

    PRIMARY = "primary"
    REPLICA = "replica"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What a probe of a live server found.

    Attributes:
        version: as the server spells it.
        role: learned from the server.
        read_only: whether it refuses writes now.
        capabilities: the adapter's, narrowed to what this server can do.
        address: ``host:port``, socket or file.
        history: which data this is: two nodes with different, non-empty histories are no copies of each other
            (PostgreSQL's system identifier, the uuid of a Galera cluster).
        term: of two nodes that both claim to be the primary, the one with the higher term is (PostgreSQL's timeline).
        position: how far its data goes; see :meth:`DriverConnection.position`.
        lag_seconds: how far a replica is behind its primary at most; 0 for a primary, None where it cannot tell (or
            where it does not replicate now).
        several_primaries: it belongs to a cluster in which every member takes writes (Galera); the members that agree
            on ``history`` do not contradict each other.
        identity: which server process this is: two addresses with the same, non-empty one lead to one server.
    """

    version: str
    role: NodeRole
    read_only: bool
    capabilities: Capabilities
    address: str
    history: str = ""
    term: int | None = None
    position: Position | None = None
    lag_seconds: float | None = None
    several_primaries: bool = False
    identity: str = ""
