"""Errors for code that was written for Tortoise: each is Tortoise's own kind and Sillar's at once.

A unique violation is caught by ``except tortoise.exceptions.IntegrityError`` and by ``except
sillar.errors.UniqueViolationError`` alike, and keeps what both say of it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from tortoise import exceptions

from sillar import errors


def translated(error: errors.DatabaseError) -> Exception:
    """The error that Tortoise's code gets in the place of Sillar's: a subclass of both, with the same message.

    Misuse (another task's transaction, a closed manager) stays Sillar's ``UsageError``: no code of Tortoise knows it.
    """
    counterpart = _counterpart(error)
    if counterpart is None or isinstance(error, counterpart):
        return error
    both: Any = _both
    kind = both(counterpart, type(error))
    twin: Exception = kind.__new__(kind)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    return twin


def _counterpart(error: errors.DatabaseError) -> type[exceptions.BaseORMException] | None:
    if isinstance(error, errors.IntegrityError):
        return exceptions.IntegrityError
    if isinstance(error, errors.ConnectError):
        return exceptions.DBConnectionError
    if isinstance(error, (errors.StatementError, errors.UnavailableError, errors.ParameterError)):
        return exceptions.OperationalError
    return None


@cache
def _both(counterpart: type[Exception], kind: type[errors.DatabaseError]) -> Any:
    """One class for each pair; it shows the name of Sillar's class, which says more."""
    return type(kind.__name__, (counterpart, kind), {"__module__": kind.__module__, "__doc__": kind.__doc__})
