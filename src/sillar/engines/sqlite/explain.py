"""Plans of SQLite: ``EXPLAIN QUERY PLAN``, whose lines are told apart as its documentation describes them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sillar.engines.connection import Reply
from sillar.engines.inspection import Bound, Explainer, explained_text
from sillar.query.explanation import Explanation, Scan, ScanKind

_numbers = itertools.count(1)
_LINE: Final = re.compile(
    r"(?P<verb>SCAN|SEARCH) (?:TABLE )?(?P<table>.+?)(?: AS (?P<alias>.+?))?"
    r"(?: USING (?P<index>(?P<automatic>AUTOMATIC )?(?:PARTIAL )?(?:COVERING )?INDEX(?: (?P<name>.+?))?"
    r"|INTEGER PRIMARY KEY|PRIMARY KEY))?(?: \((?P<terms>.*)\))?(?: LEFT-JOIN)?$"
)
_SORT: Final = "USE TEMP B-TREE FOR"


class SQLiteExplainer(Explainer):
    """Asks SQLite for plans."""

    analyzes = False
    needs_snapshot = True

    def statements(self, bound: Any, args: Sequence[Any], *, analyze: bool) -> list[Bound]:
        # SQLite does not look whether the schema has changed when it explains, but when it reads: so that comes first,
        # and the text is never one that was prepared before.
        fresh = self.adapter.bind("SELECT count(*) FROM sqlite_schema", ())
        return [fresh, explained_text(self.adapter, "EXPLAIN QUERY PLAN ", bound, args, f" -- {next(_numbers)}")]

    def read(self, replies: Sequence[Reply]) -> Explanation:
        lines = [(int(row[0]), int(row[1]), str(row[3])) for row in replies[-1].rows]
        depths: dict[int, int] = {0: -1}
        text = []
        for number, parent, detail in lines:
            depths[number] = depths.get(parent, -1) + 1
            text.append("  " * depths[number] + detail)
        return Explanation("\n".join(text), None, tuple(_scans(lines)))


def _scans(lines: Sequence[tuple[int, int, str]]) -> Iterator[Scan]:
    sorted_in = {parent for _, parent, detail in lines if detail.startswith(_SORT) and "ORDER BY" in detail}
    correlated = {number for number, _, detail in lines if detail.startswith("CORRELATED")}
    branches = {number: parent for number, parent, detail in lines if detail.startswith("INDEX ")}
    ways = {number: parent for number, parent, detail in lines if detail.startswith("MULTI-INDEX OR")}
    seen: set[int] = set()
    united: dict[int, list[Scan]] = {}
    for _, parent, detail in lines:
        match = _LINE.match(detail)
        if match is None:
            continue
        way = branches.get(parent)
        level = ways[way] if way is not None else parent
        repeated = level in seen and (way is None or way not in united)
        scan = _scan(match, repeated=repeated or level in correlated, sorts=level in sorted_in)
        if way is not None:
            united.setdefault(way, []).append(scan)
            continue
        seen.add(level)
        yield scan
    for way, scans in united.items():
        seen.add(ways[way])
        index = "+".join(dict.fromkeys(scan.index or "" for scan in scans))
        first = scans[0]
        narrowed = all(scan.narrowed for scan in scans)
        yield Scan(first.table, "index", index, None, first.alias, narrowed, first.repeated, first.sorts)


def _scan(match: re.Match[str], *, repeated: bool, sorts: bool) -> Scan:
    table = match["table"]
    alias = match["alias"] or table
    if table.startswith("(") or table == "CONSTANT ROW" or table.endswith(" VIRTUAL TABLE"):
        return Scan(table, "other", None, None, alias, narrowed=True, repeated=repeated, sorts=sorts)
    searched = match["verb"] == "SEARCH"
    if match["automatic"]:  # built for this statement alone, from the whole table
        return Scan(table, "full", None, None, alias, narrowed=False, repeated=repeated, sorts=sorts)
    index = match["index"]
    if index is None:
        kind: ScanKind = "other" if searched else "full"
        return Scan(table, kind, None, None, alias, narrowed=searched, repeated=repeated, sorts=sorts)
    name = match["name"] or "PRIMARY KEY"
    terms = match["terms"] or ""
    by_key = index.endswith("PRIMARY KEY") and terms == "rowid=?"
    unique = name.startswith("sqlite_autoindex_") and "<" not in terms and ">" not in terms
    kind = "key" if searched and (by_key or unique) else "index"
    return Scan(table, kind, name, None, alias, narrowed=searched, repeated=repeated, sorts=sorts)
