"""What every store answers, whatever its engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from codeatlas import queries
from codeatlas.discovery import KnownFile
from codeatlas.measurements import ProjectFigures, counted
from codeatlas.records import (
    FileDetail,
    FileImport,
    FileRevision,
    FileSummary,
    FindingSummary,
    Overview,
    Project,
    Repository,
    Run,
    SymbolSummary,
    TrendPoint,
)
from codeatlas.rows import by_name_first, by_score
from codeatlas.terms import prefix_end, query_grams, query_words
from sillar import DatabaseManager, DatabaseSession

_INTEGER_MAX, _ID_MAX = 2**31 - 1, 2**63 - 1
ListedT = TypeVar("ListedT", SymbolSummary, FindingSummary)


class AtlasReading(ABC):
    """The reading verbs of an :class:`codeatlas.store.AtlasStore`.

    Args:
        manager: open, or opened before the first verb.
        database: configured name; None is the default one.
    """

    def __init__(self, manager: DatabaseManager, database: str | None = None) -> None:
        self._manager = manager
        self._database = database

    def _session(self) -> DatabaseSession:
        return self._manager.session(self._database)

    # --- what rows and documents hold in different shapes -----------------------------------------------------------

    @abstractmethod
    async def _figures(self, session: DatabaseSession, run: Run) -> ProjectFigures:
        """The figures that were kept with a finished run."""

    @abstractmethod
    async def _totals(self, session: DatabaseSession, runs: Sequence[Run]) -> Mapping[int, Mapping[str, int]]:
        """The totals that were kept with finished runs, by their ids."""

    @abstractmethod
    async def _modules(self, session: DatabaseSession, project_id: int) -> Mapping[str, int]:
        """The modules that most files import, with the number of these files."""

    @abstractmethod
    async def _having_grams(
        self, session: DatabaseSession, project_id: int, name: str, grams: Sequence[str]
    ) -> list[int]:
        """Files whose path has all of these grams, or one that begins with the name if that is shorter than a gram."""

    @abstractmethod
    async def _having_words(
        self, session: DatabaseSession, project_id: int, words: Sequence[str], limit: int
    ) -> Mapping[int, int]:
        """Files that have, for each word, a term that begins with it: scores by id; exact terms weigh double."""

    @abstractmethod
    async def _imports_and_history(
        self, session: DatabaseSession, file_id: int
    ) -> tuple[list[FileImport], list[FileRevision]]:
        """What a file imports, and its figures in the runs so far."""

    # --- a run at work ----------------------------------------------------------------------------------------------

    async def known_files(self, repository_id: int) -> dict[str, KnownFile]:
        known: dict[str, KnownFile] = {}
        async with self._session() as session:
            async with queries.KNOWN_FILES.stream(session, params={"repository_id": repository_id}) as files:
                async for file in files:
                    known[file.path] = file
        return known

    async def _project_named(self, session: DatabaseSession, name: str) -> Project | None:
        return await queries.PROJECT_NAMED.first(session, params={"name": name})

    async def _repository_at(self, session: DatabaseSession, project_id: int, root: str) -> Repository | None:
        return await queries.REPOSITORY_BY_ROOT.first(session, params={"project_id": project_id, "root": root})

    async def _open_run(self, session: DatabaseSession, repository: Repository) -> int | None:
        return await queries.OPEN_RUN.scalar(session, params={"repository_id": repository.id})

    async def _run(self, session: DatabaseSession, run_id: int | None) -> Run:
        run = await queries.RUN.first(session, params={"run_id": run_id})
        assert run is not None, f"run {run_id} is referred to and does not exist"
        return run

    async def _measure(self, session: DatabaseSession, project_id: int) -> ProjectFigures:
        key = {"project_id": project_id}
        totals = await queries.TOTALS.one(session, params=key)
        packages = await queries.BY_PACKAGE.all(session, params=key)
        complexity = await queries.BY_COMPLEXITY.all(session, params=key)
        rules = await queries.BY_RULE.all(session, params=key)
        return ProjectFigures(
            counted(queries.TOTAL_NAMES, totals),
            {package: counted(queries.PACKAGE_NAMES, sums) for package, *sums in packages},
            {str(name): count for name, count in complexity},
            dict(rules),
            await self._modules(session, project_id),
        )

    # --- projects as a whole ----------------------------------------------------------------------------------------

    async def projects(self, *, after: str = "", limit: int = 100) -> list[Project]:
        async with self._session() as session:
            return await queries.PROJECTS_LISTED.all(session, params={"after": after, "limit": limit})

    async def overview(self, project_id: int) -> Overview | None:
        key = {"project_id": project_id}
        async with self._session() as session:
            project = await queries.PROJECT_BY_ID.first(session, params=key)
            if project is None:
                return None
            roots = await queries.ROOTS.scalars(session, params=key)
            latest = await queries.LATEST_RUN.first(session, params=key)
            run = await queries.FINISHED_RUNS.first(session, params={**key, "limit": 1})
            figures = await (self._measure(session, project_id) if run is None else self._figures(session, run))
            return figures.overview(project, roots, run, latest)

    async def trends(self, project_id: int, *, limit: int = 60) -> list[TrendPoint]:
        key = {"project_id": project_id, "limit": min(limit, queries.LIST_SIZE_MAX)}
        async with self._session() as session:
            runs = await queries.FINISHED_RUNS.all(session, params=key)
            totals = await self._totals(session, runs) if runs else {}
        return [TrendPoint(run, dict(totals[run.id])) for run in reversed(runs)]

    # --- lists and searches -----------------------------------------------------------------------------------------

    async def files(self, project_id: int, *, after: tuple[str, int] = ("", 0), limit: int = 50) -> list[FileSummary]:
        key = {"project_id": project_id, "path": after[0], "id": after[1], "limit": limit}
        async with self._session() as session:
            return await queries.FILES_LISTED.all(session, params=key)

    async def files_named(self, project_id: int, name: str, *, limit: int = 50) -> list[FileSummary]:
        grams = query_grams(name)[: queries.LIST_SIZE_MAX]
        if not grams:
            return []
        async with self._session() as session:
            ids = await self._having_grams(session, project_id, name, grams)
            if not ids:
                return []
            wanted = {"ids": ids, "pattern": f"%{_like(name.lower())}%"}
            found = await queries.FILES_BY_IDS_LIKE.all(session, params=wanted)
        return by_name_first(found, name)[:limit]

    async def files_containing(self, project_id: int, text: str, *, limit: int = 50) -> list[FileSummary]:
        words = query_words(text)
        if not words:
            return []
        async with self._session() as session:
            scores = await self._having_words(session, project_id, words, min(limit, queries.LIST_SIZE_MAX))
            if not scores:
                return []
            found = await queries.FILES_BY_IDS.all(session, params={"ids": list(scores)})
        return by_score(found, scores)

    async def symbols_named(self, project_id: int, prefix: str, *, limit: int = 50) -> list[SymbolSummary]:
        start = prefix.lower()
        key = {"project_id": project_id, "start": start, "end": prefix_end(start), "limit": limit}
        async with self._session() as session:
            return await _with_paths(session, await queries.SYMBOLS_NAMED.all(session, params=key))

    async def functions_by_complexity(
        self, project_id: int, *, after: tuple[int, int, int] | None = None, limit: int = 50
    ) -> list[SymbolSummary]:
        complexity, file_id, ordinal = after or (_INTEGER_MAX, _ID_MAX, _INTEGER_MAX)
        key = {"complexity": complexity, "file_id": file_id, "ordinal": ordinal}
        key |= {"project_id": project_id, "limit": limit}
        async with self._session() as session:
            return await _with_paths(session, await queries.FUNCTIONS_BY_COMPLEXITY.all(session, params=key))

    async def findings(
        self, project_id: int, rule: str, *, after: tuple[int, int] = (0, -1), limit: int = 50
    ) -> list[FindingSummary]:
        key = {"project_id": project_id, "rule": rule, "file_id": after[0], "ordinal": after[1], "limit": limit}
        async with self._session() as session:
            return await _with_paths(session, await queries.FINDINGS_OF_RULE.all(session, params=key))

    # --- one file ---------------------------------------------------------------------------------------------------

    async def file_detail(self, file_id: int) -> FileDetail | None:
        key = {"file_id": file_id}
        async with self._session() as session:
            facts = await queries.FILE_FACTS.first(session, params=key)
            if facts is None:
                return None
            symbols = await queries.FILE_SYMBOLS.all(session, params=key)
            findings = await queries.FILE_FINDINGS.all(session, params=key)
            imports, history = await self._imports_and_history(session, file_id)
        return FileDetail(facts, symbols, imports, findings, history)


async def _with_paths(session: DatabaseSession, found: list[ListedT]) -> list[ListedT]:
    """Symbols or findings with the paths of their files; without those whose file has just been removed."""
    ids = sorted({each.file_id for each in found})
    if not ids:
        return []
    paths = dict(await queries.PATHS_BY_IDS.all(session, params={"ids": ids}))
    return [msgspec.structs.replace(each, path=paths[each.file_id]) for each in found if each.file_id in paths]


def _like(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
