"""PostgreSQL's plan (EXPLAIN FORMAT JSON) told in MongoDB's stage names, roughly."""

from __future__ import annotations

from typing import Any

_STAGES = {
    "Sort": "SORT",
    "Incremental Sort": "SORT",
    "Limit": "LIMIT",
    "Aggregate": "GROUP",
    "Group": "GROUP",
    "WindowAgg": "SET_WINDOW_FIELDS",
    "Nested Loop": "NESTED_LOOP_JOIN",
    "Hash Join": "HASH_JOIN",
    "Merge Join": "MERGE_JOIN",
    "Append": "OR",
    "BitmapOr": "OR",
    "BitmapAnd": "AND_SORTED",
}


def winning_plan(node: dict[str, Any]) -> dict[str, Any]:
    """The tree of stages for one plan node.

    A scan of the primary key that is not by ``_id`` reads the whole collection: DocumentDB asks for its shard alone.
    """
    kind = node["Node Type"]
    inputs = [winning_plan(child) for child in node.get("Plans", ())]
    if kind in ("Index Scan", "Index Only Scan", "Bitmap Index Scan"):
        scan = _index_scan(node)
        return {"stage": "FETCH", "inputStage": scan} if kind == "Index Scan" and scan["stage"] == "IXSCAN" else scan
    if kind == "Seq Scan":
        return {"stage": "COLLSCAN", "direction": "forward"}
    if kind == "Bitmap Heap Scan":
        return inputs[0] if inputs[0]["stage"] == "COLLSCAN" else {"stage": "FETCH", "inputStage": inputs[0]}
    stage = _STAGES.get(kind)
    if stage is None and len(inputs) == 1:
        return inputs[0]
    below = {"inputStage": inputs[0]} if len(inputs) == 1 else {"inputStages": inputs} if inputs else {}
    return {"stage": stage or kind.upper().replace(" ", "_"), **below}


def _index_scan(node: dict[str, Any]) -> dict[str, Any]:
    condition = f"{node.get('Index Cond', '')} {node.get('Order By', '')}"
    if node["Index Name"] == "_id_" and "object_id" not in condition:
        return {"stage": "COLLSCAN", "direction": "forward"}
    return {"stage": "IXSCAN", "indexName": node["Index Name"], "direction": "forward"}
