"""What commands of migrations print: for people, or as one JSON document; and how they go through several targets."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.cells import cell_len
from rich.console import Console

from sillar.cli.exit_status import status_of
from sillar.cli.migrations_choice import Choice, Target
from sillar.cli.migrations_progress import ShownProgress
from sillar.errors import DatabaseError

if TYPE_CHECKING:
    from sillar.migrations import AppliedMigration, MigrationManager, MigrationOperation


@dataclass
class Answer:
    """What a command has to say about one target.

    Attributes:
        data: for ``--json``.
        lines: for people.
        warnings: for both; people get them on standard error.
        is_well: the exit status is 0.
    """

    data: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_well: bool = True


class IncompleteError(Exception):
    """A command failed on a target after it had done something.

    Args:
        answer: what was done.
        error: why it failed.
    """

    def __init__(self, answer: Answer, error: DatabaseError) -> None:
        super().__init__(str(error))
        self.answer, self.error = answer, error


Work: TypeAlias = "Callable[[MigrationManager], Awaitable[Answer]]"


def printer(*, to_stderr: bool = False) -> Console:
    """A console that prints what it is given as it is; lines are not broken."""
    return Console(stderr=to_stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)


def run_on_targets(name: str, choice: Choice, work: Work, *, opens: bool = True) -> int:
    """Do a command's work on one target after the other; returns the exit status.

    Args:
        name: of the command.
        choice: the targets, and what happens after a failure.
        work: on one target.
        opens: the target's database is opened for it.
    """
    return asyncio.run(_Run(name, choice, work, opens=opens).run())


class _Run:
    def __init__(self, name: str, choice: Choice, work: Work, *, opens: bool) -> None:
        self.name, self.choice, self.work, self.opens = name, choice, work, opens
        self.out, self.complaints = printer(), printer(to_stderr=True)
        self.results: list[dict[str, Any]] = []
        self.status = 0

    async def run(self) -> int:
        targets = self.choice.targets
        for target in targets:
            if len(targets) > 1 and not self.choice.as_json:
                self.out.print(f"── {target}")
            failed = await self._one(target)
            if failed and not self.choice.keep_going:
                break
        if self.choice.as_json:
            self._print_json()
        elif len(targets) > 1:
            self._print_summary()
        return self.status

    async def _one(self, target: Target) -> bool:
        error: DatabaseError | None = None
        answer = Answer()
        try:
            answer = await self._answer(target)
        except IncompleteError as incomplete:
            answer, error = incomplete.answer, incomplete.error
        except DatabaseError as failed:
            error = failed
        result = {
            "database": target.database,
            "tenant": target.tenant,
            "environment": self.choice.config.profile,
            "is_well": error is None and answer.is_well,
            **answer.data,
            "warnings": answer.warnings,
        }
        if not self.choice.as_json:
            for line in answer.lines:
                self.out.print(line)
            for warning in answer.warnings:
                self.complaints.print(f"warning: {warning}")
        if error is not None:
            result |= error_as_json(error)
            self.status = max(self.status, status_of(error))
            if not self.choice.as_json:
                self.complaints.print(f"sillar: {error}")
        elif not answer.is_well:
            self.status = max(self.status, 1)
        self.results.append(result)
        return error is not None

    async def _answer(self, target: Target) -> Answer:
        with ShownProgress() as progress, redirect_stdout(sys.stderr):  # an env.py may print: only results go there
            migrations = self.choice.manager(target, progress.report)
            if not self.opens:
                return await self.work(migrations)
            async with migrations:
                return await self.work(migrations)

    def _print_json(self) -> None:
        document: dict[str, Any] = {"command": self.name, "is_well": self.status == 0, "results": self.results}
        for result in self.results:
            if "error" in result:
                document |= {key: result[key] for key in ("error", "message")}
                break
        print_json(document)

    def _print_summary(self) -> None:
        rows = []
        for target, result in zip(self.choice.targets, self.results, strict=False):
            outcome = "well" if result["is_well"] else result.get("error", "not well")
            rows.append((str(target), f"{outcome}: {result['brief']}" if "brief" in result else outcome))
        rows += [(str(target), "not begun") for target in self.choice.targets[len(self.results) :]]
        self.out.print()
        for line in columns(*rows, head=("target", "outcome")):
            self.out.print(line)


def error_as_json(error: Exception) -> dict[str, Any]:
    """An error as ``--json`` shows it."""
    shown: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    findings: Sequence[Any] = getattr(error, "findings", ())
    if findings:
        shown["findings"] = [each.as_json() if hasattr(each, "as_json") else str(each) for each in findings]
    for name in ("revision", "statement_number", "rolled_back", "code"):
        if hasattr(error, name):
            shown[name] = getattr(error, name)
    return shown


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")


def applied_as_json(entry: AppliedMigration) -> dict[str, Any]:
    """An entry of the log as ``--json`` shows it."""
    return {**asdict(entry), "applied_at": entry.applied_at.isoformat()}


def statement_lines(operations: Sequence[MigrationOperation]) -> list[str]:
    """The statements of a migration, indented."""
    return [f"  {line.rstrip()}".expandtabs(4) for each in operations for line in each.sql.splitlines()]


def columns(*rows: Sequence[str], head: Sequence[str] = ()) -> list[str]:
    """Lines in which the cells of all rows stand below each other."""
    every = [*([head] if head else []), *rows]
    widths = [max(cell_len(cell) for cell in column) for column in zip(*every, strict=True)]
    return [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in every
    ]


__all__ = [
    "Answer",
    "IncompleteError",
    "Work",
    "applied_as_json",
    "columns",
    "error_as_json",
    "print_json",
    "printer",
    "run_on_targets",
    "statement_lines",
]
