"""Many migrators at once: one applies, none fails."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.children import SECONDS_MAX, appears, child, ended
from tests.migrations.mongodb.ground import Ground

from sillar import DatabaseManager
from sillar.errors import MigrationLockError
from sillar.migrations.mongodb.history import History
from sillar.migrations.mongodb.journal import Journal, JournalEntry
from sillar.migrations.mongodb.lease import MigratorLease
from sillar.migrations.mongodb.store import DocumentStore

BODY = """
async def upgrade(op: DocumentOperations) -> None:
    await op.insert_many("birds", [{"name": "Hornero"}])
"""
PROGRAM = (sys.executable, "-m", "tests.migrations.mongodb.killed_run")
MIGRATORS = 20
ROUNDS = 50


async def test_fifty_rounds_of_twenty_migrators(ground: Ground) -> None:
    ground.write("a1", BODY)
    waited = 0
    async with AsyncExitStack() as stack:
        managers = [await stack.enter_async_context(DatabaseManager.from_url(ground.url)) for _ in range(MIGRATORS)]
        for number in range(ROUNDS):
            runners = [ground.runner(manager, lease_seconds=60.0) for manager in managers]
            applied = await asyncio.gather(*(runner.upgrade("head") for runner in runners))
            assert sum(len(each) for each in applied) == 1
            waited += sum(not each for each in applied)
            assert await ground.documents("birds").count() == 1
            assert await ground.journal() == []
            await ground.driver.drop_collection("birds")
            await ground.driver.drop_collection("_migrations")
            if number % 2:  # the first migrators find no lease, too
                await ground.driver.drop_collection("_migration_lease")
    assert waited == ROUNDS * (MIGRATORS - 1)


async def test_migrators_in_processes_of_their_own(plain_ground: Ground) -> None:
    ground = plain_ground
    ground.write("a1", BODY)
    requests = json.dumps([ground.url, str(ground.folder), "up", "head", "", 60.0]).encode() + b"\n"

    async def migrate() -> int:
        _, printed, _ = await ended(*PROGRAM, given=requests, stdin=PIPE, stdout=PIPE)
        return int(printed)

    assert await asyncio.gather(*(migrate() for _ in range(2))) == [0, 0]
    assert await ground.documents("birds").count() == 1
    assert len(await ground.runner().log()) == 1


def lease_of(ground: Ground, seconds: float = 2.0) -> MigratorLease:
    return MigratorLease(DocumentStore(ground.manager.executor()), "_migration_lease", seconds=seconds)


async def test_a_lease_is_renewed_and_another_one_waits_in_vain(each_ground: Ground) -> None:
    first, second = lease_of(each_ground, 4.0), lease_of(each_ground, 4.0)
    async with first.held(20.0):
        with pytest.raises(MigrationLockError, match=r"another migrator \(.*\) is at work .* migrator_timeout=4\.5 s"):
            async with second.held(4.5):
                raise AssertionError("two at once")
        await first.check()
    async with second.held(20.0):
        assert second.number == first.number + 1


async def test_a_holder_that_was_away_may_write_nothing_more(each_ground: Ground) -> None:
    """Its lease ended and another migrator took over: the journal refuses it, and so does its own check."""
    store = DocumentStore(each_ground.manager.executor())
    away, next_one = lease_of(each_ground), lease_of(each_ground)
    away._renew_always = lambda: asyncio.sleep(3600)  # type: ignore[method-assign, assignment]  # frozen
    journals = Journal(store, "_migration_steps")
    async with away.held(20.0):
        journal = await journals.begin(away, "a1", direction="up", name="x", checksum="", entry=1)
        await journal.write(JournalEntry(1, "started", "", "x"))
        async with next_one.held(20.0):
            taken = await journals.take_over(next_one, "a1")
            with pytest.raises(MigrationLockError, match="has lost its lease"):
                await journal.write(JournalEntry(1, "done", "", "x"))
            with pytest.raises(MigrationLockError, match="has lost its lease"):
                await journal.close()
            with pytest.raises(MigrationLockError, match=f"to {next_one.owner}"):
                await away.check()
            with pytest.raises(MigrationLockError):
                await journals.take_over(away, "a1")
            assert (await journals.open_runs())[0]["steps"]["1"]["state"] == "started"
            await taken.close()


async def test_a_holder_that_lost_its_lease_stops_before_the_next_step(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.create_collection("birds")
            thief = {"$set": {"owner": "thief"}, "$inc": {"number": 1}}
            await op.documents("_migration_lease").update_one({"_id": "migrator"}, thief)
            await op.documents("_migration_steps").update_one({"_id": "a1"}, {"$set": {"owner": "thief"}})
            await op.create_collection("nests")
        """,
    )
    with pytest.raises(MigrationLockError, match="has lost its lease") as caught:
        await ground.runner().upgrade("head")
    assert "1 of its steps are done" in "".join(caught.value.__notes__)
    assert await ground.names() == {"birds"}


async def test_a_holder_that_lost_its_lease_logs_nothing(ground: Ground) -> None:
    """Between its last step and the log: whoever has it now may undo that step, or has done so."""
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.create_collection("birds")
            await op.documents("_migration_steps").update_one({"_id": "a1"}, {"$set": {"owner": "thief"}})
        """,
    )
    with pytest.raises(MigrationLockError, match="has lost its lease"):
        await ground.runner().upgrade("head")
    assert await ground.runner().log() == []


async def test_a_process_that_was_frozen_in_a_step_sends_nothing_more(ground: Ground) -> None:
    """It had looked whether the collection is there, and would have dropped it next: it is another one by then."""
    ground.write(
        "a1",
        """
        async def upgrade(op: DocumentOperations) -> None:
            await op.drop_collection("birds")
            await op.insert_many("birds", [{"name": "new"}])
        """,
    )
    await ground.documents("birds").insert_one({"name": "old"})
    request = json.dumps([ground.url, str(ground.folder), "up", "head", "1 frozen", 0.3]).encode() + b"\n"
    async with child(*PROGRAM, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        end = asyncio.create_task(process.communicate(request))
        frozen = ground.folder / "frozen"
        await appears(frozen, end)
        applied = await ground.runner(lease_seconds=20.0).upgrade("head")
        assert [each.version for each in applied] == ["a1"]
        os.kill(int(frozen.read_text()), signal.SIGCONT)
        printed, complained = await asyncio.wait_for(end, SECONDS_MAX)
    assert int(printed) == 1
    assert "MigrationLockError: this migrator has lost its lease of 0.3 s" in complained.decode()
    assert await ground.documents("birds").find({}, projection={"_id": 0}) == [{"name": "new"}]
    assert len(await ground.runner().log()) == 1


async def test_the_log_takes_an_entry_once(ground: Ground) -> None:
    history = History(DocumentStore(ground.manager.executor()), "_migrations")
    entry: dict[str, Any] = {
        "version": "a1",
        "name": "x",
        "direction": "up",
        "duration_seconds": 1.0,
        "checksum": "c",
        "environment": "test",
    }
    first = await history.add(1, ["a1"], **entry)
    again = await history.add(1, ["a1"], **{**entry, "duration_seconds": 2.0})  # after a kill between log and journal
    assert again.duration_seconds == first.duration_seconds == 1.0
    assert len(await history.log()) == 1


async def test_a_run_that_was_logged_and_not_closed(ground: Ground) -> None:
    ground.write("a1", BODY)
    await ground.runner().upgrade("head")
    lease = lease_of(ground)
    store = DocumentStore(ground.manager.executor())
    async with lease.held(20.0):
        await Journal(store, "_migration_steps").begin(lease, "a1", direction="up", name="", checksum="", entry=1)
    assert await ground.runner().interrupted() == ()
    assert await ground.runner().upgrade("head") == []
    assert await ground.journal() == []
