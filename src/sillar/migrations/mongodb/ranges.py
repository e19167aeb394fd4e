"""Ranges of ids: how a collection is walked through in batches, and where a walk goes on.

A comparison with an id finds only ids of its own type (BSON's "type bracketing"), and a collection may have several
types; so they are walked through one type after the other.

Source: MongoDB manual, "Comparison/Sort Order".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sillar.execution.documents import DocumentCollection
from sillar.migrations.mongodb.store import LONG_SECONDS

_NUMBERS: Final = frozenset({"int", "long", "double", "decimal"})


@dataclass(frozen=True, slots=True)
class IdRange:
    """A batch: the ids from the first to the last one, all of one type.

    Attributes:
        first, last: ids, both within.
        kind: their type, as ``$type`` names it; ``number`` for all numbers.
        documents: how many the filter found.
    """

    first: Any
    last: Any
    kind: str
    documents: int

    @property
    def condition(self) -> dict[str, Any]:
        """Finds the ids of the range."""
        return {"_id": {"$gte": self.first, "$lte": self.last}}

    def moved(self, position: Mapping[str, Any]) -> dict[str, Any]:
        """The position behind this range."""
        done = list(position.get("done", ()))
        current = position.get("kind")
        if current is not None and current != self.kind:
            done.append(current)
        return {**position, "kind": self.kind, "last": self.last, "done": done}


async def next_range(
    documents: DocumentCollection, condition: Mapping[str, Any], position: Mapping[str, Any], size: int
) -> IdRange | None:
    """The next batch behind a position; None at the end."""
    done, kind = list(position.get("done", ())), position.get("kind")
    if kind is not None:
        found = await _ids(documents, [condition, {"_id": {"$gt": position["last"]}}], size)
        if found:
            return _of(found)
        done.append(kind)
    rest = [condition, {"_id": {"$not": {"$type": done}}}] if done else [condition]
    found = await _ids(documents, rest, size)
    return _of(found) if found else None


def passed(position: Mapping[str, Any]) -> dict[str, Any]:
    """Finds the ids up to a position."""
    if "kind" not in position:
        return {"_id": {"$in": []}}
    upto: dict[str, Any] = {"_id": {"$lte": position["last"]}}
    return {"$or": [upto, {"_id": {"$type": list(position["done"])}}]} if position["done"] else upto


async def _ids(documents: DocumentCollection, conditions: list[Any], size: int) -> list[dict[str, Any]]:
    return await documents.aggregate(
        [
            {"$match": {"$and": conditions}},
            {"$sort": {"_id": 1}},
            {"$limit": size},
            {"$project": {"_id": 1, "kind": {"$type": "$_id"}}},
        ],
        timeout_seconds=LONG_SECONDS,
    )


def _of(found: list[dict[str, Any]]) -> IdRange:
    kinds = ["number" if each["kind"] in _NUMBERS else str(each["kind"]) for each in found]
    same = [each["_id"] for each, kind in zip(found, kinds, strict=True) if kind == kinds[0]]
    return IdRange(same[0], same[-1], kinds[0], len(same))
