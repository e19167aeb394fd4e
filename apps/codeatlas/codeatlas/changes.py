"""The SQL with which a store is written: one text for all SQL engines, each served by an index that
:mod:`codeatlas.schema` makes."""

# ruff: noqa: S608 - what is put into these texts are names of tables and columns from here; values are always bound

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from codeatlas.queries import LIST_SIZE_MAX

LIST_SIZES: Final = (1, 8, 64, LIST_SIZE_MAX)
"""Lists of values are padded to these lengths, so that only so many texts have to be prepared."""


def listed(name: str, values: Sequence[object]) -> tuple[str, dict[str, object]]:
    """Placeholders for ``IN (…)`` and their parameters, padded by repeating the last value.

    Raises:
        ValueError: no values, or more than the longest list takes.
    """
    if not values or len(values) > LIST_SIZE_MAX:
        raise ValueError(f"{len(values)} values in a list of 1 to {LIST_SIZE_MAX}")
    size = next(size for size in LIST_SIZES if size >= len(values))
    padded = [*values, *[values[-1]] * (size - len(values))]
    names = [f"{name}{number}" for number in range(size)]
    return ", ".join(f":{each}" for each in names), dict(zip(names, padded, strict=True))


TAKE_IDS = "UPDATE atlas_sequences SET next_value = next_value + :count WHERE name = :name"
NEXT_ID = "SELECT next_value FROM atlas_sequences WHERE name = :name"
CLAIM_REPOSITORY = (
    "UPDATE atlas_repositories SET open_analysis_id = :run_id WHERE id = :repository_id AND open_analysis_id IS NULL"
)
RELEASE_REPOSITORY = (
    "UPDATE atlas_repositories SET open_analysis_id = NULL WHERE id = :repository_id AND open_analysis_id = :run_id"
)
TAKE_OVER_RUN = (
    "UPDATE atlas_analyses SET owner = :owner, status = 'running', heartbeat_at = :now, resumes = resumes + 1"
    " WHERE id = :run_id AND owner = :owner_before AND resumes = :resumes_before"
)
ADVANCE_RUN = (
    "UPDATE atlas_analyses SET heartbeat_at = :now, files_analysed = files_analysed + :analysed,"
    " files_failed = files_failed + :failed, files_removed = files_removed + :removed"
    " WHERE id = :run_id AND owner = :owner"
)
INTERRUPT_RUN = (
    "UPDATE atlas_analyses SET status = 'interrupted', owner = '', heartbeat_at = :now"
    " WHERE id = :run_id AND owner = :owner"
)
FINISH_RUN = (
    "UPDATE atlas_analyses SET status = 'finished', owner = '', heartbeat_at = :now, finished_at = :now,"
    " files_found = :found, files_unchanged = :unchanged WHERE id = :run_id AND owner = :owner"
)
TOUCH_FILE = "UPDATE atlas_files SET mtime_ns = :mtime_ns, size_bytes = :size_bytes WHERE id = :file_id"
FORGET_METRICS = "DELETE FROM atlas_metrics WHERE analysis_id = :run_id"


def update_file(columns: Sequence[str]) -> str:
    return f"UPDATE atlas_files SET {', '.join(f'{name} = :{name}' for name in columns)} WHERE id = :id"


def insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)})"


def by_key(table: str, key: str) -> str:
    return f"SELECT {key} FROM {table} WHERE {key} = :key"


def forget_contents(table: str, files: str) -> str:
    return f"DELETE FROM {table} WHERE file_id IN ({files})"


def forget_revisions(files: str) -> str:
    return f"DELETE FROM atlas_file_metrics WHERE file_id IN ({files}) AND analysis_id = :run_id"


def forget_files(files: str) -> str:
    return f"DELETE FROM atlas_files WHERE id IN ({files})"
