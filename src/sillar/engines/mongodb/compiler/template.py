"""Commands with places for values: what is compiled once, and filled in for each execution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Writer = Callable[[Any], Any]
Values = Sequence[Any]
Filler = Callable[[Values], Any]


class Slot:
    """The place of a value.

    Attributes:
        position: where the value stands among those of the execution.
        write: turns what the caller gave into what is stored; raises ParameterError.
    """

    __slots__ = ("position", "write")

    def __init__(self, position: int, write: Writer) -> None:
        self.position, self.write = position, write


class Late:
    """A part that depends on values otherwise than by containing them: a list, a pattern, a predicate on NULL.

    Args:
        slots: whose values it needs.
        make: called with these values, gives a template that is filled in turn.
    """

    __slots__ = ("make", "slots")

    def __init__(self, slots: Sequence[Slot], make: Callable[..., Any]) -> None:
        self.slots, self.make = tuple(slots), make


class Constant:
    """A value that is no template, whatever it contains."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Pieces:
    """Stages that are left out or put in by value: spliced into the list they stand in."""

    __slots__ = ("late",)

    def __init__(self, slots: Sequence[Slot], make: Callable[..., list[Any]]) -> None:
        self.late = Late(slots, make)


def filler(template: Any) -> Filler | None:
    """A function that fills a template in, or None where there is nothing to fill: then it is used as it stands."""
    if isinstance(template, Slot):
        return _slot(template)
    if isinstance(template, Late):
        return _late(template)
    if isinstance(template, Constant):
        return _constant(template)
    if isinstance(template, Mapping):
        return _mapping(template)
    if isinstance(template, (list, tuple)):
        return _list(template)
    return None


def depth_of(template: Any) -> int:
    """How deep documents and lists are nested in a template; parts that depend on values count as one."""
    if isinstance(template, Mapping):
        return 1 + max(map(depth_of, template.values()), default=0)
    if isinstance(template, (list, tuple)):
        return 1 + max(map(depth_of, template), default=0)
    return 1


def filled(template: Any, values: Values) -> Any:
    """A template that is used once."""
    fill = filler(template)
    return template if fill is None else fill(values)


def _slot(slot: Slot) -> Filler:
    position, write = slot.position, slot.write
    return lambda values: write(values[position])


def _constant(constant: Constant) -> Filler:
    return lambda values: constant.value


def _late(late: Late) -> Filler:
    make = late.make
    slots = [(slot.position, slot.write) for slot in late.slots]
    return lambda values: filled(make(*[write(values[position]) for position, write in slots]), values)


def _mapping(template: Mapping[str, Any]) -> Filler | None:
    fillers = {key: found for key, inner in template.items() if (found := filler(inner)) is not None}
    if not fillers:
        return None
    fixed = dict(template)
    changing = tuple(fillers.items())

    def fill(values: Values) -> dict[str, Any]:
        made = fixed.copy()
        for key, inner in changing:
            made[key] = inner(values)
        return made

    return fill


def _list(template: Sequence[Any]) -> Filler | None:
    if any(isinstance(inner, Pieces) for inner in template):
        return _spliced(template)
    fillers = [filler(inner) for inner in template]
    if not any(fillers):
        return None
    fixed = list(template)
    changing = tuple((index, inner) for index, inner in enumerate(fillers) if inner is not None)

    def fill(values: Values) -> list[Any]:
        made = fixed.copy()
        for index, inner in changing:
            made[index] = inner(values)
        return made

    return fill


def _spliced(template: Sequence[Any]) -> Filler:
    parts = [(inner, None, _late(inner.late)) if isinstance(inner, Pieces) else (inner, filler(inner), None)
             for inner in template]  # fmt: skip

    def fill(values: Values) -> list[Any]:
        made: list[Any] = []
        for inner, one, several in parts:
            if several is not None:
                made.extend(several(values))
            else:
                made.append(inner if one is None else one(values))
        return made

    return fill
