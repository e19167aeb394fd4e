"""Data migrations: many rows changed or copied in short transactions, that can be interrupted anywhere."""

from __future__ import annotations

from sillar.migrations.data.copying import batched_copy
from sillar.migrations.data.forgetting import forget_batches
from sillar.migrations.data.report import BatchReport
from sillar.migrations.data.running import run_batched
from sillar.migrations.data.throttle import Throttle
from sillar.migrations.data.undoing import undo_batches
from sillar.migrations.data.updating import batched_update

__all__ = [
    "BatchReport",
    "Throttle",
    "batched_copy",
    "batched_update",
    "forget_batches",
    "run_batched",
    "undo_batches",
]
