"""The calls of ``op``: each has to be awaited, and before the next one.

A call that is not awaited does nothing. Python mentions that in a warning at best, and the migration would be taken as
applied.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn, TypeVar, cast

from sillar.errors import MigrationFileError

T = TypeVar("T")
M = TypeVar("M", bound=Callable[..., Coroutine[Any, Any, Any]])


class Calls:
    """The calls of one run of a migration."""

    def __init__(self) -> None:
        self._waiting: list[StepCall[Any]] = []
        self._running: StepCall[Any] | None = None
        self._through = asyncio.Event()
        self._is_over = False

    def made(self, call: StepCall[Any]) -> None:
        """A call was made, and waits to be awaited."""
        self._waiting.append(call)

    def begun(self, call: StepCall[Any]) -> None:
        """A call is awaited now.

        Raises:
            MigrationFileError: another one is not through.
        """
        self._waiting.remove(call)
        self.check()
        if self._is_over:
            self._refuse(f"{call.place}: op.{call.name}() begins when its migration is over: await it within")
        if self._running is not None:
            self._refuse(
                f"{call.place}: op.{call.name}() begins while op.{self._running.name}() of {self._running.place} is not"
                " through: steps come one after the other, so await each before the next"
            )
        self._running = call
        self._through.clear()

    def ended(self) -> None:
        """The call that was awaited is through."""
        self._running = None
        self._through.set()

    def check(self) -> None:
        """See that no call waits.

        Raises:
            MigrationFileError: one was not awaited.
        """
        if self._waiting:
            call = self._waiting[0]
            self._refuse(
                f"{call.place}: op.{call.name}() was called and not awaited, so it has done nothing: write"
                f" `await op.{call.name}(…)`, one after the other"
            )

    async def over(self) -> None:
        """Let no call begin any more, and wait for one that some other task has begun."""
        self._is_over = True
        if self._running is not None:
            await self._through.wait()

    def _refuse(self, message: str) -> NoReturn:
        self._is_over = True
        raise MigrationFileError(message)


class StepCall(Coroutine[Any, Any, T]):
    """A call of ``op``, which does nothing until it is awaited.

    Args:
        calls: of the same run.
        name: of the method.
        place: file and line of the call.
        begin: begins it.
    """

    def __init__(self, calls: Calls, name: str, place: str, begin: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.name, self.place = name, place
        self._calls, self._begin = calls, begin
        self._inner: Coroutine[Any, Any, T] | None = None
        calls.made(self)

    async def _run(self) -> T:
        self._calls.begun(self)
        try:
            return await self._begin()
        finally:
            self._calls.ended()

    def _opened(self) -> Coroutine[Any, Any, T]:
        if self._inner is None:
            self._inner = self._run()
        return self._inner

    def __await__(self) -> Generator[Any, Any, T]:
        return self._opened().__await__()

    def send(self, value: Any) -> Any:
        """As a coroutine has it."""
        return self._opened().send(value)

    def throw(self, *error: Any) -> Any:
        """As a coroutine has it."""
        return self._opened().throw(*error)

    def close(self) -> None:
        """As a coroutine has it."""
        if self._inner is not None:
            self._inner.close()


def step_call(method: M) -> M:
    """For a method of ``op``: its calls have to be awaited."""

    @functools.wraps(method)
    def called(self: Any, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        caller = sys._getframe(1)
        place = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        return StepCall(self.calls, method.__name__, place, lambda: method(self, *args, **kwargs))

    return cast("M", called)
