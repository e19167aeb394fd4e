"""What can be known of a statement from its text: verb, placeholders, fingerprint, and whether it leaves a trace.

This is a scanner, not a parser, and it only ever errs to the safe side: what it does not know is a write and makes the
session need a reset. Each distinct text is scanned once per engine (bounded cache).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from hashlib import blake2b
from typing import Any, Final, TypeVar

from sillar.errors import ParameterError
from sillar.query.functions import HARMLESS_FUNCTIONS, KEYWORDS_BEFORE_PARENTHESIS, WRITING_FUNCTIONS
from sillar.query.lane import Lane


class Placeholder(Enum):
    """How a driver spells its parameters."""

    DOLLAR = "$1"
    NUMBERED = "?1"
    FORMAT = "%s"


@dataclass(frozen=True, slots=True)
class LexicalRules:
    """Where the SQL dialects differ for a scanner.

    Attributes:
        placeholder: how the driver spells parameters.
        backslash_escapes: whether a backslash escapes the next character of a string (MySQL).
        dollar_quotes: whether ``$tag$ … $tag$`` and ``E'…'`` quote strings, block comments nest, and a carriage return
            ends a line comment, too (PostgreSQL).
        hash_comments: whether ``#`` begins a comment, ``--`` only before white space, and ``/*! … */`` is executed
            (MySQL).
        user_variables: whether ``@name`` is a variable of the session (MySQL).
        functions: names that may stand before an opening parenthesis.
    """

    placeholder: Placeholder
    backslash_escapes: bool = False
    dollar_quotes: bool = False
    hash_comments: bool = False
    user_variables: bool = False
    functions: frozenset[str] = HARMLESS_FUNCTIONS


class StatementText:
    """One statement text, scanned.

    Attributes:
        source: the text as it was given.
        verb: its first word in lower case, ``""`` for an empty text.
        sql: the text with the driver's own placeholders in the place of ``:name``.
        names: the parameter name for each placeholder position of ``sql``.
        is_read: it certainly does not write.
        is_clean: it certainly leaves nothing behind in the session (no SET, lock, LISTEN, temporary table, …).
        is_single: it holds one statement.
        is_atomic: it certainly is applied as a whole or not at all: one statement, and no procedure, which may commit
            inside.
        touches_prepared: it may have changed the session's prepared statements.
        key: under which a connection keeps it prepared.
        results: of a compiled statement of SQLAlchemy, what becomes of its rows (``PlannedRows``); None for plain text,
            whose values the engine decodes itself.
    """

    __slots__ = (
        "_fingerprint",
        "_pieces",
        "_tokens",
        "is_atomic",
        "is_clean",
        "is_read",
        "is_single",
        "key",
        "names",
        "results",
        "source",
        "sql",
        "touches_prepared",
        "unique_names",
        "verb",
    )

    def __init__(self, source: str, rules: LexicalRules) -> None:
        self.source = source
        self._tokens = _tokens(source, rules)
        self._fingerprint: str | None = None
        self._pieces, self.names = _render(self._tokens, rules.placeholder)
        self.sql = self.key = "".join(self._pieces)
        self.results: Any = None
        self.unique_names: frozenset[str] = frozenset(self.names)
        words = [text.lower() for kind, text in self._tokens if kind == "word"]
        self.verb = words[0] if words else ""
        self.is_single = _is_single(self._tokens)
        hidden = any(kind == "executable" for kind, _ in self._tokens)
        harmless = self.is_single and not hidden and _only_harmless_calls(self._tokens, rules.functions)
        stored = "into" in words and self.verb in _QUERIES  # SELECT … INTO creates a table (or sets a variable)
        stored = stored or (self.verb in _EXPLAINING and not _EXECUTED_BY_EXPLAIN.isdisjoint(words))
        variables = rules.user_variables and any(kind == "variable" for kind, _ in self._tokens)
        writes = not _WRITING_WORDS.isdisjoint(words) or {"next", "value"}.issubset(words)
        locks = "for" in words and not _LOCKING_WORDS.isdisjoint(words)
        self.is_clean = harmless and not stored and not variables and self.verb in (_QUERIES | _WRITES)
        self.is_read = harmless and not stored and not variables and not writes and not locks and self.verb in _QUERIES
        self.is_atomic = self.is_single and not hidden and self.verb in (_QUERIES | _WRITES | _DEFINITIONS)
        self.touches_prepared = not self.is_single or hidden or self.verb in {"prepare", "deallocate", "discard"}

    def bind(self, params: Mapping[str, Any]) -> list[Any]:
        """The parameter values in the order of the driver's placeholders.

        Raises:
            ParameterError: names are missing or superfluous; the message lists both.
        """
        try:
            values = [params[name] for name in self.names]
        except KeyError:
            raise self._mismatch(params) from None
        if len(params) != len(self.unique_names):
            raise self._mismatch(params)
        return values

    def as_it_stands(self) -> None:
        """Send the text with nothing replaced: its parameters are the engine's own placeholders."""
        self.sql = self.key = self.source
        self.names, self.unique_names = (), frozenset()
        self._pieces = [piece for _, piece in self._tokens]

    @property
    def lane(self) -> Lane | None:
        """The lane of a statement of SQLAlchemy; None for plain text."""
        return None if self.results is None else Lane.FAST

    def source_position(self, position: int) -> int:
        """The 1-based character of ``source`` for a 1-based character of ``sql``, which has other placeholders."""
        sent = given = 0
        for (_, text), piece in zip(self._tokens, self._pieces, strict=True):
            if sent + len(piece) >= position:
                return given + min(position - sent, len(text))
            sent, given = sent + len(piece), given + len(text)
        return given

    def _mismatch(self, params: Mapping[str, Any]) -> ParameterError:
        given = set(params)
        parts = []
        if missing := sorted(self.unique_names - given):
            parts.append(f"missing: {', '.join(missing)}")
        if superfluous := sorted(given - self.unique_names):
            parts.append(f"superfluous: {', '.join(map(str, superfluous))}")
        return ParameterError(
            f"the statement has the parameters ({', '.join(sorted(self.unique_names)) or 'none'}); {'; '.join(parts)}"
            f" — statement: {self.fingerprint}"
        )

    @property
    def fingerprint(self) -> str:
        """The statement without its values: literals and parameters become ``?``, white space and lists collapse."""
        if self._fingerprint is None:
            self._fingerprint = _fingerprint(self._tokens)
        return self._fingerprint

    @property
    def fingerprint_id(self) -> str:
        """Sixteen hexadecimal digits that stand for the fingerprint."""
        return blake2b(self.fingerprint.encode(), digest_size=8).hexdigest()

    def __repr__(self) -> str:
        return f"StatementText({self.fingerprint!r})"


TextT = TypeVar("TextT", bound=StatementText)


class StatementTexts:
    """The scanned texts of one engine; bounded, the oldest leaves first."""

    __slots__ = ("_size_max", "_texts", "hits", "misses", "rules")

    def __init__(self, rules: LexicalRules, size_max: int = 2000) -> None:
        self.rules = rules
        self._texts: dict[str, StatementText] = {}
        self._size_max = size_max
        self.hits = self.misses = 0

    def get(self, source: str) -> StatementText:
        """The scanned text, from the cache or scanned now."""
        text = self._texts.get(source)
        if text is None:
            self.misses += 1
            text = self._keep(source, StatementText(source, self.rules))
        else:
            self.hits += 1
        return text

    def bound(
        self, source: str, params: Mapping[str, Any] | Sequence[Any] | None
    ) -> tuple[StatementText, Sequence[Any]]:
        """The scanned text with its parameter values.

        A mapping fills ``:name`` placeholders. A sequence fills the engine's own placeholders: then the text is sent as
        it stands, colons included.

        Raises:
            ParameterError: names are missing or superfluous, or the parameters are no mapping and no sequence.
        """
        text = self.get(source)
        if params is None:
            if text.names:
                raise text._mismatch({})
            return text, ()
        if isinstance(params, Mapping):
            return text, text.bind(params)
        if isinstance(params, (list, tuple)):
            return (self._verbatim(source) if text.names else text), params
        raise ParameterError(
            f"parameters are a mapping (for :name) or a list or tuple (for the engine's own placeholders), "
            f"not {type(params).__name__}"
        )

    def _verbatim(self, source: str) -> StatementText:
        """The text with nothing replaced, for statements that use the engine's own placeholders and have colons."""
        key = f"\0{source}"
        text = self._texts.get(key)
        if text is None:
            text = StatementText(source, self.rules)
            text.as_it_stands()
            self._keep(key, text)
        return text

    def _keep(self, key: str, text: TextT) -> TextT:
        if len(key) <= _KEPT_LENGTH_MAX:
            if len(self._texts) >= self._size_max:
                del self._texts[next(iter(self._texts))]
            self._texts[key] = text
        return text


_QUERIES: Final = frozenset({"select", "values", "table", "with", "show", "explain", "describe", "desc"})
_WRITES: Final = frozenset({"insert", "update", "delete", "merge", "replace"})
_EXPLAINING: Final = frozenset({"explain", "describe", "desc"})
_EXECUTED_BY_EXPLAIN: Final = frozenset({"create", "declare", "execute", "refresh"})
_DEFINITIONS: Final = frozenset({"create", "alter", "drop", "truncate", "comment", "grant", "revoke", "refresh"})
_WRITING_WORDS: Final = WRITING_FUNCTIONS | frozenset(
    {"insert", "update", "delete", "merge", "replace", "analyze", "analyse", "truncate", "call"}
)
_LOCKING_WORDS: Final = frozenset({"update", "share", "nokey"})
_KEPT_LENGTH_MAX: Final = 100_000
"""Characters: longer texts are rare and hardly ever the same again, and their tokens take fifty times their length."""

_NATIVE: Final = {Placeholder.DOLLAR: r"\$\d+", Placeholder.NUMBERED: r"\?\d*", Placeholder.FORMAT: r"%s"}
_LETTER: Final = r"(?:[^\W\d]|[^\x00-\x7f])"
_FOLLOWING: Final = r"(?:\w|[^\x00-\x7f])"


@cache
def _pattern(rules: LexicalRules) -> re.Pattern[str]:
    """The tokens of a dialect. Block comments of PostgreSQL nest, which is not for a regular expression."""
    comments = [r"--[^\n]*"]
    quotes = [r"[nNbBxX]?'[^']*(?:''[^']*)*'"]
    quoted, variable = r'"[^"]*(?:""[^"]*)*"|`[^`]*(?:``[^`]*)*`', r"@{1,2}[A-Za-z_][\w.$]*"
    if rules.dollar_quotes:
        quoted, variable = r'"[^"]*(?:""[^"]*)*"', r"(?!)"  # ` and @ are letters of operators
        comments = [r"--[^\n\r]*"]
        quotes.append(r"[eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'")
        quotes.append(rf"\$(?P<tag>(?:{_LETTER}{_FOLLOWING}*)?)\$.*?\$(?P=tag)\$")
    else:
        comments.append(r"/\*.*?(?:\*/|\Z)")
    if rules.hash_comments:
        comments[0] = r"--(?=[\x00-\x20\x7f]|\Z)[^\n]*"
        comments.append(r"\#[^\n]*")
    if rules.backslash_escapes:
        quotes = [r"""[nNbBxX]?'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'|"[^"\\]*(?:(?:\\.|"")[^"\\]*)*\""""]
    alternatives = (
        ("space", r"[ \t\n\r\f\v]+"),
        ("executable", r"/\*M?!.*?(?:\*/|\Z)" if rules.hash_comments else r"(?!)"),
        ("comment", "|".join(comments)),
        ("string", "|".join(quotes)),
        ("quoted", quoted),
        ("cast", r"::"),
        ("name", r"(?<![\w:\])]):[A-Za-z_]\w*"),
        ("native", _NATIVE[rules.placeholder]),
        ("variable", variable),
        ("number", r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+"),
        ("word", rf"{_LETTER}(?:{_FOLLOWING}|\$)*"),
        ("end", r";"),
        ("other", r"."),
    )
    return re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in alternatives), re.DOTALL)


_RENDERED: Final = re.compile(r"[$?]\d+|%s")
_COMMENT_BOUND: Final = re.compile(r"/\*|\*/")


def _tokens(source: str, rules: LexicalRules) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    match_token = _pattern(rules).match
    position, length = 0, len(source)
    while position < length:
        if rules.dollar_quotes and source.startswith("/*", position):
            kind, end = "comment", _end_of_nested_comment(source, position)
        else:
            match = match_token(source, position)
            assert match is not None  # the last alternative takes any character
            kind, end = match.lastgroup or "other", match.end()
            if kind == "tag":
                kind = "string"
        found.append((kind, source[position:end]))
        position = end
    return tuple(found)


def _end_of_nested_comment(source: str, position: int) -> int:
    depth = 0
    for bound in _COMMENT_BOUND.finditer(source, position):
        depth += 1 if bound.group() == "/*" else -1
        if depth == 0:
            return bound.end()
    return len(source)


def _render(tokens: Sequence[tuple[str, str]], placeholder: Placeholder) -> tuple[list[str], tuple[str, ...]]:
    """What is sent for each token, and the parameter name for each position."""
    if not any(kind == "name" for kind, _ in tokens):
        return [text for _, text in tokens], ()
    names: list[str] = []
    pieces: list[str] = []
    for kind, text in tokens:
        if kind != "name":
            pieces.append(text.replace("%", "%%") if placeholder is Placeholder.FORMAT else text)
        elif placeholder is Placeholder.FORMAT:
            names.append(text[1:])
            pieces.append("%s")
        else:
            if text[1:] not in names:
                names.append(text[1:])
            pieces.append(f"{placeholder.value[0]}{names.index(text[1:]) + 1}")
    return pieces, tuple(names)


def _is_single(tokens: Sequence[tuple[str, str]]) -> bool:
    ended = False
    for kind, _ in tokens:
        if kind == "end":
            ended = True
        elif ended and kind not in ("space", "comment"):
            return False
    return True


def _only_harmless_calls(tokens: Sequence[tuple[str, str]], functions: frozenset[str]) -> bool:
    """Whether every ``name(`` is a keyword, the column list of an INSERT, or a function on the list."""
    solid = [(kind, text.lower()) for kind, text in tokens if kind not in ("space", "comment")]
    for index, (kind, text) in enumerate(solid):
        if text != "(" or kind != "other" or index == 0:
            continue
        before_kind, before = solid[index - 1]
        if before_kind == "string":  # a quoted name, in one dialect or another
            return False
        if before_kind not in ("word", "quoted"):
            continue
        start = index - 1
        while start >= 2 and solid[start - 1][1] == ".":
            start -= 2
        if start >= 1 and solid[start - 1][1] in ("into", "with", "recursive"):
            continue
        if before in KEYWORDS_BEFORE_PARENTHESIS and start == index - 1:
            continue
        if before not in functions or (start != index - 1 and solid[start][1] != "pg_catalog"):
            return False
    return True


def _fingerprint(tokens: Sequence[tuple[str, str]]) -> str:
    parts = []
    for kind, text in tokens:
        if kind in ("space", "comment"):
            parts.append(" ")
        elif kind == "executable":
            parts.append("/*! ? */")
        elif kind in ("string", "number", "name", "native"):
            parts.append("?")
        elif kind != "end":
            parts.append(text)
    collapsed = " ".join("".join(parts).split())
    collapsed = re.sub(r"\?(?:\s*,\s*\?)+", "?", collapsed)
    return re.sub(r"\(\s*\?\s*\)(?:\s*,\s*\(\s*\?\s*\))+", "(?)", collapsed)
