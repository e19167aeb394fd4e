"""Processes that analyse: all answers arrive, one bad file costs one file, nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.children import child

from codeatlas.analysis import FileAnalysis, sha256_hex
from codeatlas.worker import Answer, Job, Same
from codeatlas.workers import AnalysisWorkers, WorkerStartError, workers_default

# A worker that dies or hangs at files of certain names and otherwise is the real one.
_FRAGILE = """
import os, sys, time
from codeatlas import worker
real = worker.answer
def answer(job):
    if "crash" in job.path: os.kill(os.getpid(), 9)
    if "exit" in job.path: os._exit(3)
    if "hang" in job.path: time.sleep(600)
    return real(job)
worker.answer = answer
worker.serve(sys.stdin.buffer, sys.stdout.buffer)
"""
FRAGILE = (sys.executable, "-c", _FRAGILE)


def jobs_for(folder: Path, names: list[str]) -> list[Job]:
    jobs = []
    for number, name in enumerate(names):
        (folder / name).write_text(f"def f{number}(): ...\n")
        jobs.append(Job(number, name, os.fsencode(folder / name), ""))
    return jobs


async def answers_of(workers: AnalysisWorkers, jobs: list[Job]) -> dict[int, Answer]:
    answers: dict[int, Answer] = {}
    async with workers:
        async for answer in workers.run(jobs):
            assert answer.number not in answers
            answers[answer.number] = answer
    return answers


def message(answer: Answer) -> str:
    assert isinstance(answer.result, FileAnalysis)
    assert answer.result.failure is not None
    assert answer.result.sha256 == ""
    return answer.result.failure.message


async def test_each_job_gets_one_answer(tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, [f"m{number}.py" for number in range(40)])
    answers = await answers_of(AnalysisWorkers(2), jobs)
    assert sorted(answers) == list(range(40))
    for number, answer in answers.items():
        assert isinstance(answer.result, FileAnalysis)
        assert [function.name for function in answer.result.functions] == [f"f{number}"]


async def test_no_jobs_no_processes() -> None:
    assert await answers_of(AnalysisWorkers(2, command=("/does/not/exist",)), []) == {}


async def test_known_content_is_not_analysed_again(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\n")
    location = os.fsencode(tmp_path / "a.py")
    jobs = [Job(0, "a.py", location, sha256_hex(b"x = 1\n")), Job(1, "a.py", location, sha256_hex(b"x = 2\n"))]
    answers = await answers_of(AnalysisWorkers(1), jobs)
    assert isinstance(answers[0].result, Same)
    assert isinstance(answers[1].result, FileAnalysis)


async def test_unreadable_files_are_recorded_to_be_tried_again(tmp_path: Path) -> None:
    answers = await answers_of(AnalysisWorkers(1), [Job(0, "gone.py", os.fsencode(tmp_path / "gone.py"), "")])
    assert message(answers[0]) == "cannot be read: No such file or directory"


async def test_a_file_that_kills_its_process_costs_only_itself(tmp_path: Path) -> None:
    names = [f"m{number}.py" for number in range(20)]
    names[3], names[4], names[19] = "crash3.py", "exit4.py", "crash19.py"
    answers = await answers_of(AnalysisWorkers(2, command=FRAGILE), jobs_for(tmp_path, names))
    assert sorted(answers) == list(range(20))
    assert message(answers[3]) == "the process that analysed it ended by signal 9"
    assert message(answers[4]) == "the process that analysed it ended with status 3"
    assert message(answers[19]) == "the process that analysed it ended by signal 9"
    for number in set(range(20)) - {3, 4, 19}:
        result = answers[number].result
        assert isinstance(result, FileAnalysis)
        assert result.failure is None


async def test_answers_given_before_a_crash_count(tmp_path: Path) -> None:
    """The process is gone before its second answer is read; the next job can no longer be sent to it."""
    names = ["a.py", "b.py", "c.py", "crash.py", "d.py", "e.py"]
    answers: dict[int, Answer] = {}
    async with AnalysisWorkers(1, command=FRAGILE) as workers:
        async for answer in workers.run(jobs_for(tmp_path, names)):
            if not answers:
                time.sleep(0.5)  # the loop is to stand still
            answers[answer.number] = answer
    failed = [number for number, answer in sorted(answers.items()) if getattr(answer.result, "failure", None)]
    assert (len(answers), failed) == (6, [3])


async def test_a_file_that_takes_forever_is_given_up(tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, ["a.py", "hang.py", "b.py"])
    answers = await answers_of(AnalysisWorkers(1, command=FRAGILE, file_seconds_max=3.0), jobs)
    assert message(answers[1]) == "its analysis was stopped after 3 s"
    assert all(isinstance(answers[number].result, FileAnalysis) for number in (0, 2))
    assert [getattr(answers[number].result, "failure", "?") for number in (0, 2)] == [None, None]


async def test_processes_that_cannot_start_are_nobody_s_fault(tmp_path: Path) -> None:
    workers = AnalysisWorkers(1, command=(sys.executable, "-c", "raise SystemExit(7)"))
    with pytest.raises(WorkerStartError, match="at its start with status 7"):
        await answers_of(workers, jobs_for(tmp_path, ["a.py"]))


async def test_leaving_early_ends_the_processes(tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, [f"m{number}.py" for number in range(200)])
    before = {child.pid for child in psutil.Process().children()}
    async with AnalysisWorkers(2) as workers:
        async for _ in workers.run(jobs):
            started = {child.pid for child in psutil.Process().children()} - before
            assert len(started) in (1, 2)
            break
    assert not any(psutil.pid_exists(pid) for pid in started)


async def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    jobs_for(tmp_path, [f"m{number}.py" for number in range(200)])  # more than are done while nobody takes answers
    program = f"""
import asyncio, os
from codeatlas.worker import Job
from codeatlas.workers import AnalysisWorkers
async def main():
    jobs = [Job(n, f"m{{n}}.py", os.fsencode({str(tmp_path)!r} + f"/m{{n}}.py"), "") for n in range(200)]
    async with AnalysisWorkers(2) as workers:
        async for answer in workers.run(jobs):
            print("ready", flush=True)
            await asyncio.sleep(600)
asyncio.run(main())
"""
    async with child(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert await asyncio.wait_for(parent.stdout.readline(), 120) == b"ready\n"
        children = psutil.Process(parent.pid).children()
        assert children
        parent.send_signal(signal.SIGKILL)
        await asyncio.wait_for(parent.wait(), 60)
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=60)
    assert alive == []


def test_the_number_of_workers() -> None:
    assert 1 <= workers_default() <= (os.cpu_count() or 1)
    with pytest.raises(ValueError, match="0 processes"):
        AnalysisWorkers(0)
