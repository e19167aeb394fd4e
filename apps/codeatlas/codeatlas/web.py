"""The service: a JSON API under ``/api``, and a page that shows what it answers.

FastAPI reads the annotations of this module while the application is built, so they are not deferred here.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from codeatlas.rules import RULES
from codeatlas.store import AtlasStore
from codeatlas.stores import store_for
from sillar import DatabaseManager
from sillar.fastapi import FastAPIDatabaseIntegration, ManagerDep, found, health_router
from sillar.observability.metrics import LATENCY_BOUNDS_SECONDS

REQUEST_SECONDS_MAX = 20.0
_STATIC = Path(str(files("codeatlas"))) / "static"
_ENCODER = msgspec.json.Encoder()
# The page needs nothing from elsewhere, and nothing else may be loaded into it.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

ProjectId = Annotated[int, PathParameter(ge=1, le=2**63 - 1, description="id of a project, see /api/projects")]
Limit = Annotated[int, Query(ge=1, le=200, description="entries at most")]
# Some engines cannot take a NUL in a text, not even in order to find nothing.
_NO_NUL = r"^[^\x00]*$"
After = Annotated[str | None, Query(max_length=600, pattern=_NO_NUL, description="`next` of the page before")]
Search = Annotated[str | None, Query(min_length=1, max_length=200, pattern=_NO_NUL)]


def create_app(manager: DatabaseManager, *, opens_manager: bool = True, upgrade: bool = False) -> FastAPI:
    """The application over the default database of ``manager``.

    Args:
        manager: its databases; the schema is created on start, where there is none.
        opens_manager: open and close it with the application; False if the caller does.
        upgrade: migrate a database that is behind, on start. Of many instances that start at once, one does.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = store_for(manager)
        await store.open_schema(upgrade=upgrade)
        app.state.store = store
        yield

    app = FastAPI(
        title="codeatlas",
        summary="What is in a source tree, and how it changes.",
        lifespan=lifespan,
        # The usual pages for /openapi.json load their scripts from the internet; this service works without.
        docs_url=None,
        redoc_url=None,
    )
    integration = FastAPIDatabaseIntegration(app, manager)
    integration.setup_dependencies()
    integration.setup_middleware(deadline_seconds=REQUEST_SECONDS_MAX)
    if opens_manager:
        integration.setup_lifespan()
    app.include_router(health_router())
    _add_lists(app)
    _add_searches(app)
    _add_state(app)
    _add_page(app)
    return app


async def _store(request: Request) -> AtlasStore:
    store: AtlasStore = request.app.state.store
    return store


Store = Annotated[AtlasStore, Depends(_store)]


def _json(value: Any) -> Response:
    return Response(_ENCODER.encode(value), media_type="application/json", headers={"Cache-Control": "no-cache"})


def _page(name: str, entries: list[Any], limit: int, *key: str) -> Response:
    """A list and where it goes on: the key of its last entry, if there may be more."""
    following = None
    if len(entries) == limit:
        following = "~".join(str(getattr(entries[-1], part)) for part in key)
    return _json({name: entries, "next": following})


def _cursor(after: str | None, count: int) -> list[int] | None:
    if after is None:
        return None
    try:
        parts = [int(part) for part in after.split("~")]
    except ValueError:
        parts = []
    if len(parts) != count or any(abs(part) >= 2**63 for part in parts):
        raise HTTPException(422, "`after` is not what a page gave as `next`")
    return parts


def _add_lists(app: FastAPI) -> None:
    @app.get("/api/projects")
    async def projects(store: Store, after: After = None, limit: Limit = 100) -> Response:
        """Projects in the order of their names."""
        return _page("projects", await store.projects(after=after or "", limit=limit), limit, "name")

    @app.get("/api/projects/{project_id}")
    async def overview(store: Store, project_id: ProjectId) -> Response:
        """A project as a whole."""
        return _json(found(await store.overview(project_id), f"project {project_id}"))

    @app.get("/api/projects/{project_id}/trends")
    async def trends(store: Store, project_id: ProjectId, limit: Limit = 60) -> Response:
        """The latest finished runs with their totals, oldest first."""
        return _json({"trends": await store.trends(project_id, limit=limit)})

    @app.get("/api/projects/{project_id}/functions")
    async def functions(store: Store, project_id: ProjectId, after: After = None, limit: Limit = 50) -> Response:
        """Functions, the most complex first."""
        cursor = _cursor(after, 3)
        start = None if cursor is None else (cursor[0], cursor[1], cursor[2])
        entries = await store.functions_by_complexity(project_id, after=start, limit=limit)
        return _page("functions", entries, limit, "complexity", "file_id", "ordinal")

    @app.get("/api/projects/{project_id}/findings")
    async def findings(
        store: Store,
        project_id: ProjectId,
        rule: Annotated[str, Query(max_length=40, description="id of a rule, see /api/rules")],
        after: After = None,
        limit: Limit = 50,
    ) -> Response:
        """Findings of one rule, file by file."""
        found(RULES.get(rule), f"rule {rule}")
        cursor = _cursor(after, 2) or [0, -1]
        entries = await store.findings(project_id, rule, after=(cursor[0], cursor[1]), limit=limit)
        return _page("findings", entries, limit, "file_id", "ordinal")

    @app.get("/api/files/{file_id}")
    async def file(store: Store, file_id: Annotated[int, PathParameter(ge=1, le=2**63 - 1)]) -> Response:
        """A file with everything in it."""
        return _json(found(await store.file_detail(file_id), f"file {file_id}"))


def _add_searches(app: FastAPI) -> None:
    @app.get("/api/projects/{project_id}/files")
    async def search_files(
        store: Store,
        project_id: ProjectId,
        name: Search = None,
        text: Search = None,
        after: After = None,
        limit: Limit = 50,
    ) -> Response:
        """Files whose path contains `name`, or that contain the words of `text`, or all in the order of their paths."""
        if name is not None and text is not None:
            raise HTTPException(422, "search by `name` or by `text`, not by both at once")
        if name is not None:
            return _json({"files": await store.files_named(project_id, name, limit=limit), "next": None})
        if text is not None:
            return _json({"files": await store.files_containing(project_id, text, limit=limit), "next": None})
        path, _, file_id = (after or "~0").rpartition("~")
        if not file_id.isdigit() or len(file_id) > 18:
            raise HTTPException(422, "`after` is not what a page gave as `next`")
        return _page(
            "files", await store.files(project_id, after=(path, int(file_id)), limit=limit), limit, "path", "id"
        )

    @app.get("/api/projects/{project_id}/symbols")
    async def search_symbols(
        store: Store,
        project_id: ProjectId,
        prefix: Annotated[str, Query(min_length=1, max_length=100, pattern=_NO_NUL)],
        limit: Limit = 50,
    ) -> Response:
        """Functions and classes whose name begins with `prefix`."""
        return _json({"symbols": await store.symbols_named(project_id, prefix, limit=limit)})


def _add_state(app: FastAPI) -> None:
    @app.get("/api/rules")
    async def rules() -> Response:
        """The catalogue of rules."""
        return _json({"rules": list(RULES.values())})

    @app.get("/api/databases")
    async def databases(manager: ManagerDep) -> Response:
        """The state of the pools of connections, and the figures of the statements that went through them."""
        health = await manager.health()
        metrics = await manager.monitor.collect_metrics()
        pools = []
        for name, pool in health.databases.items():
            config = manager.config.connection(name)
            figures = manager.monitor.registry.figures(name)
            pools.append(
                {
                    **asdict(pool),
                    "name": name,
                    "engine": manager.session(name).capabilities.engine or config.engine.value,
                    "utilisation": pool.utilisation,
                    "executions": figures.executions,
                    "errors": sum(figures.errors.values()),
                    "transactions": dict(figures.transactions),
                    "latency": {"bounds_seconds": LATENCY_BOUNDS_SECONDS, "counts": figures.buckets},
                }
            )
        return _json({"checked_at": health.checked_at, "metrics": asdict(metrics), "pools": pools})


def _add_page(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html", headers=_PAGE_HEADERS)
