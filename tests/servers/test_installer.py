"""The installer's refusals and its inventory. That it installs is seen by every other test of real servers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sillar.testing.servers import InstallError, installation, inventory
from sillar.testing.servers import installer as module
from sillar.testing.servers.tree import MYSQL, POSTGRESQL18, RUNTIME_PACKAGES, Tree, servers_folder


def test_complete_installation_is_left_alone() -> None:
    marker = POSTGRESQL18.folder / ".sillar-tree.json"
    before = marker.stat().st_mtime_ns
    run = subprocess.run(
        [sys.executable, "-m", "sillar.testing.servers", "install"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert marker.stat().st_mtime_ns == before


def test_without_root_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SILLAR_SERVERS_DIR", str(tmp_path / "servers"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InstallError, match=r"not root.*postgresql18, mysql.*sudo") as raised:
        module.install()
    assert str(tmp_path / "servers") in str(raised.value)
    assert not (tmp_path / "servers").exists()


def test_unreachable_mirror(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A required tree that cannot be had is an error, an optional one a loud warning; neither counts as complete."""
    monkeypatch.setenv("SILLAR_SERVERS_DIR", str(tmp_path))
    monkeypatch.setenv("SILLAR_DEBIAN_MIRROR", "file:/nowhere/debian")
    required = Tree("required", "sid", RUNTIME_PACKAGES, "/usr/bin", "sed")
    optional = Tree("optional", "sid", RUNTIME_PACKAGES, "/usr/bin", "sed", required=False)
    monkeypatch.setattr(module, "TREES", (optional,))
    assert module.install() is False
    printed = capsys.readouterr().out
    assert "WARNING" in printed
    assert "tests against optional will not take part" in printed
    monkeypatch.setattr(module, "TREES", (required,))
    with pytest.raises(InstallError, match="SILLAR_DEBIAN_MIRROR"):
        module.install()
    assert not optional.is_complete
    assert not required.is_complete


def test_two_installations_wait_for_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entered = threading.Event()

    def other() -> None:
        with module._locked(tmp_path / "lock"):
            entered.set()

    thread = threading.Thread(target=other)
    with module._locked(tmp_path / "lock"):
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    thread.join()
    assert "another installation is running" in capsys.readouterr().out


def test_folder_of_the_trees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SILLAR_SERVERS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert servers_folder() == tmp_path / "sillar" / "servers"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert servers_folder() == tmp_path / ".cache" / "sillar" / "servers"
    assert MYSQL.marker() is None
    assert not MYSQL.is_complete


@pytest.mark.asyncio
async def test_inventory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entries = {entry.name: entry for entry in await inventory()}
    required = ["postgresql", "postgresql18", "mariadb", "redis", "mongodb", "pgbouncer"]
    required += ["patroni", "galera", "redis_sentinel"]
    assert sorted(entries) == sorted([*required, "mysql"])
    assert not any(entries[name].is_missing for name in required)
    assert str(entries["postgresql18"].version).startswith("18.")
    assert entries["mongodb"].is_stand_in == ("stand-in" in str(entries["mongodb"].version))

    monkeypatch.setenv("SILLAR_SERVERS_DIR", str(tmp_path))
    monkeypatch.setenv("SILLAR_TEST_REDIS_URL", "redis://127.0.0.1:1/0")
    changed = {entry.name: entry for entry in await inventory()}
    assert changed["redis"].is_missing
    assert "does not answer" in changed["redis"].how_found
    assert changed["postgresql"] == entries["postgresql"]


@pytest.mark.asyncio
async def test_a_cluster_lacks_what_one_of_its_parts_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clusters = ("pgbouncer", "patroni", "galera", "redis_sentinel")
    monkeypatch.setattr(installation, "GALERA_LIBRARIES", (tmp_path / "libgalera_smm.so",))
    entries = {entry.name: entry for entry in await inventory()}
    assert [name for name in clusters if entries[name].is_missing] == ["galera"]
    assert "servers install" in entries["galera"].how_found
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(installation, "SYSTEM_FOLDERS", ())
    entries = {entry.name: entry for entry in await inventory()}
    assert all(entries[name].is_missing for name in clusters)
    assert "rsync" in entries["galera"].how_found
    assert "Patroni is not on this machine" in entries["patroni"].how_found
