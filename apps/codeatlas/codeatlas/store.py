"""What a store of analyses can do.

Reading is implemented once (:mod:`codeatlas.reading`), but for what documents hold in another shape; writing once for
SQL engines and once for document engines. The rest of the program sees this protocol only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from codeatlas.discovery import KnownFile
from codeatlas.records import (
    FileDetail,
    FileRecord,
    FileSummary,
    FileTouch,
    FindingSummary,
    Overview,
    Project,
    Repository,
    Run,
    SymbolSummary,
    TrendPoint,
)

SCHEMA_HEAD = "r0001"


class SchemaVersionError(RuntimeError):
    """The database was written by another version of this program."""


class RunInProgressError(RuntimeError):
    """Another process is analysing the same repository now."""

    def __init__(self, run: Run) -> None:
        self.run = run
        super().__init__(
            f"run {run.id} of this repository is in the hands of {run.owner}, which last recorded something at"
            f" {run.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC; wait for it, or end that process"
        )


class AtlasStore(Protocol):
    """Projects, their files and what was found in them.

    Writing: each call is one transaction, so whatever was recorded stays, however the program ends.
    Every verb raises the errors of :mod:`sillar.errors`.
    """

    async def open_schema(self, *, upgrade: bool = False) -> None:
        """Create the schema in an empty database; migrate one that is behind, if told to.

        Args:
            upgrade: whether it is told to.

        Raises:
            SchemaVersionError: the database is behind, or at a version that this program does not know.
        """
        ...

    # --- recording ---

    async def project(self, name: str) -> Project:
        """The project of that name, created if need be."""
        ...

    async def repository(self, project_id: int, root: str) -> Repository:
        """The repository with that root, created if need be."""
        ...

    async def begin_run(self, repository: Repository, owner: str, may_take_over: Callable[[Run], bool]) -> Run:
        """Resume the run of a repository that is not finished, or begin a new one.

        Args:
            owner: ``host:pid`` of this process.
            may_take_over: asked whether an unfinished run that has an owner is abandoned.

        Raises:
            RunInProgressError: it is not, or another process was faster.
        """
        ...

    async def known_files(self, repository_id: int) -> dict[str, KnownFile]:
        """What is stored of a repository's files, by path."""
        ...

    async def record_files(self, run: Run, records: Sequence[FileRecord], touches: Sequence[FileTouch] = ()) -> None:
        """Store analysed files, replacing what was known of them, and new times of unchanged ones."""
        ...

    async def remove_files(self, run: Run, files: Sequence[KnownFile]) -> None:
        """Forget files that are gone."""
        ...

    async def interrupt_run(self, run: Run) -> None:
        """Leave a run to be resumed later."""
        ...

    async def finish_run(self, run: Run, *, files_found: int) -> Run:
        """Measure the project as it is now, keep the figures with the run, and end it."""
        ...

    # --- reading ---

    async def projects(self, *, after: str = "", limit: int = 100) -> list[Project]:
        """Projects in the order of their names."""
        ...

    async def overview(self, project_id: int) -> Overview | None:
        """The project as a whole, or None if there is no such project."""
        ...

    async def trends(self, project_id: int, *, limit: int = 60) -> list[TrendPoint]:
        """The latest finished runs with their totals, oldest first."""
        ...

    async def files(self, project_id: int, *, after: tuple[str, int] = ("", 0), limit: int = 50) -> list[FileSummary]:
        """Files in the order of their paths, from the one after ``(path, id)``."""
        ...

    async def files_named(self, project_id: int, name: str, *, limit: int = 50) -> list[FileSummary]:
        """Files whose path contains ``name``, whatever the case; those whose own name has it first."""
        ...

    async def files_containing(self, project_id: int, text: str, *, limit: int = 50) -> list[FileSummary]:
        """Files that have all words of ``text``, each as the beginning of a word; names weigh more than other text."""
        ...

    async def symbols_named(self, project_id: int, prefix: str, *, limit: int = 50) -> list[SymbolSummary]:
        """Functions and classes whose own name begins with ``prefix``, whatever the case."""
        ...

    async def functions_by_complexity(
        self, project_id: int, *, after: tuple[int, int, int] | None = None, limit: int = 50
    ) -> list[SymbolSummary]:
        """Functions, the most complex first, from the one after ``(complexity, file_id, ordinal)``."""
        ...

    async def findings(
        self, project_id: int, rule: str, *, after: tuple[int, int] = (0, -1), limit: int = 50
    ) -> list[FindingSummary]:
        """Findings of one rule in the order of files and lines, from the one after ``(file_id, ordinal)``."""
        ...

    async def file_detail(self, file_id: int) -> FileDetail | None:
        """A file with everything in it, or None if there is no such file."""
        ...
