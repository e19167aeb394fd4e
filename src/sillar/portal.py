"""One way in for synchronous callers: an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from sillar.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")


class Portal:
    """Runs coroutine functions for synchronous callers: scripts, Celery tasks, Alembic.

    ``with Portal() as portal: portal.call(manager.initialize)``. Everything that is called through one portal runs in
    one event loop, so a manager opened through it is used through it. Any number of threads may call at the same time.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Portal:
        if self._thread is not None:
            raise UsageError("this portal is open already")
        ready = threading.Event()

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            self._closed = asyncio.Event()
            ready.set()
            await self._closed.wait()

        self._thread = threading.Thread(target=asyncio.run, args=(serve(),), name="sillar-portal", daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(self._closed.set)
            thread.join()

    def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``await function(*args, **kwargs)`` in the portal's loop and return its result.

        Raises:
            UsageError: the portal is closed, or this is the portal's own thread, which would wait for itself.
        """
        if self._loop is None or self._thread is None:
            raise UsageError("the portal is closed: use `with Portal() as portal`")
        if threading.current_thread() is self._thread:
            raise UsageError("this is the portal's own thread: await the coroutine instead")

        async def run() -> T:
            return await function(*args, **kwargs)

        future = asyncio.run_coroutine_threadsafe(run(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # interrupted while it waited: nobody else would stop it
            raise

    def __reduce__(self) -> Any:
        raise UsageError("a portal cannot be pickled")
