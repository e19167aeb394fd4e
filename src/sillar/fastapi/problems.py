"""Errors as problem responses (RFC 9457): what a client may know, and nothing of the inside.

The texts are fixed per kind of problem: no statement, value, constraint or address of a database ever reaches a client.
What is behind a problem is logged, under the correlation id that the response carries.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

import structlog
from fastapi import FastAPI, HTTPException
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse, Response
from fastapi.websockets import WebSocket
from starlette.exceptions import HTTPException as StarletteHTTPException

from sillar import errors
from sillar.context import current_correlation_id

_log = structlog.get_logger("sillar.fastapi")
T = TypeVar("T")

TYPE_PREFIX: Final = "urn:sillar:problem:"
"""What the ``type`` of a problem begins with."""


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One kind of problem.

    Attributes:
        name: the end of its ``type``.
        status: the HTTP status.
        title: a short summary, the same for every occurrence.
        detail: what a client can do.
        retry_after_seconds: the ``Retry-After`` header where the error does not know better; None is no header.
    """

    name: str
    status: int
    title: str
    detail: str
    retry_after_seconds: int | None = None


_UNAVAILABLE: Final = ProblemKind(
    "unavailable", 503, "The service cannot reach its database", "Nothing was changed; try again later.", 1
)
_CONTENTION: Final = ProblemKind(
    "contention",
    503,
    "Another request was in the way",
    "Concurrent requests changed the same data and this one was rolled back; try again.",
    1,
)
_UNPROCESSABLE: Final = ProblemKind(
    "invalid-value", 422, "A value is not acceptable", "A value is missing or breaks a rule of the data; change it."
)
_INTERNAL: Final = ProblemKind("internal", 500, "Internal error", "The request could not be served.")

PROBLEMS: Final[Mapping[type[errors.DatabaseError], ProblemKind]] = {
    errors.UniqueViolationError: ProblemKind(
        "unique-violation", 409, "Already exists", "Something with this value exists already."
    ),
    errors.ForeignKeyViolationError: ProblemKind(
        "reference-violation",
        409,
        "Reference conflict",
        "What this refers to does not exist, or something still refers to what it would remove.",
    ),
    errors.NotNullViolationError: _UNPROCESSABLE,
    errors.CheckViolationError: _UNPROCESSABLE,
    errors.DataError: _UNPROCESSABLE,
    errors.ParameterError: _UNPROCESSABLE,
    errors.TransientStatementError: _CONTENTION,
    errors.StatementTimeoutError: ProblemKind(
        "timeout", 504, "The database did not answer in time", "The time allowed for this request has passed."
    ),
    errors.ReadOnlyError: _UNAVAILABLE,
    errors.DiskFullError: _UNAVAILABLE,
    errors.UnavailableError: _UNAVAILABLE,
    errors.PoolTimeoutError: ProblemKind(
        "overloaded", 503, "Too many requests at once", "Nothing was changed; try again later.", 1
    ),
    errors.PoolExhaustedError: ProblemKind(
        "overloaded", 503, "Too many requests at once", "Nothing was changed; try again later.", 1
    ),
    errors.OverloadedError: ProblemKind(
        "overloaded", 503, "Too many requests at once", "Nothing was changed; try again later.", 1
    ),
    # Not 503: clients and proxies repeat those by themselves, and this one may have been applied.
    errors.CommitUnknownError: ProblemKind(
        "commit-unknown",
        500,
        "The outcome is unknown",
        "The change may or may not have been applied; look before you send it again.",
    ),
    errors.DatabaseError: _INTERNAL,
}
"""Which problem an error is; the nearest class in the hierarchy counts."""


class NotFoundError(HTTPException):
    """What the client asked for does not exist: 404. ``what`` is shown to the client."""

    def __init__(self, what: str = "the resource") -> None:
        super().__init__(404, f"{what} was not found")


def found(value: T | None, what: str = "the resource") -> T:
    """The value itself, for ``found(await session.fetch_one(...), f"project {id}")``.

    Raises:
        NotFoundError: it is None.
    """
    if value is None:
        raise NotFoundError(what)
    return value


def problem_of(error: errors.DatabaseError) -> ProblemKind:
    """Which problem the error is for a client."""
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def add_problem_handlers(app: FastAPI, *, everything: bool = False) -> None:
    """Answer database errors and :class:`NotFoundError` with problem responses.

    A handler that the application has for them stays. A mounted application has handlers of its own: call this for it,
    too.

    Args:
        everything: also every ``HTTPException``, and FastAPI's validation errors (422), listed under ``errors`` without
            the values that were sent.
    """
    handlers: dict[type[Exception], Callable[..., Any]] = {
        errors.DatabaseError: _database_problem,
        NotFoundError: _http_problem,
    }
    for kind, handler in handlers.items():
        app.exception_handlers.setdefault(kind, handler)
    if everything:  # FastAPI puts handlers of its own there, so these replace them
        handlers = {StarletteHTTPException: _http_problem, RequestValidationError: _validation_problem}
        app.exception_handlers.update(handlers)


def problem_response(
    path: str,
    *,
    name: str | None,
    status: int,
    title: str,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """A problem as JSON; ``name`` None is ``about:blank``, where the status says everything."""
    body: dict[str, Any] = {
        "type": "about:blank" if name is None else TYPE_PREFIX + name,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": path,
        "correlation_id": current_correlation_id(),
        **(more or {}),
    }
    shown = {key: value for key, value in body.items() if value is not None}
    return JSONResponse(shown, status, headers=headers, media_type="application/problem+json")


async def _database_problem(connection: HTTPConnection, error: errors.DatabaseError) -> JSONResponse | None:
    kind = problem_of(error)
    _report(connection, error, kind)
    if isinstance(connection, WebSocket):
        await connection.close(1013 if kind.retry_after_seconds else 1011)  # RFC 6455: try again later, internal error
        return None
    headers = {}
    if kind.retry_after_seconds is not None:
        known = getattr(error, "retry_after_seconds", None)
        headers["Retry-After"] = str(kind.retry_after_seconds if known is None else max(1, math.ceil(known)))
    return problem_response(
        connection.url.path,
        name=kind.name,
        status=kind.status,
        title=kind.title,
        detail=kind.detail,
        headers=headers,
    )


async def _http_problem(connection: HTTPConnection, error: StarletteHTTPException) -> Response | None:
    if isinstance(connection, WebSocket):
        await connection.close(1008, error.detail)
        return None
    if error.status_code < 200 or error.status_code in (204, 205, 304):  # these have no body
        return Response(status_code=error.status_code, headers=error.headers)
    return problem_response(
        connection.url.path,
        name="not-found" if isinstance(error, NotFoundError) else None,
        status=error.status_code,
        title=HTTPStatus(error.status_code).phrase,
        detail=error.detail if isinstance(error.detail, str) else None,
        headers=error.headers,
        more=None if isinstance(error.detail, str) else {"errors": jsonable_encoder(error.detail)},
    )


async def _validation_problem(connection: HTTPConnection, error: RequestValidationError) -> JSONResponse:
    faults = [{"where": list(each["loc"]), "problem": each["msg"], "kind": each["type"]} for each in error.errors()]
    return problem_response(
        connection.url.path,
        name="invalid-request",
        status=422,
        title="The request is not valid",
        detail=f"{len(faults)} fault{'s' if len(faults) != 1 else ''} in the request",
        more={"errors": jsonable_encoder(faults)},
    )


def _report(connection: HTTPConnection, error: errors.DatabaseError, kind: ProblemKind) -> None:
    """Log what the client is not told. A message of the server may quote values of a row, so it stays out."""
    route = connection.scope.get("route")
    event: dict[str, Any] = {
        "correlation_id": current_correlation_id(),
        "status": kind.status,
        "error": type(error).__name__,
        "route": getattr(route, "path", None),
        "database": error.database,
        "node": error.node,
    }
    if isinstance(error, errors.StatementError):
        event.update(code=error.code, constraint=error.constraint, table=error.table, column=error.column)
    if not isinstance(error, errors.StatementError) or isinstance(error, errors.StatementSyntaxError):
        event["message"] = str(error)
    if kind is _INTERNAL or isinstance(error, errors.ParameterError):  # somebody has to change the code
        event["traceback"] = "".join(traceback.format_tb(error.__traceback__))
    shown = {key: value for key, value in event.items() if value is not None}
    if kind.status >= 500 or isinstance(error, errors.ParameterError):
        _log.error("request failed", **shown)
    else:
        _log.info("request refused", **shown)
