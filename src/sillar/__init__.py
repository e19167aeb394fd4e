"""Sillar: the data layer that a FastAPI service stands on."""

from sillar.capabilities import Capabilities, Capability
from sillar.config import (
    ConnectionPoolConfig,
    DatabaseConfig,
    DatabaseConnectionConfig,
    DatabaseCredentials,
    DatabaseEngine,
    DatabaseSecurityConfig,
    MigrationConfig,
    SSLConfig,
    load_config,
)
from sillar.context import correlation, deadline
from sillar.current import current_session, detached
from sillar.engines import DatabaseAdapter, Isolation
from sillar.execution import DatabaseSession, Execution, Interceptor, Observer, QueryResult, Stage, Transaction
from sillar.integrations import ORMIntegration, ORMSession
from sillar.manager import DatabaseManager
from sillar.observability import DatabaseHealth, DatabaseMetrics, DatabaseMonitor, watch_queries
from sillar.pool import ConnectionPool, DatabaseConnection, PoolHealth
from sillar.portal import Portal
from sillar.query import (
    Columns,
    Condition,
    DocumentCommand,
    Explanation,
    Hint,
    Json,
    Lane,
    Page,
    PreparedQuery,
    Query,
    QueryBuilder,
    QueryPart,
    WriteQuery,
    bind_model,
    check_models,
    column,
    columns,
    parameter,
    validate_models,
)

__version__ = "0.1.0"

__all__ = [
    "Capabilities",
    "Capability",
    "Columns",
    "Condition",
    "ConnectionPool",
    "ConnectionPoolConfig",
    "DatabaseAdapter",
    "DatabaseConfig",
    "DatabaseConnection",
    "DatabaseConnectionConfig",
    "DatabaseCredentials",
    "DatabaseEngine",
    "DatabaseHealth",
    "DatabaseManager",
    "DatabaseMetrics",
    "DatabaseMonitor",
    "DatabaseSecurityConfig",
    "DatabaseSession",
    "DocumentCommand",
    "Execution",
    "Explanation",
    "Hint",
    "Interceptor",
    "Isolation",
    "Json",
    "Lane",
    "MigrationConfig",
    "ORMIntegration",
    "ORMSession",
    "Observer",
    "Page",
    "PoolHealth",
    "Portal",
    "PreparedQuery",
    "Query",
    "QueryBuilder",
    "QueryPart",
    "QueryResult",
    "SSLConfig",
    "Stage",
    "Transaction",
    "WriteQuery",
    "bind_model",
    "check_models",
    "column",
    "columns",
    "correlation",
    "current_session",
    "deadline",
    "detached",
    "load_config",
    "parameter",
    "validate_models",
    "watch_queries",
]
