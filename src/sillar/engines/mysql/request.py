"""A request that runs in the task of its caller, and can be torn from it without harm.

A cancelled task cancels the future it waits for; the driver would find its own future cancelled and close the
connection. So the caller's task waits for another future, which follows the driver's. A task per request would do the
same, at some microseconds more.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class OutOfTimeError(Exception):
    """The request was interrupted by its timer."""


class Request(Generic[T]):
    """One run of a driver's coroutine.

    Args:
        loop: the running loop.
        work: sends something and reads the reply.

    Attributes:
        is_complete: the coroutine has come to its end, with a result or an error of its own.
    """

    __slots__ = ("_followed", "_is_late", "_loop", "_waited", "_work", "is_complete")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._work = work
        self._waited: Any = None  # what the driver waits for
        self._followed: asyncio.Future[None] | None = None  # what the caller waits for instead
        self._is_late = False
        self.is_complete = False

    @types.coroutine
    def run(self) -> Generator[Any, Any, T]:
        """Run in the calling task.

        Raises:
            OutOfTimeError: interrupted; as after a cancellation, :meth:`go_on` takes the work to its end.
        """
        work = self._work
        while True:
            try:
                waited = work.send(None)
            except StopIteration as end:
                self.is_complete = True
                result: T = end.value
                return result
            except BaseException:
                self.is_complete = True
                raise
            self._waited = waited
            if waited is None:  # it only yields to the loop
                yield
                continue
            if self._is_late:
                raise OutOfTimeError
            waited._asyncio_future_blocking = False  # it is not the task that waits for it
            followed = self._followed = self._loop.create_future()
            waited.add_done_callback(self._wake)
            followed._asyncio_future_blocking = True
            yield followed

    def interrupt(self) -> None:
        """Let :meth:`run` raise."""
        self._is_late = True
        followed = self._followed
        if followed is not None and not followed.done():
            followed.set_exception(OutOfTimeError())

    @types.coroutine
    def go_on(self) -> Generator[Any, Any, T]:
        """Run what is left, in a task of its own. Cancelling that task reaches the driver."""
        work, waited = self._work, self._waited
        error: BaseException | None = None
        try:
            while True:
                try:
                    if waited is None:
                        yield
                    elif not waited.done():
                        waited._asyncio_future_blocking = True
                        yield waited
                except BaseException as thrown:
                    error = thrown
                if error is None:
                    waited = work.send(None)
                else:
                    thrown_in, error = error, None
                    waited = work.throw(thrown_in)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            self.is_complete = True

    def _wake(self, _: Any) -> None:
        followed = self._followed
        if followed is not None and not followed.done():
            followed.set_result(None)
