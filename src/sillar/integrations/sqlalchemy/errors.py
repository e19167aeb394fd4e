"""SQLAlchemy's errors as Sillar's."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exc

from sillar.engines.connection import DriverConnection
from sillar.errors import DatabaseError, ParameterError, UsageError
from sillar.integrations.sqlalchemy.bridge import Bridge


def translated_by(
    error: BaseException, bridge: Bridge, connection: DriverConnection[Any] | None, *, safe_to_retry: bool = False
) -> DatabaseError | None:
    """The error of :mod:`sillar.errors` that stands for one of SQLAlchemy's, with the driver's own as its cause; None
    where it is none of SQLAlchemy's or the driver's.

    Args:
        error: what SQLAlchemy raised.
        bridge: of the driver.
        connection: where it happened, if that is known.
        safe_to_retry: the statement certainly did not write.
    """
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, exc.DBAPIError) and error.orig is not None:
        return bridge.translate(error.orig, connection, safe_to_retry=safe_to_retry)
    if isinstance(error, exc.StatementError):  # before anything was sent
        cause = error.orig
        if isinstance(cause, exc.SQLAlchemyError):
            kind = ParameterError if isinstance(cause, exc.InvalidRequestError) else UsageError
            return _caused(kind(str(cause.args[0])), error)
        return _caused(
            ParameterError(f"a parameter has a value that its column type does not take ({type(cause).__name__})"),
            error,
        )
    if isinstance(error, exc.SQLAlchemyError):
        return _caused(UsageError(str(error.args[0] if error.args else error)), error)
    if type(error).__module__.partition(".")[0] == bridge.driver_module:  # what SQLAlchemy did not expect of its driver
        return bridge.translate(error, connection, safe_to_retry=safe_to_retry)
    return None


def _caused(found: DatabaseError, cause: BaseException) -> DatabaseError:
    found.__cause__ = cause
    return found
