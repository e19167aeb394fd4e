"""A commit, repeated until its outcome is known: the server takes the same commit any number of times, and applies it
once.

Sources: MongoDB driver specifications, "Transactions" (``commitTransaction``, ``UnknownTransactionCommitResult``) and
"Convenient API for Transactions" (when a commit is repeated).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from pymongo.errors import OperationFailure, PyMongoError

from sillar.clock import system_random
from sillar.errors import UnavailableError

UNKNOWN: Final = "UnknownTransactionCommitResult"
_PAUSE_INITIAL_SECONDS: Final = 0.05
_PAUSE_MAX_SECONDS: Final = 1.0
_OUT_OF_TIME: Final = 50  # MaxTimeMSExpired: the server has had all the time that it was given


async def commit_repeatedly(attempt: Callable[[float | None], Coroutine[Any, Any, None]], limit_seconds: float) -> None:
    """Commit; while the outcome is unknown, commit again.

    Args:
        attempt: sends the commit; takes the time that it may need, None for as long as it takes.
        limit_seconds: from the first lost reply on.

    Raises:
        UnavailableError: it was not sent, not once.
        PyMongoError: the driver's own; labelled as unknown where no reply came in time.
    """
    doubt: PyMongoError | None = None
    until, ceiling, random = 0.0, _PAUSE_INITIAL_SECONDS, system_random()
    while True:
        try:
            return await attempt(None if doubt is None else until - time.monotonic())
        except UnavailableError:
            if doubt is None:
                raise
        except PyMongoError as error:
            if not error.has_error_label(UNKNOWN) or _is_out_of_time(error):
                raise
            until = until or time.monotonic() + limit_seconds
            doubt = error
        pause = random.uniform(0.0, ceiling)
        if until - time.monotonic() <= pause:
            raise doubt
        await asyncio.sleep(pause)
        ceiling = min(2 * ceiling, _PAUSE_MAX_SECONDS)


def _is_out_of_time(error: PyMongoError) -> bool:
    return isinstance(error, OperationFailure) and error.code == _OUT_OF_TIME
