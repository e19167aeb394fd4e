"""Statements of SQLAlchemy Core, as engines take them: a shape that can be looked up, and the places of its values."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
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

    __slots__ = ("binds", "build", "key")

    def __init__(
        self, key: Hashable | None, binds: Sequence[BindParameter[Any]], build: Callable[[], ClauseElement]
    ) -> None:
        self.key, self.binds, self.build = key, binds, build

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
