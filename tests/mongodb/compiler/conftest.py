"""The shelf on both servers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.schema import CreateTable
from tests.mongodb.compiler import shelf
from tests.mongodb.compiler.sides import CONCURRENT, Sides

from sillar import DatabaseManager, DatabaseSession, load_config
from sillar.testing.servers import ServerFleet


@pytest.fixture(scope="module")
async def sides(fleet: ServerFleet) -> AsyncIterator[Sides]:
    """Sessions on PostgreSQL and MongoDB, with the same rows."""
    urls = {"sql": (await fleet.postgresql()).url, "documents": (await fleet.mongodb()).url}
    settings = {
        "databases": {name: {"url": url} for name, url in urls.items()},
        "connection_pools": {"max_connections": CONCURRENT},
        "default_database": "sql",
    }
    async with DatabaseManager(load_config(overrides=settings, environment={})) as manager:
        sql, documents = manager.session("sql"), manager.session("documents")
        for table, rows in zip((shelf.items, shelf.parts), shelf.rows(), strict=True):
            await sql.execute(f"drop table if exists {table.name}")
            await sql.execute(str(CreateTable(table).compile(dialect=postgresql_dialect.dialect())))
            for row in rows:
                await sql.execute(table.insert().values(**row))
            collection = documents.documents(table.name)
            await collection.drop()
            await collection.insert_many(shelf.documents(rows))
        yield sql, documents
        for table in (shelf.items, shelf.parts):
            await sql.execute(f"drop table {table.name}")
            await documents.documents(table.name).drop()


@pytest.fixture
async def documents_read_only(fleet: ServerFleet) -> AsyncIterator[DatabaseSession]:
    """A session on the same MongoDB, configured to write nothing."""
    database = {"url": (await fleet.mongodb()).url, "read_only": True}
    config = load_config(overrides={"databases": {"default": database}}, environment={})
    async with DatabaseManager(config) as manager:
        yield manager.session()
