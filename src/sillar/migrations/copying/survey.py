"""A look at every value before anything is written: what does not fit, and what storage depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from sillar.migrations.copying.ahead import read_behind
from sillar.migrations.copying.canonical import TableSums
from sillar.migrations.copying.model import Column, Kind, Table, Unfaithful
from sillar.migrations.copying.rows import key_of
from sillar.migrations.copying.side import Facts, Field, Reader, Row, Shelf, Side, Usage
from sillar.migrations.copying.values import UnfitError, plain_date, plain_moment

_TIMES: Final = (Kind.MOMENT, Kind.INSTANT)
_HUGE: Final = 1 << 63
NULL_KEY: Final = "is NULL in a primary key"
_MILLISECONDS: Final = len("2026-11-26 23:59:59.123")


@dataclass(slots=True)
class Refused:
    """Values of a column that do not fit for one reason."""

    count: int
    first: str
    remedy: str


@dataclass(slots=True)
class Survey:
    """What was found in one table."""

    rows: int = 0
    facts: dict[str, Facts] = field(default_factory=dict)
    refused: dict[tuple[str, str], Refused] = field(default_factory=dict)
    too_big: set[tuple[str, str]] = field(default_factory=set)
    sums: TableSums | None = None

    def forgive(self, column: str) -> None:
        """Take back what was said of values that did not fit."""
        for name, reason in [*self.too_big]:
            if name == column:
                del self.refused[name, reason]
                self.too_big.remove((name, reason))

    def unfaithful(self, table: str) -> list[Unfaithful]:
        """What prevents the copy."""
        found = []
        for (column, reason), each in self.refused.items():
            values = "value, in" if each.count == 1 else "values, the first in"
            what = f"{each.count} {values} {each.first}: it {reason}"
            found.append(Unfaithful(table, column, what, each.remedy, prevents=True))
        return found


class Surveyor:
    """Reads one table and looks at its values.

    Args:
        shelf: the table as the source has it.
        target: where the values are going.
        stored: the fields of the target, in the same order, as far as they are known without a survey.
        summed: add the checksum up, too.
    """

    def __init__(self, shelf: Shelf, target: Side, stored: Shelf, *, summed: bool = False) -> None:
        sums = TableSums([each.agreed for each in shelf.fields]) if summed else None
        self.found = Survey(facts={each.name: Facts() for each in shelf.fields}, sums=sums)
        self._shelf = shelf
        self._steps = target.checks(stored)

    async def look(self, reader: Reader, batch_rows: int) -> Survey:
        """Read all of it."""
        await read_behind(reader, self._shelf, self._take, batch_rows=batch_rows, refuse=self._refuse)
        return self.found

    async def _take(self, rows: list[Row]) -> None:
        self.found.rows += len(rows)
        if self.found.sums is not None:
            try:
                self.found.sums.add(rows)
            except UnfitError:  # no JSON: the check below says where
                self.found.sums = None
        for place, (each, values) in enumerate(zip(self._shelf.fields, zip(*rows, strict=True), strict=True)):
            facts = self.found.facts[each.name]
            given = [value for value in values if value is not None]
            facts.nulls += len(values) - len(given)
            if given:
                _learn(facts, each, given)
            step = self._steps[place]
            if step is not None and given:
                try:
                    for value in given:
                        step(value)
                except UnfitError:
                    self._check(rows, place, values, step)
            if each.name in self._shelf.key and len(given) < len(values):
                row = next(row for row in rows if row[place] is None)
                self._refuse(row, place, UnfitError(NULL_KEY, "give the row a key in the source"))

    def _check(self, rows: list[Row], place: int, values: Sequence[Any], step: Any) -> None:
        for number, value in enumerate(values):
            if value is not None:
                try:
                    step(value)
                except UnfitError as error:
                    self._refuse(rows[number], place, error)
                    self.found.too_big.add((self._shelf.fields[place].name, error.reason))

    def _refuse(self, row: Row, place: int, error: UnfitError) -> None:
        name = self._shelf.fields[place].name
        known = self.found.refused.get((name, error.reason))
        if known is None:
            self.found.refused[name, error.reason] = Refused(1, key_of(self._shelf, row), error.remedy)
        else:
            known.count += 1


def _learn(facts: Facts, each: Field, values: Sequence[Any]) -> None:
    kind = each.agreed.kind
    if kind in (Kind.TEXT, Kind.BYTES, Kind.ENUM, Kind.NATIVE):
        facts.length = max(facts.length, *map(len, values))
    elif kind is Kind.DECIMAL and each.agreed.precision is None:
        for value in values:
            _learn_digits(facts, value)
    elif kind is Kind.INTEGER and each.agreed.unsigned:
        facts.huge = facts.huge or max(values) >= _HUGE
    elif kind in _TIMES:
        facts.fine = facts.fine or any(len(value) > _MILLISECONDS for value in values)
        facts.distant = facts.distant or not all(map(plain_moment, values))
    elif kind is Kind.DATE:
        facts.distant = facts.distant or not all(map(plain_date, values))


def _learn_digits(facts: Facts, value: Decimal) -> None:
    if not value.is_finite():
        facts.distant = True
        return
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)  # of a finite number
    facts.fraction = max(facts.fraction, -exponent)
    facts.whole = max(facts.whole, value.adjusted() + 1 if value else 1)


async def survey(
    table: Table, source: Side, target: Side, reader: Reader, shelf: Shelf, stored: Shelf, *, created: bool,
    batch_rows: int, summed: bool,
) -> Survey:  # fmt: skip
    """Look at all values of a table.

    Args:
        created: the target's table does not exist yet, so that its columns can be chosen by what is found.
        summed: add the checksum of the source up, too.

    What does not fit into the storage that was planned without a survey may fit into the one that is chosen with it.
    """
    found = await Surveyor(shelf, target, stored, summed=summed).look(reader, batch_rows)
    if created and source.words.family != target.words.family:
        for each, known in zip(shelf.fields, stored.fields, strict=True):
            column: Column = table.column(each.name)
            if target.storage(column, Usage(True, found.facts[each.name])) != known.stored:
                found.forgive(each.name)
    return found
