"""Copies between databases, of the same or different engines: ``sillar copy``."""

from sillar.migrations.copying.copy import CopyRefusedError, compare_databases, copy_database
from sillar.migrations.copying.model import CopyReport, Difference, TableCopy, Unfaithful

__all__ = [
    "CopyRefusedError",
    "CopyReport",
    "Difference",
    "TableCopy",
    "Unfaithful",
    "compare_databases",
    "copy_database",
]
