"""RETRY: single statements outside transactions, and only where running them again cannot apply them twice."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sillar.clock import Random, system_random
from sillar.config import RetryConfig
from sillar.consistency import Target, current_target
from sillar.context import remaining_seconds, time_left
from sillar.errors import (
    BreakerOpenError,
    DatabaseError,
    NoNodeError,
    OverloadedError,
    PoolExhaustedError,
    PoolTimeoutError,
    ReadOnlyError,
)
from sillar.execution.execution import Execution, bulk_insert, copy_in, copy_out, run_batch
from sillar.execution.pipeline import Proceed, Stage

_WOULD_ADD_LOAD: Final = (PoolTimeoutError, PoolExhaustedError, OverloadedError, BreakerOpenError, NoNodeError)
"""Whoever got these has waited already, or is asked not to come back at once."""


class Backoff:
    """Pauses with full jitter: uniform between nothing and a ceiling that doubles each time.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Args:
        config: first and greatest ceiling.
        random: where the jitter comes from.
    """

    def __init__(self, config: RetryConfig, random: Random | None = None) -> None:
        self._config = config
        self._random = random or system_random()

    def pause_seconds(self, attempt: int) -> float:
        """How long to wait after that attempt, counted from 1."""
        ceiling = self._config.pause_initial * 2.0 ** min(attempt - 1, 60)
        return self._random.uniform(0.0, min(ceiling, self._config.pause_max))

    async def pause(self, attempt: int) -> bool:
        """Wait after that attempt; False, at once, where the deadline of the context would pass meanwhile."""
        seconds = self.pause_seconds(attempt)
        remaining = remaining_seconds()
        if remaining is not None and remaining <= seconds:
            return False
        await asyncio.sleep(seconds)
        return True


class Retry:
    """Runs an execution again after an error that is safe to retry.

    Never inside an open transaction, and never after a wait for a connection that was in vain. A write that was refused
    as read-only is safe, too: it met a node that is no primary any more, and the next attempt waits for the new one.

    Args:
        config: how often, and after which pauses.
        read_only: the database is opened read-only: a refused write stays refused.
        random: where the jitter comes from.
    """

    stage = Stage.RETRY

    def __init__(
        self, config: RetryConfig | None = None, *, read_only: bool = False, random: Random | None = None
    ) -> None:
        self._config = config or RetryConfig()
        self._read_only = read_only
        self._backoff = Backoff(self._config, random)

    async def around(self, execution: Execution, proceed: Proceed) -> Any:
        while True:
            try:
                return await proceed(execution)
            except DatabaseError as error:
                if (
                    execution.connection is not None
                    or not may_be_repeated(error, writable=not self._read_only)
                    or execution.attempt >= self._config.attempts_max
                    or not _is_repeatable(execution)
                    or not await self._backoff.pause(execution.attempt)
                ):
                    raise
            execution.attempt += 1
            execution.timeout_seconds = time_left(execution.timeout_seconds)


def may_be_repeated(error: DatabaseError, *, writable: bool) -> bool:
    """Whether what failed with this error may be run again, all of it.

    Args:
        error: what it failed with.
        writable: it was sent to where writes are served, as far as its sender knew.
    """
    if isinstance(error, _WOULD_ADD_LOAD):
        return False
    if isinstance(error, ReadOnlyError):
        return writable and current_target() is not Target.REPLICA
    return error.safe_to_retry


def _is_repeatable(execution: Execution) -> bool:
    """Whether running it again is running the same again, all of it.

    Of a batch, a script or a procedure some may be committed already; rows that came from an iterator are consumed, and
    pieces of a COPY were handed to the caller. Before there was a connection, nothing has happened.
    """
    if execution.address is None:
        return True
    statement = execution.statement
    return execution.operation not in _ONCE and bool(getattr(statement, "is_atomic", True))


_ONCE = frozenset({run_batch, bulk_insert, copy_in, copy_out})
