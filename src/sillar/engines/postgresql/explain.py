"""Plans of PostgreSQL: ``EXPLAIN (FORMAT JSON)``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sillar.engines.connection import Reply
from sillar.engines.inspection import Bound, Explainer, explained_text
from sillar.query.explanation import Explanation, Scan, ScanKind

_WITHOUT: Final = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
"""What the planner is kept from: then it reads a whole table only if no index leads to its rows, and joins by looking
up wherever an index lets it."""
_ORDERED: Final = frozenset({"<", ">", "<=", ">=", "~>=~", "~<~", "~>~", "~<=~", "&&", "@>", "<@", "~~"})
_OPERATOR: Final = re.compile(r"[<>=~!@&|*]+")
_SORTS: Final = frozenset({"Sort", "Incremental Sort"})
Node = Mapping[str, Any]


class PostgreSQLExplainer(Explainer):
    """Asks PostgreSQL for plans. Writes are analysed by being applied, so they are rolled back."""

    def statements(self, bound: Any, args: Sequence[Any], *, analyze: bool) -> list[Bound]:
        options = "FORMAT JSON, ANALYZE, BUFFERS" if analyze else "FORMAT JSON"
        return [explained_text(self.adapter, f"EXPLAIN ({options}) ", bound, args)]

    def preference(self) -> list[Bound]:
        columns = ", ".join(f"set_config('{name}', 'off', true)" for name in _WITHOUT)
        return [self.adapter.bind(f"SELECT {columns}", ())]

    def read(self, replies: Sequence[Reply]) -> Explanation:
        given = replies[0].rows[0][0]
        plan = json.loads(given) if isinstance(given, str) else given
        top = plan[0]["Plan"]
        return Explanation("\n".join(_lines(top, 0)), plan, tuple(_scans(top, repeated=False, sorts=False)))


def _scans(node: Node, *, repeated: bool, sorts: bool) -> Iterator[Scan]:
    kind = node["Node Type"]
    below = node.get("Plans", ())
    sorts = sorts or kind in _SORTS
    if "Relation Name" in node and kind != "ModifyTable":
        yield _scan(node, repeated=repeated, sorts=sorts)
    elif kind in ("Function Scan", "Values Scan", "CTE Scan", "WorkTable Scan", "Table Function Scan"):
        name = str(node.get("Alias", kind))
        yield Scan(name, "other", None, _number(node), name, narrowed=True, repeated=repeated, sorts=sorts)
    if "Relation Name" not in node or kind == "ModifyTable":
        for inner in below:
            again = node["Node Type"] == "Nested Loop" and inner.get("Parent Relationship") == "Inner"
            hashed = kind == "Hash" or (
                kind in ("Hash Join", "Merge Join") and inner.get("Parent Relationship") == "Inner"
            )
            again = again or hashed or inner.get("Parent Relationship") == "SubPlan"
            yield from _scans(inner, repeated=repeated or again, sorts=sorts)
    else:
        for inner in below:
            if inner.get("Parent Relationship") in ("SubPlan", "InitPlan"):
                again = inner["Parent Relationship"] == "SubPlan"
                yield from _scans(inner, repeated=again, sorts=False)


def _scan(node: Node, *, repeated: bool, sorts: bool) -> Scan:
    indexes = list(_indexes(node))
    conditions = [condition for _, condition in indexes]
    narrowed = bool(indexes) and all(conditions)
    kind: ScanKind = "index" if indexes else "full"
    if node["Node Type"] == "Tid Scan":
        kind, narrowed = "key", True
    elif narrowed and len(indexes) == 1 and node["Plan Rows"] <= 1 and _only_equal(conditions[0]):
        kind = "key"
    table, alias = str(node["Relation Name"]), str(node.get("Alias", node["Relation Name"]))
    name = "+".join(dict.fromkeys(name for name, _ in indexes)) or None
    candidates = tuple(name for name, _ in indexes)  # with the preference for indexes, the plan has what could serve
    return Scan(table, kind, name, _number(node), alias, narrowed, repeated, sorts, candidates)


def _indexes(node: Node) -> Iterator[tuple[str, str]]:
    """The indexes of a scan, each with the condition by which it is entered; ``""`` if it is walked."""
    if "Index Name" in node:
        yield str(node["Index Name"]), str(node.get("Index Cond", node.get("Order By", "")))
    for inner in node.get("Plans", ()):
        if inner["Node Type"] in ("Bitmap Index Scan", "BitmapAnd", "BitmapOr"):
            yield from _indexes(inner)


def _only_equal(condition: str) -> bool:
    return _ORDERED.isdisjoint(_OPERATOR.findall(condition)) and " = " in condition and " ANY " not in condition


def _number(node: Node) -> float:
    return float(node["Plan Rows"])


def _lines(node: Node, depth: int) -> Iterator[str]:
    """The plan as the server's text format has it, in short."""
    what = node["Node Type"]
    if "Index Name" in node:
        what += f" using {node['Index Name']}"
    if "Relation Name" in node:
        what += f" on {node['Relation Name']}"
        if node.get("Alias", node["Relation Name"]) != node["Relation Name"]:
            what += f" {node['Alias']}"
    figures = f"(cost={node['Startup Cost']:.2f}..{node['Total Cost']:.2f} rows={node['Plan Rows']})"
    if "Actual Rows" in node:
        figures += (
            f" (actual time={node.get('Actual Total Time', 0.0):.3f} ms rows={node['Actual Rows']}"
            f" loops={node['Actual Loops']})"
        )
    yield f"{'  ' * depth}{'-> ' if depth else ''}{what}  {figures}"
    for name in ("Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "Filter", "Sort Key"):
        if name in node:
            said = ", ".join(node[name]) if isinstance(node[name], list) else node[name]
            yield f"{'  ' * depth}     {name}: {said}"
    for inner in node.get("Plans", ()):
        yield from _lines(inner, depth + 1)
