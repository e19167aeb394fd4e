"""Online backup and restore, by SQLite's own backup interface (https://sqlite.org/backup.html)."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sillar import errors
from sillar.engines.sqlite.jobs import Job
from sillar.engines.sqlite.worker import Worker

_PAGES_PER_STEP: Final = 256


def copy_to(target: Path, progress: Callable[[int, int], None] | None) -> Callable[[Worker, Job], None]:
    """Work for a thread: copy its database to a file, check the copy, and give it its name.

    The copy runs in steps; a caller that leaves stops it at the next one, and a file that stood there stays.
    """

    def work(worker: Worker, job: Job) -> None:
        if not target.absolute().parent.is_dir():
            raise errors.ConnectError(f"the folder {target.absolute().parent} for the backup does not exist; create it")
        partial = target.with_name(target.name + ".partial")
        partial.unlink(missing_ok=True)
        try:
            copy = sqlite3.connect(partial, isolation_level=None)
            try:
                worker.connection.backup(copy, pages=_PAGES_PER_STEP, progress=_watch(job, progress), sleep=0.001)
                _require_sound(copy, partial)
                # A copy of a database with a write-ahead log is one itself: fold the log into the file.
                copy.execute("PRAGMA journal_mode = delete").fetchall()
            finally:
                copy.close()
            with partial.open("rb+") as written:
                os.fsync(written.fileno())
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    return work


def copy_from(source: Path) -> Callable[[Worker, Job], None]:
    """Work for the writer's thread: replace its database by a file's content, all or nothing."""

    def work(worker: Worker, job: Job) -> None:
        if not source.is_file():
            raise errors.UnknownDatabaseError(f"the backup {source} does not exist")
        origin = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", isolation_level=None, uri=True)
        try:
            _require_sound(origin, source)
            origin.backup(worker.connection, pages=-1)
        finally:
            origin.close()

    return work


def _watch(job: Job, progress: Callable[[int, int], None] | None) -> Callable[[int, int, int], Any]:
    def step(status: int, remaining: int, total: int) -> None:
        if job.withdrawn:
            raise errors.StatementTimeoutError("the backup was cancelled; no file was written")
        if progress is not None:
            progress(remaining, total)

    return step


def _require_sound(connection: sqlite3.Connection, path: Path) -> None:
    try:
        found = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
    except sqlite3.DatabaseError as error:
        raise errors.UnknownDatabaseError(
            f"{path} is damaged or no SQLite database ({error}); nothing was changed"
        ) from error
    if found != ["ok"]:
        raise errors.UnknownDatabaseError(f"{path} is damaged ({'; '.join(found)}); nothing was changed")
