"""Everything at once: a manager in a FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from sillar.causal_tokens import CausalTokens
from sillar.errors import UsageError
from sillar.fastapi.dependencies import MANAGER_KEY
from sillar.fastapi.problems import add_problem_handlers
from sillar.fastapi.request_context import RequestContextMiddleware
from sillar.manager import DatabaseManager


class FastAPIDatabaseIntegration:
    """Puts a manager into an application, before it serves its first request.

    The three methods are independent of each other, and calling one again changes nothing.

    Args:
        app: the application.
        db_manager: the manager; it opens with the application (:meth:`setup_lifespan`) or by other means.

    Attributes:
        app: the application.
        db_manager: the manager.
    """

    def __init__(self, app: FastAPI, db_manager: DatabaseManager) -> None:
        self.app = app
        self.db_manager = db_manager

    def setup_dependencies(self) -> None:
        """Let the dependencies of this application, and of those mounted in it, find the manager.

        Raises:
            UsageError: the application has another manager.
        """
        known = getattr(self.app.state, "database_manager", None)
        if known is self.db_manager and self._middleware_options(_ManagerInScope):
            return
        if known is not None and known is not self.db_manager:
            raise UsageError(
                f"this application has another manager already, {known!r}: describe all databases in one configuration,"
                " or mount a second application"
            )
        self.app.state.database_manager = self.db_manager
        self.app.add_middleware(_ManagerInScope, manager=self.db_manager)

    def setup_middleware(
        self,
        *,
        accept_correlation_id: bool = True,
        deadline_seconds: float | None = None,
        deadline_header: str | None = "X-Request-Timeout",
        deadline_max_seconds: float = 60.0,
        cancel_on_disconnect: bool = True,
        causal_tokens: CausalTokens | None = None,
        causal_header: str = "X-Causal-Token",
    ) -> None:
        """Run requests under a correlation id and a deadline, and answer database errors with problem responses.

        Args:
            See :class:`RequestContextMiddleware`.

        Raises:
            UsageError: it was set up with other options before, or an option is out of range.
        """
        options: dict[str, Any] = {
            "accept_correlation_id": accept_correlation_id,
            "deadline_seconds": deadline_seconds,
            "deadline_header": deadline_header,
            "deadline_max_seconds": deadline_max_seconds,
            "cancel_on_disconnect": cancel_on_disconnect,
            "causal_tokens": causal_tokens,
            "causal_header": causal_header,
        }
        known = self._middleware_options(RequestContextMiddleware)
        if known is not None:
            if known != options:
                raise UsageError(f"the middleware has other options already: {known}")
            return
        RequestContextMiddleware(self.app, **options)  # refuses bad options now, not at the first request
        self.app.add_middleware(RequestContextMiddleware, **options)
        add_problem_handlers(self.app)

    def setup_lifespan(self) -> None:
        """Open the manager before the lifespan that the application has, and close it after.

        An application made with ``lifespan=manager.lifespan`` opens it already, and stays as it is.
        """
        existing = self.app.router.lifespan_context
        opened_here: tuple[DatabaseManager, ...] = getattr(self.app.state, "sillar_lifespans", ())
        if getattr(existing, "__self__", None) is self.db_manager or self.db_manager in opened_here:
            return
        self.app.state.sillar_lifespans = (*opened_here, self.db_manager)
        self.app.router.lifespan_context = _composed(self.db_manager, existing)

    def _middleware_options(self, kind: Any) -> dict[str, Any] | None:
        return next((each.kwargs for each in self.app.user_middleware if each.cls is kind), None)


def _composed(manager: DatabaseManager, existing: Any) -> Any:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(manager.lifespan(app))
                state = await stack.enter_async_context(existing(app))
            except UsageError as error:
                error.add_note(
                    "setup_lifespan() opens the manager together with the application: open it nowhere else (neither"
                    " manager.lifespan in the application's own lifespan, nor initialize()), or leave setup_lifespan()"
                    " out"
                )
                raise
            yield state

    return lifespan


class _ManagerInScope:
    """Leaves the manager in the scope, which mounted applications see as well."""

    def __init__(self, app: ASGIApp, manager: DatabaseManager) -> None:
        self._app, self._manager = app, manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope[MANAGER_KEY] = self._manager
        await self._app(scope, receive, send)
