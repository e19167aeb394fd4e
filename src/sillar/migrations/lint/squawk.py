"""What squawk (a lint for PostgreSQL, installed or not) finds besides.

Where both have a rule for something, ours decides: it knows sizes, types and what the revision creates. The others are
added as ``squawk:RULE``, as warnings. A squawk that is missing or fails is no error.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sillar.migrations.lint.acknowledgement import SQUAWK_PREFIX
from sillar.migrations.lint.finding import Finding, Severity
from sillar.migrations.lint.model import Statement, TransactionControl, Unknown

TIMEOUT_SECONDS = 20.0
OURS = {
    "require-concurrent-index-creation": "index-blocks-writes",
    "require-concurrent-index-deletion": "drop-index-locks",
    "ban-concurrent-index-creation-in-transaction": "concurrently-in-transaction",
    "require-concurrent-reindex": "reindex-blocks",
    "require-concurrent-partition-detach": "detach-partition-locks",
    "changing-column-type": "type-change-rewrites",
    "adding-field-with-default": "volatile-default",
    "adding-required-field": "column-required",
    "adding-not-nullable-field": "set-not-null-scans",
    "adding-serial-primary-key-field": "identity-column-rewrites",
    "adding-foreign-key-constraint": "foreign-key-without-not-valid",
    "constraint-missing-not-valid": "check-without-not-valid",
    "disallowed-unique-constraint": "unique-without-index",
    "prefer-repack": "table-rewritten",
    "renaming-column": "rename-column",
    "renaming-table": "rename-table",
    "renaming-object": "rename-object",
    "ban-set-schema": "rename-table",
    "ban-drop-column": "drop-column",
    "ban-drop-table": "drop-table",
    "ban-drop-view": "drop-view",
    "ban-drop-type": "drop-type",
    "ban-drop-domain": "drop-type",
    "ban-drop-function": "drop-function",
    "ban-drop-schema": "drop-schema",
    "ban-drop-database": "drop-schema",
    "ban-char-field": "char-padded",
    "ban-alter-domain-with-add-constraint": "domain-constraint-scans",
    "ban-alter-row-level-security": "row-security-without-policy",
}
PASSED_OVER = {
    "syntax-error",  # a parser's opinion on text that the server may well take
    "unused-ignore",
    "require-timeout-settings",  # the migrator sets them
    "require-lock-timeout",
    "require-statement-timeout",
    "require-table-schema",
    "require-enum-value-ordering",
    "ban-uncommitted-transaction",  # the migrator commits
    "ban-drop-not-null",  # steps that change nothing for running code, or that a revision takes with open eyes
    "ban-drop-constraint",
    "ban-drop-index",
    "ban-drop-trigger",
    "ban-drop-policy",
    "ban-create-policy",
    "ban-set-default",
    "ban-add-column",
    "ban-add-enum-value",
    "ban-replace-view-function",
    "ban-new-write-restriction",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-text-field",
    "prefer-timestamp-tz",
}


@dataclass(frozen=True, slots=True)
class SquawkReport:
    """What came of asking squawk.

    Attributes:
        findings: what it found and we have no rule for.
        merged: how many of its findings are ours to judge.
        note: why there are none, for the log; empty if it ran.
    """

    findings: tuple[Finding, ...] = ()
    merged: int = 0
    note: str = ""


def find_squawk() -> str | None:
    """The installed program: on the path, or beside this Python."""
    beside = Path(sys.executable).parent / "squawk"
    return shutil.which("squawk") or (str(beside) if beside.is_file() else None)


def ask_squawk(
    statements: Sequence[Statement],
    *,
    dialect: str,
    version: tuple[int, ...] = (),
    program: str | None = None,
) -> SquawkReport:
    """Ask squawk about a revision.

    Args:
        statements: of the revision.
        dialect: for the findings.
        version: of the server; empty: a current one.
        program: path of squawk; None: as ``find_squawk`` finds it.
    """
    program = program or find_squawk()
    if program is None:
        return SquawkReport(note="squawk is not installed (pip install squawk-cli): only our own rules were applied")
    script, lines = _script(statements)
    command = [program, "--reporter", "json", "--stdin-filepath", "revision.sql"]
    if version:
        command.append(f"--pg-version={version[0]}.{version[1] if len(version) > 1 else 0}")
    try:
        run = subprocess.run(  # noqa: S603 (squawk, with arguments of ours; the SQL goes to its standard input)
            command, input=script.encode(), capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        )
        answer = json.loads(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return SquawkReport(note=f"squawk did not answer ({type(error).__name__}): only our own rules were applied")
    return _report(answer, statements, lines, dialect)


def _script(statements: Sequence[Statement]) -> tuple[str, list[int]]:
    """The revision as a script, and for each of its lines the number of the statement; 0 for what we have added."""
    parts: list[str] = []
    lines: list[int] = []

    def add(text: str, number: int) -> None:
        parts.append(text)
        lines.extend([number] * (text.count("\n") + 1))

    open_transaction: int | None = None
    for statement in statements:
        if isinstance(statement.action, TransactionControl):
            continue
        if statement.transaction != open_transaction:
            if open_transaction is not None:
                add("COMMIT;", 0)
            if statement.transaction is not None:
                add("BEGIN;", 0)
            open_transaction = statement.transaction
        add(statement.sql + ";", statement.number)
    if open_transaction is not None:
        add("COMMIT;", 0)
    return "\n".join(parts) + "\n", lines


def _report(answer: Any, statements: Sequence[Statement], lines: Sequence[int], dialect: str) -> SquawkReport:
    by_number = {statement.number: statement for statement in statements}
    findings: list[Finding] = []
    merged = 0
    for each in answer:
        line, rule = each["line"], each["rule_name"]
        statement = by_number.get(lines[line] if line < len(lines) else 0)
        if statement is None or rule in PASSED_OVER:
            continue
        if rule in OURS and not isinstance(statement.action, Unknown):
            merged += 1
            continue
        findings.append(
            Finding(
                SQUAWK_PREFIX + rule,
                Severity.WARNING,
                each["message"],
                each["help"] or f"see https://squawkhq.com/docs/{rule}",
                statement=statement.number,
                sql=statement.sql,
                dialect=dialect,
                line=statement.line,
            )
        )
    return SquawkReport(tuple(findings), merged)
