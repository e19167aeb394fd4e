"""Safe sequences for PostgreSQL in which one column takes the place of another."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from sillar.migrations.lint.model import Column, ColumnType
from sillar.migrations.lint.recipes.postgresql import PostgreSQLKitchen
from sillar.migrations.lint.recipes.recipe import (
    NO_WAY_BACK,
    Recipe,
    RecipeRevision,
    acknowledged,
    autocommit,
    execute,
    revision,
)


class ExchangeKitchen(PostgreSQLKitchen):
    """Writes recipes that exchange a column."""

    # --- types and names ---------------------------------------------------------------------------------------------

    def column_type(self) -> Recipe | None:
        """A column of the new type, kept by a trigger, filled, swapped in."""
        name, type_ = self.finding.subject or "", self.details.get("type")
        known = self.fact.column(name) if self.fact is not None else None
        if known is None or not isinstance(type_, ColumnType) or not self._is_free(name):
            return None
        if self._is_in_a_key(name) and not self.can_exchange(name):
            return None
        using = self.details.get("using") or f"{self.quoted(name)}::{type_}"
        return Recipe("column-type", tuple(self._exchanged(known, self.typed(type_), using)))

    def _is_free(self, column: str) -> bool:
        """Whether nothing holds on to the column itself: a view or a policy would, whatever name it gets."""
        fact = self.fact
        assert fact is not None  # the caller has looked
        table, name = (re.compile(rf"\b{re.escape(each)}\b") for each in (self.plain_table, column))
        used = any(table.search(text) and name.search(text) for text in self.facts.views.values())
        return not (used or fact.policies or fact.partitioned)

    def can_exchange(self, column: str) -> bool:
        """Whether the constraints that speak of the column can be exchanged with it."""
        return False

    def _is_in_a_key(self, column: str) -> bool:
        """Whether a constraint speaks of the column: then more than the column has to be exchanged."""
        fact = self.fact
        assert fact is not None  # the caller has looked
        others = [each for table in self.facts.tables.values() for each in table.constraints]
        referred = any(each.referred_table == fact.name and column in each.referred_columns for each in others)
        word = re.compile(rf"\b{re.escape(column)}\b")
        return referred or any(
            column in each.columns or word.search(each.expression)
            for each in fact.constraints
            if each.kind != "not null"
        )

    def constraints_alike(self, name: str, new: str) -> list[RecipeRevision]:
        """Constraints of the new column, before it takes the old one's place."""
        return []

    def loosened(self, known: Column, new: str) -> list[str]:
        """What has to go before the columns change places."""
        return []

    def fastened(self, known: Column) -> list[str]:
        """What comes again after they have."""
        return []

    def settled(self, name: str) -> list[RecipeRevision]:
        """What is checked after the exchange."""
        return []

    def renamed(self, name: str) -> list[str]:
        """What gets its old name once the old column is gone."""
        return []

    def _exchanged(self, known: Column, type_: str, using: str) -> list[RecipeRevision]:
        name, new, old = known.name, f"{known.name}_new", f"{known.name}_old"
        trigger = self.quoted(f"{self.plain_table}_{name}_exchange")
        expression = re.sub(rf"(?<![\w.\"]){re.escape(self.quoted(name))}(?![\w\"])", f"NEW.{self.quoted(name)}", using)
        body = f"BEGIN NEW.{self.quoted(new)} := {expression}; RETURN NEW; END"
        expand = [
            execute(f"ALTER TABLE {self.table} ADD COLUMN {self.quoted(new)} {type_}"),
            execute(f"CREATE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"),
            execute(
                f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {self.table} FOR EACH ROW"
                f" EXECUTE FUNCTION {trigger}()"
            ),
        ]
        undo = [
            execute(f"DROP TRIGGER {trigger} ON {self.table}"),
            execute(f"DROP FUNCTION {trigger}()"),
            self._drop(new),
        ]
        where = f"{self.quoted(new)} IS NULL AND {self.quoted(name)} IS NOT NULL"
        migrate = [self.filled(new, using, where)]
        migrate += self._indexes_alike(name, new)
        if known.not_null:
            migrate += self._not_null(new)
        migrate += self.constraints_alike(name, new)
        relax = f"ALTER COLUMN {self.quoted(name)} DROP NOT NULL"
        default, without = "", []
        if known.default:
            without = [acknowledged("squawk:ban-drop-default", None, f"{new} has it from the same statement on")]
            default = f", ALTER COLUMN {self.quoted(new)} SET DEFAULT {known.default}"
            relax += f", ALTER COLUMN {self.quoted(name)} DROP DEFAULT"
        swap = [
            acknowledged("drop-function", None, "the trigger that calls it goes in the same transaction"),
            execute(f"DROP TRIGGER {trigger} ON {self.table}"),
            execute(f"DROP FUNCTION {trigger}()"),
            *self.loosened(known, new),
            *without,
            execute(f"ALTER TABLE {self.table} {relax}{default}"),
            execute(f"ALTER TABLE {self.table} RENAME COLUMN {self.quoted(name)} TO {self.quoted(old)}"),
            execute(f"ALTER TABLE {self.table} RENAME COLUMN {self.quoted(new)} TO {self.quoted(name)}"),
            *self.fastened(known),
        ]
        contract = [
            acknowledged("drop-column", self.finding.table, f"nobody uses {old}: {name} has taken its place"),
            self._drop(old),
            *self.renamed(name),
        ]
        return [
            revision(f"add {self.plain_table}.{new}, kept by a trigger", expand, undo),
            *migrate,
            revision(f"put {new} in the place of {name}", swap, NO_WAY_BACK),
            *self.settled(name),
            revision(f"drop {self.plain_table}.{old}", contract, NO_WAY_BACK),
        ]

    def _indexes_alike(self, name: str, new: str) -> list[RecipeRevision]:
        """The indexes that the old column has."""
        assert self.fact is not None  # the caller has looked
        revisions = []
        word = re.compile(rf"(?<![\w.\"]){re.escape(self.quoted(name))}(?![\w\"(])")
        for index in self.fact.indexes.values():
            if any(index.name == each.name for each in self.fact.constraints):
                continue  # those of constraints come with them
            definition, where = (word.sub(self.quoted(new), text) for text in (index.definition, index.where))
            columns = tuple(new if column == name else column for column in index.columns)
            if (columns, definition, where) == (index.columns, index.definition, index.where):
                continue
            alike = replace(index, name=f"{index.name}_new", columns=columns, definition=definition, where=where)
            build = autocommit([self._create_index(alike.name or "", alike)])
            drop = autocommit([execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.quoted(alike.name or '')}")])
            revisions.append(revision(f"build {alike.name} concurrently", build, drop))
        return revisions

    def rename_column(self) -> Recipe | None:
        """Both names beside each other, kept alike by a trigger, until nobody uses the old one."""
        name, new = self.finding.subject or "", str(self.details.get("new"))
        known = self.fact.column(name) if self.fact is not None else None
        if known is None or known.type is None or self._is_in_a_key(name) or not self._is_free(name):
            return None
        old_q, new_q = f"{self.quoted(name)}", f"{self.quoted(new)}"
        trigger = self.quoted(f"{self.plain_table}_{name}_and_{new}")
        body = (
            f"BEGIN IF TG_OP = 'INSERT' THEN IF NEW.{new_q} IS NULL THEN NEW.{new_q} := NEW.{old_q}; "
            f"ELSE NEW.{old_q} := NEW.{new_q}; END IF; "
            f"ELSIF NEW.{new_q} IS DISTINCT FROM OLD.{new_q} THEN NEW.{old_q} := NEW.{new_q}; "
            f"ELSE NEW.{new_q} := NEW.{old_q}; END IF; RETURN NEW; END"
        )
        drop_trigger = [
            execute(f"DROP TRIGGER {trigger} ON {self.table}"),
            execute(f"DROP FUNCTION {trigger}()"),
        ]
        expand = [
            execute(f"ALTER TABLE {self.table} ADD COLUMN {new_q} {self.typed(known.type)}"),
            execute(f"CREATE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$"),
            execute(
                f"CREATE TRIGGER {trigger} BEFORE INSERT OR UPDATE ON {self.table} FOR EACH ROW"
                f" EXECUTE FUNCTION {trigger}()"
            ),
        ]
        where = f"{new_q} IS NULL AND {old_q} IS NOT NULL"
        migrate = [self.filled(new, old_q, where)]
        migrate += self._indexes_alike(name, new)
        if known.not_null:
            migrate += self._not_null(new)
        default = (
            [execute(f"ALTER TABLE {self.table} ALTER COLUMN {new_q} SET DEFAULT {known.default}")]
            if known.default
            else []
        )
        contract = [
            acknowledged("drop-column", self.finding.table, f"deployed code reads and writes {new} alone"),
            acknowledged("drop-function", None, "the trigger that calls it goes in the same transaction"),
            *drop_trigger,
            *default,
            self._drop(name),
        ]
        return Recipe(
            "rename-column",
            (
                revision(f"add {self.plain_table}.{new} beside {name}", expand, [*drop_trigger, self._drop(new)]),
                *migrate,
                revision(f"drop {self.plain_table}.{name}", contract, NO_WAY_BACK),
            ),
            (f"deploy code that uses {new} alone before the last revision",),
        )

    def enum_value(self) -> Recipe | None:
        """Another type without the value, and a column of it."""
        gone, values, type_ = self.details.get("gone"), self.details.get("values"), self.finding.subject or ""
        users = [
            (table, column)
            for table in self.facts.tables.values()
            for column in table.columns.values()
            if column.type is not None and column.type.name == type_
        ]
        if not gone or not values or len(users) != 1:
            return None
        table, column = users[0]
        away = ExchangeKitchen(replace(self.finding, table=table.name), self.facts)
        if away._is_in_a_key(column.name) or not away._is_free(column.name):
            return None
        new, old = f"{type_}_new", f"{type_}_old"
        listed = ", ".join(f"'{value}'" for value in values)
        quoted = self.quoted(column.name)
        left = ", ".join(f"'{value}'" for value in gone)
        instead = "what such rows have instead: yours to say"
        move = away.filled(column.name, f"'{values[0]}'", f"{quoted} IN ({left})", comment=instead, verify=True)
        steps = away._exchanged(column, self.quoted(new), f"{quoted}::text::{self.quoted(new)}")
        types = [
            execute(f"ALTER TYPE {self.quoted(type_)} RENAME TO {self.quoted(old)}"),
            execute(f"ALTER TYPE {self.quoted(new)} RENAME TO {self.quoted(type_)}"),
        ]
        swap = steps[-2]
        drop = [
            acknowledged("drop-type", None, "no column has it any more"),
            execute(f"DROP TYPE {self.quoted(old)}"),
        ]
        return Recipe(
            "enum-value",
            (
                move,
                revision(f"type {new}", [execute(f"CREATE TYPE {self.quoted(new)} AS ENUM ({listed})")],
                         [execute(f"DROP TYPE {self.quoted(new)}")]),
                *steps[:-2],
                RecipeRevision(swap.message, "\n".join([swap.upgrade_body, *types]), swap.downgrade_body, swap.imports),
                steps[-1],
                revision(f"drop type {old}", drop),
            ),
            (f"deploy code that does not write {', '.join(gone)} before the first revision",),
        )  # fmt: skip


RECIPES: dict[str, Callable[[ExchangeKitchen], Recipe | None]] = {
    "index-blocks-writes": ExchangeKitchen.index,
    "concurrently-in-transaction": ExchangeKitchen.index,
    "drop-index-locks": ExchangeKitchen.drop_index,
    "foreign-key-without-not-valid": ExchangeKitchen.constraint,
    "check-without-not-valid": ExchangeKitchen.constraint,
    "unique-without-index": ExchangeKitchen.unique,
    "set-not-null-scans": ExchangeKitchen.not_null,
    "column-required": ExchangeKitchen.required,
    "volatile-default": ExchangeKitchen.default,
    "default-rewrites": ExchangeKitchen.default,
    "identity-column-rewrites": ExchangeKitchen.default,
    "type-change-rewrites": ExchangeKitchen.column_type,
    "rename-column": ExchangeKitchen.rename_column,
    "drop-column": ExchangeKitchen.drop_column,
    "drop-table": ExchangeKitchen.drop_table,
    "rename-table": ExchangeKitchen.rename_table,
    "unbounded-change": ExchangeKitchen.backfill,
    "backfill-under-lock": ExchangeKitchen.backfill,
    "enum-value-removed": ExchangeKitchen.enum_value,
}
