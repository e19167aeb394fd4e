"""Opens connections with the credentials of that moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from sillar.config import DatabaseCredentials
from sillar.engines import DriverConnection
from sillar.errors import AuthenticationError, DatabaseError
from sillar.security.credential_manager import DatabaseCredentialManager
from sillar.security.lease import CredentialLease

_log = structlog.get_logger("sillar.credentials")
_LOGINS_MAX: Final = 3
_MARGIN, _MARGIN_SECONDS = 0.1, 30.0  # of what is left of a lease, a connection does not live to see


async def open_with_credentials(
    manager: DatabaseCredentialManager,
    database_name: str,
    open_connection: Callable[[DatabaseCredentials], Awaitable[DriverConnection[Any]]],
) -> DriverConnection[Any]:
    """Open a connection; where the server refuses the login, once more with what the source says then, if it is new.

    Only credentials that the server has not seen yet are tried, so a wrong password costs one attempt.

    Raises:
        AuthenticationError: the server refuses, and the source has nothing else.
        As ``DatabaseCredentialManager.get_credentials``, and as ``open_connection``.
    """
    lease = await manager.lease(database_name)
    logins = 1
    while True:
        try:
            connection = await open_connection(lease.credentials)
            break
        except AuthenticationError as error:
            other = await _replacement(manager, database_name, lease, error)
            if other is None or logins == _LOGINS_MAX:
                raise
            lease, logins = other, logins + 1
    manager.worked(database_name, lease.credentials)
    if lease.ends:
        seconds = lease.valid_until - manager.now()
        # The pool makes it earlier if its own limit is, never later.
        connection.expires_at = asyncio.get_running_loop().time() + seconds - min(_MARGIN_SECONDS, seconds * _MARGIN)
    return connection


async def other_credentials(
    manager: DatabaseCredentialManager, database_name: str, refused: DatabaseCredentials
) -> DatabaseCredentials | None:
    """Other credentials than those that a server has refused, or None; for an engine that opens connections itself."""
    try:
        other = await manager.replacement(database_name, refused)
    except DatabaseError as error:
        _log.warning("other credentials not found", database=database_name, error=str(error))
        return None
    return None if other is None else other.credentials


async def _replacement(
    manager: DatabaseCredentialManager, database_name: str, refused: CredentialLease, error: AuthenticationError
) -> CredentialLease | None:
    try:
        return await manager.replacement(database_name, refused.credentials)
    except DatabaseError as failure:
        error.add_note(f"other credentials could not be had: {failure}")
        return None
