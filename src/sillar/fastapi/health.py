"""Routes for those who run the service: is it alive, is it ready, what are its figures.

FastAPI reads the annotations of this module while the application is built, so they are not deferred here.
"""

from collections.abc import Callable, Collection
from importlib.util import find_spec
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from sillar.errors import UsageError
from sillar.fastapi.dependencies import ManagerDep
from sillar.manager import DatabaseManager

_FRESH = {"Cache-Control": "no-store"}


def health_router(
    *,
    prefix: str = "",
    metrics: bool = True,
    databases: Collection[str] | None = None,
    show_reasons: bool = True,
    include_in_schema: bool = False,
) -> APIRouter:
    """``/health/live``, ``/health/ready`` and ``/metrics``, for ``app.include_router(health_router())``.

    Liveness never touches a database: restarting the process does not help one that is down. Readiness asks every
    database, all at once, each for at most two seconds, remembers the answer for one second, and never queues behind
    the application for a connection: a pool that is merely busy is ready. If not ready it answers 503, and names the
    database and the reason.

    Args:
        prefix: before all paths, such as ``/internal``.
        metrics: with ``/metrics`` (Prometheus text format).
        databases: those without which the service is not ready; None is all.
        show_reasons: tell why one is not ready (addresses and messages of the server, never secrets); False where
            strangers can reach the route.
        include_in_schema: list the routes in the OpenAPI schema, under the tag ``health``.

    Raises:
        UsageError: metrics are wanted and prometheus-client is not installed.
    """
    if metrics and find_spec("prometheus_client") is None:
        raise UsageError(
            "/metrics needs prometheus-client: pip install 'sillar[prometheus]', or health_router(metrics=False)"
        )
    router = APIRouter(prefix=prefix, tags=["health"], include_in_schema=include_in_schema)

    @router.get("/health/live")
    async def live() -> JSONResponse:
        return JSONResponse({"status": "alive"}, headers=_FRESH)

    @router.get("/health/ready", responses={503: {"description": "a database cannot serve"}})
    async def ready(manager: ManagerDep) -> JSONResponse:
        state = await _readiness(manager, databases, show_reasons)
        return JSONResponse(state, 200 if state["status"] == "ready" else 503, headers=_FRESH)

    if metrics:
        router.add_api_route("/metrics", _metrics_route(), methods=["GET"], response_class=Response)
    return router


async def _readiness(manager: DatabaseManager, wanted: Collection[str] | None, show_reasons: bool) -> dict[str, Any]:
    health = await manager.health()
    found: dict[str, dict[str, str]] = {}
    is_ready = True
    for name in manager.config.databases:
        pool = health.databases.get(name) if name in manager.pools else None
        if pool is not None and pool.healthy:
            found[name] = {"status": "ready"}
            continue
        found[name] = {"status": "unready"}
        if show_reasons:
            found[name]["reason"] = "it is not open" if pool is None else pool.reason
        is_ready = is_ready and wanted is not None and name not in wanted
    return {"status": "ready" if is_ready else "unready", "databases": found}


def _metrics_route() -> Callable[..., Any]:
    from prometheus_client import CONTENT_TYPE_LATEST

    from sillar.observability.prometheus import exposition

    async def metrics(manager: ManagerDep) -> Response:
        return Response(exposition(manager.monitor), headers={"Content-Type": CONTENT_TYPE_LATEST, **_FRESH})

    return metrics
