"""What a document store answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from codeatlas.measurements import MODULES_KEPT, ProjectFigures, counted
from codeatlas.pipelines import (
    BY_COMPLEXITY,
    BY_MODULE,
    BY_PACKAGE,
    BY_RULE,
    TOTALS,
    after_file,
    after_finding,
    after_function,
    files_by_words,
    having_grams,
    having_short_name,
    named_like,
    symbols_with_prefix,
)
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
from codeatlas.terms import GRAM_LENGTH, query_grams, query_words
from sillar import DatabaseManager, DatabaseSession

RUN_FIELDS: Final = {name: 1 for name in Run.__struct_fields__ if name != "id"}
CANDIDATES_MAX: Final = 512
_SUMMARY: Final = {name: 1 for name in FileSummary.__struct_fields__ if name not in ("id", "score")}


class DocumentReading:
    """The reading verbs of :class:`codeatlas.document_store.DocumentStore`.

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
            return await session.documents("atlas_projects").find(
                {"name": {"$gt": after}}, sort=[("name", 1)], limit=limit, into=Project
            )

    async def overview(self, project_id: int) -> Overview | None:
        key = {"project_id": project_id}
        async with self._session() as session:
            project = await session.documents("atlas_projects").find_one({"_id": project_id}, into=Project)
            if project is None:
                return None
            roots = await session.documents("atlas_repositories").find(key, sort=[("root", 1)])
            analyses = session.documents("atlas_analyses")
            latest = await analyses.find_one(key, projection=RUN_FIELDS, sort=[("_id", -1)], into=Run)
            finished = {**key, "status": "finished"}
            run = await analyses.find_one(finished, projection=RUN_FIELDS, sort=[("_id", -1)], into=Run)
            if run is None:
                figures = await self._measure(session, project_id)
            else:
                kept = await analyses.find_one({"_id": run.id}, projection={"measurements": 1})
                assert kept is not None
                figures = ProjectFigures.of(Measurement(**each) for each in kept["measurements"])
            return figures.overview(project, [each["root"] for each in roots], run, latest)

    async def trends(self, project_id: int, *, limit: int = 60) -> list[TrendPoint]:
        async with self._session() as session:
            found = await session.documents("atlas_analyses").find(
                {"project_id": project_id, "status": "finished"},
                projection={**RUN_FIELDS, "totals": 1},
                sort=[("_id", -1)],
                limit=min(limit, CANDIDATES_MAX),
            )
        points = []
        for each in reversed(found):
            totals = each.pop("totals")
            points.append(TrendPoint(Run(id=each.pop("_id"), **each), totals))
        return points

    async def files(self, project_id: int, *, after: tuple[str, int] = ("", 0), limit: int = 50) -> list[FileSummary]:
        async with self._session() as session:
            return await session.documents("atlas_files").find(
                after_file(project_id, *after),
                projection=_SUMMARY,
                sort=[("path", 1), ("_id", 1)],
                limit=limit,
                into=FileSummary,
            )

    async def files_named(self, project_id: int, name: str, *, limit: int = 50) -> list[FileSummary]:
        grams = query_grams(name)[:CANDIDATES_MAX]
        if not grams:
            return []
        short = len(name) < GRAM_LENGTH
        wanted = having_short_name(project_id, grams[0]) if short else having_grams(project_id, grams)
        async with self._session() as session:
            found = await session.documents("atlas_terms").find(
                wanted, projection={"_id": 1}, sort=[("_id", 1)], limit=CANDIDATES_MAX
            )
            if not found:
                return []
            files = await session.documents("atlas_files").find(
                named_like([each["_id"] for each in found], name), projection=_SUMMARY, into=FileSummary
            )
        return by_name_first(files, name)[:limit]

    async def files_containing(self, project_id: int, text: str, *, limit: int = 50) -> list[FileSummary]:
        words = query_words(text)
        if not words:
            return []
        async with self._session() as session:
            found = await session.documents("atlas_terms").aggregate(
                files_by_words(project_id, words, min(limit, CANDIDATES_MAX))
            )
            scores = {each["_id"]: int(each["score"]) for each in found}
            if not scores:
                return []
            files = await session.documents("atlas_files").find(
                {"_id": {"$in": list(scores)}}, projection=_SUMMARY, into=FileSummary
            )
        return by_score(files, scores)

    async def symbols_named(self, project_id: int, prefix: str, *, limit: int = 50) -> list[SymbolSummary]:
        async with self._session() as session:
            return await session.documents("atlas_symbols").find(
                symbols_with_prefix(project_id, prefix.lower()),
                sort=[("search_name", 1), ("file_id", 1), ("ordinal", 1)],
                limit=limit,
                into=SymbolSummary,
            )

    async def functions_by_complexity(
        self, project_id: int, *, after: tuple[int, int, int] | None = None, limit: int = 50
    ) -> list[SymbolSummary]:
        async with self._session() as session:
            return await session.documents("atlas_symbols").find(
                after_function(project_id, after),
                sort=[("complexity", -1), ("file_id", -1), ("ordinal", -1)],
                limit=limit,
                into=SymbolSummary,
            )

    async def findings(
        self, project_id: int, rule: str, *, after: tuple[int, int] = (0, -1), limit: int = 50
    ) -> list[FindingSummary]:
        async with self._session() as session:
            return await session.documents("atlas_rule_results").find(
                after_finding(project_id, rule, *after),
                sort=[("file_id", 1), ("ordinal", 1)],
                limit=limit,
                into=FindingSummary,
            )

    async def file_detail(self, file_id: int) -> FileDetail | None:
        of_file, in_order = {"file_id": file_id}, [("file_id", 1), ("ordinal", 1)]
        async with self._session() as session:
            file = await session.documents("atlas_files").find_one({"_id": file_id})
            if file is None:
                return None
            repository = await session.documents("atlas_repositories").find_one({"_id": file["repository_id"]})
            assert repository is not None
            facts = {name: file[name] for name in FileFacts.__struct_fields__ if name not in ("id", "root")}
            started = await session.documents("atlas_analyses").find(
                {"_id": {"$in": [each["analysis_id"] for each in file["history"]]}}, projection={"started_at": 1}
            )
            at = {each["_id"]: each["started_at"] for each in started}
            return FileDetail(
                FileFacts(id=file_id, root=repository["root"], **facts),
                await session.documents("atlas_symbols").find(of_file, sort=in_order, into=FileSymbol),
                [FileImport(**each) for each in file["imported"]],
                await session.documents("atlas_rule_results").find(of_file, sort=in_order, into=FileFinding),
                [FileRevision(**each, started_at=at[each["analysis_id"]]) for each in file["history"]],
            )

    async def _measure(self, session: DatabaseSession, project_id: int) -> ProjectFigures:
        match = {"$match": {"project_id": project_id}}
        files = session.documents("atlas_files")
        totals = await files.aggregate([match, *TOTALS])
        packages = await files.aggregate([match, *BY_PACKAGE])
        modules = await files.aggregate([match, *BY_MODULE, {"$limit": MODULES_KEPT}])
        of_functions = {"$match": {"project_id": project_id, "complexity": {"$gt": 0}}}
        complexity = await session.documents("atlas_symbols").aggregate([of_functions, *BY_COMPLEXITY])
        rules = await session.documents("atlas_rule_results").aggregate([match, *BY_RULE])
        none = dict.fromkeys(name for name in TOTALS[0]["$group"] if name != "_id")
        return ProjectFigures(
            counted(_without_id(totals[0]) if totals else none),
            {each["_id"]: counted(_without_id(each)) for each in packages},
            *({str(each["_id"]): int(each["value"]) for each in counts} for counts in (complexity, rules, modules)),
        )


def _without_id(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != "_id"}
