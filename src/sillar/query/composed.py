"""Statements of SQLAlchemy Core, as engines take them: a shape that can be looked up, and the places of its values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from sqlalchemy.sql.elements import BindParameter, ClauseElement

from sillar.errors import UsageError


def nested_too_deeply() -> UsageError:
    """The error for a statement that Python's own stack is too small for."""
    return UsageError(
        "the expressions of the statement are nested too deeply; say long lists of alternatives with in_(), or with one"
        " and_() or or_() of all of them"
    )


class Composed:
    """A statement that is built only when its shape is new.

    Attributes:
        key: the shape without its values: equal keys compile to the same text; None where a statement has no such key
            (it is then compiled each time).
        binds: the parameters of this very statement in the order of the key: the n-th of one statement stands where the
            n-th of any other with the same key stands. Their ``key`` is the name in the compiled form of *this* one,
            ``effective_value`` the value.
        build: makes the SQLAlchemy statement.
    """

    __slots__ = ("_names", "_values", "binds", "build", "key")

    def __init__(
        self, key: Hashable | None, binds: Sequence[BindParameter[Any]], build: Callable[[], ClauseElement]
    ) -> None:
        self.key, self.binds, self.build = key, binds, build
        self._names: tuple[tuple[int, str], ...] | None = None
        self._values: list[Any] = []

    def filled(self, params: Mapping[str, Any]) -> list[Any] | None:
        """The values in the order of the key, where ``params`` has just those that have to be given; else None.

        What is fixed is worked out once: for queries that run often, with other values each time.
        """
        names = self._names
        if names is None:
            names = self._settled()
        values = self._values.copy()
        if len(params) != len(names) or len(values) != len(self.binds):
            return None
        try:
            for index, name in names:
                values[index] = params[name]
        except KeyError:
            return None
        return values

    def _settled(self) -> tuple[tuple[int, str], ...]:
        required = [(index, bind.key) for index, bind in enumerate(self.binds) if bind.required]
        by_name = [bind for bind in self.binds if not bind.unique]
        plain = len({name for _, name in required}) == len(required) == len(by_name)
        if plain and not any(bind.callable for bind in self.binds):  # else: nothing to take a short cut by
            self._values = [bind.value for bind in self.binds]
        self._names = tuple(required)
        return self._names

    @classmethod
    def of(cls, statement: ClauseElement) -> Composed:
        """A statement that was built already: its key is SQLAlchemy's own cache key."""
        try:
            generated = statement._generate_cache_key()
        except RecursionError:
            raise nested_too_deeply() from None
        if generated is None:
            return cls(None, (), lambda: statement)
        return cls(generated.key, generated.bindparams, lambda: statement)
