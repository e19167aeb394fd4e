"""Rows that a revision writes: whether a statement goes through the whole table."""

from __future__ import annotations

import re
from typing import Any

from sillar.migrations.lint.context import Context
from sillar.migrations.lint.finding import Severity
from sillar.migrations.lint.model import Change

_ALWAYS = re.compile(r"(true|1|1\s*=\s*1|not\s+false|([\w\"`]+\.)?[\"`]?id[\"`]?\s*(>=?|<>|!=)\s*[01])", re.IGNORECASE)
_SUBQUERY = re.compile(r"\(\s*select\b", re.IGNORECASE)
_LIMIT = re.compile(r"\blimit\b|\bfetch\s+(?:first|next)\b", re.IGNORECASE)
_FROM = re.compile(r"\b(?:from|join)\s+([\w.]+)", re.IGNORECASE)
_NULL_TERM = re.compile(r"[\w.\"`]+\s+is\s+(not\s+)?null", re.IGNORECASE)


def is_whole_table(change: Change) -> bool:
    """Whether nothing keeps it from every row: no condition, one that always holds, or one on NULL alone."""
    if change.what in ("insert", "merge") or change.limited or change.sources:
        return False
    terms = re.split(r"\b(?:and|or)\b", re.sub(r"[()]", " ", change.where), flags=re.IGNORECASE)
    return all(
        not term.strip() or _ALWAYS.fullmatch(term.strip()) or _NULL_TERM.fullmatch(term.strip()) for term in terms
    )


def is_by_key(change: Change, context: Context) -> bool:
    """Whether the condition bounds the rows by the primary key of the table itself, and no large table does by a join.

    ``id = 5``, ``id IN (…)`` and ``id BETWEEN … AND …`` do; ``id > 0`` and ``id = t.user_id`` of a large ``t`` do not.
    """
    where = re.sub(r"[\"`\[\]]", "", change.where)
    joined = list(change.sources)
    if _SUBQUERY.search(where) and not _LIMIT.search(where):
        joined += _FROM.findall(where)
    if any(context.is_large(each) for each in joined):
        return False
    fact = context.facts.table(change.table)
    keys = (fact.key_columns() if fact is not None else ()) or ("id",)
    names = "|".join(re.escape(name) for name in (change.table.rpartition(".")[2], change.alias) if name)
    for key in keys:
        own = rf"(?<![\w.])(?:(?:{names})\.)?{re.escape(key)}(?![\w.])"
        if re.search(rf"{own}\s*(?:=|<(?!>)|\b(?:in|between)\b)|[=>]\s*{own}", where, re.IGNORECASE):
            return True
    return False


def check_change(change: Change, context: Context, locked: set[str], *, reading_locks: bool = False) -> None:
    """Find statements that write a whole table, or write while a lock of DDL is held.

    Args:
        change: the statement.
        context: the revision.
        locked: tables that DDL in the same transaction has locked.
        reading_locks: rows that are selected for an INSERT are locked against writes (InnoDB).
    """
    if context.statement is not None and context.statement.batched:
        return
    if change.what in ("insert", "merge"):
        _check_sources(change, context, locked, reading_locks=reading_locks)
        return
    whole = is_whole_table(change)
    large = context.is_large(change.table) and not change.limited and not is_by_key(change, context)
    if not whole and not large:
        return
    what = f"{change.what.upper()} of {'all of ' if whole else ''}{change.table}{_while(locked)}"
    details: dict[str, Any] = {"assignments": change.assignments, "where": change.where, "change": change.what}
    details["joins"] = change.sources
    if locked:
        context.find("backfill-under-lock", what, table=change.table, **details)
    else:
        severity = None if whole else Severity.WARNING
        context.find("unbounded-change", what, table=change.table, severity=severity, **details)


def _check_sources(change: Change, context: Context, locked: set[str], *, reading_locks: bool) -> None:
    """Rows that come from a large table."""
    source = next((each for each in change.sources if context.is_large(each)), None)
    if source is None or change.limited:
        return
    what = f"{change.what.upper()} into {change.table} from all of {source}"
    if locked:
        context.find("backfill-under-lock", what + _while(locked), table=source)
    elif reading_locks:
        what += ", whose rows nobody can write meanwhile"
        context.find("unbounded-change", what, table=source, severity=Severity.WARNING)
    elif not context.is_new(change.table):
        context.find("unbounded-change", what, table=change.table, severity=Severity.WARNING)


def _while(locked: set[str]) -> str:
    return f" while {', '.join(sorted(locked))} {'is' if len(locked) == 1 else 'are'} locked" if locked else ""
