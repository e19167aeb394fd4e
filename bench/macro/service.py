"""The service that ``http.clients10k`` asks: one route, one row by key, a pool of 20. Usage: PORT as the only
argument."""

from __future__ import annotations

import resource
import sys

import msgspec
import uvicorn
from fastapi import FastAPI, Response

from sillar import DatabaseManager, load_config
from sillar.fastapi import DatabaseSessionDep, FastAPIDatabaseIntegration

ROWS = 10_000


class Item(msgspec.Struct):
    id: int
    name: str


def application() -> FastAPI:
    limits = {"min_connections": 20, "max_connections": 20, "waiting_max": 20_000, "connection_timeout": 120}
    manager = DatabaseManager(load_config(overrides={"connection_pools": limits}))
    app = FastAPI(lifespan=manager.lifespan)
    integration = FastAPIDatabaseIntegration(app, manager)
    integration.setup_dependencies()
    integration.setup_middleware()

    @app.get("/items/{key}")
    async def item(key: int, session: DatabaseSessionDep) -> Response:
        found = await session.fetch_one(
            "SELECT number AS id, 'n' || number AS name FROM generate_series(:key::int, :key::int) AS number",
            {"key": key},
            into=Item,
        )
        return Response(msgspec.json.encode(found), media_type="application/json")

    return app


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvicorn.run(application(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", backlog=4096)
