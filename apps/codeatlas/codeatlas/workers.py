"""Several processes that analyse files, fed and read by one event loop.

Processes of our own rather than an executor: a file on which the interpreter crashes or hangs costs that file (which
one it was is known), not the pool; and a killed parent leaves no process behind, since the end of their input ends
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Self

import msgspec

from codeatlas.worker import LENGTH, Answer, Job, unread_analysis

_DECODER = msgspec.msgpack.Decoder(Answer)
# -P: the folder that the program is started in, perhaps the one to analyse, must not provide modules.
_COMMAND = (sys.executable, "-P", "-m", "codeatlas.worker")
_START_SECONDS_MAX = 60.0
_PIPELINED = 4
"""Jobs given to a process at once, so that it never waits for the loop."""


def workers_default() -> int:
    """One process for each processor that this one may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


class WorkerStartError(RuntimeError):
    """An analysis process does not come up; that is no fault of a file."""


class AnalysisWorkers:
    """``async with AnalysisWorkers(2) as workers: async for answer in workers.run(jobs): …``

    Args:
        count: processes.
        file_seconds_max: a file that takes longer is recorded as failed, its process replaced.
        command: the program to run instead of :mod:`codeatlas.worker` (for tests of crashes).
    """

    def __init__(self, count: int, *, file_seconds_max: float = 60.0, command: Sequence[str] = _COMMAND) -> None:
        if count < 1:
            raise ValueError(f"{count} processes cannot analyse anything; at least 1 is needed")
        self._count = count
        self._file_seconds_max = file_seconds_max
        self._command = command
        # Bounded: while the store is slower than the analysis, the processes wait.
        self._answers: asyncio.Queue[Answer | None] = asyncio.Queue(maxsize=64)
        self._jobs: deque[Job] = deque()
        self._feeders: asyncio.Task[None] | None = None
        self._left = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left = True
        if self._feeders is not None:
            self._feeders.cancel()
            # Not awaited directly: what the feeders raised, run() has raised already.
            await asyncio.wait([self._feeders])

    async def run(self, jobs: Iterable[Job]) -> AsyncIterator[Answer]:
        """Answers as they come, in any order; each job gets exactly one. May be called once.

        Raises:
            WorkerStartError: a process ended before it could take a job.
        """
        if self._feeders is not None:
            raise RuntimeError("these workers have run already; make new ones")
        self._jobs.extend(jobs)
        self._feeders = asyncio.create_task(self._feed_all(), name="codeatlas analysis workers")
        while (answer := await self._answers.get()) is not None:
            yield answer
        try:
            await self._feeders
        except ExceptionGroup as group:
            raise group.exceptions[0] from group

    async def _feed_all(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._count, len(self._jobs))):
                    group.create_task(self._feed_one())
        finally:
            # Whoever has left reads no more, so that a full queue would be waited for forever.
            if not self._left:
                await self._answers.put(None)

    async def _feed_one(self) -> None:
        """Keep one process busy, replacing it when a file has killed it."""
        while self._jobs:
            given: deque[Job] = deque()
            process = await _Process.start(self._command)
            try:
                await self._greet(process)
                await self._converse(process, given)
            except (asyncio.IncompleteReadError, TimeoutError) as error:
                await self._give_up(process, given, error)
            finally:
                await process.end()

    @staticmethod
    async def _greet(process: _Process) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS_MAX):
                await process.message()
        except TimeoutError:
            raise WorkerStartError(f"an analysis process did not start within {_START_SECONDS_MAX:g} s") from None
        except asyncio.IncompleteReadError:
            status = await process.status()
            raise WorkerStartError(f"an analysis process ended at its start with status {status}; see above") from None

    async def _converse(self, process: _Process, given: deque[Job]) -> None:
        while self._jobs or given:
            while self._jobs and len(given) < _PIPELINED:
                job = self._jobs.popleft()
                given.append(job)
                process.send(msgspec.msgpack.encode(job))
            async with asyncio.timeout(self._file_seconds_max):
                body = await process.message()
            given.popleft()
            await self._answers.put(_DECODER.decode(body))

    async def _give_up(self, process: _Process, given: deque[Job], error: Exception) -> None:
        """The first job that has no answer is the one at which the process stopped; the others go back."""
        if not given:
            return
        if isinstance(error, TimeoutError):
            reason = f"its analysis was stopped after {self._file_seconds_max:g} s"
        else:
            status = await process.status()
            cause = f"by signal {-status}" if status < 0 else f"with status {status}"
            reason = f"the process that analysed it ended {cause}"
        culprit = given.popleft()
        self._jobs.extendleft(reversed(given))
        await self._answers.put(Answer(culprit.number, unread_analysis(culprit.path, reason)))


class _Process:
    """One analysis process, and the pipes to and from it.

    Started by ``subprocess`` rather than by the event loop: uvloop forks in such a way that libraries run their hooks
    for forked processes in the child, and some (PyMongo's) complain there.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], answers: asyncio.StreamReader, transport: asyncio.ReadTransport
    ) -> None:
        self._process = process
        self._answers = answers
        self._transport = transport

    @classmethod
    async def start(cls, command: Sequence[str]) -> _Process:
        loop = asyncio.get_running_loop()
        answers = asyncio.StreamReader()
        # The command is ours or a test's; unbuffered, so that what is written is sent.
        process = subprocess.Popen(  # noqa: S603, ASYNC220
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        try:
            protocol = asyncio.StreamReaderProtocol(answers)
            transport, _ = await loop.connect_read_pipe(lambda: protocol, process.stdout)
        except BaseException:
            process.kill()
            raise
        return cls(process, answers, transport)

    def send(self, body: bytes) -> None:
        """Does not block: the few jobs that are under way at once are smaller than the buffer of a pipe.

        That the process has ended meanwhile is no error here: first its last answers are to be read.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(LENGTH.pack(len(body)) + body)

    async def message(self) -> bytes:
        head = await self._answers.readexactly(LENGTH.size)
        return await self._answers.readexactly(LENGTH.unpack(head)[0])

    async def status(self) -> int:
        """Wait for its end; its exit status, or the signal that ended it as a negative number."""
        return await asyncio.to_thread(self._process.wait)

    async def end(self) -> None:
        """Whatever it does, it is not needed any more."""
        assert self._process.stdin is not None
        self._process.kill()
        self._process.stdin.close()
        self._transport.close()
        await self.status()
