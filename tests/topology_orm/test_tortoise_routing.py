"""Which node Tortoise works on."""

from __future__ import annotations

import pytest
from tortoise.expressions import F
from tortoise.transactions import in_transaction

from sillar import Consistency, consistency_context, primary_context, replica_context
from sillar.errors import ReadOnlyError
from sillar.integrations.tortoise import TortoiseIntegration

from .conftest import MODELS, Site
from .models import Memo


async def test_single_reads_go_to_replicas_and_all_else_to_the_primary(any_site: Site) -> None:
    site = any_site
    with site.served() as served:
        for _ in range(4):
            await Memo.all().count()
        await site.tortoise.execute_query(Memo.filter(id=-1))
        await site.tortoise.execute_query("select count(*) from note")
    assert served.keys() <= site.replica_names
    number = site.new_id()
    with site.served() as served:
        await Memo.create(id=number, text="a")
        await Memo.filter(id=number).update(text=F("text"))
        await Memo.filter(id=number).delete()
    assert served == {site.primary_name: 3}
    await site.caught_up()
    with site.served() as served:
        await Memo.filter(id=number).select_for_update()
    assert served == {site.primary_name: 1}


async def test_a_transaction_stays_where_it_began(any_site: Site) -> None:
    site, number = any_site, any_site.new_id()
    with site.served() as served:
        async with in_transaction() as connection:
            await Memo.create(id=number, text="inside")
            assert await Memo.filter(id=number).count() == 1
            assert await Memo.filter(id=number).using_db(connection).count() == 1
            with replica_context():  # too late: the transaction has begun
                assert await Memo.filter(id=number).count() == 1
    assert served == {site.primary_name: 1}


@pytest.mark.parametrize("consistency", [Consistency.EVENTUAL, Consistency.STRONG])
async def test_a_transaction_that_only_reads(any_site: Site, consistency: Consistency) -> None:
    site = any_site
    with site.served() as served:
        session = await site.tortoise.create_session(read_only=True, consistency=consistency)
        await Memo.all().count()
        with pytest.raises(ReadOnlyError):
            await Memo.create(id=-1, text="never")
        await session.rollback()
        with replica_context(), consistency_context(consistency), pytest.raises(ReadOnlyError):
            async with in_transaction():
                await Memo.all().count()
                await Memo.create(id=-1, text="never")
    assert (served.keys() == {site.primary_name}) == (consistency == Consistency.STRONG)
    assert served.total() == 2
    with site.served() as served, primary_context():
        async with await site.tortoise.create_session(read_only=True):
            await Memo.all().count()
        await Memo.all().count()
    assert served == {site.primary_name: 2}


async def test_a_savepoint_in_a_read_only_session_is_one_of_it(site: Site) -> None:
    with site.served() as served:
        async with await site.tortoise.create_session(read_only=True), in_transaction():
            await Memo.all().count()
    assert served.total() == 1
    assert served.keys() <= site.replica_names


class Router:
    """A stock one: reads to one alias, writes to another."""

    def db_for_read(self, model: type) -> str:
        return "default"

    def db_for_write(self, model: type) -> str:
        return "default"


async def test_stock_routers_go_on_working(site: Site) -> None:
    tortoise = TortoiseIntegration(site.manager)
    await tortoise.open(modules={"models": [MODELS]}, routers=[Router])
    number = site.new_id()
    with tortoise.entered():
        with site.served() as served:
            await Memo.all().count()
        assert served.keys() <= site.replica_names
        async with in_transaction("default"):
            await Memo.create(id=number, text="routed")
            assert await Memo.filter(id=number).count() == 1
    await tortoise.open(modules={"models": [MODELS]})
