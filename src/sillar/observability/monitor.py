"""What there is to know about the databases of a manager."""

from __future__ import annotations

from sillar.observability.health import DatabaseHealth, DatabaseHealthMonitor
from sillar.observability.metrics import DatabaseMetrics, MetricsRegistry


class DatabaseMonitor:
    """Metrics and health of the databases of one manager.

    Args:
        registry: the counters.
        health_monitor: knows the sources of connections.
    """

    def __init__(self, registry: MetricsRegistry, health_monitor: DatabaseHealthMonitor) -> None:
        self.registry = registry
        self.health_monitor = health_monitor

    @property
    def metrics(self) -> DatabaseMetrics:
        """The figures now; no round trip."""
        pools = [source.stats() for source in self.health_monitor.sources.values()]
        figures = list(self.registry.databases.values())
        executions = sum(each.executions for each in figures)
        errors = sum(sum(each.errors.values()) for each in figures)
        seconds = sum(each.seconds_total for each in figures)
        return DatabaseMetrics(
            connection_pool_size=sum(pool.open for pool in pools),
            active_connections=sum(pool.leased for pool in pools),
            query_count=executions,
            query_latency=seconds / executions if executions else 0.0,
            error_rate=errors / executions if executions else 0.0,
            transaction_count=sum(sum(each.transactions.values()) for each in figures),
        )

    async def collect_metrics(self) -> DatabaseMetrics:
        """The figures now."""
        return self.metrics

    async def health_check(self) -> DatabaseHealth:
        """The health of all databases, cached for a moment."""
        return await self.health_monitor.check()
