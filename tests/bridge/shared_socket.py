"""The spike that fixed the lease's session contract: SQLAlchemy and Tortoise on physical connections of Sillar's pool.

It is no part of the package: the integrations come with their own issue. What it shows is that a lease has what they
need: ``try_acquire``/``acquire_connection``/``release_connection`` for a pool of theirs, ``kept`` for what they keep
with a physical connection, json as text on the wire, and transactions begun through the driver's own object.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import Pool
from sqlalchemy.pool.base import _AdhocProxiedConnection, _ConnectionRecord
from sqlalchemy.util.concurrency import await_only, greenlet_spawn
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.context import get_current_context

from sillar import ConnectionPool
from sillar.engines.postgresql.connection import PostgreSQLConnection

RECORD = "sqlalchemy record"


class SharedPool(Pool):
    """SQLAlchemy's pool interface over Sillar's pool; SQLAlchemy's connection record stays with the physical
    connection."""

    _is_asyncio = True

    def __init__(self, source: ConnectionPool, **settings: Any) -> None:
        self._source = source
        self._handed: Any = None
        super().__init__(self._adapted, **settings)

    def _adapted(self, record: Any) -> Any:
        physical, self._handed = self._handed, None
        if physical is None:  # SQLAlchemy has invalidated the record and connects anew
            broken = record.record_info.pop("physical", None)
            if broken is not None:
                broken.kept.pop(RECORD, None)
                broken.terminate()
                self._source.release_connection(broken)
            physical = await_only(self._source.acquire_connection())
        record.record_info["physical"] = physical
        physical.kept[RECORD] = record
        return AsyncAdapt_asyncpg_connection(self._dialect.dbapi, physical.raw)

    def _do_get(self) -> _ConnectionRecord:
        physical = self._source.try_acquire()
        if physical is None:
            physical = await_only(self._source.acquire_connection())
        return self.record_of(physical)

    def record_of(self, physical: Any) -> _ConnectionRecord:
        """SQLAlchemy's record of a physical connection, made the first time it is met."""
        record: _ConnectionRecord | None = physical.kept.get(RECORD)
        if record is not None:
            return record
        self._handed = physical
        try:
            return self._create_connection()
        except BaseException:
            physical.kept.pop(RECORD, None)
            physical.terminate()
            self._source.release_connection(physical)
            raise

    def _do_return_conn(self, record: Any) -> None:
        physical = record.record_info["physical"]
        if record.dbapi_connection is None:
            physical.kept.pop(RECORD, None)
            physical.terminate()
        self._source.release_connection(physical)

    def recreate(self) -> SharedPool:
        return type(self)(self._source, dialect=self._dialect)

    def dispose(self) -> None:
        """The sockets are Sillar's."""

    def status(self) -> str:
        return f"over {self._source!r}"


async def _no_codec(connection: Any) -> None:
    """json stays text on the wire: SQLAlchemy decodes in its result processors."""


def shared_engine(source: ConnectionPool, **settings: Any) -> AsyncEngine:
    """A stock engine whose connections are Sillar's."""
    engine = create_async_engine("postgresql+asyncpg://", pool=SharedPool(source), **settings)
    dialect: Any = engine.sync_engine.dialect
    dialect.setup_asyncpg_json_codec = dialect.setup_asyncpg_jsonb_codec = _no_codec
    dialect.supports_native_json_deserialization = False
    return engine


class _SharedSource:
    """What Tortoise calls a pool."""

    def __init__(self, source: ConnectionPool) -> None:
        self._source = source
        self._out: dict[Any, Any] = {}

    async def acquire(self) -> Any:
        physical = self._source.try_acquire() or await self._source.acquire_connection()
        self._out[physical.raw] = physical
        return physical.raw

    async def release(self, raw: Any) -> None:
        self._source.release_connection(self._out.pop(raw))

    async def close(self) -> None:
        """The sockets are Sillar's."""

    async def expire_connections(self) -> None:
        """The sockets are Sillar's."""


class SharedTortoiseClient(AsyncpgDBClient):
    """Tortoise's client over Sillar's pool."""

    source: ConnectionPool

    async def create_pool(self, **_: Any) -> Any:
        return _SharedSource(self.source)


@asynccontextmanager
async def shared_transaction(
    source: ConnectionPool, engine: AsyncEngine, alias: str = "default"
) -> AsyncIterator[tuple[PostgreSQLConnection, AsyncSession]]:
    """One transaction of Sillar's that SQLAlchemy and Tortoise take part in; its end is Sillar's alone."""
    physical: Any = source.try_acquire() or await source.acquire_connection()
    try:
        await physical.begin()
        sync = engine.sync_engine
        pool: Any = sync.pool
        record = await greenlet_spawn(pool.record_of, physical)
        adapter = record.dbapi_connection
        adapter._transaction = physical.driver_transaction
        connection = Connection(sync, connection=_AdhocProxiedConnection(adapter, record))
        connection.begin()
        session = AsyncSession(
            bind=AsyncConnection(engine, sync_connection=connection), join_transaction_mode="create_savepoint"
        )
        connections = get_current_context().connections
        wrapper = TransactionWrapper(connections.get(alias))
        wrapper._connection = physical.raw
        token = connections.set(alias, wrapper)
        try:
            yield physical, session
            await session.commit()
        except BaseException:
            await session.close()
            await physical.rollback()
            raise
        else:
            await session.close()
            await physical.commit()
        finally:
            adapter._transaction = None
            connections.reset(token)
    finally:
        source.release_connection(physical)
