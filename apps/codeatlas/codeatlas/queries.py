"""The SQL of a store: one text for all SQL engines, each served by an index that :mod:`codeatlas.schema` makes.

Pages are cut by key, not by offset: ``key >= :after`` lets the engine start in the index, the rest of the condition
leaves out what the page before had of the same key.
"""

# ruff: noqa: S608 - what is put into these texts are names of tables and columns from here; values are always bound

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from codeatlas.records import (
    FileFacts,
    FileFinding,
    FileImport,
    FileRevision,
    FileSummary,
    FileSymbol,
    FindingSummary,
    Measurement,
    Project,
    Repository,
    Run,
    SymbolSummary,
)

LIST_SIZE_MAX: Final = 512
LIST_SIZES: Final = (1, 8, 64, LIST_SIZE_MAX)
"""Lists of values are padded to these lengths, so that only so many texts have to be prepared."""


def _columns(record: type[msgspec.Struct], *, without: Sequence[str] = ()) -> str:
    return ", ".join(name for name in record.__struct_fields__ if name not in without)


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


# --- projects, repositories, runs ------------------------------------------------------------------------------------

PROJECTS = f"SELECT {_columns(Project)} FROM atlas_projects WHERE name > :after ORDER BY name LIMIT :limit"
PROJECT_BY_NAME = f"SELECT {_columns(Project)} FROM atlas_projects WHERE name = :name"
PROJECT_BY_ID = f"SELECT {_columns(Project)} FROM atlas_projects WHERE id = :project_id"
REPOSITORY_BY_ROOT = (
    f"SELECT {_columns(Repository)} FROM atlas_repositories WHERE project_id = :project_id AND root = :root"
)
ROOTS = "SELECT root FROM atlas_repositories WHERE project_id = :project_id ORDER BY root"
OPEN_RUN = "SELECT open_analysis_id FROM atlas_repositories WHERE id = :repository_id"
RUN = f"SELECT {_columns(Run)} FROM atlas_analyses WHERE id = :run_id"
LATEST_RUN = f"SELECT {_columns(Run)} FROM atlas_analyses WHERE project_id = :project_id ORDER BY id DESC LIMIT 1"
FINISHED_RUNS = (
    f"SELECT {_columns(Run)} FROM atlas_analyses WHERE project_id = :project_id AND status = 'finished'"
    " ORDER BY id DESC LIMIT :limit"
)
METRICS_OF_RUN = f"SELECT {_columns(Measurement)} FROM atlas_metrics WHERE analysis_id = :run_id"


def totals_of_runs(runs: str) -> str:
    return f"SELECT analysis_id, name, value FROM atlas_metrics WHERE analysis_id IN ({runs}) AND kind = 'total'"


# --- a run at work ---------------------------------------------------------------------------------------------------

TAKE_IDS = "UPDATE atlas_sequences SET next_value = next_value + :count WHERE name = :name"
NEXT_ID = "SELECT next_value FROM atlas_sequences WHERE name = :name"
KNOWN_FILES = (
    "SELECT id, path, size_bytes, mtime_ns, sha256, analyser FROM atlas_files WHERE repository_id = :repository_id"
)
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


# --- measuring a project ---------------------------------------------------------------------------------------------

SUMS: Final = (
    "size_bytes",
    *("lines_total", "lines_code", "lines_comment", "lines_docstring", "lines_blank"),
    *("functions", "classes", "imports", "complexity_total", "documentable", "documented", "findings"),
)
TOTALS = (
    "SELECT COUNT(*) AS files, SUM(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS files_failed,"
    f" MAX(complexity_max) AS complexity_max, {', '.join(f'SUM({name}) AS {name}' for name in SUMS)}"
    " FROM atlas_files WHERE project_id = :project_id"
)
BY_PACKAGE = (
    "SELECT package AS name, COUNT(*) AS files, SUM(lines_code) AS lines_code,"
    " SUM(complexity_total) AS complexity_total, SUM(findings) AS findings"
    " FROM atlas_files WHERE project_id = :project_id GROUP BY package"
)
BY_COMPLEXITY = (
    "SELECT complexity AS name, COUNT(*) AS value FROM atlas_symbols"
    " WHERE project_id = :project_id AND complexity > 0 GROUP BY complexity"
)
BY_RULE = "SELECT rule AS name, COUNT(*) AS value FROM atlas_rule_results WHERE project_id = :project_id GROUP BY rule"
BY_MODULE = (
    "SELECT module AS name, COUNT(DISTINCT file_id) AS value FROM atlas_imports WHERE project_id = :project_id"
    " GROUP BY module ORDER BY COUNT(DISTINCT file_id) DESC, module LIMIT :limit"
)


# --- lists and searches ----------------------------------------------------------------------------------------------

_SUMMARY = _columns(FileSummary, without=("score",))
FILES_LISTED = (
    f"SELECT {_SUMMARY} FROM atlas_files WHERE project_id = :project_id AND path >= :path"
    " AND (path > :path OR id > :id) ORDER BY path, id LIMIT :limit"
)
FILES_BY_SHORT_NAME = (
    "SELECT DISTINCT file_id FROM atlas_terms WHERE project_id = :project_id AND kind = 'p'"
    " AND term >= :start AND term < :end ORDER BY file_id LIMIT :limit"
)
# Lists of symbols and findings come from their own table alone, and the paths by id afterwards: joined, an engine may
# begin with the files, and has to sort.
_SYMBOL = _columns(SymbolSummary, without=("path",))
FUNCTIONS_BY_COMPLEXITY = (
    f"SELECT {_SYMBOL} FROM atlas_symbols WHERE project_id = :project_id AND complexity > 0"
    " AND complexity <= :complexity AND (complexity < :complexity OR file_id < :file_id"
    " OR (file_id = :file_id AND ordinal < :ordinal))"
    " ORDER BY complexity DESC, file_id DESC, ordinal DESC LIMIT :limit"
)
SYMBOLS_NAMED = (
    f"SELECT {_SYMBOL} FROM atlas_symbols WHERE project_id = :project_id AND search_name >= :start"
    " AND search_name < :end ORDER BY search_name, file_id, ordinal LIMIT :limit"
)
FINDINGS_OF_RULE = (
    f"SELECT {_columns(FindingSummary, without=('path',))} FROM atlas_rule_results WHERE project_id = :project_id"
    " AND rule = :rule AND file_id >= :file_id AND (file_id > :file_id OR ordinal > :ordinal)"
    " ORDER BY file_id, ordinal LIMIT :limit"
)


def paths_by_ids(files: str) -> str:
    return f"SELECT id, path FROM atlas_files WHERE id IN ({files})"


def files_by_ids(files: str) -> str:
    return f"SELECT {_SUMMARY} FROM atlas_files WHERE id IN ({files})"


def files_by_ids_named(files: str) -> str:
    return files_by_ids(files) + " AND path_lower LIKE :pattern ESCAPE '!'"


def files_by_grams(grams: str) -> str:
    return (
        "SELECT file_id FROM atlas_terms WHERE project_id = :project_id AND kind = 'p'"
        f" AND term IN ({grams}) GROUP BY file_id HAVING COUNT(*) = :count ORDER BY file_id LIMIT :limit"
    )


def files_by_words(count: int) -> str:
    """Files that have, for each of ``count`` words, a term that begins with it; exact terms weigh double."""
    each = (
        "SELECT file_id, MAX(CASE WHEN term = :start{0} THEN 2 * weight ELSE weight END) AS score FROM atlas_terms"
        " WHERE project_id = :project_id AND kind = 't' AND term >= :start{0} AND term < :end{0} GROUP BY file_id"
    )
    words = " UNION ALL ".join(each.format(number) for number in range(count))
    return (
        f"SELECT file_id, SUM(score) AS score FROM ({words}) AS words GROUP BY file_id"
        f" HAVING COUNT(*) = {int(count)} ORDER BY SUM(score) DESC, file_id LIMIT :limit"
    )


# --- one file --------------------------------------------------------------------------------------------------------

_FACTS = ", ".join(f"r.{name}" if name == "root" else f"f.{name}" for name in FileFacts.__struct_fields__)
FILE_FACTS = (
    f"SELECT {_FACTS} FROM atlas_files f JOIN atlas_repositories r ON r.id = f.repository_id WHERE f.id = :file_id"
)
FILE_SYMBOLS = f"SELECT {_columns(FileSymbol)} FROM atlas_symbols WHERE file_id = :file_id ORDER BY ordinal"
FILE_IMPORTS = f"SELECT {_columns(FileImport)} FROM atlas_imports WHERE file_id = :file_id ORDER BY ordinal"
FILE_FINDINGS = f"SELECT {_columns(FileFinding)} FROM atlas_rule_results WHERE file_id = :file_id ORDER BY ordinal"
_REVISION = ", ".join(f"a.{name}" if name == "started_at" else f"m.{name}" for name in FileRevision.__struct_fields__)
FILE_HISTORY = (
    f"SELECT {_REVISION} FROM atlas_file_metrics m JOIN atlas_analyses a ON a.id = m.analysis_id"
    " WHERE m.file_id = :file_id ORDER BY m.analysis_id"
)
