"""codeatlas: the whole standard library indexed, and the pool under the service's normal load."""

from __future__ import annotations

import asyncio
import sysconfig
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from bench.case import SILLAR, TARGET, Case, Contest
from bench.servers import Servers
from codeatlas.indexing import index
from codeatlas.stores import store_for
from codeatlas.web import create_app
from sillar import DatabaseManager

INDEX_SECONDS = 60.0
UTILISATION_PERCENT = 80.0
REQUESTS_PER_SECOND, LOAD_SECONDS = 50, 4.0
"""What is called the normal load: 50 requests a second, in turn over everything that the page asks."""

LIBRARY = Path(sysconfig.get_path("stdlib"))
PART = LIBRARY / "asyncio"


@asynccontextmanager
async def index_library(_: Servers) -> AsyncIterator[Contest]:
    async def round_() -> None:
        with tempfile.TemporaryDirectory(prefix="sillar-bench-") as folder:
            async with DatabaseManager.from_url(f"sqlite:///{Path(folder) / 'atlas.db'}") as manager:
                store = store_for(manager)
                await store.open_schema()
                done = await index(store, LIBRARY, project="standard library")
                contest.notes["files"] = done.run.files_analysed

    contest = Contest(1, {SILLAR: round_})
    yield contest


@asynccontextmanager
async def utilisation(servers: Servers) -> AsyncIterator[Contest]:
    server = await servers.postgresql()
    percents: list[float] = []
    async with DatabaseManager.from_url(server.url) as manager:
        store = store_for(manager)
        await store.open_schema()
        await index(store, PART, project="asyncio")
        app = create_app(manager, opens_manager=False)
        async with app.router.lifespan_context(app):
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://bench") as client:
                [project] = (await client.get("/api/projects")).json()["projects"]
                key = project["id"]
                paths = [
                    "/api/projects",
                    f"/api/projects/{key}",
                    f"/api/projects/{key}/files?name=task",
                    f"/api/projects/{key}/functions",
                    f"/api/projects/{key}/trends",
                    "/api/databases",
                ]
                contest = Contest(1, {}, measured={SILLAR: percents})

                async def round_() -> None:
                    percents.append(await _load(client, paths, manager, contest))

                contest.contenders = {SILLAR: round_}
                yield contest


async def _load(client: httpx2.AsyncClient, paths: list[str], manager: DatabaseManager, contest: Contest) -> float:
    """The highest utilisation of the pool, sampled every 2 ms, in percent."""
    samples: list[float] = []
    answers: list[int] = []

    async def one(path: str) -> None:
        answers.append((await client.get(path)).status_code)

    async def sample() -> None:
        while True:
            samples.append(manager.pools["default"].stats().utilisation * 100)
            await asyncio.sleep(0.002)

    sampler = asyncio.create_task(sample())
    tasks = []
    start = time.perf_counter()
    for number in range(int(REQUESTS_PER_SECOND * LOAD_SECONDS)):
        tasks.append(asyncio.create_task(one(paths[number % len(paths)])))
        await asyncio.sleep(max(0.0, start + (number + 1) / REQUESTS_PER_SECOND - time.perf_counter()))
    await asyncio.gather(*tasks)
    sampler.cancel()
    if set(answers) != {200}:
        raise RuntimeError(f"not every request was answered: {sorted(set(answers))}")
    contest.notes["requests answered"] = len(answers)
    return max(samples)


CASES = [
    Case("codeatlas.index", {TARGET: INDEX_SECONDS}, index_library, unit="s", rounds=2),
    Case("target.pool_utilisation", {TARGET: UTILISATION_PERCENT}, utilisation, unit="%", rounds=3),
]
