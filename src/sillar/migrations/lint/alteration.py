"""Reading ``CREATE TABLE`` and ``ALTER TABLE``."""

from __future__ import annotations

from sillar.migrations.lint.cursor import Cursor, UnreadableError
from sillar.migrations.lint.definitions import read_column, read_constraint, read_table_index
from sillar.migrations.lint.model import (
    Action,
    AddColumn,
    AddConstraint,
    AddIndex,
    AlterTable,
    AlterType,
    AttachPartition,
    Column,
    Constraint,
    CreateTable,
    DetachPartition,
    DropColumn,
    DropConstraint,
    DropNotNull,
    DropTableIndex,
    EnforceConstraint,
    Harmless,
    Index,
    ModifyColumn,
    Part,
    Rename,
    RenameColumn,
    RenameTable,
    Rewrite,
    RowSecurity,
    SetDefault,
    SetExpression,
    SetNotNull,
    Unknown,
    ValidateConstraint,
)
from sillar.migrations.lint.tokens import TokenKind
from sillar.migrations.lint.types import read_type
from sillar.migrations.lint.writes import selected_from

_CONSTRAINT_WORDS = {"CONSTRAINT", "CHECK", "FOREIGN", "EXCLUDE"}


def read_create_table(cursor: Cursor, *, replaces: bool = False) -> CreateTable:
    """What follows ``CREATE TABLE``.

    Args:
        cursor: behind these words.
        replaces: ``OR REPLACE`` stood before them.
    """
    if_not_exists = cursor.accept("IF", "NOT", "EXISTS")
    table = cursor.dotted()
    if cursor.accept("PARTITION", "OF"):
        parent = cursor.dotted()
        default = cursor.accept("DEFAULT")
        return CreateTable(table, partition_of=parent, if_not_exists=if_not_exists, is_default=default)
    columns: list[Column] = []
    constraints: list[Constraint] = []
    indexes: list[Index] = []
    if cursor.sees("("):
        inner = Cursor(cursor.group(), cursor.lexicon)
        while not inner.done:
            _read_element(inner, columns, constraints, indexes)
            inner.until(",")
            inner.accept(",")
    partitioned = cursor.sees("PARTITION", "BY")
    charset = None
    while not cursor.done:
        if cursor.accept_any("CHARSET", "CHARACTER SET"):
            cursor.accept("=")
            charset = cursor.name().lower()
        elif cursor.sees("AS") or cursor.sees("SELECT"):
            break
        else:
            cursor.take()
    for column in columns:
        constraints.extend(column.constraints)
    limited = any(token.value == "LIMIT" for token in cursor.tokens[cursor.at :])
    sources = () if limited else selected_from(cursor)
    return CreateTable(
        table, tuple(columns), tuple(constraints), tuple(indexes), None, partitioned, if_not_exists, charset,
        sources=sources, replaces=replaces,
    )  # fmt: skip


def _read_element(inner: Cursor, columns: list[Column], constraints: list[Constraint], indexes: list[Index]) -> None:
    word = inner.peek().value if inner.peek().kind is TokenKind.WORD else ""
    following = inner.peek(1).value
    if (word in ("UNIQUE", "PRIMARY") and following in ("(", "KEY", "INDEX")) or word in _CONSTRAINT_WORDS:
        constraints.append(read_constraint(inner))
    elif word in ("INDEX", "KEY", "FULLTEXT", "SPATIAL") and following not in ("INT", "VARCHAR", "TEXT", "BIGINT"):
        index = read_table_index(inner)
        assert index is not None  # one of its words comes next
        indexes.append(index)
    elif word == "LIKE":
        inner.until(",")
    else:
        columns.append(read_column(inner))


def read_alter_table(cursor: Cursor) -> Action:
    """What follows ``ALTER TABLE``."""
    cursor.accept_any("IGNORE")
    cursor.accept("IF", "EXISTS")
    cursor.accept("ONLY")
    table = cursor.dotted()
    cursor.accept("*")
    if not cursor.accept("NOWAIT") and cursor.accept("WAIT"):  # MariaDB
        cursor.take()
    if cursor.accept("SET", "SCHEMA"):
        return Rename("table", table, f"{cursor.name()}.{table.rpartition('.')[2]}")
    parts: list[Part] = []
    algorithm = lock = ""
    while not cursor.done:
        if cursor.accept("ALGORITHM"):
            cursor.accept("=")
            algorithm = cursor.take().value.upper()
        elif cursor.accept("LOCK"):
            cursor.accept("=")
            lock = cursor.take().value.upper()
        else:
            parts.extend(_read_part(cursor, table))
        cursor.accept(",")
    return AlterTable(table, tuple(parts), algorithm, lock)


def _read_part(cursor: Cursor, table: str) -> list[Part]:
    before = cursor.at
    try:
        for read in (_read_add, _read_drop, _read_alter_column, _read_rename, _read_modify, _read_other):
            parts = read(cursor)
            if parts:
                if cursor.until(",") and not isinstance(parts[-1], Harmless):
                    return [Unknown()]
                return parts
    except UnreadableError:
        cursor.at = before
    cursor.until(",")
    return [Unknown()]


def _read_add(cursor: Cursor) -> list[Part]:
    if not cursor.accept("ADD"):
        return []
    if cursor.accept("PARTITION"):
        text = cursor.until(",")
        return [Rewrite("add partitions", text)] if text.upper().startswith("PARTITIONS") else [Harmless()]
    if cursor.accept("SYSTEM", "VERSIONING"):
        return [Rewrite("system versioning")]
    word = cursor.peek().value if cursor.peek().kind is TokenKind.WORD else ""
    if word in _CONSTRAINT_WORDS or word == "PRIMARY" or cursor.sees("NOT", "NULL"):
        return [AddConstraint(read_constraint(cursor))]
    if word == "UNIQUE":
        return [AddConstraint(read_constraint(cursor))]
    index = read_table_index(cursor)
    if index is not None:
        return [AddIndex(index)]
    cursor.accept("COLUMN")
    cursor.accept("IF", "NOT", "EXISTS")
    if cursor.sees("("):  # MySQL: several at once
        inner = Cursor(cursor.group(), cursor.lexicon)
        columns = [read_column(inner)]
        while inner.accept(","):
            columns.append(read_column(inner))
        return [AddColumn(column) for column in columns]
    column = read_column(cursor)
    return [AddColumn(column, _read_position(cursor))]


def _read_position(cursor: Cursor) -> str:
    if cursor.accept("FIRST"):
        return "first"
    if cursor.accept("AFTER"):
        return f"after {cursor.name()}"
    return ""


def _read_drop(cursor: Cursor) -> list[Part]:
    if not cursor.accept("DROP"):
        return []
    if cursor.accept("PRIMARY", "KEY"):
        return [DropConstraint("PRIMARY", "primary key")]
    kind = cursor.accept_any("CONSTRAINT", "FOREIGN KEY", "CHECK").lower()
    if kind:
        cursor.accept("IF", "EXISTS")
        name = cursor.name()
        cascade = cursor.accept_any("CASCADE", "RESTRICT") == "CASCADE"
        return [DropConstraint(name, kind.replace("constraint", ""), cascade)]
    if cursor.accept("SYSTEM", "VERSIONING"):
        return [Rewrite("system versioning")]
    if cursor.accept_any("INDEX", "KEY"):
        cursor.accept("IF", "EXISTS")
        return [DropTableIndex(cursor.name())]
    if cursor.accept("PARTITION"):
        return [Rewrite("drop partition", cursor.until(","))]
    cursor.accept("COLUMN")
    cursor.accept("IF", "EXISTS")
    name = cursor.name()
    return [DropColumn(name, cursor.accept_any("CASCADE", "RESTRICT") == "CASCADE")]


def _read_alter_column(cursor: Cursor) -> list[Part]:
    if not cursor.accept("ALTER"):
        return []
    if cursor.accept("INDEX"):
        cursor.name()
        cursor.accept_any("VISIBLE", "INVISIBLE")
        return [Harmless()]
    if kind := cursor.accept_any("CONSTRAINT", "CHECK").lower():
        name = cursor.name()
        if cursor.accept("ENFORCED"):
            return [EnforceConstraint(name, kind.replace("constraint", ""))]
        cursor.until(",")
        return [Harmless()]
    cursor.accept("COLUMN")
    name = cursor.name()
    if cursor.accept_any("SET DATA TYPE", "TYPE"):
        type_ = read_type(cursor)
        using = cursor.until(",") if cursor.accept("USING") else ""
        return [AlterType(name, type_, using)]
    if cursor.accept("SET", "NOT", "NULL"):
        return [SetNotNull(name)]
    if cursor.accept("DROP", "NOT", "NULL"):
        return [DropNotNull(name)]
    if cursor.accept("SET", "DEFAULT"):
        return [SetDefault(name, cursor.until(","))]
    if cursor.accept("DROP", "DEFAULT"):
        return [SetDefault(name, None)]
    if cursor.accept("SET", "EXPRESSION"):
        cursor.until(",")
        return [SetExpression(name)]
    if cursor.accept_any(
        "SET STATISTICS",
        "SET STORAGE",
        "SET COMPRESSION",
        "SET",
        "RESET",
        "DROP IDENTITY",
        "DROP EXPRESSION",
        "ADD GENERATED",
    ):
        cursor.until(",")
        return [Harmless()]
    return []


def _read_rename(cursor: Cursor) -> list[Part]:
    if not cursor.accept("RENAME"):
        return []
    if cursor.accept_any("TO", "AS"):
        return [RenameTable(cursor.dotted())]
    if cursor.accept_any("CONSTRAINT", "INDEX", "KEY"):
        cursor.until(",")
        return [Harmless()]
    cursor.accept("COLUMN")
    name = cursor.name()
    if not cursor.accept("TO"):
        return [RenameTable(name)] if cursor.done else []
    return [RenameColumn(name, cursor.name())]


def _read_modify(cursor: Cursor) -> list[Part]:
    word = cursor.accept_any("MODIFY", "CHANGE")
    if not word:
        return []
    cursor.accept("COLUMN")
    cursor.accept("IF", "EXISTS")
    name = cursor.name()
    if word == "MODIFY":  # the name is that of the definition
        cursor.at -= 1
    column = read_column(cursor)
    return [ModifyColumn(name, column, _read_position(cursor))]


_REWRITES = {
    "SET TABLESPACE": "set tablespace",
    "SET LOGGED": "set logged",
    "SET UNLOGGED": "set logged",
    "SET ACCESS METHOD": "set access method",
    "ENGINE": "engine",
    "CONVERT TO CHARACTER SET": "convert charset",
    "CONVERT TO CHARSET": "convert charset",
    "ROW_FORMAT": "rebuild",
    "KEY_BLOCK_SIZE": "rebuild",
    "FORCE": "rebuild",
    "PARTITION BY": "partition",
    "REMOVE PARTITIONING": "partition",
    "REORGANIZE PARTITION": "partition",
    "REBUILD PARTITION": "partition",
    "OPTIMIZE PARTITION": "partition",
    "TRUNCATE PARTITION": "truncate partition",
    "COALESCE PARTITION": "partition",
    "ORDER BY": "rebuild",
}
_HARMLESS = (
    "OWNER TO", "SET", "RESET", "CLUSTER ON", "SET WITHOUT", "REPLICA IDENTITY", "ENABLE TRIGGER", "DISABLE TRIGGER",
    "ENABLE", "DISABLE", "FORCE ROW LEVEL SECURITY", "NO FORCE ROW LEVEL SECURITY", "INHERIT", "NO INHERIT",
    "COMMENT", "AUTO_INCREMENT", "DEFAULT CHARACTER SET", "DEFAULT CHARSET", "CHARACTER SET", "CHARSET",
    "STATS_PERSISTENT", "STATS_AUTO_RECALC", "STATS_SAMPLE_PAGES", "COLLATE", "EXCHANGE PARTITION",
)  # fmt: skip


def _read_other(cursor: Cursor) -> list[Part]:
    if cursor.accept("VALIDATE", "CONSTRAINT"):
        return [ValidateConstraint(cursor.name())]
    switch = cursor.accept_any("ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY")
    if switch:
        return [RowSecurity(switch.startswith("ENABLE"))]
    if cursor.accept("ATTACH", "PARTITION"):
        name = cursor.dotted()
        cursor.until(",")
        return [AttachPartition(name)]
    if cursor.accept("DETACH", "PARTITION"):
        name = cursor.dotted()
        return [DetachPartition(name, bool(cursor.accept_any("CONCURRENTLY", "FINALIZE")))]
    if not cursor.sees("FORCE", "ROW"):
        rewrite = cursor.accept_any(*_REWRITES)
        if rewrite:
            cursor.accept("=")
            value = cursor.until() if rewrite == "PARTITION BY" else cursor.until(",")
            return [Rewrite(_REWRITES[rewrite], value)]
    if cursor.accept_any(*_HARMLESS):
        cursor.until(",")
        return [Harmless()]
    return []
