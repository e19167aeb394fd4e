"""Structured logs of executions: fingerprints, never values."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from sillar.context import current_correlation_id
from sillar.errors import DatabaseError
from sillar.execution.execution import Execution

_log = structlog.get_logger("sillar.statement")
_NEVER = float("inf")


class StatementLog:
    """The observer that logs executions.

    Args:
        slow_seconds: from how many seconds on a statement counts as slow, by database; None is never. The wait for a
            connection does not count: under overload it would make every statement slow.
        everything: log all executions (at debug level), not only slow ones and failures.
    """

    def __init__(self, slow_seconds: Mapping[str, float | None], *, everything: bool) -> None:
        self._slow_seconds = {name: seconds for name, seconds in slow_seconds.items() if seconds is not None}
        self._everything = everything

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, asyncio.CancelledError):
            _log.warning("statement failed", **_event(execution), error=type(error).__name__, **_code(error))
        elif execution.duration_seconds - execution.waited_seconds >= self._slow_seconds.get(
            execution.database, _NEVER
        ):
            _log.warning("slow statement", **_event(execution))
        elif self._everything:
            _log.debug("statement", **_event(execution))

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        if self._everything or outcome == "unknown":
            _log.log(
                40 if outcome == "unknown" else 10,
                "transaction ended",
                database=database,
                outcome=outcome,
                seconds=round(duration_seconds, 6),
                correlation_id=current_correlation_id(),
            )


def _event(execution: Execution) -> dict[str, Any]:
    return {
        "correlation_id": current_correlation_id(),
        "database": execution.database,
        "node": execution.address,
        "statement": execution.fingerprint,
        "seconds": round(execution.duration_seconds, 6),
        "waited_seconds": round(execution.waited_seconds, 6),
        "attempt": execution.attempt,
    }


def _code(error: BaseException) -> dict[str, Any]:
    """What identifies a failure without its message, which may quote values."""
    code = getattr(error, "code", None)
    return {"code": code} if isinstance(error, DatabaseError) and code is not None else {}
