"""What a SQL store answers."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from codeatlas import queries
from codeatlas.measurements import MODULES_KEPT, ProjectFigures, counted
from codeatlas.records import (
    FileDetail,
    FileFacts,
    FileFinding,
    FileImport,
    FileRevision,
    FileSummary,
    FileSymbol,
    FindingSummary,
    Measurement,
    Overview,
    Project,
    Run,
    SymbolSummary,
    TrendPoint,
)
from codeatlas.rows import by_name_first, by_score
from codeatlas.terms import GRAM_LENGTH, prefix_end, query_grams, query_words
from sillar import DatabaseManager, DatabaseSession

_INTEGER_MAX, _ID_MAX = 2**31 - 1, 2**63 - 1
ListedT = TypeVar("ListedT", SymbolSummary, FindingSummary)


class SqlReading:
    """The reading verbs of :class:`codeatlas.sql_store.SqlStore`.

    Args:
        manager: open, or opened before the first verb.
        database: configured name; None is the default one.
    """

    def __init__(self, manager: DatabaseManager, database: str | None = None) -> None:
        self._manager = manager
        self._database = database

    def _session(self) -> DatabaseSession:
        return self._manager.session(self._database)

    async def projects(self, *, after: str = "", limit: int = 100) -> list[Project]:
        async with self._session() as session:
            return await session.fetch_all(queries.PROJECTS, {"after": after, "limit": limit}, into=Project)

    async def overview(self, project_id: int) -> Overview | None:
        key = {"project_id": project_id}
        async with self._session() as session:
            project = await session.fetch_one(queries.PROJECT_BY_ID, key, into=Project)
            if project is None:
                return None
            roots = await session.fetch_all(queries.ROOTS, key, into=str)
            latest = await session.fetch_one(queries.LATEST_RUN, key, into=Run)
            run = await session.fetch_one(queries.FINISHED_RUNS, {**key, "limit": 1}, into=Run)
            if run is None:
                figures = await self._measure(session, project_id)
            else:
                rows = await session.fetch_all(queries.METRICS_OF_RUN, {"run_id": run.id}, into=Measurement)
                figures = ProjectFigures.of(rows)
            return figures.overview(project, roots, run, latest)

    async def trends(self, project_id: int, *, limit: int = 60) -> list[TrendPoint]:
        key = {"project_id": project_id, "limit": min(limit, queries.LIST_SIZE_MAX)}
        async with self._session() as session:
            runs = await session.fetch_all(queries.FINISHED_RUNS, key, into=Run)
            if not runs:
                return []
            names, values = queries.listed("run", [run.id for run in runs])
            totals: dict[int, dict[str, int]] = {run.id: {} for run in runs}
            for row in await session.fetch_all(queries.totals_of_runs(names), values):
                totals[row["analysis_id"]][row["name"]] = row["value"]
        return [TrendPoint(run, totals[run.id]) for run in reversed(runs)]

    async def files(self, project_id: int, *, after: tuple[str, int] = ("", 0), limit: int = 50) -> list[FileSummary]:
        key = {"project_id": project_id, "path": after[0], "id": after[1], "limit": limit}
        async with self._session() as session:
            return await session.fetch_all(queries.FILES_LISTED, key, into=FileSummary)

    async def files_named(self, project_id: int, name: str, *, limit: int = 50) -> list[FileSummary]:
        grams = query_grams(name)
        if not grams:
            return []
        key: dict[str, Any] = {"project_id": project_id, "limit": queries.LIST_SIZE_MAX}
        async with self._session() as session:
            if len(name) < GRAM_LENGTH:
                within = {"start": grams[0], "end": prefix_end(grams[0])}
                ids = await session.fetch_all(queries.FILES_BY_SHORT_NAME, key | within, into=int)
            else:
                grams = grams[: queries.LIST_SIZE_MAX]
                names, values = queries.listed("gram", grams)
                query = queries.files_by_grams(names)
                ids = await session.fetch_all(query, key | values | {"count": len(grams)}, into=int)
            if not ids:
                return []
            names, values = queries.listed("file", ids)
            values["pattern"] = f"%{_like(name.lower())}%"
            found = await session.fetch_all(queries.files_by_ids_named(names), values, into=FileSummary)
        return by_name_first(found, name)[:limit]

    async def files_containing(self, project_id: int, text: str, *, limit: int = 50) -> list[FileSummary]:
        words = query_words(text)
        if not words:
            return []
        key: dict[str, Any] = {"project_id": project_id, "limit": min(limit, queries.LIST_SIZE_MAX)}
        for number, word in enumerate(words):
            key |= {f"start{number}": word, f"end{number}": prefix_end(word)}
        async with self._session() as session:
            rows = await session.fetch_all(queries.files_by_words(len(words)), key)
            scores = {row["file_id"]: int(row["score"]) for row in rows}
            if not scores:
                return []
            names, values = queries.listed("file", list(scores))
            found = await session.fetch_all(queries.files_by_ids(names), values, into=FileSummary)
        return by_score(found, scores)

    async def symbols_named(self, project_id: int, prefix: str, *, limit: int = 50) -> list[SymbolSummary]:
        start = prefix.lower()
        key = {"project_id": project_id, "start": start, "end": prefix_end(start), "limit": limit}
        async with self._session() as session:
            found = await session.fetch_all(queries.SYMBOLS_NAMED, key, into=SymbolSummary)
            return await self._with_paths(session, found)

    async def functions_by_complexity(
        self, project_id: int, *, after: tuple[int, int, int] | None = None, limit: int = 50
    ) -> list[SymbolSummary]:
        complexity, file_id, ordinal = after or (_INTEGER_MAX, _ID_MAX, _INTEGER_MAX)
        key = {"project_id": project_id, "complexity": complexity, "file_id": file_id, "ordinal": ordinal}
        async with self._session() as session:
            key["limit"] = limit
            found = await session.fetch_all(queries.FUNCTIONS_BY_COMPLEXITY, key, into=SymbolSummary)
            return await self._with_paths(session, found)

    async def findings(
        self, project_id: int, rule: str, *, after: tuple[int, int] = (0, -1), limit: int = 50
    ) -> list[FindingSummary]:
        key = {"project_id": project_id, "rule": rule, "file_id": after[0], "ordinal": after[1], "limit": limit}
        async with self._session() as session:
            found = await session.fetch_all(queries.FINDINGS_OF_RULE, key, into=FindingSummary)
            return await self._with_paths(session, found)

    async def _with_paths(self, session: DatabaseSession, found: list[ListedT]) -> list[ListedT]:
        """Symbols or findings with the paths of their files; without those whose file has just been removed."""
        ids = sorted({each.file_id for each in found})
        if not ids:
            return []
        names, values = queries.listed("file", ids)
        paths = {row["id"]: row["path"] for row in await session.fetch_all(queries.paths_by_ids(names), values)}
        return [msgspec.structs.replace(each, path=paths[each.file_id]) for each in found if each.file_id in paths]

    async def file_detail(self, file_id: int) -> FileDetail | None:
        key = {"file_id": file_id}
        async with self._session() as session:
            facts = await session.fetch_one(queries.FILE_FACTS, key, into=FileFacts)
            if facts is None:
                return None
            return FileDetail(
                facts,
                await session.fetch_all(queries.FILE_SYMBOLS, key, into=FileSymbol),
                await session.fetch_all(queries.FILE_IMPORTS, key, into=FileImport),
                await session.fetch_all(queries.FILE_FINDINGS, key, into=FileFinding),
                await session.fetch_all(queries.FILE_HISTORY, key, into=FileRevision),
            )

    async def _measure(self, session: DatabaseSession, project_id: int) -> ProjectFigures:
        key = {"project_id": project_id}
        totals = await session.fetch_one(queries.TOTALS, key)
        packages = await session.fetch_all(queries.BY_PACKAGE, key)
        complexity = await session.fetch_all(queries.BY_COMPLEXITY, key)
        rules = await session.fetch_all(queries.BY_RULE, key)
        modules = await session.fetch_all(queries.BY_MODULE, {**key, "limit": MODULES_KEPT})
        return ProjectFigures(
            counted(totals or {}),
            {row["name"]: counted(row) for row in packages},
            *({str(row["name"]): int(row["value"]) for row in rows} for rows in (complexity, rules, modules)),
        )


def _like(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
