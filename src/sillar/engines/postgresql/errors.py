"""asyncpg's exceptions in Sillar's hierarchy.

Source: PostgreSQL documentation, appendix A "PostgreSQL Error Codes".
"""

from __future__ import annotations

import asyncio
import re
import ssl
from typing import Final

import asyncpg

from sillar import errors

_STATEMENT_ERRORS: Final[dict[str, type[errors.StatementError]]] = {
    "23505": errors.UniqueViolationError,
    "23P01": errors.UniqueViolationError,  # exclusion constraint: the generalised unique
    "23503": errors.ForeignKeyViolationError,
    "23001": errors.ForeignKeyViolationError,
    "23502": errors.NotNullViolationError,
    "23514": errors.CheckViolationError,
    "44000": errors.CheckViolationError,  # WITH CHECK OPTION
    "40001": errors.SerializationError,
    "40P01": errors.DeadlockError,
    "55P03": errors.LockTimeoutError,
    "25006": errors.ReadOnlyError,
    "53100": errors.DiskFullError,
}
_SYNTAX_CODES: Final = frozenset(
    {"42601", "42P01", "42703", "42883", "42704", "42P02", "42702", "42725", "3F000", "42P10", "42803", "42804"}
)
_LOST_CODES: Final = frozenset({"57P01", "57P02", "57P05", "25P03"})
_MISMATCH: Final = re.compile(r"the server expects (\d+) arguments? for this query, (\d+) (?:was|were) passed")
_INVALID_INPUT: Final = re.compile(r"invalid input for query argument (\$\d+)", re.IGNORECASE)
_QUOTED: Final = re.compile(r"""(: |value )".*\"""", re.DOTALL)  # to the last quote: a value may have some itself
_EXPECTED: Final = re.compile(r"\(([^()]*)\)\s*$", re.DOTALL)


def statement_error(
    error: BaseException, *, address: str, safe_to_retry: bool, timeout_seconds: float | None
) -> errors.DatabaseError | None:
    """The error for a failed statement, or None where it is none of the driver's (a cancellation, a defect)."""
    translated = _statement_error(error, safe_to_retry=safe_to_retry, timeout_seconds=timeout_seconds)
    return None if translated is None else translated.at(node=address)


def refused_by_driver(error: BaseException) -> bool:
    """Whether asyncpg itself refused a parameter, so that nothing was sent. (Its error is one of the server's
    classes.)"""
    return isinstance(error, (asyncpg.DataError, asyncpg.InterfaceError)) and "query argument" in str(error)


def never_sent(error: BaseException) -> bool:
    """Whether asyncpg refused to send: the server has said goodbye on this connection, and its socket is still open."""
    return isinstance(error, asyncpg.InternalClientError) and str(error).startswith("cannot switch to state")


def is_lost(error: BaseException) -> bool:
    """Whether the session broke under a statement that was sent: nobody knows whether it was executed."""
    if isinstance(error, asyncpg.PostgresError):
        code: str = error.sqlstate or ""
        return code in _LOST_CODES or code.startswith("08")
    return isinstance(error, (OSError, asyncpg.InternalClientError))


def _statement_error(
    error: BaseException, *, safe_to_retry: bool, timeout_seconds: float | None
) -> errors.DatabaseError | None:
    if refused_by_driver(error) and _INVALID_INPUT.search(str(error)):
        return _parameter_error(str(error))
    if isinstance(error, asyncpg.PostgresError):
        return _server_error(error, safe_to_retry)
    if isinstance(error, asyncpg.InterfaceError):
        return _interface_error(str(error), safe_to_retry)
    if isinstance(error, asyncio.TimeoutError):
        limit = "the time allowed" if timeout_seconds is None else f"{timeout_seconds:.3g} s"
        return errors.StatementTimeoutError(
            f"the statement ran longer than {limit} and was cancelled; raise the limit or look at its plan",
            code="57014",
        )
    if never_sent(error):
        return errors.ConnectionLostError(
            "the server ended the connection before the statement was sent", safe_to_retry=safe_to_retry
        )
    if isinstance(error, (OSError, asyncpg.InternalClientError)):
        return errors.ConnectionLostError(
            f"the connection broke: {error or type(error).__name__}", safe_to_retry=safe_to_retry
        )
    if isinstance(error, OverflowError):
        return errors.ParameterError("a number is out of range for the type of its parameter")
    return None


def _server_error(error: asyncpg.PostgresError, safe_to_retry: bool) -> errors.DatabaseError:
    code: str = error.sqlstate or ""
    message = str(getattr(error, "message", None) or error)
    if code in _LOST_CODES or code.startswith("08"):
        return errors.ConnectionLostError(f"the server ended the connection: {message}", safe_to_retry=safe_to_retry)
    if code == "53300":
        return errors.TooManyConnectionsError(f"the server refuses a further session: {message}")
    if code == "57P03":
        return errors.ConnectError(f"the server does not take connections now: {message}")
    if code in ("42P08", "42P18"):
        return errors.ParameterError(
            f"{message}: say its type in the statement (CAST(:name AS type)), or use two names"
        )
    kind: type[errors.StatementError]
    if code == "57014":
        if "statement timeout" in message:
            kind = errors.StatementTimeoutError
            message += "; raise statement_timeout or look at its plan"
        else:
            kind = errors.UnknownStatementError
    elif code in _SYNTAX_CODES:
        kind = errors.StatementSyntaxError
    elif code == "25P02":
        kind = errors.UnknownStatementError
        message += " (an earlier statement failed: roll back, or run what may fail in a nested transaction)"
    elif code.startswith("23") and code not in _STATEMENT_ERRORS:
        kind = errors.IntegrityError
    elif code.startswith("22"):
        kind = errors.DataError
    else:
        kind = _STATEMENT_ERRORS.get(code, errors.UnknownStatementError)
    if kind is errors.DataError:
        message = _QUOTED.sub(r"\1 …", message)
    position = getattr(error, "position", None)
    hint = getattr(error, "hint", None)
    return kind(
        f"{message} ({hint})" if hint else message,
        code=code,
        constraint=getattr(error, "constraint_name", None),
        table=getattr(error, "table_name", None),
        column=getattr(error, "column_name", None),
        position=int(position) if position else None,
        detail={"schema": schema} if (schema := getattr(error, "schema_name", None)) else None,
    )


def _interface_error(message: str, safe_to_retry: bool) -> errors.DatabaseError:
    if match := _MISMATCH.search(message):
        return errors.ParameterError(f"the statement has {match[1]} parameters, {match[2]} were given")
    if "another operation" in message:
        return errors.UsageError(
            "this connection runs a statement of another task already; a transaction belongs to one task at a time"
        )
    if "closed" in message or "released" in message:
        return errors.ConnectionLostError(f"the connection is closed: {message}", safe_to_retry=safe_to_retry)
    return errors.UsageError(message)


def _parameter_error(message: str) -> errors.ParameterError:
    """Names the parameter and what it takes; the driver's message has the value itself, which may be a secret."""
    which = _INVALID_INPUT.search(message)
    expected = _EXPECTED.search(message)
    what = f"parameter {which[1]}" if which else "a parameter"
    return errors.ParameterError(
        f"{what} has a value of the wrong type{f': {expected[1]}' if expected and which else ''}"
    )


def connect_error(error: BaseException, *, address: str) -> errors.DatabaseError | None:
    """The error for a failed connect, or None where it is no failure of connecting."""
    translated = _connect_error(error, address)
    return None if translated is None else translated.at(node=address)


def _connect_error(error: BaseException, address: str) -> errors.DatabaseError | None:
    if isinstance(error, asyncpg.PostgresError):
        code = error.sqlstate or ""
        message = str(getattr(error, "message", None) or error)
        if code in ("28000", "28P01"):
            if "no encryption" in message or "SSL" in message:
                return errors.AuthenticationError(
                    f"{address} refuses this login without TLS: {message}; set ssl_config"
                )
            return errors.AuthenticationError(f"{address} refuses the login: {message}; check user and password")
        if code == "3D000" or code == "42501":
            return errors.UnknownDatabaseError(f"{address}: {message}")
        if code == "53300":
            return errors.TooManyConnectionsError(
                f"{address} refuses a further session: {message}; lower max_connections or raise the server's limit"
            )
        return errors.ConnectError(f"{address}: {message} [{code}]")
    if isinstance(error, ssl.SSLCertVerificationError):
        return errors.CertificateError(
            f"the certificate of {address} is not trusted: {error.verify_message};"
            " give the right ca_file or server_hostname"
        )
    if isinstance(error, ssl.SSLError):
        return errors.CertificateError(f"TLS with {address} failed: {error.reason or error}")
    if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
        return errors.CertificateError(
            f"{address} does not offer TLS; enable it there or set ssl_config.mode = disable"
        )
    if isinstance(error, (OSError, asyncio.TimeoutError)):
        return errors.ConnectError(f"{address} cannot be reached: {error or type(error).__name__}")
    if isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError)):
        return errors.ConnectError(f"{address}: {error}")
    return None
