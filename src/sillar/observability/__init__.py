"""One observation per execution, and what is made of it: metrics, health, logs, watches."""

from sillar.observability.health import DatabaseHealth, DatabaseHealthMonitor
from sillar.observability.metrics import DatabaseMetrics, MetricsRegistry
from sillar.observability.monitor import DatabaseMonitor
from sillar.observability.observe import Observe
from sillar.observability.watch import QueryWatch, watch_queries

__all__ = [
    "DatabaseHealth",
    "DatabaseHealthMonitor",
    "DatabaseMetrics",
    "DatabaseMonitor",
    "MetricsRegistry",
    "Observe",
    "QueryWatch",
    "watch_queries",
]
