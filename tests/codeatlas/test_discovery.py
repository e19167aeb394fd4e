"""Which files a tree has, and what changed since."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from codeatlas.analysis import ANALYSER_VERSION
from codeatlas.discovery import PATH_LENGTH_MAX, KnownFile, SourceFile, compare, discover, package_of


def plant(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x = 1\n")


def test_only_sources_of_the_tree_itself(tmp_path: Path) -> None:
    plant(
        tmp_path,
        "b.py",
        "a/c.py",
        "a/window.pyw",
        "a/notes.txt",
        "__pycache__/d.py",
        ".hidden/e.py",
        ".f.py",
        "lib/site-packages/g.py",
        "env/pyvenv.cfg",
        "env/h.py",
    )
    (tmp_path / "folder.py").mkdir()
    found = discover(tmp_path)
    assert [file.path for file in found.files] == ["a/c.py", "a/window.pyw", "b.py"]
    assert found.skipped == []
    status = (tmp_path / "b.py").stat()
    assert (found.files[2].size_bytes, found.files[2].mtime_ns) == (6, status.st_mtime_ns)


def test_links_are_not_followed_so_loops_end(tmp_path: Path) -> None:
    plant(tmp_path, "tree/a.py", "outside.py")
    (tmp_path / "tree/loop").symlink_to(tmp_path / "tree")
    (tmp_path / "tree/link.py").symlink_to(tmp_path / "outside.py")
    (tmp_path / "entrance").symlink_to(tmp_path / "tree")
    assert [file.path for file in discover(tmp_path / "tree").files] == ["a.py"]
    assert [file.path for file in discover(tmp_path / "entrance").files] == ["a.py"]


def test_names_that_are_no_text_are_made_legible(tmp_path: Path) -> None:
    location = os.fsencode(tmp_path) + b"/bad\xff.py"
    Path(os.fsdecode(location)).write_text("x = 1\n")
    (found,) = discover(tmp_path).files
    assert found.path == "bad\\xff.py"
    assert os.fsencode(found.location) == location


def test_paths_that_cannot_be_stored_are_reported(tmp_path: Path) -> None:
    plant(tmp_path, "/".join(["f" * 200] * 3) + "/a.py", "ok.py")
    found = discover(tmp_path)
    assert [file.path for file in found.files] == ["ok.py"]
    ((path, reason),) = found.skipped
    assert path.endswith("/a.py")
    assert f"has 607 characters, {PATH_LENGTH_MAX} can be stored" in reason


def test_a_root_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        discover(tmp_path / "missing")
    plant(tmp_path, "a.py")
    with pytest.raises(NotADirectoryError):
        discover(tmp_path / "a.py")


def test_changes_are_told_by_size_time_and_analyser() -> None:
    def known(number: int, path: str, size: int = 1, time: int = 1, analyser: int = ANALYSER_VERSION) -> KnownFile:
        return KnownFile(number, path, size, time, "0" * 64, analyser)

    files = [SourceFile(path, "/" + path, 1, 1) for path in ("new", "same", "size", "time", "analyser")]
    before = [known(1, "same"), known(2, "size", size=2), known(3, "time", time=2), known(4, "analyser", analyser=0)]
    changes = compare(files, {file.path: file for file in [*before, known(5, "gone")]})
    assert [(file.path, file_before and file_before.id) for file, file_before in changes.suspects] == [
        ("new", None),
        ("size", 2),
        ("time", 3),
        ("analyser", 4),
    ]
    assert changes.unchanged == 1
    assert [file.id for file in changes.removed] == [5]


def test_the_package_of_a_path() -> None:
    assert package_of("email/header.py") == "email"
    assert package_of("src/sillar/query/text.py") == "src/sillar"
    assert package_of("argparse.py") == "(top level)"
