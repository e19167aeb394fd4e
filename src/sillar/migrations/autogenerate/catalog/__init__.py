"""What an engine's catalogue says, and how the engine prints what a model says."""

from __future__ import annotations

from sillar.migrations.autogenerate.catalog.catalog import (
    Catalog,
    ColumnText,
    PrintedColumn,
    PrintedTable,
    TableKey,
    catalog_for,
)

__all__ = ["Catalog", "ColumnText", "PrintedColumn", "PrintedTable", "TableKey", "catalog_for"]
