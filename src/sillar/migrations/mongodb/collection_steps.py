"""Steps on collections: made, dropped, renamed, validated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from sillar.errors import MigrationStateError
from sillar.migrations.mongodb.journal import JournalEntry
from sillar.migrations.mongodb.step import Step, StepRun
from sillar.migrations.mongodb.store import LONG_SECONDS, DocumentStore


class CreateCollection(Step):
    """Make a collection; the reverse drops it, if it is empty and was made by this step."""

    kind: ClassVar = "create_collection"

    def __init__(self, collection: str, options: Mapping[str, Any], *, if_not_exists: bool) -> None:
        super().__init__(collection, {"options": dict(options), "if_not_exists": if_not_exists})

    def commands(self) -> list[dict[str, Any]]:
        return [{"create": self.collection, **self.details["options"]}]

    async def prepare(self, store: DocumentStore) -> dict[str, Any]:
        there = await store.collection(self.collection)
        if there is not None and not self.details["if_not_exists"]:
            raise MigrationStateError(
                f"{self.words}: there is a {there.get('type', 'collection')} of that name already; stamp the revision"
                " if it is the one, or pass if_not_exists=True and set its validator in a step of its own"
            )
        return {"existed": there is not None}

    async def perform(self, run: StepRun) -> None:
        if await run.store.collection(self.collection) is None:
            for command in self.commands():
                await run.store.change(command)

    def obstacle(self, entry: JournalEntry) -> str | None:
        return None

    async def reverse(self, run: StepRun) -> None:
        if run.entry.kept["existed"] or await run.store.collection(self.collection) is None:
            return
        if await run.store.documents(self.collection).find({}, limit=1):
            raise MigrationStateError(f"{self.collection} was made by this migration and has documents now; it stays")
        await run.store.change({"drop": self.collection})


class DropCollection(Step):
    """Drop a collection with all its documents; there is no way back."""

    kind: ClassVar = "drop_collection"

    def __init__(self, collection: str, *, if_exists: bool) -> None:
        super().__init__(collection, {"if_exists": if_exists})

    def commands(self) -> list[dict[str, Any]]:
        return [{"drop": self.collection}]

    async def prepare(self, store: DocumentStore) -> dict[str, Any]:
        if not self.details["if_exists"] and await store.collection(self.collection) is None:
            raise MigrationStateError(f"{self.words}: there is no such collection; pass if_exists=True if that is fine")
        return {}

    async def perform(self, run: StepRun) -> None:
        if await run.store.collection(self.collection) is not None:  # before 7.0 dropping nothing is an error
            await run.store.change({"drop": self.collection})

    def obstacle(self, entry: JournalEntry) -> str | None:
        return f"the documents of {self.collection} are gone"

    async def concerned(self, store: DocumentStore) -> int | None:
        return await store.documents(self.collection).count()


class RenameCollection(Step):
    """Give a collection another name, which must be free."""

    kind: ClassVar = "rename_collection"

    def __init__(self, collection: str, to: str) -> None:
        super().__init__(collection, {"to": to})

    @property
    def words(self) -> str:
        return f"{super().words} to {self.details['to']}"

    async def prepare(self, store: DocumentStore) -> dict[str, Any]:
        await self._check(store, self.collection, self.details["to"])
        return {}

    def script(self) -> list[str]:
        source, target = json.dumps(self.collection), json.dumps(self.details["to"])
        return [f"check(db.getCollection({source}).renameCollection({target}));"]

    async def _check(self, store: DocumentStore, source: str, target: str) -> None:
        if await store.collection(source) is None:
            raise MigrationStateError(f"{self.words}: there is no collection {source}")
        if await store.collection(target) is not None:
            raise MigrationStateError(f"{self.words}: {target} is there already; drop it in a step of its own before")

    async def perform(self, run: StepRun) -> None:
        await self._rename(run.store, self.collection, self.details["to"])

    async def _rename(self, store: DocumentStore, source: str, target: str) -> None:
        if await store.collection(source) is None and await store.collection(target) is not None:
            return  # it was done, and the process killed before it could say so
        await self._check(store, source, target)
        await store.rename(source, target)

    def obstacle(self, entry: JournalEntry) -> str | None:
        return None

    async def reverse(self, run: StepRun) -> None:
        await self._rename(run.store, self.details["to"], self.collection)

    async def concerned(self, store: DocumentStore) -> int | None:
        return await store.documents(self.collection).count()


class SetValidator(Step):
    """Set, change or remove the validator of a collection; the reverse sets the one before."""

    kind: ClassVar = "set_validator"
    concerns: ClassVar = "documents do not fit now"

    def __init__(self, collection: str, validator: Mapping[str, Any], *, level: str, action: str) -> None:
        super().__init__(
            collection, {"validator": dict(validator), "validationLevel": level, "validationAction": action}
        )

    def commands(self) -> list[dict[str, Any]]:
        return [{"collMod": self.collection, **self.details}]

    async def prepare(self, store: DocumentStore) -> dict[str, Any]:
        there = await store.collection(self.collection)
        if there is None:
            raise MigrationStateError(f"{self.words}: there is no such collection; create_collection takes a validator")
        return {"previous": validation(there)}

    async def perform(self, run: StepRun) -> None:
        for command in self.commands():
            await run.store.change(command)

    def obstacle(self, entry: JournalEntry) -> str | None:
        return None

    async def reverse(self, run: StepRun) -> None:
        if await run.store.collection(self.collection) is not None:
            await run.store.change({"collMod": self.collection, **run.entry.kept["previous"]})

    async def concerned(self, store: DocumentStore) -> int | None:
        validator = self.details["validator"]
        if not validator:
            return None
        return await store.documents(self.collection).count({"$nor": [validator]}, timeout_seconds=LONG_SECONDS)


def validation(described: Mapping[str, Any]) -> dict[str, Any]:
    """The validator of a collection and how strict it is, from what ``listCollections`` says of it."""
    options = described.get("options", {})
    return {
        "validator": options.get("validator") or {},
        "validationLevel": options.get("validationLevel", "strict"),
        "validationAction": options.get("validationAction", "error"),
    }
