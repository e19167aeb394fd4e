"""One observation per execution, and what is made of it: metrics, health, logs."""

from sillar.observability.health import DatabaseHealth, DatabaseHealthMonitor
from sillar.observability.metrics import DatabaseMetrics, MetricsRegistry
from sillar.observability.monitor import DatabaseMonitor
from sillar.observability.observe import Observe

__all__ = [
    "DatabaseHealth",
    "DatabaseHealthMonitor",
    "DatabaseMetrics",
    "DatabaseMonitor",
    "MetricsRegistry",
    "Observe",
]
