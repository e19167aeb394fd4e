"""Migrations whose process, or whose server, is killed at every step: the next run converges, each time."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from tests.children import SECONDS_MAX, child
from tests.migrations.mongodb.ground import Ground, NewGround

from sillar.errors import DatabaseError, MigrationStateError
from sillar.migrations.progress import Progress
from sillar.testing.conformance import eventually
from sillar.testing.servers import MongoDBServer
from sillar.testing.servers.mongodb_gateway.stand_in_set import StandInReplicaSet

TEN_STEPS = """
SCHEMA = {"bsonType": "object", "required": ["name"], "properties": {"name": {"bsonType": "string"}}}


def louder(document):
    document["song"] = document.get("song", "") + "!"
    return document


async def upgrade(op: DocumentOperations) -> None:
    await op.create_collection("birds", schema=SCHEMA)
    await op.insert_many("birds", [{"name": f"bird {n}", "grams": n} for n in range(40)])
    await op.create_index("birds", [("name", 1)], name="by_name", unique=True)
    await op.transform("birds", {}, {"$inc": {"grams": 1000}}, batch_documents=15, undo={"$inc": {"grams": -1000}})
    await op.set_validator("birds", {**SCHEMA, "required": ["name", "grams"]}, level="moderate")
    await op.transform("birds", {}, louder, batch_documents=15, undo={"$unset": {"song": ""}})
    await op.rename_collection("old", "older")
    await op.drop_index("older", "a_1")
    await op.delete_many("older", {"a": {"$lt": 5}}, batch_documents=2)
    await op.execute({"ping": 1}, if_interrupted="repeat")


async def downgrade(op: DocumentOperations) -> None:
    await op.drop_collection("birds")
"""
STEPS = 10
HIT = (3, 4, 5)
"""An index that is built, a transform in batches, a command."""
LEASE_SECONDS = 0.3


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """PyMongo forgets to close a socket whose opening failed: it is collected here, and not in a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


async def furnish(ground: Ground) -> None:
    ground.write("a1", TEN_STEPS)
    await ground.driver.old.create_index([("a", 1)])
    await ground.driver.old.insert_many([{"_id": n, "a": n} for n in range(10)])


async def check_done(ground: Ground) -> None:
    """The database is as one undisturbed run makes it: every step once."""
    database = ground.driver
    birds = await database.birds.find({}, {"_id": 0}).sort("grams").to_list()
    assert birds == [{"name": f"bird {n}", "grams": n + 1000, "song": "!"} for n in range(40)]
    assert (await database.birds.index_information())["by_name"]["unique"] is True
    options = await database.birds.options()
    assert options["validator"]["$jsonSchema"]["required"] == ["name", "grams"]
    assert options["validationLevel"] == "moderate"
    assert [each["a"] async for each in database.older.find({}).sort("a")] == [5, 6, 7, 8, 9]
    assert set(await database.older.index_information()) == {"_id_"}
    assert await ground.names() == {"birds", "older"}
    assert await ground.journal() == []
    runner = ground.runner()
    assert await runner.current() == ("a1",)
    assert [(each.version, each.direction) for each in await runner.log()] == [("a1", "up")]


class Processes:
    """Runs migrations in processes of their own: children of one, as long as it answers."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._parent: asyncio.subprocess.Process | None = None

    async def run(self, ground: Ground, place: str, way: str = "up", target: str = "head") -> bool:
        """Run the folder in a process of its own; whether it came to its end, and was not killed."""
        request = [ground.url, str(ground.folder), way, target, place, LEASE_SECONDS]
        try:
            async with asyncio.timeout(SECONDS_MAX / 2):
                code = await self._ask(json.dumps(request))
        except BaseException:  # the answer would be taken for that to the next request
            await self.close()
            raise
        assert code in (0, -9)
        return code == 0

    async def _ask(self, request: str) -> int:
        if self._parent is None:
            program = (sys.executable, "-m", "tests.migrations.mongodb.killed_run")
            pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
            self._parent = await self._stack.enter_async_context(child(*program, **pipes))
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(request.encode() + b"\n")
        return int(await self._parent.stdout.readline())

    async def close(self) -> None:
        """End what is there."""
        self._parent = None
        await self._stack.aclose()


@pytest.fixture(scope="module")
async def processes() -> AsyncIterator[Processes]:
    found = Processes()
    yield found
    await found.close()


PLACES = [f"{number} {moment}" for number in range(1, STEPS + 1) for moment in ("begun", "done", "noted")]


@pytest.mark.parametrize("chosen", ["begun", "done", "noted"])
async def test_the_process_is_killed_in_every_step(each_ground: Ground, processes: Processes, chosen: str) -> None:
    """One process after the other goes on from where the one before was killed, and is killed a step further."""
    ground = each_ground
    await furnish(ground)
    killed = 0
    for place in [each for each in PLACES if each.endswith(chosen)]:
        killed += not await processes.run(ground, place)
    assert killed == STEPS
    (journal,) = await ground.journal()
    assert len(journal["steps"]) == STEPS
    assert await ground.runner(lease_seconds=LEASE_SECONDS).interrupted() == ("a1",)
    await ground.runner(lease_seconds=LEASE_SECONDS).upgrade("head")
    await check_done(ground)


@pytest.mark.parametrize("batch", [2, 5, 8])
async def test_the_process_is_killed_between_a_batch_and_its_note(
    each_ground: Ground, processes: Processes, batch: int
) -> None:
    ground = each_ground
    await furnish(ground)
    assert not await processes.run(ground, f"batch {batch}")
    await ground.runner(lease_seconds=LEASE_SECONDS).upgrade("head")
    await check_done(ground)
    assert await ground.documents("birds").count({"_sillar_step": {"$exists": True}}) == 0


async def test_killed_once_at_each_place_and_undone_instead(each_ground: Ground, processes: Processes) -> None:
    """A migrator that was killed on its way up: what can be undone is, by a downgrade."""
    ground = each_ground
    await furnish(ground)
    assert not await processes.run(ground, "6 done")
    assert not await processes.run(ground, "9 noted")
    with pytest.raises(MigrationStateError, match="cannot be undone"):
        await ground.runner(lease_seconds=LEASE_SECONDS).downgrade("base")
    assert await processes.run(ground, "")
    await check_done(ground)


@pytest.mark.parametrize("moment", ["begun", "done"])
async def test_undone_before_the_step_without_a_reverse(each_ground: Ground, processes: Processes, moment: str) -> None:
    ground = each_ground
    await furnish(ground)
    assert not await processes.run(ground, f"8 {moment}")
    assert not await processes.run(
        ground, f"4 {'done' if moment == 'done' else 'noted'}", "down", "base"
    )  # while it undoes
    await ground.runner(lease_seconds=LEASE_SECONDS).downgrade("base")
    assert await ground.names() == {"old"}
    assert "a_1" in await ground.driver.old.index_information()
    assert await ground.documents("old").count() == 10
    assert await ground.runner().interrupted() == ()
    await ground.runner(lease_seconds=LEASE_SECONDS).upgrade("head")
    await check_done(ground)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_the_server_is_killed_in_a_step(new_ground: NewGround, every_point: bool) -> None:
    """It is killed when a step has begun, and comes back; the next run goes on, and is hit a step further."""
    async with MongoDBServer(own=True) as server:
        impatient = {
            "connection_options": {"server_selection_timeout": 0.5},
            "retry": {"attempts_max": 1, "transaction_attempts_max": 1},
        }
        ground: Ground = await new_ground(server.url, is_shared=False, **impatient)
        await furnish(ground)

        async def answers() -> bool:
            try:
                await ground.journal()
            except DatabaseError:  # the driver has not found it yet
                return False
            return True

        hit = 0
        steps = range(1, STEPS + 1) if every_point else HIT
        for number in steps:
            kills: list[asyncio.Task[None]] = []

            def kill_in(progress: Progress, number: int = number, kills: list[asyncio.Task[None]] = kills) -> None:
                if f"step {number}:" in progress.what and not kills:
                    kills.append(asyncio.get_running_loop().create_task(server.kill()))

            runner = ground.runner(lease_seconds=LEASE_SECONDS, settings={"report": kill_in})
            try:
                await runner.upgrade("head")
            except DatabaseError:
                hit += 1
            await asyncio.gather(*kills)
            if kills:
                await server.start()
                await eventually(answers, 60)
        await ground.runner(lease_seconds=LEASE_SECONDS).upgrade("head")
        await check_done(ground)
        assert hit >= len(steps) // 2  # a step may be through before the kill comes


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
async def test_another_primary_is_elected_in_a_step(two_members: StandInReplicaSet, new_ground: NewGround) -> None:
    """Commands are interrupted and transactions are aborted; the same run goes on with the new primary."""
    ground: Ground = await new_ground(two_members.url)
    await furnish(ground)
    elections: list[asyncio.Task[None]] = []

    def elect(progress: Progress) -> None:
        number = len(elections)
        if number < len(HIT) and f"step {HIT[number]}:" in progress.what:
            successor = (number + 1) % len(two_members.members)
            elections.append(asyncio.get_running_loop().create_task(two_members.set_primary(successor)))

    await ground.runner(settings={"report": elect}).upgrade("head")
    assert len(elections) == len(HIT)
    await asyncio.gather(*elections)
    await check_done(ground)
