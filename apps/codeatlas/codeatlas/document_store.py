"""A store in a document database: MongoDB.

The same verbs as in SQL over documents of their own shape: a file carries its imports and its history; what is listed
over many files (symbols, findings) has documents of its own; the words of a file are arrays in one document, indexed
element by element. Needs transactions, so a replica set (one member is enough) or a sharded cluster.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from codeatlas.discovery import KnownFile
from codeatlas.document_reading import DocumentReading
from codeatlas.queries import LIST_SIZE_MAX
from codeatlas.records import (
    FileRecord,
    FileTouch,
    Project,
    Repository,
    Run,
)
from codeatlas.rows import (
    CONTENT_COLUMNS,
    FILE_COLUMNS,
    REVISION_COLUMNS,
    Batch,
)
from codeatlas.store import RunInProgressError
from codeatlas.terms import WEIGHT_NAME, WEIGHT_PART
from sillar import DatabaseSession
from sillar.errors import IntegrityError, TransientStatementError

_CONTENTS: Final = ("symbols", "rule_results")


class DocumentStore(DocumentReading):
    """An :class:`codeatlas.store.AtlasStore` over sessions of one document database.

    Args:
        manager: open, or opened before the first verb.
        database: configured name; None is the default one.
    """

    # --- schema -----------------------------------------------------------------------------------------------------

    async def open_schema(self, *, upgrade: bool = False) -> None:
        async with self._session() as session:
            release = await session.documents("atlas_schema").find_one({"_id": "schema"})
        # Not before: Alembic takes a while to import.
        from codeatlas.history import bring_up_to_date

        await bring_up_to_date(self._manager, self._database, upgrade=upgrade, is_older_release=release is not None)

    # --- recording --------------------------------------------------------------------------------------------------

    async def project(self, name: str) -> Project:
        async with self._session() as session:
            projects = session.documents("atlas_projects")
            found = await self._project_named(session, name)
            if found is None:
                document = {"_id": await self._take_ids(session, "projects", 1), "name": name, "created_at": _now()}
                # Unless another process was faster: then it is there.
                with suppress(IntegrityError):
                    await projects.insert_one(document)
                found = await self._project_named(session, name)
        assert found is not None
        return found

    async def repository(self, project_id: int, root: str) -> Repository:
        key = {"project_id": project_id, "root": root}
        async with self._session() as session:
            repositories = session.documents("atlas_repositories")
            found = await self._repository_at(session, project_id, root)
            if found is None:
                document = {"_id": await self._take_ids(session, "repositories", 1), **key, "open_analysis_id": None}
                with suppress(IntegrityError):  # as above
                    await repositories.insert_one(document)
                found = await self._repository_at(session, project_id, root)
        assert found is not None
        return found

    async def begin_run(self, repository: Repository, owner: str, may_take_over: Callable[[Run], bool]) -> Run:
        async with self._session() as session:
            open_id = await self._open_run(session, repository)
            if open_id is None:
                run_id = await self._take_ids(session, "analyses", 1)
                if await self._claim(session, repository, run_id, owner):
                    return await self._run(session, run_id)
                open_id = await self._open_run(session, repository)
            run = await self._run(session, open_id)
            if run.owner and not may_take_over(run):
                raise RunInProgressError(run)
            taken = await session.documents("atlas_analyses").update_one(
                {"_id": run.id, "owner": run.owner, "resumes": run.resumes},
                {"$set": {"owner": owner, "status": "running", "heartbeat_at": _now()}, "$inc": {"resumes": 1}},
            )
            run = await self._run(session, run.id)
            if taken.matched == 0:
                raise RunInProgressError(run)
            return run

    async def _claim(self, session: DatabaseSession, repository: Repository, run_id: int, owner: str) -> bool:
        """Begin a run, unless another process has begun one since we looked, or does so now."""
        now = _now()
        counts = ("resumes", "files_found", "files_analysed", "files_unchanged", "files_removed", "files_failed")
        document = {
            "_id": run_id,
            "project_id": repository.project_id,
            "repository_id": repository.id,
            "status": "running",
            "owner": owner,
            "started_at": now,
            "heartbeat_at": now,
            "finished_at": None,
            **dict.fromkeys(counts, 0),
        }
        try:
            async with session.transaction() as transaction:
                claimed = await session.documents("atlas_repositories").update_one(
                    {"_id": repository.id, "open_analysis_id": None}, {"$set": {"open_analysis_id": run_id}}
                )
                if claimed.matched == 0:
                    await transaction.rollback()
                    return False
                await session.documents("atlas_analyses").insert_one(document)
        except TransientStatementError:
            return False
        return True

    async def record_files(self, run: Run, records: Sequence[FileRecord], touches: Sequence[FileTouch] = ()) -> None:
        batch = Batch(run, records)
        async with self._session() as session:
            batch.assign_ids(await self._take_ids(session, "files", batch.new_count) if batch.new_count else 0)
        documents = _Documents(batch)
        async with self._session() as session, session.transaction():
            if batch.changed_ids:
                for collection in ("atlas_symbols", "atlas_rule_results"):
                    await session.documents(collection).delete_many({"file_id": {"$in": batch.changed_ids}})
                await session.documents("atlas_terms").delete_many({"_id": {"$in": batch.changed_ids}})
                await session.documents("atlas_files").bulk_write(documents.changes)
            inserted = {"atlas_files": documents.files, "atlas_terms": documents.terms}
            inserted |= {f"atlas_{name}": documents.contents[name] for name in _CONTENTS}
            for collection, new in inserted.items():
                if new:
                    await session.documents(collection).insert_many(new)
            if touches:
                await session.documents("atlas_files").bulk_write([_touch(touch) for touch in touches])
            await self._advance(session, run, analysed=len(records), failed=batch.failed_count)

    async def remove_files(self, run: Run, files: Sequence[KnownFile]) -> None:
        for start in range(0, len(files), LIST_SIZE_MAX):
            ids = [file.id for file in files[start : start + LIST_SIZE_MAX]]
            async with self._session() as session, session.transaction():
                for collection in ("atlas_symbols", "atlas_rule_results"):
                    await session.documents(collection).delete_many({"file_id": {"$in": ids}})
                for collection in ("atlas_terms", "atlas_files"):
                    await session.documents(collection).delete_many({"_id": {"$in": ids}})
                await self._advance(session, run, removed=len(ids))

    async def interrupt_run(self, run: Run) -> None:
        async with self._session() as session:
            await session.documents("atlas_analyses").update_one(
                {"_id": run.id, "owner": run.owner},
                {"$set": {"status": "interrupted", "owner": "", "heartbeat_at": _now()}},
            )

    async def finish_run(self, run: Run, *, files_found: int) -> Run:
        async with self._session() as session, session.transaction():
            figures = await self._measure(session, run.project_id)
            now = await self._run(session, run.id)
            done = await session.documents("atlas_analyses").update_one(
                {"_id": run.id, "owner": run.owner},
                {
                    "$set": {
                        "status": "finished",
                        "owner": "",
                        "heartbeat_at": _now(),
                        "finished_at": _now(),
                        "files_found": files_found,
                        "files_unchanged": max(0, files_found - now.files_analysed),
                        "totals": figures.totals,
                        "measurements": [
                            {"kind": each.kind, "name": each.name, "value": each.value}
                            for each in figures.measurements()
                        ],
                    }
                },
            )
            if done.matched == 0:
                raise RunInProgressError(now)
            await session.documents("atlas_repositories").update_one(
                {"_id": run.repository_id, "open_analysis_id": run.id}, {"$set": {"open_analysis_id": None}}
            )
            return await self._run(session, run.id)

    async def _take_ids(self, session: DatabaseSession, kind: str, count: int) -> int:
        """Reserve ``count`` ids that follow each other; the first of them."""
        sequences = session.documents("atlas_sequences")
        with suppress(IntegrityError):  # two processes that both found it missing
            await sequences.update_one({"_id": kind}, {"$setOnInsert": {"next_value": 1}}, upsert=True)
        taken = await sequences.find_one_and_update({"_id": kind}, {"$inc": {"next_value": count}})
        assert taken is not None
        return int(taken["next_value"]) - count

    async def _advance(
        self, session: DatabaseSession, run: Run, *, analysed: int = 0, failed: int = 0, removed: int = 0
    ) -> None:
        counts = {"files_analysed": analysed, "files_failed": failed, "files_removed": removed}
        done = await session.documents("atlas_analyses").update_one(
            {"_id": run.id, "owner": run.owner}, {"$set": {"heartbeat_at": _now()}, "$inc": counts}
        )
        if done.matched == 0:
            raise RunInProgressError(await self._run(session, run.id))


class _Documents:
    """The rows of a batch as documents.

    Attributes:
        files, terms: one for each new file; ``terms`` for changed files, too.
        changes: what happens to the documents of changed files.
        contents: symbols and findings.
    """

    def __init__(self, batch: Batch) -> None:
        self._revisions = {row[0]: dict(zip(REVISION_COLUMNS[1:], row[1:], strict=True)) for row in batch.revisions}
        self._imported: dict[int, list[dict[str, Any]]] = {file_id: [] for file_id in self._revisions}
        for file_id, _, _, module, line in batch.contents["imports"]:
            self._imported[file_id].append({"module": module, "line": line})
        new = [dict(zip(FILE_COLUMNS, row, strict=True)) for row in batch.new]
        self.files = [self._figures(row) | {"_id": row["id"], "history": [self._revisions[row["id"]]]} for row in new]
        self.changes = [change for row in batch.changed for change in self._changes(row)]
        self.contents = {
            name: [dict(zip(CONTENT_COLUMNS[name], row, strict=True)) for row in batch.contents[name]]
            for name in _CONTENTS
        }
        self.terms = list(_terms(batch).values())

    def _figures(self, row: Mapping[str, Any]) -> dict[str, Any]:
        imported = self._imported[row["id"]]
        modules = sorted({each["module"] for each in imported})
        figures = {name: value for name, value in row.items() if name != "id"}
        return {**figures, "imported": imported, "modules": modules}

    def _changes(self, row: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        which, revision = {"_id": row["id"]}, self._revisions[row["id"]]
        # Analysed twice in one run, where that was interrupted: the later figures count.
        same_run = {"history": {"analysis_id": revision["analysis_id"]}}
        return [
            ("update_one", which, {"$set": self._figures(row), "$pull": same_run}),
            ("update_one", which, {"$push": {"history": revision}}),
        ]


def _terms(batch: Batch) -> dict[int, dict[str, Any]]:
    """All words and grams of a file in arrays; those that weigh more in arrays of their own, besides."""
    documents: dict[int, dict[str, Any]] = {}
    for file_id, kind, term, project_id, weight in batch.contents["terms"]:
        document = documents.get(file_id)
        if document is None:
            document = documents[file_id] = {"_id": file_id, "project_id": project_id}
            document.update({"grams": [], "words": [], "parts": [], "names": []})
        if kind == "p":
            document["grams"].append(term)
            continue
        document["words"].append(term)
        if weight == WEIGHT_NAME:
            document["names"].append(term)
        elif weight == WEIGHT_PART:
            document["parts"].append(term)
    return documents


def _touch(touch: FileTouch) -> tuple[Any, ...]:
    changed = {"mtime_ns": touch.mtime_ns, "size_bytes": touch.size_bytes}
    return ("update_one", {"_id": touch.known.id}, {"$set": changed})


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
