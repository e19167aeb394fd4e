"""Reading statements that write rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sillar.migrations.lint.cursor import Cursor
from sillar.migrations.lint.model import Action, Change
from sillar.migrations.lint.tokens import TokenKind

_NO_ALIAS = {
    "SET", "FROM", "WHERE", "USING", "JOIN", "INNER", "LEFT", "RIGHT", "CROSS", "NATURAL", "STRAIGHT_JOIN", "LIMIT",
    "ORDER", "RETURNING", "ON", "PARTITION", "FORCE", "USE", "IGNORE",
}  # fmt: skip
_LIMITS = {"LIMIT", "FETCH"}


def read_update(cursor: Cursor) -> Change:
    """``UPDATE``, whatever tables it joins."""
    cursor.accept_any("ONLY", "LOW_PRIORITY", "IGNORE", "OR ROLLBACK", "OR ABORT", "OR IGNORE")
    table, alias = _target(cursor)
    sources = _tables(cursor.until("SET"), cursor)
    cursor.expect("SET")
    assignments: list[tuple[str, str]] = []
    while True:
        names = cursor.column_names() if cursor.sees("(") else (cursor.dotted().rpartition(".")[2],)
        cursor.accept("=")
        value = cursor.until(",", "FROM", "WHERE", "LIMIT", "ORDER", "RETURNING")
        assignments.extend((name, value if len(names) == 1 else "") for name in names)
        if not cursor.accept(","):
            break
    change = Change("update", table, assignments=tuple(assignments), sources=sources, alias=alias)
    return _condition(cursor, change)


def read_delete(cursor: Cursor) -> Change:
    """``DELETE``, also MySQL's of several tables."""
    cursor.accept_any("LOW_PRIORITY", "QUICK", "IGNORE")
    if not cursor.accept("FROM"):  # MySQL: DELETE u FROM users u JOIN …
        named = cursor.names()[0].removesuffix(".*")
        cursor.expect("FROM")
        table, alias = _target(cursor)
        sources = _tables(cursor.until("WHERE", "LIMIT", "ORDER"), cursor)
        change = Change("delete", table, sources=sources, alias=alias)
        if named not in (table, alias):  # the rows of a table behind a JOIN
            change = replace(change, table=named, sources=(table, *sources), alias="")
        return _condition(cursor, change)
    cursor.accept("ONLY")
    table, alias = _target(cursor)
    return _condition(cursor, Change("delete", table, alias=alias))


def read_merge(cursor: Cursor) -> Change:
    """``MERGE``."""
    cursor.accept("INTO")
    cursor.accept("ONLY")
    table, alias = _target(cursor)
    cursor.expect("USING")
    limited = any(token.kind is TokenKind.WORD and token.value in _LIMITS for token in cursor.tokens)
    return Change("merge", table, sources=_tables(cursor.until("ON"), cursor), limited=limited, alias=alias)


def read_insert(cursor: Cursor) -> Change:
    """``INSERT`` and ``REPLACE``."""
    cursor.accept_any("IGNORE", "OR IGNORE", "OR REPLACE")
    cursor.accept("INTO")
    table = cursor.dotted()
    limited = any(token.kind is TokenKind.WORD and token.value in _LIMITS for token in cursor.tokens)
    return Change("insert", table, sources=selected_from(cursor), limited=limited)


def selected_from(cursor: Cursor) -> tuple[str, ...]:
    """The tables that the rest of a statement selects from."""
    sources: list[str] = []
    while not cursor.done:
        if cursor.accept_any("FROM", "JOIN") and cursor.peek().is_name:
            sources.append(cursor.dotted())
        else:
            cursor.take()
    return tuple(sources)


def read_with(cursor: Cursor, read: Callable[[Cursor], Action]) -> Action:
    """A common table expression: what counts is the statement behind it, or one in it that writes rows."""
    cursor.accept("RECURSIVE")
    written: Change | None = None
    limited: set[str] = set()
    while True:
        name = cursor.name()
        if cursor.sees("("):
            cursor.group()
        cursor.expect("AS")
        cursor.accept_any("NOT MATERIALIZED", "MATERIALIZED")
        inner = Cursor(cursor.group(), cursor.lexicon)
        if any(token.kind is TokenKind.WORD and token.value in _LIMITS for token in inner.tokens):
            limited.add(name)
        action = read(inner)
        if isinstance(action, Change) and action.what != "insert":
            written = written or replace(action, limited=action.limited or bool(limited & set(action.sources)))
        if not cursor.accept(","):
            break
    action = read(cursor)
    if isinstance(action, Change) and limited & set(action.sources):
        action = replace(action, limited=True)
    return written if written is not None and not (isinstance(action, Change) and action.what != "insert") else action


def _target(cursor: Cursor) -> tuple[str, str]:
    """A table, and the name that it has in the statement."""
    table = cursor.dotted()
    cursor.accept("*")
    if cursor.accept("AS") or (cursor.peek().is_name and cursor.peek().value not in _NO_ALIAS):
        return table, cursor.name()
    return table, ""


def _tables(text: str, cursor: Cursor) -> tuple[str, ...]:
    """The tables that are listed or joined in a part of a statement."""
    inner = Cursor(text, cursor.lexicon)
    found: list[str] = []
    expected = True
    while not inner.done:
        if inner.sees("("):
            inner.group()
            expected = False
        elif inner.accept(",") or inner.accept_any("JOIN", "STRAIGHT_JOIN"):
            expected = True
        elif expected and inner.peek().is_name and inner.peek().value not in _NO_ALIAS | {"LATERAL", "ONLY", "OUTER"}:
            found.append(inner.dotted())
            expected = False
        else:
            inner.take()
    return tuple(found)


def _condition(cursor: Cursor, change: Change) -> Change:
    if cursor.accept_any("FROM", "USING"):
        change = replace(change, sources=change.sources + _tables(cursor.until("WHERE", "LIMIT", "RETURNING"), cursor))
    cursor.until("WHERE", "LIMIT")
    where = cursor.until("LIMIT", "ORDER", "RETURNING") if cursor.accept("WHERE") else ""
    cursor.until("LIMIT")
    return replace(change, where=where, limited=cursor.accept("LIMIT"))
