"""PostgreSQL, through asyncpg."""

from sillar.engines.postgresql.adapter import PostgreSQLAdapter

__all__ = ["PostgreSQLAdapter"]
