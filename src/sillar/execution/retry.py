"""RETRY: single statements outside transactions, and only where running them again cannot apply them twice."""

from __future__ import annotations

import asyncio
from typing import Any

from sillar.clock import Random, system_random
from sillar.context import remaining_seconds, time_left
from sillar.errors import DatabaseError, PoolExhaustedError, PoolTimeoutError
from sillar.execution.execution import Execution, bulk_insert, copy_in, copy_out, run_batch
from sillar.execution.pipeline import Proceed, Stage


class Retry:
    """Runs an execution again after an error that is safe to retry.

    Never inside an open transaction, and never after a wait for a connection that was in vain. Full jitter: the pause
    is uniform between nothing and an exponentially growing ceiling ("Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015).

    Args:
        attempts_max: how often an execution runs at most.
        pause_seconds: ceiling of the first pause; doubles each time.
    """

    stage = Stage.RETRY

    def __init__(self, attempts_max: int = 3, pause_seconds: float = 0.05, random: Random | None = None) -> None:
        self._attempts_max = attempts_max
        self._pause_seconds = pause_seconds
        self._random = random or system_random()

    async def around(self, execution: Execution, proceed: Proceed) -> Any:
        while True:
            try:
                return await proceed(execution)
            except DatabaseError as error:
                if (
                    not error.safe_to_retry
                    or execution.connection is not None
                    or execution.attempt >= self._attempts_max
                    or not _is_repeatable(execution)
                    or isinstance(error, (PoolTimeoutError, PoolExhaustedError))
                ):
                    raise
                pause = self._random.uniform(0.0, self._pause_seconds * 2.0 ** (execution.attempt - 1))
                remaining = remaining_seconds()
                if remaining is not None and remaining <= pause:
                    raise
            execution.attempt += 1
            await asyncio.sleep(pause)
            execution.timeout_seconds = time_left(execution.timeout_seconds)


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
