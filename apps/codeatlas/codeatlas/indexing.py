"""One run: find what changed in a tree, analyse it in several processes, record it batch by batch."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from codeatlas.analysis import ANALYSER_VERSION
from codeatlas.discovery import Changes, KnownFile, SourceFile, compare, discover
from codeatlas.records import FileRecord, FileTouch, Run
from codeatlas.store import AtlasStore
from codeatlas.worker import Answer, Job, Same
from codeatlas.workers import AnalysisWorkers, workers_default

BATCH_FILES = 48
"""Files of one transaction: large enough that the COMMIT costs little, small enough that little is lost."""
ABANDONED_SECONDS = 600.0
"""A run whose owner has recorded nothing for so long is taken over, even if its process cannot be seen from here, or
another process has got its number since."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        files_total: files that need a look in this run; the others are unchanged.
        files_done: recorded, and safe whatever happens next.
        files_failed: among them, those that do not parse.
    """

    files_total: int
    files_done: int
    files_failed: int


@dataclass(frozen=True, slots=True)
class Indexed:
    """What a run has done.

    Attributes:
        run: as it stands at the end.
        resumed: an earlier run was interrupted, and this one continued it.
        skipped: paths that could not be read or stored, with the reason.
        seconds: from the search for files to the last figure.
    """

    run: Run
    resumed: bool
    files_touched: int
    skipped: list[tuple[str, str]]
    seconds: float


@dataclass(slots=True)
class _Batch:
    records: list[FileRecord] = field(default_factory=list)
    touches: list[FileTouch] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.records) + len(self.touches)


async def index(
    store: AtlasStore,
    root: Path,
    *,
    project: str,
    workers: int | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Indexed:
    """Bring the store up to date with a tree.

    Only what changed since the last run is analysed. Cancelling (Ctrl-C) loses what is not recorded yet, at most one
    batch; the next call resumes the run.

    Args:
        store: with its schema open.
        root: the tree.
        project: which project it belongs to; created if need be.
        workers: processes; None is one for each processor.
        report: told after each batch.

    Raises:
        RunInProgressError: another process is indexing this tree now.
        NotADirectoryError, FileNotFoundError, PermissionError: ``root`` cannot be listed.
        WorkerStartError: the analysis processes do not start.
    """
    started = asyncio.get_running_loop().time()
    root = await asyncio.to_thread(root.resolve, strict=True)
    found = await asyncio.to_thread(discover, root)
    repository = await store.repository((await store.project(project)).id, str(root))
    run = await store.begin_run(repository, owner_name(), is_abandoned)
    try:
        known = await store.known_files(repository.id)
        changes = compare(found.files, known)
        touched = await _analyse(store, run, changes, workers or workers_default(), report)
        if changes.removed:
            await store.remove_files(run, changes.removed)
        finished = await store.finish_run(run, files_found=len(found.files))
    except BaseException:
        await _leave(store, run)
        raise
    seconds = asyncio.get_running_loop().time() - started
    return Indexed(finished, run.resumes > 0, touched, found.skipped, seconds)


def owner_name() -> str:
    """``host:pid`` of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def is_abandoned(run: Run) -> bool:
    """Whether the process that owns a run is gone (or this one, in an earlier attempt), or silent for long."""
    host, _, pid = run.owner.rpartition(":")
    silent = (dt.datetime.now(dt.UTC) - run.heartbeat_at).total_seconds() > ABANDONED_SECONDS
    if silent or host != socket.gethostname() or not pid.isdigit():
        return silent
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # it lives, under another user
    return int(pid) == os.getpid()


async def _leave(store: AtlasStore, run: Run) -> None:
    """Give the run up, so that the next one may take it at once. What goes wrong here must not hide the reason why.

    Shielded: the cancellation that brought us here must not keep it from being written.
    """
    leaving = asyncio.ensure_future(store.interrupt_run(run))
    try:
        await asyncio.shield(leaving)
    except asyncio.CancelledError:
        await leaving
    except Exception:  # the database may be what failed; is_abandoned finds the dead owner then
        return


async def _analyse(
    store: AtlasStore, run: Run, changes: Changes, workers: int, report: Callable[[Progress], None]
) -> int:
    """Analyse and record all suspects. Returns how many turned out to be unchanged."""
    total, done, failed, touched = len(changes.suspects), 0, 0, 0
    suspects: dict[int, tuple[SourceFile, KnownFile | None]] = dict(enumerate(changes.suspects))
    report(Progress(total, 0, 0))
    batch = _Batch()
    async with AnalysisWorkers(workers) as pool:
        async for answer in pool.run([_job(number, *suspect) for number, suspect in suspects.items()]):
            _add(batch, answer, suspects)
            if len(batch) == BATCH_FILES or done + len(batch) == total:
                await store.record_files(run, batch.records, batch.touches)
                done += len(batch)
                failed += sum(record.analysis.failure is not None for record in batch.records)
                touched += len(batch.touches)
                batch = _Batch()
                report(Progress(total, done, failed))
    return touched


def _job(number: int, file: SourceFile, known: KnownFile | None) -> Job:
    # The same content is analysed again if the analyser has changed since.
    current = known is not None and known.analyser == ANALYSER_VERSION
    return Job(number, file.path, os.fsencode(file.location), known.sha256 if known is not None and current else "")


def _add(batch: _Batch, answer: Answer, suspects: Mapping[int, tuple[SourceFile, KnownFile | None]]) -> None:
    file, known = suspects[answer.number]
    if isinstance(answer.result, Same):
        assert known is not None  # a hash to be the same as came from there
        batch.touches.append(FileTouch(known, file.size_bytes, file.mtime_ns))
    else:
        batch.records.append(FileRecord(known, file.size_bytes, file.mtime_ns, answer.result))
