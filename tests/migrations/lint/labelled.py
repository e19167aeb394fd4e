"""The corpus: migrations with what the lint has to say of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sillar.migrations.lint import TableFact, TableFacts, facts_from, planned_statements, read_statement_action
from sillar.migrations.lint.mongodb.rules import DocumentOperation
from sillar.migrations.migration import MigrationOperation

CORPUS = Path(__file__).parent / "corpus"
LARGE_ROWS, SMALL_ROWS, TINY_ROWS = 5_000_000, 20_000, 10
_CASE = re.compile(r"^(?:--|#) case (.+?) -> (.+)$")
_WITH = re.compile(r"^-- with (.+)$")


@dataclass
class Case:
    """A migration and its label.

    Attributes:
        dialect: that it is written in.
        name: what it is.
        expected: the rules that have to be found, each once; sorted.
        statements: of the migration.
        operations: of a migration of documents.
        options: ``rows``, ``version``, ``facts``, ``created``, ``string``.
        alembic: rendered from Alembic's operations.
    """

    dialect: str
    name: str
    expected: list[str]
    statements: list[MigrationOperation] = field(default_factory=list)
    operations: list[DocumentOperation] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    alembic: bool = False

    def facts(self) -> TableFacts | None:
        """What is known of the database."""
        if self.options.get("facts") == "none":
            return None
        facts = document_facts() if self.operations else schema(self.dialect)
        facts.version = tuple(map(int, self.options["version"].split("."))) if "version" in self.options else ()
        return facts

    @property
    def created(self) -> list[str]:
        """Tables of earlier revisions of the same run."""
        return [name for name in self.options.get("created", "").split(",") if name]


def label(text: str) -> list[str]:
    """The rules of a label."""
    return [] if text.strip() == "safe" else sorted(rule.strip() for rule in text.split(","))


def schema_text(dialect: str) -> str:
    """The schema that the cases of a file find."""
    lines = (CORPUS / f"{dialect}.sql").read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if _CASE.match(line))
    return "\n".join(line for line in lines[:first] if not line.startswith("--"))


def schema(dialect: str) -> TableFacts:
    """The same, as facts."""
    return _schema(dialect).copy()


@cache
def _schema(dialect: str) -> TableFacts:
    statements = planned_statements(schema_text(dialect), dialect)
    facts = facts_from(read_statement_action(each.sql, dialect) for each in statements)
    for table in facts.tables.values():
        table.rows = {"small": SMALL_ROWS, "tiny": TINY_ROWS}.get(table.name, LARGE_ROWS)
    return facts


def document_facts() -> TableFacts:
    """The collections of the corpus."""
    sizes = {"users": LARGE_ROWS, "orders": LARGE_ROWS, "empty": 0, "tiny": TINY_ROWS}
    return TableFacts(tables={name: TableFact(name, rows=rows) for name, rows in sizes.items()})


def sql_cases(dialect: str) -> Iterator[Case]:
    """The cases of a file of SQL."""
    case: Case | None = None
    script: list[str] = []
    inside = True

    def flush() -> None:
        if case is not None and case.options.get("string") == "one":
            case.statements.append(MigrationOperation("\n".join(script)))
        elif case is not None and script:
            texts = planned_statements("\n".join(script), dialect)
            case.statements += [MigrationOperation(each.sql, in_transaction=inside) for each in texts]
        script.clear()

    for line in (CORPUS / f"{dialect}.sql").read_text(encoding="utf-8").splitlines():
        header = _CASE.match(line)
        options = _WITH.match(line)
        if header is not None:
            flush()
            if case is not None:
                yield case
            case, inside = Case(dialect, header[1], label(header[2])), True
        elif options is not None and case is not None:
            case.options.update(each.split("=") for each in options[1].split())
        elif line in ("-- autocommit", "-- transaction"):
            flush()
            inside = line == "-- transaction"
        elif case is not None:
            script.append(line)
    flush()
    assert case is not None
    yield case


def document_cases() -> Iterator[Case]:
    """The cases of MongoDB."""
    case: Case | None = None
    for line in (CORPUS / "mongodb.jsonl").read_text(encoding="utf-8").splitlines():
        header = _CASE.match(line)
        if header is not None:
            if case is not None:
                yield case
            case = Case("mongodb", header[1], label(header[2]))
        elif case is not None and not line.startswith("#"):
            case.operations.append(DocumentOperation(*json.loads(line)))
    assert case is not None
    yield case
