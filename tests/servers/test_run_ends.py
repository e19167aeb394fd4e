"""However a test run ends, its servers end with it; and runs side by side do not meet."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from sillar.testing.servers import PostgreSQLServer, RedisServer, ServerFleet
from sillar.testing.servers.folder import PREFIX, RunFolder
from sillar.testing.servers.port import PortReservation

RUN = textwrap.dedent(
    """
    import asyncio, os, sys
    from sillar.testing.servers import PostgreSQLServer, RedisServer

    async def main():
        servers = [PostgreSQLServer(own=True), RedisServer(own=True)]
        await asyncio.gather(*(server.start() for server in servers))
        if "frozen" in sys.argv:
            await servers[0].freeze()
        if "forked" in sys.argv and os.fork() == 0:
            # A child that inherits all descriptors and outlives the run.
            import time
            time.sleep(120)
            os._exit(0)
        for server in servers:
            print(server.pid, server.log.parent, flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
    """
)


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGKILL, ""),
        (signal.SIGTERM, ""),
        (signal.SIGINT, ""),
        (signal.SIGKILL, "frozen"),
        (signal.SIGKILL, "forked"),
    ],
)
def test_servers_end_with_an_interrupted_run(number: signal.Signals, how: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        lines = [run.stdout.readline().split() for _ in range(2)]
        servers = [psutil.Process(int(pid)) for pid, _ in lines]
        processes = [process for server in servers for process in (server, *server.children(recursive=True))]
        folders = [Path(folder) for _, folder in lines]
        assert len(processes) > 5
        assert all(folder.is_dir() for folder in folders)
        os.kill(run.pid, number)
        run.wait(30)
        _, alive = psutil.wait_procs(processes, timeout=30)
        if how == "forked":
            os.killpg(run.pid, signal.SIGKILL)
    assert not alive
    deadline = time.monotonic() + 30
    while any(folder.exists() for folder in folders) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(folder.exists() for folder in folders)


@pytest.mark.asyncio
async def test_servers_end_with_their_supervisor() -> None:
    """Even the watcher may be killed, by a lack of memory for example."""
    server = PostgreSQLServer(own=True)
    await server.start()
    main = psutil.Process(server.pid)
    processes = [main, *main.children(recursive=True)]
    supervisor = main.parent()
    assert supervisor is not None
    # Everybody on the machine may read a command line: nothing secret, and no settings at all, stand in it.
    assert supervisor.cmdline()[-1].endswith("supervisor.py")
    assert supervisor.pid != os.getpid()
    supervisor.kill()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive
    with pytest.warns(UserWarning, match="ended by itself"):
        await server.close()


def test_folders_of_dead_runs_are_swept(tmp_path: Path) -> None:
    script = "import os, sys; from pathlib import Path; from sillar.testing.servers.folder import RunFolder; "
    script += "folder = RunFolder(Path(sys.argv[1])); (folder.path / 'data').mkdir(); os._exit(0)"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    [dead] = tmp_path.glob(f"{PREFIX}*")
    living = RunFolder(tmp_path)
    assert not dead.exists()
    another = RunFolder(tmp_path)
    assert living.path.is_dir()
    assert another.path.is_dir()
    living.remove()
    another.remove()
    assert list(tmp_path.iterdir()) == []


def test_no_port_is_given_twice() -> None:
    reservations = [PortReservation() for _ in range(50)]
    ports = [reservation.port for reservation in reservations]
    assert len(set(ports)) == 50
    assert all(20000 <= port < 32768 for port in ports)
    for reservation in reservations:
        reservation.release()


@pytest.mark.asyncio
async def test_another_port_when_somebody_took_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody binds the port between its reservation and the server's start."""
    async with RedisServer(own=True) as squatter:
        reserve = RedisServer._reserve_port
        taken = []

        def reserve_the_taken_one(server: RedisServer) -> None:
            reserve(server)
            if not taken:
                taken.append(server.port)
                server.port = squatter.port

        monkeypatch.setattr(RedisServer, "_reserve_port", reserve_the_taken_one)
        # Asked for a password that the squatter does not know, so that its answers are none.
        async with RedisServer(settings={"requirepass": "stone"}) as server:
            assert taken
            assert server.port != squatter.port


@pytest.mark.asyncio
async def test_two_fleets_side_by_side() -> None:
    async with ServerFleet() as one, ServerFleet() as other:
        first, again, second, redis = await asyncio.gather(
            one.postgresql(), one.postgresql(), other.postgresql(), one.redis()
        )
        assert first is again
        assert first is not second
        assert first.port != second.port
        assert first.log != second.log
        assert await first.execute_as_superuser("select 1") == await second.execute_as_superuser("select 1") == [(1,)]
        # What a test has killed is there again for the next one.
        await redis.kill()
        assert await one.redis() is redis
        assert redis.is_running
        await redis.freeze()
        assert await (await one.redis()).execute("PING") == "PONG"
        pids = [first.pid, second.pid, redis.pid]
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.asyncio
async def test_a_server_that_ended_by_itself_is_told() -> None:
    server = PostgreSQLServer(own=True)
    await server.start()
    psutil.Process(server.pid).kill()
    async with asyncio.timeout(10):
        while server.is_running:
            await asyncio.sleep(0.01)
    with pytest.warns(UserWarning, match=r"ended by itself with status 137; log: .*\.log"):
        await server.close()
