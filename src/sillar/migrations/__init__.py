"""Migrations of schema and data: one history and one set of commands for all engines."""

from __future__ import annotations

from sillar.migrations.applied import AppliedMigration
from sillar.migrations.manager import MigrationManager
from sillar.migrations.migration import Migration, MigrationOperation
from sillar.migrations.progress import Progress

__all__ = ["AppliedMigration", "Migration", "MigrationManager", "MigrationOperation", "Progress"]
