"""The values of a statement in the order in which its engine takes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy.sql.elements import BindParameter

from sillar.errors import ParameterError

Processor: TypeAlias = Callable[[Any], Any]
_PLACES_WRITTEN_MAX: Final = 200
"""Longer ones are looped over: source with thousands of expressions takes long to compile."""


class Place:
    """What stands in one place of a compiled statement.

    Attributes:
        index: which of the statement's values; None where the value is not one of them.
        process: SQLAlchemy's bind processor, or None.
        constant: the value where there is no index.
        make: makes the value anew each time (a default that a Python function gives), or None.
        what: for messages.
        kind: the type in SQLAlchemy, for messages.
    """

    __slots__ = ("constant", "index", "kind", "make", "process", "what")

    def __init__(
        self,
        what: str,
        kind: str,
        index: int | None = None,
        process: Processor | None = None,
        *,
        constant: Any = None,
        make: Callable[[], Any] | None = None,
    ) -> None:
        self.what, self.kind, self.index, self.process = what, kind, index, process
        self.constant, self.make = constant, make

    def value(self, values: Sequence[Any]) -> Any:
        """The value of this place alone."""
        made = self.constant if self.make is None else self.make()
        value = made if self.index is None else values[self.index]
        return value if self.process is None else self.process(value)


Arguments: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]


def arguments_of(places: Sequence[Place], count: int) -> Arguments | None:
    """Puts values in their places, as cheaply as the places allow; None where the values are right as they come.

    Args:
        places: in the order of the engine's placeholders.
        count: how many values a statement has.
    """
    if all(place.process is None and place.index is not None for place in places):
        indexes = [place.index for place in places]
        if indexes == list(range(count)):
            return None
    if len(places) > _PLACES_WRITTEN_MAX:
        return lambda values: [place.value(values) for place in places]
    names: dict[str, Any] = {}
    parts = []
    for number, place in enumerate(places):
        if place.index is not None:
            part = f"v[{place.index}]"
        elif place.make is not None:
            names[f"m{number}"] = place.make
            part = f"m{number}()"
        else:
            names[f"c{number}"] = place.constant
            part = f"c{number}"
        if place.process is not None:
            names[f"p{number}"] = place.process
            part = f"p{number}({part})"
        parts.append(part)
    arguments: Arguments = eval(f"lambda v: [{', '.join(parts)}]", names)  # noqa: S307 - nothing of it from outside
    return arguments


def refused_value(places: Sequence[Place], values: Sequence[Any], fingerprint: str) -> ParameterError | None:
    """Which value SQLAlchemy's processors refuse, without the value itself; None where none of them is to blame."""
    for place in places:
        if place.index is None:
            continue  # what a default's function raises is for its author
        try:
            place.value(values)
        except Exception as error:
            given = type(values[place.index]).__name__
            return ParameterError(
                f"parameter {place.what} takes a value for {place.kind}, and {given} does not fit"
                f" ({type(error).__name__}) — statement: {fingerprint}"
            )
    return None


class AbsentError(Exception):
    """A value has to be given, and was not."""


def absent(bind: BindParameter[Any]) -> Any:
    """The value of a parameter that has None: what its function gives, or None itself.

    Raises:
        AbsentError: it has to be given, and was not.
    """
    if bind.callable is not None:
        return bind.callable()
    if bind.required:
        raise AbsentError
    return None
