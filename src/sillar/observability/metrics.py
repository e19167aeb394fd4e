"""Figures of each database, cheap enough to be always on."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sillar.config import MetricsSink
from sillar.execution.execution import Execution

LATENCY_BOUNDS_SECONDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the latency histogram."""


@dataclass(frozen=True, slots=True)
class DatabaseMetrics:
    """The figures of all databases together, since the start.

    Attributes:
        connection_pool_size: connections open now.
        active_connections: connections leased now.
        query_count: executions.
        query_latency: mean seconds of an execution, the wait for a connection included; 0 without any.
        error_rate: share of executions that failed, 0 to 1. Cancellations by the caller do not count as failures.
        transaction_count: transactions ended, whatever their outcome.
    """

    connection_pool_size: int
    active_connections: int
    query_count: int
    query_latency: float
    error_rate: float
    transaction_count: int


class DatabaseFigures:
    """Counters of one database."""

    __slots__ = ("buckets", "cancelled", "errors", "executions", "retries", "seconds_total", "transactions")

    def __init__(self) -> None:
        self.executions = 0
        self.seconds_total = 0.0
        self.buckets = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
        self.errors: Counter[str] = Counter()
        self.cancelled = 0
        self.retries = 0
        self.transactions: Counter[str] = Counter()


class MetricsRegistry:
    """The observer that counts.

    Args:
        sink: an object of the host application that gets every figure as well.
    """

    def __init__(self, sink: MetricsSink | None = None) -> None:
        self.databases: dict[str, DatabaseFigures] = {}
        self._sink = sink

    def figures(self, database: str) -> DatabaseFigures:
        """The counters of one database."""
        found = self.databases.get(database)
        if found is None:
            found = self.databases[database] = DatabaseFigures()
        return found

    def executed(self, execution: Execution, error: BaseException | None) -> None:
        figures = self.databases.get(execution.database) or self.figures(execution.database)
        seconds = execution.duration_seconds
        figures.executions += 1
        figures.seconds_total += seconds
        figures.buckets[bisect_left(LATENCY_BOUNDS_SECONDS, seconds)] += 1
        if error is not None:
            if isinstance(error, asyncio.CancelledError):
                figures.cancelled += 1
            else:
                figures.errors[type(error).__name__] += 1
        if execution.attempt > 1:
            figures.retries += execution.attempt - 1
        if self._sink is not None:
            labels: Mapping[str, str] = {
                "database": execution.database,
                "outcome": "ok" if error is None else type(error).__name__,
            }
            self._sink.observe("sillar_execution_seconds", seconds, labels)

    def transaction_ended(self, database: str, outcome: str, duration_seconds: float) -> None:
        self.figures(database).transactions[outcome] += 1
        if self._sink is not None:
            self._sink.observe(
                "sillar_transaction_seconds", duration_seconds, {"database": database, "outcome": outcome}
            )
