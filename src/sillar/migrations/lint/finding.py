"""What the lint found, and the rules that it finds by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    WARNING = "warning"
    HINT = "hint"


class Hazard(StrEnum):
    """What goes wrong; it decides whether the size of a table matters."""

    SIZE = "size"  # a lock or a rewrite that lasts as long as the table is large
    CODE = "code"  # running code that reads or writes what is gone or new
    FAILURE = "failure"  # the statement fails, or does something else than it says
    CARE = "care"  # worth knowing


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        name: as it is acknowledged.
        hazard: what goes wrong.
        why: what the server does, in a sentence.
        remedy: the safe way.
        severity: on a large table, or one of unknown size.
    """

    name: str
    hazard: Hazard
    why: str
    remedy: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is unsafe in a revision.

    Attributes:
        rule: name of the rule.
        severity: how bad it is here.
        message: what would happen, with the size of the table where it is known.
        remedy: the safe way, and the recipe that writes it.
        table: that it is about; None where it is about none.
        subject: column, index, constraint or type, if one is to blame.
        statement: number of the statement in the revision, from 1; 0: the revision as a whole.
        sql: the statement.
        dialect: that it is written in.
        path: of the file, from the working directory on if it is in it; empty: not known.
        line: of the file, where the statement stands or is called from; None: not known.
        command: writes the recipe; empty: there is none that can be written here.
        acknowledged: the reason that the file gives why this is all right here; None: it gives none.
        details: what a recipe needs.
    """

    rule: str
    severity: Severity
    message: str
    remedy: str
    table: str | None = None
    subject: str | None = None
    statement: int = 0
    sql: str = ""
    dialect: str = ""
    path: str = ""
    line: int | None = None
    command: str = ""
    acknowledged: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def blocks(self) -> bool:
        """Whether it stands in the way of an upgrade."""
        return self.severity is Severity.ERROR and self.acknowledged is None

    @property
    def place(self) -> str:
        """Where it is: ``file:line``, or as much of that as is known."""
        return f"{self.path}:{self.line}" if self.path and self.line else self.path

    def __str__(self) -> str:
        place = f"{self.place}: " if self.path else ""
        number = f"statement {self.statement}: " if self.statement and not (self.path and self.line) else ""
        command = f"; to write that: {self.command}" if self.command else ""
        state = f" (acknowledged: {self.acknowledged})" if self.acknowledged is not None else ""
        return f"{place}{self.severity}: {number}{self.rule}: {self.message}; {self.remedy}{command}{state}"

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` shows."""
        return {
            "rule": self.rule,
            "severity": str(self.severity),
            "message": self.message,
            "remedy": self.remedy,
            "path": self.path or None,
            "line": self.line,
            "command": self.command or None,
            "table": self.table,
            "subject": self.subject,
            "statement": self.statement,
            "sql": self.sql,
            "acknowledged": self.acknowledged,
        }


class Rules:
    """Rules by name."""

    def __init__(self, *rules: Rule) -> None:
        self._rules = {rule.name: rule for rule in rules}
        assert len(self._rules) == len(rules), "two rules of one name"

    def __getitem__(self, name: str) -> Rule:
        return self._rules[name]

    def __contains__(self, name: str) -> bool:
        return name in self._rules

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules.values())
