"""The code in the documentation runs.

A ``python`` block below a line ``<!-- run: ENGINE -->`` is executed: the blocks of one page and engine one after the
other, as one program with ``await`` allowed, ``DATABASE_URL`` in the environment and an empty working directory.
``# → value`` at the end of an expression's line says what it comes to, which is checked.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from sillar.testing.servers import ServerFleet

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^<!-- run: (\w+) -->\n+```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RESULT = re.compile(r"#\s*→\s*(.+)$")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def programs() -> Iterator[tuple[str, str, str]]:
    """Page, engine and the text of its blocks, at the line numbers they have on the page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        engines: dict[str, str] = {}
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start(2))
            before = engines.get(block[1], "")
            engines[block[1]] = before + "\n" * (line - before.count("\n")) + block[2]
        for engine, program in engines.items():
            yield page.relative_to(ROOT).as_posix(), engine, program


def steps(program: str, page: str) -> Iterator[tuple[int, CodeType, str | None]]:
    """Line, code and expected result of each statement."""
    lines = program.splitlines()
    for node in ast.parse(program).body:
        said = RESULT.search(lines[(node.end_lineno or 1) - 1])
        if said and isinstance(node, ast.Expr):
            code = compile(ast.Expression(node.value), page, "eval", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        else:
            code = compile(ast.Module([node], []), page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        yield node.lineno, code, said[1].strip() if said and isinstance(node, ast.Expr) else None


async def execute(program: str, page: str) -> None:
    names: dict[str, Any] = {"__name__": "documentation"}
    for line, code, expected in steps(program, page):
        value = eval(code, names)
        if inspect.iscoroutine(value):
            value = await value
        if expected is not None:
            assert repr(value) == expected, f"{page}:{line}"


@pytest.mark.parametrize(("page", "engine", "program"), list(programs()), ids=lambda value: str(value)[:40].strip())
async def test_blocks_run(
    page: str, engine: str, program: str, fleet: ServerFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///documentation.db" if engine == "sqlite" else (await fleet.get(engine)).url
    monkeypatch.setenv("DATABASE_URL", url)
    await execute(program, page)


async def test_a_wrong_result_is_seen() -> None:
    await execute("import asyncio\nawait asyncio.sleep(0, 2)  # → 2", "page.md")
    with pytest.raises(AssertionError, match=r"page\.md:1"):
        await execute("1 + 1  # → 3", "page.md")


def test_blocks_are_found_where_they_are_marked() -> None:
    found = list(BLOCK.findall("<!-- run: sqlite -->\n```python\nx = 1\n```\n\n```python\nnot run\n```\n"))
    assert found == [("sqlite", "x = 1\n")]


def test_links_between_pages_lead_somewhere() -> None:
    dead = []
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                dead.append(f"{page.name}: {target}")
    assert dead == []


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if page not in menu and not re.match(r"decisions/\d", page)} == set()
