"""Plans for SQLite: SQLAlchemy's dialect for sqlite3."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql.compiler import SQLCompiler

from sillar.engines.connection import NATIVE_EVERYWHERE, PlannedShape
from sillar.engines.sqlite.statement import SQLiteStatement
from sillar.query.plans import PlanCompiler
from sillar.query.plans.results import DecodeRow
from sillar.query.text import LexicalRules, Placeholder

_BROUGHT_ALONG: Final = re.compile(r"\bREGEXP\b|\bfloor\b", re.IGNORECASE)
_RULES: Final = LexicalRules(Placeholder.NUMBERED)


class SQLitePlanCompiler(PlanCompiler):
    """Plans for SQLite."""

    parameters_max: ClassVar = 32_766
    native: ClassVar = NATIVE_EVERYWHERE

    def __init__(self) -> None:
        dialect: Any = SQLiteDialect_pysqlite(dbapi=sqlite3)
        super().__init__(dialect, f"SQLite {sqlite3.sqlite_version}")

    def scan(self, sql: str, count: int) -> SQLiteStatement:
        statement = SQLiteStatement(sql, _RULES)
        statement.as_it_stands()
        return statement

    def shape(
        self, columns: Sequence[str], native: frozenset[type], decimals: frozenset[str], decode: DecodeRow | None
    ) -> PlannedShape:
        return PlannedShape(columns, native, decimals, decode)

    def refusal(self, compiled: SQLCompiler) -> str | None:
        if _BROUGHT_ALONG.search(compiled.string):
            return "SQLAlchemy brings its own REGEXP and floor() along"
        return None
