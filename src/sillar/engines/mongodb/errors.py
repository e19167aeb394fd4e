"""PyMongo's exceptions in Sillar's hierarchy.

Source: MongoDB manual, "Error Codes"; driver specifications, "Transactions" (error labels) and "Retryable Writes".
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import bson.errors
import pymongo.errors as driver

from sillar import errors
from sillar.engines.mongodb.compiler.failures import failure_in
from sillar.engines.mongodb.wording import plain_message

_STATEMENT_ERRORS: Final[dict[int, type[errors.StatementError]]] = {
    11000: errors.UniqueViolationError,
    11001: errors.UniqueViolationError,
    12582: errors.UniqueViolationError,
    121: errors.CheckViolationError,
    112: errors.SerializationError,
    24: errors.LockTimeoutError,
    50: errors.StatementTimeoutError,
    262: errors.StatementTimeoutError,
    14031: errors.DiskFullError,
    2: errors.StatementSyntaxError,
    9: errors.StatementSyntaxError,
    14: errors.StatementSyntaxError,
    26: errors.StatementSyntaxError,
    27: errors.StatementSyntaxError,
    40: errors.StatementSyntaxError,
    52: errors.StatementSyntaxError,
    59: errors.StatementSyntaxError,
    73: errors.StatementSyntaxError,
    168: errors.StatementSyntaxError,
    15959: errors.StatementSyntaxError,
    31325: errors.StatementSyntaxError,
    40324: errors.StatementSyntaxError,
    40415: errors.StatementSyntaxError,
    10107: errors.ReadOnlyError,
    13435: errors.ReadOnlyError,
    10058: errors.ReadOnlyError,
    241: errors.DataError,
}
_ZERO: Final = re.compile(r"\$(divide|mod)\b.* (by|with) zero|\$(divide|mod) by zero")
_AUTHENTICATION: Final = frozenset({11, 13, 18, 8000})
_LOST: Final = frozenset({6, 7, 89, 91, 189, 9001, 11600, 11602, 13436})
"""The operation may have done a part of its work; with ``NotWritablePrimary`` and its kin it was not begun.

Source: driver specification "Server Discovery And Monitoring" ("node is recovering", "not writable primary").
"""
_INDEX: Final = re.compile(r"index:\s+(\S+)")
_UNTRUSTED: Final = re.compile(r"certificate verify failed: (.+?)\.? \(_ssl\.c")
_TLS: Final = re.compile(r"\[SSL(?:: (\w+)|\])|(?=SSL handshake failed)")
_NODE: Final = re.compile(r"^\S+:\d+: ")
_HANDSHAKE: Final = "SystemOverloadedError"
"""The driver's label for what broke while a connection was being opened."""


def statement_error(
    error: BaseException,
    *,
    node: str,
    collection: str,
    names: Collection[str] = (),
    safe_to_retry: bool = False,
    in_transaction: bool = False,
    timeout_seconds: float | None = None,
    failures: Collection[BaseException] = (),
) -> errors.DatabaseError | None:
    """The error for a failed command, or None where it is none of the driver's (a cancellation, a defect).

    Args:
        node: where it ran.
        collection: on which collection.
        names: names of fields and operators in the command, which a message may repeat; everything else in quotes could
            be a value.
        safe_to_retry: whether the command certainly did not write.
        in_transaction: a transaction was open.
        timeout_seconds: the time it was allowed.
        failures: what the driver's monitors met last.
    """
    translated = parameter_error(error)
    if translated is None and isinstance(error, (driver.NotPrimaryError, driver.OperationFailure)):
        translated = _server_error(error, collection, names, safe_to_retry, in_transaction, timeout_seconds)
    elif translated is None and isinstance(error, driver.PyMongoError):
        translated = _driver_error(error, node, safe_to_retry or in_transaction, timeout_seconds, failures)
    return None if translated is None else translated.at(node=node)


def parameter_error(error: BaseException) -> errors.DatabaseError | None:
    """The error for what the driver refused to send, or None. The driver's own message may quote the document."""
    if isinstance(error, driver.DocumentTooLarge):
        return errors.ParameterError(
            "a document is larger than the server takes (16 MiB, as a rule); store large data in GridFS or outside"
        )
    if isinstance(error, OverflowError):
        return errors.ParameterError(
            "an integer needs more than the 64 bits that MongoDB has; send it as text or Decimal"
        )
    if isinstance(error, (bson.errors.BSONError, UnicodeError)):
        what = ""
        if "keys must" in str(error) or "must not contain" in str(error) or "key" in str(error):
            what = ": keys are strings without NUL characters"
        return errors.ParameterError(f"a document cannot be encoded as BSON ({type(error).__name__}){what}")
    if isinstance(error, (driver.InvalidOperation, driver.ConfigurationError)) or _is_refused_argument(error):
        return errors.ParameterError(f"the driver refused the arguments: {plain_message(str(error), ())}")
    return None


def _is_refused_argument(error: BaseException) -> bool:
    """Whether the driver raised it on looking at an argument, not our code by a defect."""
    if not isinstance(error, (TypeError, ValueError)) or error.__traceback__ is None:
        return False
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] in ("pymongo", "bson")


def _server_error(
    error: driver.NotPrimaryError | driver.OperationFailure,
    collection: str,
    names: Collection[str],
    safe_to_retry: bool,
    in_transaction: bool,
    timeout_seconds: float | None,
) -> errors.DatabaseError:
    details: Mapping[str, Any] = error.details if isinstance(error.details, Mapping) else {}
    first, counts = _first_write_error(details)
    code = int(first.get("code") or getattr(error, "code", None) or details.get("code") or 0)
    message = plain_message(str(first.get("errmsg") or details.get("errmsg") or "the server gave no reason"), names)
    if code in _AUTHENTICATION:
        return errors.AuthenticationError(
            f"the server refuses this user: {message} [{code}]; check user, password and roles"
        )
    if code in _LOST:
        return errors.ConnectionLostError(
            f"the server ended the operation: {message} [{code}]", safe_to_retry=safe_to_retry or in_transaction
        )
    raw = str(first.get("errmsg") or details.get("errmsg"))
    kind = errors.DataError if _ZERO.search(raw) else _STATEMENT_ERRORS.get(code, errors.UnknownStatementError)
    message = failure_in(raw) or message
    if error.has_error_label("TransientTransactionError"):
        kind = errors.SerializationError
        if code == 251:
            message = "the server has aborted this transaction (an earlier error, a conflict, or its time limit)"
    if isinstance(error, driver.BulkWriteError) and not first:
        return _write_concern_error(details, counts)
    if isinstance(error, driver.WriteConcernError):
        return _write_concern_error({"writeConcernErrors": [details]}, counts)
    constraint = column = None
    if kind is errors.UniqueViolationError:
        constraint, column = _violated_index(first or details)
        message = f"{collection} has a document with this value of {column or 'the key'} already" + (
            f" (index {constraint})" if constraint else ""
        )
    elif kind is errors.CheckViolationError:
        column = _violated_property(first or details)
        message = f"a document does not pass the validator of {collection}" + (f" (field {column})" if column else "")
    elif kind is errors.StatementTimeoutError:
        message = _timeout_message(timeout_seconds)
    return kind(
        f"{message} [{code}]", code=code, constraint=constraint, table=collection or None, column=column, detail=counts
    )


def _first_write_error(details: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, int]]:
    """The first refused document of a bulk write, and how much was written before it."""
    counts = {
        word: int(details[name])
        for name, word in (
            ("nInserted", "inserted"),
            ("nMatched", "matched"),
            ("nModified", "modified"),
            ("nRemoved", "deleted"),
            ("nUpserted", "upserted"),
        )
        if name in details
    }
    refused = details.get("writeErrors") or []
    if not refused:
        return {}, counts
    counts["index"] = int(refused[0].get("index", 0))
    return refused[0], counts


def _write_concern_error(details: Mapping[str, Any], counts: Mapping[str, int]) -> errors.DatabaseError:
    first = (details.get("writeConcernErrors") or [{}])[0]
    code = int(first.get("code") or 64)
    return errors.UnknownStatementError(
        f"the write was applied, but not confirmed by as many members as asked for [{code}]; look before you repeat it",
        code=code,
        detail=counts,
    )


def _violated_index(details: Mapping[str, Any]) -> tuple[str | None, str | None]:
    found = _INDEX.search(str(details.get("errmsg", "")))
    pattern = details.get("keyPattern")
    return found[1] if found else None, ", ".join(pattern) if isinstance(pattern, Mapping) else None


def _violated_property(details: Mapping[str, Any]) -> str | None:
    return next(_properties(details.get("errInfo")), None)


def _properties(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if "propertyName" in node:
            yield str(node["propertyName"])
        yield from map(str, node.get("missingProperties", ()))
        for inner in node.values():
            yield from _properties(inner)
    elif isinstance(node, (list, tuple)):
        for inner in node:
            yield from _properties(inner)


def _timeout_message(timeout_seconds: float | None) -> str:
    limit = "the time allowed" if timeout_seconds is None else f"{timeout_seconds:.3g} s"
    return f"the command ran longer than {limit} and was ended on the server; raise the limit or look at its plan"


def _driver_error(
    error: driver.PyMongoError,
    node: str,
    safe_to_retry: bool,
    timeout_seconds: float | None,
    failures: Collection[BaseException],
) -> errors.DatabaseError:
    if isinstance(error, driver.WaitQueueTimeoutError):
        return errors.PoolTimeoutError("no connection of the driver's pool came free in time")
    if isinstance(error, driver.ServerSelectionTimeoutError):
        return connect_error(error, node=node, failures=failures)
    if isinstance(error, driver.ConnectionFailure):
        if error.has_error_label(_HANDSHAKE) or _tls_failure(error, node) is not None:
            return connect_error(error, node=node)
        if error.timeout and timeout_seconds is not None:
            return errors.StatementTimeoutError(_timeout_message(timeout_seconds), code=50)
        return errors.ConnectionLostError(
            f"the connection to {node} broke ({type(error).__name__})", safe_to_retry=safe_to_retry
        )
    return errors.UnknownStatementError(f"{type(error).__name__}: {plain_message(str(error), ())}")


def connect_error(
    error: BaseException, *, node: str, failures: Collection[BaseException] = (), seconds: float | None = None
) -> errors.DatabaseError:
    """The error for a failed connect.

    Args:
        node: where it should have led.
        failures: what the driver's monitors met last, one for each server.
        seconds: how long servers were looked for.
    """
    tls = next((found for each in (error, *failures) if (found := _tls_failure(each, node))), None)
    if tls is not None:
        return tls.at(node=node)
    if isinstance(error, driver.OperationFailure) and error.code in _AUTHENTICATION:
        return errors.AuthenticationError(
            f"{node} refuses the login: {plain_message(str((error.details or {}).get('errmsg', '')), ())}"
            f" [{error.code}]; check user, password and auth_source"
        ).at(node=node)
    looked = f" within {seconds:g} s" if seconds is not None else ""
    silent = ": none has answered; is the port right, and does it speak TLS if TLS is configured?"
    why = next((f": {_reason(cause)}" for cause in failures), silent)
    if isinstance(error, driver.ServerSelectionTimeoutError):
        return errors.ConnectError(f"no suitable server was found at {node}{looked}{why}").at(node=node)
    return errors.ConnectError(
        f"{node} cannot be reached ({type(error).__name__});"
        " a server at its limit of connections closes new ones at once"
    ).at(node=node)


def _reason(error: BaseException) -> str:
    inner = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    text = str(inner).partition(" (configured timeouts")[0]
    return _NODE.sub("", text) or type(inner).__name__


def _tls_failure(error: BaseException, node: str) -> errors.CertificateError | None:
    """What is wrong with TLS, or None where it is something else.

    The driver's monitors strip the causes from their errors, so for them only the text tells.
    """
    texts = []
    seen: BaseException | None = error
    while seen is not None:
        texts.append(str(seen))
        seen = seen.__cause__ or seen.__context__
    for text in reversed(texts):
        if found := _UNTRUSTED.search(text):
            return errors.CertificateError(
                f"the certificate of {node} is not trusted: {found[1]}; give the right ca_file or server_hostname"
            )
        if found := _TLS.search(text):
            return errors.CertificateError(f"TLS with {node} failed: {found[1] or 'the handshake was refused'}")
    return None
