"""What travels with a request: correlation id and deadline.

Both are context variables: they follow ``await`` and are copied into tasks. A deadline only ever shrinks.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_correlation_id: ContextVar[str | None] = ContextVar("sillar_correlation_id", default=None)
_deadline: ContextVar[float | None] = ContextVar("sillar_deadline", default=None)

current_correlation_id = _correlation_id.get
"""The correlation id of this context, or None."""

current_deadline = _deadline.get
"""The deadline of this context as a ``time.monotonic()`` instant in seconds, or None."""


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


def remaining_seconds() -> float | None:
    """Seconds left until the deadline of this context (negative when it has passed), or None without one."""
    instant = _deadline.get()
    return None if instant is None else instant - time.monotonic()
