"""The executors of this process, for those who watch all of them."""

from __future__ import annotations

import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from sillar.execution.pipeline import Observer, Proceed

if TYPE_CHECKING:
    from sillar.execution.execution import Execution
    from sillar.execution.executor import Executor


class Watcher(Observer, Protocol):
    """Sees every execution of every database: those of the pipeline from around, those of SQLAlchemy as an observer."""

    async def around(self, execution: Execution, proceed: Proceed) -> Any:
        """As an interceptor, outside of all others."""
        ...


class KnownExecutors:
    """Registry: all executors, those of closed managers included until they are collected.

    A watcher that comes wraps the pipeline of each, and one that leaves unwraps it: while nobody watches, nothing of it
    is on the way of a statement. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._executors: weakref.WeakSet[Executor] = weakref.WeakSet()
        self._unwatched: weakref.WeakKeyDictionary[Executor, Proceed] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()
        self._watcher: Watcher | None = None

    def add(self, executor: Executor) -> None:
        """Know one more."""
        with self._lock:
            self._executors.add(executor)
            if self._watcher is not None:
                self._attach(executor, self._watcher)

    def attach(self, watcher: Watcher) -> None:
        """Let somebody watch all of them, and those to come. There is one watcher at a time."""
        with self._lock:
            assert self._watcher is None
            self._watcher = watcher
            for executor in list(self._executors):
                self._attach(executor, watcher)

    def detach(self) -> None:
        """Nobody watches any longer."""
        with self._lock:
            watcher, self._watcher = self._watcher, None
            for executor, execute in list(self._unwatched.items()):
                executor.execute = execute
                executor.observers.remove(watcher)  # type: ignore[arg-type]
            self._unwatched.clear()

    def _attach(self, executor: Executor, watcher: Watcher) -> None:
        self._unwatched[executor] = executor.execute
        executor.execute = partial(watcher.around, proceed=executor.execute)
        executor.observers.append(watcher)  # the last one: nobody else moves when it leaves


known_executors: Final = KnownExecutors()
