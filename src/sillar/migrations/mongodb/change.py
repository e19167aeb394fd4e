"""What a transform does to documents: an update, a pipeline, a function, or their removal."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sillar.engines.mongodb.values import is_stored_alike
from sillar.errors import MigrationStateError, UsageError
from sillar.execution.documents import DocumentCollection
from sillar.migrations.mongodb.step import function_name
from sillar.migrations.mongodb.store import LONG_SECONDS

Function: TypeAlias = Callable[[dict[str, Any]], "dict[str, Any] | Awaitable[dict[str, Any] | None] | None"]
Given: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | Function

MARK: Final = "_sillar_step"
"""Field that says which step has changed a document, for as long as the journal does not say so."""

_IDEMPOTENT: Final = frozenset(
    {"$set", "$unset", "$rename", "$min", "$max", "$addToSet", "$pull", "$pullAll", "$currentDate"}
)
_ATTEMPTS: Final = 5
_MISSING: Final = object()


class Change:
    """What is done to each document of a batch.

    Args:
        given: an update with operators, an aggregation pipeline, or a function that gets a document and returns what it
            shall be, or None to leave it alone; None for all: delete them.

    Raises:
        UsageError: it is something else.
    """

    def __init__(self, given: Given | None) -> None:
        if isinstance(given, Mapping) and (not given or not all(key.startswith("$") for key in given)):
            raise UsageError("an update has operators ($set, $unset, …); a document that replaces others is none")
        if isinstance(given, (str, bytes)) or not (
            given is None or callable(given) or isinstance(given, (Mapping, Sequence))
        ):
            raise UsageError(f"a transform is an update, a pipeline or a function, not {type(given).__name__}")
        if isinstance(given, Sequence) and not all(isinstance(stage, Mapping) and len(stage) == 1 for stage in given):
            raise UsageError("a pipeline is a list of stages, each with its operator: [{'$set': {…}}, {'$unset': …}]")
        self.given: Given | None = given

    @property
    def is_idempotent(self) -> bool:
        """Whether doing it twice gives what doing it once gives."""
        return self.given is None or (isinstance(self.given, Mapping) and set(self.given) <= _IDEMPOTENT)

    @property
    def words(self) -> str:
        """What it does, without values."""
        if self.given is None:
            return "delete"
        if isinstance(self.given, Mapping):
            return ", ".join(self.given)
        if callable(self.given):
            return f"{function_name(self.given)}()"
        return "pipeline " + ", ".join(next(iter(stage)) for stage in self.given)

    async def apply(
        self,
        collection: DocumentCollection,
        condition: Mapping[str, Any],
        mark: str | None,
        check: Callable[[], Awaitable[None]],
    ) -> int:
        """Do it to the documents that a filter finds; how many were changed.

        Args:
            mark: put into :data:`MARK` of each; those that have it are left alone.
            check: raises if nothing may be written any more.
        """
        if mark is not None:
            condition = {"$and": [condition, {MARK: {"$ne": mark}}]}
        given = self.given
        if callable(given):
            return await self._call(given, collection, condition, mark, check)
        await check()
        if given is None:
            return await collection.delete_many(condition, timeout_seconds=LONG_SECONDS)
        outcome = await collection.update_many(condition, marked(given, mark), timeout_seconds=LONG_SECONDS)
        return outcome.modified

    async def _call(
        self,
        function: Function,
        collection: DocumentCollection,
        condition: Mapping[str, Any],
        mark: str | None,
        check: Callable[[], Awaitable[None]],
    ) -> int:
        """Have the function change each document; those that somebody else has changed at the same time once more.

        Outside a transaction they are found again by their lack of the mark, or a second time does no harm. Inside one
        there are none: the server would have ended it.
        """
        changed = 0
        for _ in range(_ATTEMPTS):
            operations = []
            for document in await collection.find(condition, timeout_seconds=LONG_SECONDS):
                operation = await _operation(function, document, mark)
                if operation is not None:
                    operations.append(operation)
            if not operations:
                return changed
            await check()
            outcome = await collection.bulk_write(operations, ordered=False, timeout_seconds=LONG_SECONDS)
            changed += outcome.modified
            missed = len(operations) - outcome.matched
            if not missed:
                return changed
        raise MigrationStateError(
            f"{missed} documents of {collection.name} were changed by somebody else each of the {_ATTEMPTS} times that"
            f" {self.words} had looked at them; stop the writers, or write the change as an update or a pipeline"
        )


def marked(given: Any, mark: str | None) -> Any:
    """An update or a pipeline that leaves the mark besides."""
    if mark is None:
        return given
    if isinstance(given, Mapping):
        return {**given, "$set": {**given.get("$set", {}), MARK: mark}}
    return [*given, {"$set": {MARK: mark}}]


async def _operation(function: Function, document: dict[str, Any], mark: str | None) -> tuple[Any, ...] | None:
    """The update that makes of a document what the function returns; it finds the document as it was then, or not."""
    before = {key: value for key, value in document.items() if key != MARK}
    after: Any = function(_copy(before))
    if inspect.isawaitable(after):
        after = await after
    if after is None:
        return None
    if not isinstance(after, Mapping):
        raise UsageError(f"{function_name(function)}() returned {type(after).__name__}, and not a document or None")
    if after.get("_id", before["_id"]) != before["_id"]:
        raise UsageError(f"{function_name(function)}() changed an _id, which no update can; insert and delete instead")
    changed = {
        key: value for key, value in after.items() if key != "_id" and _differs(before.get(key, _MISSING), value)
    }
    gone = [key for key in before if key != "_id" and key not in after]
    if not changed and not gone:
        return None
    guard = {key: {"$eq": before[key]} if key in before else {"$exists": False} for key in (*changed, *gone)}
    update: dict[str, Any] = {}
    if changed or mark is not None:
        update["$set"] = {**changed, **({} if mark is None else {MARK: mark})}
    if gone:
        update["$unset"] = dict.fromkeys(gone, "")
    return "update_one", {"_id": before["_id"], **guard}, update


def _differs(before: Any, after: Any) -> bool:
    """Whether a field has to be written."""
    return before is _MISSING or before != after or not is_stored_alike(before, after)


def _copy(value: Any) -> Any:
    """A copy that the function may change in place."""
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_copy(inner) for inner in value]
    return value
