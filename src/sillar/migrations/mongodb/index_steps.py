"""Steps on indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sillar.engines.mongodb.indexes import Index, existing_indexes
from sillar.errors import MigrationStateError, UniqueViolationError
from sillar.migrations.mongodb.journal import JournalEntry
from sillar.migrations.mongodb.step import Step, StepRun
from sillar.migrations.mongodb.store import DocumentStore

_SERVERS_OWN = ("v", "ns")


def default_name(keys: Sequence[tuple[str, Any]]) -> str:
    """The name that an index has where none is given: as the drivers make it."""
    return "_".join(f"{field}_{direction}" for field, direction in keys)


async def live_indexes(store: DocumentStore, collection: str) -> list[Index]:
    """The indexes of a collection, without the one of ``_id``."""
    found = await store.indexes(collection)
    return existing_indexes({name: {**each, "key": list(each["key"].items())} for name, each in found.items()})


class CreateIndex(Step):
    """Build an index. One that does the same under the same name is left as it is, and outlives an undoing."""

    kind: ClassVar = "create_index"

    def __init__(self, collection: str, keys: Sequence[tuple[str, Any]], name: str, options: Mapping[str, Any]) -> None:
        super().__init__(collection, {"name": name, "keys": [list(each) for each in keys], "options": dict(options)})
        asked = existing_indexes({name: {**options, "key": list(keys)}})
        self._index = asked[0] if asked else None
        self._definition = {"key": dict(keys), "name": name, **options}

    @property
    def words(self) -> str:
        return f"{super().words}.{self.details['name']}"

    def commands(self) -> list[dict[str, Any]]:
        return [{"createIndexes": self.collection, "indexes": [self._definition]}]

    async def prepare(self, store: DocumentStore) -> dict[str, Any]:
        if self._index is None:
            raise MigrationStateError(f"{self.words}: every collection has the index of _id")
        live = await live_indexes(store, self.collection)
        same = next((each for each in live if each.is_like(self._index)), None)
        if same is not None and same.name != self._index.name:
            raise MigrationStateError(
                f"{self.words}: {self.collection} has this index under the name {same.name}, and the server takes no"
                " second one like it: drop that one before, or use its name"
            )
        named = next((each for each in live if each.name == self._index.name), None)
        if named is not None and same is None:
            raise MigrationStateError(
                f"{self.words}: there is another index of that name, on {', '.join(key for key, _ in named.keys)}: drop"
                " it in a step before, or use another name"
            )
        return {"existed": same is not None, "made": await store.collection(self.collection) is None}

    async def perform(self, run: StepRun) -> None:
        """Also where it is there: the server says so at once, or waits for a build that a killed migrator has begun."""
        try:
            for command in self.commands():
                await run.store.change(command)
        except UniqueViolationError as error:
            name, fields = self.details["name"], ", ".join(key for key, _ in self.details["keys"])
            raise UniqueViolationError(
                f"documents of {self.collection} have the same {fields}, so the unique index {name} cannot be built;"
                f" resolve them in a step before [{error.code}]",
                code=error.code,
                constraint=name,
                table=self.collection,
            ) from error

    def obstacle(self, entry: JournalEntry) -> str | None:
        return None

    async def reverse(self, run: StepRun) -> None:
        name = self.details["name"]
        if not run.entry.kept["existed"] and name in await run.store.indexes(self.collection):
            await run.store.change({"dropIndexes": self.collection, "index": name})
        if run.entry.kept.get("made"):  # the server has made the collection for the index
            await run.store.drop_if_empty(self.collection)

    async def concerned(self, store: DocumentStore) -> int | None:
        return await store.documents(self.collection).count()


class DropIndex(Step):
    """Drop an index by name; the reverse builds it again."""

    kind: ClassVar = "drop_index"

    def __init__(self, collection: str, name: str, *, if_exists: bool) -> None:
        super().__init__(collection, {"name": name, "if_exists": if_exists})

    @property
    def words(self) -> str:
        return f"{super().words}.{self.details['name']}"

    def commands(self) -> list[dict[str, Any]]:
        return [{"dropIndexes": self.collection, "index": self.details["name"]}]

    async def prepare(self, store: DocumentStore) -> dict[str, Any]:
        live = await store.indexes(self.collection)
        there = live.get(self.details["name"])
        if there is None and not self.details["if_exists"]:
            known = ", ".join(live) or "none"
            raise MigrationStateError(
                f"{self.words}: there is no such index ({self.collection} has {known}); pass if_exists=True if that is"
                " fine"
            )
        return {"definition": there and {key: value for key, value in there.items() if key not in _SERVERS_OWN}}

    async def perform(self, run: StepRun) -> None:
        if self.details["name"] in await run.store.indexes(self.collection):
            for command in self.commands():
                await run.store.change(command)

    def obstacle(self, entry: JournalEntry) -> str | None:
        return None

    async def reverse(self, run: StepRun) -> None:
        definition = run.entry.kept["definition"]
        if definition is not None and self.details["name"] not in await run.store.indexes(self.collection):
            await run.store.change({"createIndexes": self.collection, "indexes": [_creatable(definition)]})


def _creatable(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What ``listIndexes`` says of an index, as ``createIndexes`` takes it: the server lists a text index otherwise."""
    if "weights" not in definition:
        return dict(definition)
    plain = {key: value for key, value in definition["key"].items() if key not in ("_fts", "_ftsx")}
    return {**definition, "key": {**plain, **dict.fromkeys(definition["weights"], "text")}}
