"""Tortoise's asyncmy client over Sillar's connections."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time
from typing import Any

from tortoise.backends.mysql.client import MySQLClient as StockClient
from tortoise.backends.mysql.executor import MySQLExecutor as StockExecutor
from tortoise.timezone import get_default_timezone, get_use_tz

from sillar.engines.connection import DriverConnection
from sillar.engines.mysql.errors import statement_error
from sillar.errors import DatabaseError
from sillar.integrations.tortoise.client import SharedClient, TransactionClient
from sillar.integrations.tortoise.executor import TaskBoundExecutor


class MySQLExecutor(TaskBoundExecutor, StockExecutor):
    """The stock one, with prefetches in the task of the transaction."""


class MySQLClient(SharedClient, StockClient):
    """Rows are dicts. Moments are stored as wall time in Tortoise's own time zone, as it reads them."""

    STOCK = {"user": "", "password": "", "database": "", "host": "", "port": 0}  # noqa: RUF012 - read only
    executor_class = MySQLExecutor

    def _stored(self, values: Sequence[Any]) -> Sequence[Any]:
        return [_stored(value) if isinstance(value, (datetime, time)) else value for value in values]

    def _meaning(self, error: BaseException, connection: DriverConnection[Any]) -> DatabaseError | None:
        return statement_error(error, address=connection.address, safe_to_retry=False, timeout_seconds=None)


def _stored(value: datetime | time) -> datetime | time:
    if value.tzinfo is None:
        return value
    if isinstance(value, datetime) and get_use_tz():
        value = value.astimezone(get_default_timezone())
    return value.replace(tzinfo=None)


class MySQLTransactionClient(TransactionClient, MySQLClient):
    """One transaction on MySQL or MariaDB."""


MySQLClient.transaction_class = MySQLTransactionClient
client_class = MySQLClient
"""What Tortoise looks for in an engine's module."""
