"""Which servers this machine has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from sillar.errors import DatabaseError
from sillar.testing.servers.fleet import CLUSTERS, SERVERS
from sillar.testing.servers.mongodb import MongoDBServer


@dataclass(frozen=True, slots=True)
class InventoryEntry:
    """One server.

    Attributes:
        name: such as ``postgresql18``; what `ServerFleet.get` or `get_cluster` takes.
        version: of its binary, or what the running one says where the environment names it; None when it is missing.
        how_found: in words; when it is missing, what is to be done about it.
        is_stand_in: something else answers in its place (MongoDB without a ``mongod``).
    """

    name: str
    version: str | None
    how_found: str
    is_stand_in: bool = False

    @property
    def is_missing(self) -> bool:
        """Whether tests against it cannot run."""
        return self.version is None


async def inventory() -> list[InventoryEntry]:
    """Look for every server and cluster without starting any, in a fixed order."""
    return list(await asyncio.gather(*(_look(name) for name in (*SERVERS, *CLUSTERS))))


async def _look(name: str) -> InventoryEntry:
    server = SERVERS[name]() if name in SERVERS else CLUSTERS[name]()
    try:
        await server.locate()
    except DatabaseError as error:
        return InventoryEntry(name, None, str(error))
    stand_in = isinstance(server, MongoDBServer) and server.is_stand_in
    return InventoryEntry(name, server.version, server.how_found, stand_in)


def table(entries: Iterable[InventoryEntry]) -> str:
    """The entries as lines of text: name, version, how it was found."""
    rows = [("server", "version", "how it was found")]
    rows += [(entry.name, entry.version or "MISSING", entry.how_found) for entry in entries]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{name:{widths[0]}}  {version:{widths[1]}}  {how}" for name, version, how in rows)
