"""One pass over a syntax tree, collecting everything that figures and rules need.

Cyclomatic complexity is 1 plus the number of decisions (T. J. McCabe, "A Complexity Measure", IEEE Transactions on
Software Engineering SE-2, 1976), with G. J. Myers' extension (SIGPLAN Notices 12(10), 1977) that each further operand
of ``and`` and ``or`` decides, too. Decisions are: ``if``, ``elif``, the conditional expression, ``for``, ``while``,
``except``, a ``case`` that can fail, each ``for`` and ``if`` of a comprehension. A nested function has its own count
and adds nothing to the one around it; a lambda counts where it stands.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from codeatlas.rules import NODE_RULES, Finding
from codeatlas.source import SourceText, Span

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)
_BLOCKS = frozenset(
    {ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match}
)
_DECISIONS = frozenset({ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler})
_LEAVES = (ast.expr_context, ast.operator, ast.boolop, ast.unaryop, ast.cmpop)
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_ANNOTATION_LENGTH_MAX = 200


@dataclass(slots=True)
class Scope:
    """A module, class or function while it is walked, and what is known of it afterwards."""

    kind: str
    name: str
    line: int
    line_end: int
    depth: int
    public: bool
    documented: bool
    parameters: int = 0
    complexity: int = 1
    nesting: int = 0
    methods: int = 0


@dataclass(slots=True)
class Syntax:
    """What one pass over the tree has found.

    Attributes:
        empty: the module has no statement.
        documented: the module has a docstring.
        functions, classes: in the order of the source.
        imports: ``(module, line)``.
        bindings: name that an import binds → (line, what was imported); names meant for re-export are left out.
        used: names that are read somewhere, or that a short string or ``__all__`` mentions.
        strings: spans of all strings; docstrings: the lines of docstrings, which are among them.
    """

    empty: bool
    documented: bool
    functions: list[Scope] = field(default_factory=list)
    classes: list[Scope] = field(default_factory=list)
    imports: list[tuple[str, int]] = field(default_factory=list)
    bindings: dict[str, tuple[int, str]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    strings: list[Span] = field(default_factory=list)
    docstrings: list[Span] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def read_syntax(tree: ast.Module, source: SourceText) -> Syntax:
    """Walk the tree. Iteratively: the parser accepts deeper trees than recursion could follow."""
    docstring = _docstring(tree)
    syntax = Syntax(empty=not tree.body, documented=docstring is not None)
    walk = _Walk(syntax)
    module = Scope("module", "", 1, len(source.lines), 0, public=True, documented=syntax.documented)
    if docstring is not None:
        syntax.docstrings.append(docstring)
    walk.run(tree, module)
    syntax.functions.sort(key=lambda scope: (scope.line, scope.name))
    syntax.classes.sort(key=lambda scope: (scope.line, scope.name))
    syntax.imports.sort(key=lambda module_line: module_line[1])
    return syntax


class _Walk:
    def __init__(self, syntax: Syntax) -> None:
        self.syntax = syntax
        self.stack: list[tuple[ast.AST, Scope, int]] = []

    def run(self, tree: ast.Module, module: Scope) -> None:
        syntax, stack = self.syntax, self.stack
        stack.append((tree, module, 0))
        while stack:
            node, scope, depth = stack.pop()
            kind = type(node)
            if kind is ast.Name:
                if type(node.ctx) is not ast.Store:  # type: ignore[attr-defined]
                    syntax.used.add(node.id)  # type: ignore[attr-defined]
                continue
            if kind is ast.Constant:
                self._constant(node)  # type: ignore[arg-type]
                continue
            for rule in NODE_RULES.get(kind, ()):
                syntax.findings.extend(rule(node))
            scope.complexity += _decisions(node)
            if isinstance(node, _DEFINITIONS):
                self._definition(node, scope)
                continue
            if kind in _BLOCKS:
                depth += 1
                scope.nesting = max(scope.nesting, depth)
                if kind is ast.If:
                    self._elif(node, scope, depth)  # type: ignore[arg-type]
                    continue
            elif kind is ast.Import or kind is ast.ImportFrom:
                self._import(node)  # type: ignore[arg-type]
                continue
            elif kind is ast.JoinedStr:
                syntax.strings.append(_span(node))  # type: ignore[arg-type]
            self._push_children(node, scope, depth)

    def _push_children(self, node: ast.AST, scope: Scope, depth: int, skip: str = "") -> None:
        push = self.stack.append
        for name in node._fields:
            value = getattr(node, name, None)
            if name == skip:
                continue
            if value.__class__ is list:
                for item in value:
                    if isinstance(item, ast.AST) and not isinstance(item, _LEAVES):
                        push((item, scope, depth))
            elif isinstance(value, ast.AST) and not isinstance(value, _LEAVES):
                push((value, scope, depth))

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, outer: Scope) -> None:
        """Decorators, defaults, annotations and base classes are evaluated outside, the body inside."""
        docstring = _docstring(node)
        if docstring is not None:
            self.syntax.docstrings.append(docstring)
        is_class = isinstance(node, ast.ClassDef)
        inner = Scope(
            kind="class" if is_class else "method" if outer.kind == "class" else "function",
            name=f"{outer.name}.{node.name}" if outer.name else node.name,
            line=node.lineno,
            line_end=node.end_lineno or node.lineno,
            depth=outer.depth + 1,
            public=outer.public and outer.kind in ("module", "class") and not node.name.startswith("_"),
            documented=docstring is not None,
        )
        if isinstance(node, ast.ClassDef):
            inner.methods = sum(isinstance(statement, _FUNCTIONS) for statement in node.body)
            self.syntax.classes.append(inner)
        else:
            inner.parameters = _parameters(node, is_method=outer.kind == "class")
            self.syntax.functions.append(inner)
        self._push_children(node, outer, 0, skip="body")
        for statement in node.body:
            self.stack.append((statement, inner, 0))

    def _elif(self, node: ast.If, scope: Scope, depth: int) -> None:
        """An ``elif`` is an ``If`` alone in ``orelse`` that starts in the same column; it is no level deeper."""
        self._push_children(node, scope, depth, skip="orelse")
        orelse = node.orelse
        chained = len(orelse) == 1 and isinstance(orelse[0], ast.If) and orelse[0].col_offset == node.col_offset
        for statement in orelse:
            self.stack.append((statement, scope, depth - 1 if chained else depth))

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        if value.__class__ is str:
            if len(value) <= _ANNOTATION_LENGTH_MAX:
                # Quoted annotations, cast("Name", …), __all__: a name that a string mentions counts as used.
                self.syntax.used.update(_IDENTIFIER.findall(value))
            self.syntax.strings.append(_span(node))
        elif value.__class__ is bytes:
            self.syntax.strings.append(_span(node))

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            self.syntax.imports.extend((alias.name, node.lineno) for alias in node.names)
        else:
            module = "." * node.level + (node.module or "")
            self.syntax.imports.append((module, node.lineno))
            if module == "__future__":
                return
        for alias in node.names:
            if alias.name == "*" or alias.asname == alias.name:
                continue
            bound = alias.asname or alias.name.partition(".")[0]
            shown = alias.name if isinstance(node, ast.Import) else f"{module}.{alias.name}".replace("..", ".")
            self.syntax.bindings.setdefault(bound, (node.lineno, shown))


def _decisions(node: ast.AST) -> int:
    kind = type(node)
    if kind in _DECISIONS:
        return 1
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.match_case):
        irrefutable = isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None and node.guard is None
        return 0 if irrefutable else 1
    return 0


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, *, is_method: bool) -> int:
    arguments = node.args
    positional = len(arguments.posonlyargs) + len(arguments.args)
    static = any(
        isinstance(decorator, ast.Name) and decorator.id == "staticmethod" for decorator in node.decorator_list
    )
    if is_method and not static and positional:
        positional -= 1
    variadic = (arguments.vararg is not None) + (arguments.kwarg is not None)
    return positional + len(arguments.kwonlyargs) + variadic


def _docstring(node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Span | None:
    if not node.body:
        return None
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return _span(first.value)
    return None


def _span(node: ast.expr) -> Span:
    return Span(node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or node.col_offset)
