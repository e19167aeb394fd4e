"""Conflicts of single writes, which MongoDB keeps from its clients however many there are."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from pymongo import UpdateOne

from .conftest import Database, until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("mongodb")]


async def test_a_write_that_loses_every_conflict_is_repeated_until_it_succeeds(
    database: Database, backend: asyncpg.Connection
) -> None:
    """Somebody keeps the second row, and asks for the first one as often as the write has it: they stand crosswise."""
    await database.rows.insert_many([{"_id": number, "n": 0} for number in range(2)])
    number = await backend.fetchval(
        "select collection_id from documentdb_api_catalog.collections where database_name = $1", database.name
    )
    table = f"documentdb_data.documents_{number}"
    first, second = [row["ctid"] for row in await backend.fetch(f"select ctid from {table} order by object_id")]
    lock = f"select 1 from {table} where ctid = $1 for update"
    await backend.execute("set deadlock_timeout = '1s'")  # the gateway's is shorter: its statement is mostly the victim

    async def waits() -> bool:
        found = await backend.fetchval(
            "select $1 = any (select unnest(pg_blocking_pids(pid)) from pg_stat_activity)", own
        )
        return bool(found)

    own = backend.get_server_pid()
    conflicts = 0
    writing = None
    try:
        async with asyncio.timeout(90), backend.transaction():
            await backend.fetch(lock, second)
            updates = [UpdateOne({"_id": number}, {"$inc": {"n": 1}}) for number in range(2)]
            writing = asyncio.ensure_future(database.rows.bulk_write(updates))
            while conflicts < 24:  # the server tries a batch again by itself, item by item: of two, one is seen
                assert not writing.done()
                await until(waits, 20)
                with suppress(asyncpg.DeadlockDetectedError):
                    async with backend.transaction():  # a savepoint: the first row is let go of again, the second kept
                        if not await backend.fetch(f"{lock} skip locked", first):  # the write has it
                            await backend.fetch(lock, first)
                            conflicts += 1
                        raise asyncpg.DeadlockDetectedError
        await asyncio.wait_for(writing, 20)
    finally:
        if writing is not None:
            writing.cancel()
    assert await database.rows.distinct("n") == [1]
