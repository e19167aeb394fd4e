"""What the driver's own pool and topology do, as its listeners tell it.

The driver calls them on the event loop, between its own awaits; they only count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog
from pymongo.errors import NotPrimaryError
from pymongo.monitoring import (
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutFailedEvent,
    ConnectionCheckOutStartedEvent,
    ConnectionClosedEvent,
    ConnectionClosedReason,
    ConnectionCreatedEvent,
    ConnectionPoolListener,
    ConnectionReadyEvent,
    PoolClearedEvent,
    PoolClosedEvent,
    PoolCreatedEvent,
    PoolReadyEvent,
    TopologyClosedEvent,
    TopologyDescriptionChangedEvent,
    TopologyListener,
    TopologyOpenedEvent,
)
from pymongo.server_description import ServerDescription

_log = structlog.get_logger("sillar.mongodb")


class MemberActivity:
    """Connections to one member: in use, taken, opened and closed since the start."""

    __slots__ = ("acquired", "closed", "leased", "opened")

    def __init__(self) -> None:
        self.leased = self.acquired = self.opened = self.closed = 0

    @property
    def open(self) -> int:
        """Connections that exist and are ready."""
        return self.opened - self.closed


class PoolActivity(ConnectionPoolListener):
    """Counts connections over all servers.

    Attributes:
        leased: connections in use. One command at a time holds a connection; an open transaction holds none.
        opened, closed: connections since the start; ``lost`` of them broke, ``connect_failures`` were never ready.
        clears: how often a pool was cleared after a failure.
        acquired: how often a connection was taken.
    """

    def __init__(self) -> None:
        self.leased = self.acquired = 0
        self.opened = self.closed = self.lost = self.connect_failures = self.clears = 0
        self._connecting: set[tuple[object, int]] = set()
        self._members: dict[object, MemberActivity] = {}

    def of_member(self, address: object) -> MemberActivity:
        """The counts of one member, by the driver's address of it."""
        found = self._members.get(address)
        if found is None:
            found = self._members[address] = MemberActivity()
        return found

    @property
    def connecting(self) -> int:
        """Connections in the middle of being opened."""
        return len(self._connecting)

    @property
    def open(self) -> int:
        """Connections that exist and are ready."""
        return self.opened - self.closed

    def connection_created(self, event: ConnectionCreatedEvent) -> None:
        self._connecting.add((event.address, event.connection_id))

    def connection_ready(self, event: ConnectionReadyEvent) -> None:
        self._connecting.discard((event.address, event.connection_id))
        self.opened += 1
        self.of_member(event.address).opened += 1

    def connection_closed(self, event: ConnectionClosedEvent) -> None:
        key = (event.address, event.connection_id)
        if key in self._connecting:
            self._connecting.discard(key)
            self.connect_failures += 1
            return
        self.closed += 1
        self.of_member(event.address).closed += 1
        if event.reason in (ConnectionClosedReason.ERROR, ConnectionClosedReason.STALE):
            self.lost += 1

    def connection_check_out_started(self, event: ConnectionCheckOutStartedEvent) -> None:
        """Nothing to count."""

    def connection_checked_out(self, event: ConnectionCheckedOutEvent) -> None:
        self.leased += 1
        self.acquired += 1
        member = self.of_member(event.address)
        member.leased += 1
        member.acquired += 1

    def connection_check_out_failed(self, event: ConnectionCheckOutFailedEvent) -> None:
        """Nothing to count."""

    def connection_checked_in(self, event: ConnectionCheckedInEvent) -> None:
        self.leased -= 1
        self.of_member(event.address).leased -= 1

    def pool_created(self, event: PoolCreatedEvent) -> None:
        """Nothing to count."""

    def pool_ready(self, event: PoolReadyEvent) -> None:
        """Nothing to count."""

    def pool_cleared(self, event: PoolClearedEvent) -> None:
        self.clears += 1

    def pool_closed(self, event: PoolClosedEvent) -> None:
        """Nothing to count."""


class TopologyActivity(TopologyListener):
    """Follows the members of the deployment. The driver tells of changes within a second or so.

    Attributes:
        primary: address of the server that takes writes, or None.
        primary_changes: how often it became another one.
        listeners: told of each change: its kind, the member, and why, in words. The kinds are ``primary_changed``,
            ``primary_lost``, ``node_up``, ``node_down``, ``node_added`` and ``node_removed``.
    """

    def __init__(self) -> None:
        self.primary_changes = 0
        self.primary: str | None = None
        self.listeners: list[Callable[[str, str | None, str], None]] = []
        self._last_primary: str | None = None
        self._up: dict[str, bool | None] = {}
        self._is_closing = False

    def opened(self, event: TopologyOpenedEvent) -> None:
        """Nothing to count."""

    def description_changed(self, event: TopologyDescriptionChangedEvent) -> None:
        members = {f"{host}:{port}": each for (host, port), each in event.new_description.server_descriptions().items()}
        if not members:
            return
        self._follow_members(members)
        self._follow_primary(next((name for name, each in members.items() if each.is_writable), None))

    def closing(self) -> None:
        """What changes from now on is our own doing."""
        self._is_closing = True

    def closed(self, event: TopologyClosedEvent) -> None:
        """Nothing to count."""

    def _follow_members(self, members: Mapping[str, ServerDescription]) -> None:
        for name in [known for known in self._up if known not in members]:
            del self._up[name]
            self._tell("node_removed", name, "the deployment does not list it")
        for name, each in members.items():
            if name not in self._up:
                self._up[name] = None
                self._tell("node_added", name, "")
            is_up = each.is_server_type_known
            if is_up and not self._up[name]:
                self._up[name] = True
                self._tell("node_up", name, f"a {role_of(each)}")
            elif self._up[name] is not False and not is_up and each.error is not None:
                # Without an error it is only being asked for the first time, or anew after it refused a write.
                if isinstance(each.error, NotPrimaryError):
                    continue
                self._up[name] = False
                self._tell("node_down", name, type(each.error).__name__)

    def _follow_primary(self, primary: str | None) -> None:
        if primary == self.primary:
            return
        before, self.primary = self.primary, primary
        if primary is None:
            self._tell("primary_lost", before, "no member takes writes")
            return
        if self._last_primary not in (None, primary):
            self.primary_changes += 1
            self._tell("primary_changed", primary, f"it was {self._last_primary}")
        self._last_primary = primary

    def _tell(self, kind: str, node: str | None, detail: str) -> None:
        if self._is_closing:
            return
        _log.info("topology changed", change=kind, node=node, detail=detail)
        for listener in self.listeners:
            listener(kind, node, detail)


def role_of(member: ServerDescription) -> str:
    """What a member is: ``primary`` (also a router or a single server), ``replica`` or ``unknown``."""
    if member.is_writable:
        return "primary"
    return "replica" if member.server_type_name == "RSSecondary" else "unknown"
