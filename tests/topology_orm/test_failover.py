"""Sessions of both ORMs while the primary goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import insert, select
from tortoise.transactions import in_transaction

from sillar import Consistency, consistency_context
from sillar.errors import ConnectionLostError, DatabaseError, NoPrimaryError, ReadOnlyError, UnavailableError
from sillar.testing.servers import MariaDBServer, PostgreSQLServer

from .conftest import Site, a_primary, opened, with_replicas
from .models import Memo, Note


async def until_it_works(work: Callable[[], Awaitable[Any]], *expected: type[DatabaseError]) -> None:
    for _ in range(300):
        try:
            await work()
        except expected:
            await asyncio.sleep(0.1)
        else:
            return
    raise AssertionError("it does not work again")


async def stored(server: Any, number: int) -> int:
    [(count,)] = await server.execute_as_superuser(
        f"select count(*) from note where id = {number}",
        database=server.database,
    )
    return int(count)


@pytest.mark.parametrize("make", [PostgreSQLServer, MariaDBServer])
async def test_the_primary_dies_in_the_middle_of_transactions(make: Any) -> None:
    async with make(own=True) as server:
        servers = await with_replicas(server, 1)
        async with opened(*servers) as site:
            await dies_in_the_middle(site)


async def dies_in_the_middle(site: Site) -> None:
    [replica] = site.replicas
    await site.caught_up()  # it has the table
    first, second, third = (site.new_id() for _ in range(3))
    session = await site.sql.create_session()
    session.add(Note(id=first, text="lost"))
    await session.flush()
    with pytest.raises(ConnectionLostError) as of_tortoise:
        async with in_transaction():
            await Memo.create(id=second, text="lost")
            await site.primary.kill()
            await Memo.all().count()
    assert of_tortoise.value.safe_to_retry
    with pytest.raises(ConnectionLostError) as of_sqlalchemy:
        async with site.sql.errors():
            await session.execute(select(Note))
    assert of_sqlalchemy.value.safe_to_retry
    await session.close()
    with consistency_context(Consistency.EVENTUAL):
        assert await site.sql.execute_query(select(Note.id), read_only=True) == []  # the replica goes on
        assert await Memo.all().count() == 0

    await replica.promote()

    async def write() -> None:
        async with site.sql.errors(), await site.sql.create_session() as again:
            again.add(Note(id=third, text="kept"))
            await again.commit()

    await until_it_works(write, UnavailableError, ReadOnlyError)
    await Memo.filter(id=third).update(text="by both")
    assert await site.sql.execute_query(select(Note.id)) == [third]
    assert site.pool.topology.primary is site.node(replica)
    assert [await stored(replica, number) for number in (first, second, third)] == [0, 0, 1]


async def test_a_primary_that_was_overtaken_takes_no_write_on_connections_that_were_kept() -> None:
    """Nothing fences it: it goes on taking writes from whoever asks."""
    async with PostgreSQLServer(own=True) as server:
        servers = await with_replicas(server, 1)
        async with opened(*servers) as site:
            await is_overtaken(site)


async def is_overtaken(site: Site) -> None:
    [replica] = site.replicas
    await site.caught_up()  # it has the table
    first, second, third = (site.new_id() for _ in range(3))
    async with site.sql.engine.connect() as kept:
        await kept.execute(insert(Note).values(id=first, text="before"))
        await kept.commit()
        old = (await kept.get_raw_connection()).dbapi_connection.record.record_info["physical"]
        await replica.promote()
        await a_primary(site, other_than=site.primary)
        with pytest.raises(ConnectionLostError):
            async with site.sql.errors():
                await kept.execute(insert(Note).values(id=second, text="to the old one"))
        await kept.rollback()
        await kept.execute(insert(Note).values(id=third, text="to the new one"))
        await kept.commit()
    assert old.is_closed()
    assert [await stored(site.primary, number) for number in (first, second, third)] == [1, 0, 0]
    assert await stored(replica, third) == 1
    async with await site.tortoise.create_session() as session:
        await Memo.create(id=second, text="to the new one")
        await session.commit()
    assert [await stored(site.primary, second), await stored(replica, second)] == [0, 1]


async def test_a_demoted_primary_is_not_written_to_again(site: Site) -> None:
    number = site.new_id()
    async with site.sql.engine.connect() as kept:
        await kept.execute(insert(Note).values(id=number, text="before"))
        await kept.commit()
        try:
            await site.primary.set_read_only()
            with pytest.raises(ReadOnlyError):
                async with site.sql.errors():
                    await kept.execute(insert(Note).values(id=site.new_id(), text="refused"))
            await kept.rollback()
            assert site.pool.topology.primary is None
            with pytest.raises(ConnectionLostError):
                async with site.sql.errors():
                    await kept.execute(insert(Note).values(id=site.new_id(), text="not sent"))
            assert await Memo.filter(id=number).exists() in (True, False)  # replicas go on serving reads
        finally:
            await site.primary.set_writable()
    await until_it_works(lambda: Memo.create(id=site.new_id(), text="again"), NoPrimaryError, ReadOnlyError)
