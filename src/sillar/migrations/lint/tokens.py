"""SQL text as tokens, and a script as statements.

Only what a reader of DDL needs: words, quoted names, strings, numbers and symbols with their places. Comments vanish.
What differs between dialects (backslashes in strings, ``#`` comments, ``[name]``) is a ``Lexicon``, a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum


class TokenKind(Enum):
    """What a token is."""

    WORD = "word"
    NAME = "name"  # quoted
    STRING = "string"
    NUMBER = "number"
    SYMBOL = "symbol"


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        kind: what it is.
        text: as it stands in the statement.
        value: without quotes; words in upper case.
        start: offset of its first character.
        end: offset after its last character.
    """

    kind: TokenKind
    text: str
    value: str
    start: int
    end: int

    @property
    def is_name(self) -> bool:
        """Whether it can name a table or a column."""
        return self.kind in (TokenKind.WORD, TokenKind.NAME)


@dataclass(frozen=True, slots=True)
class Lexicon:
    """How a dialect writes.

    Attributes:
        backslash_escapes: a backslash in a string hides the next character.
        double_quoted_strings: ``"…"`` is a string, not a name.
        hash_comments: ``#`` begins a comment.
        brackets: ``[name]`` is a quoted name.
        dollar_quotes: ``$tag$ … $tag$`` is a string.
        folds_lower: names without quotes are lower case names.
    """

    backslash_escapes: bool = False
    double_quoted_strings: bool = False
    hash_comments: bool = False
    brackets: bool = False
    dollar_quotes: bool = False
    folds_lower: bool = False


_WORD = re.compile(r"[^\W\d][\w$]*|[$:@][\w$@]+")
_NUMBER = re.compile(r"\d[\w.]*|\.\d[\w.]*")
_DOLLAR = re.compile(r"\$(?:[^\W\d]\w*)?\$")
_SYMBOL = re.compile(r"::|:=|<=|>=|<>|!=|\|\||->>|->|@>|<@|&&|.", re.DOTALL)


def tokenize(sql: str, lexicon: Lexicon) -> list[Token]:
    """The tokens of a text; one that ends in the middle of a string ends with what there is."""
    return list(_tokens(sql, lexicon))


def _tokens(sql: str, lexicon: Lexicon) -> Iterator[Token]:
    at, end = 0, len(sql)
    while at < end:
        here = sql[at]
        if here.isspace():
            at += 1
            continue
        if sql.startswith("--", at) or (here == "#" and lexicon.hash_comments):
            at = _after(sql, "\n", at)
            continue
        if sql.startswith("/*", at):
            at = _comment_end(sql, at)
            continue
        token = _token(sql, at, lexicon)
        yield token
        at = token.end


def _after(sql: str, what: str, at: int) -> int:
    found = sql.find(what, at)
    return len(sql) if found < 0 else found + len(what)


def _comment_end(sql: str, at: int) -> int:
    """Where a block comment ends. PostgreSQL nests them; others do not, and do not write ``/*`` inside either.

    ``/*! … */`` and ``/*M! … */`` are run by MySQL and MariaDB: only their opening is passed over.
    """
    executed = re.match(r"/\*M?!\d*", sql[at : at + 12])
    if executed:
        return at + executed.end()
    depth = 0
    for found in re.finditer(r"/\*|\*/", sql[at:]):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return at + found.end()
    return len(sql)


def _token(sql: str, at: int, lexicon: Lexicon) -> Token:
    here = sql[at]
    if sql.startswith("*/", at):  # the end of a comment that MySQL runs
        return Token(TokenKind.SYMBOL, "*/", "", at, at + 2)
    if lexicon.dollar_quotes and (dollar := _DOLLAR.match(sql, at)):
        end = _after(sql, dollar[0], dollar.end())
        return Token(TokenKind.STRING, sql[at:end], sql[dollar.end() : end - len(dollar[0])], at, end)
    prefixed = re.match(r"([eEbBxXnN]|[uU]&|_\w+\s*)?'", sql[at : at + 24])
    if prefixed:
        escapes = lexicon.backslash_escapes or prefixed[0][0] in "eE"
        return _quoted(sql, at, at + prefixed.end() - 1, "'", TokenKind.STRING, escapes=escapes)
    if here == '"':
        kind = TokenKind.STRING if lexicon.double_quoted_strings else TokenKind.NAME
        return _quoted(sql, at, at, '"', kind, escapes=lexicon.backslash_escapes)
    if here == "`":
        return _quoted(sql, at, at, "`", TokenKind.NAME, escapes=False)
    if here == "[" and lexicon.brackets:
        end = _after(sql, "]", at)
        return Token(TokenKind.NAME, sql[at:end], sql[at + 1 : end].removesuffix("]"), at, end)
    if word := _WORD.match(sql, at):
        return Token(TokenKind.WORD, word[0], word[0].upper(), at, word.end())
    if number := _NUMBER.match(sql, at):
        return Token(TokenKind.NUMBER, number[0], number[0], at, number.end())
    symbol = _SYMBOL.match(sql, at)
    assert symbol is not None  # one character always matches
    return Token(TokenKind.SYMBOL, symbol[0], symbol[0], at, symbol.end())


def _quoted(sql: str, start: int, opening: int, quote: str, kind: TokenKind, *, escapes: bool) -> Token:
    at = opening + 1
    content: list[str] = []
    while at < len(sql):
        if escapes and sql[at] == "\\":
            content.append(sql[at + 1 : at + 2])
            at += 2
        elif sql.startswith(quote * 2, at):
            content.append(quote)
            at += 2
        elif sql[at] == quote:
            at += 1
            break
        else:
            content.append(sql[at])
            at += 1
    return Token(kind, sql[start:at], "".join(content), start, at)


_BODIES = {"TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"}


def split_statements(script: str, lexicon: Lexicon) -> list[tuple[str, int]]:
    """The statements of a script, each with the line that it begins in (the first is 1), without semicolons.

    Bodies of triggers and functions stay whole. Lines of MySQL's client (``DELIMITER //``) are obeyed.
    """
    if re.search(r"^\s*DELIMITER\s", script, re.IGNORECASE | re.MULTILINE):
        script = _without_delimiters(script)
    statements: list[tuple[str, int]] = []
    run: list[Token] = []
    depth = 0
    for token in _tokens(script, lexicon):
        if token.text == ";" and depth == 0:
            _close(script, run, statements)
            run = []
            continue
        run.append(token)
        depth = _body_depth(run, depth)
    _close(script, run, statements)
    return statements


def _close(script: str, run: Sequence[Token], statements: list[tuple[str, int]]) -> None:
    if run:
        start = run[0].start
        statements.append((script[start : run[-1].end], script.count("\n", 0, start) + 1))


def _body_depth(run: Sequence[Token], depth: int) -> int:
    """How many ``BEGIN``/``CASE`` are open after the last token, inside of a trigger or a function."""
    token = run[-1]
    if token.kind is not TokenKind.WORD or run[0].value != "CREATE":
        return depth
    if depth == 0:
        if token.value == "BEGIN" and any(each.value in _BODIES for each in run[:8]):
            return 1
        return 0
    before = run[-2].value
    if token.value in ("BEGIN", "CASE", "LOOP", "REPEAT", "WHILE") and before != "END":
        return depth + 1
    if token.value == "IF" and before in (";", "BEGIN", "THEN", "ELSE"):
        return depth + 1
    return depth - 1 if token.value == "END" else depth


def _without_delimiters(script: str) -> str:
    delimiter, lines = ";", []
    for line in script.splitlines():
        changed = re.match(r"\s*DELIMITER\s+(\S+)", line, re.IGNORECASE)
        if changed:
            delimiter = changed[1]
            lines.append("")
        elif delimiter != ";" and line.rstrip().endswith(delimiter):
            lines.append(line.rstrip().removesuffix(delimiter) + ";")
        else:
            lines.append(line)
    return "\n".join(lines)
