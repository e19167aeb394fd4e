"""The filters, pipelines and indexes of a document store: what :mod:`codeatlas.queries` and the schema are for SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from codeatlas.queries import SUMS
from codeatlas.terms import WEIGHT_NAME, WEIGHT_PART, WEIGHT_TEXT, prefix_end

INDEXES: Final[tuple[tuple[str, str, tuple[tuple[str, int], ...], bool], ...]] = (
    ("atlas_projects", "name", (("name", 1),), True),
    ("atlas_repositories", "root", (("project_id", 1), ("root", 1)), True),
    ("atlas_analyses", "status", (("project_id", 1), ("status", 1), ("_id", 1)), False),
    ("atlas_analyses", "latest", (("project_id", 1), ("_id", 1)), False),
    ("atlas_files", "path", (("repository_id", 1), ("path", 1)), True),
    ("atlas_files", "listed", (("project_id", 1), ("path", 1), ("_id", 1)), False),
    ("atlas_symbols", "file", (("file_id", 1), ("ordinal", 1)), False),
    (
        "atlas_symbols",
        "complexity",
        (("project_id", 1), ("complexity", 1), ("file_id", 1), ("ordinal", 1)),
        False,
    ),
    (
        "atlas_symbols",
        "search_name",
        (("project_id", 1), ("search_name", 1), ("file_id", 1), ("ordinal", 1)),
        False,
    ),
    ("atlas_rule_results", "file", (("file_id", 1), ("ordinal", 1)), False),
    ("atlas_rule_results", "rule", (("project_id", 1), ("rule", 1), ("file_id", 1), ("ordinal", 1)), False),
    ("atlas_terms", "words", (("project_id", 1), ("words", 1)), False),
    ("atlas_terms", "grams", (("project_id", 1), ("grams", 1)), False),
)
"""Collection, name, keys, unique."""

# --- measuring a project --------------------------------------------------------------------------------------------

TOTALS: Final[list[dict[str, Any]]] = [
    {
        "$group": {
            "_id": None,
            "files": {"$sum": 1},
            "files_failed": {"$sum": {"$cond": [{"$eq": ["$status", "failed"]}, 1, 0]}},
            "complexity_max": {"$max": "$complexity_max"},
            **{name: {"$sum": f"${name}"} for name in SUMS},
        }
    }
]
BY_PACKAGE: Final[list[dict[str, Any]]] = [
    {
        "$group": {
            "_id": "$package",
            "files": {"$sum": 1},
            **{name: {"$sum": f"${name}"} for name in ("lines_code", "complexity_total", "findings")},
        }
    }
]
BY_COMPLEXITY: Final[list[dict[str, Any]]] = [{"$group": {"_id": "$complexity", "value": {"$sum": 1}}}]
BY_RULE: Final[list[dict[str, Any]]] = [{"$group": {"_id": "$rule", "value": {"$sum": 1}}}]
BY_MODULE: Final[list[dict[str, Any]]] = [
    {"$unwind": "$modules"},
    {"$group": {"_id": "$modules", "value": {"$sum": 1}}},
    {"$sort": {"value": -1, "_id": 1}},
]


# --- lists: from the one after a key --------------------------------------------------------------------------------


def after_file(project_id: int, path: str, file_id: int) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "path": {"$gte": path},
        "$or": [{"path": {"$gt": path}}, {"_id": {"$gt": file_id}}],
    }


def after_function(project_id: int, after: tuple[int, int, int] | None) -> dict[str, Any]:
    if after is None:
        return {"project_id": project_id, "complexity": {"$gt": 0}}
    complexity, file_id, ordinal = after
    return {
        "project_id": project_id,
        "complexity": {"$gt": 0, "$lte": complexity},
        "$or": [
            {"complexity": {"$lt": complexity}},
            {"file_id": {"$lt": file_id}},
            {"file_id": file_id, "ordinal": {"$lt": ordinal}},
        ],
    }


def after_finding(project_id: int, rule: str, file_id: int, ordinal: int) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "rule": rule,
        "file_id": {"$gte": file_id},
        "$or": [{"file_id": {"$gt": file_id}}, {"ordinal": {"$gt": ordinal}}],
    }


# --- searches -------------------------------------------------------------------------------------------------------


def symbols_with_prefix(project_id: int, prefix: str) -> dict[str, Any]:
    return {"project_id": project_id, "search_name": _beginning(prefix)}


def having_short_name(project_id: int, start: str) -> dict[str, Any]:
    return {"project_id": project_id, "grams": _one_beginning(start)}


def having_grams(project_id: int, grams: Sequence[str]) -> dict[str, Any]:
    return {"project_id": project_id, "grams": {"$all": list(grams)}}


def named_like(files: Sequence[int], name: str) -> dict[str, Any]:
    return {"_id": {"$in": list(files)}, "path_lower": {"$regex": re.escape(name.lower())}}


def files_by_words(project_id: int, words: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """Files that have, for each word, a term that begins with it; exact terms weigh double, as in SQL."""
    having = [{"words": _one_beginning(word)} for word in words]
    return [
        {"$match": {"project_id": project_id, "$and": having}},
        {"$project": {"score": {"$sum": [_score(word) for word in words]}}},
        {"$sort": {"score": -1, "_id": 1}},
        {"$limit": limit},
    ]


def _score(word: str) -> dict[str, Any]:
    exact = {"$literal": word}
    # $max leaves out what is null.
    return {
        "$max": [
            WEIGHT_TEXT,
            {"$cond": [{"$in": [exact, "$names"]}, 2 * WEIGHT_NAME, None]},
            {"$cond": [_any_beginning("$names", word), WEIGHT_NAME, None]},
            {"$cond": [{"$in": [exact, "$parts"]}, 2 * WEIGHT_PART, None]},
            {"$cond": [_any_beginning("$parts", word), WEIGHT_PART, None]},
            {"$cond": [{"$in": [exact, "$words"]}, 2 * WEIGHT_TEXT, None]},
        ]
    }


def _any_beginning(array: str, word: str) -> dict[str, Any]:
    begins = {
        "$and": [
            {"$gte": ["$$this", {"$literal": word}]},
            {"$lt": ["$$this", {"$literal": prefix_end(word)}]},
        ]
    }
    return {"$gt": [{"$size": {"$filter": {"input": array, "cond": begins}}}, 0]}


def _one_beginning(prefix: str) -> dict[str, Any]:
    """For arrays: an anchored expression without further signs is a range in an index, and one element has to meet it.

    Of two comparisons each could be met by another element.
    """
    return {"$regex": f"^{re.escape(prefix)}"}


def _beginning(prefix: str) -> dict[str, Any]:
    return {"$gte": prefix, "$lt": prefix_end(prefix)}
