"""A safe sequence, written out as revisions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sillar.migrations.lint.facts import TableFact, TableFacts
from sillar.migrations.lint.finding import Finding
from sillar.migrations.lint.model import ColumnType

NO_WAY_BACK = ["raise NotImplementedError('restore from backup')"]
"""The downgrade of a revision that nothing undoes."""
BATCHED_IMPORT = "from sillar.migrations.data import batched_update, forget_batches"


@dataclass(frozen=True, slots=True)
class RecipeRevision:
    """One revision of a recipe, as source for Alembic.

    Attributes:
        message: what it does, in a line.
        upgrade_body: statements of ``upgrade()``, one in a line, without indentation.
        downgrade_body: of ``downgrade()``.
        imports: lines of imports besides ``op`` and ``sa``.
    """

    message: str
    upgrade_body: str
    downgrade_body: str = "pass"
    imports: tuple[str, ...] = ()

    @property
    def upgrade_text(self) -> str:
        """The body as a template takes it: indented behind the first line."""
        return self.upgrade_body.replace("\n", "\n    ")

    @property
    def downgrade_text(self) -> str:
        """The same for the way back."""
        return self.downgrade_body.replace("\n", "\n    ")

    @property
    def imports_text(self) -> str:
        """Lines of imports."""
        return "".join(f"{line}\n" for line in self.imports)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The safe way to what a finding warns of.

    Attributes:
        name: as remedies call it.
        revisions: in their order; between two of them the service goes on working.
        notes: what is to be done between them, in words.
    """

    name: str
    revisions: tuple[RecipeRevision, ...]
    notes: tuple[str, ...] = ()


class NoKeyError(Exception):
    """There is no key that batches could go along."""


class Kitchen:
    """What recipes of a dialect share.

    Args:
        finding: that the recipe is for.
        facts: of the database; None: not known.
    """

    quote_mark = '"'

    def __init__(self, finding: Finding, facts: TableFacts | None) -> None:
        self.finding = finding
        self.facts = facts or TableFacts()
        self.details = finding.details

    @property
    def table(self) -> str:
        """Name of the table as it stands in SQL."""
        return self.quoted(self.finding.table or "")

    @property
    def plain_table(self) -> str:
        """Name of the table alone, for names made of it."""
        return (self.finding.table or "").rpartition(".")[2]

    @property
    def fact(self) -> TableFact | None:
        """What is known of the table."""
        return self.facts.table(self.finding.table or "")

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that batches go along: the primary key, or another one that is never null.

        Raises:
            NoKeyError: the table is known to have none.
        """
        fact = self.fact
        if fact is None or fact.key_columns():
            return fact.key_columns() if fact is not None else ("id",)
        unique = [each.columns for each in fact.constraints if each.kind == "unique"]
        for columns in unique:
            known = [fact.column(column) for column in columns]
            if all(column is not None and column.not_null for column in known):
                return columns
        if fact.complete and "id" not in fact.columns:
            raise NoKeyError(fact.name)
        return ("id",)

    def quoted(self, name: str) -> str:
        """A name as it stands in SQL."""
        mark = self.quote_mark
        parts = name.split(".")
        return ".".join(
            part if re.fullmatch(r"[a-z_][a-z0-9_]*", part) else f"{mark}{part.replace(mark, mark * 2)}{mark}"
            for part in parts
        )

    def typed(self, type_: ColumnType | None) -> str:
        """A type as it stands in a definition, with its character set and collation."""
        if type_ is None:
            return ""
        charset = f" CHARACTER SET {type_.charset}" if type_.charset else ""
        collation = f" COLLATE {self.quoted(type_.collation)}" if type_.collation else ""
        return f"{type_}{charset}{collation}"

    def filled(self, column: str, value: str, where: str, *, comment: str = "", verify: bool = False) -> RecipeRevision:
        """A revision that fills a column in batches; undone, it would begin anew."""
        name = f"{self.plain_table}.{column}"
        key = repr(self.keys[0]) if len(self.keys) == 1 else repr(list(self.keys))
        lines = [f"# {comment}"] if comment else []
        lines += [
            f"batched_update(op, {self.finding.table!r}, key={key}, values={ {column: value}!r},",
            f"               where={where!r}, {'verify=True, ' if verify else ''}name={name!r})",
        ]
        return revision(f"fill {name}", lines, [f"forget_batches(op, {name!r})"], [BATCHED_IMPORT])


def execute(sql: str) -> str:
    """``op.execute`` of a statement; a colon in it is no parameter."""
    escaped = re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", sql)
    return f"op.execute({escaped!r})"


def autocommit(lines: Iterable[str]) -> list[str]:
    """The same lines outside of the transaction."""
    return ["with op.get_context().autocommit_block():", *(f"    {line}" for line in lines)]


def acknowledged(rule: str, table: str | None, reason: str) -> str:
    """The comment that says why a step of a recipe is safe where it stands."""
    return f"# sillar: acknowledge {rule}{f' on {table}' if table else ''}: {reason}"


def revision(
    message: str, upgrade: Sequence[str], downgrade: Sequence[str] = (), imports: Sequence[str] = ()
) -> RecipeRevision:
    """A revision from lines."""
    return RecipeRevision(message, "\n".join(upgrade), "\n".join(downgrade) or "pass", tuple(imports))
