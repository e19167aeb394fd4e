"""The command, in processes of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.children import child, ended

from sillar.testing.servers.port import PortReservation

COMMAND = (sys.executable, "-m", "codeatlas")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "quarry"
    root.mkdir()
    for number in range(5):
        (root / f"m{number}.py").write_text(f"def f{number}(a):\n    return a and {number}\n")
    return root


async def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, output, errors."""
    environment = {**os.environ, "COLUMNS": "200"}
    status, output, errors = await ended(*COMMAND, *arguments, cwd=folder, env=environment, stdout=PIPE, stderr=PIPE)
    return status, output.decode(), errors.decode()


@asynccontextmanager
async def serving(folder: Path, *arguments: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A command that serves on a port of its own: its address, as it printed it, and its process."""
    reservation = PortReservation()
    command = (*COMMAND, arguments[0], "--port", str(reservation.port), *arguments[1:])
    printed = b""
    try:
        async with child(*command, cwd=folder, stdout=PIPE, stderr=PIPE) as process:
            assert process.stdout is not None
            async with asyncio.timeout(120):
                while (match := re.search(rb"Serving on (http://\S+)", printed)) is None:
                    line = await process.stdout.readline()
                    assert line, printed + await process.stderr.read() if process.stderr else printed
                    printed += line
            yield match[1].decode(), process
    finally:
        reservation.release()


async def answer(address: str, path: str) -> Any:
    def ask() -> bytes:
        with urllib.request.urlopen(address + path, timeout=60) as response:
            body: bytes = response.read()
            return body

    body = await asyncio.to_thread(ask)
    return json.loads(body) if path.startswith("/api/") else body.decode()


async def test_index_makes_its_default_database_and_tells_what_it_did(tree: Path, tmp_path: Path) -> None:
    status, output, errors = await run(tmp_path, "index", str(tree))
    assert (status, errors) == (0, "")
    assert "Finished run 1 of quarry" in output
    assert "5 files, 5 analysed, 0 unchanged, 0 removed, 0 unparsable" in output
    assert (tmp_path / ".sillar/codeatlas.db").is_file()
    (tree / "m1.py").write_text("def broken(:\n")
    status, output, _ = await run(tmp_path, "index", str(tree), "--project", "quarry")
    assert status == 0
    assert "5 files, 1 analysed, 4 unchanged, 0 removed, 1 unparsable" in output
    status, output, _ = await run(tmp_path, "index", str(tree))
    assert "0 analysed, 5 unchanged" in output


async def test_index_reports_what_it_left_out(tree: Path, tmp_path: Path) -> None:
    folder = tree / ("f" * 200) / ("g" * 200) / ("h" * 200)
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("")
    status, output, _ = await run(tmp_path, "index", str(tree))
    assert status == 0
    assert "has 607 characters, 500 can be stored" in output


async def test_the_database_may_come_from_the_environment(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEATLAS_DATABASE", f"sqlite:///{tmp_path}/deep/folder/elsewhere.db")
    status, _, _ = await run(tmp_path, "index", str(tree))
    assert status == 0
    assert (tmp_path / "deep/folder/elsewhere.db").is_file()
    assert not (tmp_path / ".sillar").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_demo_indexes_then_serves_until_it_is_stopped(tree: Path, tmp_path: Path, number: signal.Signals) -> None:
    async with serving(tmp_path, "demo", "--source", str(tree), "--workers", "1") as (address, process):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        ((project,), _) = (await answer(address, "/api/projects")).values()
        assert project["name"] == "quarry"
        overview = await answer(address, f"/api/projects/{project['id']}")
        assert overview["totals"]["functions"] == 5
        assert "<title>codeatlas</title>" in await answer(address, "/")
        process.send_signal(number)
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert b"Stopped." in output
    assert errors == b""


async def test_serve_shows_what_was_indexed_before(tree: Path, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/atlas.db"
    await run(tmp_path, "index", str(tree), "--database", database, "--project", "before")
    async with serving(tmp_path, "serve", "--database", database) as (address, _):
        found = await answer(address, "/api/projects")
        assert [project["name"] for project in found["projects"]] == ["before"]


async def test_demo_serves_a_database_in_memory(tree: Path, tmp_path: Path) -> None:
    arguments = ("demo", "--database", "sqlite://", "--source", str(tree), "--port", "0")
    async with serving(tmp_path, *arguments) as (address, _):
        assert not address.endswith(":0")
        assert (await answer(address, "/api/projects/1"))["totals"]["files"] == 5


async def test_a_port_that_is_taken_costs_no_indexing(tree: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, output, errors = await run(tmp_path, "demo", "--port", str(port), "--source", str(tree))
    assert status == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in errors
    assert "give another --port" in errors
    assert output == ""
    assert not (tmp_path / ".sillar").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "missing"), "No such file or directory"),
        (("index", ".", "--database", "sqlit:///x.db"), "sqlit"),
        (("index", ".", "--database", "postgresql://127.0.0.1:1/nothing"), "127.0.0.1:1"),
    ],
)
async def test_errors_are_a_message_and_not_a_traceback(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    status, _, errors = await run(tmp_path, *arguments)
    assert status == 1
    assert message in errors
    assert "Traceback" not in errors


async def test_a_tree_that_is_being_indexed_is_refused(tree: Path, tmp_path: Path) -> None:
    from codeatlas.stores import store_for
    from sillar import DatabaseManager

    async with DatabaseManager.from_url(f"sqlite:///{tmp_path}/atlas.db") as manager:
        store = store_for(manager)
        await store.open_schema()
        repository = await store.repository((await store.project("quarry")).id, str(tree.resolve()))
        await store.begin_run(repository, f"{socket.gethostname()}:{os.getpid()}", lambda run: False)
    status, _, errors = await run(tmp_path, "index", str(tree), "--database", f"sqlite:///{tmp_path}/atlas.db")
    assert status == 1
    assert f"is in the hands of {socket.gethostname()}:{os.getpid()}" in errors
