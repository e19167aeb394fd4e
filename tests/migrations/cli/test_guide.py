"""The guide as a reader follows it: its files are written, its commands typed, and they print what the page says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.migrations.cli.conftest import Project

DOCS = Path(__file__).parents[3] / "docs"
BLOCK = re.compile(r"^<!-- (shell|file: \S+) -->\n+```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELLIPSIS = "…"


def matches(said: str, printed: str) -> bool:
    """Whether a text was printed; an ellipsis stands for anything, and in a line of its own for any lines."""
    pattern = re.escape(said.strip()).replace(re.escape(ELLIPSIS), r".*?").replace(r"\ ", " ")
    pattern = re.sub(r" {2,}", " +", pattern)
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def commands(block: str) -> list[tuple[str, str]]:
    """Each command of a block, and what it says."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert parts[0] == ""
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in parts[1:]]


@pytest.mark.parametrize("page", ["migrations.md", "migrations-tenants.md"])
async def test_the_page_is_true(project: Project, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project.folder))
    blocks = BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))
    assert len(blocks) > 3
    for kind, text in blocks:
        if kind != "shell":
            file = project.folder / kind.removeprefix("file: ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            continue
        for typed, said in commands(text):
            program, *arguments = shlex.split(typed)
            assert program == "sillar"
            monkeypatch.delitem(__import__("sys").modules, "models", raising=False)
            ended = await project.sillar(*arguments)
            status = re.search(r"^\[(\d)\]$", said, re.MULTILINE)
            expected = re.sub(r"^\[\d\]\n", "", said, flags=re.MULTILINE)
            assert ended.status == (int(status[1]) if status else 0), (typed, ended)
            printed = ended.printed + ended.complained
            assert matches(expected, printed), f"$ {typed}\n{printed}"


def test_what_is_not_said_is_seen() -> None:
    assert matches("applied  …  first  … s\n…\nend", "applied 12 first   0.1 s\na\nb\nend\n")
    assert not matches("applied  …  first  … s", "applied  12  second  0.1 s")
