"""Engines: one kind of database each, behind one contract."""

from sillar.engines.adapter import ConnectionSource, DatabaseAdapter
from sillar.engines.connection import (
    DEFAULT_TRANSACTION,
    DriverConnection,
    Isolation,
    NodeRole,
    NodeStatus,
    Reply,
    RowShape,
    TransactionOptions,
)
from sillar.engines.registry import adapter_class, open_adapter

__all__ = [
    "DEFAULT_TRANSACTION",
    "ConnectionSource",
    "DatabaseAdapter",
    "DriverConnection",
    "Isolation",
    "NodeRole",
    "NodeStatus",
    "Reply",
    "RowShape",
    "TransactionOptions",
    "adapter_class",
    "open_adapter",
]
