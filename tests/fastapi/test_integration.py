"""The three setup methods: each alone, each idempotent, and the lifespan that composes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from tests.fastapi.quarry import client_of, served

from sillar import DatabaseManager
from sillar.errors import DatabaseError, UsageError
from sillar.fastapi import (
    DatabaseSessionDep,
    FastAPIDatabaseIntegration,
    add_problem_handlers,
    health_router,
)


@pytest.fixture
def manager(tmp_path: Path) -> DatabaseManager:
    return DatabaseManager.from_url(f"sqlite:///{tmp_path}/quarry.db")


def with_route(app: FastAPI) -> FastAPI:
    @app.get("/one")
    async def one(session: DatabaseSessionDep) -> int:
        return int(await session.fetch_value("SELECT 1"))

    @app.get("/wrong")
    async def wrong(session: DatabaseSessionDep) -> None:
        await session.execute("SELECT nonsense FROM nowhere")

    return app


async def test_all_three_over_real_sockets(manager: DatabaseManager) -> None:
    app = with_route(FastAPI())
    integration = FastAPIDatabaseIntegration(app, manager)
    assert (integration.app, integration.db_manager) == (app, manager)
    integration.setup_dependencies()
    integration.setup_middleware()
    integration.setup_lifespan()
    app.include_router(health_router())
    async with served(app) as url, httpx2.AsyncClient(base_url=url) as client:
        response = await client.get("/one", headers={"X-Request-ID": "abc"})
        assert (response.json(), response.headers["x-request-id"]) == (1, "abc")
        assert (await client.get("/wrong")).headers["content-type"] == "application/problem+json"
        assert (await client.get("/health/ready")).status_code == 200
    assert not manager.pools, "closed with the application"


async def test_each_alone(manager: DatabaseManager) -> None:
    only_lifespan = with_route(FastAPI())
    FastAPIDatabaseIntegration(only_lifespan, manager).setup_lifespan()
    async with only_lifespan.router.lifespan_context(only_lifespan), client_of(only_lifespan) as client:
        assert (await client.get("/one")).json() == 1
        with pytest.raises(DatabaseError):
            await client.get("/wrong")

    only_dependencies = with_route(FastAPI())
    FastAPIDatabaseIntegration(only_dependencies, manager).setup_dependencies()
    async with manager, client_of(only_dependencies) as client:
        assert (await client.get("/one")).json() == 1

    only_middleware = with_route(FastAPI(lifespan=manager.lifespan))
    FastAPIDatabaseIntegration(only_middleware, manager).setup_middleware()
    async with only_middleware.router.lifespan_context(only_middleware), client_of(only_middleware) as client:
        assert (await client.get("/one")).headers["x-request-id"]
        assert (await client.get("/wrong")).status_code == 500


async def test_again_changes_nothing(manager: DatabaseManager) -> None:
    app = with_route(FastAPI())
    for integration in (FastAPIDatabaseIntegration(app, manager), FastAPIDatabaseIntegration(app, manager)):
        for _ in range(2):
            integration.setup_dependencies()
            integration.setup_middleware(deadline_seconds=3)
            integration.setup_lifespan()
    assert len(app.user_middleware) == 2
    with pytest.raises(UsageError, match="other options already"):
        integration.setup_middleware()
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/one")).json() == 1


async def test_the_lifespan_composes_with_the_one_that_the_application_has(manager: DatabaseManager) -> None:
    """The databases are open in the application's own lifespan, from its first to its last line."""
    events: list[Any] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        events.append(await manager.session().fetch_value("SELECT 'up'"))
        yield {"own": "state"}
        events.append(await manager.session().fetch_value("SELECT 'down'"))

    app = FastAPI(lifespan=own)
    FastAPIDatabaseIntegration(app, manager).setup_lifespan()

    @asynccontextmanager
    async def of_router(app: Any) -> AsyncIterator[None]:
        events.append(await manager.session().fetch_value("SELECT 'router up'"))
        yield

    app.include_router(APIRouter(lifespan=of_router))
    for _ in range(2):  # an application can be started again
        async with app.router.lifespan_context(app) as state:
            assert state == {"own": "state"}
            assert manager.pools
        assert not manager.pools
    assert events == ["up", "router up", "down"] * 2


async def test_the_databases_close_when_the_own_lifespan_fails(manager: DatabaseManager) -> None:
    @asynccontextmanager
    async def failing(app: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("no cache")
        yield

    app = FastAPI(lifespan=failing)
    FastAPIDatabaseIntegration(app, manager).setup_lifespan()
    with pytest.raises(RuntimeError, match="no cache"):
        async with app.router.lifespan_context(app):
            pass
    assert not manager.pools


async def test_a_manager_is_not_opened_twice(manager: DatabaseManager) -> None:
    app = with_route(FastAPI(lifespan=manager.lifespan))
    FastAPIDatabaseIntegration(app, manager).setup_lifespan()
    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/one")).json() == 1

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        async with manager.lifespan(app):
            yield

    hidden = FastAPI(lifespan=own)
    FastAPIDatabaseIntegration(hidden, manager).setup_lifespan()
    with pytest.raises(UsageError, match="open already") as caught:
        async with hidden.router.lifespan_context(hidden):
            pass
    assert "leave setup_lifespan() out" in caught.value.__notes__[0]
    assert not manager.pools


async def test_handlers_of_the_application_stay(manager: DatabaseManager) -> None:
    async def own(request: Any, error: Exception) -> Any:
        from fastapi.responses import PlainTextResponse

        return PlainTextResponse("mine", 418)

    app = with_route(FastAPI(exception_handlers={DatabaseError: own}))
    add_problem_handlers(app)
    FastAPIDatabaseIntegration(app, manager).setup_dependencies()
    async with manager, client_of(app) as client:
        assert (await client.get("/wrong")).text == "mine"


@pytest.mark.parametrize(
    "options", [{"deadline_seconds": 0}, {"deadline_seconds": -1.0}, {"deadline_max_seconds": float("inf")}]
)
async def test_bad_options_are_refused_at_once(manager: DatabaseManager, options: dict[str, float]) -> None:
    app = FastAPI()
    with pytest.raises(UsageError, match="positive number of seconds"):
        FastAPIDatabaseIntegration(app, manager).setup_middleware(**options)  # type: ignore[arg-type]
    assert app.user_middleware == []
