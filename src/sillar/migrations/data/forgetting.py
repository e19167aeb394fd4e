"""The end of a run's journal."""

from __future__ import annotations

from typing import Any

from sillar.migrations.data.journal import BatchJournal
from sillar.migrations.data.place import open_place


def forget_batches(bind: Any, name: str) -> int:
    """Remove what the journal has of a run, so that a call of the same name begins anew; it cannot be undone then. A
    ``downgrade()`` calls it where it does not call `undo_batches`.

    Args:
        bind: ``alembic.op`` or a connection, as for `batched_update`.
        name: of the run.

    Returns:
        how many rows of the journal that were; 0 where there was no such run.
    """
    with open_place(bind) as place, place.transaction() as connection:
        journal = BatchJournal(name, place.schema)
        return journal.forget(connection) if journal.exists(connection) else 0
