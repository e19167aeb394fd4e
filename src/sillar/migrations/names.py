"""The tables that belong to the work on a database, not to what its models say."""

from __future__ import annotations

from typing import Final

BATCHES_TABLE: Final = "_migration_batches"
"""Which batches of data migrations are committed."""

COPIES_TABLE: Final = "_copy_progress"
"""How far copies into this database have come."""

__all__ = ["BATCHES_TABLE", "COPIES_TABLE"]
