"""What goes into a store and what comes out of it, the same for every engine."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import msgspec

from codeatlas.analysis import FileAnalysis
from codeatlas.discovery import KnownFile


class Project(msgspec.Struct, frozen=True):
    """A body of code that is looked at as a whole; it may have several repositories."""

    id: int
    name: str
    created_at: dt.datetime


class Repository(msgspec.Struct, frozen=True):
    """One source tree of a project, by the absolute path of its root."""

    id: int
    project_id: int
    root: str


class Run(msgspec.Struct, frozen=True):
    """One analysis of one repository.

    Attributes:
        status: ``running``, ``interrupted`` (will be resumed) or ``finished``.
        owner: ``host:pid`` of the process that works on it; empty when none does.
        heartbeat_at: when something was last recorded.
        resumes: how often it was taken up again.
        files_found: Python files in the tree; set at the end.
        files_analysed, files_failed: so far; files that do not parse are among both.
    """

    id: int
    project_id: int
    repository_id: int
    status: str
    owner: str
    started_at: dt.datetime
    heartbeat_at: dt.datetime
    finished_at: dt.datetime | None
    resumes: int
    files_found: int
    files_analysed: int
    files_unchanged: int
    files_removed: int
    files_failed: int


@dataclass(frozen=True, slots=True)
class FileRecord:
    """An analysed file, to be stored in place of what is ``known`` of it, or as a new one.

    Size and time are those that were seen *before* it was read, so that a change in between shows in the next run.
    """

    known: KnownFile | None
    size_bytes: int
    mtime_ns: int
    analysis: FileAnalysis


@dataclass(frozen=True, slots=True)
class FileTouch:
    """A file whose time changed, but not its content."""

    known: KnownFile
    size_bytes: int
    mtime_ns: int


class FileSummary(msgspec.Struct, frozen=True):
    """A file in a list; ``score`` orders search results."""

    id: int
    path: str
    package: str
    status: str
    lines_total: int
    lines_code: int
    functions: int
    classes: int
    complexity_max: int
    complexity_total: int
    documentable: int
    documented: int
    findings: int
    score: int = 0


class SymbolSummary(msgspec.Struct, frozen=True):
    """A function or class in a list over many files."""

    file_id: int
    ordinal: int
    kind: str
    name: str
    line: int
    line_end: int
    complexity: int
    parameters: int
    nesting: int
    documented: bool
    path: str = ""


class FindingSummary(msgspec.Struct, frozen=True):
    """A finding in a list over many files."""

    file_id: int
    ordinal: int
    rule: str
    severity: str
    line: int
    message: str
    path: str = ""


class FileFacts(msgspec.Struct, frozen=True):
    """All figures of one file."""

    id: int
    project_id: int
    root: str
    path: str
    package: str
    language: str
    encoding: str
    sha256: str
    size_bytes: int
    status: str
    failure_line: int
    failure_message: str
    lines_total: int
    lines_code: int
    lines_comment: int
    lines_docstring: int
    lines_blank: int
    functions: int
    classes: int
    imports: int
    complexity_total: int
    complexity_max: int
    documentable: int
    documented: int
    findings: int


class FileSymbol(msgspec.Struct, frozen=True):
    """A function or class inside its file."""

    kind: str
    name: str
    line: int
    line_end: int
    complexity: int
    parameters: int
    nesting: int
    documented: bool


class FileImport(msgspec.Struct, frozen=True):
    """A module that a file imports."""

    module: str
    line: int


class FileFinding(msgspec.Struct, frozen=True):
    """A finding inside its file."""

    rule: str
    severity: str
    line: int
    message: str


class FileRevision(msgspec.Struct, frozen=True):
    """The figures a file had in one run; only runs in which it was new or changed have one."""

    analysis_id: int
    started_at: dt.datetime
    lines_code: int
    functions: int
    complexity_total: int
    complexity_max: int
    documentable: int
    documented: int
    findings: int


class FileDetail(msgspec.Struct, frozen=True):
    """A file with everything in it."""

    facts: FileFacts
    symbols: list[FileSymbol]
    imports: list[FileImport]
    findings: list[FileFinding]
    history: list[FileRevision]


class Measurement(msgspec.Struct, frozen=True):
    """One figure of a project: ``kind`` groups figures, ``name`` tells them apart."""

    kind: str
    name: str
    value: int


class Overview(msgspec.Struct, frozen=True):
    """A project as a whole.

    Attributes:
        run: the finished run that the figures belong to; None: none is finished yet, they are of this moment.
        latest: the latest run, whatever its status; None: there is none.
        totals: ``files``, ``lines_code``, … by name.
        complexity: functions by cyclomatic complexity, as ``[complexity, functions]`` in ascending order.
        packages: lines of code, files, complexity and findings by package, largest first.
        rules: findings by rule, most first.
        modules: the modules that most files import, ``[module, files]``, most first.
    """

    project: Project
    roots: list[str]
    run: Run | None
    latest: Run | None
    totals: dict[str, int]
    complexity: list[tuple[int, int]]
    packages: list[PackageFigures]
    rules: list[tuple[str, int]]
    modules: list[tuple[str, int]]


class PackageFigures(msgspec.Struct, frozen=True):
    """A folder of a project, at most two levels deep."""

    name: str
    files: int
    lines_code: int
    complexity_total: int
    findings: int


class TrendPoint(msgspec.Struct, frozen=True):
    """The totals of a project after one finished run."""

    run: Run
    totals: dict[str, int]
