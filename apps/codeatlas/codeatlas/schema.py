"""The tables of a store: for the queries of every engine, and for its migrations (``migrations/sql``).

Rows carry ``project_id`` even where ``file_id`` implies it: the lists of a project are then read from one index, in
order. Text that is compared by range is ordered by code point on every engine.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from codeatlas.analysis import MESSAGE_LENGTH_MAX, NAME_LENGTH_MAX
from codeatlas.discovery import PATH_LENGTH_MAX
from codeatlas.terms import TERM_LENGTH_MAX

PROJECT_NAME_LENGTH_MAX = 200
ROOT_LENGTH_MAX = 700
PACKAGE_LENGTH_MAX = 300
SEARCH_NAME_LENGTH_MAX = 100

METADATA = MetaData()
# SQLite's own key is an INTEGER; clustered tables need none.
_Id = BigInteger().with_variant(Integer(), "sqlite")


class _MomentText(TypeDecorator[dt.datetime]):
    """A moment as text in ISO 8601, as a session's own parameters are stored where there is no type for it."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> dt.datetime | None:
        return None if value is None else dt.datetime.fromisoformat(value)


class _MomentStamp(mysql.TIMESTAMP):
    """A moment as TIMESTAMP, not DATETIME, which is none. It ends in 2038, as the engine has it."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _in_utc


def _in_utc(value: dt.datetime | None) -> dt.datetime | None:
    return None if value is None else value.replace(tzinfo=dt.UTC)


_Time = (
    DateTime(timezone=True).with_variant(_MomentText(), "sqlite").with_variant(_MomentStamp(fsp=6), "mysql", "mariadb")
)


def _text(length: int) -> Any:
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _table(name: str, *items: Any, clustered: bool = False) -> Table:
    return Table(
        f"atlas_{name}",
        METADATA,
        *items,
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mysql_engine="InnoDB",
        sqlite_with_rowid=not clustered,
    )


def _required(name: str, kind: Any, *more: Any, **options: Any) -> Column[Any]:
    return Column(name, kind, *more, nullable=False, **options)


def _counts(*names: str) -> list[Column[Any]]:
    return [_required(name, Integer) for name in names]


def _key(name: str, kind: Any, *more: Any) -> Column[Any]:
    return Column(name, kind, *more, primary_key=True, autoincrement=False)


def _of_file() -> ForeignKey:
    return ForeignKey("atlas_files.id", ondelete="CASCADE")


_table("schema", _key("version", Integer))

# The next free id by kind: many ids are taken with one statement, before the rows that bear them are written in bulk.
_table("sequences", _key("name", _text(40)), _required("next_value", BigInteger))

PROJECTS = _table(
    "projects",
    _key("id", _Id),
    _required("name", _text(PROJECT_NAME_LENGTH_MAX), unique=True),
    _required("created_at", _Time),
)

REPOSITORIES = _table(
    "repositories",
    _key("id", _Id),
    _required("project_id", _Id, ForeignKey("atlas_projects.id")),
    _required("root", _text(ROOT_LENGTH_MAX)),
    # The run that is not finished; whoever sets it from NULL has begun one.
    Column("open_analysis_id", BigInteger),
    UniqueConstraint("project_id", "root", name="atlas_repositories_root"),
)

ANALYSES = _table(
    "analyses",
    _key("id", _Id),
    _required("project_id", _Id, ForeignKey("atlas_projects.id")),
    _required("repository_id", _Id, ForeignKey("atlas_repositories.id"), index=True),
    _required("status", _text(12)),
    _required("owner", _text(300)),
    _required("started_at", _Time),
    _required("heartbeat_at", _Time),
    Column("finished_at", _Time),
    *_counts("resumes", "files_found", "files_analysed", "files_unchanged", "files_removed", "files_failed"),
    Index("atlas_analyses_status", "project_id", "status", "id"),
    Index("atlas_analyses_latest", "project_id", "id"),
)

METRICS = _table(
    "metrics",
    _key("analysis_id", _Id, ForeignKey("atlas_analyses.id", ondelete="CASCADE")),
    _key("kind", _text(20)),
    _key("name", _text(NAME_LENGTH_MAX)),
    _required("value", BigInteger),
    clustered=True,
)

FILES = _table(
    "files",
    _key("id", _Id),
    _required("project_id", _Id, ForeignKey("atlas_projects.id")),
    _required("repository_id", _Id, ForeignKey("atlas_repositories.id")),
    # The run that last analysed it.
    _required("analysis_id", _Id, ForeignKey("atlas_analyses.id"), index=True),
    _required("path", _text(PATH_LENGTH_MAX)),
    _required("path_lower", _text(PATH_LENGTH_MAX)),
    _required("package", _text(PACKAGE_LENGTH_MAX)),
    _required("language", _text(20)),
    _required("encoding", _text(40)),
    _required("sha256", _text(64)),
    _required("size_bytes", BigInteger),
    _required("mtime_ns", BigInteger),
    _required("analyser", Integer),
    _required("status", _text(12)),
    _required("failure_line", Integer),
    _required("failure_message", _text(MESSAGE_LENGTH_MAX)),
    *_counts("lines_total", "lines_code", "lines_comment", "lines_docstring", "lines_blank"),
    *_counts("functions", "classes", "imports", "complexity_total", "complexity_max"),
    *_counts("documentable", "documented", "findings"),
    UniqueConstraint("repository_id", "path", name="atlas_files_path"),
    Index("atlas_files_listed", "project_id", "path", "id"),
    Index("atlas_files_package", "project_id", "package"),
)

FILE_METRICS = _table(
    "file_metrics",
    _key("file_id", _Id, _of_file()),
    _key("analysis_id", _Id, ForeignKey("atlas_analyses.id")),
    *_counts("lines_code", "functions", "complexity_total", "complexity_max"),
    *_counts("documentable", "documented", "findings"),
    Index("atlas_file_metrics_analysis", "analysis_id"),
    clustered=True,
)

SYMBOLS = _table(
    "symbols",
    _key("file_id", _Id, _of_file()),
    _key("ordinal", Integer),
    _required("project_id", _Id),
    _required("kind", _text(12)),
    _required("name", _text(NAME_LENGTH_MAX)),
    _required("search_name", _text(SEARCH_NAME_LENGTH_MAX)),
    *_counts("line", "line_end", "complexity", "parameters", "nesting"),
    _required("documented", Boolean),
    Index("atlas_symbols_complexity", "project_id", "complexity", "file_id", "ordinal"),
    Index("atlas_symbols_name", "project_id", "search_name", "file_id", "ordinal"),
    clustered=True,
)

IMPORTS = _table(
    "imports",
    _key("file_id", _Id, _of_file()),
    _key("ordinal", Integer),
    _required("project_id", _Id),
    _required("module", _text(NAME_LENGTH_MAX)),
    *_counts("line"),
    Index("atlas_imports_module", "project_id", "module", "file_id"),
    clustered=True,
)

RULE_RESULTS = _table(
    "rule_results",
    _key("file_id", _Id, _of_file()),
    _key("ordinal", Integer),
    _required("project_id", _Id),
    _required("rule", _text(40)),
    _required("severity", _text(12)),
    _required("line", Integer),
    _required("message", _text(MESSAGE_LENGTH_MAX)),
    Index("atlas_rule_results_rule", "project_id", "rule", "file_id", "ordinal"),
    clustered=True,
)

# The words under which files are found (codeatlas.terms). No foreign key: with some hundreds of rows to a file, the
# check of each row would cost more than its insertion; files and terms are only ever removed together.
TERMS = _table(
    "terms",
    _key("file_id", _Id),
    _key("kind", _text(1)),
    _key("term", _text(TERM_LENGTH_MAX)),
    _required("project_id", _Id),
    _required("weight", Integer),
    Index("atlas_terms_search", "project_id", "kind", "term", "file_id", "weight"),
    clustered=True,
)
