"""What jobs do with the connection of their worker. All of it runs in a worker's thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from sillar import errors
from sillar.engines.connection import Reply, RowShape
from sillar.engines.sqlite.jobs import Job
from sillar.engines.sqlite.statement import Route, SQLiteStatement, split_script
from sillar.engines.sqlite.worker import Worker, transaction_lost

NO_COLUMNS: Final = RowShape(())
_NO_ROWS: Final[tuple[Any, ...]] = ()
_MANY: Final = frozenset({"insert", "update", "delete", "replace"})
_KEYS: Final = frozenset({"insert", "replace"})


def shape_of(statement: SQLiteStatement, cursor: sqlite3.Cursor) -> RowShape:
    """The columns of a result that was just executed, kept on the statement while they stay the same."""
    shape = statement.shape
    if shape is not None and statement.fixed_columns:
        return shape
    description = cursor.description
    if description is None:
        return NO_COLUMNS
    columns = tuple([column[0] for column in description])
    if statement.results is not None:  # a plan, whose columns may be called otherwise
        shape = statement.shape = statement.results.described(tuple([(name, None) for name in columns]))
    elif shape is None or shape.columns != columns:
        shape = statement.shape = RowShape(columns)
    return shape


def fetch(worker: Worker, job: Job) -> tuple[RowShape, Sequence[Any]]:
    """All rows."""
    statement = job.statement
    assert statement is not None
    cursor = worker.cursor
    rows = cursor.execute(statement.sql, job.args).fetchall()
    _note(job, statement)
    return shape_of(statement, cursor), rows


def fetch_row(worker: Worker, job: Job) -> tuple[RowShape, Any | None]:
    """The first row. A statement that writes runs to its end; a query is left after the row."""
    statement = job.statement
    assert statement is not None
    cursor = worker.connection.execute(statement.sql, job.args)
    try:
        row = cursor.fetchone()
        if statement.route is not Route.READ:
            cursor.fetchall()
    finally:
        cursor.close()  # an unfinished query would keep its snapshot
    _note(job, statement)
    return shape_of(statement, cursor), row


def run(worker: Worker, job: Job) -> Reply:
    """Rows and counts of one statement."""
    statement = job.statement
    assert statement is not None
    reply = reply_to(worker.cursor, statement, job.args)
    _note(job, statement)
    return reply


def reply_to(cursor: sqlite3.Cursor, statement: SQLiteStatement, args: Sequence[Any]) -> Reply:
    """Execute one statement to its end."""
    cursor.execute(statement.sql, args)
    if cursor.description is not None:
        rows = cursor.fetchall()
        if statement.verb in _KEYS and rows:
            return Reply(shape_of(statement, cursor), rows, len(rows), cursor.lastrowid)
        return Reply(shape_of(statement, cursor), rows, len(rows))
    affected = cursor.rowcount
    if affected < 0:  # sqlite3 counts for statements that begin with INSERT, UPDATE, DELETE or REPLACE only
        affected = cursor.execute("SELECT changes()").fetchall()[0][0] if statement.verb == "with" else 0
    last = cursor.lastrowid if affected > 0 and statement.verb in _KEYS else None
    return Reply(None, _NO_ROWS, affected, last)


def run_many(worker: Worker, job: Job) -> int:
    """One statement, several parameter sets. Returns the rows affected."""
    statement = job.statement
    assert statement is not None
    if statement.verb in _MANY and not statement.returns_rows:
        affected = worker.cursor.executemany(statement.sql, job.args).rowcount
    else:
        affected = sum(reply_to(worker.cursor, statement, args).rows_affected for args in job.args)
    _note(job, statement)
    return affected


def run_several(worker: Worker, job: Job) -> list[Reply]:
    """Several statements in order: ``job.args`` is a list of (statement, values)."""
    replies = []
    for statement, args in job.args:
        replies.append(reply_to(worker.cursor, statement, args))
        _note(job, statement)
    return replies


def run_script(worker: Worker, job: Job) -> Reply:
    """A text of several statements without parameters; the reply is the last one's."""
    script = job.statement
    assert script is not None
    pieces = [SQLiteStatement(piece, rules) for rules in (job.args,) for piece in split_script(script.source)]
    for piece in pieces:
        if piece.route in (Route.ALONE, Route.CONTROL):
            raise errors.UsageError(
                f"{piece.verb.upper()} cannot be part of a script, which runs in one transaction; send it by itself"
                if piece.route is Route.ALONE
                else f"{piece.verb.upper()} cannot be part of a script: it runs in one transaction already"
            )
    reply = Reply(None, _NO_ROWS, 0)
    for piece in pieces:
        if piece.verb:
            reply = reply_to(worker.cursor, piece, ())
            _note(job, piece)
    return reply


def begin_read(worker: Worker, job: Job) -> None:
    """Begin a read transaction, with its snapshot taken now and not at the first statement."""
    connection = worker.connection
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
    except sqlite3.Error:
        connection.execute("ROLLBACK")
        raise
    job.hold.raw = connection


def commit(worker: Worker, job: Job) -> None:
    """Commit; whatever keeps that from happening leaves the transaction rolled back."""
    connection = worker.connection
    if not connection.in_transaction:
        raise transaction_lost()
    try:
        worker.patiently(lambda: connection.execute("COMMIT"), lambda: False)
    except sqlite3.Error:
        roll_back(worker, job)
        raise


def roll_back(worker: Worker, job: Job) -> None:
    """Roll back; harmless where SQLite has done so itself."""
    connection = worker.connection
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def open_stream(worker: Worker, job: Job) -> tuple[RowShape, Sequence[Any], sqlite3.Cursor]:
    """Execute a query and fetch its first rows: ``job.args`` is (values, rows at most)."""
    statement = job.statement
    assert statement is not None
    values, count = job.args
    cursor = worker.connection.execute(statement.sql, values)
    rows = cursor.fetchmany(count)
    return shape_of(statement, cursor), rows, cursor


def fetch_more(worker: Worker, job: Job) -> Sequence[Any]:
    """The next rows of a stream: ``job.args`` is (cursor, rows at most)."""
    cursor, count = job.args
    rows: Sequence[Any] = cursor.fetchmany(count)
    return rows


def close_stream(worker: Worker, job: Job) -> None:
    """End a stream: ``job.args`` is the job that opened it, which may have failed or been withdrawn."""
    opened = job.args
    if opened.result is not None:
        opened.result[2].close()


def _note(job: Job, statement: SQLiteStatement) -> None:
    """Remember what the transaction of the job must see to at its end."""
    if job.hold is not None:
        if statement.changes_schema:
            job.hold.changes_schema = True
        if statement.route is Route.ALONE:
            job.hold.restore = True
