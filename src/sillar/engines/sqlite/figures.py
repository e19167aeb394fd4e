"""What a SQLite source counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SQLiteFigures:
    """What the threads of a SQLite database did so far.

    Attributes:
        leased: light connections out now.
        waiting: jobs and transactions that wait for the writer.
        batches: transactions in which the writer ran statements of callers outside transactions of their own.
        batched: statements in them.
        batch_max: most statements in one of them.
        replays: batches that were rolled back because of one caller and run again without it.
        inline_reads, moved_reads: reads on the event loop, and those that had to move to a thread.
        inline_seconds_longest: longest time that one of them blocked the loop.
        lookups_proven, lookups_lost: statements proven to be single-row lookups; proofs that a slow read took back.
        thread_reads: reads on reader threads, streams included.
        withdrawn: statements whose caller was cancelled.
    """

    leased: int
    waiting: int
    batches: int
    batched: int
    batch_max: int
    replays: int
    inline_reads: int
    moved_reads: int
    inline_seconds_longest: float
    lookups_proven: int
    lookups_lost: int
    thread_reads: int
    withdrawn: int
