"""What changing a column's type costs on PostgreSQL.

After ``ATColumnChangeRequiresRewrite`` of PostgreSQL's tablecmds.c: no rewrite if the cast from the old to the new type
changes no bytes: binary-coercible types, and lengths that grow (the support functions of the length casts of varchar,
numeric, varbit, timestamp, time and interval). The tests compare this with ``relfilenode`` on a server.
"""

from __future__ import annotations

import re
from enum import Enum

from sillar.migrations.lint.model import ColumnType
from sillar.migrations.lint.types import length


class TypeChange(Enum):
    """What it costs."""

    FREE = "free"
    INDEXES = "indexes are built anew"
    REWRITE = "the table is written anew"
    UNKNOWN = "unknown"


_OIDS = ("regclass", "regtype", "regproc", "regprocedure", "regoper", "regoperator", "regrole", "regnamespace")
_COERCIBLE = {
    ("varchar", "text"),
    ("text", "varchar"),
    ("cidr", "inet"),
    ("xml", "text"),
    ("xml", "varchar"),
    ("citext", "text"),
    ("citext", "varchar"),
    ("text", "citext"),
    ("varchar", "citext"),
    ("bit", "varbit"),
    *((name, "oid") for name in _OIDS),
    *(("oid", name) for name in _OIDS),
    *((name, "integer") for name in ("oid", *_OIDS)),
    *(("integer", name) for name in ("oid", *_OIDS)),
}
_INDEXES = {
    ("text", "citext"),
    ("varchar", "citext"),
    ("citext", "text"),
    ("citext", "varchar"),
    ("bit", "varbit"),
    *((name, "integer") for name in ("oid", *_OIDS)),
    *(("integer", name) for name in ("oid", *_OIDS)),
}
_ZONES = {("timestamp", "timestamptz"), ("timestamptz", "timestamp")}
_UTC = {"utc", "etc/utc", "gmt", "etc/gmt", "zulu", "uct", "0", "+00:00"}
_FRACTION = {"timestamp": 6, "timestamptz": 6, "time": 6, "timetz": 6, "interval": 6}


def type_change(
    old: ColumnType | None,
    new: ColumnType,
    *,
    column: str,
    using: str = "",
    time_zone: str | None = None,
    version: tuple[int, ...] = (),
) -> TypeChange:
    """What ``ALTER COLUMN column TYPE new USING using`` costs.

    Args:
        old: the type it has; None: not known.
        new: the type it gets.
        column: its name.
        using: the expression, empty without one.
        time_zone: of the session.
        version: of the server; empty: a current one.
    """
    if using and not _is_plain_cast(using, column, new):
        return TypeChange.REWRITE
    if old is None:
        return TypeChange.UNKNOWN
    if old.array or new.array:
        if old.array and new.array and old.name == new.name and new.arguments in ((), old.arguments):
            return TypeChange.FREE
        return TypeChange.REWRITE
    if (old.name, new.name) in _ZONES:
        fresh = not version or version >= (12,)
        free = fresh and not new.arguments and (time_zone or "").lower() in _UTC
        return TypeChange.INDEXES if free else TypeChange.REWRITE
    if not _keeps_bytes(old, new):
        return TypeChange.REWRITE
    if (old.name, new.name) in _INDEXES or (new.collation or None) != (old.collation or None):
        return TypeChange.INDEXES
    return TypeChange.FREE


def _is_plain_cast(using: str, column: str, new: ColumnType) -> bool:
    """Whether the expression is what PostgreSQL does anyway: the column, cast to the new type or not at all."""
    text = re.sub(r"[\s\"()]", "", using.lower())
    name = column.lower()
    if text == name:
        return True
    return (
        text.startswith(f"{name}::")
        and text.count("::") == 1
        and re.fullmatch(r"[\w,.]+", text[len(name) + 2 :]) is not None
    )


def _keeps_bytes(old: ColumnType, new: ColumnType) -> bool:
    if (old.name, new.name) in _COERCIBLE:
        return not new.arguments
    if old.name != new.name:
        return False
    if old.arguments == new.arguments:
        return True
    if old.name in ("varchar", "varbit"):
        return _grows(length(old), length(new), None)
    if old.name == "numeric":
        return not new.arguments or _numeric_grows(old, new)
    if old.name in _FRACTION:
        return _grows(length(old), length(new), _FRACTION[old.name])
    return not old.arguments and not new.arguments


def _grows(old: int | None, new: int | None, most: int | None) -> bool:
    """Whether every value of the old length fits the new one unchanged; None: no limit, or ``most``."""
    if new is None or new == most:
        return True
    return (old if old is not None else (most if most is not None else new + 1)) <= new


def _numeric_grows(old: ColumnType, new: ColumnType) -> bool:
    if not old.arguments:
        return False
    scale = [int(each.arguments[1]) if len(each.arguments) > 1 else 0 for each in (old, new)]
    return scale[0] == scale[1] and int(old.arguments[0]) <= int(new.arguments[0])
