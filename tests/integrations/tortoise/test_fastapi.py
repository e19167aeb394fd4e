"""Tortoise's FastAPI style over Sillar's manager, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.fastapi.quarry import served
from tests.integrations.tortoise.conftest import ENGINES, MODELS, TABLES, opened, url_of
from tests.integrations.tortoise.library import Author, Tag
from tortoise.contrib.fastapi import RegisterTortoise, tortoise_exception_handlers
from tortoise.contrib.pydantic import pydantic_model_creator
from tortoise.transactions import in_transaction

from sillar import DatabaseManager
from sillar.fastapi import DatabaseTransactionDep, FastAPIDatabaseIntegration
from sillar.integrations.tortoise import TortoiseIntegration
from sillar.testing.servers import ServerFleet


def library_app(manager: DatabaseManager, *, stock: bool) -> FastAPI:
    """A service in the style of Tortoise's examples; with ``stock`` its own ``RegisterTortoise`` opens it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with manager.lifespan(app):
            for table in TABLES:
                await manager.session().execute(f"DROP TABLE IF EXISTS {table}")
            orm = TortoiseIntegration(manager)
            if stock:
                async with RegisterTortoise(app, config=orm.config(MODELS), generate_schemas=True):
                    yield
            else:
                await orm.open(MODELS)
                await orm.generate_schemas()
                yield

    app = FastAPI(lifespan=lifespan, exception_handlers=tortoise_exception_handlers())
    integration = FastAPIDatabaseIntegration(app, manager)
    integration.setup_dependencies()
    author_out = pydantic_model_creator(Author, include=("id", "name"), name="AuthorOut")

    @app.post("/authors/{name}", status_code=201, response_model=author_out)
    async def create(name: str) -> Any:
        return await Author.create(name=name)

    @app.get("/authors/{number}", response_model=author_out)
    async def get(number: int) -> Any:
        return await Author.get(id=number)

    @app.post("/both/{name}")
    async def both(name: str, tx: DatabaseTransactionDep, fail: bool = False) -> int:
        await Author.create(name=name)
        async with in_transaction():
            await Tag.create(word=name)
        if fail:
            raise LookupError
        count: int = await tx.fetch_value("SELECT count(*) FROM tt_author")
        return count

    return app


@pytest.mark.parametrize(
    ("engine", "stock"), [*((engine, False) for engine in ENGINES), ("sqlite", True), ("postgresql", True)]
)
async def test_a_service(engine: str, stock: bool, fleet: ServerFleet, tmp_path: Path) -> None:
    manager = opened(await url_of(engine, fleet, tmp_path))
    async with (
        served(library_app(manager, stock=stock)) as url,
        httpx2.AsyncClient(base_url=url) as client,
    ):
        made = await client.post("/authors/Ada")
        assert made.status_code == 201, made.text
        assert made.json()["name"] == "Ada"
        assert (await client.get(f"/authors/{made.json()['id']}")).json() == made.json()
        assert (await client.get("/authors/4711")).status_code == 404
        assert (await client.post("/authors/Ada")).status_code == 422  # Tortoise's handler knows the error
        assert (await client.post("/both/Bo", params={"fail": True})).status_code == 500
        assert (await client.post("/both/Cy")).json() == 2
        answers = await asyncio.gather(*(client.post(f"/both/author {number}") for number in range(12)))
        assert {answer.status_code for answer in answers} == {200}
        assert manager.pools["default"].stats().leased == 0
    assert manager.pools == {}
