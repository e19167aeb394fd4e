"""asyncmy's exceptions in Sillar's hierarchy.

Sources: MySQL 9 "Server Error Message Reference", MariaDB "Error Codes". Messages quote values ("Duplicate entry 'x'"):
only those whose quotes are known to hold names are passed on as they are.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from typing import Any, Final

from asyncmy.errors import Error, InterfaceError, MySQLError

from sillar import errors

_CLIENT_CODES: Final = range(2000, 3000)  # made up by the client library, not sent by the server
_INTERRUPTED: Final = frozenset({1317, 3024, 1969})
LOST_CODES: Final = frozenset({1053, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1927, 3169, 4031})
READ_ONLY_OPTION: Final = 1290
READ_ONLY_TRANSACTION: Final = 1792
"""The transaction is read-only, whatever the server is."""
_UNKNOWN_COMMAND: Final = 1047
_DURING_COMMIT: Final = 1180
_TOO_MANY: Final = frozenset({1040, 1203, 1226, 1461})
_SYNTAX: Final = frozenset({1051, 1054, 1060, 1064, 1072, 1109, 1146, 1149, 1191, 1247, 1304, 1305, 1176, 1582, 1630})
_KINDS: Final[Mapping[int, type[errors.StatementError]]] = {
    1022: errors.UniqueViolationError,
    1062: errors.UniqueViolationError,
    1557: errors.UniqueViolationError,
    1586: errors.UniqueViolationError,
    1169: errors.UniqueViolationError,
    1216: errors.ForeignKeyViolationError,
    1217: errors.ForeignKeyViolationError,
    1451: errors.ForeignKeyViolationError,
    1452: errors.ForeignKeyViolationError,
    1048: errors.NotNullViolationError,
    1364: errors.NotNullViolationError,
    1138: errors.NotNullViolationError,
    1263: errors.NotNullViolationError,
    1566: errors.NotNullViolationError,
    1369: errors.CheckViolationError,  # WITH CHECK OPTION
    3819: errors.CheckViolationError,
    4025: errors.CheckViolationError,
    1213: errors.DeadlockError,
    1614: errors.DeadlockError,
    1205: errors.LockTimeoutError,
    3572: errors.LockTimeoutError,
    1222: errors.LockTimeoutError,
    1020: errors.SerializationError,
    3101: errors.SerializationError,  # another member of the replication group was first
    READ_ONLY_OPTION: errors.ReadOnlyError,
    READ_ONLY_TRANSACTION: errors.ReadOnlyError,
    1836: errors.ReadOnlyError,
    3100: errors.ReadOnlyError,
    1874: errors.ReadOnlyError,
    3: errors.DiskFullError,
    1021: errors.DiskFullError,
    1114: errors.DiskFullError,
    1264: errors.DataError,
    1265: errors.DataError,
    1292: errors.DataError,
    1365: errors.DataError,
    1366: errors.DataError,
    1406: errors.DataError,
    1411: errors.DataError,
    1690: errors.DataError,
    3140: errors.DataError,
    3024: errors.StatementTimeoutError,
    1969: errors.StatementTimeoutError,
    **dict.fromkeys(_SYNTAX, errors.StatementSyntaxError),
}
_NAMES_ONLY: Final = frozenset(
    {1007, 1008, 1044, 1048, 1049, 1050, 1091, 1142, 1143, 1227, 1264, 1265, 1290, 1364, 1369, 1406, 1451, 1452, 1792,
     1836, 3100, 3819, 4025}
) | (_SYNTAX - {1064, 1149})  # fmt: skip
_KEY: Final = re.compile(r"for key '((?:[^'])+)'\s*$")
_FOREIGN_KEY: Final = re.compile(
    r"\(`(?:[^`]*)`\.`([^`]*)`(?:, CONSTRAINT `([^`]*)`)?(?: FOREIGN KEY \(`([^`]*)`\))?", re.DOTALL
)
_COLUMN: Final = re.compile(r"(?:[Cc]olumn|Field) '([^']*)'")
_QUALIFIED_COLUMN: Final = re.compile(r"column (?:`[^`]*`\.)?`([^`]*)`\.`([^`]*)`")
_CHECK: Final = re.compile(r"[Cc]heck constraint '([^']*)'|CONSTRAINT `([^`]*)` failed for `[^`]*`\.`([^`]*)`")
_TABLE: Final = re.compile(r"[Tt]able '(?:[^'.]*\.)?([^']*)'")
_QUOTED: Final = re.compile(r"'(?:[^']|'(?![\s,.;)]|$))*'|\"[^\"]*\"", re.DOTALL)
_READ_ONLY: Final = re.compile(r"read[-_ ]only", re.IGNORECASE)
_NEAR_WORD: Final = re.compile(r"near '(\w+)?.*at line (\d+)\s*$", re.DOTALL)


def server_code(error: BaseException) -> int | None:
    """The error number that the server sent, or None where the error is not the server's."""
    if isinstance(error, MySQLError) and error.args and isinstance(error.args[0], int):
        code: int = error.args[0]
        if code and code not in _CLIENT_CODES:
            return code
    return None


def is_interruption(error: BaseException) -> bool:
    """Whether the server says that it stopped the statement."""
    return server_code(error) in _INTERRUPTED


def is_lost(error: BaseException) -> bool:
    """Whether the connection broke, so that a reply may be missing."""
    code = server_code(error)
    if code is not None:
        return code in LOST_CODES
    return isinstance(error, (MySQLError, OSError)) and not isinstance(error, TimeoutError)


def is_outside_cluster(error: BaseException) -> bool:
    """Whether a member of a Galera cluster says that it is outside the primary component: it has executed nothing."""
    return server_code(error) == _UNKNOWN_COMMAND and "WSREP" in str(error.args[1])


def is_unsure_commit(error: BaseException) -> bool:
    """Whether the server answered a COMMIT with an error that leaves open what became of it.

    It was interrupted, or the write set could not be certified because the node had lost its cluster: the others may
    have got it.
    """
    code = server_code(error)
    return code == 1317 or (code == _DURING_COMMIT and "deadlock" not in str(error.args[1]).lower())


def statement_error(
    error: BaseException, *, address: str, safe_to_retry: bool, timeout_seconds: float | None
) -> errors.DatabaseError | None:
    """The error for a failed statement, or None where it is none of the driver's (a cancellation, a defect)."""
    translated = _statement_error(error, safe_to_retry, timeout_seconds)
    return None if translated is None else translated.at(node=address)


def _statement_error(
    error: BaseException, safe_to_retry: bool, timeout_seconds: float | None
) -> errors.DatabaseError | None:
    if isinstance(error, asyncio.TimeoutError):
        limit = "the time allowed" if timeout_seconds is None else f"{timeout_seconds:.3g} s"
        return errors.StatementTimeoutError(
            f"the statement ran longer than {limit} and was cancelled; raise the limit or look at its plan", code=1317
        )
    code = server_code(error)
    if code is None:
        if isinstance(error, (MySQLError, OSError)):
            return errors.ConnectionLostError(f"the connection broke: {_words(error)}", safe_to_retry=safe_to_retry)
        if isinstance(error, UnicodeDecodeError):
            return errors.ConnectionLostError(
                "the server sent text that is not in the character set of the connection, which was closed therefore;"
                " select such columns as HEX(…) or CAST(… AS BINARY)"
            )
        return None
    message = str(error.args[1]) if len(error.args) > 1 else ""
    if code in LOST_CODES:
        return errors.ConnectionLostError(
            f"the server ended the connection: {message} [{code}]", safe_to_retry=safe_to_retry
        )
    if is_outside_cluster(error):
        return errors.ConnectionLostError(
            f"the server is outside the primary component of its cluster and executes nothing: {message} [{code}]",
            safe_to_retry=safe_to_retry,
        )
    if code in _TOO_MANY:
        return errors.TooManyConnectionsError(f"the server refuses more: {message} [{code}]")
    return server_error(code, message)


def server_error(code: int, message: str) -> errors.StatementError:
    """The error for what the server said of a statement."""
    kind = _KINDS.get(code, errors.UnknownStatementError)
    if code in (_DURING_COMMIT, 1181) and "deadlock" in message.lower():
        kind = errors.SerializationError
    if code == READ_ONLY_OPTION and _READ_ONLY.search(message) is None:  # --secure-file-priv, --skip-grant-tables
        kind = errors.UnknownStatementError
    return kind(_text(code, message), code=code, **_named(code, message))


def _named(code: int, message: str) -> dict[str, Any]:
    """Constraint, table and column, as far as the server names them."""
    if code in (1062, 1586, 1557) and (match := _KEY.search(message)):
        table, _, key = match[1].rpartition(".")
        return {"constraint": key, "table": table or None}
    if code in (1451, 1452) and (match := _FOREIGN_KEY.search(message)):
        return {"table": match[1], "constraint": match[2], "column": match[3]}
    if code in (3819, 4025) and (match := _CHECK.search(message)):
        return {"constraint": match[1] or match[2], "table": match[3]}
    if code == 1146 and (match := _TABLE.search(message)):
        return {"table": match[1]}
    if match := _QUALIFIED_COLUMN.search(message):
        return {"table": match[1], "column": match[2]}
    if (code in _NAMES_ONLY or code in (1366, 1292, 1411)) and (match := _COLUMN.search(message)):
        return {"column": match[1].rpartition(".")[2]}
    return {}


def _text(code: int, message: str) -> str:
    """The server's message without the values that it quotes, and with a remedy where there is one."""
    if code in (1062, 1586):
        match = _KEY.search(message)
        return f"duplicate entry for key {match[1]!r}" if match else "duplicate entry for a key"
    if code in (1064, 1149):
        match = _NEAR_WORD.search(message)
        if match is None:
            return "syntax error"
        return (
            f"syntax error at or near {match[1]!r} in line {match[2]}"
            if match[1]
            else f"syntax error in line {match[2]}"
        )
    if code in (3024, 1969):
        return f"{_without_values(message)}; raise statement_timeout or look at its plan"
    if code == 1205:
        return "a lock was not granted in time; run the transaction again, or raise lock_timeout"
    if code in _NAMES_ONLY:
        return message
    return _without_values(message)


def _without_values(message: str) -> str:
    column = _COLUMN.search(message)
    cut = _QUOTED.sub("'…'", message)
    return f"{cut} (column {column[1]})" if column else cut


def _words(error: BaseException) -> str:
    message = str(error.args[-1]) if error.args else ""
    return message or type(error).__name__


# --- connecting ---


def connect_error(
    error: BaseException, *, address: str, offers_tls: bool | None, wants_tls: bool
) -> errors.DatabaseError | None:
    """The error for a failed connect, or None where it is no failure of connecting.

    Args:
        error: what was raised.
        address: where to.
        offers_tls: whether the server said it can do TLS; None if it did not get as far.
        wants_tls: whether the configuration asks for it.
    """
    translated = _connect_error(error, address, offers_tls, wants_tls)
    return None if translated is None else translated.at(node=address)


def _connect_error(
    error: BaseException, address: str, offers_tls: bool | None, wants_tls: bool
) -> errors.DatabaseError | None:
    if wants_tls and offers_tls is False:
        return errors.CertificateError(
            f"{address} does not offer TLS; enable it there or set ssl_config.mode = disable"
        )
    cause = error.__cause__ if isinstance(error, MySQLError) and isinstance(error.__cause__, OSError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return errors.CertificateError(
            f"the certificate of {address} is not trusted: {cause.verify_message};"
            " give the right ca_file or server_hostname"
        )
    if isinstance(cause, ssl.SSLError):
        return errors.CertificateError(f"TLS with {address} failed: {cause.reason or cause}")
    if isinstance(cause, (OSError, asyncio.TimeoutError)):
        return errors.ConnectError(f"{address} cannot be reached: {cause or type(cause).__name__}")
    code = server_code(error)
    if code is not None:
        return _refused(code, str(error.args[1]) if len(error.args) > 1 else "", address)
    if isinstance(error, InterfaceError | Error):
        return errors.ConnectError(f"{address}: {_words(error)}")
    return None


def _refused(code: int, message: str, address: str) -> errors.DatabaseError:
    if code in (1045, 1698, 1130, 1820, 1862, 3118, 3159, 1251, 1275):
        if code == 3159:
            return errors.AuthenticationError(f"{address} refuses this login without TLS: {message}; set ssl_config")
        return errors.AuthenticationError(f"{address} refuses the login: {message} [{code}]; check user and password")
    if code in (1044, 1049):
        return errors.UnknownDatabaseError(
            f"{address}: {message} [{code}]; the database is not there, or this user may not use it"
        )
    if code in _TOO_MANY:
        return errors.TooManyConnectionsError(
            f"{address} refuses a further session: {message} [{code}];"
            " lower max_connections or raise the server's limit"
        )
    return errors.ConnectError(f"{address}: {message} [{code}]")
