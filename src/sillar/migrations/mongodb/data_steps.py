"""Steps on documents that are done in one go: seeds, and commands as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

from sillar.engines.mongodb.values import object_id
from sillar.errors import MigrationStateError
from sillar.migrations.mongodb.journal import JournalEntry
from sillar.migrations.mongodb.step import Step, StepRun, UndecidedError
from sillar.migrations.mongodb.store import LONG_SECONDS, DocumentStore

_CHUNK: Final = 1000
IfInterrupted = Literal["ask", "repeat", "skip"]
"""What becomes of a command that was in flight when a run was killed."""


class InsertMany(Step):
    """Insert documents; the reverse deletes them by their ids.

    One without an ``_id`` gets one that follows from the revision, so that a run after a kill knows its own documents.
    """

    kind: ClassVar = "insert_many"
    atomic: ClassVar = True
    partial: ClassVar = True

    def __init__(self, collection: str, documents: Iterable[Mapping[str, Any]]) -> None:
        super().__init__(collection, {"documents": [dict(each) for each in documents]})

    @property
    def words(self) -> str:
        return f"{super().words} ({len(self.details['documents'])} documents)"

    def commands(self) -> list[dict[str, Any]]:
        return [{"insert": self.collection, "documents": self.details["documents"]}]

    async def prepare(self, store: DocumentStore) -> dict[str, Any]:
        given = [each["_id"] for each in self.details["documents"] if "_id" in each]
        for ids in _chunks(given):
            if await store.documents(self.collection).find({"_id": {"$in": ids}}, limit=1):
                raise MigrationStateError(
                    f"{self.words}: {self.collection} has a document with one of these ids already; leave it out, or"
                    " change it by a transform"
                )
        return {"made": await store.collection(self.collection) is None}

    async def perform(self, run: StepRun) -> int:
        collection = run.store.documents(self.collection)
        for documents in _chunks(self._documents(run)):
            ids = [each["_id"] for each in documents]
            there = await collection.find({"_id": {"$in": ids}}, projection={"_id": 1})  # ours: prepare() has looked
            known = [each["_id"] for each in there]
            missing = [each for each in documents if each["_id"] not in known]
            if missing:
                await run.check()
                await collection.insert_many(missing, timeout_seconds=LONG_SECONDS)
        return len(self.details["documents"])

    def _documents(self, run: StepRun) -> list[dict[str, Any]]:
        return [
            each if "_id" in each else {"_id": _id_of(run.token, place), **each}
            for place, each in enumerate(self.details["documents"])
        ]

    def obstacle(self, entry: JournalEntry) -> str | None:
        return None

    async def reverse(self, run: StepRun) -> None:
        for documents in _chunks(self._documents(run)):
            ids = [each["_id"] for each in documents]
            await run.store.documents(self.collection).delete_many({"_id": {"$in": ids}})
        if run.entry.kept.get("made"):
            await run.store.drop_if_empty(self.collection)

    def rehearsed(self) -> int:
        return len(self.details["documents"])

    async def concerned(self, store: DocumentStore) -> int | None:
        return len(self.details["documents"])


class Execute(Step):
    """Send a command as it is. Nobody but its author knows whether it may be sent twice, and what undoes it."""

    kind: ClassVar = "execute"

    def __init__(
        self, command: Mapping[str, Any], *, if_interrupted: IfInterrupted, undo: Mapping[str, Any] | None
    ) -> None:
        super().__init__("", {"command": dict(command)})
        self._if_interrupted, self._undo = if_interrupted, undo

    @property
    def words(self) -> str:
        return f"{super().words} {next(iter(self.details['command']), '')}".rstrip()

    def commands(self) -> list[dict[str, Any]]:
        return [self.details["command"]]

    async def perform(self, run: StepRun) -> Any:
        if run.entry.position.get("sent") and self._if_interrupted == "skip":
            return
        if run.entry.position.get("sent") and self._if_interrupted == "ask":
            raise UndecidedError(
                f"{self.words} was in flight when an earlier run was killed, and nobody knows whether the server has"
                " run"
                ' it: look, and then say if_interrupted="repeat" in the file if it may be sent again, or "skip" if it'
                " was"
                " done"
            )
        run.entry.position = {"sent": True}
        await run.note()
        await run.check()
        await run.store.command(self.details["command"], timeout_seconds=LONG_SECONDS)

    def obstacle(self, entry: JournalEntry) -> str | None:
        return None if self._undo is not None else f"{self.words} has no undo="

    async def reverse(self, run: StepRun) -> None:
        assert self._undo is not None  # obstacle() has said so
        await run.store.command(self._undo, timeout_seconds=LONG_SECONDS)


def _chunks(items: Sequence[Any]) -> Iterable[list[Any]]:
    for start in range(0, len(items), _CHUNK):
        yield list(items[start : start + _CHUNK])


def _id_of(token: str, place: int) -> Any:
    return object_id(hashlib.sha256(f"{token}:{place}".encode()).digest()[:12])
