"""The text of a source file: decoding by the rules of the language, and what kind of line each line is."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

_STRING_START = re.compile(r"[A-Za-z]{0,2}(\"\"\"|''')")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of source: 1-based lines, columns as 0-based offsets into the UTF-8 bytes of the line (as ``ast``
    counts)."""

    line: int
    column: int
    line_end: int
    column_end: int


@dataclass(frozen=True, slots=True)
class LineCounts:
    """How many lines are of which kind; every line is of exactly one."""

    total: int
    code: int
    comment: int
    docstring: int
    blank: int


@dataclass(frozen=True)
class SourceText:
    """Decoded source with ``\\n`` line ends."""

    text: str
    encoding: str

    @cached_property
    def lines(self) -> list[str]:
        lines = self.text.split("\n")
        if lines[-1] == "":
            lines.pop()
        return lines

    def segment(self, span: Span) -> str:
        """The text of a span."""
        lines = self.lines[span.line - 1 : span.line_end]
        # The end is cut first: on a single line both cuts hit the same string.
        lines[-1] = lines[-1].encode()[: span.column_end].decode()
        lines[0] = lines[0].encode()[span.column :].decode()
        return "\n".join(lines)


def decode(source: bytes) -> SourceText:
    """Decode by byte-order mark, coding cookie, or as UTF-8 (language reference 2.1.4, PEP 263).

    Raises:
        SyntaxError, UnicodeDecodeError, LookupError: unknown encoding, contradicting marks, or bytes that do not fit.
    """
    encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    return SourceText(_unix_lines(source.decode(encoding)), encoding)


def loose_text(source: bytes) -> SourceText:
    """As much text as can be had from bytes that :func:`decode` may have refused; never raises."""
    try:
        return decode(source)
    except (SyntaxError, ValueError, LookupError):
        return SourceText(_unix_lines(source.decode("utf-8", "replace")), "unknown")


def count_lines(source: SourceText, strings: Iterable[Span], docstrings: Iterable[Span]) -> LineCounts:
    """Sort lines into docstring, blank, comment and code.

    A ``#`` or an empty line inside a string is part of that string; that is why the spans of all strings that cover
    several lines are needed.
    """
    lines = source.lines
    in_docstring = {line for span in docstrings for line in range(span.line, span.line_end + 1)}
    in_string: set[int] = set()
    for span in strings:
        if span.line_end > span.line and span.line not in in_docstring:
            in_string.update(_string_lines(source, span))
    blank = comment = 0
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if number in in_docstring or number in in_string:
            continue
        if not stripped:
            blank += 1
        elif stripped[0] == "#":
            comment += 1
    # A docstring may end past the last counted line only if the parser says so; the sum must hold regardless.
    docstring = sum(1 for number in in_docstring if number <= len(lines))
    return LineCounts(len(lines), len(lines) - blank - comment - docstring, comment, docstring, blank)


def count_lines_unparsed(source: SourceText) -> LineCounts:
    """The same for text without a syntax tree: strings cannot be told from code, so there are no docstring lines."""
    stripped = [line.strip() for line in source.lines]
    blank = sum(1 for line in stripped if not line)
    comment = sum(1 for line in stripped if line.startswith("#"))
    return LineCounts(len(stripped), len(stripped) - blank - comment, comment, 0, blank)


def _string_lines(source: SourceText, span: Span) -> set[int]:
    """The lines that begin inside the string at ``span``.

    The parser gives one span to strings that are concatenated by standing next to each other, so between the pieces
    there may be comments and empty lines that belong to no string. Only then the tokenizer, which is slow, is asked.
    """
    inner = range(span.line + 1, span.line_end + 1)
    stripped = [source.lines[line - 1].lstrip() for line in inner]
    if not any(line == "" or line[0] == "#" for line in stripped):
        return set(inner)
    segment = source.segment(span)
    opening = _STRING_START.match(segment)
    if opening is not None and segment.find(opening[1], opening.end()) == len(segment) - 3:
        return set(inner)
    outside: set[int] = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(f"({segment})").readline):
            if token.type in (tokenize.COMMENT, tokenize.NL) and token.line[: token.start[1]].strip() == "":
                outside.add(span.line + token.start[0] - 1)
    except (tokenize.TokenError, SyntaxError):
        # The two tokenizers of the language disagree about this text: the parser's view, one string, stands.
        return set(inner)
    return set(inner) - outside


def _unix_lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
