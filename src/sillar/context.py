"""What travels with a request: correlation id, deadline and priority.

They are context variables: they follow ``await`` and are copied into tasks. A deadline only ever shrinks.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from enum import IntEnum

from sillar.errors import StatementTimeoutError

_correlation_id: ContextVar[str | None] = ContextVar("sillar_correlation_id", default=None)
_deadline: ContextVar[float | None] = ContextVar("sillar_deadline", default=None)


class Priority(IntEnum):
    """Who is served first while callers wait for a connection, and who is refused last when there are too many."""

    HIGH = 0
    """What others depend on and what is short: health checks; lookups by key are so by themselves."""

    NORMAL = 1
    LOW = 2
    """What can come back later: background work, prefetching, reports."""


_priority: ContextVar[Priority | None] = ContextVar("sillar_priority", default=None)

current_correlation_id = _correlation_id.get
"""The correlation id of this context, or None."""

current_deadline = _deadline.get
"""The deadline of this context as a ``time.monotonic()`` instant in seconds, or None."""

current_priority = _priority.get
"""The priority of this context; None: nobody has said anything, which is normal."""


_separations: list[Callable[[], Hashable]] = []


def separate_by(value: Callable[[], Hashable]) -> None:
    """Keep work of contexts apart in which ``value()`` differs: it is never done together. A registry for policies.

    Args:
        value: asked in the context of each caller; cheap.
    """
    _separations.append(value)


def coalescing_key() -> tuple[Hashable, ...]:
    """What has to be equal in two contexts for their work to be done together: tenant, role, whatever decides what a
    caller may see. The correlation id and the deadline may differ."""
    return tuple([value() for value in _separations]) if _separations else ()


@contextmanager
def correlation(correlation_id: str | None = None) -> Iterator[str]:
    """Run the block under a correlation id; without one given, a new random one (32 hexadecimal digits)."""
    value = correlation_id or uuid.uuid4().hex
    token = _correlation_id.set(value)
    try:
        yield value
    finally:
        _correlation_id.reset(token)


@contextmanager
def priority(value: Priority) -> Iterator[None]:
    """Give everything in the block a priority; the innermost one counts. It matters only where callers wait for a
    connection.

    Args:
        value: the priority.
    """
    token = _priority.set(value)
    try:
        yield
    finally:
        _priority.reset(token)


@contextmanager
def deadline(seconds: float) -> Iterator[float]:
    """Give everything in the block at most ``seconds`` from now; an outer, earlier deadline stays in force.

    Yields:
        the instant in force, on the ``time.monotonic()`` scale.
    """
    instant = time.monotonic() + seconds
    outer = _deadline.get()
    if outer is not None and outer < instant:
        instant = outer
    token = _deadline.set(instant)
    try:
        yield instant
    finally:
        _deadline.reset(token)


@contextmanager
def shared_deadline(instant: float | None) -> Iterator[None]:
    """Run the block, which serves several callers, until the latest of their deadlines; each keeps its own time.

    Args:
        instant: on the ``time.monotonic()`` scale; None: one of them waits without a limit.
    """
    token = _deadline.set(instant)
    try:
        yield
    finally:
        _deadline.reset(token)


def remaining_seconds() -> float | None:
    """Seconds left until the deadline of this context (negative when it has passed), or None without one."""
    instant = _deadline.get()
    return None if instant is None else instant - time.monotonic()


def time_left(timeout_seconds: float | None) -> float | None:
    """The time a statement may take: what was asked for, within the deadline of the context.

    Raises:
        StatementTimeoutError: the deadline has passed; nothing was sent.
    """
    remaining = remaining_seconds()
    if remaining is None:
        return timeout_seconds
    if remaining <= 0:
        raise StatementTimeoutError(
            f"the deadline of this context passed {-remaining:.3f} s ago; the statement was not sent"
        )
    return remaining if timeout_seconds is None or remaining < timeout_seconds else timeout_seconds


@asynccontextmanager
async def within_deadline(what: str) -> AsyncIterator[None]:
    """Cancel the block when the deadline of the context passes: for steps that take no timeout of their own.

    Args:
        what: named in the error.

    Raises:
        StatementTimeoutError: the deadline has passed, before the block or in it.
    """
    if _deadline.get() is None:
        yield
        return
    try:
        async with asyncio.timeout(time_left(None)) as limit:
            yield
    except TimeoutError as error:
        if isinstance(error, StatementTimeoutError) or not limit.expired():
            raise
        raise StatementTimeoutError(f"{what} was not answered within the deadline of this context") from error
