"""What leaves a mark in a line of work, and what does not."""

from __future__ import annotations

import asyncio

import pytest
from tests.replicated import Replicated
from tests.topology.conftest import pool_of

from sillar import DatabaseManager
from sillar.consistency import current_causality


async def test_a_commit_leaves_a_mark_and_a_rollback_none(manager: DatabaseManager, replicated: Replicated) -> None:
    async def work(outcome: str) -> bool:
        async with manager.session() as session:
            transaction = await session.transaction().begin()
            await transaction.execute("insert into note values (:id, 'mark')", {"id": 30_000 + len(outcome)})
            if outcome == "commit":
                await transaction.commit()
            else:
                await transaction.rollback()
        return "default" in current_causality().marks

    assert await asyncio.create_task(work("commit")) is True
    assert await asyncio.create_task(work("rollback")) is False
    del replicated


async def test_reads_leave_no_mark(manager: DatabaseManager) -> None:
    async def work() -> bool:
        async with manager.session() as session:
            await session.fetch_value("select count(*) from note")
            async with session.transaction(read_only=True) as transaction:
                await transaction.fetch_value("select count(*) from note")
        return "default" in current_causality().marks

    assert await asyncio.create_task(work()) is False


async def test_a_write_that_may_have_been_applied_leaves_a_mark(manager: DatabaseManager) -> None:
    async def work() -> bool:
        async with manager.session() as session:
            with pytest.raises(Exception, match="note"):
                await session.execute("insert into note select 1 from note_that_does_not_exist")
        return "default" in current_causality().marks

    assert await asyncio.create_task(work()) is True  # nobody looks at why it failed: a mark costs nothing
    assert pool_of(manager).topology.primary is not None
