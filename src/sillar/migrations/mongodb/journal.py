"""How far a migration has come: one document for the run of one revision, with all its steps.

All of it is one document, so that one write can see that nobody has taken over (the number of the lease) and note the
step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sillar.engines.mongodb.values import extended_json, from_extended_json
from sillar.migrations.mongodb.lease import MigratorLease
from sillar.migrations.mongodb.store import DocumentStore

StepState = Literal["started", "failed", "done", "reversing", "reversed"]
_RUN_FIELDS: Final = ("direction", "name", "checksum", "entry", "state")


@dataclass(slots=True)
class JournalEntry:
    """One step of a run.

    Attributes:
        number: of the step, from 1.
        state: ``started``: in flight when this was written; ``failed``: the server has refused it.
        digest: of what it is made of: whether a file still says the same.
        words: the step in words.
        kept: what was there before, for settling and undoing it.
        position: how far its batches have come.
        result: what it gave.
    """

    number: int
    state: StepState
    digest: str
    words: str
    kept: dict[str, Any] = field(default_factory=dict)
    position: dict[str, Any] = field(default_factory=dict)
    result: Any = None


class RunJournal:
    """The journal of one run, which this migrator holds.

    Args:
        store: the database.
        collection: of the journal.
        lease: whose number every write is checked against.
        document: as it is stored.

    Attributes:
        version: of the revision.
        direction: ``up`` or ``down``.
        name: what the file says.
        checksum: of the file.
        entry: number of the entry in the log that the run is going to be.
        state: ``running``, or ``reversing``: the steps are being undone.
        entries: the steps by number.
    """

    def __init__(
        self, store: DocumentStore, collection: str, lease: MigratorLease, document: Mapping[str, Any]
    ) -> None:
        self._store, self._collection, self._lease = store, collection, lease
        self.version = str(document["_id"])
        self.direction, self.name, self.checksum, self.entry, self.state = (document[key] for key in _RUN_FIELDS)
        self.begun_at: datetime = document["begun_at"]
        self.entries = {int(number): _entry(int(number), each) for number, each in document.get("steps", {}).items()}

    async def write(self, entry: JournalEntry) -> None:
        """Note a step as it is now; in the transaction that is open on the store, if there is one.

        Raises:
            MigrationLockError: another migrator has taken over.
        """
        await self._set({f"steps.{entry.number}": _stored(entry)})
        self.entries[entry.number] = entry

    async def turn_back(self) -> None:
        """Note that the steps are being undone."""
        await self._set({"state": "reversing"})
        self.state = "reversing"

    async def _set(self, fields: Mapping[str, Any]) -> None:
        mine = {"_id": self.version, "number": self._lease.number, "owner": self._lease.owner}
        outcome = await self._store.documents(self._collection).update_one(mine, {"$set": dict(fields)})
        if not outcome.matched:
            raise self._lease.lost()

    async def close(self) -> None:
        """Forget the run, which has come to its end."""
        mine = {"_id": self.version, "number": self._lease.number, "owner": self._lease.owner}
        if not await self._store.documents(self._collection).delete_one(mine):
            raise self._lease.lost()

    @property
    def first_open(self) -> int:
        """Number of the first step that is not done."""
        number = 1
        while number in self.entries and self.entries[number].state == "done":
            number += 1
        return number


class Journal:
    """The collection of the runs that were begun and not ended.

    Args:
        store: the database.
        collection: its name.
    """

    def __init__(self, store: DocumentStore, collection: str) -> None:
        self._store, self._collection = store, collection

    async def open_runs(self) -> list[dict[str, Any]]:
        """The runs that were begun and not ended, as they are stored."""
        return await self._store.documents(self._collection).find({}, sort=[("entry", 1)])

    async def begin(
        self, lease: MigratorLease, version: str, *, direction: str, name: str, checksum: str, entry: int
    ) -> RunJournal:
        """Begin the journal of a run."""
        document = {
            "_id": version,
            "number": lease.number,
            "owner": lease.owner,
            "direction": direction,
            "name": name,
            "checksum": checksum,
            "entry": entry,
            "state": "running",
            "begun_at": datetime.now(UTC),
            "steps": {},
        }
        await self._store.documents(self._collection).insert_one(document)
        return RunJournal(self._store, self._collection, lease, document)

    async def take_over(self, lease: MigratorLease, version: str) -> RunJournal:
        """Go on with a run of whoever held the lease before; from now on that one's writes are refused.

        Raises:
            MigrationLockError: a later migrator has it.
        """
        mine = {"$set": {"number": lease.number, "owner": lease.owner}}
        found = await self._store.documents(self._collection).find_one_and_update(
            {"_id": version, "number": {"$lte": lease.number}}, mine
        )
        if found is None:
            raise lease.lost()
        return RunJournal(self._store, self._collection, lease, found)


def _stored(entry: JournalEntry) -> dict[str, Any]:
    """As Extended JSON where anything may be in it: operators as field names are nothing for an update."""
    return {
        "state": entry.state,
        "digest": entry.digest,
        "words": entry.words,
        "kept": extended_json(entry.kept),
        "position": extended_json(entry.position),
        "result": extended_json(entry.result),
        "at": datetime.now(UTC),
    }


def _entry(number: int, stored: Mapping[str, Any]) -> JournalEntry:
    kept, position, result = (from_extended_json(stored[name]) for name in ("kept", "position", "result"))
    return JournalEntry(number, stored["state"], stored["digest"], stored["words"], kept, position, result)
