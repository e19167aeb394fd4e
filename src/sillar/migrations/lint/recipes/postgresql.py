"""Safe sequences for PostgreSQL."""

from __future__ import annotations

import re

from sillar.migrations.lint.model import Column, Constraint, Index
from sillar.migrations.lint.recipes.recipe import (
    Kitchen,
    Recipe,
    RecipeRevision,
    acknowledged,
    autocommit,
    execute,
    revision,
)
from sillar.migrations.lint.recipes.shared import backfill, drop_table

_ZEROS = {
    "integer": "0", "bigint": "0", "smallint": "0", "numeric": "0", "real": "0", "double precision": "0",
    "text": "''", "varchar": "''", "boolean": "false", "timestamptz": "now()", "timestamp": "now()",
    "date": "CURRENT_DATE", "uuid": "gen_random_uuid()", "jsonb": "'{}'", "json": "'{}'", "bytea": "''",
}  # fmt: skip


class PostgreSQLKitchen(Kitchen):
    """Writes recipes for one finding."""

    # --- indexes -----------------------------------------------------------------------------------------------------

    def index(self) -> Recipe | None:
        """Build it concurrently."""
        sql = re.sub(
            r"^(CREATE\s+(?:UNIQUE\s+)?INDEX)\s+(?:CONCURRENTLY\s+)?", r"\1 CONCURRENTLY ", self.finding.sql,
            flags=re.IGNORECASE,
        )  # fmt: skip
        name = self.finding.subject
        if name is None or not sql.upper().startswith("CREATE"):
            return None
        undo = autocommit([execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.quoted(name)}")])
        return Recipe("index", (revision(f"build index {name} concurrently", autocommit([execute(sql)]), undo),))

    def drop_index(self) -> Recipe | None:
        """Drop it concurrently."""
        name, index = self.finding.subject or "", self.details.get("index")
        undo: list[str] = []
        if isinstance(index, Index) and self.finding.table is not None:
            undo = autocommit([self._create_index(name, index)])
        drop = autocommit([execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.quoted(name)}")])
        return Recipe("drop-index", (revision(f"drop index {name} concurrently", drop, undo),))

    def _create_index(self, name: str, index: Index) -> str:
        keys = ", ".join(self._key(column) for column in index.columns)
        definition = index.definition or f"({keys})"
        where = f" WHERE {index.where}" if index.where else ""
        unique = "UNIQUE " if index.unique else ""
        return execute(
            f"CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {self.quoted(name)} ON {self.table} {definition}{where}"
        )

    def _key(self, column: str) -> str:
        return column if re.search(r"\W", column) else self.quoted(column)

    # --- constraints -------------------------------------------------------------------------------------------------

    def constraint(self) -> Recipe | None:
        """Foreign keys and checks: NOT VALID, then validate."""
        constraint = self.details.get("constraint")
        if not isinstance(constraint, Constraint) or not constraint.text:
            return None
        partitioned = self.fact is not None and self.fact.partitioned
        if partitioned and constraint.kind == "foreign key" and self.facts.before(18):
            return None  # refused with NOT VALID
        name = constraint.name or self._constraint_name(constraint)
        first = self._without_constraint() if "column" in self.details else []
        add = execute(f"ALTER TABLE {self.table} ADD CONSTRAINT {self.quoted(name)} {constraint.text} NOT VALID")
        drop = execute(f"ALTER TABLE {self.table} DROP CONSTRAINT {self.quoted(name)}")
        return Recipe(
            constraint.kind.replace(" ", "-"),
            (
                *first,
                revision(f"add {name}, not valid yet", [add], [drop]),
                revision(f"validate {name}", autocommit([self._validate(name)])),
            ),
        )

    def _validate(self, name: str) -> str:
        return execute(f"ALTER TABLE {self.table} VALIDATE CONSTRAINT {self.quoted(name)}")

    def _constraint_name(self, constraint: Constraint) -> str:
        suffix = {"foreign key": "fkey", "check": "check", "unique": "key", "primary key": "pkey"}[constraint.kind]
        columns = "_".join(constraint.columns)
        return "_".join(part for part in (self.plain_table, columns, suffix) if part)

    def _without_constraint(self) -> list[RecipeRevision]:
        column = self.details["column"]
        return [
            revision(f"add {self.plain_table}.{column.name}", [self._add_column(column)], [self._drop(column.name)])
        ]

    def unique(self) -> Recipe | None:
        """A unique index, then the constraint on it."""
        constraint = self.details.get("constraint")
        if not isinstance(constraint, Constraint) or not constraint.columns:
            return None
        name = constraint.name or self._constraint_name(constraint)
        index = Index(name, constraint.columns, unique=True)
        first = self._without_constraint() if "column" in self.details else []
        for column in constraint.columns if constraint.kind == "primary key" else ():
            known = self.fact.column(column) if self.fact is not None else None
            if known is not None and not known.not_null:
                first += self._not_null(column)
        kind = constraint.kind.upper()
        add = execute(
            f"ALTER TABLE {self.table} ADD CONSTRAINT {self.quoted(name)} {kind} USING INDEX {self.quoted(name)}"
        )
        drop = execute(f"ALTER TABLE {self.table} DROP CONSTRAINT {self.quoted(name)}")
        undo = autocommit([execute(f"DROP INDEX CONCURRENTLY IF EXISTS {self.quoted(name)}")])
        return Recipe(
            "unique",
            (
                *first,
                revision(
                    f"build unique index {name} concurrently", autocommit([self._create_index(name, index)]), undo
                ),
                revision(f"make {name} a constraint", [add], [drop]),
            ),
        )

    # --- NOT NULL ----------------------------------------------------------------------------------------------------

    def not_null(self) -> Recipe | None:
        """A check that is validated without a lock, then NOT NULL, which believes it."""
        column = self.finding.subject or ""
        note = f"rows that have NULL in {column} are to be filled before the second revision"
        return Recipe("not-null", tuple(self._not_null(column)), (note,))

    def _not_null(self, column: str) -> list[RecipeRevision]:
        name = self.quoted(f"{self.plain_table}_{column}_not_null")
        quoted = self.quoted(column)
        add = execute(f"ALTER TABLE {self.table} ADD CONSTRAINT {name} CHECK ({quoted} IS NOT NULL) NOT VALID")
        drop = execute(f"ALTER TABLE {self.table} DROP CONSTRAINT {name}")
        final = execute(f"ALTER TABLE {self.table} ALTER COLUMN {quoted} SET NOT NULL, DROP CONSTRAINT {name}")
        undo = execute(
            f"ALTER TABLE {self.table} ALTER COLUMN {quoted} DROP NOT NULL, "
            f"ADD CONSTRAINT {name} CHECK ({quoted} IS NOT NULL) NOT VALID"
        )
        validate = execute(f"ALTER TABLE {self.table} VALIDATE CONSTRAINT {name}")
        return [
            revision(f"new rows have {self.plain_table}.{column}", [add], [drop]),
            revision(f"{self.plain_table}.{column} is never null", [*autocommit([validate]), final], [undo]),
        ]

    def required(self) -> Recipe | None:
        """A column without default: nullable, filled, then NOT NULL."""
        column = self.details.get("column")
        zero = _ZEROS.get(column.type.name) if isinstance(column, Column) and column.type is not None else None
        if not isinstance(column, Column) or zero is None:
            return None
        plain = Column(column.name, column.type)
        return Recipe(
            "not-null",
            (
                revision(f"add {self.plain_table}.{column.name}", [self._add_column(plain)], [self._drop(column.name)]),
                self._fill(column.name, zero, "the value of rows that are there: yours to say"),
                *self._not_null(column.name),
            ),
            (f"deploy code that writes {column.name} before the second revision",),
        )

    def _fill(self, column: str, value: str, comment: str = "") -> RecipeRevision:
        return self.filled(column, value, f"{self.quoted(column)} IS NULL", comment=comment, verify=True)

    # --- defaults ----------------------------------------------------------------------------------------------------

    def default(self) -> Recipe | None:
        """A default for new rows; the old ones are filled in batches."""
        column = self.details.get("column")
        if not isinstance(column, Column):
            return None
        plain = Column(column.name, column.type)
        value = column.default or ""
        add = [self._add_column(plain)]
        drop = [self._drop(column.name)]
        if column.identity:
            sequence = self.quoted(f"{self.plain_table}_{column.name}_seq")
            owner = f"{self.table}.{self.quoted(column.name)}"
            add += [execute(f"CREATE SEQUENCE {sequence}"), execute(f"ALTER SEQUENCE {sequence} OWNED BY {owner}")]
            value = f"nextval('{sequence}')"
        add.append(execute(f"ALTER TABLE {self.table} ALTER COLUMN {self.quoted(column.name)} SET DEFAULT {value}"))
        revisions = [
            revision(f"add {self.plain_table}.{column.name} with a default for new rows", add, drop),
            self._fill(column.name, value),
        ]
        if column.not_null:
            revisions += self._not_null(column.name)
        return Recipe("volatile-default", tuple(revisions))

    def _add_column(self, column: Column) -> str:
        default = f" DEFAULT {column.default}" if column.default else ""
        return execute(f"ALTER TABLE {self.table} ADD COLUMN {self.quoted(column.name)} {column.type}{default}")

    def _drop(self, column: str) -> str:
        return execute(f"ALTER TABLE {self.table} DROP COLUMN {self.quoted(column)}")

    # --- dropping and renaming ---------------------------------------------------------------------------------------

    def drop_column(self) -> Recipe | None:
        """First code that does not know it, then the column."""
        name = self.finding.subject or ""
        known = self.fact.column(name) if self.fact is not None else None
        type_ = known.type if known is not None else None
        relax = execute(f"ALTER TABLE {self.table} ALTER COLUMN {self.quoted(name)} DROP NOT NULL")
        drop = [
            acknowledged("drop-column", self.finding.table, f"deployed code does not know {name} any more"),
            self._drop(name),
        ]
        undo = (
            [execute(f"ALTER TABLE {self.table} ADD COLUMN {self.quoted(name)} {type_}")] if type_ is not None else []
        )
        return Recipe(
            "drop-column",
            (
                revision(f"rows may come without {self.plain_table}.{name}", [relax]),
                revision(f"drop {self.plain_table}.{name}", drop, undo),
            ),
            (f"deploy code that does not know {name} between the two",),
        )

    def drop_table(self) -> Recipe | None:
        """Renamed away, so that there is a way back; dropped in a later release."""
        return drop_table(self)

    def rename_table(self) -> Recipe | None:
        """A view of the old name in its place, in the same transaction."""
        new = self.quoted(str(self.details.get("new")))
        old = self.table
        view = execute(f"CREATE VIEW {old} AS SELECT * FROM {new}")  # noqa: S608 (quoted names)
        rename = [execute(f"ALTER TABLE {old} RENAME TO {new}"), view]
        back = [execute(f"DROP VIEW {old}"), execute(f"ALTER TABLE {new} RENAME TO {old}")]
        drop = [
            acknowledged("drop-view", None, f"deployed code uses {new} alone"),
            execute(f"DROP VIEW {old}"),
        ]
        return Recipe(
            "rename-table",
            (
                revision(f"rename {old} to {new}, with a view in its place", rename, back),
                revision(f"drop the view {old}", drop, [view]),
            ),
            (f"deploy code that uses {new} between the two",),
        )

    # --- rows -------------------------------------------------------------------------------------------------------

    def backfill(self) -> Recipe | None:
        """The same rows in batches."""
        return backfill(self)
