"""SQLite's errors as Sillar's."""

from __future__ import annotations

import re
import sqlite3
from typing import Final

from sillar import errors
from sillar.engines.sqlite.statement import SQLiteStatement

_INTEGRITY: Final[dict[str, type[errors.IntegrityError]]] = {
    "SQLITE_CONSTRAINT_UNIQUE": errors.UniqueViolationError,
    "SQLITE_CONSTRAINT_PRIMARYKEY": errors.UniqueViolationError,
    "SQLITE_CONSTRAINT_ROWID": errors.UniqueViolationError,
    "SQLITE_CONSTRAINT_FOREIGNKEY": errors.ForeignKeyViolationError,
    "SQLITE_CONSTRAINT_NOTNULL": errors.NotNullViolationError,
    "SQLITE_CONSTRAINT_CHECK": errors.CheckViolationError,
}
_FAULTY_TOKEN: Final = re.compile(r'^(?:near|unrecognized token:) "(?P<token>.*)"', re.DOTALL)
_UNKNOWN_NAME: Final = re.compile(
    r"^(?:no such (?P<kind>table|column|function|index|view|collation sequence)|ambiguous column name):? (?P<name>\S+)"
)
_NO_COLUMN: Final = re.compile(r"^table (?P<table>\S+) has no column named (?P<name>\S+)$")
_MISCOUNTED: Final = re.compile(
    r"(?:\d+ values for \d+ columns|has \d+ columns but \d+ values|wrong number of arguments)"
)


def translated(
    error: BaseException,
    statement: SQLiteStatement | None,
    *,
    address: str,
    expired_seconds: float | None = None,
) -> BaseException:
    """The error of :mod:`sillar.errors` that stands for ``error``; what is none of SQLite's comes back as it is.

    Args:
        error: what sqlite3 raised.
        statement: which statement ran.
        address: the file, for messages.
        expired_seconds: the timeout that interrupted the statement, if one did.
    """
    if isinstance(error, errors.DatabaseError):
        return error.at(node=address)
    found = _translated(error, statement, address, expired_seconds)
    if found is None:
        return error
    found.__cause__ = error
    return found.at(node=address)


def _translated(
    error: BaseException, statement: SQLiteStatement | None, address: str, expired_seconds: float | None
) -> errors.DatabaseError | None:
    if isinstance(error, OverflowError):
        return errors.ParameterError(
            "an integer parameter does not fit into SQLite's 64 bits; store it as text or bytes"
        )
    if isinstance(error, UnicodeEncodeError):
        return errors.ParameterError(f"a text parameter cannot be encoded as UTF-8: {error.reason}")
    if not isinstance(error, sqlite3.Error):
        return None
    code: int | None = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return _misused(error, statement)
    name: str = error.sqlite_errorname
    message = str(error)
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_CONSTRAINT:
        return _integrity(name, message)
    if primary == sqlite3.SQLITE_INTERRUPT:
        return _interrupted(expired_seconds, name)
    if name in ("SQLITE_BUSY_SNAPSHOT", "SQLITE_ABORT_ROLLBACK"):
        return errors.SerializationError(
            f"{message}: another transaction came between; run the transaction again", code=name
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return errors.LockTimeoutError(
            f"{message}: another connection or process kept its lock on {address} longer than busy_timeout;"
            " shorten its transactions or raise connection_options.busy_timeout",
            code=name,
        )
    if primary == sqlite3.SQLITE_READONLY:
        return errors.ReadOnlyError(f"{message} ({address})", code=name)
    if primary == sqlite3.SQLITE_FULL:
        return errors.DiskFullError(
            f"{message}: no space left for {address} (disk, quota or max_page_count)", code=name
        )
    if primary == sqlite3.SQLITE_MISMATCH:
        return errors.ParameterError(f"{message}: an INTEGER PRIMARY KEY takes integers only")
    if primary == sqlite3.SQLITE_CANTOPEN:
        return errors.ConnectError(f"{message}: {address}")
    if primary == sqlite3.SQLITE_NOTADB:
        return errors.UnknownDatabaseError(f"{address} is not a SQLite database ({message})")
    if primary == sqlite3.SQLITE_CORRUPT:
        return errors.UnknownStatementError(
            f"{address} is damaged ({message}); restore it from a backup, or save what is readable with .recover",
            code=name,
        )
    if primary == sqlite3.SQLITE_ERROR:
        return _refused(name, message, statement)
    return errors.UnknownStatementError(f"{message} ({name})", code=name)


def _misused(error: sqlite3.Error, statement: SQLiteStatement | None) -> errors.DatabaseError:
    """What the sqlite3 module itself refuses, before SQLite sees it."""
    message = str(error)
    shown = f" — statement: {statement.fingerprint}" if statement is not None else ""
    if "bindings supplied" in message or "inding parameter" in message or "supply a value for binding" in message:
        return errors.ParameterError(f"{message}{shown}")
    if "closed database" in message:
        return errors.ConnectionLostError("the connection was closed", safe_to_retry=True)
    return errors.UsageError(f"{message}{shown}")


def _interrupted(expired_seconds: float | None, name: str) -> errors.StatementTimeoutError:
    if expired_seconds is None:
        return errors.StatementTimeoutError("the statement was cancelled on request", code=name)
    return errors.StatementTimeoutError(
        f"the statement ran longer than {expired_seconds:g} s and was interrupted", code=name
    )


def _integrity(name: str, message: str) -> errors.IntegrityError:
    kind = _INTEGRITY.get(name, errors.IntegrityError)
    _, _, subject = message.partition("constraint failed: ")
    table = column = constraint = None
    if kind is errors.CheckViolationError:
        constraint = subject or None
    elif subject.startswith("index '"):
        constraint = subject[7:-1]
    elif subject:
        table, _, column = subject.split(", ")[0].partition(".")
        column = ", ".join(part.partition(".")[2] for part in subject.split(", "))
    return kind(message, code=name, table=table or None, column=column or None, constraint=constraint)


def _refused(name: str, message: str, statement: SQLiteStatement | None) -> errors.StatementError:
    """What SQLite could not compile, with the place where it can be told."""
    source = statement.source if statement is not None else ""
    if message == "incomplete input":
        return errors.StatementSyntaxError(message, code=name, position=len(source) + 1)
    if match := _FAULTY_TOKEN.match(message):
        return _syntax(message, name, source, match["token"])
    if match := _UNKNOWN_NAME.match(message):
        subject = match["name"]
        return _syntax(
            message,
            name,
            source,
            subject.rpartition(".")[2],
            table=subject if match["kind"] == "table" else None,
            column=subject if match["kind"] in ("column", None) else None,
        )
    if match := _NO_COLUMN.match(message):
        return _syntax(message, name, source, match["name"], table=match["table"], column=match["name"])
    if _MISCOUNTED.search(message):
        return errors.StatementSyntaxError(message, code=name)
    return errors.UnknownStatementError(message, code=name)


def _syntax(
    message: str, code: str, source: str, token: str, *, table: str | None = None, column: str | None = None
) -> errors.StatementSyntaxError:
    """SQLite names the token and not the place (sqlite3 does not offer ``sqlite3_error_offset``): it is told if
    unique."""
    bounded = re.escape(token)
    if token[:1].isalnum() or token[:1] == "_":
        bounded = rf"(?<![\w]){bounded}(?![\w])"
    places = [match.start() + 1 for match in re.finditer(bounded, source)] if token else []
    position = places[0] if len(places) == 1 else None
    where = f" at character {position}" if position is not None else ""
    return errors.StatementSyntaxError(f"{message}{where}", code=code, position=position, table=table, column=column)
