"""the indexes of the first release

Revision: r0001
Follows:
Written: 2026-11-26 23:40:00
"""

from __future__ import annotations

from collections.abc import Sequence

from sillar.migrations.mongodb import DocumentOperations

revision: str = "r0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_ORDINAL = [("file_id", 1), ("ordinal", 1)]
INDEXES: list[tuple[str, str, list[tuple[str, int]], bool]] = [
    ("atlas_projects", "name", [("name", 1)], True),
    ("atlas_repositories", "root", [("project_id", 1), ("root", 1)], True),
    ("atlas_analyses", "status", [("project_id", 1), ("status", 1), ("_id", 1)], False),
    ("atlas_analyses", "latest", [("project_id", 1), ("_id", 1)], False),
    ("atlas_files", "path", [("repository_id", 1), ("path", 1)], True),
    ("atlas_files", "listed", [("project_id", 1), ("path", 1), ("_id", 1)], False),
    ("atlas_symbols", "file", _ORDINAL, False),
    ("atlas_symbols", "complexity", [("project_id", 1), ("complexity", 1), *_ORDINAL], False),
    ("atlas_symbols", "search_name", [("project_id", 1), ("search_name", 1), *_ORDINAL], False),
    ("atlas_rule_results", "file", _ORDINAL, False),
    ("atlas_rule_results", "rule", [("project_id", 1), ("rule", 1), *_ORDINAL], False),
    ("atlas_terms", "words", [("project_id", 1), ("words", 1)], False),
    ("atlas_terms", "grams", [("project_id", 1), ("grams", 1)], False),
]


async def upgrade(op: DocumentOperations) -> None:
    for collection, name, keys, unique in INDEXES:
        await op.create_index(collection, keys, name=name, unique=unique)
    await op.insert_many("atlas_schema", [{"_id": "schema", "version": 1}])


async def downgrade(op: DocumentOperations) -> None:
    for collection, name, _keys, _unique in reversed(INDEXES):
        await op.drop_index(collection, name)
    await op.drop_collection("atlas_schema")
