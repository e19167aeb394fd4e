"""Plans of MongoDB: the command ``explain``, whose stages are read wherever the server has put them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sillar.engines.connection import Reply
from sillar.engines.inspection import Bound, Explainer
from sillar.engines.mongodb.compiler.plan import CommandPlan
from sillar.errors import UsageError
from sillar.query.document import DocumentCommand
from sillar.query.explanation import Explanation, Scan, ScanKind

_KEYS: Final = frozenset({"IDHACK", "EXPRESS_IXSCAN", "EXPRESS_CLUSTERED_IXSCAN", "CLUSTERED_IXSCAN"})
_NOT_OF_THE_PLAN: Final = frozenset({"rejectedPlans", "command", "executionStats", "postgresqlPlan"})
_WHOLE: Final = frozenset({"[MinKey, MaxKey]", "[MaxKey, MinKey]"})


class MongoDBExplainer(Explainer):
    """Asks MongoDB for plans. Analysing a write says what it would do, and does not do it."""

    applies_writes = False

    def statements(self, bound: Any, args: Sequence[Any], *, analyze: bool) -> list[Bound]:
        given = args[0] if args else {}  # of a compiled command all of its arguments, else further ones
        arguments = given if isinstance(bound, CommandPlan) else {**bound.arguments, **given}
        command = _command(bound.collection, bound.verb, arguments)
        verbosity = "executionStats" if analyze else "queryPlanner"
        return [(DocumentCommand(bound.collection, "explain", {"command": command, "verbosity": verbosity}), ())]

    def read(self, replies: Sequence[Reply]) -> Explanation:
        plan = replies[0].rows[0][0]
        return Explanation(json.dumps(plan, indent=2, default=str), plan, tuple(_scans(plan, "", False)))


def _command(collection: str, verb: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The server's command for a verb.

    Raises:
        UsageError: it looks for nothing, so it has no plan.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    if verb in ("find", "count"):
        chosen = ("filter", "projection", "sort", "skip", "limit", "collation", "hint")
        return {"find": collection, **{name: _ordered(given[name]) for name in chosen if name in given}}
    if verb == "aggregate":
        return {"aggregate": collection, "pipeline": list(given["pipeline"]), "cursor": {}}
    if verb == "distinct":
        return {"distinct": collection, "key": given["key"], "query": given.get("filter", {})}
    if verb in ("update_one", "update_many", "replace_one"):
        change = {
            "q": given["filter"],
            "u": given.get("update", given.get("replacement")),
            "multi": verb[-4:] == "many",
        }
        return {"update": collection, "updates": [change]}
    if verb in ("delete_one", "delete_many"):
        return {"delete": collection, "deletes": [{"q": given["filter"], "limit": int(verb == "delete_one")}]}
    if verb == "find_one_and_update":
        return {"findAndModify": collection, "query": given["filter"], "update": given["update"]}
    raise UsageError(f"the verb {verb} looks for nothing, so it has no plan")


def _ordered(value: Any) -> Any:
    """A sort as the server takes it."""
    return dict(value) if isinstance(value, (list, tuple)) else value


def _scans(node: Any, table: str, sorts: bool) -> Iterator[Scan]:
    if isinstance(node, Mapping):
        table = str(node.get("namespace", table)).partition(".")[2] if "namespace" in node else table
        sorts = sorts or node.get("stage") == "SORT" or "$sort" in node
        stage = str(node.get("stage", ""))
        if stage == "COLLSCAN":
            yield Scan(table, "full", None, None, table, sorts=sorts)
        elif stage == "IXSCAN" or stage in _KEYS:
            yield _index_scan(node, stage, table, sorts)
        for name, inner in node.items():
            if name not in _NOT_OF_THE_PLAN:
                yield from _scans(inner, table, sorts)
    elif isinstance(node, list):
        stages = [each for each in node if isinstance(each, Mapping)]
        later = any("$sort" in each for each in stages)
        for inner in node:
            yield from _scans(inner, table, sorts or later)


def _index_scan(node: Mapping[str, Any], stage: str, table: str, sorts: bool) -> Scan:
    bounds = node.get("indexBounds")
    first: Any = next(iter(bounds.values()), ()) if isinstance(bounds, Mapping) else ()
    narrowed = _WHOLE.isdisjoint(map(str, first))  # of its first field: the others do not keep it from being walked
    kind: ScanKind = "key" if stage in _KEYS else "index"
    index = str(node.get("indexName", "_id_"))
    return Scan(table, kind, index, None, table, narrowed=narrowed, sorts=sorts)
