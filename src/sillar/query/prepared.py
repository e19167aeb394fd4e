"""Queries that are built once and run often, with other values each time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from sqlalchemy.sql.elements import BindParameter

from sillar.query.binding import ModelBinding, checked_name
from sillar.query.composed import Composed
from sillar.query.terminals import Terminals

T = TypeVar("T")
V = TypeVar("V")


def parameter(name: str, kind: type[V] | None = None) -> BindParameter[V]:
    """A value that is given later, by name: ``where(Item.qty > parameter("least"))``.

    Args:
        name: as in ``params``.
        kind: for type checkers; the column that it stands beside says how it is sent.

    Raises:
        UsageError: no name that an engine takes.
    """
    return BindParameter(checked_name(name), required=True)


class PreparedQuery(Terminals[T], Generic[T]):
    """A query whose shape is settled: ``await prepared.one(session, params={"id": 5})``.

    Nothing is kept on a server by this object itself, so it may be made at import and used on any database and from any
    task; connections keep the statement prepared when they have met it.
    """

    __slots__ = ("_at_most_one", "_binding", "_composed", "_entity_statement", "_into", "_needs", "_query")

    def __init__(self, query: Terminals[T]) -> None:
        self._query = query
        self._binding: ModelBinding[Any] = query._binding
        self._into = query._into
        self._composed = query.composed()
        self._needs = query.needs()
        self._at_most_one: dict[int, PreparedQuery[T]] = {}

    def composed(self) -> Composed:
        """The shape and the values that were given when it was prepared."""
        return self._composed

    def entity_statement(self) -> Any:
        """The statement that an ``AsyncSession`` runs."""
        return self._query.entity_statement()

    @property
    def statement(self) -> Any:
        """The SQLAlchemy statement that this is."""
        return self._composed.build()

    @property
    def parameters(self) -> frozenset[str]:
        """Names of the values that have to be given."""
        return frozenset(bind.key for bind in self._composed.binds if bind.required)

    def needs(self) -> Any:
        return self._needs

    def _at_most(self, rows: int) -> PreparedQuery[T]:
        found = self._at_most_one.get(rows)
        if found is None:
            found = self._at_most_one[rows] = PreparedQuery(self._query._at_most(rows))
        return found

    def __repr__(self) -> str:
        return f"<PreparedQuery of {self._binding.name} ({', '.join(sorted(self.parameters))})>"


__all__ = ["Mapping", "PreparedQuery", "parameter"]
