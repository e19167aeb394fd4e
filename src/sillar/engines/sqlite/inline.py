"""Reads that run on the event loop itself: proven single-row lookups, bounded and measured."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

from sillar.engines.sqlite.file import DatabaseFile
from sillar.engines.sqlite.lookup import LookupProofs
from sillar.engines.sqlite.statement import SQLiteStatement

_BUDGET_SECONDS: Final = 0.001  # one read may block the loop for about this long
_STEPS_BETWEEN_LOOKS: Final = 1000  # steps of SQLite's virtual machine, some 20 µs; a lookup takes about 15
SLICE_SECONDS: Final = 0.0002  # reads in a row, before other tasks have a turn


class InlineReader:
    """A read connection that belongs to the event loop.

    Attributes:
        cursor: what the last read ran on.
        slice_seconds: time that inline reads took since other tasks had a turn.
        reads_total: reads that were answered inline.
        moved_total: reads that were moved to a thread: a lock, a large value, over budget, or an error that is
            reported there.
        seconds_longest: the longest time that one read blocked the loop, moved ones included.
        seconds_total: time that all of them took.
    """

    __slots__ = (
        "_connection",
        "_execute",
        "_proofs",
        "_started",
        "cursor",
        "moved_total",
        "reads_total",
        "seconds_longest",
        "seconds_total",
        "slice_seconds",
    )

    def __init__(self, file: DatabaseFile, proofs: LookupProofs) -> None:
        self._connection = file.open_inline_reader()
        self._connection.set_progress_handler(self._over_budget, _STEPS_BETWEEN_LOOKS)
        self.cursor = self._connection.cursor()
        self._execute = self.cursor.execute
        self._proofs = proofs
        self._started = self.slice_seconds = 0.0
        self.reads_total = self.moved_total = 0
        self.seconds_longest = self.seconds_total = 0.0

    def rows(self, statement: SQLiteStatement, args: Sequence[Any]) -> list[Any] | None:
        """The rows of a proven lookup, or None: then a thread has to do it (and reports the error, if it is one)."""
        self._started = started = perf_counter()
        try:
            rows: list[Any] = self._execute(statement.sql, args).fetchall()
        except Exception as error:
            self._measure(perf_counter() - started)
            self.moved_total += 1
            if isinstance(error, sqlite3.OperationalError) and _is_interrupt(error):
                self._proofs.lose(statement)
            return None
        seconds = perf_counter() - started
        self.slice_seconds += seconds
        self.reads_total += 1
        if seconds > self.seconds_longest:
            self.seconds_longest = seconds
        return rows

    async def pause(self) -> None:
        """Let other tasks run."""
        self.seconds_total += self.slice_seconds
        self.slice_seconds = 0.0
        await asyncio.sleep(0)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _measure(self, seconds: float) -> None:
        self.slice_seconds += seconds
        self.seconds_longest = max(self.seconds_longest, seconds)

    def _over_budget(self) -> int:
        """Called by SQLite now and then; anything but 0 interrupts the read."""
        return int(perf_counter() - self._started > _BUDGET_SECONDS)


def _is_interrupt(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT
