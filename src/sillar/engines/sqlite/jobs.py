"""Jobs: one caller's work for a database thread, and the way back to the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from sillar import errors
from sillar.engines.sqlite.errors import translated
from sillar.engines.sqlite.statement import SQLiteStatement

if TYPE_CHECKING:
    from sillar.engines.sqlite.worker import Worker

_INTERRUPT_AGAIN_SECONDS: Final = 0.02


class JobState(IntEnum):
    """How far a job came."""

    WAITING = 0
    RUNNING = 1
    FINISHED = 2  # its caller hears of it when its transaction is committed
    DROPPED = 3  # withdrawn before it ran: it never will


class Job:
    """One caller's work.

    Attributes:
        perform: runs in the thread with the worker and this job; returns the caller's result.
        statement, args: what it works on.
        future: where the caller waits, or None for work that nobody waits for.
        hold: the exclusive use of the worker that it belongs to.
        several: it runs more than one statement, so that a batch needs a savepoint around it.
        committing: it ends a transaction: never dropped, never interrupted.
        withdrawn: its caller left or ran out of time.
        expired_seconds: the timeout that it exceeded.
        outside: it runs outside any transaction.
    """

    __slots__ = (
        "args",
        "committing",
        "error",
        "expired_seconds",
        "future",
        "hold",
        "outside",
        "perform",
        "result",
        "several",
        "state",
        "statement",
        "withdrawn",
        "worker",
    )

    def __init__(
        self,
        perform: Callable[[Worker, Job], Any],
        statement: SQLiteStatement | None,
        args: Any = (),
        *,
        several: bool = False,
        committing: bool = False,
        outside: bool = False,
    ) -> None:
        self.perform = perform
        self.statement = statement
        self.args = args
        self.several = several
        self.committing = committing
        self.outside = outside
        self.future: asyncio.Future[Any] | None = None
        self.hold: Any = None
        self.worker: Worker | None = None
        self.state = JobState.WAITING
        self.withdrawn = False
        self.expired_seconds: float | None = None
        self.result: Any = None
        self.error: BaseException | None = None


class Dispatch:
    """Hands results from the threads to the loop, and withdrawals from the loop to the threads.

    Results wake the loop once, however many come before it looks. An interrupt reaches only the job that it is meant
    for: it is sent under the lock under which a worker begins and ends a job.
    """

    __slots__ = ("_done", "_lock", "_scheduled", "address", "limited", "loop", "withdrawn_total")

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str) -> None:
        self.loop = loop
        self.address = address
        self._lock = threading.Lock()
        self._done: deque[Job] = deque()
        self._scheduled = False
        self.limited = 0  # callers whose work must begin within a limit, because somebody holds the writer
        self.withdrawn_total = 0

    # --- in the threads ---------------------------------------------------------------------------------------------

    def claim(self, job: Job, worker: Worker) -> bool:
        """Begin a job, unless its caller has left."""
        with self._lock:
            if job.state is not JobState.WAITING:
                return False
            job.state = JobState.RUNNING
            job.worker = worker
            return True

    def finish(self, job: Job) -> None:
        """The job's statement is over: no interrupt is sent for it any more."""
        with self._lock:
            job.state = JobState.FINISHED

    def reopen(self, job: Job) -> None:
        """What the job did was rolled back together with a neighbour: it waits again."""
        with self._lock:
            job.state = JobState.DROPPED if job.withdrawn else JobState.WAITING
            job.result = job.error = None

    def deliver(self, jobs: Sequence[Job]) -> None:
        """Tell the callers; one wake-up for all."""
        self._done.extend(jobs)
        if self._scheduled:
            return
        self._scheduled = True
        try:
            self.loop.call_soon_threadsafe(self._hand_over)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._done.clear()

    # --- in the loop ------------------------------------------------------------------------------------------------

    async def result(
        self,
        job: Job,
        timeout_seconds: float | None = None,
        start: tuple[float, Callable[[], BaseException]] | None = None,
    ) -> Any:
        """Wait for a job that was put into a worker's queue.

        Args:
            job: with its future set.
            timeout_seconds: interrupts it when it has run (or waited) that long.
            start: seconds within which it must begin, and the error for its caller if it does not.
        """
        assert job.future is not None
        if timeout_seconds is None and start is None:
            try:
                return await job.future
            except asyncio.CancelledError:
                self.withdraw(job)
                raise
        timers: list[asyncio.TimerHandle] = []
        if timeout_seconds is not None:
            timers.append(self.loop.call_later(max(0.0, timeout_seconds), self._expire, job, timeout_seconds))
        if start is not None:
            timers.append(self.loop.call_later(max(0.0, start[0]), self._give_up, job, start[1]))
            self.limited += 1
        try:
            return await job.future
        except asyncio.CancelledError:
            self.withdraw(job)
            raise
        finally:
            for timer in timers:
                timer.cancel()
            if start is not None:
                self.limited -= 1

    def withdraw(self, job: Job) -> None:
        """The caller has left: drop the job, or interrupt it if it runs. A transaction that ends is left to end."""
        if job.committing:
            return
        with self._lock:
            job.withdrawn = True
            self.withdrawn_total += 1
            if job.state is JobState.WAITING:
                job.state = JobState.DROPPED
                return
        self._interrupt(job)

    def interrupt(self, job: Job) -> None:
        """Stop a running job on request of its own caller, who gets the error."""
        if not job.committing:
            self._interrupt(job)

    def _expire(self, job: Job, seconds: float) -> None:
        if job.committing:
            return
        with self._lock:
            job.expired_seconds = seconds
            dropped = job.state is JobState.WAITING
            if dropped:
                job.state = JobState.DROPPED
            elif job.state is JobState.RUNNING:
                job.withdrawn = True
        if not dropped:
            self._interrupt(job)
        elif job.future is not None and not job.future.done():
            job.future.set_exception(
                errors.StatementTimeoutError(
                    f"the statement did not begin within its {seconds:g} s: {self.address} is busy with other work"
                ).at(node=self.address)
            )

    def _give_up(self, job: Job, error: Callable[[], BaseException]) -> None:
        with self._lock:
            if job.state is not JobState.WAITING:
                return
            job.state = JobState.DROPPED
        if job.future is not None and not job.future.done():
            job.future.set_exception(error())

    def _interrupt(self, job: Job) -> None:
        """Interrupt a running job, and again until it is over: an interrupt between two steps is lost."""
        with self._lock:
            if job.state is not JobState.RUNNING or job.worker is None:
                return
            job.worker.interrupt()
        self.loop.call_later(_INTERRUPT_AGAIN_SECONDS, self._interrupt, job)

    def _hand_over(self) -> None:
        self._scheduled = False  # before the look: what comes now wakes the loop again
        done = self._done
        while done:
            job = done.popleft()
            future = job.future
            if future is None or future.done():
                continue
            if job.error is None:
                future.set_result(job.result)
            else:
                future.set_exception(
                    translated(job.error, job.statement, address=self.address, expired_seconds=job.expired_seconds)
                )
