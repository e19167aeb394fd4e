"""Requests and replies of one connection, each followed to its end whoever leaves.

The protocol has no way to skip a reply: a caller that is cancelled while it reads would leave the rest of its reply
to the next caller. So a request can be torn from its caller without harm (:mod:`sillar.engines.mysql.request`). Then a
task goes on reading while the server is asked to stop (KILL QUERY through a side connection), and nothing else is sent
before the reply is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar, cast

import structlog
from asyncmy.errors import MySQLError

from sillar.engines.mysql import driver
from sillar.engines.mysql.errors import is_interruption, server_code
from sillar.engines.mysql.request import OutOfTimeError, Request
from sillar.errors import UsageError

T = TypeVar("T")
_log = structlog.get_logger("sillar.mysql")

_PATIENCE_SECONDS: Final = 0.03
"""Most replies come by themselves within that time: then no side connection is needed."""
_KILL_AGAIN_SECONDS: Final = 0.3
_FOLLOW_SECONDS: Final = 4.5
_TIMEOUT_GRACE_SECONDS: Final = 2.0

Kill = Callable[[Callable[[], bool]], Awaitable[None]]
"""Asks the server to stop the statement of this connection, if the condition still holds once that is possible."""


class Exchange:
    """One request at a time on one connection.

    Args:
        raw: the driver's connection.
        kill: stops the statement that runs on it, from outside.
    """

    __slots__ = ("_kill", "_pending", "_raw", "_running", "_streaming")

    def __init__(self, raw: Any, kill: Kill) -> None:
        self._raw = raw
        self._kill = kill
        self._running: Request[Any] | None = None
        self._pending: asyncio.Task[None] | None = None
        self._streaming = False

    @property
    def is_left(self) -> bool:
        """Whether the caller of the request that runs has left; work of several requests ends itself then."""
        return self._pending is not None

    @property
    def is_running(self) -> bool:
        """Whether a reply is outstanding."""
        return self._running is not None or self._pending is not None or self._streaming

    async def call(
        self,
        work: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        timeout_seconds: float | None = None,
        stoppable: bool = True,
        keep_late: bool = False,
        of_stream: bool = False,
    ) -> T:
        """Run ``work(*args)``, which sends requests and reads their replies.

        Args:
            work: what to run.
            args: for it.
            timeout_seconds: after which the statement is stopped on the server.
            stoppable: whether it may be stopped when the caller leaves (a COMMIT may not).
            keep_late: a result that comes in spite of the timeout is kept (what it wrote is written).
            of_stream: it belongs to the stream that is open.

        Raises:
            TimeoutError: it took longer.
            UsageError: another task uses this connection, or a stream is open on it.
        """
        if self._pending is not None:
            await self.settled()
        if self._running is not None or (self._streaming and not of_stream):
            self._check_free()
        loop = asyncio.get_running_loop()
        request = self._running = Request(loop, work(*args))
        timer = None if timeout_seconds is None else loop.call_later(timeout_seconds, request.interrupt)
        try:
            return cast(T, await request.run())
        except GeneratorExit:  # thrown away unfinished: nobody can follow the reply
            driver.abort(self._raw)
            raise
        except BaseException as error:
            if request.is_complete:
                raise
            task = loop.create_task(request.go_on())
            if isinstance(error, OutOfTimeError):
                return await self._out_of_time(task, stoppable, keep_late)
            self._leave(task, stoppable, _PATIENCE_SECONDS)
            raise
        finally:
            self._running = None
            if timer is not None:
                timer.cancel()

    async def settled(self) -> None:
        """Return once no reply is outstanding that nobody waits for."""
        pending = self._pending
        if pending is not None:
            await asyncio.shield(pending)
            if self._pending is pending:
                self._pending = None

    async def stream_opens(self) -> None:
        """From now on until :meth:`stream_ends` only the stream may use the connection.

        Raises:
            UsageError: it is in use already.
        """
        await self.settled()
        self._check_free()
        self._streaming = True

    def stream_ends(self, *, complete: bool) -> None:
        """The stream is over; without its last row read the statement is stopped and the rest skipped."""
        self._streaming = False
        if complete:
            driver.forget_stream(self._raw)
        elif not driver.is_broken(self._raw):
            task = asyncio.get_running_loop().create_task(self._skip_rows(self._pending))
            self._leave(task, True, _PATIENCE_SECONDS)

    def _check_free(self) -> None:
        if self._running is not None or self._streaming:
            raise UsageError(
                "this connection runs a statement of another task, or has a stream open, already; a transaction belongs"
                " to one task at a time, and a stream is ended before the next statement"
            )

    # --- within -----------------------------------------------------------------------------------------------------

    async def _out_of_time(self, task: asyncio.Task[T], stoppable: bool, keep_late: bool) -> T:
        pending = self._leave(task, stoppable, 0.0)
        await asyncio.wait((pending,), timeout=_TIMEOUT_GRACE_SECONDS)
        if not task.done() or task.cancelled():
            raise TimeoutError
        error = task.exception()
        if error is None and keep_late:
            return task.result()
        if error is None or is_interruption(error):
            raise TimeoutError
        raise error

    async def _skip_rows(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:  # the request for the last batch has been left, too
            await asyncio.wait((before,))
        if not driver.is_broken(self._raw):
            await driver.skip_rows(self._raw)

    def _leave(self, task: asyncio.Task[Any], stoppable: bool, patience_seconds: float) -> asyncio.Task[None]:
        following = self._follow(task, stoppable, patience_seconds)
        self._pending = asyncio.get_running_loop().create_task(following)
        return self._pending

    async def _follow(self, task: asyncio.Task[Any], stoppable: bool, patience_seconds: float) -> None:
        """Read a reply that nobody waits for. Afterwards the connection is in order, or closed."""
        try:
            async with asyncio.timeout(_FOLLOW_SECONDS):
                if patience_seconds:
                    await asyncio.wait((task,), timeout=patience_seconds)
                while stoppable and not task.done():
                    # Again, because a kill that comes between two statements, or before the first, does nothing.
                    await self._kill(lambda: not task.done())
                    await asyncio.wait((task,), timeout=_KILL_AGAIN_SECONDS)
                await asyncio.wait((task,))
        except Exception as error:  # the reply cannot be had: no further use of this connection
            _log.warning(
                "connection closed, its statement could not be stopped", error=str(error) or "no reply in time"
            )
        finally:
            if not task.done():
                driver.abort(self._raw)
                task.cancel()
            elif not in_order_after(None if task.cancelled() else task.exception()):
                driver.abort(self._raw)


def in_order_after(error: BaseException | None) -> bool:
    """Whether the whole reply was read although it ended with this error: so it is where the server itself said it.

    Everything else (a value that could not be decoded, a packet out of sequence) leaves the reply half read.
    """
    return error is None or (isinstance(error, MySQLError) and server_code(error) is not None)
