"""What a SQLite source counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sillar.engines.health import PoolHealth

if TYPE_CHECKING:
    from sillar.engines.sqlite.source import SQLiteSource


@dataclass(frozen=True, slots=True)
class SQLiteFigures:
    """What the threads of a SQLite database did so far.

    Attributes:
        leased: light connections out now.
        waiting: statements and transactions that wait for the writer while somebody holds it.
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


def figures_of(source: SQLiteSource) -> SQLiteFigures:
    """The figures of an open source."""
    inline, writer, proofs = source.inline, source.writer, source.proofs
    return SQLiteFigures(
        leased=source.leased,
        waiting=source.dispatch.limited,
        batches=writer.batches_total,
        batched=writer.batched_total,
        batch_max=writer.batch_max_seen,
        replays=writer.replays_total,
        inline_reads=inline.reads_total if inline else 0,
        moved_reads=inline.moved_total if inline else 0,
        inline_seconds_longest=inline.seconds_longest if inline else 0.0,
        lookups_proven=proofs.found,
        lookups_lost=proofs.lost,
        thread_reads=sum(worker.jobs_total for worker in (*source.readers, *source.snapshots.workers())),
        withdrawn=source.dispatch.withdrawn_total,
    )


def health_of(source: SQLiteSource) -> PoolHealth:
    """The figures in the form that all sources of connections share: what is leased are transactions and streams."""
    if not source.is_open:
        return PoolHealth(source.name, healthy=False, reason="not open, or closing")
    figures = figures_of(source)
    now = source.dispatch.loop.time()
    inline = source.inline is not None
    connections = 1 + len(source.readers) + source.snapshots.open + inline
    alive = source.writer.is_alive()
    return PoolHealth(
        source.name,
        healthy=alive,
        reason="" if alive else "the writer's thread has ended",
        connections_min=1,
        connections_max=1 + len(source.readers) + source.pool.max_connections + inline,
        open=connections,
        idle=connections - min(connections, len(source.holds)),
        leased=len(source.holds),
        waiting=figures.waiting + source.snapshots.waiting,
        acquired_total=source.acquired_total,
        timeouts_total=source.timeouts_total,
        refused_total=source.refused_total,
        resets_total=source.writer.restores_total,
        oldest_lease_seconds=max((now - hold.since for hold in source.holds if hold.since), default=0.0),
        detail={name: getattr(figures, name) for name in figures.__slots__},
    )
