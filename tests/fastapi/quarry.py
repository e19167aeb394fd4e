"""The small service that the tests of this folder talk to, and how it is served."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpx2
import uvicorn
from fastapi import FastAPI

from sillar import DatabaseManager
from sillar.fastapi import FastAPIDatabaseIntegration
from sillar.testing.servers.port import HOST, PortReservation

ENGINES = ("sqlite", "postgresql", "mariadb", "mysql")
DEFERRING_ENGINES = ("sqlite", "postgresql")
"""Those with constraints that are checked at COMMIT."""


@dataclass(frozen=True, slots=True)
class Quarry:
    """A manager on one engine with two tables: ``mason`` (unique name) and ``stone`` (weight > 0, laid by a mason)."""

    engine: str
    manager: DatabaseManager

    async def names(self) -> list[str]:
        """The masons that are committed, seen from outside the application."""
        rows = await self.manager.session().fetch_all("SELECT name FROM mason ORDER BY id")
        return [row["name"] for row in rows]

    @property
    def leased(self) -> int:
        return sum(source.stats().leased for source in self.manager.pools.values())


async def create_tables(manager: DatabaseManager, engine: str) -> None:
    """Both tables, empty. The reference of a stone to its mason is checked at COMMIT where the engine can do that."""
    deferred = "DEFERRABLE INITIALLY DEFERRED" if engine in DEFERRING_ENGINES else ""
    async with manager.session() as session:
        await session.execute("DROP TABLE IF EXISTS stone")
        await session.execute("DROP TABLE IF EXISTS mason")
        await session.execute("CREATE TABLE mason (id INTEGER PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE)")
        await session.execute(
            "CREATE TABLE stone (id INTEGER PRIMARY KEY, weight INTEGER NOT NULL CHECK (weight > 0),"
            f" mason_id INTEGER NOT NULL, FOREIGN KEY (mason_id) REFERENCES mason (id) {deferred})"
        )


def application(manager: DatabaseManager, **options: object) -> FastAPI:
    """An application over a manager that is open already."""
    app = FastAPI()
    integration = FastAPIDatabaseIntegration(app, manager)
    integration.setup_dependencies()
    integration.setup_middleware(**options)  # type: ignore[arg-type]
    return app


def client_of(app: FastAPI, *, raise_app_exceptions: bool = True) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=raise_app_exceptions)
    return httpx2.AsyncClient(transport=transport, base_url="http://quarry")


class QuietServer(uvicorn.Server):
    """uvicorn inside of a test: the signals stay with the test runner."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """Serve over real sockets, lifespan included; yields the base URL."""
    reservation = PortReservation()
    listener = socket.create_server((HOST, reservation.port))
    server = QuietServer(uvicorn.Config(app, log_level="critical", lifespan="on", timeout_graceful_shutdown=5))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(60):
            while not server.started:
                if task.done():
                    await task
                    raise RuntimeError("uvicorn ended while it was starting")
                await asyncio.sleep(0.01)
        yield f"http://{HOST}:{reservation.port}"
    finally:
        server.should_exit = True
        await task
        reservation.release()


async def until(condition: object, seconds: float = 10.0) -> None:
    """Wait until the callable (or coroutine function) is true."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()  # type: ignore[operator]
            if await result if asyncio.iscoroutine(result) else result:
                return
            await asyncio.sleep(0.02)
