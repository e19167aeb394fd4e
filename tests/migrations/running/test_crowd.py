"""Twenty migrators at once, many rounds: one of them applies, nobody fails."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import pytest
from tests.children import child
from tests.migrations.running.project import Place, Project

PROCESSES, EACH = 4, 5
ANSWER_SECONDS = 120.0
ROUNDS = {"postgresql": 50, "mariadb": 10, "mysql": 10, "sqlite": 20}


def write(project: Project, place: Place, rounds: int) -> list[str]:
    project.revision("r000", 'op.create_table("crowd", sa.Column("n", sa.Integer, nullable=False))')
    for number in range(1, rounds + 1):
        body = f'op.execute("INSERT INTO crowd (n) VALUES ({number})")'
        if place.is_postgresql and number % 5 == 0:  # which would wait for whoever waits for a lock in the server
            create = f'op.execute("CREATE INDEX CONCURRENTLY i{number} ON crowd (n)")'
            body += f"\nwith op.get_context().autocommit_block():\n    {create}"
        elif number % 5 == 0:
            body += f'\nop.create_index("i{number}", "crowd", ["n"])'
        project.revision(f"r{number:03}", body)
    return [f"r{number:03}" for number in range(1, rounds + 1)]


@pytest.mark.parametrize("place", ROUNDS, indirect=True)
async def test_one_of_twenty_applies(place: Place, project: Project, every_point: bool) -> None:
    rounds = max(ROUNDS.values()) if every_point else ROUNDS[place.name]
    versions = write(project, place, rounds)
    await project.manager(place).apply_migrations("r000")
    program = (sys.executable, "-m", "tests.migrations.running.crowd_run")
    arguments = (place.name, json.dumps(place.settings), str(project.folder), str(EACH))
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.DEVNULL}

    async def answer(process: asyncio.subprocess.Process) -> bytes:
        assert process.stdout is not None
        return await asyncio.wait_for(process.stdout.readline(), ANSWER_SECONDS)

    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(child(*program, *arguments, **pipes)) for _ in range(PROCESSES)]
        assert await asyncio.gather(*map(answer, processes)) == [b"ready\n"] * PROCESSES
        for version in versions:
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(f"{version}\n".encode())
            found = [each for line in await asyncio.gather(*map(answer, processes)) for each in json.loads(line)]
            assert len(found) == PROCESSES * EACH
            assert sorted(found) == [[]] * (len(found) - 1) + [[version]]
    assert await place.execute("SELECT n FROM crowd ORDER BY n") == [(number,) for number in range(1, rounds + 1)]
    log = await project.manager(place).history()
    assert [each.version for each in log] == ["r000", *versions]
