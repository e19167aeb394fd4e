"""Read connections that one caller has alone: for streams and for read-only transactions."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from sillar import errors
from sillar.engines.sqlite.jobs import Dispatch, Job
from sillar.engines.sqlite.operations import roll_back
from sillar.engines.sqlite.worker import Hold, Worker


class SnapshotHold(Hold):
    """The use of a reader: its jobs go straight into the reader's queue."""

    __slots__ = ("_readers", "reader")

    def __init__(self, begin: Job, reader: Worker, readers: SnapshotReaders) -> None:
        super().__init__(begin)
        self.reader = reader
        self._readers = readers
        self.queue = reader.queue

    def end(self) -> None:
        """Clean up behind the caller, and lend the reader to the next one."""
        self.queue.put(Job(roll_back, None, committing=True))
        self._readers.release(self.reader)


class SnapshotReaders:
    """A small pool of readers, opened when needed, lent first come, first served.

    Args:
        limit: readers at most.
        waiting_max: callers that may wait at once.
    """

    def __init__(
        self,
        open_reader: Callable[[int], Worker],
        dispatch: Dispatch,
        *,
        limit: int,
        waiting_max: int,
        numbers: Callable[[], str],
    ) -> None:
        self._open_reader = open_reader
        self._dispatch = dispatch
        self._limit, self._waiting_max = limit, waiting_max
        self._numbers = numbers
        self._idle: list[Worker] = []
        self._holders: dict[Worker, asyncio.Task[Any] | None] = {}
        self._waiting: deque[tuple[asyncio.Future[Worker], asyncio.Task[Any] | None]] = deque()
        self._count = 0

    @property
    def leased(self) -> int:
        """Readers in use."""
        return len(self._holders)

    @property
    def open(self) -> int:
        """Readers that exist."""
        return self._count

    @property
    def waiting(self) -> int:
        """Callers that wait for one."""
        return sum(not future.done() for future, _ in self._waiting)

    async def acquire(self, timeout_seconds: float) -> Worker:
        """A reader for the caller alone.

        Raises:
            PoolTimeoutError, PoolExhaustedError, NestedAcquireError
        """
        task = asyncio.current_task()
        reader = self._idle.pop() if self._idle else self._opened()
        if reader is not None:
            self._holders[reader] = task
            return reader
        if self.waiting >= self._waiting_max:
            raise errors.PoolExhaustedError(
                f"{self._numbers()}; waiting_max={self._waiting_max} callers wait for a reader of their own already;"
                " end streams and read-only transactions earlier, or raise max_connections"
            )
        waiting = {waiter for future, waiter in self._waiting if not future.done()} | {task}
        if all(holder in waiting for holder in self._holders.values()):
            raise errors.NestedAcquireError(
                f"{self._numbers()}; all {self._limit} readers for streams and read-only transactions are held by"
                " tasks that wait for another one, so none would ever come free; use the open transaction, or end the"
                " stream first"
            )
        future: asyncio.Future[Worker] = self._dispatch.loop.create_future()
        self._waiting.append((future, task))
        try:
            async with asyncio.timeout(timeout_seconds):
                return await future
        except BaseException as error:
            if future.done() and not future.cancelled():
                self.release(future.result())
            future.cancel()
            if isinstance(error, TimeoutError):
                raise errors.PoolTimeoutError(
                    f"{self._numbers()}; no reader for a stream or read-only transaction within {timeout_seconds:g} s;"
                    " end them earlier, or raise max_connections"
                ) from None
            raise

    def release(self, reader: Worker) -> None:
        """Give a reader back; the first caller that still waits gets it."""
        self._holders.pop(reader, None)
        while self._waiting:
            future, task = self._waiting.popleft()
            if not future.done():
                self._holders[reader] = task
                future.set_result(reader)
                return
        self._idle.append(reader)

    def workers(self) -> list[Worker]:
        """All readers that exist."""
        return [*self._idle, *self._holders]

    def _opened(self) -> Worker | None:
        if self._count >= self._limit:
            return None
        self._count += 1
        return self._open_reader(self._count)
