"""The log of what was migrated; the revisions that the database is at follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sillar.errors import MigrationStateError, UniqueViolationError
from sillar.migrations.applied import AppliedMigration, Direction, who
from sillar.migrations.mongodb.store import DocumentStore


@dataclass(frozen=True, slots=True)
class HistoryState:
    """Where the database is.

    Attributes:
        heads: the revisions that it is at, sorted.
        entries: how many entries the log has.
    """

    heads: tuple[str, ...]
    entries: int


class History:
    """The collection of the log. Each entry has its place in the order as its key, and the heads after it.

    Args:
        store: the database.
        collection: its name.
    """

    def __init__(self, store: DocumentStore, collection: str) -> None:
        self._documents = store.documents(collection)
        self._name = collection

    async def state(self) -> HistoryState:
        """Where the database is now.

        Raises:
            MigrationStateError: the collection is somebody else's.
        """
        found = await self._documents.find({}, sort=[("_id", -1)], limit=1)
        if not found:
            return HistoryState((), 0)
        if not isinstance(found[0]["_id"], int) or "heads" not in found[0]:
            raise MigrationStateError(
                f"the collection {self._name} has documents that are no log of migrations: name another one in"
                " migration_config.table"
            )
        return HistoryState(tuple(found[0]["heads"]), int(found[0]["_id"]))

    async def log(self) -> list[AppliedMigration]:
        """All entries, oldest first; raises as :meth:`state`."""
        await self.state()
        return [_applied(each) for each in await self._documents.find({}, sort=[("_id", 1)])]

    async def add(
        self,
        place: int,
        heads: Sequence[str],
        *,
        version: str,
        name: str,
        direction: Direction,
        duration_seconds: float,
        checksum: str,
        environment: str,
        steps: int = 0,
    ) -> AppliedMigration:
        """Add the entry of a place; where the same one is there already, it stays.

        Raises:
            UniqueViolationError: another one is there.
        """
        document = {
            "_id": place,
            "version": version,
            "name": name,
            "direction": direction,
            "heads": sorted(heads),
            "applied_by": who(),
            "applied_at": datetime.now(UTC),
            "duration_seconds": duration_seconds,
            "checksum": checksum,
            "environment": environment,
            "steps": steps,
        }
        try:
            await self._documents.insert_one(document)
        except UniqueViolationError:
            there = await self._documents.find_one({"_id": place, "version": version, "direction": direction})
            if there is None:
                raise
            return _applied(there)
        return _applied(document)


def _applied(document: dict[str, Any]) -> AppliedMigration:
    return AppliedMigration(
        version=document["version"],
        name=document["name"],
        direction=document["direction"],
        applied_by=document["applied_by"],
        applied_at=document["applied_at"],
        duration_seconds=float(document["duration_seconds"]),
        checksum=document["checksum"],
        environment=document["environment"],
    )
