"""SQLite through the standard library's sqlite3."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar, Final

from sqlalchemy.sql.elements import ClauseElement

from sillar import errors
from sillar.capabilities import Capabilities, Capability
from sillar.config import DatabaseConnectionConfig, DatabaseCredentials, NodeAddress, SQLiteConfig
from sillar.engines.adapter import DatabaseAdapter
from sillar.engines.sqlite.bulk import keyed_sql
from sillar.engines.sqlite.connection import SQLiteConnection
from sillar.engines.sqlite.explain import SQLiteExplainer
from sillar.engines.sqlite.file import DatabaseFile
from sillar.engines.sqlite.plan import SQLitePlanCompiler
from sillar.engines.sqlite.schema import SQLiteCatalogue
from sillar.engines.sqlite.source import SQLiteSource
from sillar.engines.sqlite.statement import SQLiteStatement, SQLiteStatements
from sillar.query.bulk import KeyedRead, padded_keys
from sillar.query.composed import Composed
from sillar.query.plans import PlanCache
from sillar.query.statement import Parameters

_PRESENT: Final = (
    Capability.SQL,
    Capability.TRANSACTIONS,
    Capability.SAVEPOINTS,
    Capability.COMMIT_OUTCOME,
    Capability.READ_ONLY_TRANSACTIONS,
    Capability.SERIALIZABLE,
    Capability.TRANSACTIONAL_DDL,
    Capability.DEFERRED_CONSTRAINTS,
    Capability.FOREIGN_KEYS,
    Capability.CHECK_CONSTRAINTS,
    Capability.RETURNING,
    Capability.UPDATE_RETURNING,
    Capability.NUL_IN_TEXT,
    Capability.ONLINE_BACKUP,
    Capability.DRIVER_POOL,
)


class SQLiteAdapter(DatabaseAdapter):
    """SQLite, driven by the standard library.

    The adapter has one :class:`SQLiteSource` (one writer, several readers); its light connections all lead there, so
    that a database in memory is the same one for everybody who uses this adapter.
    """

    driver = "sqlite3"
    schemes: ClassVar = ("sqlite",)
    keys_max = 512  # SQLite below 3.32 takes 999 parameters
    capabilities = Capabilities("SQLite", _PRESENT)

    def __init__(self, config: DatabaseConnectionConfig) -> None:
        super().__init__(config)
        if not isinstance(config, SQLiteConfig):
            raise errors.UsageError(f"SQLiteAdapter takes a SQLiteConfig, not {type(config).__name__}")
        self._statements = SQLiteStatements()
        self.plans = PlanCache(SQLitePlanCompiler())
        self._file = DatabaseFile(config)
        self._source = SQLiteSource(config, self.capabilities)

    async def connect(self) -> sqlite3.Connection:
        """A connection of its own: autocommit, our settings, usable from any thread. ``:memory:`` gives a new, empty
        database."""
        return await asyncio.to_thread(self._file.open_plain)

    async def open_connection(
        self, credentials: DatabaseCredentials | None = None, address: NodeAddress | None = None
    ) -> SQLiteConnection:
        """A light connection of the adapter's source, which is opened if need be. SQLite knows no credentials."""
        await self._source.open()
        return await self._source.acquire_connection()

    def bind(self, statement: Any, params: Parameters) -> tuple[SQLiteStatement, Sequence[Any]]:
        if type(statement) is not str and not isinstance(statement, str):
            if isinstance(statement, (Composed, ClauseElement)):
                return self.plans.bind(statement, params)
            self.capabilities.require(Capability.DOCUMENTS, remedy="SQLite takes SQL text; send a str")
        return self._statements.bound(statement, params)

    def bind_keys(self, read: KeyedRead, keys: Sequence[Any]) -> tuple[SQLiteStatement, Sequence[Any]]:
        given = padded_keys(keys)
        return self._statements.get(keyed_sql(read, len(given))), (
            given if len(read.key) == 1 else list(chain.from_iterable(given))
        )

    @property
    def explainer(self) -> SQLiteExplainer:
        return SQLiteExplainer(self)

    @property
    def catalogue(self) -> SQLiteCatalogue:
        return SQLiteCatalogue(self)

    def own_source(self, name: str = "") -> SQLiteSource:
        """The source that the adapter brings along; the same one every time, which calls itself after its file."""
        return self._source

    async def close(self) -> None:
        """Close the adapter's own connection and its source."""
        await super().close()
        await self._source.close()
