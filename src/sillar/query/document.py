"""A command for a document database, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

DocumentVerb: TypeAlias = Literal[
    "find",
    "aggregate",
    "count",
    "distinct",
    "insert_one",
    "insert_many",
    "update_one",
    "update_many",
    "replace_one",
    "delete_one",
    "delete_many",
    "find_one_and_update",
    "bulk_write",
    "create_index",
    "drop_index",
    "drop_collection",
    "explain",
    "command",
]

_READS: frozenset[str] = frozenset({"find", "count", "distinct", "explain"})


class DocumentCommand:
    """One verb on one collection.

    Args:
        collection: name of the collection; empty for the verb ``command``, which addresses the database.
        verb: what to do.
        arguments: the verb's arguments, named as the MongoDB driver names them (``filter``, ``update``, ``pipeline``, …).
    """

    __slots__ = ("arguments", "collection", "verb")

    def __init__(self, collection: str, verb: DocumentVerb, arguments: Mapping[str, Any]) -> None:
        self.collection, self.verb, self.arguments = collection, verb, arguments

    @property
    def is_read(self) -> bool:
        """Whether it certainly does not write. An aggregation may write ($out, $merge) and is read only without those."""
        if self.verb == "aggregate":
            return not any("$out" in stage or "$merge" in stage for stage in self.arguments.get("pipeline", ()))
        return self.verb in _READS

    @property
    def fingerprint(self) -> str:
        """What it does and on which fields, never with values."""
        shape = ",".join(
            f"{name}({','.join(sorted(map(str, value)))})" if isinstance(value, Mapping) else name
            for name, value in self.arguments.items()
        )
        return f"{self.collection}.{self.verb}({shape})" if self.collection else f"{self.verb}({shape})"

    def __repr__(self) -> str:
        return f"DocumentCommand({self.fingerprint})"
