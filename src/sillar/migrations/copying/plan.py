"""What is going to be done with each table: which column goes where, as what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sillar.migrations.copying.canonical import TableSums
from sillar.migrations.copying.model import ColumnType, Kind, Table, Unfaithful
from sillar.migrations.copying.side import Facts, Field, Shelf, Side, Usage

_INTO: Final = {
    (Kind.TEXT, Kind.UUID), (Kind.TEXT, Kind.JSON), (Kind.TEXT, Kind.DATE), (Kind.TEXT, Kind.TIME),
    (Kind.TEXT, Kind.MOMENT), (Kind.TEXT, Kind.INSTANT), (Kind.TEXT, Kind.DECIMAL), (Kind.TEXT, Kind.INTEGER),
    (Kind.INTEGER, Kind.BOOLEAN), (Kind.INTEGER, Kind.DECIMAL), (Kind.DECIMAL, Kind.INTEGER),
    (Kind.MOMENT, Kind.INSTANT), (Kind.INSTANT, Kind.MOMENT), (Kind.BYTES, Kind.UUID), (Kind.FLOAT, Kind.DECIMAL),
    (Kind.NATIVE, Kind.JSON), (Kind.NATIVE, Kind.TEXT), (Kind.DATE, Kind.MOMENT), (Kind.FLOAT32, Kind.FLOAT),
    (Kind.INTEGER, Kind.FLOAT), (Kind.DECIMAL, Kind.FLOAT),
}  # fmt: skip
"""Kinds whose values can be taken for another: then both sides are compared as the second."""


@dataclass(slots=True)
class TablePlan:
    """What is done with one table.

    Attributes:
        name: in the source.
        source, target: the table as each side sees it, fields in the same order.
        definition: what is created: the table with the types of the target; None where only data are copied.
        rows: how many the survey counted; None without one.
        sums: of the source, where the survey has read the snapshot that is copied.
    """

    name: str
    source: Shelf
    target: Shelf
    definition: Table | None = None
    rows: int | None = None
    sums: TableSums | None = None
    refers_to: frozenset[str] = frozenset()
    unfaithful: list[Unfaithful] = field(default_factory=list)

    @property
    def columns(self) -> tuple[tuple[str, str, str], ...]:
        """Name, type in the source, type in the target of each column."""
        return tuple(
            (ours.name, _shown(ours.stored), _shown(theirs.stored))
            for ours, theirs in zip(self.source.fields, self.target.fields, strict=True)
        )

    def to_text(self) -> str:
        """For the progress table."""
        return json.dumps({
            "target": self.target.table, "key": list(self.source.key), "target_key": list(self.target.key),
            "rows": self.rows,
            "fields": [
                {"from": ours.name, "to": theirs.name, "source": ours.stored.to_json(),
                 "target": theirs.stored.to_json(), "agreed": ours.agreed.to_json(), "trusted": theirs.trusted,
                 "native": theirs.is_native}
                for ours, theirs in zip(self.source.fields, self.target.fields, strict=True)
            ],
        })  # fmt: skip

    @classmethod
    def from_text(cls, name: str, text: str) -> TablePlan:
        """From :meth:`to_text`; without a definition."""
        given = json.loads(text)
        source, target = [], []
        for each in given["fields"]:
            agreed = ColumnType.from_json(each["agreed"])
            source.append(Field(each["from"], ColumnType.from_json(each["source"]), agreed, each["trusted"]))
            stored = ColumnType.from_json(each["target"])
            target.append(Field(each["to"], stored, agreed, each["trusted"], each["native"]))
        return cls(
            name,
            Shelf(name, tuple(source), tuple(given["key"])),
            Shelf(given["target"], tuple(target), tuple(given["target_key"])),
            rows=given["rows"],
        )


def _shown(kind: ColumnType) -> str:
    return kind.native or kind.kind.value


def agreed_type(source: ColumnType, target: ColumnType) -> ColumnType:
    """What values are taken for on both sides: the source's type, or the target's where it says more."""
    return target if (source.kind, target.kind) in _INTO else source


def planned(table: Table, source: Side, target: Side, facts: dict[str, Facts] | None) -> TablePlan:
    """The plan for a table that is going to be created."""
    same = source.words.family == target.words.family
    used = _used(table)
    if not same:
        portable = tuple(column.typed(source.portable(column.type)) for column in table.columns)
        table = replace(table, columns=portable, native=None)
    columns = []
    for column in table.columns:
        usage = Usage(column.name in used, None if facts is None else facts.get(column.name))
        stored = column.type if same else target.storage(column, usage)
        if column.computed is not None and not target.computes(column.computed, source.words):
            column = replace(column, computed=None)  # an ordinary one, then
        identity = column.identity and target.numbers(table, column, stored)
        columns.append(replace(column, type=stored, origin=column.type, identity=identity))
    if not same:
        columns = target.fitted(columns, table.columns, used)
    trusted, ours, theirs = source.enforces_types, [], []
    for column, made in zip(table.columns, columns, strict=True):
        if made.computed is None:
            ours.append(Field(column.name, column.type, column.type, trusted))
            theirs.append(Field(column.name, made.type, column.type, trusted, same))
    names = {each.name for each in ours}
    key = table.key if names.issuperset(table.key) else ()  # a generated column is not read
    plan = TablePlan(
        table.name,
        Shelf(table.name, tuple(ours), key),
        Shelf(table.name, tuple(theirs), key),
        replace(table, columns=tuple(columns)),
        refers_to=frozenset(each.table for each in table.foreign_keys),
    )
    plan.unfaithful = list(_losses(table, plan, source, target, same=same))
    return plan


def matched(table: Table, there: Table, source: Side, target: Side) -> TablePlan:
    """The plan for a table that is there already."""
    if source.words.family != target.words.family:
        table = replace(table, columns=tuple(column.typed(source.portable(column.type)) for column in table.columns))
    named = {column.name.lower(): column for column in there.columns}
    ours, theirs, losses = [], [], []
    for column in table.written:
        found = named.pop(column.name.lower(), None)
        if found is None or found.computed is not None:
            what = "the target has no such column" if found is None else "the target computes this column"
            losses.append(Unfaithful(table.name, column.name, what, "create it there, or copy the schema, too", True))
            continue
        agreed = agreed_type(column.type, found.type)
        trusted = source.enforces_types and agreed is column.type
        ours.append(Field(column.name, column.type, agreed, trusted))
        native = source.words.family == target.words.family and found.type == column.type
        theirs.append(Field(found.name, found.type, agreed, trusted, native))
    for column in named.values():
        if not column.nullable and column.default is None and not column.identity and column.computed is None:
            what = "the target needs a value that the source does not have"
            losses.append(Unfaithful(table.name, column.name, what, "give the column a default there", True))
    places = {each.name: other.name for each, other in zip(ours, theirs, strict=True)}
    key = tuple(table.key) if all(name in places for name in table.key) else ()
    plan = TablePlan(
        table.name,
        Shelf(table.name, tuple(ours), key),
        Shelf(there.name, tuple(theirs), tuple(places[name] for name in key)),
        refers_to=frozenset(each.table for each in there.foreign_keys),
    )
    plan.unfaithful = losses + [
        Unfaithful(table.name, each.name, *loss)
        for each, other in zip(ours, theirs, strict=True)
        for loss in target.losses(table.column(each.name), other.stored)
        if source.words.family != target.words.family
    ]
    return plan


def _used(table: Table) -> set[str]:
    """The columns of keys and indexes."""
    found = set(table.key)
    for index in table.indexes:
        found.update(part for part in index.parts if part is not None)
    for each in table.foreign_keys:
        found.update(each.columns)
    return found


def _losses(table: Table, plan: TablePlan, source: Side, target: Side, *, same: bool) -> Iterator[Unfaithful]:
    if not same:
        for column in table.written:
            stored = plan.definition.column(column.name).type if plan.definition else column.type
            for what, consequence in target.losses(column, stored):
                yield Unfaithful(table.name, column.name, what, consequence)
            if column.type.kind is Kind.JSON and column.type.native.endswith("[]"):
                what = f"{column.type.native} becomes JSON"
                yield Unfaithful(table.name, column.name, what, "operators and indexes of arrays are lost")
            if column.type.kind is Kind.NATIVE:
                what = f"{column.type.native} is of its engine alone: the values become text"
                yield Unfaithful(table.name, column.name, what, "operators and indexes of the type are lost")
    definition = table if plan.definition is None else plan.definition
    for column in table.columns:
        if column.identity and not definition.column(column.name).identity:
            yield Unfaithful(
                table.name, column.name, "it does not number itself there", "new rows have to give a value"
            )
        if column.computed is not None and definition.column(column.name).computed is None:
            what = "its generating expression means nothing there: it becomes an ordinary column"
            yield Unfaithful(table.name, column.name, what, "its values are copied, and new rows have to give one")
    for name, what, consequence in target.definition_losses(definition, source.words):
        yield Unfaithful(table.name, name, what, consequence)
    if not table.written:
        yield Unfaithful(table.name, None, "it has no columns", "leave it out (--exclude)", True)
    for what, consequence in table.lost:
        yield Unfaithful(table.name, None, what, consequence)
    if not plan.source.key:
        yield Unfaithful(
            table.name, None, "it has no primary key" if not table.key else "its primary key is generated",
            "it is copied in one go, and after an interruption from its beginning",
        )  # fmt: skip


def in_order(plans: Iterable[TablePlan]) -> list[list[TablePlan]]:
    """Groups of tables, those that others refer to first; a group of several, or one that refers to itself, is a
    circle.

    Source: Tarjan, "Depth-first search and linear graph algorithms" (1972).
    """
    by_name = {plan.name: plan for plan in plans}
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_names: list[str] = []
    groups: list[list[TablePlan]] = []

    def visit(name: str) -> None:
        numbers[name] = lowest[name] = len(numbers)
        open_names.append(name)
        for other in sorted(by_name[name].refers_to & by_name.keys()):
            if other not in numbers:
                visit(other)
            if other in open_names:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == numbers[name]:
            place = open_names.index(name)
            groups.append([by_name[each] for each in open_names[place:]])
            del open_names[place:]

    for name in by_name:
        if name not in numbers:
            visit(name)
    return groups


def is_circle(group: Sequence[TablePlan]) -> bool:
    """Whether tables of a group refer to each other."""
    return len(group) > 1 or group[0].name in group[0].refers_to
