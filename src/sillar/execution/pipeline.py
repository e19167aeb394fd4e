"""The pipeline of interceptors, composed once at start: what is not configured costs nothing per query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from enum import IntEnum
from functools import partial
from typing import Any, Protocol, TypeAlias

import structlog

from sillar.execution.execution import Execution

_log = structlog.get_logger("sillar.observer")

Proceed: TypeAlias = Callable[[Execution], Awaitable[Any]]
"""The rest of the pipeline."""


class Stage(IntEnum):
    """The fixed order, outermost first.

    CACHE is inside SCOPE: the other way round, one tenant would be served another's rows. RETRY is innermost, so that
    everything above sees one execution however many attempts it took.
    """

    OBSERVE = 10
    GUARD = 20
    SCOPE = 30
    AUDIT = 40
    CACHE = 50
    RETRY = 60


class Interceptor(Protocol):
    """One concern around every execution."""

    @property
    def stage(self) -> Stage:
        """Where in the order it stands."""
        ...

    async def around(self, execution: Execution, proceed: Proceed) -> Any:
        """Do something before and after ``await proceed(execution)``, and return its result."""
        ...


class Observer(Protocol):
    """Gets one call per execution and per transaction. Must not block; what it raises is logged, and changes
    nothing."""

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        """An execution ended; ``execution.duration_seconds`` is set."""
        ...

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        """A transaction ended; outcome is ``commit``, ``rollback`` or ``unknown``."""
        ...


def compose(interceptors: Iterable[Interceptor], innermost: Proceed) -> Proceed:
    """One function for the whole pipeline: sorted by stage, the order of registration within a stage."""
    chain = innermost
    for interceptor in sorted(interceptors, key=lambda each: each.stage, reverse=True):
        chain = partial(interceptor.around, proceed=chain)
    return chain


def observer_failed(observer: Observer, error: Exception) -> None:
    """Log what an observer raised: what was executed or committed stays so, whatever becomes of its observation."""
    _log.error("an observer failed", observer=type(observer).__name__, error=type(error).__name__)
