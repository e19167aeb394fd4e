"""Plans of MySQL and MariaDB: the table of EXPLAIN, which both have alike, and their JSON and tree beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sillar.engines.connection import Reply
from sillar.engines.inspection import Bound, Explainer, explained_text
from sillar.query.explanation import Explanation, Scan, ScanKind

_KEY: Final = frozenset({"const", "system", "eq_ref", "unique_subquery"})
_NARROWED: Final = frozenset({"ref", "ref_or_null", "range", "index_merge", "fulltext", "index_subquery"})
Row = Mapping[str, Any]


class MySQLExplainer(Explainer):
    """Asks MySQL or MariaDB for plans."""

    @property
    def _is_mariadb(self) -> bool:
        return self.adapter.capabilities.engine.startswith("MariaDB")

    def statements(self, bound: Any, args: Sequence[Any], *, analyze: bool) -> list[Bound]:
        asked = [self._text("EXPLAIN FORMAT=TRADITIONAL ", bound, args)]
        if self._is_mariadb:
            asked.append(self._text("ANALYZE FORMAT=JSON " if analyze else "EXPLAIN FORMAT=JSON ", bound, args))
            return asked
        asked.append(self._text("EXPLAIN FORMAT=JSON ", bound, args))
        asked.append(self._text("EXPLAIN ANALYZE " if analyze else "EXPLAIN FORMAT=TREE ", bound, args))
        return asked

    def _text(self, prefix: str, bound: Any, args: Sequence[Any]) -> Bound:
        return explained_text(self.adapter, prefix, bound, args)

    def read(self, replies: Sequence[Reply]) -> Explanation:
        table, plan, *tree = replies
        shape = table.shape
        assert shape is not None
        rows = shape.dicts(table.rows)
        document = plan.rows[0][0]
        text = str((tree[0] if tree else plan).rows[0][0])
        return Explanation(text, json.loads(document) if isinstance(document, str) else document, tuple(_scans(rows)))


def _scans(rows: Sequence[Row]) -> Iterator[Scan]:
    sorting = {row["id"] for row in rows if "filesort" in str(row["Extra"] or "")}
    seen: set[Any] = set()
    for row in rows:
        name = row["table"]
        if name is None:  # "Impossible WHERE", "Select tables optimized away", "No tables used"
            continue
        # A materialized subquery is read once, but all of it, in the place of one look-up per row.
        repeated = row["id"] in seen or str(row["select_type"]).startswith(("DEPENDENT", "MATERIALIZED"))
        seen.add(row["id"])
        yield _scan(str(name), row, repeated=repeated, sorts=row["id"] in sorting)


def _scan(name: str, row: Row, *, repeated: bool, sorts: bool) -> Scan:
    way, key = str(row["type"]), row["key"]
    rows = None if row["rows"] is None else float(row["rows"])
    if name.startswith("<"):  # the result of another step
        return Scan(name, "other", None, rows, name, narrowed=True, repeated=repeated, sorts=sorts)
    kind: ScanKind
    if way in _KEY:
        kind, narrowed = "key", True
    elif way in _NARROWED:
        kind, narrowed = "index", True
    elif way == "index":
        kind, narrowed = "index", False
    else:
        kind, narrowed = "full", False
    candidates = tuple(str(row["possible_keys"]).split(",")) if row["possible_keys"] else ()
    index = None if key is None else str(key).replace(",", "+")
    return Scan(name, kind, index, rows, name, narrowed, repeated, sorts, candidates)
