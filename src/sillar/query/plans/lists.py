"""Lists that are written out, as ``IN (?, ?, …)``, in few shapes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy.sql.compiler import SQLCompiler

from sillar.errors import ParameterError
from sillar.query.plans.arguments import Place
from sillar.query.text import StatementText

_VARIANTS_MAX: Final = 64
_SCANNED_MAX: Final = 64
"""Values in a list: longer ones differ from those only in the number of their placeholders."""


class _Part(NamedTuple):
    """One value, or a whole list of them."""

    place: Place
    is_list: bool


class _Variant(NamedTuple):
    statement: StatementText
    parts: tuple[_Part, ...]


def padded_length(length: int, room: int) -> int:
    """The next power of two, so that few lengths occur; never more than there is room for beyond ``length``."""
    if length < 2:
        return length
    wanted = 1 << (length - 1).bit_length()
    return wanted if wanted - length <= room else length


class ExpandedLists:
    """The variants of a statement with lists.

    A list is padded with its last value to the next power of two, which changes nothing in what ``IN`` and ``NOT IN``
    mean; an empty one has a variant of its own.

    Args:
        compiled: with lists to be expanded.
        places: of the values and of the lists, by the names of the compiled form.
        scan: makes the statement of a text; told how many values it has.
        parameters_max: how many values the engine takes in one statement.
    """

    def __init__(
        self,
        compiled: SQLCompiler,
        places: dict[str, Place],
        scan: Callable[[str, int], StatementText],
        parameters_max: int,
    ) -> None:
        self._compiled = compiled
        self._places = places
        self._scan = scan
        self._parameters_max = parameters_max
        lists = {compiled.bind_names[bind] for bind in compiled.post_compile_params}
        self._lists = {name: place for name, place in places.items() if name in lists}
        names = list(compiled.positiontup or ())
        self._uses = {name: names.count(name) for name in self._lists}
        self._single = len(names) - sum(self._uses.values())
        self._variants: dict[tuple[int, ...], _Variant] = {}
        self.statement = self._variant(tuple(1 for _ in self._lists)).statement

    def bound(self, values: Sequence[Any]) -> tuple[StatementText, Sequence[Any]]:
        """The statement for lists of these lengths, and all values in order.

        Raises:
            ParameterError: more values than the engine takes.
        """
        lists = {name: _listed(values[_index(place)]) for name, place in self._lists.items()}
        total = self._single + sum(len(lists[name]) * uses for name, uses in self._uses.items())
        if total > self._parameters_max:
            raise ParameterError(
                f"the statement has {total} values, and the engine takes {self._parameters_max} in one statement: run"
                " it for parts of the list, or put the values into a table and join it"
            )
        lengths = []
        for name, given in lists.items():
            uses = self._uses[name]
            length = padded_length(len(given), (self._parameters_max - total) // max(1, uses))
            total += (length - len(given)) * uses
            lengths.append(length)
        for given, length in zip(lists.values(), lengths, strict=True):
            given.extend(given[-1:] * (length - len(given)))
        variant = self._variant(tuple(lengths))
        arguments: list[Any] = []
        for place, is_list in variant.parts:
            if not is_list:
                arguments.append(place.value(values))
                continue
            given = lists[place.what]
            arguments.extend(given if place.process is None else map(place.process, given))
        return variant.statement, arguments

    def _variant(self, lengths: tuple[int, ...]) -> _Variant:
        found = self._variants.get(lengths)
        if found is None:
            if len(self._variants) >= _VARIANTS_MAX:
                del self._variants[next(iter(self._variants))]
            found = self._variants[lengths] = self._made(lengths)
        return found

    def _made(self, lengths: tuple[int, ...]) -> _Variant:
        sql, names, lists = self._expanded(lengths)
        if max(lengths) > _SCANNED_MAX:
            statement = copy.copy(self._variant(tuple(min(length, 2) for length in lengths)).statement)
            statement.source = statement.sql = statement.key = sql
        else:
            statement = self._scan(sql, len(names))
        parts: list[_Part] = []
        skipped = 0
        for name in names:
            if skipped:
                skipped -= 1
                continue
            owner = lists.get(name)
            if owner is None:
                parts.append(_Part(self._places[name], False))
            else:
                parts.append(_Part(self._places[owner[0]], True))
                skipped = owner[1] - 1
        return _Variant(statement, tuple(parts))

    def _expanded(self, lengths: tuple[int, ...]) -> tuple[str, list[str], dict[str, tuple[str, int]]]:
        """The text, the names of its placeholders, and for the first name of each list whose it is and how long."""
        compiled = self._compiled
        parameters: dict[str, Any] = dict.fromkeys(compiled.bind_names.values())
        parameters.update({name: [None] * length for name, length in zip(self._lists, lengths, strict=True)})
        state = compiled._process_parameters_for_postcompile(parameters)
        lists = {names[0]: (owner, len(names)) for owner, names in state.parameter_expansion.items() if names}
        return state.statement, list(state.positiontup or ()), lists


def _index(place: Place) -> int:
    assert place.index is not None  # a list is a value of the statement
    return place.index


def _listed(value: Any) -> list[Any]:
    return list(value) if value else []
