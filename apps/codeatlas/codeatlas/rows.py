"""Analysed files as rows (or documents), the same for every store; and found rows in the order they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from codeatlas.analysis import ANALYSER_VERSION, FileAnalysis
from codeatlas.discovery import package_of
from codeatlas.records import FileRecord, FileSummary, Run
from codeatlas.schema import PACKAGE_LENGTH_MAX, SEARCH_NAME_LENGTH_MAX
from codeatlas.terms import path_grams

_FIGURES: Final = (
    *("lines_total", "lines_code", "lines_comment", "lines_docstring", "lines_blank"),
    *("functions", "classes", "imports", "complexity_total", "complexity_max"),
    *("documentable", "documented", "findings"),
)
FILE_COLUMNS: Final = (
    *("id", "project_id", "repository_id", "analysis_id", "path", "path_lower", "package", "language", "encoding"),
    *("sha256", "size_bytes", "mtime_ns", "analyser", "status", "failure_line", "failure_message"),
    *_FIGURES,
)
_REVISED: Final = (
    *("lines_code", "functions", "complexity_total", "complexity_max", "documentable", "documented", "findings"),
)
REVISION_COLUMNS: Final = ("file_id", "analysis_id", *_REVISED)
CONTENT_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "symbols": (
        *("file_id", "ordinal", "project_id", "kind", "name", "search_name", "line", "line_end"),
        *("complexity", "parameters", "nesting", "documented"),
    ),
    "imports": ("file_id", "ordinal", "project_id", "module", "line"),
    "rule_results": ("file_id", "ordinal", "project_id", "rule", "severity", "line", "message"),
    "terms": ("file_id", "kind", "term", "project_id", "weight"),
}
"""What a file contains, by table (without its prefix)."""


class Batch:
    """Analysed files of one transaction as rows.

    Attributes:
        new_count: how many ids are needed.
        failed_count: files that did not parse.
        changed_ids: files whose contents are replaced.
        new: rows of files in the order of ``FILE_COLUMNS``; changed: the same as mappings.
        revisions: rows in the order of ``REVISION_COLUMNS``.
        contents: rows by table, in the order of ``CONTENT_COLUMNS``.
    """

    def __init__(self, run: Run, records: Sequence[FileRecord]) -> None:
        self._run = run
        self._records = records
        self.new_count = sum(record.known is None for record in records)
        self.failed_count = sum(record.analysis.failure is not None for record in records)
        self.changed_ids = [record.known.id for record in records if record.known is not None]
        self.new: list[tuple[Any, ...]] = []
        self.changed: list[dict[str, Any]] = []
        self.revisions: list[tuple[Any, ...]] = []
        self.contents: dict[str, list[tuple[Any, ...]]] = {table: [] for table in CONTENT_COLUMNS}

    def assign_ids(self, first_id: int) -> None:
        """Make the rows, new files numbered from ``first_id`` on."""
        next_id = first_id
        for record in self._records:
            if record.known is None:
                file_id, next_id = next_id, next_id + 1
            else:
                file_id = record.known.id
            row = self._file_row(file_id, record)
            if record.known is None:
                self.new.append(tuple(row.values()))
            else:
                self.changed.append(row)
            self.revisions.append((file_id, self._run.id, *(row[name] for name in _REVISED)))
            self._add_contents(file_id, record.analysis)

    def _file_row(self, file_id: int, record: FileRecord) -> dict[str, Any]:
        analysis, failure = record.analysis, record.analysis.failure
        return {
            "id": file_id,
            "project_id": self._run.project_id,
            "repository_id": self._run.repository_id,
            "analysis_id": self._run.id,
            "path": analysis.path,
            "path_lower": analysis.path.lower(),
            "package": package_of(analysis.path)[:PACKAGE_LENGTH_MAX],
            "language": analysis.language,
            "encoding": analysis.encoding,
            "sha256": analysis.sha256,
            "size_bytes": record.size_bytes,
            "mtime_ns": record.mtime_ns,
            # A file that could not be read has no hash; with version 0 the next run looks at it again.
            "analyser": ANALYSER_VERSION if analysis.sha256 else 0,
            "status": "parsed" if failure is None else "failed",
            "failure_line": 0 if failure is None else failure.line,
            "failure_message": "" if failure is None else failure.message,
            "lines_total": analysis.lines_total,
            "lines_code": analysis.lines_code,
            "lines_comment": analysis.lines_comment,
            "lines_docstring": analysis.lines_docstring,
            "lines_blank": analysis.lines_blank,
            "functions": len(analysis.functions),
            "classes": len(analysis.classes),
            "imports": len(analysis.imports),
            "complexity_total": analysis.complexity_total,
            "complexity_max": analysis.complexity_max,
            "documentable": analysis.documentable,
            "documented": analysis.documented,
            "findings": len(analysis.findings),
        }

    def _add_contents(self, file_id: int, analysis: FileAnalysis) -> None:
        project_id = self._run.project_id
        symbols: list[tuple[Any, ...]] = [
            (
                *(each.kind, each.name, _search_name(each.name), each.line, each.line_end),
                *(each.complexity, each.parameters, each.nesting, each.documented),
            )
            for each in analysis.functions
        ]
        symbols.extend(
            ("class", each.name, _search_name(each.name), each.line, each.line_end, 0, 0, 0, each.documented)
            for each in analysis.classes
        )
        symbols.sort(key=lambda symbol: symbol[3])
        contents = self.contents
        contents["symbols"].extend((file_id, ordinal, project_id, *symbol) for ordinal, symbol in enumerate(symbols))
        contents["imports"].extend(
            (file_id, ordinal, project_id, each.module, each.line) for ordinal, each in enumerate(analysis.imports)
        )
        contents["rule_results"].extend(
            (file_id, ordinal, project_id, each.rule, each.severity, each.line, each.message)
            for ordinal, each in enumerate(analysis.findings)
        )
        # In the order of the key, so that a clustered table only grows at its end.
        contents["terms"].extend((file_id, "p", gram, project_id, 1) for gram in sorted(path_grams(analysis.path)))
        contents["terms"].extend(
            (file_id, "t", term, project_id, weight) for term, weight in sorted(analysis.terms.items())
        )


def by_name_first(files: Sequence[FileSummary], name: str) -> list[FileSummary]:
    """Files whose own name begins with what was searched, then those whose name has it, then the others; by path."""
    wanted = name.lower()

    def rank(file: FileSummary) -> tuple[int, str]:
        own = file.path.lower().rpartition("/")[2]
        return (0 if own.startswith(wanted) else 1 if wanted in own else 2, file.path)

    return sorted(files, key=rank)


def by_score(files: Sequence[FileSummary], scores: Mapping[int, int]) -> list[FileSummary]:
    """Files with their scores, best first; by path where they are equal."""
    found = [msgspec.structs.replace(file, score=scores[file.id]) for file in files]
    return sorted(found, key=lambda file: (-file.score, file.path))


def _search_name(name: str) -> str:
    return name.rpartition(".")[2].lower()[:SEARCH_NAME_LENGTH_MAX]
