"""Reading a statement: from SQL text to what it does."""

from __future__ import annotations

from collections.abc import Sequence

from sillar.migrations.lint.alteration import read_alter_table, read_create_table
from sillar.migrations.lint.cursor import Cursor, UnreadableError
from sillar.migrations.lint.model import (
    Action,
    AddEnumValue,
    CreateIndex,
    CreateObject,
    Drop,
    DropIndex,
    Harmless,
    Index,
    Maintain,
    Rename,
    RenameEnumValue,
    Setting,
    Statement,
    TransactionControl,
    Unknown,
)
from sillar.migrations.lint.pieces import pieces
from sillar.migrations.lint.tokens import Lexicon, TokenKind
from sillar.migrations.lint.writes import read_delete, read_insert, read_merge, read_update, read_with
from sillar.migrations.migration import BATCHED, MigrationOperation

_OBJECTS = (
    "MATERIALIZED VIEW", "VIEW", "TYPE", "DOMAIN", "SCHEMA", "DATABASE", "FUNCTION", "PROCEDURE", "TRIGGER",
    "SEQUENCE", "POLICY", "EXTENSION", "RULE", "ROLE", "USER", "EVENT", "AGGREGATE", "OPERATOR", "CAST", "STATISTICS",
    "PUBLICATION", "SUBSCRIPTION", "COLLATION", "CONSTRAINT TRIGGER", "EVENT TRIGGER", "SERVER",
    "FOREIGN DATA WRAPPER", "FOREIGN TABLE",
)  # fmt: skip
_HARMLESS = {
    "COMMENT", "GRANT", "REVOKE", "ANALYZE", "SELECT", "SHOW", "EXPLAIN", "NOTIFY", "LISTEN", "RESET", "DISCARD",
    "USE", "VALUES", "SECURITY", "DO", "SAVEPOINT", "RELEASE",
    "CHECKPOINT", "FLUSH", "UNLOCK", "PREPARE", "EXECUTE", "DEALLOCATE", "ATTACH",
    "DETACH",
}  # fmt: skip


def read_statements(planned: Sequence[MigrationOperation], lexicon: Lexicon) -> list[Statement]:
    """The statements of a revision, with the transaction that each runs in; a text may hold several.

    ``BEGIN`` and ``COMMIT`` in the text count, as does a statement that is to run outside: it ends the transaction
    before it, as Alembic's ``autocommit_block`` does.
    """
    statements: list[Statement] = []
    planned = [piece for each in planned for piece in pieces(each, lexicon)]
    read = [read_statement(each.sql, lexicon, number) for number, each in enumerate(planned, 1)]
    controls = [each.action.what for each in read if isinstance(each.action, TransactionControl)]
    transaction, explicit, fresh = 1, bool(controls) and controls[0] != "BEGIN", False
    for number, (each, statement) in enumerate(zip(planned, read, strict=True), 1):
        action = statement.action
        if isinstance(action, TransactionControl):
            transaction += 1
            explicit = action.what == "BEGIN"
        batched = each.details == BATCHED
        inside = not batched and (explicit if controls else each.in_transaction)
        if not inside:
            fresh = True
        elif fresh and not explicit:
            transaction, fresh = transaction + 1, False
        place = transaction if inside else None
        statements.append(Statement(number, statement.sql, action, place, statement.strings, batched, each.line))
    return statements


def read_statement(sql: str, lexicon: Lexicon, number: int = 1) -> Statement:
    """One statement; text that is not known becomes ``Unknown``."""
    cursor = Cursor(sql, lexicon)
    strings = frozenset(token.value for token in cursor.tokens if token.kind is TokenKind.STRING)
    try:
        action = _read(cursor)
    except UnreadableError:
        action = Unknown()
    return Statement(number, sql.strip(), action, None, strings)


def _read(cursor: Cursor) -> Action:
    readers = {
        "CREATE": _read_create,
        "ALTER": _read_alter,
        "DROP": _read_drop,
        "RENAME": _read_rename,
        "UPDATE": read_update,
        "DELETE": read_delete,
        "INSERT": read_insert,
        "REPLACE": read_insert,
        "MERGE": read_merge,
        "WITH": lambda each: read_with(each, _read),
        "SET": _read_set,
        "PRAGMA": _read_pragma,
        "TRUNCATE": _read_maintenance,
        "VACUUM": _read_maintenance,
        "CLUSTER": _read_maintenance,
        "REINDEX": _read_maintenance,
        "LOCK": _read_maintenance,
        "REFRESH": _read_maintenance,
        "OPTIMIZE": _read_maintenance,
    }
    word = cursor.take().value
    if word in ("BEGIN", "START", "COMMIT", "ROLLBACK", "END"):
        return TransactionControl({"START": "BEGIN", "END": "COMMIT"}.get(word, word))
    if word == "EXECUTE" and cursor.peek(1).text in ("(", "||"):  # in a block: a text that is put together
        return Unknown()
    if word == "FLUSH" and cursor.sees("TABLES") and any(token.value == "LOCK" for token in cursor.tokens):
        return Maintain("lock", (), mode="GLOBAL")
    if word in _HARMLESS:
        return Harmless()
    if word not in readers:
        raise UnreadableError("a statement")
    return readers[word](cursor)


def _read_create(cursor: Cursor) -> Action:
    replaces = cursor.accept("OR", "REPLACE")
    cursor.accept_any("GLOBAL", "LOCAL")
    temporary = cursor.accept_any("TEMPORARY", "TEMP")
    cursor.accept("UNLOGGED")
    if cursor.accept("TABLE"):
        return CreateObject("temporary table", "") if temporary else read_create_table(cursor, replaces=replaces)
    if outside := cursor.accept_any("TABLESPACE", "SUBSCRIPTION").lower():
        return Maintain(f"create {outside}", ())
    while cursor.sees("ALGORITHM") or cursor.sees("DEFINER") or cursor.sees("SQL", "SECURITY"):  # of MySQL's views
        cursor.take()
        cursor.until("SQL", "VIEW", "TRIGGER", "FUNCTION", "PROCEDURE", "EVENT", "DEFINER", "ALGORITHM")
    unique = cursor.accept("UNIQUE")
    kind = cursor.accept_any("FULLTEXT", "SPATIAL").lower()
    if cursor.accept("INDEX"):
        return _read_create_index(cursor, unique=unique, kind=kind)
    cursor.accept("RECURSIVE")
    what = cursor.accept_any(*_OBJECTS).lower()
    if not what:
        raise UnreadableError("what is created")
    cursor.accept("IF", "NOT", "EXISTS")
    name = cursor.dotted() if cursor.peek().is_name else ""
    if what == "type" and cursor.accept("AS", "ENUM"):
        return CreateObject(what, name, values=_enum_values(cursor.group_items()))
    if what == "view" and cursor.sees("("):
        cursor.group()
    table = _table_of(cursor) if what in ("trigger", "policy", "constraint trigger") else None
    return CreateObject(what, name, table, text=cursor.rest())


def _enum_values(items: Sequence[str]) -> tuple[str, ...]:
    return tuple(item.strip().strip("'") for item in items)


def _table_of(cursor: Cursor) -> str | None:
    while not cursor.done:
        if cursor.accept("ON"):
            return cursor.dotted()
        cursor.take()
    return None


def _read_create_index(cursor: Cursor, *, unique: bool, kind: str) -> Action:
    concurrently = cursor.accept("CONCURRENTLY")
    cursor.accept("IF", "NOT", "EXISTS")
    name = None if cursor.sees("ON") else cursor.dotted().rpartition(".")[2]
    if cursor.accept("USING"):
        cursor.name()
    cursor.expect("ON")
    only = cursor.accept("ONLY")
    table = cursor.dotted()
    first = cursor.at
    if cursor.accept("USING"):
        cursor.name()
    columns = cursor.column_names()
    cursor.until("WHERE", "ALGORITHM", "LOCK")
    definition = cursor.text(first, cursor.at)
    where = cursor.until("ALGORITHM", "LOCK") if cursor.accept("WHERE") else ""
    asked = {"ALGORITHM": "", "LOCK": ""}
    while word := cursor.accept_any(*asked):
        cursor.accept("=")
        asked[word] = cursor.take().value.upper()
    index = Index(name, columns, unique, kind, where, definition)
    return CreateIndex(table, index, concurrently, asked["ALGORITHM"], asked["LOCK"], only)


def _read_alter(cursor: Cursor) -> Action:
    cursor.accept("ONLINE")
    cursor.accept("IGNORE")
    if cursor.accept("SYSTEM"):
        return Maintain("alter system", ())
    if cursor.accept_any("TABLE ALL IN TABLESPACE", "INDEX ALL IN TABLESPACE", "MATERIALIZED VIEW ALL IN TABLESPACE"):
        return Maintain("set tablespace", ())
    if cursor.accept_any("TABLE", "FOREIGN TABLE"):
        return read_alter_table(cursor)
    what = cursor.accept_any("INDEX", *_OBJECTS).lower()
    cursor.accept("IF", "EXISTS")
    if not what or not cursor.peek().is_name:
        return Harmless() if what else Unknown()
    name = cursor.dotted()
    if what == "type" and cursor.accept("ADD", "VALUE"):
        cursor.accept("IF", "NOT", "EXISTS")
        return AddEnumValue(name, cursor.take().value)
    if what == "type" and cursor.accept("DROP", "ATTRIBUTE"):
        cursor.accept("IF", "EXISTS")
        return Drop("attribute", (f"{name}.{cursor.name()}",), cursor.accept("CASCADE"))
    if what == "type" and cursor.accept("RENAME", "VALUE"):
        old = cursor.take().value
        cursor.expect("TO")
        return RenameEnumValue(name, old, cursor.take().value)
    if what in ("index", "materialized view") and cursor.accept("SET", "TABLESPACE"):
        return Maintain("set tablespace", (name,))
    if what in ("view", "materialized view", "type") and cursor.accept_any("RENAME COLUMN", "RENAME ATTRIBUTE"):
        old = cursor.name()
        cursor.expect("TO")
        return Rename(f"{what} column", f"{name}.{old}", cursor.name())
    if what in ("view", "materialized view", "type", "schema", "sequence", "function", "domain"):
        if cursor.accept("RENAME", "TO"):
            return Rename(what, name, cursor.name())
        if cursor.accept("SET", "SCHEMA"):
            return Rename(what, name, f"{cursor.name()}.{name}")
    if what == "domain" and (cursor.sees("ADD") or cursor.sees("SET", "NOT") or cursor.sees("VALIDATE")):
        checks = cursor.sees("VALIDATE") or not cursor.rest().upper().endswith("NOT VALID")
        return Maintain("domain", (name,)) if checks else Harmless()
    return Harmless()


def _read_drop(cursor: Cursor) -> Action:
    cursor.accept("TEMPORARY")
    if cursor.accept("INDEX"):
        concurrently = cursor.accept("CONCURRENTLY")
        cursor.accept("IF", "EXISTS")
        names = tuple(name.rpartition(".")[2] for name in cursor.names())
        return DropIndex(names, cursor.dotted() if cursor.accept("ON") else None, concurrently)
    if outside := cursor.accept_any("TABLESPACE", "SUBSCRIPTION").lower():
        return Maintain(f"drop {outside}", ())
    what = cursor.accept_any("TABLE", "OWNED BY", *_OBJECTS).lower()
    if not what:
        raise UnreadableError("what is dropped")
    cursor.accept("IF", "EXISTS")
    names = cursor.names()
    return Drop(what, names, any(token.value == "CASCADE" for token in cursor.tokens[cursor.at :]))


def _read_rename(cursor: Cursor) -> Action:
    cursor.expect("TABLE")
    name = cursor.dotted()
    cursor.expect("TO")
    new_name = cursor.dotted()
    others: list[str] = []
    while cursor.accept(","):
        cursor.dotted()
        cursor.expect("TO")
        others.append(cursor.dotted())
    return Rename("table", name, new_name, tuple(others))


def _read_set(cursor: Cursor) -> Action:
    if cursor.accept("STATEMENT"):  # MariaDB: SET STATEMENT max_statement_time = 5 FOR ALTER TABLE …
        cursor.until("FOR")
        cursor.expect("FOR")
        return _read(cursor)
    cursor.accept_any("LOCAL", "SESSION", "GLOBAL")
    if cursor.accept("TIME", "ZONE"):
        return Setting("timezone", cursor.rest().strip("'"))
    name = cursor.dotted().lower().replace("@@session.", "").replace("@@", "")
    if not cursor.accept_any("=", "TO", ":="):
        return Setting(name, cursor.rest())
    return Setting(name, cursor.rest().strip("'"))


def _read_pragma(cursor: Cursor) -> Setting:
    name = cursor.dotted().lower()
    value = cursor.group() if cursor.sees("(") else cursor.rest().lstrip("= ")
    return Setting(f"pragma {name}", value)


def _read_maintenance(cursor: Cursor) -> Action:
    cursor.at -= 1
    what = cursor.take().value.lower()
    options = cursor.group().upper() if what in ("vacuum", "cluster", "reindex") and cursor.sees("(") else ""
    if what == "vacuum" and (cursor.accept("FULL") or "FULL" in options):
        what = "vacuum full"
    concurrently = "CONCURRENTLY" in options
    kind = ""
    if what == "refresh":
        cursor.expect("MATERIALIZED", "VIEW")
    elif what == "reindex":
        kind = cursor.accept_any("INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM").lower()
    elif what == "lock" and cursor.accept("INSTANCE"):
        return Harmless()
    elif what == "lock" and cursor.sees("TABLES"):
        return _read_lock_tables(cursor)
    cursor.accept_any("TABLES", "TABLE", "VERBOSE", "ANALYZE", "LOCAL TABLE", "NO_WRITE_TO_BINLOG TABLE")
    concurrently = cursor.accept("CONCURRENTLY") or concurrently
    cursor.accept("ONLY")
    tables = [cursor.dotted()] if cursor.peek().is_name and not cursor.sees("USING") else []
    if what == "cluster" and cursor.accept("ON"):
        tables = [cursor.dotted()]
    while tables and cursor.accept(","):
        cursor.accept("ONLY")
        tables.append(cursor.dotted())
    mode = cursor.until("MODE").removeprefix("IN ").strip().upper() if what == "lock" else kind
    return Maintain(what, tuple(tables), concurrently, mode)


def _read_lock_tables(cursor: Cursor) -> Maintain:
    """MySQL's, each table with a mode of its own; what counts are those that are locked for writing, if any."""
    cursor.expect("TABLES")
    modes: dict[str, str] = {}
    while not cursor.done:
        name = cursor.dotted()
        modes[name] = cursor.until(",").upper()
        cursor.accept(",")
    write = tuple(name for name, mode in modes.items() if "WRITE" in mode)
    return Maintain("lock", write or tuple(modes), mode="WRITE" if write else "READ")
