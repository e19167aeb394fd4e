"""Which node SQLAlchemy works on."""

from __future__ import annotations

import pytest
from sqlalchemy import func, insert, select, text

from sillar import Consistency, consistency_context, primary_context, replica_context
from sillar.errors import ReadOnlyError

from .conftest import Site
from .models import Note

COUNT = select(func.count()).select_from(Note)


async def read(site: Site, times: int = 4, **options: object) -> None:
    for _ in range(times):
        async with await site.sql.create_session(**options) as session:  # type: ignore[arg-type]
            await session.scalar(COUNT)


async def test_a_session_works_on_the_primary_and_a_read_only_one_on_the_replicas_in_turn(site: Site) -> None:
    with site.served() as served:
        await read(site)
    assert served == {site.primary_name: 4}
    with site.served() as served:
        await read(site, read_only=True)
    assert served == dict.fromkeys(site.replica_names, 2)
    with site.served() as served:
        await site.sql.execute_query(COUNT, read_only=True)
        await site.sql.execute_query(COUNT)
    assert served[site.primary_name] == 1
    assert served.total() == 2


async def test_on_mariadb_too(mariadb_site: Site) -> None:
    with mariadb_site.served() as served:
        await read(mariadb_site, times=2)
        await read(mariadb_site, times=3, read_only=True)
    assert served == {mariadb_site.primary_name: 2, mariadb_site.replica_names.pop(): 3}


async def test_blocks_decide(any_site: Site) -> None:
    site = any_site
    with site.served() as served, replica_context():
        await read(site)
    assert served.keys() <= site.replica_names
    with site.served() as served, primary_context():
        await read(site, read_only=True)
    assert served == {site.primary_name: 4}
    with site.served() as served, replica_context(), primary_context():
        await read(site)
    assert served == {site.primary_name: 4}


@pytest.mark.parametrize("consistency", [Consistency.EVENTUAL, Consistency.STRONG])
async def test_in_a_replica_context_transactions_are_read_only_wherever_they_run(
    any_site: Site, consistency: Consistency
) -> None:
    site = any_site
    async with await site.sql.create_session(consistency=consistency) as session:
        with replica_context(), site.served() as served:
            await session.scalar(COUNT)
            with pytest.raises(ReadOnlyError):
                async with site.sql.errors():
                    await session.execute(insert(Note).values(id=-1, text="never"))
            await session.rollback()
    assert (site.primary_name in served) == (consistency == Consistency.STRONG)
    async with await site.sql.create_session() as session:  # the same connection, lent anew
        session.add(Note(id=site.new_id(), text="again"))
        await session.commit()


async def test_an_isolation_level_stays_beside_read_only(site: Site) -> None:
    shown = "select current_setting('transaction_read_only') || ' ' || current_setting('transaction_isolation')"
    with replica_context():
        async with site.sql.engine.connect() as connection:
            connection = await connection.execution_options(isolation_level="REPEATABLE READ")
            assert await connection.scalar(text(shown)) == "on repeatable read"


async def test_a_read_only_session_refuses_writes_and_what_is_no_read_runs_read_only(any_site: Site) -> None:
    site = any_site
    async with await site.sql.create_session(read_only=True, consistency=Consistency.STRONG) as session:
        with pytest.raises(ReadOnlyError):
            async with site.sql.errors():
                await session.execute(insert(Note).values(id=-1, text="never"))
    async with await site.sql.create_session(read_only=True) as session:
        await session.invalidate()
        await session.scalar(COUNT)
        with pytest.raises(ReadOnlyError):
            async with site.sql.errors():
                await session.execute(text("delete from note"))


async def test_the_consistency_of_a_session_and_of_what_surrounds_it(site: Site) -> None:
    with site.served() as served:
        await read(site, read_only=True, consistency=Consistency.STRONG)
        with consistency_context(Consistency.STRONG):
            await read(site, read_only=True)
        async with site.manager.session(consistency=Consistency.STRONG):
            await read(site, read_only=True)
    assert served == {site.primary_name: 12}
    with site.served() as served, consistency_context(Consistency.STRONG):
        await read(site, read_only=True, consistency=Consistency.bounded(60))
    assert served.keys() <= site.replica_names


async def test_engines_derived_from_the_read_only_one_read_from_replicas(site: Site) -> None:
    engine = site.sql.read_only_engine.execution_options(logging_token="x")
    with site.served() as served:
        async with engine.connect() as connection:
            await connection.scalar(COUNT)
    assert served.keys() <= site.replica_names
    await site.sql.read_only_engine.dispose()
    with site.served() as served:
        await read(site, read_only=True)
    assert served.keys() <= site.replica_names


async def test_a_joined_session_uses_the_connection_of_its_transaction(site: Site) -> None:
    number = site.new_id()
    async with site.sql.transaction() as tx:
        await tx.execute("insert into note values (:id, 'joined')", {"id": number})
        with site.served() as served, replica_context():
            session = await site.sql.create_session(read_only=True)
            assert await session.scalar(select(Note.text).where(Note.id == number)) == "joined"
    assert not served
    with site.served() as served:
        async with site.sql.transaction(read_only=True):
            session = await site.sql.create_session()
            assert await session.scalar(select(Note.text).where(Note.id == number)) == "joined"
    assert served.total() == 1
