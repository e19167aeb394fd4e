"""A statement text for SQLite: scanned, and classified by where it may run."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, cast

from sillar.engines.connection import RowShape
from sillar.query.text import LexicalRules, Placeholder, StatementText, StatementTexts


class Route(Enum):
    """Where a statement runs outside a transaction."""

    READ = "on any connection: it cannot write"
    WRITE = "in a transaction of the writer, which it may share with other callers"
    ALONE = "on the writer, outside any transaction (VACUUM, settings, ATTACH, temporary tables)"
    CONTROL = "nowhere: transactions are Sillar's (BEGIN, COMMIT, …)"


_ROWS: Final = frozenset({"insert", "update", "delete", "replace", "with"})
_SCHEMA: Final = frozenset({"create", "drop", "alter", "reindex", "analyze"})
_CONTROL: Final = frozenset({"begin", "commit", "end", "rollback", "savepoint", "release"})
_QUESTIONS_WORDS = """
    application_id collation_list compile_options data_version database_list encoding foreign_key_check
    foreign_key_list freelist_count function_list index_info index_list index_xinfo integrity_check module_list
    page_count page_size pragma_list quick_check schema_version table_info table_list table_xinfo user_version
"""
_QUESTIONS: Final = frozenset(_QUESTIONS_WORDS.split())
_PRAGMA: Final = re.compile(r"\s*pragma\s+(?:\w+\s*\.\s*)?(\w+)\s*(=)?", re.IGNORECASE)

# A lookup by key that may be proven: nothing but SELECT … FROM one table WHERE comparisons by equality joined by AND.
# Whatever could read many rows, call a function or take long on one row is not on the list.
_LOOKUP_SIGNS: Final = frozenset({",", ".", "=", "*"})
_LOOKUP_KINDS: Final = frozenset({"word", "quoted", "native", "number", "string", "name"})
_NO_LOOKUP_WORDS = """
    all any between both by case cast collate cross current_date current_time current_timestamp distinct escape
    except exists from glob group having in indexed intersect into is isnull join left like match natural not
    notnull null offset on or order outer over recursive regexp right select union using values when window with
"""
_NO_LOOKUP: Final = frozenset(_NO_LOOKUP_WORDS.split())


class SQLiteStatement(StatementText):
    """A scanned text with what SQLite's engine learned about it. Shared by all callers that send the same text.

    Attributes:
        route: where it runs.
        changes_schema: tables, columns or indexes may be others afterwards.
        table: the one table of a lookup that may be proven to read a single row, else None.
        lookup_generation: the schema for which that proof was found (see :mod:`.lookup`), -1 without one.
        checked_generation: the schema for which a proof was last looked for.
        shape: the columns of its result, once known.
        fixed_columns: the text alone says what the columns are called.
        seconds_longest: about its longest run on the writer lately; None before the first.
    """

    __slots__ = (
        "changes_schema",
        "checked_generation",
        "fixed_columns",
        "lookup_generation",
        "returns_rows",
        "route",
        "seconds_longest",
        "shape",
        "table",
    )

    def __init__(self, source: str, rules: LexicalRules) -> None:
        super().__init__(source, rules)
        words = {text.lower() for kind, text in self._tokens if kind == "word"}
        self.route = _route(self, words)
        self.changes_schema = self.route in (Route.WRITE, Route.ALONE) and self.verb not in _ROWS
        self.returns_rows = "returning" in words or self.route is Route.READ
        self.table = _lookup_table(self._tokens) if self.route is Route.READ and self.verb == "select" else None
        self.lookup_generation = self.checked_generation = -1
        self.shape: RowShape | None = None
        self.fixed_columns = "*" not in source
        self.seconds_longest: float | None = None


class SQLiteStatements(StatementTexts):
    """The scanned texts of one SQLite database."""

    __slots__ = ()

    def __init__(self, size_max: int = 2000) -> None:
        super().__init__(LexicalRules(Placeholder.NUMBERED), size_max)

    def get(self, source: str) -> SQLiteStatement:
        text = self._texts.get(source)
        if text is None:
            self.misses += 1
            text = self._keep(source, SQLiteStatement(source, self.rules))
        else:
            self.hits += 1
        assert isinstance(text, SQLiteStatement)
        return text

    def bound(
        self, source: str, params: Mapping[str, Any] | Sequence[Any] | None
    ) -> tuple[SQLiteStatement, Sequence[Any]]:
        if type(params) is dict:  # the usual case, without further ado
            text = self._texts.get(source)
            if text is not None and len(text.names) == len(params):
                self.hits += 1
                return cast(SQLiteStatement, text), text.bind(params)
        text, values = super().bound(source, params)
        return cast(SQLiteStatement, text), values

    def _verbatim(self, source: str) -> SQLiteStatement:
        key = f"\0{source}"
        text = self._texts.get(key)
        if text is None:
            text = SQLiteStatement(source, self.rules)
            text.as_it_stands()
            self._keep(key, text)
        assert isinstance(text, SQLiteStatement)
        return text


def split_script(script: str) -> Iterator[str]:
    """The statements of a script, each with its semicolon; a trigger's body stays in one piece."""
    begin = 0
    for match in re.finditer(";", script):
        piece = script[begin : match.end()]
        if sqlite3.complete_statement(piece):
            yield piece
            begin = match.end()
    if script[begin:].strip():
        yield script[begin:]


def quoted(name: str) -> str:
    """A name as a quoted identifier; ``schema.table`` is quoted part by part."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))


def _route(text: StatementText, words: set[str]) -> Route:
    verb = text.verb
    if verb in ("select", "values", "explain"):
        return Route.READ if text.is_single else Route.WRITE
    if verb in _CONTROL:
        return Route.CONTROL
    if verb == "with":  # no function of SQLite writes
        writes = not words.isdisjoint(("insert", "update", "delete")) or {"replace", "into"} <= words
        return Route.WRITE if writes or not text.is_single else Route.READ
    if verb == "pragma":
        match = _PRAGMA.match(text.source)
        asks = match is not None and match[2] is None and match[1].lower() in _QUESTIONS
        return Route.READ if asks and text.is_single else Route.ALONE
    temporary = verb == "create" and not words.isdisjoint(("temp", "temporary"))
    if verb in _ROWS or (verb in _SCHEMA and not temporary):
        return Route.WRITE
    return Route.ALONE


def _lookup_table(tokens: tuple[tuple[str, str], ...]) -> str | None:
    """The table of ``SELECT … FROM table [AS alias] WHERE a = … AND b = …``; None for every other shape."""
    solid = [(kind, text) for kind, text in tokens if kind not in ("space", "comment", "end")]
    words = [text.lower() if kind == "word" else "" for kind, text in solid]
    if words.count("from") != 1 or words.count("where") != 1 or words.count("select") != 1:
        return None
    for kind, text in solid:
        if kind not in _LOOKUP_KINDS and text not in _LOOKUP_SIGNS:
            return None
    if not _NO_LOOKUP.isdisjoint(set(words) - {"from", "select"}):
        return None
    place = words.index("from") + 1
    if place + 1 < len(solid) and solid[place + 1][1] == ".":
        if words[place] != "main":
            return None
        place += 2
    kind, text = solid[place] if place < len(solid) else ("", "")
    if kind == "quoted":
        return text[1:-1].replace(text[0] * 2, text[0])
    return text if kind == "word" and text.lower() != "where" else None
