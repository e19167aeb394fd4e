"""Leases as objects, for every source of connections that hands them out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from sillar.engines.adapter import ConnectionSource, DatabaseAdapter
from sillar.engines.connection import DriverConnection
from sillar.pool.lease import DatabaseConnection
from sillar.pool.place import calling_place


class Leasing(ConnectionSource, Protocol):
    """What turns physical connections into leases.

    Attributes:
        adapter: binds the statements of the leases.
    """

    adapter: DatabaseAdapter

    async def acquire(self) -> DatabaseConnection:
        """Lease a connection; give it back with :meth:`release` or use ``async with pool.lease()``.

        Raises:
            See :meth:`acquire_connection`.
        """
        connection = await self._leased_for_anything()
        connection.place = calling_place()
        return DatabaseConnection(self, self.adapter, connection)

    def need_of_lease(self) -> Any:
        """What to ask the source for, for a lease with which anything may be done; None where it does not choose."""
        return None

    async def _leased_for_anything(self) -> DriverConnection[Any]:
        need = self.need_of_lease()
        return self.try_acquire(need) or await self.acquire_connection(None, need)

    async def release(self, connection: DatabaseConnection) -> None:
        """Give a lease back."""
        connection.release()

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[DatabaseConnection]:
        """Lease a connection for the block."""
        connection = await self._leased_for_anything()
        connection.place = calling_place()
        lease = DatabaseConnection(self, self.adapter, connection)
        try:
            yield lease
        finally:
            lease.release()
