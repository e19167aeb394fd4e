"""Which store fits a database."""

from __future__ import annotations

from codeatlas.document_store import DocumentStore
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
    if capabilities.has(Capability.SQL):
        return SqlStore(manager, database)
    remedy = "give the URL of a SQL database, or of a document database that is a replica set"
    capabilities.require(Capability.DOCUMENTS, remedy=remedy)
    capabilities.require(Capability.TRANSACTIONS, remedy=remedy)
    return DocumentStore(manager, database)
