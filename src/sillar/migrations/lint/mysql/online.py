"""How MySQL and MariaDB carry out the parts of an ``ALTER TABLE`` of InnoDB.

After the tables "Online DDL Operations" of MySQL's manual and "InnoDB Online DDL" of MariaDB's. The tests compare it
with what servers accept under ``ALGORITHM=`` and ``LOCK=``.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import IntEnum

from sillar.migrations.lint.model import Column, ColumnType
from sillar.migrations.lint.types import length


class Cost(IntEnum):
    """From cheap to dear."""

    INSTANT = 0  # ALGORITHM=INSTANT, or no work that grows with the table
    ONLINE = 1  # ALGORITHM=INPLACE, LOCK=NONE: reads the table, writes go on
    REBUILD = 2  # the same, and the whole table is written
    SHARED = 3  # ALGORITHM=INPLACE, LOCK=SHARED: writes wait
    COPY = 4  # ALGORITHM=COPY: writes wait
    UNKNOWN = 5


_CHARACTER_BYTES = {
    "utf8mb4": 4,
    "utf8mb3": 3,
    "utf8": 3,
    "latin1": 1,
    "ascii": 1,
    "binary": 1,
    "ucs2": 2,
    "utf16": 4,
    "utf32": 4,
}
_INTEGERS = {"tinyint", "smallint", "mediumint", "integer", "bigint"}
_NOW = re.compile(r"(current_timestamp|now|localtime|localtimestamp)(\(\d?\))?", re.IGNORECASE)
_PER_ROW = re.compile(r"\b(uuid|uuid_short|sys_guid)\s*\(", re.IGNORECASE)
_LITERAL = re.compile(
    r"(_\w+\s*)?('(?:[^'\\]|''|\\.)*'|\"[^\"]*\")|[-+]?[\d.]+(e[-+]?\d+)?|null|true|false|[xb]'[^']*'", re.IGNORECASE
)


def default_cost(column: Column, *, mariadb: bool) -> Cost:
    """What adding a column with that default costs."""
    default = (column.default or "").strip()
    if not default or _NOW.fullmatch(default) or _LITERAL.fullmatch(default):
        return Cost.INSTANT
    if not mariadb:
        return Cost.COPY  # an expression is computed for every row
    return Cost.COPY if is_per_row(default) else Cost.INSTANT


def is_per_row(default: str) -> bool:
    """Whether each row gets a value of its own: a UUID, or one from other columns."""
    without_strings = re.sub(r"'(?:[^'\\]|''|\\.)*'", "", default)
    columns = re.findall(r"\b[a-z_]\w*\b(?!\s*\()", without_strings, re.IGNORECASE)
    known = {
        "current_timestamp",
        "current_date",
        "current_time",
        "null",
        "true",
        "false",
        "interval",
        "day",
        "as",
        "char",
    }
    return bool(_PER_ROW.search(default)) or any(word.lower() not in known for word in columns)


def modification_cost(
    old: Column | None, new: Column, *, mariadb: bool, charset: str | None, indexed: bool, moved: bool
) -> Cost:
    """What MODIFY and CHANGE cost.

    Args:
        old: the column as it is; None: not known.
        new: as it is to be.
        mariadb: of MariaDB instead of MySQL.
        charset: the table's default; None: not known.
        indexed: the column is in an index.
        moved: to another place among the columns.
    """
    if old is None or old.type is None or new.type is None:
        return Cost.UNKNOWN
    if (new.generated or old.generated) and (new.generated, new.default) != (old.generated, old.default):
        return Cost.COPY
    worst = _type_cost(
        _with_charset(old.type, charset), _with_charset(new.type, charset), mariadb=mariadb, indexed=indexed
    )
    if old.not_null != new.not_null:
        worst = max(worst, Cost.REBUILD)
    if moved:
        worst = max(worst, Cost.INSTANT if mariadb else Cost.REBUILD)
    if new.identity and not old.identity:
        worst = Cost.COPY
    return worst


def _with_charset(type_: ColumnType, charset: str | None) -> ColumnType:
    name = {"boolean": "tinyint", "bool": "tinyint", "utf8": "utf8mb3"}.get(type_.name, type_.name)
    written = type_.charset or (type_.collation or "").partition("_")[0] or charset or "utf8mb4"
    written = {"utf8": "utf8mb3"}.get(written.lower(), written.lower())
    arguments = () if name in _INTEGERS else type_.arguments
    return replace(type_, name=name, charset=written, arguments=arguments)


def _type_cost(old: ColumnType, new: ColumnType, *, mariadb: bool, indexed: bool) -> Cost:
    if old.name != new.name or old.unsigned != new.unsigned:
        return Cost.COPY
    worst = Cost.INSTANT
    if old.name in ("varchar", "char", "text", "tinytext", "mediumtext", "longtext", "enum", "set"):
        worst = _charset_cost(old, new, mariadb=mariadb, indexed=indexed)
    if old.arguments == new.arguments or worst is Cost.COPY:
        return worst
    if old.name in ("varchar", "varbinary"):
        return max(worst, _length_cost(old, new, mariadb=mariadb))
    if old.name in ("enum", "set"):
        appended = new.arguments[: len(old.arguments)] == old.arguments
        return max(worst, Cost.INSTANT if appended and _enum_bytes(old) == _enum_bytes(new) else Cost.COPY)
    return Cost.COPY


def _charset_cost(old: ColumnType, new: ColumnType, *, mariadb: bool, indexed: bool) -> Cost:
    if old.charset != new.charset:
        if (old.charset, new.charset) == ("utf8mb3", "utf8mb4") and not indexed and old.name == "varchar":
            return Cost.INSTANT if mariadb else Cost.ONLINE
        return Cost.COPY
    if new.collation is None or new.collation == old.collation:
        return Cost.INSTANT
    if not indexed:
        return Cost.INSTANT if mariadb else Cost.ONLINE
    return Cost.ONLINE if mariadb else Cost.COPY


def _length_cost(old: ColumnType, new: ColumnType, *, mariadb: bool) -> Cost:
    before, after = length(old), length(new)
    if before is None or after is None or after < before:
        return Cost.COPY
    if mariadb:
        return Cost.INSTANT
    each = 1 if old.name == "varbinary" else _CHARACTER_BYTES.get(new.charset or "", 4)
    return Cost.ONLINE if (before * each > 255) == (after * each > 255) else Cost.COPY


def _enum_bytes(type_: ColumnType) -> int:
    count = len(type_.arguments)
    if type_.name == "enum":
        return 1 if count < 256 else 2
    return next(size for size in (1, 2, 3, 4, 8) if count <= size * 8 or size == 8)
