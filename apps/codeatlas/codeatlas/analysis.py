"""One source file in, its figures out: pure functions from bytes to :class:`FileAnalysis`, no database, no clock."""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator

import msgspec

from codeatlas import rules
from codeatlas.rules import Finding
from codeatlas.source import SourceText, count_lines, count_lines_unparsed, decode, loose_text
from codeatlas.syntax import Syntax, read_syntax
from codeatlas.terms import text_terms

ANALYSER_VERSION = 1
"""Raised whenever the same source would give other figures: files analysed by an older version are analysed again."""

SOURCE_BYTES_MAX = 8_000_000
"""Larger files are recorded, but not parsed: the syntax tree of generated tables of this size needs gigabytes."""

NAME_LENGTH_MAX = 300
MESSAGE_LENGTH_MAX = 500


class Function(msgspec.Struct, frozen=True):
    """A function or method.

    Attributes:
        name: dotted name inside the file, such as ``Parser.parse`` or ``outer.inner``.
        kind: ``function`` or ``method``.
        line, line_end: first line (of ``def``, not of a decorator) and last line, 1-based.
        complexity: cyclomatic complexity, see :mod:`codeatlas.syntax`.
        parameters: how many a caller sees: without ``self`` and ``cls``.
        nesting: depth of the deepest block inside it; 0 for straight-line code.
        documented: it has a docstring.
    """

    name: str
    kind: str
    line: int
    line_end: int
    complexity: int
    parameters: int
    nesting: int
    documented: bool


class Class(msgspec.Struct, frozen=True):
    """A class; ``methods`` counts the functions directly in its body."""

    name: str
    line: int
    line_end: int
    methods: int
    documented: bool


class Import(msgspec.Struct, frozen=True):
    """One imported module, with leading dots where the import is relative."""

    module: str
    line: int


class Failure(msgspec.Struct, frozen=True):
    """Why a file could not be analysed; ``line`` is 0 where no line can be named."""

    line: int
    message: str


class FileAnalysis(msgspec.Struct, frozen=True, tag="analysis"):
    """Everything that is known about one version of one file.

    ``lines_total == lines_code + lines_comment + lines_docstring + lines_blank``. ``documentable`` counts the module,
    its public classes and their public functions; ``documented`` those of them that have a docstring. ``terms`` maps
    each word of the file, in lower case, to its weight in a search. With ``failure`` set there are lines and terms (as
    far as the bytes could be decoded) and one finding, nothing else.
    """

    path: str
    language: str
    encoding: str
    sha256: str
    size_bytes: int
    lines_total: int
    lines_code: int
    lines_comment: int
    lines_docstring: int
    lines_blank: int
    functions: tuple[Function, ...]
    classes: tuple[Class, ...]
    imports: tuple[Import, ...]
    documentable: int
    documented: int
    findings: tuple[Finding, ...]
    terms: dict[str, int]
    failure: Failure | None = None

    @property
    def complexity_total(self) -> int:
        return sum(function.complexity for function in self.functions)

    @property
    def complexity_max(self) -> int:
        return max((function.complexity for function in self.functions), default=0)


def analyse(path: str, source: bytes) -> FileAnalysis:
    """Analyse one Python file.

    What cannot be decoded or parsed comes back with ``failure`` set; nothing that is in ``source`` raises.

    Args:
        path: where the file is inside its tree, with ``/``; only its words and its last part matter here.
        source: the whole file, as bytes.
    """
    if len(source) > SOURCE_BYTES_MAX:
        message = f"{len(source):,} bytes are more than the {SOURCE_BYTES_MAX:,} that are analysed"
        return failed_analysis(path, source[:0], Failure(0, message), size_bytes=len(source), sha256=sha256_hex(source))
    try:
        text = decode(source)
        tree = _parse(text.text)
    except (SyntaxError, ValueError, LookupError, RecursionError, MemoryError, OverflowError) as error:
        return failed_analysis(path, source, _failure(error))
    syntax = read_syntax(tree, text)
    return _complete(path, source, text, syntax)


def failed_analysis(
    path: str, source: bytes, failure: Failure, *, size_bytes: int | None = None, sha256: str | None = None
) -> FileAnalysis:
    """What is recorded of a file that cannot be read, decoded or parsed: its lines and words as far as they are
    legible."""
    text = loose_text(source)
    counts = count_lines_unparsed(text)
    finding = Finding("unparsable-file", max(failure.line, 1), failure.message)
    return FileAnalysis(
        path=path,
        language="python",
        encoding=text.encoding,
        sha256=sha256_hex(source) if sha256 is None else sha256,
        size_bytes=len(source) if size_bytes is None else size_bytes,
        lines_total=counts.total,
        lines_code=counts.code,
        lines_comment=counts.comment,
        lines_docstring=counts.docstring,
        lines_blank=counts.blank,
        functions=(),
        classes=(),
        imports=(),
        documentable=0,
        documented=0,
        findings=(finding,),
        terms=text_terms(text.text, symbols=(), path=path),
        failure=failure,
    )


def sha256_hex(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()


def storable(text: str, length_max: int) -> str:
    """Text that every engine can hold: no NUL, no lone surrogates, at most ``length_max`` characters."""
    clean = text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
    return clean if len(clean) <= length_max else clean[: length_max - 1] + "…"


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        # Invalid escapes and the like are the parser's warnings about the file, not about this program.
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _failure(error: Exception) -> Failure:
    line, message = 0, str(error)
    if isinstance(error, SyntaxError):
        line, message = error.lineno or 0, error.msg or "invalid syntax"
    elif isinstance(error, RecursionError | MemoryError):
        message = f"nested too deeply for the parser ({message or type(error).__name__})"
    return Failure(line, storable(message, MESSAGE_LENGTH_MAX))


def _function_findings(function: Function) -> Iterator[Finding]:
    return rules.function_findings(
        function.name,
        function.line,
        lines=function.line_end - function.line + 1,
        complexity=function.complexity,
        parameters=function.parameters,
        nesting=function.nesting,
    )


def _complete(path: str, source: bytes, text: SourceText, syntax: Syntax) -> FileAnalysis:
    counts = count_lines(text, syntax.strings, syntax.docstrings)
    functions = tuple(
        Function(
            storable(scope.name, NAME_LENGTH_MAX),
            scope.kind,
            scope.line,
            scope.line_end,
            scope.complexity,
            scope.parameters,
            scope.nesting,
            scope.documented,
        )
        for scope in syntax.functions
    )
    classes = tuple(
        Class(storable(scope.name, NAME_LENGTH_MAX), scope.line, scope.line_end, scope.methods, scope.documented)
        for scope in syntax.classes
    )
    imports = tuple(Import(storable(module, NAME_LENGTH_MAX), line) for module, line in syntax.imports)
    findings = [
        *syntax.findings,
        *(finding for function in functions for finding in _function_findings(function)),
        *rules.unused_imports(path, syntax.bindings, syntax.used),
        *rules.todo_comments(text, syntax.strings),
    ]
    findings.sort(key=lambda finding: (finding.line, finding.rule))
    public = [scope for scope in (*syntax.functions, *syntax.classes) if scope.public]
    return FileAnalysis(
        path=path,
        language="python",
        encoding=text.encoding,
        sha256=sha256_hex(source),
        size_bytes=len(source),
        lines_total=counts.total,
        lines_code=counts.code,
        lines_comment=counts.comment,
        lines_docstring=counts.docstring,
        lines_blank=counts.blank,
        functions=functions,
        classes=classes,
        imports=imports,
        documentable=int(not syntax.empty) + len(public),
        documented=int(syntax.documented) + sum(scope.documented for scope in public),
        findings=tuple(
            Finding(finding.rule, finding.line, storable(finding.message, MESSAGE_LENGTH_MAX)) for finding in findings
        ),
        terms=text_terms(text.text, symbols=[scope.name for scope in (*syntax.functions, *syntax.classes)], path=path),
    )
