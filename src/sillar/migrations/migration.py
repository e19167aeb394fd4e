"""A migration: one revision of the schema or the data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from sillar.errors import MigrationStateError, UsageError

if TYPE_CHECKING:
    from sillar.migrations.runner import MigrationRunner


@dataclass(frozen=True, slots=True)
class MigrationOperation:
    """One step of a migration, as it is sent.

    Attributes:
        sql: the statement; for document databases the step in words.
        in_transaction: it runs in the migration's transaction, and is undone with it.
        details: for document databases: what the step is made of.
        line: of the migration's file, that it was called from; None: not known.
    """

    sql: str
    in_transaction: bool = True
    details: Any = field(default=None, compare=False)
    line: int | None = field(default=None, compare=False)


def calling_line() -> int | None:
    """The line of the migration's file that is being run; None outside of any."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if {"revision", "down_revision"} <= frame.f_globals.keys():
            return frame.f_lineno
        frame = frame.f_back
    return None


OFFLINE_NOTE: Final = "ONE statement here, not in batches"
"""What is written before a statement that runs in batches when it is run."""

BATCHED: Final = "batched"
"""The ``details`` of a statement that runs in batches, each in a transaction of its own, when it is run."""


class Migration:
    """One revision: a file of the migration folder.

    Args:
        name: what it does, in a line.
        version: its revision identifier.
        down_versions: those it follows; empty for the first.
        path: the file.
        checksum: of the file, without comments and blank lines.
        operations: its steps, where they were asked for.
        runner: of the database it is for.
    """

    def __init__(
        self,
        name: str,
        version: str,
        *,
        down_versions: Sequence[str] = (),
        path: Path | None = None,
        checksum: str = "",
        operations: Sequence[MigrationOperation] = (),
        runner: MigrationRunner | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.down_versions = tuple(down_versions)
        self.path = path
        self.checksum = checksum
        self.operations: list[MigrationOperation] = list(operations)
        self._runner = runner

    @property
    def place(self) -> str:
        """Where the file is, for people: from the working directory on, if it is in it."""
        if self.path is None:
            return "nowhere"
        return str(self.path.relative_to(Path.cwd()) if self.path.is_relative_to(Path.cwd()) else self.path)

    async def up(self) -> None:
        """Apply it.

        Raises:
            MigrationStateError: one that it follows is not applied.
            MigrationFailedError: a statement was refused.
        """
        runner = self._of_a_database()
        applied = runner.scripts.lineage(await runner.current())
        missing = [version for version in self.down_versions if version not in applied]
        if missing:
            raise MigrationStateError(
                f"{self.version} follows {', '.join(missing)}, which is not applied: apply that first, or upgrade to"
                f" {self.version}"
            )
        await runner.upgrade(self.version)

    async def down(self) -> None:
        """Undo it.

        Raises:
            MigrationStateError: it is not applied, or others that follow it are.
            MigrationFailedError: a statement was refused.
        """
        runner = self._of_a_database()
        current = await runner.current()
        if self.version not in current:
            raise MigrationStateError(
                f"{self.version} is not what the database is at ({', '.join(current) or 'base'}): undo what follows it"
                " first, or downgrade to what it follows"
            )
        # It alone: of a line beside others, and of what has merged several, whichever of these is named.
        before = self.down_versions
        await runner.downgrade(before[0] if len(before) > 1 else f"{self.version}@{'-1' if before else 'base'}")

    def _of_a_database(self) -> MigrationRunner:
        if self._runner is None:
            raise UsageError(f"migration {self.version} belongs to no database: get it from a MigrationManager")
        return self._runner

    def __repr__(self) -> str:
        return f"Migration({self.name!r}, {self.version!r})"
