"""The verbs of a builder that write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from sillar.errors import UsageError
from sillar.query import writes
from sillar.query.binding import ModelBinding
from sillar.query.parts import QueryPart
from sillar.query.writes import WriteQuery

T = TypeVar("T")


class Writing(Generic[T]):
    """What a builder can do besides reading."""

    __slots__ = ()

    _binding: ModelBinding[T]
    query_parts: list[QueryPart]

    def insert(self, row: Any) -> WriteQuery[T]:
        """Insert one row: a mapping by attribute, or an instance of the model."""
        return writes.insert(self._binding, [row])

    def insert_many(self, rows: Iterable[Any]) -> WriteQuery[T]:
        """Insert several rows in one statement; for thousands of them use ``session.bulk_insert``."""
        return writes.insert(self._binding, list(rows))

    def upsert(
        self,
        rows: Any,
        *,
        key: Sequence[str] = (),
        update: Sequence[str] | Mapping[str, Any] | Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> WriteQuery[T]:
        """Insert rows, or update those that are there with the same key.

        Args:
            rows: one, or a list of them.
            key: attributes by which a row is known, under a unique index; none: the primary key.
            update: None sets all that was given but the key, a list of names those, ``[]`` nothing (the row that is
                there stays). A mapping gives other values and expressions, a function gets the incoming row and returns
                such a mapping: ``lambda new: {"qty": Item.qty + new.qty}``.
        """
        single = isinstance(rows, Mapping) or not isinstance(rows, Iterable)
        return writes.upsert(self._binding, [rows] if single else list(rows), key, update)

    def update(self, values: Mapping[str, Any], *, everything: bool = False) -> WriteQuery[T]:
        """Set columns of the rows that the conditions find.

        Args:
            values: attribute → value or expression.
            everything: there is no condition, and that is meant.

        Raises:
            UsageError: no condition, and nobody said so; or a step that an update cannot have.
        """
        return writes.update(self._binding, self._bounded("update", everything), values)

    def delete(self, *, everything: bool = False) -> WriteQuery[T]:
        """Delete the rows that the conditions find.

        Raises:
            UsageError: no condition, and nobody said so; or a step that a delete cannot have.
        """
        return writes.delete(self._binding, self._bounded("delete", everything))

    def _bounded(self, what: str, everything: bool) -> list[QueryPart]:
        for each in self.query_parts:
            if each.kind != "where":
                raise UsageError(f"{what}() takes conditions alone, and this query has {each.kind}; use a subquery")
        if not self.query_parts and not everything:
            raise UsageError(f"{what}() without a condition changes all of {self._binding.name}; say everything=True")
        return list(self.query_parts)
