"""What is found in one file: figures, symbols, rules, and files that do not parse."""

from __future__ import annotations

import sys
import sysconfig
import textwrap
import warnings
from pathlib import Path

import pytest

from codeatlas.analysis import SOURCE_BYTES_MAX, FileAnalysis, analyse
from codeatlas.rules import RULES

STDLIB = Path(sysconfig.get_paths()["stdlib"])


def analysed(source: str, path: str = "package/module.py") -> FileAnalysis:
    return analyse(path, textwrap.dedent(source).encode())


def rules_of(source: str, path: str = "package/module.py") -> list[tuple[str, int]]:
    return [(finding.rule, finding.line) for finding in analysed(source, path).findings]


def complexity(body: str) -> int:
    source = "def f(a, b=None, *c):\n" + textwrap.indent(textwrap.dedent(body), "    ")
    (function,) = analysed(source).functions
    return function.complexity


# --- lines ------------------------------------------------------------------------------------------------------------


def test_every_line_is_of_one_kind() -> None:
    analysis = analysed(
        '''\
        """Module docstring,

        # not a comment.
        """
        # a comment

        text = """
        # part of a string

        """
        value = 1  # code with a comment
        '''
    )
    assert (analysis.lines_total, analysis.lines_docstring, analysis.lines_comment) == (11, 4, 1)
    assert (analysis.lines_blank, analysis.lines_code) == (1, 5)


def test_comments_between_concatenated_strings_are_comments() -> None:
    analysis = analysed(
        """\
        text = ("é#" 'one'
                # between

                "two # not a comment"
                '''three
                # inside''')
        """
    )
    assert (analysis.lines_comment, analysis.lines_blank, analysis.lines_code) == (1, 1, 4)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_count_alike(newline: str) -> None:
    source = "# one\n\ndef f():\n    return 1\n".replace("\n", newline)
    analysis = analyse("a.py", source.encode())
    assert analysis.failure is None
    assert (analysis.lines_total, analysis.lines_comment, analysis.lines_blank, analysis.lines_code) == (4, 1, 1, 2)
    assert [(function.line, function.line_end) for function in analysis.functions] == [(3, 4)]


def test_the_empty_file_has_nothing_to_document() -> None:
    analysis = analyse("package/__init__.py", b"")
    assert (analysis.lines_total, analysis.documentable, analysis.documented) == (0, 0, 0)
    assert analysis.failure is None


# --- encodings --------------------------------------------------------------------------------------------------------


def test_the_cookie_decides_the_encoding() -> None:
    analysis = analyse("a.py", "# -*- coding: latin-1 -*-\nname = 'größe'\n".encode("latin-1"))
    assert (analysis.encoding, analysis.failure) == ("iso-8859-1", None)
    assert "größe" in analysis.terms


def test_a_byte_order_mark_is_no_text() -> None:
    analysis = analyse("a.py", b"\xef\xbb\xbfvalue = 1\n")
    assert (analysis.encoding, analysis.failure) == ("utf-8-sig", None)


# --- functions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return a", 1),
        ("if a:\n    pass\nelif b:\n    pass\nelse:\n    pass", 3),
        ("return 1 if a else 2", 2),
        ("for x in a:\n    pass\nelse:\n    pass", 2),
        ("while a:\n    break", 2),
        ("try:\n    a()\nexcept KeyError:\n    pass\nexcept ValueError:\n    pass\nfinally:\n    b()", 3),
        ("return a and b or c", 3),
        ("return [x for x in a if x if b for y in x]", 5),
        ("match a:\n    case 1:\n        pass\n    case [x] if x:\n        pass\n    case _:\n        pass", 3),
        ("with a:\n    assert b", 1),
        ("return lambda: 1 if a else 2", 2),
    ],
)
def test_cyclomatic_complexity(body: str, expected: int) -> None:
    assert complexity(body) == expected


def test_a_nested_function_has_its_own_count() -> None:
    analysis = analysed(
        """\
        def outer(a):
            if a:
                return 1
            def inner(b):
                return b and a or 1
            return inner
        """
    )
    assert {function.name: function.complexity for function in analysis.functions} == {"outer": 2, "outer.inner": 3}
    assert (analysis.complexity_total, analysis.complexity_max) == (5, 3)


def test_symbols_with_kind_parameters_nesting_and_docstrings() -> None:
    analysis = analysed(
        '''\
        class Parser(Base):
            """Parses."""

            @decorator(lambda: 1)
            async def parse(self, a, /, b, *rest, c, **named):
                """Runs."""
                if a:
                    for x in b:
                        with x:
                            pass
                elif c:
                    pass

            @staticmethod
            def build(a): ...

            class Inner:
                def _hidden(self): ...

        def free(): ...
        '''
    )
    assert [(f.name, f.kind, f.parameters, f.nesting, f.documented) for f in analysis.functions] == [
        ("Parser.parse", "method", 5, 3, True),
        ("Parser.build", "method", 1, 0, False),
        ("Parser.Inner._hidden", "method", 0, 0, False),
        ("free", "function", 0, 0, False),
    ]
    assert [(c.name, c.methods, c.documented) for c in analysis.classes] == [
        ("Parser", 2, True),
        ("Parser.Inner", 1, False),
    ]
    assert (analysis.functions[0].line, analysis.functions[0].line_end) == (5, 12)


def test_docstring_coverage_counts_what_is_public() -> None:
    analysis = analysed(
        '''\
        """Module."""
        def shown():
            """Yes."""
            def local(): ...
        def _hidden(): ...
        class Public:
            def method(self): ...
            def __repr__(self): ...
        class _Private:
            def method(self): ...
        '''
    )
    # The module, shown, Public and Public.method; documented are the first two.
    assert (analysis.documentable, analysis.documented) == (4, 2)


def test_imports_in_order_with_their_level() -> None:
    analysis = analysed("import os.path, sys\nfrom . import a\nfrom ..b.c import d\nprint(os, sys, a, d)\n")
    assert [(entry.module, entry.line) for entry in analysis.imports] == [
        ("os.path", 1),
        ("sys", 1),
        (".", 2),
        ("..b.c", 3),
    ]


# --- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("try:\n    f()\nexcept:\n    log()\n", [("bare-except", 3)]),
        ("try:\n    f()\nexcept Exception:\n    pass\n", [("silent-except", 3)]),
        ("try:\n    f()\nexcept KeyError:\n    pass\n", []),
        ("def f(a, b=[], *, c={}, d=dict(), e=()): ...\n", [("mutable-default", 1)] * 3),
        ("f = lambda a={1}: a\n", [("mutable-default", 1)]),
        ("def f(a, b, c, d, e, g, h): ...\n", []),
        ("def f(a, b, c, d, e, g, h, i): ...\n", [("many-parameters", 1)]),
        ("x == None\nNone != x\nx is None\nx == 1\n", [("none-comparison", 1), ("none-comparison", 2)]),
        ("x is 'a'\nx is not 1\nx is True\nx is ...\n", [("literal-identity", 1), ("literal-identity", 2)]),
        ("assert (x, 'message')\nassert x, 'message'\nassert ()\n", [("assert-tuple", 1)]),
        ("from os import *\n", [("star-import", 1)]),
        ("eval('1')\nexec(text)\nmodel.eval()\n", [("dynamic-code", 1), ("dynamic-code", 2)]),
        ("def f():\n    return 1\n    x = 2\n    y = 3\n", [("unreachable-code", 3)]),
        ("for x in y:\n    if x:\n        continue\n        print(x)\n", [("unreachable-code", 4)]),
        ("def f():\n    try:\n        g()\n    finally:\n        return 1\n", [("finally-exit", 5)]),
        (
            "x = 1  # TODO: name it\ny = '# TODO: no'\n# FIXMED\nz = '#'  # XXX\n",
            [("todo-comment", 1), ("todo-comment", 4)],
        ),
        ('"""\n# TODO in a docstring\n"""\n', []),
    ],
)
def test_rules(source: str, expected: list[tuple[str, int]]) -> None:
    assert rules_of(source) == expected


def test_rules_on_large_functions() -> None:
    branches = "".join(f"    if a == {number}:\n        return {number}\n" for number in range(10))
    assert rules_of(f"def f(a):\n{branches}") == [("complex-function", 1)]
    assert rules_of("def f(a):\n" + "    a()\n" * 100) == [("long-function", 1)]
    assert rules_of("def f(a):\n" + "    a()\n" * 99) == []
    nested = "".join("    " * depth + "with a:\n" for depth in range(1, 7)) + "    " * 7 + "a()\n"
    assert rules_of(f"def f(a):\n{nested}") == [("deep-nesting", 1)]
    chain = "    if a:\n        b()\n" + "    elif b:\n        b()\n" * 7
    assert rules_of(f"def f(a):\n{chain}") == []


@pytest.mark.parametrize(
    ("source", "unused"),
    [
        ("import os\nimport sys\nprint(sys)\n", ["os"]),
        ("import os.path\nos.getcwd()\n", []),
        ("from a import b as c\n", ["a.b"]),
        ("from . import b\n", [".b"]),
        ("from a import b as b\n", []),
        ("from a import b\n__all__ = ['b']\n", []),
        ("from a import B\ndef f(x: 'B | None'): ...\n", []),
        ("from __future__ import annotations\n", []),
        ("import a\na = 1\n", ["a"]),
        ("import a\ndel a\n", []),
    ],
)
def test_unused_imports(source: str, unused: list[str]) -> None:
    findings = analysed(source).findings
    assert [finding.message.split()[0] for finding in findings if finding.rule == "unused-import"] == unused


def test_packages_import_in_order_to_re_export() -> None:
    assert rules_of("from .a import b\n", "package/__init__.py") == []


def test_every_finding_has_a_rule_in_the_catalogue() -> None:
    assert {rule.severity for rule in RULES.values()} == {"error", "warning", "info"}
    finding = analysed("assert (1, 2)\n").findings[0]
    assert (finding.severity, RULES[finding.rule].id) == ("error", "assert-tuple")


# --- what does not parse ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        (b"def f(:\n", 1, "invalid syntax"),
        (b"x = 1\nprint 'a'\n", 2, "Missing parentheses"),
        (b"# coding: uft-8\n", 0, "unknown encoding: uft-8"),
        (b"x = 1\n\n# \xff\n", 0, "codec can't decode"),
        (b"# coding: hex\n61\n", 0, "not a text encoding"),
        (b"x = 1\0\n", 0, "null byte"),
        (b"(" * 5000 + b")" * 5000, 1, "too many nested parentheses"),
        (b"x = " + b"-" * 100_000 + b"1", 0, "nested too deeply"),
        (b"x = " + b"9" * 5000, 1, "Exceeds the limit"),
    ],
)
def test_what_does_not_parse_is_recorded(source: bytes, line: int, message: str) -> None:
    analysis = analyse("bad.py", source)
    assert analysis.failure is not None
    assert message in analysis.failure.message
    assert analysis.failure.line == line or sys.version_info >= (3, 12)
    assert [finding.rule for finding in analysis.findings] == ["unparsable-file"]
    assert analysis.functions == ()
    assert analysis.lines_total == source.count(b"\n") + (not source.endswith(b"\n"))


def test_trees_deeper_than_recursion_are_walked() -> None:
    depth = 800
    source = "x = " + "+".join(["a"] * depth) + "\n" + "y = " + "f(" * 150 + ")" * 150 + "\n"
    analysis = analyse("deep.py", source.encode())
    assert analysis.failure is None
    assert analysis.terms["deep"] > 0


def test_a_file_that_is_too_large_is_recorded_unparsed() -> None:
    analysis = analyse("big.py", b"x = 1\n" * (SOURCE_BYTES_MAX // 6 + 1))
    assert analysis.failure is not None
    assert "8,000,004 bytes are more than the 8,000,000" in analysis.failure.message
    assert analysis.size_bytes == 8_000_004
    assert len(analysis.sha256) == 64


def test_the_parser_s_warnings_stay_inside() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analysis = analyse("a.py", b"x = '\\d'\nassert (1, 2)\nx is 'a'\n")
    assert analysis.failure is None


def test_messages_and_names_can_be_stored_anywhere() -> None:
    for source in (b"# coding: \0\n", b"# coding: unicode_escape\nx = '\\ud800'\n"):
        analysis = analyse("a.py", source)
        for finding in analysis.findings:
            assert "\0" not in finding.message
            finding.message.encode()
        for term in analysis.terms:
            term.encode()


def test_the_standard_library_s_own_bad_files() -> None:
    """Real files that are wrong on purpose, where this interpreter ships them; and ordinary ones of some size."""
    for path in ("argparse.py", "typing.py", "inspect.py", "asyncio/tasks.py"):
        analysis = analyse(path, (STDLIB / path).read_bytes())
        assert analysis.failure is None
        assert analysis.functions
        kinds = analysis.lines_code + analysis.lines_comment + analysis.lines_docstring + analysis.lines_blank
        assert analysis.lines_total == kinds == len((STDLIB / path).read_text().splitlines())
    for folder in ("test", "lib2to3/tests/data"):
        for bad in (STDLIB / folder).rglob("bad*.py"):
            analysis = analyse(bad.name, bad.read_bytes())
            unparsable = [finding for finding in analysis.findings if finding.rule == "unparsable-file"]
            assert len(unparsable) == (analysis.failure is not None)
