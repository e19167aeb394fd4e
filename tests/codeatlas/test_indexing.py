"""Runs over real trees: what changed, what is interrupted, what is resumed; on every engine."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from codeatlas.analysis import ANALYSER_VERSION
from codeatlas.indexing import BATCH_FILES, Progress, index, is_abandoned, owner_name
from codeatlas.records import Run
from codeatlas.store import AtlasStore, RunInProgressError

TREE_FILES = 4 * BATCH_FILES
# Enough to analyse that a signal comes in time, and little enough that a run stays short.
SLOW_SOURCE = "".join(f"def function_{number}(a):\n    return [a for a in a if a and a]\n" for number in range(60))


def plant(root: Path, sources: dict[str, str]) -> Path:
    for path, source in sources.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(source)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(
        tmp_path / "quarry",
        {
            "a.py": "def a(): ...\n",
            "b.py": "def b(): ...\n",
            "package/c.py": "def c(): ...\n",
            "package/d.py": "def d(): ...\n",
            "package/bad.py": "def bad(:\n",
        },
    )


@pytest.fixture
def large_tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "large", {f"p{number % 9}/m{number}.py": SLOW_SOURCE for number in range(TREE_FILES)})


async def test_the_first_run_records_everything(store: AtlasStore, tree: Path) -> None:
    seen: list[Progress] = []
    done = await index(store, tree, project="quarry", workers=2, report=seen.append)
    assert (done.run.status, done.run.files_found, done.run.files_analysed, done.run.files_failed) == (
        "finished",
        5,
        5,
        1,
    )
    assert (done.resumed, done.files_touched, done.skipped) == (False, 0, [])
    assert seen == [Progress(5, 0, 0), Progress(5, 5, 1)]
    files = await store.files(done.run.project_id)
    assert [file.path for file in files] == ["a.py", "b.py", "package/bad.py", "package/c.py", "package/d.py"]
    overview = await store.overview(done.run.project_id)
    assert overview is not None
    assert overview.roots == [str(tree.resolve())]


async def test_a_second_run_touches_only_what_changed(store: AtlasStore, tree: Path) -> None:
    first = await index(store, tree, project="quarry", workers=1)
    (tree / "a.py").write_text("def a(): ...\ndef a2(): ...\n")
    os.utime(tree / "b.py", ns=(5, 5))
    (tree / "package/c.py").unlink()
    plant(tree, {"package/new.py": "def new(): ...\n"})
    seen: list[Progress] = []
    second = await index(store, tree, project="quarry", workers=1, report=seen.append)
    run = second.run
    assert (run.files_found, run.files_analysed, run.files_unchanged, run.files_removed) == (5, 2, 3, 1)
    assert (run.files_failed, second.files_touched) == (0, 1)
    assert seen[0].files_total == 3
    histories = {}
    for file in await store.files(run.project_id):
        detail = await store.file_detail(file.id)
        assert detail is not None
        histories[file.path] = [each.analysis_id for each in detail.history]
    assert histories == {
        "a.py": [first.run.id, run.id],
        "b.py": [first.run.id],
        "package/bad.py": [first.run.id],
        "package/d.py": [first.run.id],
        "package/new.py": [run.id],
    }
    third = await index(store, tree, project="quarry", workers=1, report=seen.append)
    assert (third.run.files_analysed, third.run.files_unchanged, third.files_touched) == (0, 5, 0)
    assert seen[-1] == Progress(0, 0, 0)
    trends = await store.trends(run.project_id)
    assert [point.totals["functions"] for point in trends] == [4, 5, 5]


async def test_a_tree_belongs_to_a_project_by_its_root(store: AtlasStore, tree: Path, tmp_path: Path) -> None:
    other = plant(tmp_path / "other", {"a.py": "def other(): ...\n"})
    await index(store, tree, project="quarry", workers=1)
    done = await index(store, other, project="quarry", workers=1)
    assert [file.path for file in await store.files(done.run.project_id)][:2] == ["a.py", "a.py"]
    (tmp_path / "link").symlink_to(tree)
    again = await index(store, tmp_path / "link", project="quarry", workers=1)
    assert again.run.files_analysed == 0


async def test_files_of_an_older_analyser_are_analysed_again(
    store: AtlasStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index(store, tree, project="quarry", workers=1)
    for module in ("discovery", "indexing", "rows"):
        monkeypatch.setattr(f"codeatlas.{module}.ANALYSER_VERSION", ANALYSER_VERSION + 1)
    again = await index(store, tree, project="quarry", workers=1)
    assert (again.run.files_analysed, again.run.files_unchanged) == (5, 0)
    assert (await index(store, tree, project="quarry", workers=1)).run.files_analysed == 0


async def test_a_run_that_fails_is_left_to_be_resumed(store: AtlasStore, large_tree: Path) -> None:
    def fail(progress: Progress) -> None:
        if progress.files_done:
            raise OSError("the display is gone")

    with pytest.raises(OSError, match="the display is gone"):
        await index(store, large_tree, project="large", workers=2, report=fail)
    project = await store.project("large")
    overview = await store.overview(project.id)
    assert overview is not None
    assert overview.latest is not None
    assert (overview.latest.status, overview.latest.owner) == ("interrupted", "")
    assert overview.latest.files_analysed == overview.totals["files"] == BATCH_FILES
    done = await index(store, large_tree, project="large", workers=2)
    assert done.resumed
    assert (done.run.id, done.run.files_analysed) == (overview.latest.id, TREE_FILES)


async def test_a_cancelled_run_is_left_to_be_resumed(store: AtlasStore, large_tree: Path) -> None:
    task: asyncio.Task[object] = asyncio.create_task(
        index(store, large_tree, project="large", workers=2, report=lambda p: p.files_done and task.cancel())
    )
    with pytest.raises(asyncio.CancelledError):
        await task
    repository = await store.repository((await store.project("large")).id, str(large_tree))
    known = await store.known_files(repository.id)
    assert 0 < len(known) < TREE_FILES
    done = await index(store, large_tree, project="large", workers=2)
    assert (done.resumed, done.run.resumes, done.run.files_analysed) == (True, 1, TREE_FILES)


async def test_a_tree_that_another_process_indexes_is_refused(store: AtlasStore, tree: Path) -> None:
    repository = await store.repository((await store.project("quarry")).id, str(tree.resolve()))
    await store.begin_run(repository, f"{socket.gethostname()}:{os.getppid()}", lambda run: False)
    with pytest.raises(RunInProgressError, match="end that process"):
        await index(store, tree, project="quarry", workers=1)


async def test_a_missing_tree_begins_nothing(store: AtlasStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await index(store, tmp_path / "missing", project="quarry")
    assert await store.projects() == []


# --- processes that are stopped -------------------------------------------------------------------------------------


@asynccontextmanager
async def indexing_process(database_url: str, root: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """``codeatlas index`` at work, in a process group of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "codeatlas", "index", str(root), "--database", database_url, "--project", "large"),
        *("--workers", "1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def has_recorded(store: AtlasStore, root: Path, files: int) -> None:
    """Return once the run has recorded so many files."""
    repository = await store.repository((await store.project("large")).id, str(root.resolve()))
    async with asyncio.timeout(120):
        while len(await store.known_files(repository.id)) < files:
            await asyncio.sleep(0.01)


async def check_resumed(store: AtlasStore, root: Path) -> None:
    """What was stopped is complete as far as it came, and the next run makes it the same as if nothing had happened."""
    project = await store.project("large")
    before = await store.overview(project.id)
    assert before is not None
    assert before.latest is not None
    assert 0 < before.totals["files"] < TREE_FILES
    assert before.totals["functions"] == 60 * before.totals["files"] == sum(count for _, count in before.complexity)
    assert before.latest.files_analysed == before.totals["files"]
    done = await index(store, root, project="large", workers=2)
    assert (done.resumed, done.run.id, done.run.files_analysed) == (True, before.latest.id, TREE_FILES)
    after = await store.overview(project.id)
    fresh = await index(store, root, project="fresh", workers=2)
    expected = await store.overview(fresh.run.project_id)
    assert after is not None
    assert expected is not None
    for name in ("totals", "complexity", "packages", "rules", "modules"):
        assert getattr(after, name) == getattr(expected, name)


@pytest.mark.parametrize("engine", ["sqlite", "mongodb"])  # each kind of store: who is interrupted asks no engine
async def test_ctrl_c_loses_nothing_recorded_and_a_rerun_resumes(
    store: AtlasStore, database_url: str, large_tree: Path
) -> None:
    async with indexing_process(database_url, large_tree) as process:
        await has_recorded(store, large_tree, BATCH_FILES)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the command
        _, errors = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 130, errors.decode()
    assert b"the same command goes on from there" in errors
    assert b"Traceback" not in errors
    latest = await store.overview((await store.project("large")).id)
    assert latest is not None
    assert latest.latest is not None
    assert (latest.latest.status, latest.latest.owner) == ("interrupted", "")
    await check_resumed(store, large_tree)


async def test_a_killed_run_is_taken_over(store: AtlasStore, database_url: str, large_tree: Path) -> None:
    async with indexing_process(database_url, large_tree) as process:
        await has_recorded(store, large_tree, BATCH_FILES)
        process.kill()
        await asyncio.wait_for(process.wait(), 60)
    latest = await store.overview((await store.project("large")).id)
    assert latest is not None
    assert latest.latest is not None
    assert (latest.latest.status, latest.latest.owner) == ("running", f"{socket.gethostname()}:{process.pid}")
    await check_resumed(store, large_tree)


# --- abandoned runs -------------------------------------------------------------------------------------------------


def run_of(owner: str, *, silent_seconds: float = 0) -> Run:
    then = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=silent_seconds)
    return Run(1, 1, 1, "running", owner, then, then, None, 0, 0, 0, 0, 0, 0)


async def test_who_is_gone_has_abandoned_its_run() -> None:
    ended = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await ended.wait()
    here = socket.gethostname()
    assert is_abandoned(run_of(f"{here}:{ended.pid}"))
    assert not is_abandoned(run_of(f"{here}:{os.getppid()}"))
    assert is_abandoned(run_of(f"{here}:{os.getppid()}", silent_seconds=3600))
    assert is_abandoned(run_of(owner_name()))  # this process itself, in an attempt that failed
    assert not is_abandoned(run_of("elsewhere:1"))
    assert is_abandoned(run_of("elsewhere:1", silent_seconds=3600))
    assert not is_abandoned(msgspec.structs.replace(run_of("no-process")))
