"""What is gone under one name and new under another: asked, never taken for a drop and an add."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Final, Literal, TypeAlias

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import CheckConstraint, Column, DefaultClause, MetaData, Table, text

from sillar.errors import MigrationRefusedError, UsageError
from sillar.migrations.autogenerate.catalog import Catalog, TableKey
from sillar.migrations.autogenerate.catalog.catalog import type_text
from sillar.migrations.autogenerate.operations import RenameColumnOp, RenameTableOp
from sillar.migrations.autogenerate.text import as_text, mentions, with_name

Found: TypeAlias = dict[str, dict[Any, Any]]
"""What was read of tables: kind → (schema, table) → as SQLAlchemy's inspector gives it."""

Answer: TypeAlias = Literal["rename", "drop and add"]
HINT: Final = "renamed_from"
"""Key of ``info`` of a table or column: its old name."""
_SIMILAR: Final = 0.6
_COLUMNS_SHARED: Final = 0.75


@dataclass(frozen=True, slots=True)
class RenameCandidate:
    """Something that may have been renamed.

    Attributes:
        kind: ``table``, ``column`` or ``enum value``.
        place: the table of a column, the type of a value; empty for a table.
        old, new: the name that is gone, and the one that is new.
    """

    kind: Literal["table", "column", "enum value"]
    place: str
    old: str
    new: str

    @property
    def path(self) -> str:
        """The old name, as an answer names it."""
        return f"{self.place}.{self.old}" if self.place else self.old

    def __str__(self) -> str:
        where = f" of {self.place}" if self.place else ""
        return (
            f"{self.kind} {self.old}{where} is gone and {self.new} is new: answer --rename {self.path}={self.new}"
            f" or --drop {self.path}"
        )


RenameDecision: TypeAlias = Callable[[RenameCandidate], "Answer | None"]
"""Asked for each candidate; None: it does not know."""


@dataclass(frozen=True, slots=True)
class RenameAnswers:
    """What is known about renames.

    Attributes:
        renames: ``table.old`` → new name of a column, ``old`` → new name of a table, ``type.old`` → new enum value.
        drops: what was not renamed, named in the same way.
        decide: is asked about the others.
        refuse: without an answer nothing is generated; otherwise it counts as a drop and an add, for a mere look.
    """

    renames: Mapping[str, str] = field(default_factory=dict)
    drops: Sequence[str] = ()
    decide: RenameDecision | None = None
    refuse: bool = True

    def of(self, candidate: RenameCandidate) -> Answer | None:
        """The answer for one."""
        if candidate.path in self.renames:
            return "rename" if self.renames[candidate.path] == candidate.new else "drop and add"
        if candidate.path in self.drops:
            return "drop and add"
        answer = self.decide(candidate) if self.decide is not None else None
        if answer not in (None, "rename", "drop and add"):
            raise UsageError(f"the answer about a rename is 'rename', 'drop and add' or None, not {answer!r}")
        return answer


class Renames:
    """The renames of one comparison.

    Args:
        context: Alembic's.
        catalog: of the engine.
        found: what was read; it is changed to the new names.
        tables: the models'.
        answers: what is known.
    """

    def __init__(
        self,
        context: AutogenContext,
        catalog: Catalog,
        found: Found,
        tables: Mapping[TableKey, Table],
        answers: RenameAnswers,
    ) -> None:
        self.context, self.catalog, self.found, self.tables, self.answers = context, catalog, found, tables, answers
        self.operations: list[ops.MigrateOperation] = []
        self.renamed_tables: dict[TableKey, TableKey] = {}
        self.renamed_columns: list[tuple[TableKey, str, str]] = []
        self.open: list[RenameCandidate] = []

    def find(self) -> None:
        """Find them all; tables first."""
        self._find_tables()
        for key in [each for each in self.tables if each in self.found["columns"]]:
            self._find_columns(key)

    def ask(self, candidate: RenameCandidate) -> bool:
        """Whether it is a rename. Without an answer it is noted as open."""
        answer = self.answers.of(candidate)
        if answer is None and self.answers.refuse:
            self.open.append(candidate)
        return answer == "rename"

    def refuse_open(self) -> None:
        """Refuse, if there are candidates that nobody knows about.

        Raises:
            MigrationRefusedError: there are.
        """
        if self.open:
            listed = "; ".join(map(str, self.open))
            raise MigrationRefusedError(f"{len(self.open)} possible renames without an answer: {listed}", self.open)

    def renamed_text(self, key: TableKey, text: str) -> str:
        """An expression over a table's columns, with their new names."""
        for place, old, new in self.renamed_columns:
            text = with_name(text, old, new) if place == key else text
        return text

    def in_view(self, text: str) -> str:
        """The query of a view, with the new names of what it reads."""
        before = {new: old for old, new in self.renamed_tables.items()}
        for place, old, new in self.renamed_columns:
            if mentions(text, before.get(place, place)[1]):
                text = with_name(text, old, new)
        for table, renamed in self.renamed_tables.items():
            text = with_name(text, table[1], renamed[1])
        return text

    # --- tables -----------------------------------------------------------------------------------------------------

    def _find_tables(self) -> None:
        live = self.found["columns"]
        added = [key for key in self.tables if key not in live]
        gone = [key for key in live if key not in self.tables and self._is_dropped(key)]
        for new in list(added):
            hint: str = self.tables[new].info.get(HINT, "")
            old = (new[0], hint)
            known = next((key for key in gone if self.answers.renames.get(_path(key)) == new[1]), None)
            if known is not None or old in gone:
                chosen = known or old
                added.remove(new)
                gone.remove(chosen)
                self._rename_table(chosen, new)
        pairs = [(self._likeness(old, new), old, new) for old in gone for new in added if old[0] == new[0]]
        for score, old, new in sorted(pairs, key=lambda pair: (-pair[0], str(pair[1:]))):
            if score and old in gone and new in added:
                gone.remove(old)
                if self.ask(RenameCandidate("table", "", _path(old), new[1])):
                    added.remove(new)
                    self._rename_table(old, new)

    def _is_dropped(self, key: TableKey) -> bool:
        table = Table(key[1], MetaData(), schema=key[0])
        return self.context.run_object_filters(table, key[1], "table", True, None)

    def _likeness(self, old: TableKey, new: TableKey) -> float:
        before = {each["name"] for each in self.found["columns"][old]}
        after = {column.name for column in self.tables[new].columns}
        shared = len(before & after) / max(len(before | after), 1)
        similar = SequenceMatcher(None, old[1], new[1]).ratio()
        if shared >= _COLUMNS_SHARED or (shared >= 0.5 and similar >= _SIMILAR):
            return shared + similar / 10
        return 0.0

    def _rename_table(self, old: TableKey, new: TableKey) -> None:
        self.operations.append(RenameTableOp(old[1], new[1], schema=old[0]))
        self.renamed_tables[old] = new
        for each in self.found.values():
            if isinstance(each, dict) and old in each:
                each[new] = each.pop(old)
        for _, constraint in self._referring(old):
            constraint["referred_table"] = new[1]

    def _referring(self, key: TableKey) -> Iterator[tuple[TableKey, dict[str, Any]]]:
        for place, constraints in self.found["foreign_keys"].items():
            for each in constraints:
                if each["referred_table"] == key[1] and each["referred_schema"] in (key[0], None):
                    yield place, each

    # --- columns ----------------------------------------------------------------------------------------------------

    def _find_columns(self, key: TableKey) -> None:
        table = self.tables[key]
        live = {each["name"]: each for each in self.found["columns"][key]}
        names = [column.name for column in table.columns]
        added = [column for column in table.columns if column.name not in live]
        gone = [name for name in live if name not in names and self._is_dropped_column(key, live[name])]
        for column in list(added):
            hint = column.info.get(HINT)
            known = next((name for name in gone if self._known(key, name) == column.name), None)
            old = known or (hint if hint in gone else None)
            if old is not None:
                added.remove(column)
                gone.remove(old)
                self._rename_column(key, live[old], column)
        order = list(live)
        pairs = [(self._column_likeness(order, names, live[old], new), old, new) for old in gone for new in added]
        for score, old, new in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2].name)):
            if score and old in gone and new in added:
                gone.remove(old)
                if self.ask(RenameCandidate("column", _path(key), old, new.name)):
                    added.remove(new)
                    self._rename_column(key, live[old], new)

    def _known(self, key: TableKey, name: str) -> str | None:
        before = next((old for old, new in self.renamed_tables.items() if new == key), key)
        renames = self.answers.renames
        return renames.get(f"{_path(key)}.{name}") or renames.get(f"{_path(before)}.{name}")

    def _is_dropped_column(self, key: TableKey, live: Mapping[str, Any]) -> bool:
        column: Column[Any] = Column(live["name"], live["type"])
        Table(key[1], MetaData(), column, schema=key[0])
        return self.context.run_name_filters(
            live["name"], "column", {"table_name": key[1], "schema_name": key[0]}
        ) and self.context.run_object_filters(column, live["name"], "column", True, None)

    def _column_likeness(
        self, order: Sequence[str], names: Sequence[str], live: Mapping[str, Any], new: Column[Any]
    ) -> float:
        old: Column[Any] = Column(live["name"], live["type"])
        impl: Any = self.context.migration_context.impl
        is_known = type_text(old.type, self.catalog.dialect) is not None
        is_kin = not is_known or old.type._type_affinity is new.type._type_affinity or not impl.compare_type(old, new)
        if not is_kin:
            return 0.0
        similar = SequenceMatcher(None, old.name, new.name).ratio()
        if old.name in new.name or new.name in old.name:
            similar = max(similar, _SIMILAR)
        common = [name for name in order if name in names]
        same_place = _before(order, old.name, common) == _before(names, new.name, common)
        if similar >= _SIMILAR:
            return 1 + similar
        return 0.5 + similar / 2 if same_place else 0.0

    def _rename_column(self, key: TableKey, live: dict[str, Any], column: Column[Any]) -> None:
        old, new = live["name"], column.name
        table: Any = column.table
        options: dict[str, Any] = {"autoincrement": True} if table._autoincrement_column is column else {}
        default = live.get("default")
        rename = RenameColumnOp(
            key[1],
            old,
            schema=key[0],
            modify_name=new,
            existing_type=live["type"],
            existing_nullable=live["nullable"],
            existing_server_default=_default(default, options),
            existing_comment=live.get("comment"),
            **options,
        )
        checks = [] if self.catalog.renames_in_checks else self._checks_with(key, old)
        for each in checks:
            self.operations.append(ops.DropConstraintOp.from_constraint(_check(key, each, each["sqltext"])))
        self.operations.append(rename)
        self.renamed_columns.append((key, old, new))
        self._apply(key, live, old, new)
        for each in checks:
            self.operations.append(ops.AddConstraintOp.from_constraint(_check(key, each, each["sqltext"])))

    def _checks_with(self, key: TableKey, name: str) -> list[dict[str, Any]]:
        return [each for each in self.found["check_constraints"].get(key, ()) if mentions(each["sqltext"], name)]

    def _apply(self, key: TableKey, live: dict[str, Any], old: str, new: str) -> None:
        """What was read, under the new name."""
        live["name"] = new
        for each in self.found["columns"][key]:
            if each.get("computed"):
                each["computed"] = {**each["computed"], "sqltext": with_name(each["computed"]["sqltext"], old, new)}
        primary = self.found["pk_constraint"].get(key)
        listed: list[dict[str, Any]] = [*self.found["foreign_keys"].get(key, ()), *([primary] if primary else [])]
        for each in listed:
            each["constrained_columns"] = _renamed(each["constrained_columns"], old, new)
        for _, constraint in self._referring(key):
            constraint["referred_columns"] = _renamed(constraint["referred_columns"], old, new)
        for kind in ("indexes", "unique_constraints"):
            for each in self.found[kind].get(key, ()):
                _rename_in_index(each, old, new)
        for each in self.found["check_constraints"].get(key, ()):
            each["sqltext"] = with_name(each["sqltext"], old, new)


def _path(key: TableKey) -> str:
    return f"{key[0]}.{key[1]}" if key[0] else key[1]


def _before(order: Sequence[str], name: str, common: Iterable[str]) -> str | None:
    """The last column before one that both sides have."""
    known = set(common)
    return next((each for each in reversed(order[: order.index(name)]) if each in known), None)


def _renamed(names: Sequence[str | None], old: str, new: str) -> list[str | None]:
    return [new if name == old else name for name in names]


def _rename_in_index(index: dict[str, Any], old: str, new: str) -> None:
    index["column_names"] = _renamed(index["column_names"], old, new)
    if "expressions" in index:
        index["expressions"] = [with_name(each, old, new) for each in index["expressions"]]
    if old in index.get("column_sorting", {}):
        index["column_sorting"] = {new if key == old else key: value for key, value in index["column_sorting"].items()}
    if index.get("include_columns"):
        index["include_columns"] = _renamed(index["include_columns"], old, new)


def _check(key: TableKey, live: Mapping[str, Any], condition: str) -> CheckConstraint:
    return CheckConstraint(as_text(condition), name=live["name"], table=Table(key[1], MetaData(), schema=key[0]))


def _default(default: str | None, options: Mapping[str, Any]) -> Any:
    return False if default is None or options else DefaultClause(text(as_text(default)))
