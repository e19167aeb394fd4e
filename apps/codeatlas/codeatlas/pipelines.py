"""The indexes of a document store, and the searches in its arrays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from codeatlas.measurements import MODULES_KEPT
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


def by_module(project_id: int) -> list[dict[str, Any]]:
    """The modules that most files import, with the number of these files."""
    return [
        {"$match": {"project_id": project_id}},
        {"$unwind": "$modules"},
        {"$group": {"_id": "$modules", "value": {"$sum": 1}}},
        {"$sort": {"value": -1, "_id": 1}},
        {"$limit": MODULES_KEPT},
    ]


# --- searches -------------------------------------------------------------------------------------------------------


def having_short_name(project_id: int, start: str) -> dict[str, Any]:
    return {"project_id": project_id, "grams": _one_beginning(start)}


def having_grams(project_id: int, grams: Sequence[str]) -> dict[str, Any]:
    return {"project_id": project_id, "grams": {"$all": list(grams)}}


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
