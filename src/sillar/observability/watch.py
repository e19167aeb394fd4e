"""Which statements a block of code sends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from sillar.execution.execution import Execution, run_batch
from sillar.execution.known import known_executors
from sillar.execution.pipeline import Proceed
from sillar.query.hints import Hint

REPEATS: Final = 5
"""So many executions of one shape are taken for one per row."""


@dataclass(frozen=True, slots=True)
class SentStatement:
    """One statement that was sent.

    Attributes:
        database: configured name of the database.
        fingerprint: the statement without its values.
        is_read: it certainly does not write.
        duration_seconds: how long it took, waiting for a connection included; in a batch, its share.
        failed: it raised.
    """

    database: str
    fingerprint: str
    is_read: bool
    duration_seconds: float
    failed: bool


@dataclass(frozen=True, slots=True)
class StatementFigures:
    """All statements of one shape.

    Attributes:
        fingerprint: the shape.
        count: how often it was sent.
        seconds_total: how long they took together.
    """

    fingerprint: str
    count: int
    seconds_total: float


class QueryWatch:
    """What :func:`watch_queries` has seen.

    Attributes:
        statements: in the order in which they ended.
    """

    def __init__(self) -> None:
        self.statements: list[SentStatement] = []

    @property
    def count(self) -> int:
        """How many statements were sent."""
        return len(self.statements)

    @property
    def figures(self) -> list[StatementFigures]:
        """By shape, in the order in which each was first seen."""
        found: dict[str, list[float]] = {}
        for each in self.statements:
            found.setdefault(each.fingerprint, []).append(each.duration_seconds)
        return [StatementFigures(shape, len(seconds), sum(seconds)) for shape, seconds in found.items()]

    def hints(self, repeats: int = REPEATS) -> list[Hint]:
        """Shapes that were read again and again behind another statement: one query per row of that one (N+1).

        Args:
            repeats: from how many executions on.
        """
        statements = self.statements
        firsts: dict[str, int] = {}
        for number, each in enumerate(statements):
            firsts.setdefault(each.fingerprint, number)
        found = []
        for figures in self.figures:
            first = firsts[figures.fingerprint]
            if figures.count < repeats or first == 0 or not statements[first].is_read:
                continue
            before = statements[first - 1].fingerprint
            found.append(
                Hint(
                    "repeats per row",
                    f"{figures.count} times {figures.fingerprint!r}, first behind {before!r}",
                    "join, load with select-in, or read them together with get_many() or IN",
                )
            )
        return found

    def add(self, execution: Execution, seconds: float, failed: bool) -> None:
        """Note an execution that has ended."""
        if execution.operation is run_batch and execution.payload:
            share = seconds / len(execution.payload)
            sent = [(str(bound.fingerprint), bool(bound.is_read)) for bound, _ in execution.payload]
        else:
            share, sent = seconds, [(execution.fingerprint, execution.is_read)]
        self.statements += [SentStatement(execution.database, shape, read, share, failed) for shape, read in sent]

    def __str__(self) -> str:
        return "\n".join(f"{each.count:>5} × {each.fingerprint}" for each in self.figures)


_watches: ContextVar[tuple[QueryWatch, ...]] = ContextVar("sillar_watches", default=())
_lock: Final = threading.Lock()


class _ContextWatcher:
    """Hands each execution to the watches of its context; there while at least one block watches, in any context."""

    def __init__(self) -> None:
        self.blocks = 0

    async def around(self, execution: Execution, proceed: Proceed) -> Any:
        """Around the pipeline."""
        watches = _watches.get()
        if not watches:
            return await proceed(execution)
        started = perf_counter()
        failed = True
        try:
            result = await proceed(execution)
            failed = False
        finally:
            seconds = perf_counter() - started
            for watch in watches:
                watch.add(execution, seconds, failed)
        return result

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        """What SQLAlchemy has sent by itself."""
        for watch in _watches.get():
            watch.add(execution, execution.duration_seconds, error is not None)

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        """Transactions are not counted."""


_watcher: Final = _ContextWatcher()


@contextmanager
def watch_queries() -> Iterator[QueryWatch]:
    """See the statements that the block sends, on whatever database and by whatever way: text, builder, SQLAlchemy,
    Tortoise, Beanie.

    They are those of this context: of the block itself and of tasks that are started in it. Metrics and logs need not
    be configured. BEGIN, COMMIT and the like are not counted; a stream counts once, and so do ``execute_many`` and each
    batch of a bulk verb. While no block watches, this costs a statement nothing.
    """
    watch = QueryWatch()
    with _lock:
        if _watcher.blocks == 0:
            known_executors.attach(_watcher)
        _watcher.blocks += 1
    token = _watches.set((*_watches.get(), watch))
    try:
        yield watch
    finally:
        _watches.reset(token)
        with _lock:
            _watcher.blocks -= 1
            if _watcher.blocks == 0:
                known_executors.detach()
