"""Metrics for Prometheus, read from the counters when they are scraped: an execution costs nothing more.

A process has one collector. Prometheus' multiprocess mode does not support custom collectors: with several workers,
scrape each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sillar.engines.health import PoolHealth
from sillar.observability.metrics import LATENCY_BOUNDS_SECONDS

if TYPE_CHECKING:
    from sillar.observability.monitor import DatabaseMonitor

_POOL_GAUGES = (
    ("open", "connections that exist"),
    ("idle", "connections nobody uses"),
    ("leased", "connections in use"),
    ("waiting", "callers that wait for a connection"),
    ("connecting", "connections being opened"),
    ("connections_max", "limit of connections"),
)
_POOL_COUNTERS = (
    ("opened_total", "connections opened"),
    ("lost_total", "connections that broke"),
    ("connect_failures_total", "handshakes that failed"),
    ("timeouts_total", "callers that waited in vain"),
    ("refused_total", "callers refused because too many waited"),
    ("shed_total", "callers refused because others waited for too long"),
    ("breaker_openings_total", "times that the circuit breaker opened"),
    ("resets_total", "hand-overs that needed a reset"),
    ("wait_seconds_total", "seconds that callers waited"),
)

_BREAKER_STATES = ("closed", "open", "half_open", "forced_open", "disabled")


class DatabaseCollector(Collector):
    """Turns the figures of one monitor into metric families."""

    def __init__(self, monitor: DatabaseMonitor) -> None:
        self._monitor = monitor

    def collect(self) -> Iterator[Metric]:
        yield from self._executions()
        stats = {name: source.stats() for name, source in self._monitor.health_monitor.sources.items()}
        yield from _pools(stats)
        yield from _nodes(stats)

    def _executions(self) -> Iterator[Metric]:
        seconds = HistogramMetricFamily(
            "sillar_execution_seconds", "time of executions, the wait for a connection included", labels=["database"]
        )
        errors = CounterMetricFamily("sillar_execution_errors", "executions that failed", labels=["database", "error"])
        cancelled = CounterMetricFamily(
            "sillar_executions_cancelled", "executions that their caller cancelled", labels=["database"]
        )
        retries = CounterMetricFamily("sillar_execution_retries", "executions run once more", labels=["database"])
        transactions = CounterMetricFamily(
            "sillar_transactions", "transactions that ended", labels=["database", "outcome"]
        )
        for name, figures in self._monitor.registry.databases.items():
            running, buckets = 0, []
            for bound, count in zip((*LATENCY_BOUNDS_SECONDS, float("inf")), figures.buckets, strict=True):
                running += count
                buckets.append(("+Inf" if bound == float("inf") else repr(bound), running))
            seconds.add_metric([name], buckets, figures.seconds_total)
            for error, count in figures.errors.items():
                errors.add_metric([name, error], count)
            cancelled.add_metric([name], figures.cancelled)
            retries.add_metric([name], figures.retries)
            for outcome, count in figures.transactions.items():
                transactions.add_metric([name, outcome], count)
        yield from (seconds, errors, cancelled, retries, transactions)


def _pools(stats: Mapping[str, PoolHealth]) -> Iterator[Metric]:
    for field, text in _POOL_GAUGES:
        gauge = GaugeMetricFamily(f"sillar_pool_{field}", text, labels=["database"])
        for name, pool in stats.items():
            gauge.add_metric([name], getattr(pool, field))
        yield gauge
    breaker = GaugeMetricFamily(
        "sillar_pool_breaker_state", "1 for the state of the circuit breaker", labels=["database", "state"]
    )
    for name, pool in stats.items():
        if pool.breaker:
            for state in _BREAKER_STATES:
                breaker.add_metric([name, state], float(state == pool.breaker))
    yield breaker
    for field, text in _POOL_COUNTERS:
        counter = CounterMetricFamily(f"sillar_pool_{field.removesuffix('_total')}", text, labels=["database"])
        for name, pool in stats.items():
            counter.add_metric([name], getattr(pool, field))
        yield counter


def _nodes(stats: Mapping[str, PoolHealth]) -> Iterator[Metric]:
    labels = ["database", "node"]
    up = GaugeMetricFamily("sillar_node_up", "1 for a node that serves", labels=labels)
    role = GaugeMetricFamily("sillar_node_role", "1 for the role of a node", labels=[*labels, "role"])
    primary = GaugeMetricFamily("sillar_node_primary", "1 for the node that takes the writes", labels=labels)
    lag = GaugeMetricFamily("sillar_node_lag_seconds", "by how much its data is older, at most", labels=labels)
    leased = GaugeMetricFamily("sillar_node_leased", "connections in use", labels=labels)
    breaker = GaugeMetricFamily(
        "sillar_node_breaker_state", "1 for the state of the circuit breaker", labels=[*labels, "state"]
    )
    for name, pool in stats.items():
        for address, node in pool.nodes.items():
            up.add_metric([name, address], float(node.state == "up"))
            role.add_metric([name, address, node.role], 1.0)
            primary.add_metric([name, address], float(node.is_primary))
            if node.lag_seconds is not None:
                lag.add_metric([name, address], node.lag_seconds)
            leased.add_metric([name, address], node.pool.leased)
            for state in _BREAKER_STATES:
                breaker.add_metric([name, address, state], float(state == node.pool.breaker))
    yield from (up, role, primary, lag, leased, breaker)


def exposition(monitor: DatabaseMonitor) -> bytes:
    """The figures in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(DatabaseCollector(monitor))
    return generate_latest(registry)
