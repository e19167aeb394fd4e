"""``sillar chaos`` as a user runs it: a process of its own, against a PostgreSQL primary with a replica."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.chaos.cluster import Cluster, name_of

from sillar.cli.application import run
from sillar.testing.servers import PostgreSQLServer

pytestmark = pytest.mark.slow


@dataclass
class Ended:
    """How a process has ended."""

    status: int | None
    printed: str
    complained: str


async def sillar(*arguments: str, code: str = "", stdin: int = asyncio.subprocess.DEVNULL) -> Ended:
    start = ["-c", code] if code else ["-m", "sillar.cli"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *start,
        *arguments,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("SILLAR__")} | {"COLUMNS": "200"},
    )
    try:
        printed, complained = await asyncio.wait_for(process.communicate(), 90)
    finally:
        if process.returncode is None:  # it must not go on beside the tests that follow
            process.kill()
            await process.wait()
    return Ended(process.returncode, printed.decode(), complained.decode())


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Cluster]:
    async with PostgreSQLServer(own=True) as primary:
        yield Cluster(primary, [await primary.add_replica(synchronous=True)])


@pytest.fixture
async def pair(servers: Cluster) -> AsyncIterator[Cluster]:
    """A primary with a synchronous replica, without tables."""
    yield servers
    for table in await tables(servers):  # only after a test that failed
        await servers.primary.execute_as_superuser(f"drop table {table}", database=servers.primary.database)


async def tables(pair: Cluster) -> list[str]:
    rows = await pair.primary.execute_as_superuser(
        "select tablename from pg_tables where schemaname = 'public' order by 1", database=pair.primary.database
    )
    return [row[0] for row in rows]


async def test_a_cut_replica_is_survived(pair: Cluster) -> None:
    [replica] = pair.replicas
    ended = await sillar(
        "chaos", "--url", pair.url(), "--target", name_of(replica), "--fault", "refuse", "--duration", "4", "--yes",
        "--path", "direct", "--path", "tortoise", "--path", "sqlalchemy", "--table", "scratch",
    )  # fmt: skip
    assert ended.status == 0, ended
    assert re.search(r"requests .* \d{2,} direct \+ \d{2,} tortoise \+ \d{2,} sqlalchemy", ended.printed)
    assert re.search(r"lost +│ 0 ", ended.printed)
    assert re.search(r"held +│ yes", ended.printed)
    assert "injecting: refused" in ended.complained
    assert "healing: refused" in ended.complained
    assert await tables(pair) == []


async def test_a_primary_behind_a_black_hole_comes_back(pair: Cluster, tmp_path: Path) -> None:
    """The client alone is cut off, so nobody is promoted: it waits, and writes again once the network is there."""
    file = tmp_path / "sillar.toml"
    file.write_text(
        f'default_database = "other"\n[databases.main]\nurl = "{pair.url()}"\n[databases.other]\nurl = "sqlite:///{tmp_path}/other.db"\n'
        '[databases.main.topology]\ndiscovery = "servers"\n'
    )
    ended = await sillar(
        "chaos", "--config", str(file), "--database", "main", "--target", name_of(pair.primary),
        "--fault", "black-hole", "--duration", "8", "--fault-seconds", "3", "--rate", "30", "--yes",
    )  # fmt: skip
    assert ended.status == 0, ended
    assert re.search(r"outage +│ [2-4]\.\d", ended.printed), ended.printed
    assert re.search(r"p99 +│ [0-4]\.\d", ended.printed)
    assert "discovery of nodes is off" in ended.complained
    assert not (tmp_path / "other.db").exists()


async def test_commands_of_the_user_break_and_repair(pair: Cluster, tmp_path: Path) -> None:
    """A server that is killed by the user's command and never comes back: the expectation does not hold."""
    async with PostgreSQLServer(own=True) as server:
        server._ought_to_run = False  # it will not, and that is no news
        marks = tmp_path / "marks"
        ended = await sillar(
            "chaos", "--url", server.url, "--target", name_of(server), "--duration", "3", "--fault-seconds", "1",
            "--on-inject", f"echo in >> {marks}; kill -QUIT {server.pid}",
            "--on-heal", f"echo out >> {marks}", "--yes", "--recovery-seconds", "0.5",
        )  # fmt: skip
        assert ended.status == 1, ended
        assert marks.read_text().split() == ["in", "out"]
        assert re.search(r"did not hold: recovery p99: inf", ended.printed)
        assert "is left behind, drop it by hand" in ended.complained


async def test_a_command_that_fails_is_an_error(pair: Cluster) -> None:
    ended = await sillar(
        "chaos", "--url", pair.url(), "--target", name_of(pair.primary), "--on-inject", "echo oh dear; exit 3",
        "--duration", "2", "--yes",
    )  # fmt: skip
    assert ended.status == 2
    assert "ended with status 3: oh dear" in ended.complained
    assert await tables(pair) == []


async def test_a_table_that_is_there_is_left_alone(pair: Cluster) -> None:
    async def run() -> Ended:
        return await sillar(
            "chaos", "--url", pair.url(), "--target", name_of(pair.primary), "--fault", "cut", "--duration", "2",
            "--table", "mine", "--yes",
        )  # fmt: skip

    for table in ("mine", "mine_probe"):
        await pair.primary.execute_as_superuser(f"create table {table} (id int)", database=pair.primary.database)
        ended = await run()
        assert ended.status == 1
        assert f'"{table}" already exists' in ended.complained
        assert await tables(pair) == [table]
        await pair.primary.execute_as_superuser(f"drop table {table}", database=pair.primary.database)


async def test_wrong_use(pair: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, in a thread: a start of Python for each would take longer than all the rest."""
    production = tmp_path / "production.toml"
    production.write_text(f'profile = "prod"\n[databases.default]\nurl = "{pair.url()}"\n')
    here = ["--url", pair.url(), "--target", name_of(pair.primary)]
    wrong = [
        ([*here], "either --fault (cut, black-hole, refuse, delay) or --on-inject"),
        ([*here, "--fault", "cut", "--on-inject", "true"], "either --fault"),
        ([*here, "--fault", "cut", "--on-heal", "true"], "--on-heal belongs to --on-inject"),
        ([*here, "--fault", "earthquake"], "there is no fault 'earthquake'; there are cut"),
        ([*here, "--fault", "cut"], "give --yes"),
        ([*here, "--fault", "cut", "--duration", "3600"], "600"),
        ([*here, "--fault", "cut", "--fault-seconds", "29"], "half of --duration (30)"),
        ([*here, "--fault", "cut", "--yes", "--table", "users; drop"], "no name for the scratch table"),
        ([*here, "--fault", "cut", "--yes", "--path", "carrier pigeon"], "no path 'carrier pigeon'"),
        ([*here, "--fault", "cut", "--database", "none"], "no database 'none'"),
        ([*here, "--config", "x.toml", "--fault", "cut"], "either --config or --url"),
        (["--target", "h:1", "--fault", "cut"], "databases"),
        (["--target", "h:1", "--fault", "cut", "--config", "nowhere.toml"], "no configuration file nowhere.toml"),
        (["--url", pair.url(), "--target", "db9:5432", "--fault", "cut"], f"there are {name_of(pair.servers[0])}, "),
        (["--url", pair.url(), "--fault", "cut"], "--target"),
        (["--config", str(production), "--target", name_of(pair.primary), "--fault", "cut", "--yes"], "is prod"),
    ]
    for arguments, words in wrong:
        status = await asyncio.to_thread(run, ["chaos", *arguments])
        complained = capsys.readouterr().err
        assert status == 2, (arguments, complained)
        assert words in complained.replace("\n", " "), (arguments, complained)
    assert await tables(pair) == []


async def test_nobody_there(pair: Cluster) -> None:
    ended = await sillar(
        "chaos", "--url", "postgresql://u:p@127.0.0.1:9/db", "--target", "127.0.0.1:9", "--fault", "cut", "--yes"
    )
    assert ended.status == 1
    assert "Traceback" not in ended.complained
    assert "127.0.0.1:" in ended.complained


@pytest.mark.parametrize(("answer", "status"), [("n\n", 2), ("y\n", 0)])
async def test_a_person_confirms(pair: Cluster, answer: str, status: int) -> None:
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        ended = await sillar(
            "chaos", "--url", pair.url(), "--target", name_of(pair.replicas[0]), "--fault", "delay", "--duration", "2",
            stdin=theirs,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert ended.status == status, ended
    assert f"Inject this at {name_of(pair.replicas[0])}?" in ended.complained
    assert ("nothing was done" in ended.complained) == (status == 2)


@pytest.mark.parametrize("package", ["typer", "rich"])
async def test_a_missing_extra_is_named(package: str) -> None:
    ended = await sillar(
        code=f"import sys; sys.modules[{package!r}] = None; from sillar.cli import main; sys.exit(main())"
    )
    assert ended.status == 2
    assert (
        ended.complained
        == f"sillar: the command line needs {package}, which is not installed: pip install 'sillar[cli]'\n"
    )


async def test_help_names_everything() -> None:
    ended = await sillar("chaos", "--help")
    assert ended.status == 0
    for option in ("--target", "--fault", "--on-inject", "--on-heal", "--duration", "--rate", "--table", "--yes"):
        assert option in ended.printed
