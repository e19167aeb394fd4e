"""What a document store holds in another shape than tables.

Figures, imports and history are values inside a document: columns of JSON to the query builder. The words of a file,
and the modules it imports, are arrays that an index has element by element, and the searches in them are filters and
pipelines of the server's own (:mod:`codeatlas.pipelines`): SQL has no prefix of an element, its ``@>`` becomes an
expression here, which no index serves, and ``unnest`` has no translation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import JSON, Column, Integer, MetaData, Table

from codeatlas.measurements import ProjectFigures
from codeatlas.pipelines import by_module, files_by_words, having_grams, having_short_name
from codeatlas.queries import LIST_SIZE_MAX
from codeatlas.reading import AtlasReading
from codeatlas.records import FileImport, FileRevision, Measurement, Run
from codeatlas.schema import ANALYSES
from codeatlas.terms import GRAM_LENGTH
from sillar import DatabaseSession, QueryBuilder, parameter

_FIGURES = Table(
    ANALYSES.name,
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("totals", JSON),
    Column("measurements", JSON),
)
_CONTENTS = Table(
    "atlas_files",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("imported", JSON),
    Column("history", JSON),
)
MEASUREMENTS_OF_RUN = (
    QueryBuilder(_FIGURES).select(_FIGURES.c.measurements).where(_FIGURES.c.id == parameter("run_id")).prepare()
)
TOTALS_OF_RUNS = (
    QueryBuilder(_FIGURES)
    .select(_FIGURES.c.id, _FIGURES.c.totals)
    .where(_FIGURES.c.id.in_(parameter("runs")))
    .prepare()
)
IMPORTS_AND_HISTORY = (
    QueryBuilder(_CONTENTS)
    .select(_CONTENTS.c.imported, _CONTENTS.c.history)
    .where(_CONTENTS.c.id == parameter("file_id"))
    .prepare()
)
STARTS_OF_RUNS = (
    QueryBuilder(ANALYSES)
    .select(ANALYSES.c.id, ANALYSES.c.started_at)
    .where(ANALYSES.c.id.in_(parameter("runs")))
    .prepare()
)


class DocumentReading(AtlasReading):
    """The reading verbs of :class:`codeatlas.document_store.DocumentStore`."""

    async def _figures(self, session: DatabaseSession, run: Run) -> ProjectFigures:
        kept = await MEASUREMENTS_OF_RUN.scalar(session, params={"run_id": run.id})
        assert kept is not None, f"the finished run {run.id} has no figures"
        return ProjectFigures.of(Measurement(**each) for each in kept)

    async def _totals(self, session: DatabaseSession, runs: Sequence[Run]) -> Mapping[int, Mapping[str, int]]:
        return dict(await TOTALS_OF_RUNS.all(session, params={"runs": [run.id for run in runs]}))

    async def _modules(self, session: DatabaseSession, project_id: int) -> Mapping[str, int]:
        found = await session.documents("atlas_files").aggregate(by_module(project_id))
        return {each["_id"]: each["value"] for each in found}

    async def _having_grams(
        self, session: DatabaseSession, project_id: int, name: str, grams: Sequence[str]
    ) -> list[int]:
        short = len(name) < GRAM_LENGTH
        wanted = having_short_name(project_id, grams[0]) if short else having_grams(project_id, grams)
        found = await session.documents("atlas_terms").find(
            wanted, projection={"_id": 1}, sort=[("_id", 1)], limit=LIST_SIZE_MAX
        )
        return [each["_id"] for each in found]

    async def _having_words(
        self, session: DatabaseSession, project_id: int, words: Sequence[str], limit: int
    ) -> Mapping[int, int]:
        found = await session.documents("atlas_terms").aggregate(files_by_words(project_id, words, limit))
        return {each["_id"]: int(each["score"]) for each in found}

    async def _imports_and_history(
        self, session: DatabaseSession, file_id: int
    ) -> tuple[list[FileImport], list[FileRevision]]:
        found = await IMPORTS_AND_HISTORY.first(session, params={"file_id": file_id})
        imported, history = found or ((), ())  # removed since its facts were read
        runs = [each["analysis_id"] for each in history]
        started = dict(await STARTS_OF_RUNS.all(session, params={"runs": runs}))
        return (
            [FileImport(**each) for each in imported],
            [FileRevision(**each, started_at=started[each["analysis_id"]]) for each in history],
        )
