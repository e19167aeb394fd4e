"""What is read of a store: prepared queries over the tables of :mod:`codeatlas.schema`, one definition for all engines.

Each is served by an index, which a test asks every engine. Pages are cut by key, not by offset: ``key >= :after`` lets
the engine start in the index, the rest of the condition leaves out what the page before had of the same key.

What documents hold in another shape is in :mod:`codeatlas.sql_reading` and :mod:`codeatlas.document_reading`.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import and_, case, func, or_

from codeatlas.discovery import KnownFile
from codeatlas.records import (
    FileFacts,
    FileFinding,
    FileSummary,
    FileSymbol,
    FindingSummary,
    Project,
    Repository,
    Run,
    SymbolSummary,
)
from codeatlas.schema import ANALYSES, FILES, PROJECTS, REPOSITORIES, RULE_RESULTS, SYMBOLS
from sillar import QueryBuilder, parameter

LIST_SIZE_MAX: Final = 512
"""Values in one ``IN``, and files that a search looks at."""

# --- projects, repositories, runs ------------------------------------------------------------------------------------

_projects = QueryBuilder(PROJECTS).into(Project)
_repositories = QueryBuilder(REPOSITORIES)
_runs = QueryBuilder(ANALYSES).into(Run)

PROJECTS_LISTED = (
    _projects.where(PROJECTS.c.name > parameter("after")).order_by("name").limit(parameter("limit")).prepare()
)
PROJECT_NAMED = _projects.where(PROJECTS.c.name == parameter("name")).prepare()
PROJECT_BY_ID = _projects.where(PROJECTS.c.id == parameter("project_id")).prepare()
REPOSITORY_BY_ROOT = (
    _repositories.into(Repository)
    .where(REPOSITORIES.c.project_id == parameter("project_id"), REPOSITORIES.c.root == parameter("root"))
    .prepare()
)
ROOTS = (
    _repositories.select(REPOSITORIES.c.root)
    .where(REPOSITORIES.c.project_id == parameter("project_id"))
    .order_by("root")
    .prepare()
)
OPEN_RUN = (
    _repositories.select(REPOSITORIES.c.open_analysis_id)
    .where(REPOSITORIES.c.id == parameter("repository_id"))
    .prepare()
)
RUN = _runs.where(ANALYSES.c.id == parameter("run_id")).prepare()
LATEST_RUN = _runs.where(ANALYSES.c.project_id == parameter("project_id")).order_by("-id").prepare()
FINISHED_RUNS = (
    _runs.where(ANALYSES.c.project_id == parameter("project_id"), ANALYSES.c.status == "finished")
    .order_by("-id")
    .limit(parameter("limit"))
    .prepare()
)
KNOWN_FILES = QueryBuilder(FILES).into(KnownFile).where(FILES.c.repository_id == parameter("repository_id")).prepare()

# --- measuring a project ---------------------------------------------------------------------------------------------

_SUMS: Final = (
    "size_bytes",
    *("lines_total", "lines_code", "lines_comment", "lines_docstring", "lines_blank"),
    *("functions", "classes", "imports", "complexity_total", "documentable", "documented", "findings"),
)
TOTAL_NAMES: Final = ("files", "files_failed", "complexity_max", *_SUMS)
"""What the columns of ``TOTALS`` are."""
TOTALS = (
    QueryBuilder(FILES)
    .select(
        func.count(),
        func.sum(case((FILES.c.status == "failed", 1), else_=0)),
        func.max(FILES.c.complexity_max),
        *(func.sum(FILES.c[name]) for name in _SUMS),
    )
    .where(FILES.c.project_id == parameter("project_id"))
    .prepare()
)
_PACKAGE_SUMS: Final = ("lines_code", "complexity_total", "findings")
PACKAGE_NAMES: Final = ("files", *_PACKAGE_SUMS)
"""What the columns of ``BY_PACKAGE`` are, after the package."""
BY_PACKAGE = (
    QueryBuilder(FILES)
    .select(FILES.c.package, func.count(), *(func.sum(FILES.c[name]) for name in _PACKAGE_SUMS))
    .where(FILES.c.project_id == parameter("project_id"))
    .group_by("package")
    .prepare()
)
BY_COMPLEXITY = (
    QueryBuilder(SYMBOLS)
    .select(SYMBOLS.c.complexity, func.count())
    .where(SYMBOLS.c.project_id == parameter("project_id"), SYMBOLS.c.complexity > 0)
    .group_by("complexity")
    .prepare()
)
BY_RULE = (
    QueryBuilder(RULE_RESULTS)
    .select(RULE_RESULTS.c.rule, func.count())
    .where(RULE_RESULTS.c.project_id == parameter("project_id"))
    .group_by("rule")
    .prepare()
)

# --- lists and searches ----------------------------------------------------------------------------------------------

_files = QueryBuilder(FILES).into(FileSummary)
# Lists of symbols and findings come from their own table alone, and the paths by id afterwards: joined, an engine may
# begin with the files, and has to sort.
_symbols = QueryBuilder(SYMBOLS).into(SymbolSummary)
_findings = QueryBuilder(RULE_RESULTS).into(FindingSummary)

FILES_LISTED = (
    _files.where(
        FILES.c.project_id == parameter("project_id"),
        FILES.c.path >= parameter("path"),
        or_(FILES.c.path > parameter("path"), FILES.c.id > parameter("id")),
    )
    .order_by("path", "id")
    .limit(parameter("limit"))
    .prepare()
)
FUNCTIONS_BY_COMPLEXITY = (
    _symbols.where(
        SYMBOLS.c.project_id == parameter("project_id"),
        SYMBOLS.c.complexity > 0,
        SYMBOLS.c.complexity <= parameter("complexity"),
        or_(
            SYMBOLS.c.complexity < parameter("complexity"),
            SYMBOLS.c.file_id < parameter("file_id"),
            and_(SYMBOLS.c.file_id == parameter("file_id"), SYMBOLS.c.ordinal < parameter("ordinal")),
        ),
    )
    .order_by("-complexity", "-file_id", "-ordinal")
    .limit(parameter("limit"))
    .prepare()
)
SYMBOLS_NAMED = (
    _symbols.where(
        SYMBOLS.c.project_id == parameter("project_id"),
        SYMBOLS.c.search_name >= parameter("start"),
        SYMBOLS.c.search_name < parameter("end"),
    )
    .order_by("search_name", "file_id", "ordinal")
    .limit(parameter("limit"))
    .prepare()
)
FINDINGS_OF_RULE = (
    _findings.where(
        RULE_RESULTS.c.project_id == parameter("project_id"),
        RULE_RESULTS.c.rule == parameter("rule"),
        RULE_RESULTS.c.file_id >= parameter("file_id"),
        or_(RULE_RESULTS.c.file_id > parameter("file_id"), RULE_RESULTS.c.ordinal > parameter("ordinal")),
    )
    .order_by("file_id", "ordinal")
    .limit(parameter("limit"))
    .prepare()
)
FILES_BY_IDS = _files.where(FILES.c.id.in_(parameter("ids"))).prepare()
FILES_BY_IDS_LIKE = _files.where(
    FILES.c.id.in_(parameter("ids")), FILES.c.path_lower.like(parameter("pattern"), escape="!")
).prepare()
PATHS_BY_IDS = QueryBuilder(FILES).select(FILES.c.id, FILES.c.path).where(FILES.c.id.in_(parameter("ids"))).prepare()

# --- one file --------------------------------------------------------------------------------------------------------

FILE_FACTS = (
    QueryBuilder(FILES)
    .join(REPOSITORIES)
    .where(FILES.c.id == parameter("file_id"))
    .select(*(REPOSITORIES.c.root if name == "root" else FILES.c[name] for name in FileFacts.__struct_fields__))
    .into(FileFacts)
    .prepare()
)
FILE_SYMBOLS = (
    QueryBuilder(SYMBOLS)
    .into(FileSymbol)
    .where(SYMBOLS.c.file_id == parameter("file_id"))
    .order_by("ordinal")
    .prepare()
)
FILE_FINDINGS = (
    QueryBuilder(RULE_RESULTS)
    .into(FileFinding)
    .where(RULE_RESULTS.c.file_id == parameter("file_id"))
    .order_by("ordinal")
    .prepare()
)
