"""A store in a SQL database: SQLite, PostgreSQL, MySQL or MariaDB."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from codeatlas import queries
from codeatlas.discovery import KnownFile
from codeatlas.measurements import MODULES_KEPT, ProjectFigures, counted
from codeatlas.records import (
    FileDetail,
    FileFacts,
    FileFinding,
    FileImport,
    FileRecord,
    FileRevision,
    FileSummary,
    FileSymbol,
    FileTouch,
    FindingSummary,
    Measurement,
    Overview,
    Project,
    Repository,
    Run,
    SymbolSummary,
    TrendPoint,
)
from codeatlas.rows import CONTENT_COLUMNS, FILE_COLUMNS, REVISION_COLUMNS, Batch, by_name_first, by_score
from codeatlas.schema import index_names_query, index_statements, table_statements
from codeatlas.store import SCHEMA_VERSION, RunInProgressError, SchemaVersionError
from codeatlas.terms import GRAM_LENGTH, prefix_end, query_grams, query_words
from sillar import DatabaseManager, DatabaseSession
from sillar.errors import DatabaseError, IntegrityError

_CANDIDATES_MAX = queries.LIST_SIZES[-1]
_INTEGER_MAX, _ID_MAX = 2**31 - 1, 2**63 - 1
ListedT = TypeVar("ListedT", SymbolSummary, FindingSummary)
_SEQUENCES = ("projects", "repositories", "analyses", "files")


class SqlStore:
    """An :class:`codeatlas.store.AtlasStore` over sessions of one SQL database.

    Args:
        manager: open, or opened before the first verb.
        database: configured name; None is the default one.
    """

    def __init__(self, manager: DatabaseManager, database: str | None = None) -> None:
        self._manager = manager
        self._database = database
        self._engine = manager.config.connection(database or manager.config.default_database).engine.value

    def _session(self) -> DatabaseSession:
        return self._manager.session(self._database)

    # --- schema -----------------------------------------------------------------------------------------------------

    async def open_schema(self) -> None:
        async with self._session() as session:
            for statement in table_statements(self._engine):
                await session.execute(statement)
            existing = {row["name"] for row in await session.fetch_all(index_names_query(self._engine))}
            for name, statement in index_statements(self._engine).items():
                if name not in existing:
                    await self._create_index(session, name, statement)
            for name in _SEQUENCES:
                await self._insert_once(session, "atlas_sequences", {"name": name, "next_value": 1})
            versions = [row["version"] for row in await session.fetch_all("SELECT version FROM atlas_schema")]
            if not versions:
                await self._insert_once(session, "atlas_schema", {"version": SCHEMA_VERSION})
            elif versions != [SCHEMA_VERSION]:
                raise SchemaVersionError(
                    f"the database has schema {versions}, this program needs {SCHEMA_VERSION}; give another database"
                    " and index again"
                )

    async def _create_index(self, session: DatabaseSession, name: str, statement: str) -> None:
        try:
            await session.execute(statement)
        except DatabaseError:
            # Another process may have been faster; anything else is an error.
            if name not in {row["name"] for row in await session.fetch_all(index_names_query(self._engine))}:
                raise

    async def _insert_once(self, session: DatabaseSession, table: str, row: dict[str, Any]) -> None:
        """Insert a row unless its key is there. The key is the first column."""
        key = next(iter(row))
        if await session.fetch_one(queries.by_key(table, key), {"key": row[key]}) is None:
            with suppress(IntegrityError):  # another process was faster
                await session.execute(queries.insert(table, list(row)), row)

    # --- recording --------------------------------------------------------------------------------------------------

    async def project(self, name: str) -> Project:
        async with self._session() as session:
            found = await session.fetch_one(queries.PROJECT_BY_NAME, {"name": name}, into=Project)
            if found is None:
                row = {"id": await self._take_ids(session, "projects", 1), "name": name, "created_at": _now()}
                # Unless another process was faster: then it is there.
                with suppress(IntegrityError):
                    await session.execute(queries.insert("atlas_projects", list(row)), row)
                found = await session.fetch_one(queries.PROJECT_BY_NAME, {"name": name}, into=Project)
        assert found is not None
        return found

    async def repository(self, project_id: int, root: str) -> Repository:
        key = {"project_id": project_id, "root": root}
        async with self._session() as session:
            found = await session.fetch_one(queries.REPOSITORY_BY_ROOT, key, into=Repository)
            if found is None:
                row = {"id": await self._take_ids(session, "repositories", 1), **key}
                with suppress(IntegrityError):  # as above
                    await session.execute(queries.insert("atlas_repositories", list(row)), row)
                found = await session.fetch_one(queries.REPOSITORY_BY_ROOT, key, into=Repository)
        assert found is not None
        return found

    async def begin_run(self, repository: Repository, owner: str, may_take_over: Callable[[Run], bool]) -> Run:
        async with self._session() as session:
            key = {"repository_id": repository.id}
            open_id = await session.fetch_value(queries.OPEN_RUN, key)
            if open_id is None:
                run_id = await self._take_ids(session, "analyses", 1)
                if await self._claim(session, repository, run_id, owner):
                    return await self._run(session, run_id)
                open_id = await session.fetch_value(queries.OPEN_RUN, key)
            run = await self._run(session, open_id)
            if run.owner and not may_take_over(run):
                raise RunInProgressError(run)
            taken = await session.execute(
                queries.TAKE_OVER_RUN,
                {
                    "run_id": run.id,
                    "owner": owner,
                    "owner_before": run.owner,
                    "resumes_before": run.resumes,
                    "now": _now(),
                },
            )
            run = await self._run(session, run.id)
            if taken.rows_affected == 0:
                raise RunInProgressError(run)
            return run

    async def _claim(self, session: DatabaseSession, repository: Repository, run_id: int, owner: str) -> bool:
        """Begin a run, unless another process has begun one since we looked."""
        now = _now()
        row = {
            "id": run_id,
            "project_id": repository.project_id,
            "repository_id": repository.id,
            "status": "running",
            "owner": owner,
            "started_at": now,
            "heartbeat_at": now,
            **dict.fromkeys(("resumes", "files_found", "files_analysed", "files_unchanged"), 0),
            **dict.fromkeys(("files_removed", "files_failed"), 0),
        }
        async with session.transaction() as transaction:
            claimed = await session.execute(
                queries.CLAIM_REPOSITORY, {"run_id": run_id, "repository_id": repository.id}
            )
            if claimed.rows_affected == 0:
                await transaction.rollback()
                return False
            await session.execute(queries.insert("atlas_analyses", list(row)), row)
        return True

    async def _run(self, session: DatabaseSession, run_id: int) -> Run:
        run = await session.fetch_one(queries.RUN, {"run_id": run_id}, into=Run)
        assert run is not None, f"run {run_id} is referred to and does not exist"
        return run

    async def known_files(self, repository_id: int) -> dict[str, KnownFile]:
        known: dict[str, KnownFile] = {}
        async with self._session() as session:
            stream = session.stream(queries.KNOWN_FILES, {"repository_id": repository_id}, into=KnownFile)
            async with stream as files:
                async for file in files:
                    known[file.path] = file
        return known

    async def record_files(self, run: Run, records: Sequence[FileRecord], touches: Sequence[FileTouch] = ()) -> None:
        batch = Batch(run, records)
        async with self._session() as session:
            # In a transaction of its own: ids that a failure leaves unused are no loss, a lock for the whole batch is.
            batch.assign_ids(await self._take_ids(session, "files", batch.new_count) if batch.new_count else 0)
        async with self._session() as session, session.transaction():
            await self._forget_contents(session, run, batch.changed_ids)
            if batch.changed:
                await session.execute_many(queries.update_file(FILE_COLUMNS[1:]), batch.changed)
            if batch.new:
                await session.bulk_insert("atlas_files", FILE_COLUMNS, batch.new)
            await session.bulk_insert("atlas_file_metrics", REVISION_COLUMNS, batch.revisions)
            for table, columns in CONTENT_COLUMNS.items():
                if rows := batch.contents[table]:
                    await session.bulk_insert(f"atlas_{table}", columns, rows)
            if touches:
                await session.execute_many(queries.TOUCH_FILE, [_touch(touch) for touch in touches])
            await self._advance(session, run, analysed=len(records), failed=batch.failed_count)

    async def remove_files(self, run: Run, files: Sequence[KnownFile]) -> None:
        for start in range(0, len(files), _CANDIDATES_MAX):
            ids = [file.id for file in files[start : start + _CANDIDATES_MAX]]
            names, values = queries.listed("file", ids)
            async with self._session() as session, session.transaction():
                await session.execute(queries.forget_contents("atlas_terms", names), values)
                await session.execute(queries.forget_files(names), values)
                await self._advance(session, run, removed=len(ids))

    async def interrupt_run(self, run: Run) -> None:
        async with self._session() as session:
            await session.execute(queries.INTERRUPT_RUN, {"run_id": run.id, "owner": run.owner, "now": _now()})

    async def finish_run(self, run: Run, *, files_found: int) -> Run:
        async with self._session() as session, session.transaction():
            figures = await self._measure(session, run.project_id)
            await session.execute(queries.FORGET_METRICS, {"run_id": run.id})
            rows = [(run.id, row.kind, row.name, row.value) for row in figures.measurements()]
            await session.bulk_insert("atlas_metrics", ("analysis_id", "kind", "name", "value"), rows)
            now = await self._run(session, run.id)
            done = await session.execute(
                queries.FINISH_RUN,
                {
                    "run_id": run.id,
                    "owner": run.owner,
                    "now": _now(),
                    "found": files_found,
                    "unchanged": max(0, files_found - now.files_analysed),
                },
            )
            if done.rows_affected == 0:
                raise RunInProgressError(now)
            await session.execute(queries.RELEASE_REPOSITORY, {"repository_id": run.repository_id, "run_id": run.id})
            return await self._run(session, run.id)

    async def _take_ids(self, session: DatabaseSession, kind: str, count: int) -> int:
        """Reserve ``count`` ids that follow each other; the first of them."""
        async with session.transaction():
            await session.execute(queries.TAKE_IDS, {"name": kind, "count": count})
            following = await session.fetch_value(queries.NEXT_ID, {"name": kind}, into=int)
        assert following is not None, f"the sequence {kind} is missing"
        return following - count

    async def _forget_contents(self, session: DatabaseSession, run: Run, files: Sequence[int]) -> None:
        for start in range(0, len(files), _CANDIDATES_MAX):
            names, values = queries.listed("file", files[start : start + _CANDIDATES_MAX])
            for table in CONTENT_COLUMNS:
                await session.execute(queries.forget_contents(f"atlas_{table}", names), values)
            await session.execute(queries.forget_revisions(names), {**values, "run_id": run.id})

    async def _advance(
        self, session: DatabaseSession, run: Run, *, analysed: int = 0, failed: int = 0, removed: int = 0
    ) -> None:
        counts = {"analysed": analysed, "failed": failed, "removed": removed}
        done = await session.execute(
            queries.ADVANCE_RUN, {"run_id": run.id, "owner": run.owner, "now": _now(), **counts}
        )
        if done.rows_affected == 0:
            raise RunInProgressError(await self._run(session, run.id))

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

    # --- reading ----------------------------------------------------------------------------------------------------

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
        key = {"project_id": project_id, "limit": min(limit, _CANDIDATES_MAX)}
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
        key: dict[str, Any] = {"project_id": project_id, "limit": _CANDIDATES_MAX}
        async with self._session() as session:
            if len(name) < GRAM_LENGTH:
                within = {"start": grams[0], "end": prefix_end(grams[0])}
                ids = await session.fetch_all(queries.FILES_BY_SHORT_NAME, key | within, into=int)
            else:
                grams = grams[:_CANDIDATES_MAX]
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
        key: dict[str, Any] = {"project_id": project_id, "limit": min(limit, _CANDIDATES_MAX)}
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


def _touch(touch: FileTouch) -> dict[str, int]:
    return {"file_id": touch.known.id, "mtime_ns": touch.mtime_ns, "size_bytes": touch.size_bytes}


def _like(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
