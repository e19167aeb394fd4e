"""Safe sequences for PostgreSQL in which a column of a key gets another type: ``integer`` to ``bigint``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from sillar.migrations.lint.model import Column, Constraint, Index
from sillar.migrations.lint.recipes.exchange import RECIPES as OTHERS
from sillar.migrations.lint.recipes.exchange import ExchangeKitchen
from sillar.migrations.lint.recipes.recipe import (
    Recipe,
    RecipeRevision,
    acknowledged,
    autocommit,
    execute,
    revision,
)

_SEQUENCE = re.compile(r"nextval\('([^']+)'::regclass\)")
_IDENTITY = (
    "DO $$ DECLARE kind text; first bigint; BEGIN"
    " SELECT CASE attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END INTO kind"
    " FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = '{name}';"
    " EXECUTE format('SELECT last_value + is_called::int FROM %s', pg_get_serial_sequence('{table}', '{name}'))"
    " INTO first;"
    " ALTER TABLE {table} ALTER COLUMN {quoted} DROP IDENTITY;"
    " EXECUTE format('ALTER TABLE {table} ALTER COLUMN {new} ADD GENERATED %s AS IDENTITY (START WITH %s)',"
    " kind, first);"
    " END $$"
)


class KeyKitchen(ExchangeKitchen):
    """Writes recipes that exchange a column with all constraints that speak of it."""

    def column_type(self) -> Recipe | None:
        """As for any column; keys, checks and what refers to it are exchanged with it."""
        recipe = super().column_type()
        name = self.finding.subject or ""
        if recipe is None or not self._is_in_a_key(name):
            return recipe
        notes = [
            "a foreign key is added and exchanged under locks on both tables: a transaction of the service that takes"
            " them in the other order may be ended as a deadlock's victim; have it tried again",
            "columns that refer to it keep their type: they can be exchanged the same way, before or after",
            "a connection that has prepared a statement with it fails once (cached plan must not change result type),"
            " then prepares it anew",
            "the column stands last in the table afterwards: name columns in INSERT and COPY",
        ]
        return replace(recipe, notes=tuple(notes))

    def can_exchange(self, column: str) -> bool:
        """Whether all that speaks of the column can be exchanged with it."""
        return not any(
            re.search(rf"'[^']*\b{re.escape(column)}\b[^']*'", each.expression) or each.kind == "exclude"
            for each in self._own(column)
        )

    def _own(self, column: str) -> list[Constraint]:
        """The constraints of the table that speak of the column."""
        assert self.fact is not None  # the caller has looked
        word = re.compile(rf"\b{re.escape(column)}\b")
        return [
            each
            for each in self.fact.constraints
            if each.kind != "not null" and (column in each.columns or word.search(each.expression))
        ]

    def _referring(self, column: str) -> list[tuple[str, Constraint]]:
        """The foreign keys of all tables that refer to the column."""
        assert self.fact is not None  # the caller has looked
        return [
            (table.name, each)
            for table in self.facts.tables.values()
            for each in table.constraints
            if each.referred_table is not None
            and self.facts.key(each.referred_table) == self.facts.key(self.fact.name)
            and column in each.referred_columns
        ]

    # --- before the columns change places ----------------------------------------------------------------------------

    def constraints_alike(self, name: str, new: str) -> list[RecipeRevision]:
        """The constraints of the old column for the new one, built and checked while everybody works."""
        revisions: list[RecipeRevision] = []
        for each in self._own(name):
            alike = f"{each.name}_new"
            if each.kind in ("primary key", "unique"):
                columns = tuple(new if column == name else column for column in each.columns)
                build = self._create_index(alike, Index(alike, columns, unique=True))
                undo = execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.quoted(alike)}")
                revisions.append(revision(f"build {alike} concurrently", autocommit([build]), autocommit([undo])))
                continue
            add = (
                f"ALTER TABLE {self.table} ADD CONSTRAINT {self.quoted(alike)} {self._text(each, name, new)} NOT VALID"
            )
            drop = f"ALTER TABLE {self.table} DROP CONSTRAINT {self.quoted(alike)}"
            revisions += [
                revision(f"add {alike}, not valid yet", [execute(add)], [execute(drop)]),
                revision(f"validate {alike}", autocommit([self._validate(alike)])),
            ]
        return revisions

    def _text(self, constraint: Constraint, name: str, new: str) -> str:
        """A check or a foreign key, for the new column."""
        if constraint.kind == "check":
            word = rf"(?<![\w.\"]){re.escape(self.quoted(name))}(?![\w\"(])"
            return f"CHECK ({re.sub(word, self.quoted(new), constraint.expression)})"
        columns = ", ".join(self.quoted(new if column == name else column) for column in constraint.columns)
        return re.sub(r"\([^)]*\)", lambda _: f"({columns})", constraint.text, count=1)

    # --- the exchange ------------------------------------------------------------------------------------------------

    def loosened(self, known: Column, new: str) -> list[str]:
        """What has to go before the columns change places, in the same transaction."""
        name = known.name
        lines = [
            execute(f"ALTER TABLE {self.quoted(table)} DROP CONSTRAINT {self.quoted(each.name or '')}")
            for table, each in self._referring(name)
        ]
        lines += [
            execute(f"ALTER TABLE {self.table} DROP CONSTRAINT {self.quoted(each.name or '')}")
            for each in self._own(name)
            if each.kind in ("primary key", "unique")
        ]
        sequence = _SEQUENCE.search(known.default or "")
        if sequence is not None:
            lines += [
                execute(f"ALTER SEQUENCE {sequence[1]} AS bigint"),
                execute(f"ALTER SEQUENCE {sequence[1]} OWNED BY {self.table}.{self.quoted(new)}"),
            ]
        if known.identity:
            names = {"table": self.table, "name": name, "quoted": self.quoted(name), "new": self.quoted(new)}
            lines.append(execute(_IDENTITY.format(**names)))
        tables = {table for table, _ in self._referring(name)}
        if len(tables) > 1:
            reason = "each lock is held for an instant: nothing is read"
            lines.insert(0, acknowledged("many-tables-locked", None, reason))
        return lines

    def fastened(self, known: Column) -> list[str]:
        """What comes again after the columns have changed places, in the same transaction."""
        lines = []
        for each in self._own(known.name):
            if each.kind in ("primary key", "unique"):
                name, index = self.quoted(each.name or ""), self.quoted(f"{each.name}_new")
                using = f"{each.kind.upper()} USING INDEX {index}"
                lines.append(execute(f"ALTER TABLE {self.table} ADD CONSTRAINT {name} {using}"))
        for table, each in self._referring(known.name):
            key = f"ADD CONSTRAINT {self.quoted(each.name or '')} {each.text} NOT VALID"
            lines.append(execute(f"ALTER TABLE {self.quoted(table)} {key}"))
        return lines

    def settled(self, name: str) -> list[RecipeRevision]:
        """What is checked after the exchange."""
        revisions = []
        for table, each in self._referring(name):
            validate = f"ALTER TABLE {self.quoted(table)} VALIDATE CONSTRAINT {self.quoted(each.name or '')}"
            revisions.append(revision(f"validate {each.name} of {table}", autocommit([execute(validate)])))
        return revisions

    def renamed(self, name: str) -> list[str]:
        """The names that constraints had, once the old column is gone."""
        return [
            execute(
                f"ALTER TABLE {self.table} RENAME CONSTRAINT {self.quoted(f'{each.name}_new')}"
                f" TO {self.quoted(each.name or '')}"
            )
            for each in self._own(name)
            if each.kind in ("check", "foreign key")
        ]


RECIPES: dict[str, Callable[[KeyKitchen], Recipe | None]] = {**OTHERS, "type-change-rewrites": KeyKitchen.column_type}
