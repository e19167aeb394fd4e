"""Who has written reads it, by whatever means, however far behind the replicas are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import func, insert, select, update

from sillar import Consistency, causal_context
from sillar.errors import NoNodeError

from .conftest import Site, opened, paused
from .models import Memo, Note

COUNT = select(func.count()).select_from(Note)


@pytest.fixture
async def lagging(site: Site) -> AsyncIterator[Site]:
    """Neither replica shows anything new."""
    async with paused(*site.replicas):
        yield site
    await site.caught_up()


async def write_by_session(site: Site, number: int) -> None:
    async with await site.sql.create_session() as session:
        session.add(Note(id=number, text="session"))
        await session.commit()


async def write_by_factory(site: Site, number: int) -> None:
    async with site.sql.session_factory.begin() as session:
        session.add(Note(id=number, text="factory"))


async def write_by_engine(site: Site, number: int) -> None:
    async with site.sql.engine.begin() as connection:
        await connection.execute(insert(Note).values(id=number, text="engine"))


async def write_by_query(site: Site, number: int) -> None:
    await site.sql.execute_query(insert(Note).values(id=number, text="query"))


async def write_by_autocommit(site: Site, number: int) -> None:
    async with site.sql.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(insert(Note).values(id=number, text="autocommit"))


async def write_by_raw_connection(site: Site, number: int) -> None:
    async with site.sql.engine.connect() as connection:
        raw = await connection.get_raw_connection()
        await raw.driver_connection.execute(f"insert into note values ({number}, 'raw')")


async def write_by_model(site: Site, number: int) -> None:
    await Memo.create(id=number, text="model")


async def write_by_tortoise_transaction(site: Site, number: int) -> None:
    async with await site.tortoise.create_session() as session:
        await Memo.create(id=number, text="by hand")
        await session.commit()


async def write_directly(site: Site, number: int) -> None:
    await site.manager.session().execute("insert into note values (:id, 'direct')", {"id": number})


async def read_by_session(site: Site, number: int) -> object:
    async with await site.sql.create_session(read_only=True) as session:
        return await session.scalar(select(Note.text).where(Note.id == number))


async def read_by_model(site: Site, number: int) -> object:
    return await Memo.filter(id=number).first().values_list("text", flat=True)


async def read_by_tortoise_transaction(site: Site, number: int) -> object:
    async with await site.tortoise.create_session(read_only=True):
        return await read_by_model(site, number)


async def read_directly(site: Site, number: int) -> object:
    return await site.manager.session().fetch_value("select text from note where id = :id", {"id": number})


WRITERS = (write_by_session, write_by_factory, write_by_engine, write_by_query, write_by_autocommit,
           write_by_raw_connection, write_by_model, write_by_tortoise_transaction, write_directly)  # fmt: skip
READERS = (read_by_session, read_by_model, read_by_tortoise_transaction, read_directly)
Write = Callable[[Site, int], Awaitable[None]]
Read = Callable[[Site, int], Awaitable[object]]


@pytest.mark.parametrize("write", WRITERS, ids=lambda each: each.__name__[9:])
async def test_every_read_sees_what_was_written_before_it(lagging: Site, write: Write) -> None:
    for read in READERS:
        number = lagging.new_id()
        await write(lagging, number)
        assert await read(lagging, number) is not None, (write, read)


async def pairs(site: Site, tasks: int, each: int) -> int:
    """Write-then-read pairs of every kind in concurrent tasks while replays pause and go on; how many were stale."""
    stale = 0
    going = True

    async def work(seed: int) -> None:
        nonlocal stale
        for turn in range(each):
            number = site.new_id()
            await WRITERS[(seed + turn) % len(WRITERS)](site, number)
            stale += await READERS[(seed + turn // 3) % len(READERS)](site, number) is None

    async def pause() -> None:
        while going:
            for replica in site.replicas:
                async with paused(replica):
                    await asyncio.sleep(0.1)

    pausing = asyncio.create_task(pause())
    try:
        async with asyncio.TaskGroup() as group:
            for seed in range(tasks):
                group.create_task(work(seed))
    finally:
        going = False  # not cancelled: a pause that is under way would come after what ends it
        await pausing
    return stale


async def test_no_pair_is_stale_while_replays_pause_and_go_on(site: Site) -> None:
    with site.served() as served:
        assert await pairs(site, 10, 60) == 0
    assert served.keys() & site.replica_names  # those that were not behind all the time


@pytest.mark.slow
async def test_of_many_thousands_of_pairs_none_is_stale(site: Site) -> None:
    assert await pairs(site, 15, 500) == 0


async def test_a_connection_that_is_kept_has_noted_its_commit(lagging: Site) -> None:
    number = lagging.new_id()
    async with lagging.sql.engine.connect() as connection:
        await connection.execute(insert(Note).values(id=number, text="kept"))
        await connection.commit()
        assert await read_directly(lagging, number) == "kept"
        await connection.execute(update(Note).where(Note.id == number).values(text="changed"))
        await connection.commit()
        assert await read_by_model(lagging, number) == "changed"
    async with lagging.sql.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(update(Note).where(Note.id == number).values(text="at once"))
        assert await read_directly(lagging, number) == "at once"


async def test_a_session_that_began_in_another_task_is_read_where_it_was_committed(lagging: Site) -> None:
    number = lagging.new_id()
    async with await lagging.sql.create_session() as session:
        await asyncio.wait_for(session.execute(insert(Note).values(id=number, text="waited for")), 30)
        await session.commit()
    assert await read_directly(lagging, number) == "waited for"


async def test_what_a_child_task_commits_is_read_in_a_causal_context(lagging: Site) -> None:
    number = lagging.new_id()
    with causal_context():
        await asyncio.create_task(write_by_session(lagging, number))
        assert await read_by_session(lagging, number) == "session"


async def test_sessions_that_only_read_leave_no_mark(site: Site) -> None:
    async with await site.sql.create_session() as session:
        await session.scalar(COUNT)
        await session.commit()
    with site.served() as served:
        await read_directly(site, 1)
        await read_by_session(site, 1)
    assert site.primary_name not in served


async def test_a_read_only_session_that_is_kept_sees_what_its_task_writes_meanwhile(any_site: Site) -> None:
    site, number = any_site, any_site.new_id()
    async with paused(*site.replicas):
        async with await site.sql.create_session(read_only=True) as session:
            before = await session.scalar(COUNT)
            await write_by_model(site, number)
            assert await session.scalar(COUNT) == before + 1
            assert await session.scalar(select(Note.text).where(Note.id == number)) == "model"
    await site.caught_up()


async def known_to_be_recent(site: Site, seconds: float) -> None:
    """Wait until the manager knows that no replica is behind by more than that."""
    topology = site.pool.topology
    assert topology.position is not None
    async with asyncio.timeout(20):
        while True:
            behind = [topology.position.seconds_behind(node.position) for node in topology.readers]
            if all(each is not None and each <= seconds for each in behind):
                return
            for node in topology:
                node.poll.request()
            await asyncio.sleep(0.02)


async def test_each_consistency_decides_whether_a_kept_session_stays_where_it_is(lagging: Site) -> None:
    async def first_and_second(consistency: Consistency | None, *, bound: float | None = None) -> tuple[int, int]:
        wanted = Consistency.bounded(bound) if bound else consistency
        if bound:
            await known_to_be_recent(lagging, bound / 2)
        async with await lagging.sql.create_session(read_only=True, consistency=wanted) as session:
            first = await session.scalar(COUNT)
            await write_directly(lagging, lagging.new_id())
            await asyncio.sleep(1.2)
            with lagging.served() as served:
                second = await session.scalar(COUNT)
        return second - first, served.total()

    assert await first_and_second(None, bound=1.0) == (1, 1)
    assert await first_and_second(None, bound=600) == (0, 0)
    assert await first_and_second(Consistency.EVENTUAL) == (0, 0)
    assert await first_and_second(Consistency.STRONG) == (1, 0)


async def test_a_kept_session_with_settings_of_its_own_waits_for_its_node(site: Site) -> None:
    number = site.new_id()
    replica = site.replicas[0]
    async with opened(site.primary, replica, connection_pools={"connection_timeout": 1.0}) as small:
        async with small.sql.read_only_engine.connect() as connection:
            await connection.scalar(COUNT)
            (await connection.get_raw_connection()).driver_connection  # noqa: B018 - from here on it has settings
            async with paused(replica):
                await write_directly(small, number)
                with pytest.raises(NoNodeError, match="stays on"):
                    await connection.scalar(COUNT)
            await site.caught_up()
            assert await connection.scalar(select(Note.text).where(Note.id == number)) == "direct"


async def test_a_read_only_session_survives_the_loss_of_its_connection_between_two_reads(any_site: Site) -> None:
    async with await any_site.sql.create_session(read_only=True) as session:
        before = await session.scalar(COUNT)
        for replica in any_site.replicas:
            any_site.node(replica).pool.sever("a test")
        assert await session.scalar(COUNT) == before
