"""What a SQL store reads from tables that a document store does not have: measures, imports, terms, revisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import case, distinct, func

from codeatlas.measurements import MODULES_KEPT, TOTAL, ProjectFigures
from codeatlas.queries import LIST_SIZE_MAX
from codeatlas.reading import AtlasReading
from codeatlas.records import FileImport, FileRevision, Measurement, Run
from codeatlas.schema import ANALYSES, FILE_METRICS, IMPORTS, METRICS, TERMS
from codeatlas.terms import GRAM_LENGTH, QUERY_WORDS_MAX, prefix_end
from sillar import DatabaseSession, PreparedQuery, QueryBuilder, parameter

METRICS_OF_RUN = QueryBuilder(METRICS).into(Measurement).where(METRICS.c.analysis_id == parameter("run_id")).prepare()
TOTALS_OF_RUNS = (
    QueryBuilder(METRICS)
    .select(METRICS.c.analysis_id, METRICS.c.name, METRICS.c.value)
    .where(METRICS.c.analysis_id.in_(parameter("runs")), METRICS.c.kind == TOTAL)
    .prepare()
)
_FILES_IMPORTING = func.count(distinct(IMPORTS.c.file_id))
BY_MODULE = (
    QueryBuilder(IMPORTS)
    .select(IMPORTS.c.module, _FILES_IMPORTING)
    .where(IMPORTS.c.project_id == parameter("project_id"))
    .group_by("module")
    .order_by(_FILES_IMPORTING.desc(), "module")
    .limit(MODULES_KEPT)
    .prepare()
)
_files_with_grams = (
    QueryBuilder(TERMS)
    .select(TERMS.c.file_id)
    .where(TERMS.c.project_id == parameter("project_id"), TERMS.c.kind == "p")
    .order_by("file_id")
    .limit(LIST_SIZE_MAX)
)
FILES_BY_SHORT_NAME = (
    _files_with_grams.where(TERMS.c.term >= parameter("start"), TERMS.c.term < parameter("end")).distinct().prepare()
)
FILES_BY_GRAMS = (
    _files_with_grams.where(TERMS.c.term.in_(parameter("grams")))
    .group_by("file_id")
    .having(func.count() == parameter("count"))
    .prepare()
)
FILE_IMPORTS = (
    QueryBuilder(IMPORTS)
    .into(FileImport)
    .where(IMPORTS.c.file_id == parameter("file_id"))
    .order_by("ordinal")
    .prepare()
)
FILE_HISTORY = (
    QueryBuilder(FILE_METRICS)
    .join(ANALYSES)
    .select(
        *(
            ANALYSES.c.started_at if name == "started_at" else FILE_METRICS.c[name]
            for name in FileRevision.__struct_fields__
        )
    )
    .into(FileRevision)
    .where(FILE_METRICS.c.file_id == parameter("file_id"))
    .order_by("analysis_id")
    .prepare()
)


def _files_by_words(count: int) -> PreparedQuery[tuple[int, int]]:
    """Files that have, for each of ``count`` words, a term that begins with it; exact terms weigh double."""

    def having(number: int) -> QueryBuilder[Any]:
        start = parameter(f"start{number}", str)
        weight = case((TERMS.c.term == start, 2 * TERMS.c.weight), else_=TERMS.c.weight)
        return (
            QueryBuilder(TERMS)
            .select(TERMS.c.file_id, func.max(weight).label("score"))
            .where(TERMS.c.project_id == parameter("project_id"), TERMS.c.kind == "t")
            .where(TERMS.c.term >= start, TERMS.c.term < parameter(f"end{number}"))
            .group_by("file_id")
        )

    united = having(0)
    for number in range(1, count):
        united = united.union(having(number), all=True)
    words = united.subquery("words")
    score = func.sum(words.c.score)
    return (
        QueryBuilder(words)
        .select(words.c.file_id, score)
        .group_by("file_id")
        .having(func.count() == count)
        .order_by(score.desc(), "file_id")
        .limit(parameter("limit"))
        .prepare()
    )


FILES_BY_WORDS = {count: _files_by_words(count) for count in range(1, QUERY_WORDS_MAX + 1)}


class SqlReading(AtlasReading):
    """The reading verbs of :class:`codeatlas.sql_store.SqlStore`."""

    async def _figures(self, session: DatabaseSession, run: Run) -> ProjectFigures:
        return ProjectFigures.of(await METRICS_OF_RUN.all(session, params={"run_id": run.id}))

    async def _totals(self, session: DatabaseSession, runs: Sequence[Run]) -> Mapping[int, Mapping[str, int]]:
        totals: dict[int, dict[str, int]] = {run.id: {} for run in runs}
        for run_id, name, value in await TOTALS_OF_RUNS.all(session, params={"runs": list(totals)}):
            totals[run_id][name] = value
        return totals

    async def _modules(self, session: DatabaseSession, project_id: int) -> Mapping[str, int]:
        return dict(await BY_MODULE.all(session, params={"project_id": project_id}))

    async def _having_grams(
        self, session: DatabaseSession, project_id: int, name: str, grams: Sequence[str]
    ) -> list[int]:
        key: dict[str, Any] = {"project_id": project_id}
        if len(name) < GRAM_LENGTH:
            within = {"start": grams[0], "end": prefix_end(grams[0])}
            return await FILES_BY_SHORT_NAME.scalars(session, params=key | within)
        return await FILES_BY_GRAMS.scalars(session, params=key | {"grams": grams, "count": len(grams)})

    async def _having_words(
        self, session: DatabaseSession, project_id: int, words: Sequence[str], limit: int
    ) -> Mapping[int, int]:
        key: dict[str, Any] = {"project_id": project_id, "limit": limit}
        for number, word in enumerate(words):
            key |= {f"start{number}": word, f"end{number}": prefix_end(word)}
        found = await FILES_BY_WORDS[len(words)].all(session, params=key)
        return {file_id: int(score) for file_id, score in found}

    async def _imports_and_history(
        self, session: DatabaseSession, file_id: int
    ) -> tuple[list[FileImport], list[FileRevision]]:
        key = {"file_id": file_id}
        return await FILE_IMPORTS.all(session, params=key), await FILE_HISTORY.all(session, params=key)
