"""Enum types of PostgreSQL, which live beside the tables: values added, renamed and removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, Final

from alembic.operations import ops
from sqlalchemy import Dialect, Enum, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import ARRAY

from sillar.migrations.autogenerate.catalog import Catalog, TableKey
from sillar.migrations.autogenerate.catalog.catalog import column_text
from sillar.migrations.autogenerate.catalog.objects import LiveColumn, LiveEnum
from sillar.migrations.autogenerate.filters import Filters
from sillar.migrations.autogenerate.operations import ExecuteOp, Statement, quoted
from sillar.migrations.autogenerate.renames import RenameCandidate, Renames

HINT: Final = "renamed_values"
"""Key of ``info`` of a column: old value → new value of its enum."""


@dataclass(slots=True)
class ModelEnum:
    """An enum type of the models.

    Attributes:
        labels: its values.
        renamed: old value → new one, as columns hint.
    """

    labels: tuple[str, ...]
    renamed: dict[str, str] = field(default_factory=dict)


def native_enum(kind: Any, dialect: Dialect) -> Any | None:
    """The named type that a column type is on an engine that has such types, or that its array is of."""
    found: Any = kind.dialect_impl(dialect)
    found = getattr(found, "impl_instance", found) if not isinstance(found, (Enum, ARRAY)) else found
    if isinstance(found, ARRAY):
        return native_enum(found.item_type, dialect)
    return found if isinstance(found, postgresql.ENUM) and found.name else None


def model_enums(tables: Mapping[TableKey, Table], dialect: Dialect) -> dict[TableKey, ModelEnum]:
    """The enum types of models, by schema and name."""
    found: dict[TableKey, ModelEnum] = {}
    for table in tables.values():
        for column in table.columns:
            kind = native_enum(column.type, dialect)
            if kind is None:
                continue
            schema = None if kind.schema == dialect.default_schema_name else kind.schema
            one = found.setdefault((schema, kind.name), ModelEnum(tuple(kind.enums)))
            one.renamed |= column.info.get(HINT, {})
    return found


class Enums:
    """The differences of enum types.

    Args:
        catalog: of the engine.
        models: the models' types.
        tables: the models' tables.
        renames: answers about values, and what was renamed.

    Attributes:
        defaults: columns whose default is changed together with their type: a value that is gone is none.
        rebuilt: tables whose columns get a new type, in the upgrade or in the downgrade.
    """

    def __init__(
        self,
        catalog: Catalog,
        models: Mapping[TableKey, ModelEnum],
        tables: Mapping[TableKey, Table],
        renames: Renames,
    ) -> None:
        self.catalog, self.models, self.tables, self.renames = catalog, models, tables, renames
        self.filters = Filters(renames.context)
        self.defaults: set[tuple[TableKey, str]] = set()
        self.rebuilt: set[str] = set()

    def operations(
        self, schemas: Iterable[str | None]
    ) -> tuple[list[ops.MigrateOperation], list[ops.MigrateOperation]]:
        """What is done before the tables are changed, and types that are gone, after."""
        first: list[ops.MigrateOperation] = []
        last: list[ops.MigrateOperation] = []
        dialect = self.catalog.dialect
        for schema in schemas:
            live = self.catalog.live_enums(schema)
            for (place, name), model in sorted(self.models.items(), key=lambda each: each[0][1]):
                if place != schema:
                    continue
                if name not in live:
                    first.append(_created(dialect, schema, name, model.labels, "add_enum"))
                elif live[name].labels != model.labels:
                    first.append(self._changed(schema, name, live[name], model))
            for name in sorted(live):
                if (schema, name) in self.models or not _is_free(live[name], self.renames):
                    continue
                if self.filters.drops("enum", schema, name):
                    last.append(_created(dialect, schema, name, live[name].labels, "add_enum").reverse())
        return first, last

    def _changed(self, schema: str | None, name: str, live: LiveEnum, model: ModelEnum) -> ExecuteOp:
        place = quoted(self.catalog.dialect, schema, name)
        renamed = _renamed_values(name, live, model, self.renames)
        up = [Statement(f"ALTER TYPE {place} RENAME VALUE {_literal(a)} TO {_literal(b)}") for a, b in renamed.items()]
        down = [
            Statement(f"ALTER TYPE {place} RENAME VALUE {_literal(b)} TO {_literal(a)}") for a, b in renamed.items()
        ]
        before = tuple(renamed.get(label, label) for label in live.labels)
        if before != model.labels:
            self.rebuilt |= {column.place[1] for column in live.columns}
            kept = [label for label in model.labels if label in before]
            live_defaults = {column: _renamed_default(column.default, renamed) for column in live.columns}
            if kept == list(before):
                up += _added(place, before, model.labels)
            else:
                up += self._rebuilt(schema, name, live, model.labels, self._model_defaults(live, live_defaults))
            down = self._rebuilt(schema, name, live, before, live_defaults) + down
        return ExecuteOp(("change_enum", schema, name, live.labels, model.labels), up, down)

    def _model_defaults(
        self, live: LiveEnum, live_defaults: Mapping[LiveColumn, str | None]
    ) -> dict[LiveColumn, str | None]:
        """What the models have as defaults of the columns of a type; what the database has, where they have none."""
        defaults: dict[LiveColumn, str | None] = {}
        for column in live.columns:
            key = _key(column, self.catalog.dialect)
            key = self.renames.renamed_tables.get(key, key)
            name = next(
                (new for place, old, new in self.renames.renamed_columns if (place, old) == (key, column.name)), None
            )
            table = self.tables.get(key)
            found = table.c.get(name or column.name) if table is not None else None
            if found is None:
                defaults[column] = live_defaults[column] if table is None else None
            else:
                defaults[column] = column_text(found, self.catalog.dialect).default
                self.defaults.add((key, found.name))
        return defaults

    def _rebuilt(
        self,
        schema: str | None,
        name: str,
        live: LiveEnum,
        labels: Sequence[str],
        defaults: Mapping[LiveColumn, str | None],
    ) -> list[Statement]:
        """A new type takes the place of the old one: a value cannot be removed, nor moved."""
        dialect = self.catalog.dialect
        place, old = quoted(dialect, schema, name), quoted(dialect, schema, f"{name}__old")
        made = [dropped for dropped, _ in live.dependents]
        made += [
            f"ALTER TYPE {place} RENAME TO {quoted(dialect, None, f'{name}__old')}",
            _create_type(dialect, schema, name, labels),
        ]
        for column in live.columns:
            named = quoted(dialect, None, column.name)
            change = f"ALTER TABLE {column.table} ALTER COLUMN {named}"
            kind, text = (f"{place}[]", "text[]") if column.is_array else (place, "text")
            made.append(f"{change} DROP DEFAULT")
            made.append(f"{change} TYPE {kind} USING {named}::{text}::{kind}")
            if defaults[column] is not None:
                made.append(f"{change} SET DEFAULT {defaults[column]}")
        made += [f"DROP TYPE {old}", *(created for _, created in live.dependents)]
        return [Statement(each) for each in made]


def _key(column: LiveColumn, dialect: Dialect) -> TableKey:
    schema, name = column.place
    return (None if schema == dialect.default_schema_name else schema, name)


def _renamed_default(default: str | None, renamed: Mapping[str, str]) -> str | None:
    for old, new in renamed.items():
        default = default and default.replace(_literal(old), _literal(new))
    return default


def _is_free(live: LiveEnum, renames: Renames) -> bool:
    """Whether all its columns are in tables that are compared: there, another type or nothing takes its place.

    One without columns may be what functions need: nobody has said anything about it.
    """
    known = {key[1] for key in renames.found["columns"]} | {old[1] for old in renames.renamed_tables}
    return bool(live.columns) and all(column.place[1] in known for column in live.columns)


def _literal(label: str) -> str:
    return "'" + label.replace("'", "''") + "'"


def _create_type(dialect: Dialect, schema: str | None, name: str, labels: Sequence[str]) -> str:
    return f"CREATE TYPE {quoted(dialect, schema, name)} AS ENUM ({', '.join(map(_literal, labels))})"


def _created(dialect: Dialect, schema: str | None, name: str, labels: Sequence[str], what: str) -> ExecuteOp:
    return ExecuteOp(
        (what, schema, name),
        [Statement(_create_type(dialect, schema, name, labels))],
        [Statement(f"DROP TYPE {quoted(dialect, schema, name)}")],
        ("remove_enum", schema, name),
    )


def _renamed_values(name: str, live: LiveEnum, model: ModelEnum, renames: Renames) -> dict[str, str]:
    gone = [label for label in live.labels if label not in model.labels]
    added = [label for label in model.labels if label not in live.labels]
    found = {old: new for old, new in model.renamed.items() if old in gone and new in added}
    answers = renames.answers.renames
    found |= {old: answers[f"{name}.{old}"] for old in gone if answers.get(f"{name}.{old}") in added}
    for old in gone:
        if old in found:
            continue
        left = [each for each in added if each not in found.values()]
        near = max(left, key=lambda each: SequenceMatcher(None, old.lower(), each.lower()).ratio(), default=None)
        if near is None:
            continue
        alike = SequenceMatcher(None, old.lower(), near.lower()).ratio() >= 0.6
        same_place = live.labels.index(old) == model.labels.index(near) and len(live.labels) == len(model.labels)
        if (alike or same_place) and renames.ask(RenameCandidate("enum value", name, old, near)):
            found[old] = near
    return found


def _added(place: str, before: Sequence[str], labels: Sequence[str]) -> list[Statement]:
    statements = []
    known = list(before)
    for position, label in enumerate(labels):
        if label in known:
            continue
        where = f"AFTER {_literal(labels[position - 1])}" if position else f"BEFORE {_literal(known[0])}"
        if not known or (position and labels[position - 1] == known[-1]):
            where = ""
        statements.append(
            Statement(f"ALTER TYPE {place} ADD VALUE {_literal(label)} {where}".rstrip(), autocommit=True)
        )
        known.insert(position, label)
    return statements
