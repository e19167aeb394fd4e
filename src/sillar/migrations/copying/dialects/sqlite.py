"""SQLite: a column takes values of any type, so each value is looked at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from sillar.execution import DatabaseSession
from sillar.migrations.copying import fit
from sillar.migrations.copying.dialects.dialect import Dialect
from sillar.migrations.copying.expressions import index_expressions
from sillar.migrations.copying.model import Column, ColumnType, Index, Kind, Table
from sillar.migrations.copying.side import Field, Usage
from sillar.migrations.copying.values import Convert, UnfitError, as_kind, plain_moment

_DECLARED: Final = re.compile(r"\s*([^(]*?)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?\s*")
_GENERATED: Final = re.compile(r"\s*GENERATED ALWAYS$", re.IGNORECASE)
_IS_GENERATED: Final = 2
_WHERE: Final = re.compile(r"\bWHERE\b(.*)$", re.IGNORECASE | re.DOTALL)
_INDEXES: Final = """
    SELECT t.name AS "table", i.name AS name, i."unique" AS "unique", i.origin AS origin, s.sql AS sql,
           json_group_array(x.name) AS parts
    FROM sqlite_schema t, pragma_index_list(t.name) i, pragma_index_xinfo(i.name) x
         LEFT JOIN sqlite_schema s ON s.name = i.name AND s.type = 'index'
    WHERE t.type = 'table' AND x.key = 1 AND i.origin <> 'pk'
    GROUP BY t.name, i.name, i."unique", i.origin, s.sql
"""
_ONCE: Final = "AUTOINCREMENT"
_DIGITS_EXACT: Final = 15
"""Decimal digits that a binary double keeps."""


class SQLiteDialect(Dialect):
    """SQLite."""

    family = "sqlite"
    translator = "sqlite"
    tables_sql = (
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " AND sql NOT LIKE 'CREATE VIRTUAL%'"
    )
    long_text = "TEXT"
    has_isolation = False
    enforces_types = False
    inline_foreign_keys = True
    has_comments = False
    tables_ignore_case = True
    name_length_max = 255
    suspend_foreign_keys = "PRAGMA defer_foreign_keys = ON"
    identity = ""  # an INTEGER PRIMARY KEY numbers itself

    def __init__(self) -> None:
        self._never_again: set[str] = set()

    def said_of(self, table: str) -> Any:
        return _ONCE if table in self._never_again else None

    def numbered(self, table: Table, source: str) -> str:
        """Other engines never give the number of a deleted row again; SQLite only with this word."""
        return f" {_ONCE}" if source != self.family or table.native == _ONCE else ""

    async def natives(self, session: DatabaseSession) -> Mapping[tuple[str, str], Any]:
        rows = await session.fetch_all(
            'SELECT t.name AS "table", c.name AS "column", c.type AS native, c.hidden AS hidden, t.sql AS sql'
            " FROM sqlite_schema t, pragma_table_xinfo(t.name) c WHERE t.type = 'table'"
        )
        found: dict[tuple[str, str], Any] = {}
        for row in rows:
            native = _GENERATED.sub("", row["native"]).strip()
            expression = (generated_expression(row["sql"], row["column"]),) if row["hidden"] >= _IS_GENERATED else ()
            if _ONCE in row["sql"].upper():
                self._never_again.add(row["table"])
            found[row["table"], row["column"]] = (native, None, *expression)
        return found

    async def indexes(self, session: DatabaseSession) -> Mapping[str, Sequence[Index]]:
        """Unique constraints, and indexes of expressions."""
        found: dict[str, list[Index]] = {}
        for row in await session.fetch_all(_INDEXES):
            parts = tuple(json.loads(row["parts"]))
            if row["origin"] == "u":
                found.setdefault(row["table"], []).append(Index(None, parts, True, constraint=True))
            elif None in parts:
                expressions = index_expressions(row["sql"], self.translator)
                where = _WHERE.search(row["sql"])
                index = Index(row["name"], parts, bool(row["unique"]), expressions, where and where[1])
                found.setdefault(row["table"], []).append(index)
        return found

    # --- types ------------------------------------------------------------------------------------------------------

    def column_type(self, described: Any, native: str, collation: str | None) -> ColumnType:
        match = _DECLARED.fullmatch(native.upper())
        name, *numbers = match.groups() if match is not None else (native.upper(), None, None)
        first, second = (None if number is None else int(number) for number in numbers)
        if name in _KINDS:
            kind = _KINDS[name]
        elif "INT" in name:  # the rules of affinity: SQLite documentation, "Datatypes", 3.1
            kind = Kind.INTEGER
        elif any(word in name for word in ("CHAR", "CLOB", "TEXT")):
            kind = Kind.TEXT
        elif "BLOB" in name or not name:
            kind = Kind.BYTES
        elif any(word in name for word in ("REAL", "FLOA", "DOUB")):
            kind = Kind.FLOAT
        else:
            kind = Kind.DECIMAL
        if kind is Kind.DECIMAL:
            return ColumnType(kind, native, precision=first, scale=(second or 0) if first is not None else None)
        if kind is Kind.TEXT:
            return ColumnType(kind, native, length=first, insensitive=(collation or "").upper() == "NOCASE")
        return ColumnType(kind, native, precision=6 if kind in (Kind.TIME, Kind.MOMENT, Kind.INSTANT) else None)

    def storage(self, column: Column, usage: Usage) -> ColumnType:
        given = column.type
        match given.kind:
            case Kind.INTEGER if given.unsigned and given.bits >= 64 and not usage.is_small:
                return ColumnType(Kind.TEXT, "TEXT")
            case Kind.INTEGER:
                native = "INTEGER" if column.identity or given.bits <= 32 else "BIGINT"
                return ColumnType(Kind.INTEGER, native)
            case Kind.DECIMAL if given.precision is not None and given.precision <= _DIGITS_EXACT:
                scale = given.scale or 0
                native = f"NUMERIC({given.precision}, {scale})"
                return ColumnType(Kind.DECIMAL, native, precision=given.precision, scale=scale)
            case Kind.TEXT if given.length is not None:
                native = f"{'CHAR' if given.fixed else 'VARCHAR'}({given.length})"
                return ColumnType(Kind.TEXT, native, length=given.length, fixed=given.fixed)
            case Kind.UUID:
                return ColumnType(Kind.TEXT, "CHAR(36)", length=36)
            case Kind.MOMENT | Kind.INSTANT | Kind.TIME:
                return ColumnType(given.kind, _STORED[given.kind], precision=6)
        stored = _STORED.get(given.kind, "TEXT")
        return ColumnType(given.kind if given.kind in _STORED else Kind.TEXT, stored)

    def losses(self, column: Column, stored: ColumnType) -> Iterator[tuple[str, str]]:
        given = column.type
        if given.kind is Kind.DECIMAL and stored.kind is Kind.TEXT:
            yield (
                f"decimals of more than {_DIGITS_EXACT} digits are stored as text",
                "they are exact, and sort and compare as text; cast them in queries",
            )
        if given.kind is Kind.DECIMAL and stored.kind is Kind.DECIMAL:
            yield (
                f"decimals are stored as binary numbers, of which {_DIGITS_EXACT} digits are exact",
                "values come back exact; sums in SQL may be off in the last digit",
            )
        if given.kind is Kind.INTEGER and stored.kind is Kind.TEXT:
            yield "unsigned integers of 64 bits are stored as text", "they sort and compare as text"
        if given.kind is Kind.INTEGER and given.unsigned and given.bits > 63 and stored.kind is Kind.INTEGER:
            yield "unsigned integers become INTEGER", "the column takes negative values, too, and none beyond 63 bits"
        if given.kind in (Kind.DATE, Kind.TIME, Kind.MOMENT, Kind.INSTANT):
            yield "SQLite has no dates and times: they are stored as ISO 8601 text", "use its date functions on them"
        if given.kind is Kind.UUID:
            yield "SQLite has no UUIDs: they are stored as text of 36 characters", "write new ones in lower case"
        if given.kind is Kind.ENUM:
            yield "SQLite has no enums: the column is text", "any text is taken"
        if given.insensitive:
            yield (
                "its collation takes letters of different case or accent for equal, SQLite's does not",
                "comparisons and unique indexes tell them apart; declare COLLATE NOCASE for ASCII letters",
            )

    def numbers(self, table: Table, column: Column) -> bool:
        return table.key == (column.name,)

    # --- reading ----------------------------------------------------------------------------------------------------

    def pages(self, stored: ColumnType) -> bool:
        return stored.kind in (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.TEXT, Kind.BYTES)  # others in many forms

    def decode(self, stored: ColumnType) -> Convert | None:
        return as_kind(stored)

    # --- writing ----------------------------------------------------------------------------------------------------

    def encode(self, field: Field) -> Convert | None:
        stored, agreed = field.stored, field.agreed
        limits = fit.within(agreed, stored, trusted=field.trusted)
        match stored.kind:
            case Kind.INTEGER:
                return limits
            case Kind.DECIMAL:
                return fit.chained(fit.finite_decimal, limits, _number)
            case Kind.FLOAT | Kind.FLOAT32:
                return fit.not_nan
            case Kind.DATE | Kind.TIME:
                return None
            case Kind.MOMENT:
                return _padded
            case Kind.INSTANT:
                return _zoned
            case Kind.BOOLEAN:
                return int
            case Kind.BYTES:
                return None
        return fit.chained(fit.well_formed, limits)


_KINDS: Final = {
    "BOOLEAN": Kind.BOOLEAN,
    "BOOL": Kind.BOOLEAN,
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
    "DATETIME": Kind.MOMENT,
    "TIMESTAMP": Kind.INSTANT,
    "JSON": Kind.JSON,
    "JSONB": Kind.JSON,
    "UUID": Kind.UUID,
    "DOUBLE PRECISION": Kind.FLOAT,
}
_STORED: Final = {
    Kind.BOOLEAN: "BOOLEAN",
    Kind.FLOAT: "DOUBLE",
    Kind.FLOAT32: "FLOAT",
    Kind.TEXT: "TEXT",
    Kind.BYTES: "BLOB",
    Kind.DATE: "DATE",
    Kind.TIME: "TIME",
    Kind.MOMENT: "DATETIME",
    Kind.INSTANT: "TIMESTAMP",
    Kind.JSON: "JSON",
}


def generated_expression(sql: str, column: str) -> str | None:
    """The expression of a generated column, from the text of CREATE TABLE: what stands between AS and its closing
    parenthesis."""
    start = re.search(rf"\b{re.escape(column)}\b[^,]*?\bAS\s*\(", sql, re.IGNORECASE | re.DOTALL) or re.search(
        rf"\b{re.escape(column)}\b.*?\bAS\s*\(", sql, re.IGNORECASE | re.DOTALL
    )
    if start is None:
        return None
    depth = 1
    for place in range(start.end(), len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[place], 0)
        if depth == 0:
            return sql[start.end() : place].strip()
    return None


def _number(value: Decimal) -> int | float:
    """A decimal of 15 digits at most as SQLite keeps it in a column of numbers."""
    if value == value.to_integral_value():
        return int(value)
    found = float(value)
    if Decimal(repr(found)) != value:
        raise UnfitError(
            f"has more than the {_DIGITS_EXACT} digits that this engine keeps", "declare its column TEXT in the target"
        )
    return found


def _padded(value: str) -> str:
    """With six digits after the second, as SQLAlchemy and Sillar write it: so that texts sort as times."""
    head, dot, fraction = value.partition(".")
    if dot:
        return f"{head}.{fraction.ljust(6, '0')}"
    return f"{value}.000000" if plain_moment(value) else value


def _zoned(value: str) -> str:
    found = _padded(value)
    return f"{found}+00:00" if plain_moment(value) else found
