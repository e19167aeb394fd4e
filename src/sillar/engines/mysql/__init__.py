"""MySQL and MariaDB, through asyncmy."""

from sillar.engines.mysql.adapter import MySQLAdapter

__all__ = ["MySQLAdapter"]
