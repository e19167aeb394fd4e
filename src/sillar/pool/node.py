"""One server of a database, as the topology sees it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from sillar.config import NodeAddress
from sillar.consistency import Position
from sillar.engines.node import NodeRole, NodeStatus
from sillar.errors import DatabaseError
from sillar.pool.positions import PositionPoll

if TYPE_CHECKING:
    from sillar.pool.pool import ConnectionPool
    from sillar.pool.watch import NodeWatch


class NodeState(StrEnum):
    """Whether a node serves."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"
    FOREIGN = "foreign"
    """It answers, and has other data than the rest: it is never used."""

    ALIAS = "alias"
    """It is another name of a node that is used already."""


class Node:
    """One server: its pool, and what its watch has found out.

    Attributes:
        address: where it is.
        name: ``host:port``.
        pool: its connections.
        watch: looks at it now and then.
        poll: its position.
        levelling: its position once it has caught up with its cluster; see :class:`sillar.pool.freshness.Freshness`.
        state: whether it serves.
        reason: why it does not.
        status: what it said of itself when it last answered.
        refusal: the error with which it last refused to be looked at; None once it has answered.
        asked_at, answered_at: when it was asked for it, and when it answered, by ``time.monotonic()``.
        is_doubted: it contradicted its status since (a write was refused as read-only); it is not trusted until it has
            answered a question that was asked after that.
        doubted_at: when it did, by ``time.monotonic()``.
        is_deposed: it was the primary before another one was, and has not followed that one since.
    """

    def __init__(self, address: NodeAddress, pool: ConnectionPool, watch: NodeWatch) -> None:
        self.address = address
        self.name = str(address)
        self.pool = pool
        self.watch = watch
        self.poll: PositionPoll = watch.poll
        self.levelling: PositionPoll = watch.levelling
        self.state = NodeState.UNKNOWN
        self.reason = "it has not been looked at yet"
        self.status: NodeStatus | None = None
        self.refusal: DatabaseError | None = None
        self.asked_at = self.answered_at = self.doubted_at = 0.0
        self.is_doubted = self.is_deposed = False

    @property
    def trusted_status(self) -> NodeStatus | None:
        """What it says of itself; None while it is doubted, or not up."""
        return self.status if self.state is NodeState.UP and not self.is_doubted else None

    @property
    def is_one_of_several(self) -> bool:
        """Whether it belongs to a cluster in which every member takes writes, and applies those of the others later."""
        return self.status is not None and self.status.several_primaries

    @property
    def position(self) -> Position | None:
        """How far its data goes, for certain.

        A server that was restarted may come back with less: so nothing is certain once the watch's connection has
        broken, until it has asked anew.
        """
        return self.poll.position if self.watch.is_attached else None

    @property
    def role(self) -> NodeRole:
        """Its role as far as it is known for certain."""
        status = self.trusted_status
        return NodeRole.UNKNOWN if status is None else status.role

    def describe(self) -> str:
        """State and role in words, for errors and logs."""
        if self.state is not NodeState.UP:
            return f"{self.name} is {self.state.value} ({self.reason})"
        if self.is_doubted:
            return f"{self.name} is doubted ({self.reason})"
        deposed = ", deposed" if self.is_deposed else ""
        read_only = ", read-only" if self.status is not None and self.status.read_only else ""
        return f"{self.name} is a {self.role.value}{deposed}{read_only}"

    def __repr__(self) -> str:
        return f"<Node {self.describe()}>"
