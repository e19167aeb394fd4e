"""Sessions, transactions and the manager as dependencies of routes.

FastAPI reads the annotations of this module while the application is built, so they are not deferred here.
"""

import inspect
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends
from fastapi.requests import HTTPConnection

from sillar.errors import UsageError
from sillar.execution import DatabaseSession
from sillar.manager import DatabaseManager

MANAGER_KEY = "sillar.database_manager"
"""Where ``setup_dependencies`` leaves the manager in the ASGI scope, for mounted applications."""


async def get_database_manager(connection: HTTPConnection) -> DatabaseManager:
    """The manager of the application that serves this request.

    Looked for in ``app.state.database_manager``, then at the applications that this one is mounted in.

    Raises:
        UsageError: the application has none; the message names the remedy.
    """
    manager = getattr(connection.app.state, "database_manager", None) or connection.scope.get(MANAGER_KEY)
    if isinstance(manager, DatabaseManager):
        return manager
    raise UsageError(
        "this application has no database manager: create it with FastAPI(lifespan=manager.lifespan), or call"
        " FastAPIDatabaseIntegration(app, manager).setup_dependencies() (on the outermost application, where others are"
        " mounted); a test client that runs no lifespan needs the latter or app.state.database_manager = manager"
    )


async def get_database_session(
    database_name: str = "default", connection: HTTPConnection | None = None
) -> AsyncGenerator[DatabaseSession, None]:
    """A session for one request: every statement commits by itself, transactions are explicit.

    It is ``Depends(get_database_session)`` for the default database; a client has no say in ``database_name``, which
    FastAPI does not see. For another database use :func:`session_dependency`.

    Args:
        database_name: ``default`` is the default database of the manager.
        connection: the request; FastAPI gives it.

    Raises:
        UsageError: no manager, no such database, or called by hand without the request.
    """
    if connection is None:
        raise UsageError(
            "get_database_session needs the request to find the manager: use Depends(get_database_session), or"
            " Annotated[DatabaseSession, session_dependency('name')] for another database"
        )
    manager = await get_database_manager(connection)
    session = await manager.get_session(_configured_name(manager, database_name))
    try:
        yield session
    finally:
        await session.close()


# Without this FastAPI takes database_name for a query parameter, and a client could choose the database.
get_database_session.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [inspect.Parameter("connection", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=HTTPConnection)]
)


@dataclass(frozen=True, slots=True)
class _SessionOf:
    """A session of one database. Equal ones are one dependency: cached per request, and overridden, together."""

    database_name: str

    async def __call__(self, connection: HTTPConnection) -> AsyncGenerator[DatabaseSession, None]:
        manager = await get_database_manager(connection)
        async with manager.session(_configured_name(manager, self.database_name)) as session:
            yield session


@dataclass(frozen=True, slots=True)
class _TransactionOn:
    """A session that is one transaction, begun by its first statement and ended with the route."""

    database_name: str

    async def __call__(self, connection: HTTPConnection) -> AsyncGenerator[DatabaseSession, None]:
        manager = await get_database_manager(connection)
        async with manager.session(_configured_name(manager, self.database_name), autobegin=True) as session:
            yield session


def session_dependency(database_name: str = "default") -> Any:
    """What :data:`DatabaseSessionDep` is, for a database by name.

    ``AnalyticsDep = Annotated[DatabaseSession, session_dependency("analytics")]``. The session lives until the response
    is sent, and holds a connection only while a statement or transaction of its own runs.
    """
    return Depends(_SessionOf(database_name))


def transaction_dependency(database_name: str = "default") -> Any:
    """What :data:`DatabaseTransactionDep` is, for a database by name.

    The first statement begins the transaction and leases a connection. COMMIT comes when the route has returned and its
    result is serialised, before anything is sent, so a COMMIT that fails is an error response; ROLLBACK when the route
    raises. With FastAPI's own default (``scope="request"``) COMMIT would come after the response: one that fails would
    be a 200 and a lost row.
    """
    return Depends(_TransactionOn(database_name), scope="function")


def _configured_name(manager: DatabaseManager, database_name: str) -> str | None:
    """None, which is the manager's default database, for ``default`` (unless one has that very name)."""
    return None if database_name == "default" and "default" not in manager.config.databases else database_name


DatabaseSessionDep = Annotated[DatabaseSession, Depends(get_database_session)]
"""A session on the default database: statements commit by themselves, ``session.transaction()`` inside."""

DatabaseTransactionDep = Annotated[DatabaseSession, transaction_dependency()]
"""A session on the default database whose statements are one transaction, committed before the response is sent."""

ManagerDep = Annotated[DatabaseManager, Depends(get_database_manager)]
"""The manager."""
