"""The code in the documentation runs.

A ``python`` block below a line ``<!-- run: ENGINE -->`` is executed: the blocks of one page and engine one after the
other, as one program with ``await`` allowed, ``DATABASE_URL`` in the environment and an empty working directory.
``# → value`` at the end of an expression's line says what it comes to, which is checked.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.replicated import ReplicatedFleet

from sillar import errors
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


class Comparisons(ast.NodeTransformer):
    """Turns ``expression  # → value`` into ``compare(line, expression, "value")``, wherever it stands."""

    def __init__(self, program: str) -> None:
        self.lines = program.splitlines()

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        said = RESULT.search(self.lines[(node.end_lineno or 1) - 1])
        if said is None:
            return node
        arguments = [ast.Constant(node.lineno), node.value, ast.Constant(said[1].strip())]
        compared = ast.Call(ast.Name("compare", ast.Load()), arguments, [])
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(compared), node))


async def execute(program: str, page: str) -> None:
    def compare(line: int, value: Any, expected: str) -> None:
        assert repr(value) == expected, f"{page}:{line}"

    tree = Comparisons(program).visit(ast.parse(program))
    code = compile(tree, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    module = ModuleType("documentation_page")  # a real one: dataclasses look for theirs
    module.__dict__["compare"] = compare
    sys.modules[module.__name__] = module
    try:
        running = eval(code, module.__dict__)
        if inspect.iscoroutine(running):
            await running
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize(("page", "engine", "program"), list(programs()), ids=lambda value: str(value)[:40].strip())
async def test_blocks_run(
    page: str,
    engine: str,
    program: str,
    fleet: ServerFleet,
    replicated_fleet: ReplicatedFleet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "sqlite:///documentation.db"
    if engine != "sqlite":
        url = (await (replicated_fleet.get() if engine == "replicated" else fleet.get(engine))).url
    monkeypatch.setenv("DATABASE_URL", url)
    await execute(program, page)


async def test_a_wrong_result_is_seen() -> None:
    await execute("import asyncio\nawait asyncio.sleep(0, 2)  # → 2", "page.md")
    with pytest.raises(AssertionError, match=r"page\.md:2"):
        await execute("if True:\n    1 + 1  # → 3", "page.md")


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


def test_every_error_is_in_the_table() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    classes = [name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)]
    assert sorted(listed) == sorted(classes)


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "index.md").read_text(encoding="utf-8")
    numbered = sorted(page.name for page in folder.glob("0*.md"))
    assert sorted(re.findall(r"\]\((\d+-[^)]+)\)", index)) == numbered
    assert len({name.partition("-")[0] for name in numbered}) == len(numbered)
