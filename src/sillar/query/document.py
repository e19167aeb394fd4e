"""A command for a document database, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, TypeVar

from sillar.errors import ParameterError

T = TypeVar("T")

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
    "rename_collection",
    "explain",
    "command",
]

_READS: frozenset[str] = frozenset({"find", "count", "distinct", "explain"})


class DocumentCommand:
    """One verb on one collection.

    Args:
        collection: name of the collection; empty for the verb ``command``, which addresses the database.
        verb: what to do.
        arguments: the verb's, named as the MongoDB driver names them (``filter``, ``update``, ``pipeline``, …).
    """

    __slots__ = ("arguments", "collection", "verb")

    def __init__(self, collection: str, verb: DocumentVerb, arguments: Mapping[str, Any]) -> None:
        self.collection, self.verb, self.arguments = collection, verb, arguments

    @property
    def is_read(self) -> bool:
        """Whether it certainly does not write. An aggregation writes with ``$out`` or ``$merge``."""
        if self.verb == "aggregate":
            pipeline = self.arguments.get("pipeline")
            return pipeline is not None and not any("$out" in stage or "$merge" in stage for stage in pipeline)
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


def value(given: T) -> T:
    """Let something from outside into a filter, an update or a document as a value, and only as that.

    A filter is code: ``{"name": {"$ne": None}}`` finds every document. So where a part of it comes from a request, say
    ``find({"name": value(name)})``. In the expressions of a pipeline, where a string that begins with ``$`` names a
    field, write ``{"$literal": value(name)}``.

    Returns:
        ``given`` itself.

    Raises:
        ParameterError: it is, or contains, a mapping with an operator (a key that begins with ``$``).
    """
    if isinstance(given, (Mapping, list, tuple)):
        _refuse_operators(given)
    return given


def _refuse_operators(given: Any) -> None:
    if isinstance(given, Mapping):
        for key, inner in given.items():
            if isinstance(key, str) and key.startswith("$"):
                raise ParameterError(
                    "a value contains an operator (a key that begins with $), and operators never pass as values;"
                    " check what the caller sent"
                )
            _refuse_operators(inner)
    elif isinstance(given, (list, tuple)):
        for inner in given:
            _refuse_operators(inner)
