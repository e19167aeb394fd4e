"""What is known of the tables that a revision changes, and how statements change that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from sillar.migrations.lint import model
from sillar.migrations.lint.model import Column, Constraint, Index, Part


def fold(name: str) -> str:
    """The spelling under which a name is looked up."""
    return name.lower()


@dataclass(slots=True)
class TableFact:
    """One table.

    Attributes:
        name: with its schema, unless that is searched anyway.
        rows: about how many; None: not known.
        bytes: on disk, indexes left out; None: not known.
        columns: by folded name.
        constraints: primary key and checks included.
        indexes: by folded name.
        triggers: names.
        policies: names of row security policies.
        partitioned: it has partitions of its own.
        created: by the revisions that are looked at: nobody reads it yet.
        charset: its default, where the engine has one.
        default_partition: the partition that rows of no other go to.
        complete: it was read as a whole; otherwise only what statements say is known.
    """

    name: str
    rows: int | None = None
    bytes: int | None = None
    columns: dict[str, Column] = field(default_factory=dict)
    constraints: list[Constraint] = field(default_factory=list)
    indexes: dict[str, Index] = field(default_factory=dict)
    triggers: set[str] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)
    partitioned: bool = False
    created: bool = False
    charset: str | None = None
    default_partition: str | None = None
    complete: bool = True

    def column(self, name: str) -> Column | None:
        """A column by its name."""
        return self.columns.get(fold(name))

    def key_columns(self) -> tuple[str, ...]:
        """The columns of the primary key."""
        return next((each.columns for each in self.constraints if each.kind == "primary key"), ())

    def proves_not_null(self, column: str) -> bool:
        """Whether a valid constraint says already that the column holds no NULL."""
        wanted = fold(column)
        for each in self.constraints:
            if each.not_valid:
                continue
            if each.kind == "not null" and wanted in map(fold, each.columns):
                return True
            if each.kind == "check" and wanted in _columns_not_null(each.expression):
                return True
        return False


def _columns_not_null(expression: str) -> set[str]:
    """The columns that a check of the form ``a IS NOT NULL AND b IS NOT NULL`` speaks of."""
    plain = re.sub(r"[()\"`]", " ", expression)
    if re.search(r"\bOR\b", plain, re.IGNORECASE):
        return set()
    terms = re.split(r"\bAND\b", plain, flags=re.IGNORECASE)
    found = (re.fullmatch(r"\s*(\w+)\s+IS\s+NOT\s+NULL\s*", term, re.IGNORECASE) for term in terms)
    return {fold(each[1]) for each in found if each}


@dataclass(slots=True)
class TableFacts:
    """The tables of a database.

    Attributes:
        version: of the server, such as ``(15, 8)``; empty: not known, and then a current one is assumed.
        tables: by folded name.
        views: text by folded name.
        enums: values by the folded name of the type.
        domains: folded names of those that have conditions.
        time_zone: of the sessions that migrate; None: not known.
        foreign_keys: whether the session checks them; None: not known.
        schemas: that are searched for names without one; their tables are held without it.
    """

    version: tuple[int, ...] = ()
    tables: dict[str, TableFact] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)
    time_zone: str | None = None
    foreign_keys: bool | None = None
    schemas: tuple[str, ...] = ()

    def copy(self) -> TableFacts:
        """Facts that can be changed without changing these."""
        return deepcopy(self)

    def key(self, name: str) -> str:
        """What a table is held under."""
        schema, _, bare = fold(name).rpartition(".")
        return bare if schema in self.schemas else fold(name)

    def table(self, name: str) -> TableFact | None:
        """A table by its name."""
        return self.tables.get(self.key(name))

    def ensure(self, name: str) -> TableFact:
        """A table by its name; one that is not known becomes known by that name alone."""
        return self.tables.setdefault(self.key(name), TableFact(name, complete=False))

    def before(self, *version: int) -> bool:
        """Whether the server is known to be older than that."""
        return bool(self.version) and self.version < version

    def index_owner(self, index: str) -> TableFact | None:
        """The table that has an index of that name."""
        return next((each for each in self.tables.values() if fold(index) in each.indexes), None)

    def apply(self, action: model.Action) -> None:
        """What holds after a statement."""
        effect = _EFFECTS.get(type(action))
        if effect is not None:
            effect(self, action)

    def forget_created(self) -> None:
        """From here on the tables that are there are read by running code."""
        for each in self.tables.values():
            each.created = False


# --- what statements do to it -----------------------------------------------------------------------------------------


def _create_table(facts: TableFacts, action: model.CreateTable) -> None:
    if action.if_not_exists and facts.table(action.table) is not None:
        return
    facts.tables[facts.key(action.table)] = TableFact(
        action.table,
        rows=0,
        bytes=0,
        columns={fold(each.name): each for each in action.columns},
        constraints=list(action.constraints),
        indexes={fold(each.name or ""): each for each in action.indexes},
        partitioned=action.partitioned,
        created=True,
        charset=action.charset,
    )
    if action.partition_of is not None and action.is_default:
        facts.ensure(action.partition_of).default_partition = action.table


def _create_index(facts: TableFacts, action: model.CreateIndex) -> None:
    table = facts.ensure(action.table)
    table.indexes[fold(action.index.name or "")] = action.index


def _drop_index(facts: TableFacts, action: model.DropIndex) -> None:
    for name in action.names:
        owner = facts.index_owner(name)
        if owner is not None:
            del owner.indexes[fold(name)]


def _create_object(facts: TableFacts, action: model.CreateObject) -> None:
    if action.what == "view":
        facts.views[fold(action.name)] = action.text
    elif action.what == "type" and action.values:
        facts.enums[fold(action.name)] = action.values
    elif action.what == "domain" and re.search(r"\bCHECK\b|\bNOT\s+NULL\b", action.text, re.IGNORECASE):
        facts.domains.add(fold(action.name))
    table = facts.table(action.table) if action.table else None
    if table is not None:
        names = table.policies if action.what == "policy" else table.triggers
        names.add(action.name)


def _drop(facts: TableFacts, action: model.Drop) -> None:
    where: dict[str, dict[str, Any]] = {"table": facts.tables, "view": facts.views, "type": facts.enums}
    for name in action.names:
        where.get(action.what, {}).pop(facts.key(name), None)
        if action.what == "trigger":
            for table in facts.tables.values():
                table.triggers.discard(name)


def _rename(facts: TableFacts, action: model.Rename) -> None:
    where: dict[str, dict[str, Any]] = {"table": facts.tables, "view": facts.views, "type": facts.enums}
    holder = where.get(action.what, {})
    held = holder.pop(facts.key(action.name), None)
    if held is None:
        return
    holder[facts.key(action.new_name)] = held
    if isinstance(held, TableFact):
        held.name = action.new_name


def _alter_table(facts: TableFacts, action: model.AlterTable) -> None:
    table = facts.ensure(action.table)
    for part in action.parts:
        if isinstance(part, model.RenameTable):
            _rename(facts, model.Rename("table", table.name, part.new_name))
        else:
            _alter(table, part)


def _alter(table: TableFact, part: Part) -> None:
    match part:
        case model.AddColumn(column):
            table.columns[fold(column.name)] = column
            table.constraints.extend(column.constraints)
        case model.DropColumn(name):
            table.columns.pop(fold(name), None)
        case model.ModifyColumn(name, column):
            table.columns.setdefault(fold(name), column)
            table.columns = {
                **{fold(column.name) if key == fold(name) else key: held for key, held in table.columns.items()},
                fold(column.name): column,
            }
        case model.RenameColumn(name, new_name):
            held = table.columns.pop(fold(name), None)
            if held is not None:
                table.columns[fold(new_name)] = replace(held, name=new_name)
        case model.AddConstraint(constraint):
            table.constraints.append(constraint)
        case model.DropConstraint(name, kind):
            table.constraints = [each for each in table.constraints if not _is_dropped(each, name, kind)]
        case model.ValidateConstraint(name):
            table.constraints = [
                replace(each, not_valid=False) if fold(each.name or "") == fold(name) else each
                for each in table.constraints
            ]
        case model.AddIndex(index):
            table.indexes[fold(index.name or "")] = index
        case model.DropTableIndex(name):
            table.indexes.pop(fold(name), None)
        case _:
            _alter_column(table, part)


def _alter_column(table: TableFact, part: Part) -> None:
    if not isinstance(part, (model.AlterType, model.SetNotNull, model.DropNotNull, model.SetDefault)):
        return
    column = table.column(part.name)
    if column is None:
        return
    match part:
        case model.AlterType(type=type_):
            column = replace(column, type=type_)
        case model.SetNotNull():
            column = replace(column, not_null=True)
        case model.DropNotNull():
            column = replace(column, not_null=False)
        case model.SetDefault(default=default):
            column = replace(column, default=default)
    table.columns[fold(part.name)] = column


def _is_dropped(constraint: Constraint, name: str, kind: str) -> bool:
    return constraint.kind == kind if kind == "primary key" else fold(constraint.name or "") == fold(name)


_EFFECTS: dict[type, Callable[[TableFacts, Any], None]] = {
    model.CreateTable: _create_table,
    model.CreateIndex: _create_index,
    model.DropIndex: _drop_index,
    model.CreateObject: _create_object,
    model.Drop: _drop,
    model.Rename: _rename,
    model.AlterTable: _alter_table,
}


def facts_from(actions: Iterable[model.Action], *, version: tuple[int, ...] = ()) -> TableFacts:
    """The facts that follow from statements that have run: what earlier revisions have made."""
    facts = TableFacts(version=version)
    for action in actions:
        facts.apply(action)
    facts.forget_created()
    for table in facts.tables.values():
        table.rows = table.bytes = None
    return facts
