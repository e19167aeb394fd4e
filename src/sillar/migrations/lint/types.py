"""Reading a column's type, whatever it is called."""

from __future__ import annotations

from sillar.migrations.lint.cursor import Cursor, UnreadableError
from sillar.migrations.lint.model import ColumnType
from sillar.migrations.lint.tokens import Lexicon, TokenKind

_ALIASES = {
    "character varying": "varchar",
    "char varying": "varchar",
    "national varchar": "varchar",
    "nvarchar": "varchar",
    "character": "char",
    "bpchar": "char",
    "nchar": "char",
    "national char": "char",
    "int": "integer",
    "int4": "integer",
    "int2": "smallint",
    "int8": "bigint",
    "decimal": "numeric",
    "dec": "numeric",
    "bool": "boolean",
    "float8": "double precision",
    "double": "double precision",
    "float4": "real",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
    "time with time zone": "timetz",
    "bit varying": "varbit",
    "serial4": "serial",
    "serial8": "bigserial",
    "serial2": "smallserial",
}
_TWO_WORDS = (
    "character varying",
    "char varying",
    "national varchar",
    "national char",
    "double precision",
    "bit varying",
)
SERIALS = {"serial": "integer", "bigserial": "bigint", "smallserial": "smallint"}


def read_type(cursor: Cursor) -> ColumnType:
    """The type that comes next."""
    if not cursor.peek().is_name:
        raise UnreadableError("a type")
    name = next((words for words in _TWO_WORDS if cursor.accept(*words.upper().split())), "")
    if not name:
        quoted = cursor.peek().kind is TokenKind.NAME
        name = cursor.dotted() if quoted else cursor.dotted().lower()
        name = name.removeprefix("pg_catalog.")
    arguments = cursor.group_items() if cursor.sees("(") else ()
    if name in ("timestamp", "time", "interval"):
        zone = cursor.accept_any("WITH TIME ZONE", "WITHOUT TIME ZONE").lower()
        name = f"{name} {zone}".rstrip()
    if not arguments and cursor.sees("("):
        arguments = cursor.group_items()
    name = _ALIASES.get(name, name)
    if name == "float" and not arguments:
        name = "double precision"
    unsigned = array = False
    charset = collation = None
    while True:
        if cursor.accept("UNSIGNED"):
            unsigned = True
        elif cursor.accept("ZEROFILL") or cursor.accept("SIGNED") or cursor.accept("BINARY"):
            pass
        elif cursor.sees("[") or cursor.accept("ARRAY"):
            array = True
            if cursor.accept("["):
                cursor.until("]")
                cursor.expect("]")
        elif cursor.accept_any("CHARACTER SET", "CHARSET"):
            charset = cursor.name().lower()
        elif cursor.accept("COLLATE"):
            collation = cursor.dotted()
        else:
            break
    return ColumnType(name, arguments, array, unsigned, collation, charset)


def type_from_text(text: str, lexicon: Lexicon) -> ColumnType | None:
    """A type as a server's catalogue shows it; None if it cannot be read."""
    try:
        return read_type(Cursor(text, lexicon))
    except UnreadableError:
        return None


def length(type_: ColumnType) -> int | None:
    """The first argument as a number; None without one."""
    first = type_.arguments[0] if type_.arguments else ""
    return int(first) if first.isdigit() else None
