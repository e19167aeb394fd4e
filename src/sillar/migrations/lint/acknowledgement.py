"""Acknowledgements in the revision file: ``# sillar: acknowledge RULE on TABLE: reason``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sillar.migrations.lint.catalogue import RULES
from sillar.migrations.lint.facts import fold
from sillar.migrations.lint.finding import Finding, Severity

_COMMENT = re.compile(r"^\s*(?:#|--)\s*sillar:\s*(.*?)\s*$", re.MULTILINE | re.IGNORECASE)
_SHAPE = re.compile(
    r"acknowledge\s+(?P<rule>(?:squawk:)?[\w-]+)(?:\s+on\s+(?P<table>\S+?))?\s*(?::\s*(?P<reason>.*))?", re.IGNORECASE
)
_REASON_LETTERS_MIN = 3
SQUAWK_PREFIX = "squawk:"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Somebody says why a finding is all right.

    Attributes:
        rule: that it is about.
        reason: why.
        table: only there; None: everywhere in the revision.
        line: where it stands.
    """

    rule: str
    reason: str
    table: str | None
    line: int

    def covers(self, finding: Finding) -> bool:
        """Whether it speaks of that finding."""
        if finding.rule != self.rule:
            return False
        return self.table is None or (finding.table is not None and fold(finding.table) == fold(self.table))


def read_acknowledgements(source: str) -> tuple[list[Acknowledgement], list[str]]:
    """The acknowledgements of a file, and what is wrong with those that do not count."""
    found: list[Acknowledgement] = []
    faults: list[str] = []
    for comment in _COMMENT.finditer(source):
        line = source.count("\n", 0, comment.start(1)) + 1
        shape = _SHAPE.fullmatch(comment[1])
        if shape is None:
            faults.append(f"line {line}: {comment[1]!r} cannot be read")
            continue
        rule, reason = shape["rule"].lower().rstrip(":"), (shape["reason"] or "").strip()
        if rule not in RULES and not rule.startswith(SQUAWK_PREFIX):
            faults.append(f"line {line}: there is no rule {rule!r}")
        elif sum(letter.isalnum() for letter in reason) < _REASON_LETTERS_MIN:
            faults.append(f"line {line}: {rule} without a reason")
        else:
            found.append(Acknowledgement(rule, reason, shape["table"], line))
    return found, faults


def acknowledge(findings: Iterable[Finding], source: str, dialect: str) -> list[Finding]:
    """The findings with the reasons that the file gives, and what is wrong with those reasons."""
    acknowledgements, faults = read_acknowledgements(source)
    used: set[Acknowledgement] = set()
    result: list[Finding] = []
    for finding in findings:
        match = next((each for each in acknowledgements if each.covers(finding)), None)
        if match is not None:
            used.add(match)
            finding = replace(finding, acknowledged=match.reason)
        result.append(finding)
    invalid, unused = RULES["acknowledgement-invalid"], RULES["acknowledgement-unused"]
    result += [
        Finding(invalid.name, Severity.ERROR, f"{fault}: {invalid.why}", invalid.remedy, dialect=dialect)
        for fault in faults
    ]
    result += [
        Finding(
            unused.name, Severity.HINT, f"line {each.line}: {each.rule}: {unused.why}", unused.remedy, dialect=dialect
        )
        for each in acknowledgements
        if each not in used
    ]
    return result
