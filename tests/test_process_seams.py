"""One loop per manager, forks, pickling, the portal, and a Python without the global lock where one is at hand."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
from asyncio.subprocess import PIPE
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.children import ended

from sillar import DatabaseManager, Portal
from sillar.errors import UsageError
from sillar.testing.servers import ServerFleet

ENGINES = ("sqlite", "postgresql", "mariadb", "mongodb")

FORK = """
import asyncio, json, os, sys
from sillar import DatabaseManager, DocumentCommand
from sillar.errors import UsageError

async def answers(manager, session=None):
    session = session or manager.session()
    return await session.fetch_value("SELECT 40 + 2") if not documents else await session.documents("fork").count({})

async def in_child(manager, session, lease):
    said = {}
    for name, work in (
        ("session", lambda: answers(manager)),
        ("old session", lambda: answers(manager, session)),
        ("connection", lambda: manager.get_connection()),
        ("old lease", lambda: lease.execute(statement)),
    ):
        try:
            await work()
        except UsageError as error:
            said[name] = str(error)
        else:
            said[name] = "it worked"
    async with DatabaseManager.from_url(url) as own:
        said["own manager"] = await answers(own)
    return said

async def main():
    async with DatabaseManager.from_url(url) as manager:
        session = manager.session()
        before = await answers(manager, session)
        lease = await manager.get_connection()
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                asyncio.events._set_running_loop(None)
                os.write(writable, json.dumps(asyncio.run(in_child(manager, session, lease))).encode())
            except BaseException as error:
                os.write(writable, json.dumps({"died": repr(error)}).encode())
            finally:
                os._exit(0)
        os.close(writable)
        loop = asyncio.get_running_loop()
        status = await loop.run_in_executor(None, os.waitpid, child, 0)
        with os.fdopen(readable) as answer:
            said = json.load(answer)
        after = [await answers(manager, session) for _ in range(5)]
        lease.release()
        figures = manager.pools["default"].stats()
        print(json.dumps({"parent": os.getpid(), "child": child, "said": said, "before": before, "after": after,
                          "lost": figures.lost_total, "opened": figures.opened_total}))

url, documents = sys.argv[1], sys.argv[2] == "mongodb"
statement = DocumentCommand("fork", "find", {"filter": {}}) if documents else "SELECT 1"
asyncio.run(main())
"""


async def run_program(program: str, *arguments: str) -> dict[str, Any]:
    """Run a program in a process of its own; its answer is the line of JSON."""
    status, output, errors = await ended(sys.executable, "-c", program, *arguments, stdout=PIPE, stderr=PIPE)
    assert status == 0, errors.decode()
    answer: dict[str, Any] = json.loads(next(line for line in output.decode().splitlines() if line.startswith("{")))
    return answer


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_forked_child_abandons_what_its_parent_goes_on_using(
    engine: str, fleet: ServerFleet, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/fork.db" if engine == "sqlite" else (await fleet.get(engine)).url
    answer = await run_program(FORK, url, engine)
    said = answer["said"]
    assert set(said) == {"session", "old session", "connection", "old lease", "own manager"}, said
    for attempt in ("session", "old session", "connection", "old lease"):
        assert str(answer["parent"]) in said[attempt], said
        assert str(answer["child"]) in said[attempt], said
        assert "open a new manager" in said[attempt]
    assert said["own manager"] == answer["before"]
    assert answer["after"] == [answer["before"]] * 5
    assert answer["lost"] == 0


async def test_what_belongs_to_a_process_refuses_pickling() -> None:
    async with DatabaseManager.from_url("sqlite://") as manager:
        session = manager.session()
        lease = await manager.get_connection()
        with Portal() as portal:
            for thing in (manager, session, lease, manager.pools["default"], portal):
                with pytest.raises(UsageError, match="cannot be pickled"):
                    pickle.dumps(thing)
        lease.release()
        config = pickle.loads(pickle.dumps(manager.config))
    assert config == manager.config


async def test_another_event_loop_is_refused_by_name() -> None:
    async with DatabaseManager.from_url("sqlite://") as manager:
        session = manager.session()
        stream = session.stream("SELECT 1")
        transaction = session.transaction()

        async def elsewhere() -> list[str]:
            said = []
            for work in (
                lambda: session.fetch_value("SELECT 1"),
                lambda: session.execute("SELECT 1"),
                manager.get_session,
                manager.get_connection,
                transaction.begin,
                lambda: session.bulk_insert("t", ["a"], [(1,)]),
                stream.__aenter__,
            ):
                with pytest.raises(UsageError) as caught:
                    await work()
                said.append(str(caught.value))
            return said

        messages = await asyncio.to_thread(asyncio.run, elsewhere())
        assert len(messages) == 7
        for message in messages:
            loops = re.findall(r"event loop \w+ at (0x[0-9a-f]+) in thread (\w+)", message)
            assert len(loops) == len(set(loops)) == 2, message
        assert await session.fetch_value("SELECT 1") == 1


async def test_a_manager_can_be_opened_in_one_loop_after_the_other() -> None:
    manager = DatabaseManager.from_url("sqlite://")

    async def use() -> int | None:
        async with manager:
            return await manager.session().fetch_value("SELECT 7", into=int)

    assert await asyncio.to_thread(asyncio.run, use()) == 7
    assert await use() == 7


def test_a_portal_serves_many_threads_with_one_manager(tmp_path: Path) -> None:
    manager = DatabaseManager.from_url(f"sqlite:///{tmp_path}/portal.db")

    async def store(number: int) -> str:
        session = manager.session()
        await session.execute("INSERT INTO n (n) VALUES (:n)", {"n": number})
        return threading.current_thread().name

    with Portal() as portal:
        portal.call(manager.initialize)
        session = portal.call(manager.get_session)
        portal.call(session.execute, "CREATE TABLE n (n INTEGER PRIMARY KEY)")
        with ThreadPoolExecutor(8) as threads:
            served_by = set(threads.map(lambda number: portal.call(store, number), range(100)))
        assert served_by == {"sillar-portal"}
        assert portal.call(session.fetch_value, "SELECT count(*) FROM n") == 100
        with pytest.raises(UsageError, match="there is no database 'nowhere'"):
            portal.call(manager.get_session, "nowhere")
        portal.call(manager.shutdown)


def test_a_portal_passes_errors_on_and_refuses_to_wait_for_itself() -> None:
    with Portal() as portal:

        async def fail() -> None:
            raise ValueError("from inside")

        async def call_again() -> str:
            with pytest.raises(UsageError, match="own thread") as caught:
                portal.call(fail)
            return str(caught.value)

        with pytest.raises(ValueError, match="from inside"):
            portal.call(fail)
        assert "await" in portal.call(call_again)
        with pytest.raises(UsageError, match="open already"):
            portal.__enter__()
    with pytest.raises(UsageError, match="closed"):
        portal.call(fail)
    assert not [thread for thread in threading.enumerate() if thread.name == "sillar-portal"]


# A Python without the global lock is looked for on PATH; where there is none, so is the test, and the run says so.
FREE_THREADED = next(filter(None, map(shutil.which, ("python3.14t", "python3.13t"))), None)

SMOKE = """
import asyncio, sys
assert not sys._is_gil_enabled()
from sillar import DatabaseManager

async def main(path):
    async with DatabaseManager.from_url(f"sqlite:///{path}") as manager:
        session = manager.session()
        await session.execute("CREATE TABLE n (n INTEGER PRIMARY KEY)")
        await session.bulk_insert("n", ["n"], [(n,) for n in range(1000)])
        print(await session.fetch_value("SELECT sum(n) FROM n"))

asyncio.run(main(sys.argv[1]))
"""

if FREE_THREADED is not None:
    PYTHON = FREE_THREADED

    def test_a_free_threaded_python_runs_the_path(tmp_path: Path) -> None:
        environment = tmp_path / "environment"
        subprocess.run([PYTHON, "-m", "venv", str(environment)], check=True)
        python = str(environment / "bin" / "python")
        root = str(Path(__file__).parents[1])
        subprocess.run([python, "-m", "pip", "install", "-q", root], check=True)
        said = subprocess.run(
            [python, "-c", SMOKE, str(tmp_path / "n.db")],
            check=True, capture_output=True, text=True, env=os.environ | {"PYTHON_GIL": "0"},
        )  # fmt: skip
        assert "499500" in said.stdout
else:
    print("no free-threaded Python on PATH: its smoke run is not part of this run")
