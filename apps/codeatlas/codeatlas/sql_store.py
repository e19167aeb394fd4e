"""A store in a SQL database: SQLite, PostgreSQL, MySQL or MariaDB."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from codeatlas import changes
from codeatlas.discovery import KnownFile
from codeatlas.queries import LIST_SIZE_MAX
from codeatlas.records import (
    FileRecord,
    FileTouch,
    Project,
    Repository,
    Run,
)
from codeatlas.rows import CONTENT_COLUMNS, FILE_COLUMNS, REVISION_COLUMNS, Batch
from codeatlas.sql_reading import SqlReading
from codeatlas.store import SCHEMA_HEAD, RunInProgressError
from sillar import DatabaseManager, DatabaseSession
from sillar.errors import IntegrityError, StatementSyntaxError


class SqlStore(SqlReading):
    """An :class:`codeatlas.store.AtlasStore` over sessions of one SQL database.

    Args:
        manager: open, or opened before the first verb.
        database: configured name; None is the default one.
    """

    def __init__(self, manager: DatabaseManager, database: str | None = None) -> None:
        super().__init__(manager, database)
        self._engine = manager.config.connection(database or manager.config.default_database).engine.value

    # --- schema -----------------------------------------------------------------------------------------------------

    async def open_schema(self, *, upgrade: bool = False) -> None:
        async with self._session() as session:
            if await self._version(session, "SELECT version_num AS version FROM alembic_version") == SCHEMA_HEAD:
                return
            release = await self._version(session, "SELECT version AS version FROM atlas_schema")
        # Not before: Alembic takes a while to import, and mostly there is nothing to do.
        from codeatlas.history import bring_up_to_date

        await bring_up_to_date(self._manager, self._database, upgrade=upgrade, is_older_release=release is not None)

    async def _version(self, session: DatabaseSession, query: str) -> Any:
        """The version in a table that may not be there."""
        try:
            row = await session.fetch_one(query)
        except StatementSyntaxError:
            return None
        return None if row is None else row["version"]

    # --- recording --------------------------------------------------------------------------------------------------

    async def project(self, name: str) -> Project:
        async with self._session() as session:
            found = await self._project_named(session, name)
            if found is None:
                row = {"id": await self._take_ids(session, "projects", 1), "name": name, "created_at": _now()}
                # Unless another process was faster: then it is there.
                with suppress(IntegrityError):
                    await session.execute(changes.insert("atlas_projects", list(row)), row)
                found = await self._project_named(session, name)
        assert found is not None
        return found

    async def repository(self, project_id: int, root: str) -> Repository:
        key = {"project_id": project_id, "root": root}
        async with self._session() as session:
            found = await self._repository_at(session, project_id, root)
            if found is None:
                row = {"id": await self._take_ids(session, "repositories", 1), **key}
                with suppress(IntegrityError):  # as above
                    await session.execute(changes.insert("atlas_repositories", list(row)), row)
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
            taken = await session.execute(
                changes.TAKE_OVER_RUN,
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
                changes.CLAIM_REPOSITORY, {"run_id": run_id, "repository_id": repository.id}
            )
            if claimed.rows_affected == 0:
                await transaction.rollback()
                return False
            await session.execute(changes.insert("atlas_analyses", list(row)), row)
        return True

    async def record_files(self, run: Run, records: Sequence[FileRecord], touches: Sequence[FileTouch] = ()) -> None:
        batch = Batch(run, records)
        async with self._session() as session:
            # In a transaction of its own: ids that a failure leaves unused are no loss, a lock for the whole batch is.
            batch.assign_ids(await self._take_ids(session, "files", batch.new_count) if batch.new_count else 0)
        async with self._session() as session, session.transaction():
            await self._forget_contents(session, run, batch.changed_ids)
            if batch.changed:
                await session.execute_many(changes.update_file(FILE_COLUMNS[1:]), batch.changed)
            if batch.new:
                await session.bulk_insert("atlas_files", FILE_COLUMNS, batch.new)
            await session.bulk_insert("atlas_file_metrics", REVISION_COLUMNS, batch.revisions)
            for table, columns in CONTENT_COLUMNS.items():
                if rows := batch.contents[table]:
                    await session.bulk_insert(f"atlas_{table}", columns, rows)
            if touches:
                await session.execute_many(changes.TOUCH_FILE, [_touch(touch) for touch in touches])
            await self._advance(session, run, analysed=len(records), failed=batch.failed_count)

    async def remove_files(self, run: Run, files: Sequence[KnownFile]) -> None:
        for start in range(0, len(files), LIST_SIZE_MAX):
            ids = [file.id for file in files[start : start + LIST_SIZE_MAX]]
            names, values = changes.listed("file", ids)
            async with self._session() as session, session.transaction():
                await session.execute(changes.forget_contents("atlas_terms", names), values)
                await session.execute(changes.forget_files(names), values)
                await self._advance(session, run, removed=len(ids))

    async def interrupt_run(self, run: Run) -> None:
        async with self._session() as session:
            await session.execute(changes.INTERRUPT_RUN, {"run_id": run.id, "owner": run.owner, "now": _now()})

    async def finish_run(self, run: Run, *, files_found: int) -> Run:
        async with self._session() as session, session.transaction():
            figures = await self._measure(session, run.project_id)
            await session.execute(changes.FORGET_METRICS, {"run_id": run.id})
            rows = [(run.id, row.kind, row.name, row.value) for row in figures.measurements()]
            await session.bulk_insert("atlas_metrics", ("analysis_id", "kind", "name", "value"), rows)
            now = await self._run(session, run.id)
            done = await session.execute(
                changes.FINISH_RUN,
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
            await session.execute(changes.RELEASE_REPOSITORY, {"repository_id": run.repository_id, "run_id": run.id})
            return await self._run(session, run.id)

    async def _take_ids(self, session: DatabaseSession, kind: str, count: int) -> int:
        """Reserve ``count`` ids that follow each other; the first of them."""
        async with session.transaction():
            await session.execute(changes.TAKE_IDS, {"name": kind, "count": count})
            following = await session.fetch_value(changes.NEXT_ID, {"name": kind}, into=int)
        assert following is not None, f"the sequence {kind} is missing"
        return following - count

    async def _forget_contents(self, session: DatabaseSession, run: Run, files: Sequence[int]) -> None:
        for start in range(0, len(files), LIST_SIZE_MAX):
            names, values = changes.listed("file", files[start : start + LIST_SIZE_MAX])
            for table in CONTENT_COLUMNS:
                await session.execute(changes.forget_contents(f"atlas_{table}", names), values)
            await session.execute(changes.forget_revisions(names), {**values, "run_id": run.id})

    async def _advance(
        self, session: DatabaseSession, run: Run, *, analysed: int = 0, failed: int = 0, removed: int = 0
    ) -> None:
        counts = {"analysed": analysed, "failed": failed, "removed": removed}
        done = await session.execute(
            changes.ADVANCE_RUN, {"run_id": run.id, "owner": run.owner, "now": _now(), **counts}
        )
        if done.rows_affected == 0:
            raise RunInProgressError(await self._run(session, run.id))


def _touch(touch: FileTouch) -> dict[str, int]:
    return {"file_id": touch.known.id, "mtime_ns": touch.mtime_ns, "size_bytes": touch.size_bytes}


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
