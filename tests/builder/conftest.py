from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, Table
from sqlalchemy.schema import CreateTable
from tests.builder.models import AUTHORS, BOOKS, OTHER_TABLES, TABLES, Author, Book, Loan, Reader, Shelf

from sillar import Capability, DatabaseManager, DatabaseSession, QueryBuilder
from sillar.query.binding import binding_of
from sillar.testing.servers import ServerFleet

SQL_ENGINES = ["sqlite", "postgresql", "mariadb", "mysql"]
ENGINES = [*SQL_ENGINES, "mongodb"]


@pytest.fixture
async def manager(request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path) -> AsyncIterator[DatabaseManager]:
    """A manager of the engine named by an indirect parameter."""
    url = f"sqlite:///{tmp_path}/builder.db" if request.param == "sqlite" else (await fleet.get(request.param)).url
    async with DatabaseManager.from_url(url, overrides={"connection_pools": {"max_connections": 5}}) as opened:
        yield opened


async def create(manager: DatabaseManager, table: Table) -> None:
    """Create a table as SQLAlchemy would, by the engine's own dialect."""
    await manager.session().execute(CreateTable(table))


_with_tables: set[str] = set()
"""URLs of the servers that have the tables already: DDL is what costs most here."""


@pytest.fixture
async def session(manager: DatabaseManager) -> AsyncIterator[DatabaseSession]:
    """A session, current in its context, over tables with a few books."""
    where = repr(manager.config.connection("default"))
    async with manager.session() as opened:
        if not opened.capabilities.has(Capability.SQL):
            for name in OTHER_TABLES:
                await opened.documents(name).drop()
        elif where in _with_tables:
            for name in OTHER_TABLES:
                await opened.execute(f"DELETE FROM {name}")
        else:
            for name in OTHER_TABLES:
                await opened.execute(f"DROP TABLE IF EXISTS {name}")
            for table in [*TABLES, *(binding_of(model).table for model in (Reader, Shelf, Loan))]:
                await create(manager, sized(table))
            _with_tables.add(where)
        await QueryBuilder(Author).insert_many(AUTHORS).execute()
        await QueryBuilder(Book).insert_many(BOOKS).execute()
        yield opened


def sized(table: Any) -> Table:
    """The table with a length for each text: MySQL has no VARCHAR without one."""
    copy: Table = table.to_metadata(MetaData()) if not table.foreign_keys else table
    for column in copy.columns:
        if getattr(column.type, "length", 0) is None and column.type.__visit_name__ == "string":
            column.type = type(column.type)(100)
    return copy
