"""SQLAlchemy, Tortoise and Sillar on the same physical connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Integer, Text, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase
from tests.bridge.shared_socket import SharedTortoiseClient, shared_engine, shared_transaction
from tortoise import Tortoise, fields, models
from tortoise.connection import get_connection
from tortoise.context import get_current_context

from sillar import ConnectionPool, DatabaseManager
from sillar.testing.servers import PostgreSQLServer


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "bridge_note"
    id = Column(Integer, primary_key=True)
    body = Column(Text)


class Document(Base):
    __tablename__ = "bridge_document"
    id = Column(Integer, primary_key=True)
    binary = Column(JSONB)
    plain = Column(JSON)


class TortoiseNote(models.Model):
    id = fields.IntField(primary_key=True)
    body = fields.TextField()

    class Meta:
        table = "bridge_note"


@pytest.fixture
async def manager(postgresql: PostgreSQLServer) -> AsyncIterator[DatabaseManager]:
    pool = {"min_connections": 1, "max_connections": 5}
    async with DatabaseManager.from_url(postgresql.url, overrides={"connection_pools": pool}) as opened:
        yield opened


@pytest.fixture
async def source(manager: DatabaseManager) -> ConnectionPool:
    pool = manager.pools["default"]
    assert isinstance(pool, ConnectionPool)
    return pool


@pytest.fixture
async def engine(source: ConnectionPool) -> AsyncIterator[AsyncEngine]:
    engine = shared_engine(source)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()


async def test_sqlalchemy_draws_from_the_same_physical_connections(
    manager: DatabaseManager, source: ConnectionPool, engine: AsyncEngine
) -> None:
    async def of_sqlalchemy() -> Any:
        async with engine.connect() as connection:
            return (await connection.execute(text("SELECT pg_backend_pid() FROM pg_sleep(0.01)"))).scalar()

    async def of_sillar() -> Any:
        return await manager.session().fetch_value("SELECT pg_backend_pid() FROM pg_sleep(0.01)")

    pids = await asyncio.gather(*(of_sqlalchemy() if number % 2 else of_sillar() for number in range(200)))
    assert len(set(pids)) == 5
    assert source.stats().opened_total == 5
    assert len({await of_sqlalchemy() for _ in range(8)}) == 1  # the record stays with its connection: no reconnect


async def test_json_is_decoded_by_each_consumer_for_itself(manager: DatabaseManager, engine: AsyncEngine) -> None:
    session = manager.session()
    await session.execute(
        "INSERT INTO bridge_document VALUES (1, :one, :other)", {"one": {"a": [1, None]}, "other": {"a": [1, None]}}
    )
    for _ in range(2):  # before and after SQLAlchemy has met the connection
        row = await session.fetch_one('SELECT "binary", plain FROM bridge_document')
        assert row == {"binary": {"a": [1, None]}, "plain": {"a": [1, None]}}
        async with AsyncSession(engine) as orm:
            document = (await orm.execute(select(Document))).scalar_one()
            assert (document.binary, document.plain) == ({"a": [1, None]}, {"a": [1, None]})


@pytest.mark.parametrize("fails", [True, False])
async def test_one_transaction_is_seen_by_all_and_ends_for_all(
    manager: DatabaseManager, source: ConnectionPool, engine: AsyncEngine, postgresql: PostgreSQLServer, fails: bool
) -> None:
    url = postgresql.url.replace("postgresql://", "asyncpg://")
    await Tortoise.init(db_url=url, modules={"models": [__name__]})
    try:
        connections = get_current_context().connections
        client = SharedTortoiseClient(
            connection_name="default", user="", host=postgresql.host, port=postgresql.port, database=""
        )
        client.source = source
        token = connections.set("default", client)
        outside = manager.session()
        try:
            async with shared_transaction(source, engine) as (physical, orm):
                await physical.raw.execute("INSERT INTO bridge_note (body) VALUES ('raw')")
                orm.add(Note(body="sqlalchemy"))
                await orm.flush()
                await TortoiseNote.create(body="tortoise")
                counts = {
                    await physical.raw.fetchval("SELECT count(*) FROM bridge_note"),
                    await orm.scalar(select(func.count()).select_from(Note)),
                    await TortoiseNote.all().count(),
                }
                _, rows = await get_connection("default").execute_query("SELECT pg_backend_pid() AS pid")
                pids = {physical.server_id, await orm.scalar(select(func.pg_backend_pid())), rows[0]["pid"]}
                await orm.commit()  # ends a savepoint, not the transaction
                assert counts == {3}
                assert len(pids) == 1
                assert await outside.fetch_value("SELECT count(*) FROM bridge_note") == 0
                if fails:
                    raise LookupError
        except LookupError:
            assert fails
        assert await outside.fetch_value("SELECT count(*) FROM bridge_note") == (0 if fails else 3)
        async with AsyncSession(engine) as plain:
            assert await plain.scalar(select(func.count()).select_from(Note)) == (0 if fails else 3)
        assert await TortoiseNote.all().count() == (0 if fails else 3)
        connections.reset(token)
    finally:
        await Tortoise.close_connections()
