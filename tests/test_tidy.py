"""House rules that a program can check, and small bad snippets that show each check can fail."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sillar

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "apps", "tests", "examples", "bench", "scripts")
FILE_LINES_MAX = 450  # the rule is "about 400"
TEST_FILE_LINES_MAX = 800  # a test file is a list of cases
FUNCTION_LINES_MAX = 70
BANNED_NAMES = {"util", "utils", "helper", "helpers", "common", "base", "misc"}
ENGINES = {"postgresql", "postgres", "mysql", "mariadb", "mongodb", "sqlite"}
MAY_NAME_ENGINES = (
    "src/sillar/engines/",
    "src/sillar/config/",
    "src/sillar/integrations/",
    "src/sillar/testing/servers/",
)
FORBIDDEN = {
    "a path of one machine": re.compile(
        "|".join(("/" + "work/", "/" + "root/", "/" + "opt/pypi", "/" + "home/[a-z]+/"))
    ),
    "a registry's host": re.compile("|".join((r"pypi\." + "org", "python" + r"hosted\.org", r"npmjs\." + "org"))),
}
SKIPS = {"skip", "skipif", "skipIf", "xfail", "importorskip"}

Check = Callable[[str, str], Iterator[str]]


def python_files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def text_files() -> Iterator[Path]:
    yield from python_files()
    yield from sorted(path for path in (ROOT / "docs").rglob("*.md"))
    yield from (file for file in (ROOT / "scripts").glob("*") if file.is_file())
    yield from (ROOT / "changelog.d").glob("*.md")
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "mkdocs.yml",
        "test",
        "demo",
        ".ci/run",
    ):
        yield ROOT / name
    yield from (ROOT / "apps").rglob("*.toml")


# --- the checks: what is wrong with one file, as "line: what" --------------------------------------------------------


def sizes(name: str, source: str) -> Iterator[str]:
    lines = source.count("\n")
    limit = TEST_FILE_LINES_MAX if name.startswith("tests/") else FILE_LINES_MAX
    if lines > limit:
        yield f"1: {lines} lines, {limit} at most"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            spoken = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            docstring = (first.end_lineno or 0) - first.lineno + 1 if spoken else 0
            length = (node.end_lineno or 0) - node.lineno + 1 - docstring
            if length > FUNCTION_LINES_MAX:
                yield f"{node.lineno}: {node.name} has {length} lines, {FUNCTION_LINES_MAX} at most"


def file_names(name: str, source: str) -> Iterator[str]:
    parts = Path(name).with_suffix("").parts
    for part in sorted(BANNED_NAMES.intersection(parts)):
        yield f"1: nothing is called {part!r} here; a file is named after its noun"


def is_engine(node: ast.AST | None) -> bool:
    """Whether an expression names an engine: ``"sqlite"``, ``DatabaseEngine.SQLITE``, or a collection of such."""
    if isinstance(node, ast.Constant):
        return node.value in ENGINES
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id == "DatabaseEngine"
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return any(is_engine(each) for each in node.elts)
    return False


def branches_on_engines(name: str, source: str) -> Iterator[str]:
    if name.startswith(MAY_NAME_ENGINES) or not name.startswith("src/"):
        return
    for node in ast.walk(ast.parse(source)):
        named: list[ast.AST | None] = []
        if isinstance(node, ast.Compare):
            named = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            named = [node.value]
        elif isinstance(node, ast.Dict):
            named = list(node.keys)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "startswith":
            named = list(node.args)
        if any(is_engine(each) for each in named):
            line = getattr(node, "lineno", 0)
            yield f"{line}: branches on the name of an engine; ask capabilities.has() or require()"


def coverage_pragmas(name: str, source: str) -> Iterator[str]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and re.search(r"pragma:\s*no\s*(cover|branch)", token.string):
            yield f"{token.start[0]}: code that is left out of the coverage"


def skipped_tests(name: str, source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in SKIPS:
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if owner in ("pytest", "mark", "unittest"):
                yield f"{node.lineno}: {owner}.{node.attr}: a test runs, or is not there"


def forbidden_words(name: str, source: str) -> Iterator[str]:
    for number, line in enumerate(source.splitlines(), 1):
        for what, pattern in FORBIDDEN.items():
            if pattern.search(line):
                yield f"{number}: {what}"


CHECKS: list[Check] = [sizes, file_names, branches_on_engines, coverage_pragmas, skipped_tests]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_python_files(check: Check) -> None:
    faults = []
    for file in python_files():
        name = file.relative_to(ROOT).as_posix()
        faults += [f"{name}:{fault}" for fault in check(name, file.read_text(encoding="utf-8"))]
    assert not faults, "\n" + "\n".join(faults)


def test_text_files_name_no_machine_and_no_registry() -> None:
    faults = []
    for file in text_files():
        name = file.relative_to(ROOT).as_posix()
        faults += [f"{name}:{fault}" for fault in forbidden_words(name, file.read_text(encoding="utf-8"))]
    assert not faults, "\n" + "\n".join(faults)


# --- the public names ------------------------------------------------------------------------------------------------


def names_used(source: str) -> set[str]:
    """Every name and attribute that code reads or imports; strings and comments do not count."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


def test_public_names_exist_and_are_sorted() -> None:
    assert len(set(sillar.__all__)) == len(sillar.__all__)
    assert [name for name in sillar.__all__ if not hasattr(sillar, name)] == []


def test_every_public_name_is_documented() -> None:
    words = set(
        re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "docs").rglob("*.md")))
    )
    assert sorted(set(sillar.__all__) - words) == []


def test_every_public_name_is_used_in_an_example_or_a_test() -> None:
    used: set[str] = set()
    for page in (ROOT / "docs").rglob("*.md"):  # code that tests/test_documentation.py runs
        for block in re.findall(r"^<!-- run: \w+ -->\n```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S):
            used |= names_used(block)
    for folder in ("examples", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            if "typing" not in file.parts:  # these are read, not run
                used |= names_used(file.read_text(encoding="utf-8"))
    assert sorted(set(sillar.__all__) - used) == []


# --- the checks can fail ---------------------------------------------------------------------------------------------

BAD = [
    (sizes, "src/sillar/pool.py", "x = 1\n" * 451),
    (sizes, "tests/test_pool.py", "x = 1\n" * 801),
    (sizes, "src/sillar/pool.py", "def long():\n" + "    x = 1\n" * 70),
    (file_names, "src/sillar/utils.py", ""),
    (file_names, "src/sillar/helpers/text.py", ""),
    (branches_on_engines, "src/sillar/manager.py", "if engine == 'sqlite': ..."),
    (branches_on_engines, "src/sillar/manager.py", "if config.engine is not DatabaseEngine.MYSQL: ..."),
    (branches_on_engines, "src/sillar/pool/pool.py", "x = 1 if engine in ('mysql', 'mariadb') else 2"),
    (branches_on_engines, "src/sillar/manager.py", "match engine:\n    case 'mongodb':\n        ..."),
    (branches_on_engines, "src/sillar/manager.py", "url.startswith('postgresql')"),
    (branches_on_engines, "src/sillar/manager.py", "{'sqlite': 1}[engine]"),
    (coverage_pragmas, "src/sillar/manager.py", "x = 1  # " + "pragma: no cover"),
    (skipped_tests, "tests/test_pool.py", "@pytest.mark.skipif(True)\ndef test(): ..."),
    (skipped_tests, "tests/test_pool.py", "pytest.skip('not now')"),
    (skipped_tests, "tests/test_pool.py", "redis = pytest.importorskip('redis')"),
    (forbidden_words, "docs/index.md", "see /" + "root/notes"),
    (forbidden_words, "pyproject.toml", "index = 'https://pypi." + "org/simple'"),
]
GOOD = [
    (sizes, "tests/test_pool.py", "x = 1\n" * 451),
    (sizes, "src/sillar/pool.py", 'def short():\n    """' + "words\n" * 90 + '"""\n' + "    x = 1\n" * 60),
    (file_names, "src/sillar/database.py", ""),
    (branches_on_engines, "src/sillar/engines/registry.py", "if engine == 'sqlite': ..."),
    (branches_on_engines, "src/sillar/manager.py", "name = 'sqlite'\nif kind == 'select': ..."),
    (coverage_pragmas, "src/sillar/manager.py", "x = '# " + "pragma: no cover'"),
    (skipped_tests, "tests/test_pool.py", "rows.skip(3)"),
    (forbidden_words, "docs/index.md", "see /etc/ssl"),
]


@pytest.mark.parametrize(("check", "name", "source"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_a_check_sees_what_is_bad(check: Check, name: str, source: str) -> None:
    assert list(check(name, source))


@pytest.mark.parametrize(("check", "name", "source"), GOOD, ids=lambda value: getattr(value, "__name__", None))
def test_a_check_lets_good_code_pass(check: Check, name: str, source: str) -> None:
    assert list(check(name, source)) == []


def test_names_in_strings_and_comments_are_no_use() -> None:
    assert names_used("import sillar\nsillar.Portal()  # Query\nprint('Json')") == {"sillar", "Portal", "print"}
