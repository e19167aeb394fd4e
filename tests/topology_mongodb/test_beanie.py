"""Beanie's documents on a replica set: read where the context says, and never without what the line has written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import Context
from typing import Any

import pytest
from beanie import Document
from pymongo import ReadPreference
from tests.topology_mongodb.conftest import PRIMARY, SECONDARY, elsewhere, seen

from sillar import Consistency, DatabaseManager, consistency_context, replica_context
from sillar.errors import ReadOnlyError
from sillar.integrations.beanie import BeanieIntegration
from sillar.testing.servers.mongodb_gateway.stand_in_set import StandInReplicaSet


class Note(Document):
    text: str

    class Settings:
        name = "beanie_notes"


COLLECTION = "beanie_notes"


@pytest.fixture
async def integration(manager: DatabaseManager, replica_set: StandInReplicaSet) -> AsyncIterator[BeanieIntegration]:
    integration = BeanieIntegration(manager)
    await integration.open(Note)
    await elsewhere(_clean())
    for member in replica_set.members:
        member.seen.clear()
    return integration


async def _clean() -> None:
    await Note.find_all().delete()


@pytest.mark.usefixtures("integration")
async def test_reads_follow_the_context(replica_set: StandInReplicaSet) -> None:
    async def work() -> list[Any]:
        assert await Note.find_all().to_list() == []
        assert await Note.find_one(Note.text == "none") is None
        assert await Note.count() == 0
        with consistency_context(Consistency.STRONG):
            assert await Note.find_all().to_list() == []
        found = (
            await Note.get_pymongo_collection().with_options(read_preference=ReadPreference.NEAREST).count_documents({})
        )
        assert found == 0
        await replica_set.hold_back(SECONDARY)
        await Note(text="own").insert()
        return await Note.find_all().to_list()

    task = asyncio.create_task(work(), context=Context())  # opening Beanie has created indexes
    await asyncio.sleep(0.5)
    assert not task.done()
    await replica_set.catch_up(SECONDARY)
    assert [note.text for note in await asyncio.wait_for(task, 10)] == ["own"]
    first, one, own = seen(replica_set, SECONDARY, COLLECTION)
    assert {first.preference, one.preference, own.preference} == {"secondaryPreferred"}
    assert first.after is None
    assert own.after is not None
    assert len(seen(replica_set, PRIMARY, COLLECTION)) == 1
    counted = [seen(replica_set, each, COLLECTION, "aggregate") for each in (PRIMARY, SECONDARY)]
    assert "nearest" in {each.preference for member in counted for each in member}


async def test_transactions_and_blocks_that_only_read(
    integration: BeanieIntegration, replica_set: StandInReplicaSet
) -> None:
    async with integration.transaction():
        await Note(text="inside").insert()
        assert await Note.count() == 1
    assert len(seen(replica_set, PRIMARY, COLLECTION, "aggregate")) == 1
    with replica_context():
        assert [note.text for note in await Note.find_all().to_list()] == ["inside"]
        with pytest.raises(ReadOnlyError):
            async with integration.errors():
                await Note(text="refused").insert()
    assert seen(replica_set, SECONDARY, COLLECTION)[0].after is not None
