"""What the driver's own pool and topology do, as its listeners tell it.

The driver calls them on the event loop, between its own awaits; they only count.
"""

from __future__ import annotations

import structlog
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

_log = structlog.get_logger("sillar.mongodb")


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

    def connection_closed(self, event: ConnectionClosedEvent) -> None:
        key = (event.address, event.connection_id)
        if key in self._connecting:
            self._connecting.discard(key)
            self.connect_failures += 1
            return
        self.closed += 1
        if event.reason in (ConnectionClosedReason.ERROR, ConnectionClosedReason.STALE):
            self.lost += 1

    def connection_check_out_started(self, event: ConnectionCheckOutStartedEvent) -> None:
        """Nothing to count."""

    def connection_checked_out(self, event: ConnectionCheckedOutEvent) -> None:
        self.leased += 1
        self.acquired += 1

    def connection_check_out_failed(self, event: ConnectionCheckOutFailedEvent) -> None:
        """Nothing to count."""

    def connection_checked_in(self, event: ConnectionCheckedInEvent) -> None:
        self.leased -= 1

    def pool_created(self, event: PoolCreatedEvent) -> None:
        """Nothing to count."""

    def pool_ready(self, event: PoolReadyEvent) -> None:
        """Nothing to count."""

    def pool_cleared(self, event: PoolClearedEvent) -> None:
        self.clears += 1

    def pool_closed(self, event: PoolClosedEvent) -> None:
        """Nothing to count."""


class TopologyActivity(TopologyListener):
    """Follows the primary of the deployment. The driver tells of changes within a second or so.

    Attributes:
        primary: address of the server that takes writes, or None.
        primary_changes: how often it became another one.
    """

    def __init__(self) -> None:
        self.primary_changes = 0
        self.primary: str | None = None
        self._last_primary: str | None = None

    def opened(self, event: TopologyOpenedEvent) -> None:
        """Nothing to count."""

    def description_changed(self, event: TopologyDescriptionChangedEvent) -> None:
        descriptions = event.new_description.server_descriptions()
        primary = next((f"{host}:{port}" for (host, port), each in descriptions.items() if each.is_writable), None)
        if primary == self.primary:
            return
        _log.info("primary changed", primary=primary, before=self.primary)
        self.primary = primary
        if primary is not None:
            if self._last_primary not in (None, primary):
                self.primary_changes += 1
            self._last_primary = primary

    def closed(self, event: TopologyClosedEvent) -> None:
        """Nothing to count."""
