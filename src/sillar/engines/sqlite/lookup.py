"""Proof that a statement looks up a single row by a unique key.

Such a read costs a few microseconds, less than handing it to a thread, and runs on the event loop. The proof: the text
is a plain equality lookup in one table (:mod:`.statement`), and SQLite's own plan for it is a single search of the
integer primary key, the primary key, or a unique index with every key column bound. A proof belongs to one state of the
schema; besides, an inline read is interrupted when it takes longer than its budget, and the statement loses its proof
(another process may have dropped the index).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from sillar.engines.sqlite.statement import SQLiteStatement

_SEARCH: Final = re.compile(
    r"SEARCH (?:TABLE )?.+? USING (?:(?P<integer>INTEGER PRIMARY KEY)|(?P<primary>PRIMARY KEY)"
    r"|(?:COVERING )?INDEX (?P<index>.+)) \((?P<terms>.*)\)",
    re.DOTALL,
)
_GENERATED: Final = 2  # ``hidden`` of a virtual generated column in PRAGMA table_xinfo


class LookupProofs:
    """Which statements are proven lookups, for the present state of the schema.

    Attributes:
        generation: goes up whenever the schema may have changed.
        found, lost: proofs so far, and those that an inline read disproved.
    """

    __slots__ = ("found", "generation", "lost")

    def __init__(self) -> None:
        self.generation = 0
        self.found = self.lost = 0

    def invalidate(self) -> None:
        """The schema may have changed: nothing is proven any more."""
        self.generation += 1

    def lose(self, statement: SQLiteStatement) -> None:
        """An inline read of this statement took too long: it is not tried again in this state of the schema."""
        statement.lookup_generation = -1
        self.lost += 1

    def prove(self, connection: sqlite3.Connection, statement: SQLiteStatement, args: Sequence[Any]) -> None:
        """Look for a proof, once per state of the schema; the result is kept on the statement."""
        generation = self.generation
        if statement.table is None or statement.checked_generation == generation:
            return
        statement.checked_generation = generation
        if is_single_row_lookup(connection, statement, args):
            self.found += 1
            statement.lookup_generation = generation


def is_single_row_lookup(connection: sqlite3.Connection, statement: SQLiteStatement, args: Sequence[Any]) -> bool:
    """Whether SQLite would run the statement as one search of a unique key of a plain table.

    Raises:
        sqlite3.Error: the statement cannot be compiled.
    """
    if statement.table is None:
        return False
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", args).fetchall()
    match = _SEARCH.fullmatch(plan[0][3]) if len(plan) == 1 else None
    return (
        match is not None
        and _is_plain_table(connection, statement.table)
        and _binds_key(connection, statement.table, match)
    )


def _is_plain_table(connection: sqlite3.Connection, table: str) -> bool:
    kind = connection.execute("SELECT type FROM main.sqlite_schema WHERE name = ? COLLATE NOCASE", (table,)).fetchall()
    if kind != [("table",)] or connection.execute("SELECT 1 FROM temp.sqlite_schema LIMIT 1").fetchone():
        return False
    columns = connection.execute(f"PRAGMA main.table_xinfo({quoted_word(table)})").fetchall()
    return all(column[6] != _GENERATED for column in columns)


def _binds_key(connection: sqlite3.Connection, table: str, match: re.Match[str]) -> bool:
    terms = match["terms"]
    if match["integer"]:
        return terms == "rowid=?"
    if match["primary"]:
        columns = connection.execute(f"PRAGMA main.table_info({quoted_word(table)})").fetchall()
        key = [name for _, name in sorted((column[5], column[1]) for column in columns if column[5])]
    else:
        index = match["index"]
        indexes = connection.execute(f"PRAGMA main.index_list({quoted_word(table)})").fetchall()
        if not any(name == index and unique for _, name, unique, *_ in indexes):
            return False
        key = [column[2] for column in connection.execute(f"PRAGMA main.index_info({quoted_word(index)})")]
    return None not in key and terms == " AND ".join(f"{name}=?" for name in key)


def quoted_word(name: str) -> str:
    """One name as a quoted identifier, dots included."""
    return '"' + name.replace('"', '""') + '"'
