"""Lint rules on the syntax tree: few, cheap, and each with a reason that fits in a sentence."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from codeatlas.source import SourceText, Span

COMPLEXITY_MAX = 10
"""McCabe's own limit (1976, section 6)."""
PARAMETERS_MAX = 7
FUNCTION_LINES_MAX = 100
NESTING_MAX = 5


class Rule(msgspec.Struct, frozen=True):
    """A rule of the catalogue; ``severity`` is ``error``, ``warning`` or ``info``."""

    id: str
    severity: str
    title: str
    remedy: str


class Finding(msgspec.Struct, frozen=True):
    """A place where a rule is broken."""

    rule: str
    line: int
    message: str

    @property
    def severity(self) -> str:
        return RULES[self.rule].severity


RULES: dict[str, Rule] = {
    rule.id: rule
    for rule in (
        Rule("unparsable-file", "error", "The file does not parse", "Fix the syntax or the encoding."),
        Rule("assert-tuple", "error", "assert on a tuple", "Drop the parentheses: a tuple with items is always true."),
        Rule("literal-identity", "error", "Identity test with a literal", "Compare values with == and !=."),
        Rule("finally-exit", "warning", "return in finally", "Move it out: it discards an exception in flight."),
        Rule("bare-except", "warning", "except without a type", "Name the exceptions, at least Exception."),
        Rule(
            "silent-except", "warning", "Broad except that only passes", "Handle it, log it, or name what is expected."
        ),
        Rule("mutable-default", "warning", "Mutable default argument", "Default to None and create it in the body."),
        Rule("unreachable-code", "warning", "Statement after the end of its block", "Remove it, or the exit above it."),
        Rule("star-import", "warning", "Star import", "Import the names that are used."),
        Rule("unused-import", "warning", "Unused import", "Remove it, or re-export it through __all__."),
        Rule("none-comparison", "warning", "Comparison with None by value", "Use is None or is not None."),
        Rule("dynamic-code", "warning", "eval or exec", "Parse the data (ast.literal_eval, json) or dispatch by name."),
        Rule(
            "complex-function", "warning", f"Complexity over {COMPLEXITY_MAX}", "Split the function where it decides."
        ),
        Rule(
            "deep-nesting",
            "info",
            f"Blocks nested deeper than {NESTING_MAX}",
            "Return early, or extract the inner part.",
        ),
        Rule("many-parameters", "info", f"More than {PARAMETERS_MAX} parameters", "Group those that travel together."),
        Rule("long-function", "info", f"More than {FUNCTION_LINES_MAX} lines", "Extract steps that have a name."),
        Rule("todo-comment", "info", "Marked as unfinished", "Do it, or move it to the tracker."),
    )
}

_MUTABLE_DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_MUTABLE_CALLS = frozenset({"list", "dict", "set", "bytearray", "defaultdict", "deque", "OrderedDict", "Counter"})
_BROAD = frozenset({"Exception", "BaseException"})
_EXITS = (ast.Return, ast.Raise, ast.Break, ast.Continue)
_TODO = re.compile(r"#[^\n]*\b(?:TODO|FIXME|XXX|HACK)\b[^\n]*")
_TODO_WORD = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")


def _except(node: ast.ExceptHandler) -> Iterator[Finding]:
    if node.type is None:
        yield Finding("bare-except", node.lineno, "except: also catches KeyboardInterrupt and SystemExit")
    broad = node.type is None or (isinstance(node.type, ast.Name) and node.type.id in _BROAD)
    if broad and len(node.body) == 1 and isinstance(node.body[0], ast.Pass):
        caught = "everything" if node.type is None else ast.unparse(node.type)
        yield Finding("silent-except", node.lineno, f"catches {caught} and does nothing")


def _defaults(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Iterator[Finding]:
    name = getattr(node, "name", "lambda")
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs: list[tuple[ast.arg, ast.expr | None]] = [
        *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    for argument, default in pairs:
        called = default.func.id if isinstance(default, ast.Call) and isinstance(default.func, ast.Name) else ""
        if isinstance(default, _MUTABLE_DISPLAYS) or called in _MUTABLE_CALLS:
            message = f"{name}: the default of {argument.arg} is shared by all calls"
            yield Finding("mutable-default", argument.lineno, message)


def _compare(node: ast.Compare) -> Iterator[Finding]:
    operands = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
        constants = [side.value for side in (left, right) if isinstance(side, ast.Constant)]
        if isinstance(operator, ast.Eq | ast.NotEq) and any(value is None for value in constants):
            sign = "==" if isinstance(operator, ast.Eq) else "!="
            yield Finding("none-comparison", node.lineno, f"{sign} None asks the other operand; identity is meant")
        elif isinstance(operator, ast.Is | ast.IsNot) and any(
            isinstance(value, str | bytes | int | float | complex) and not isinstance(value, bool)
            for value in constants
        ):
            yield Finding(
                "literal-identity", node.lineno, "whether equal literals are one object is up to the interpreter"
            )


def _assert(node: ast.Assert) -> Iterator[Finding]:
    if isinstance(node.test, ast.Tuple) and node.test.elts:
        yield Finding("assert-tuple", node.lineno, "a tuple with items is always true: nothing is checked")


def _import_from(node: ast.ImportFrom) -> Iterator[Finding]:
    if any(alias.name == "*" for alias in node.names):
        yield Finding("star-import", node.lineno, f"from {'.' * node.level}{node.module or ''} import *")


def _call(node: ast.Call) -> Iterator[Finding]:
    if isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
        yield Finding("dynamic-code", node.lineno, f"{node.func.id}() runs whatever text it is given")


def _unreachable(node: ast.AST) -> Iterator[Finding]:
    for name in ("body", "orelse", "finalbody"):
        statements = getattr(node, name, None)
        if not isinstance(statements, list):
            continue
        for statement, following in itertools.pairwise(statements):
            if isinstance(statement, _EXITS):
                exit_name = type(statement).__name__.lower()
                yield Finding(
                    "unreachable-code", following.lineno, f"never reached: {exit_name} in line {statement.lineno}"
                )
                break


def _finally(node: ast.Try | ast.TryStar) -> Iterator[Finding]:
    for statement in node.finalbody:
        if isinstance(statement, ast.Return):
            yield Finding("finally-exit", statement.lineno, "return in finally swallows the exception in flight")


NodeRule = Callable[..., Iterator[Finding]]
NODE_RULES: dict[type[ast.AST], tuple[NodeRule, ...]] = {
    ast.ExceptHandler: (_except, _unreachable),
    ast.FunctionDef: (_defaults, _unreachable),
    ast.AsyncFunctionDef: (_defaults, _unreachable),
    ast.Lambda: (_defaults,),
    ast.Compare: (_compare,),
    ast.Assert: (_assert,),
    ast.ImportFrom: (_import_from,),
    ast.Call: (_call,),
    ast.Module: (_unreachable,),
    ast.If: (_unreachable,),
    ast.For: (_unreachable,),
    ast.AsyncFor: (_unreachable,),
    ast.While: (_unreachable,),
    ast.With: (_unreachable,),
    ast.AsyncWith: (_unreachable,),
    ast.Try: (_unreachable, _finally),
    ast.TryStar: (_unreachable, _finally),
    ast.match_case: (_unreachable,),
}
"""Rules that need one node only, by the type of node that they look at."""


def function_findings(
    name: str, line: int, *, lines: int, complexity: int, parameters: int, nesting: int
) -> Iterator[Finding]:
    """Rules on the figures of one function."""
    if complexity > COMPLEXITY_MAX:
        yield Finding("complex-function", line, f"{name} has complexity {complexity} ({COMPLEXITY_MAX} is the limit)")
    if parameters > PARAMETERS_MAX:
        yield Finding("many-parameters", line, f"{name} takes {parameters} parameters ({PARAMETERS_MAX} is the limit)")
    if lines > FUNCTION_LINES_MAX:
        yield Finding("long-function", line, f"{name} has {lines} lines ({FUNCTION_LINES_MAX} is the limit)")
    if nesting > NESTING_MAX:
        yield Finding("deep-nesting", line, f"{name} nests {nesting} blocks ({NESTING_MAX} is the limit)")


def unused_imports(path: str, bindings: Mapping[str, tuple[int, str]], used: set[str]) -> Iterator[Finding]:
    """Imported names that nothing in the file reads. Files named ``__init__.py`` import in order to re-export."""
    if path.rpartition("/")[2] == "__init__.py":
        return
    for name, (line, shown) in bindings.items():
        if name not in used:
            yield Finding("unused-import", line, f"{shown} is imported and never used")


def todo_comments(source: SourceText, strings: Iterable[Span]) -> Iterator[Finding]:
    """Comments with a marker of unfinished work; the same words inside a string do not count."""
    candidates = {source.text.count("\n", 0, match.start()) + 1: match[0] for match in _TODO.finditer(source.text)}
    if not candidates:
        return
    spans = [span for span in strings if any(span.line <= line <= span.line_end for line in candidates)]
    for line in sorted(candidates):
        comment = _comment(source.lines[line - 1], line, spans)
        if comment is not None and _TODO_WORD.search(comment):
            yield Finding("todo-comment", line, comment.lstrip("#: ").rstrip())


def _comment(text: str, line: int, strings: Iterable[Span]) -> str | None:
    """The comment of a line: from its first ``#`` that is in no string."""
    for match in re.finditer("#", text):
        column = len(text[: match.start()].encode())
        if not any((span.line, span.column) <= (line, column) < (span.line_end, span.column_end) for span in strings):
            return text[match.start() :]
    return None
