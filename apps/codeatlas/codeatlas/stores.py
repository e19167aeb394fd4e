"""Which store fits a database."""

from __future__ import annotations

from codeatlas.sql_store import SqlStore
from codeatlas.store import AtlasStore
from sillar import Capability, DatabaseManager


def store_for(manager: DatabaseManager, database: str | None = None) -> AtlasStore:
    """The store for a database of an open manager: whatever the engine, the program sees the same verbs.

    Args:
        manager: open.
        database: configured name; None is the default one.

    Raises:
        UnsupportedCapabilityError: there is no store for this kind of database.
    """
    capabilities = manager.session(database).capabilities
    capabilities.require(Capability.SQL, remedy="give the URL of a SQL database")
    return SqlStore(manager, database)
