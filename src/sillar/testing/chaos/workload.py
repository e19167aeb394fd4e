"""Continuous reads and writes, and a ledger of what became of them."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from sillar.errors import DatabaseError
from sillar.testing.chaos.paths import Path
from sillar.testing.chaos.situation import Phase, Situation

WORKERS: Final = 4
_HANGING_SECONDS: Final = 30.0
_AFTER_FAILURE_SECONDS: Final = 0.02
_TOKENS_PER_WORKER: Final = 10_000_000


@dataclass(slots=True)
class Write:
    """One write of the ledger.

    Attributes:
        token: of the row.
        begun_at: ``time.monotonic()``.
        acknowledged_at: None: it failed, and the row may be there or not.
    """

    token: int
    begun_at: float
    acknowledged_at: float | None = None


@dataclass(slots=True)
class WorkerLedger:
    """What one task has done.

    Attributes:
        number: of the task.
        path: name of its path.
        writes: in order.
    """

    number: int
    path: str
    writes: list[Write] = field(default_factory=list)

    def first_acknowledged_after(self, instant: float) -> float:
        """When the first write was acknowledged that was acknowledged after that instant; infinite: none was."""
        first = math.inf
        for write in reversed(self.writes):
            if write.acknowledged_at is None:
                continue
            if write.acknowledged_at < instant:
                break
            first = write.acknowledged_at
        return first


class Workload:
    """Tasks that write new rows and read them back, each through one path, until they are stopped.

    Each round of a task: a write of a new row; if it was acknowledged, a read of that row, which has to see it; every
    second time a read of an older row that any replica may answer.

    Args:
        paths: what the tasks go through.
        situation: what holds, for the counts by phase.
        look: brings the situation up to this moment; a node may fall before any fault says so.
        workers: tasks of each path, by its name; others have ``WORKERS``.
        rounds_per_second: of all tasks together at most; None: as fast as it goes.

    Attributes:
        requests: by path.
        failures: by phase in which they began and type of error.
        stale: own-reads that did not see the row.
        reads_failed_settled: reads that failed although a node lives and Sillar had taken out all that do not.
        hanging: requests without an answer after 30 s.
        ledgers: of the tasks.
        examples: texts of the first errors of each type.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        situation: Situation,
        look: Callable[[], Awaitable[None]],
        *,
        workers: Mapping[str, int] | None = None,
        rounds_per_second: float | None = None,
    ) -> None:
        self._situation, self._look = situation, look
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._paths = [path for path in paths for _ in range((workers or {}).get(path.name, WORKERS))]
        self._pause = 0.0 if rounds_per_second is None else len(self._paths) / rounds_per_second
        self.ledgers = [WorkerLedger(number, path.name) for number, path in enumerate(self._paths)]
        self.requests: Counter[str] = Counter({path.name: 0 for path in paths})
        self.failures: Counter[tuple[Phase, str]] = Counter()
        self.stale = self.reads_failed_settled = self.hanging = 0
        self.examples: dict[str, str] = {}

    @property
    def requests_total(self) -> int:
        """Of all paths."""
        return self.requests.total()

    def start(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._work(path, ledger)) for path, ledger in zip(self._paths, self.ledgers, strict=True)
        ]

    async def stop(self) -> None:
        """Let every task finish its round.

        Raises:
            Exception: what a task has met that is no error of Sillar's: a fault of the harness.
        """
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def cancel(self) -> None:
        """Have every task stop where it is; none is left after :meth:`stop`."""
        for task in self._tasks:
            task.cancel()

    async def _work(self, path: Path, ledger: WorkerLedger) -> None:
        token = first = ledger.number * _TOKENS_PER_WORKER + 1
        loop = asyncio.get_running_loop()
        while not self._stopping:
            due = loop.time() + self._pause
            write = Write(token, monotonic())
            ledger.writes.append(write)
            acknowledged = await self._write(path, write, ledger.number)
            if acknowledged:
                if await self._read(path, token) is False:
                    self.stale += 1
                    self.examples.setdefault("stale", f"{path.name}: token {token} at {monotonic():.3f}")
                if token % 2:
                    await self._read(path, max(first, token - 100), old=True)
            else:
                due = max(due, loop.time() + _AFTER_FAILURE_SECONDS)
                await self._read(path, max(first, token - 100), old=True)
            token += 1
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _write(self, path: Path, write: Write, worker: int) -> bool:
        phase = self._situation.phase
        self.requests[path.name] += 1
        try:
            async with asyncio.timeout(_HANGING_SECONDS):
                await path.write(write.token, worker)
        except (DatabaseError, TimeoutError) as error:
            self._failed(phase, error, f"write by {path.name}")
            return False
        write.acknowledged_at = monotonic()
        return True

    async def _read(self, path: Path, token: int, *, old: bool = False) -> bool | None:
        """Whether the row was seen; None where the read failed."""
        situation = self._situation
        phase, was_settled, falls = situation.phase, situation.is_settled, situation.falls
        self.requests[path.name] += 1
        try:
            async with asyncio.timeout(_HANGING_SECONDS):
                return await (path.read_old(token) if old else path.read(token))
        except (DatabaseError, TimeoutError) as error:
            self._failed(phase, error, f"read by {path.name}")
            if was_settled and situation.falls == falls:
                await self._look()
            if was_settled and situation.falls == falls:
                self.reads_failed_settled += 1
                self.examples.setdefault("read after ejection", f"{path.name}: {error}")
            return None

    def _failed(self, phase: Phase, error: Exception, what: str) -> None:
        kind = next(each.__name__ for each in type(error).__mro__ if each.__module__ in ("sillar.errors", "builtins"))
        if not isinstance(error, DatabaseError):
            self.hanging += 1
            kind = "no answer"
        self.failures[phase, kind] += 1
        self.examples.setdefault(f"{phase.value}: {kind}", f"{what}: {error}")
