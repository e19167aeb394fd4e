"""Generated statements give the same rows on PostgreSQL and on MongoDB, or are refused."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.schema import CreateTable
from tests.mongodb.compiler import shelf
from tests.mongodb.compiler.generator import Generator

from sillar import DatabaseManager, DatabaseSession, load_config
from sillar.errors import DatabaseError, UnsupportedCapabilityError
from sillar.testing.servers import MongoDBServer, PostgreSQLServer

CONCURRENT = 8


@pytest.fixture
async def sides(
    mongodb: MongoDBServer, postgresql: PostgreSQLServer
) -> AsyncIterator[tuple[DatabaseSession, DatabaseSession]]:
    """Sessions on PostgreSQL and MongoDB, with the same rows."""
    databases = {"sql": {"url": postgresql.url}, "documents": {"url": mongodb.url}}
    pools = {"max_connections": CONCURRENT}
    settings = {"databases": databases, "connection_pools": pools, "default_database": "sql"}
    config = load_config(overrides=settings, environment={})
    async with DatabaseManager(config) as manager:
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


def plain(value: Any) -> Any:
    """A value in the form in which both sides are compared: numbers by value to 9 digits, whatever their type."""
    if isinstance(value, bool) or value is None:
        return (str(type(value)), value)
    if isinstance(value, (int, float, Decimal)):
        return ("number", float(f"{float(value):.9g}") + 0.0)
    if isinstance(value, dt.datetime):
        return ("time", value.replace(tzinfo=None))
    if isinstance(value, (list, tuple)):
        return ("list", tuple(plain(each) for each in value))
    if isinstance(value, dict):
        return ("document", tuple(sorted((key, plain(each)) for key, each in value.items())))
    return (type(value).__name__, value)


async def rows_of(session: DatabaseSession, statement: Any) -> Any:
    """The rows, or the error."""
    try:
        rows = await session.fetch_all(statement, into=tuple)
    except DatabaseError as error:
        return error
    return [tuple(plain(value) for value in row) for row in rows]


async def compare(sides: tuple[DatabaseSession, DatabaseSession], seeds: range, variants: int) -> Counter[str]:
    """Run ``variants`` statements for each seed on both sides: of one shape, with different values.

    Raises:
        AssertionError: rows differ, or MongoDB failed otherwise than by a refusal.
    """
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    gate = asyncio.Semaphore(CONCURRENT * 2)

    async def one(seed: int, values: int) -> None:
        generator = Generator(seed, values)
        statement = generator.statement()
        async with gate:
            expected, found = await asyncio.gather(*(rows_of(side, statement) for side in sides))
        if isinstance(found, UnsupportedCapabilityError):
            counts["refused"] += 1
            counts[f"refused: {found.capability}"] += 1
        elif isinstance(expected, DatabaseError):
            counts["refused by both" if isinstance(found, DatabaseError) else "refused by PostgreSQL alone"] += 1
            if not isinstance(found, DatabaseError):
                wrong.append(f"{seed}/{values}: PostgreSQL: {expected}")
        elif isinstance(found, DatabaseError):
            wrong.append(f"{seed}/{values}: {found}")
        else:
            if not generator.ordered:
                expected, found = sorted(expected, key=repr), sorted(found, key=repr)
            counts["same"] += expected == found
            counts["with rows"] += bool(expected)
            if expected != found:
                wrong.append(f"{seed}/{values}: {expected}\n   {found}\n{statement}")

    await asyncio.gather(*(one(seed, values) for seed in seeds for values in range(variants)))
    print(f"{len(seeds) * variants} statements: {dict(counts)}")
    assert not wrong, f"{len(wrong)} differ: " + "\n".join(wrong[:5])
    return counts


async def test_500_statements_agree(sides: tuple[DatabaseSession, DatabaseSession]) -> None:
    counts = await compare(sides, range(250), 2)
    assert counts["same"] > 400
    assert counts["with rows"] > 250
    assert counts["refused"] < 100


@pytest.mark.slow
async def test_10_000_statements_agree(sides: tuple[DatabaseSession, DatabaseSession]) -> None:
    counts = await compare(sides, range(1_000, 3_500), 4)
    assert counts["same"] > 8_000
    assert counts["with rows"] > 5_000
    assert counts["refused"] < 2_000
