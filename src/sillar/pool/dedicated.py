"""Connections that one user keeps: for LISTEN, advisory locks, replication."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.connection import DriverConnection
from sillar.pool.lease import DatabaseConnection
from sillar.pool.opener import Opener
from sillar.pool.upkeep import Upkeep


class DedicatedConnections:
    """Connections outside a pool, counted in its budget.

    Args:
        adapter: for the leases.
        opener: opens them.
        upkeep: closes them.
        changed: called with the change of their number, when one is about to be opened and when one is closed.

    Attributes:
        open: those that are open now.
        closed_total: since the start.
    """

    def __init__(
        self, adapter: DatabaseAdapter, opener: Opener, upkeep: Upkeep, changed: Callable[[int], None]
    ) -> None:
        self._adapter = adapter
        self._opener = opener
        self._upkeep = upkeep
        self._changed = changed
        self.open: set[DriverConnection[Any]] = set()
        self.closed_total = 0

    @asynccontextmanager
    async def lease(self, now: Callable[[], float], place: str) -> AsyncIterator[DatabaseConnection]:
        """Open one for the block, and close it at the end."""
        self._changed(1)
        try:
            connection = await self._opener.open()
            self.open.add(connection)
            connection.leased = True
            connection.borrowed_at, connection.place = now(), place
            try:
                yield DatabaseConnection(None, self._adapter, connection)
            finally:
                self.open.discard(connection)
                self.closed_total += 1
                await self._upkeep.goodbye(connection)
        finally:
            self._changed(-1)
