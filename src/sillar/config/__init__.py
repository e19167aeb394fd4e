"""Configuration: frozen models, and the sources they are read from."""

from sillar.config.breaker import BreakerConfig
from sillar.config.connection import (
    DatabaseConnectionConfig,
    DatabaseCredentials,
    MongoDBConfig,
    MySQLConfig,
    NodeAddress,
    NodeConfig,
    NodeRole,
    PostgreSQLConfig,
    SQLiteConfig,
)
from sillar.config.database import DatabaseConfig, DatabaseSecurityConfig, MigrationConfig, MigrationPolicy, Profile
from sillar.config.host import EventPublisher, MetricsSink, SecretsManager
from sillar.config.load import load_config
from sillar.config.options import (
    DatabaseEngine,
    EngineOptions,
    MongoDBOptions,
    MySQLOptions,
    PostgreSQLOptions,
    SQLiteOptions,
)
from sillar.config.pool import ConnectionPoolConfig
from sillar.config.retry import RetryConfig
from sillar.config.tls import SSLConfig, SSLMode, TLSVersion, default_ssl_mode, is_on_this_machine, ssl_context
from sillar.config.topology import TopologyConfig

__all__ = [
    "BreakerConfig",
    "ConnectionPoolConfig",
    "DatabaseConfig",
    "DatabaseConnectionConfig",
    "DatabaseCredentials",
    "DatabaseEngine",
    "DatabaseSecurityConfig",
    "EngineOptions",
    "EventPublisher",
    "MetricsSink",
    "MigrationConfig",
    "MigrationPolicy",
    "MongoDBConfig",
    "MongoDBOptions",
    "MySQLConfig",
    "MySQLOptions",
    "NodeAddress",
    "NodeConfig",
    "NodeRole",
    "PostgreSQLConfig",
    "PostgreSQLOptions",
    "Profile",
    "RetryConfig",
    "SQLiteConfig",
    "SQLiteOptions",
    "SSLConfig",
    "SSLMode",
    "SecretsManager",
    "TLSVersion",
    "TopologyConfig",
    "default_ssl_mode",
    "is_on_this_machine",
    "load_config",
    "ssl_context",
]
