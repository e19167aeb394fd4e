"""Sillar in a FastAPI application: sessions for routes, request context, problem responses, health and metrics."""

from sillar.fastapi.dependencies import (
    DatabaseSessionDep,
    DatabaseTransactionDep,
    ManagerDep,
    get_database_manager,
    get_database_session,
    session_dependency,
    transaction_dependency,
)
from sillar.fastapi.health import health_router
from sillar.fastapi.integration import FastAPIDatabaseIntegration
from sillar.fastapi.problems import NotFoundError, add_problem_handlers, found
from sillar.fastapi.request_context import RequestContextMiddleware

__all__ = [
    "DatabaseSessionDep",
    "DatabaseTransactionDep",
    "FastAPIDatabaseIntegration",
    "ManagerDep",
    "NotFoundError",
    "RequestContextMiddleware",
    "add_problem_handlers",
    "found",
    "get_database_manager",
    "get_database_session",
    "health_router",
    "session_dependency",
    "transaction_dependency",
]
