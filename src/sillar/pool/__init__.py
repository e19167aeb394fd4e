"""The connection pool: who gets a connection, when, and in which state."""

from sillar.engines.health import PoolHealth
from sillar.pool.lease import DatabaseConnection
from sillar.pool.pool import ConnectionPool

__all__ = ["ConnectionPool", "DatabaseConnection", "PoolHealth"]
