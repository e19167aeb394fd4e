"""Alive, ready, and the figures."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from tests.fastapi.quarry import Quarry, client_of

from sillar import DatabaseManager, load_config
from sillar.errors import UsageError
from sillar.fastapi import DatabaseSessionDep, FastAPIDatabaseIntegration, health_router
from sillar.testing.servers import PostgreSQLServer


def health_of(manager: DatabaseManager, **options: Any) -> FastAPI:
    app = FastAPI()
    FastAPIDatabaseIntegration(app, manager).setup_dependencies()
    app.include_router(health_router(**options))
    return app


async def test_ready_and_alive(quarry: Quarry) -> None:
    app = health_of(quarry.manager)
    assert app.openapi()["paths"] == {}
    async with client_of(app) as client:
        live, ready = await client.get("/health/live"), await client.get("/health/ready")
    assert (live.status_code, live.json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ready", "databases": {"default": {"status": "ready"}}},
    )
    assert live.headers["cache-control"] == ready.headers["cache-control"] == "no-store"


async def test_a_prefix_and_the_schema(quarry: Quarry) -> None:
    app = health_of(quarry.manager, prefix="/internal", include_in_schema=True, metrics=False)
    assert list(app.openapi()["paths"]) == ["/internal/health/live", "/internal/health/ready"]
    assert app.openapi()["paths"]["/internal/health/live"]["get"]["tags"] == ["health"]
    async with client_of(app) as client:
        assert (await client.get("/internal/health/ready")).status_code == 200
        assert (await client.get("/internal/metrics")).status_code == 404


async def test_alive_without_any_database(tmp_path: Path) -> None:
    """Neither open, nor even configured for this application."""
    closed = DatabaseManager.from_url(f"sqlite:///{tmp_path}/quarry.db")
    app = FastAPI()
    app.include_router(health_router())
    async with client_of(app) as client:
        assert (await client.get("/health/live")).status_code == 200
    async with client_of(health_of(closed)) as client:
        assert (await client.get("/health/live")).status_code == 200
        ready = await client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json() == {
        "status": "unready",
        "databases": {"default": {"status": "unready", "reason": "it is not open"}},
    }
    assert not (tmp_path / "quarry.db").exists()


async def test_closed_is_unready_at_once(tmp_path: Path) -> None:
    """An answer is remembered for a second, but not beyond the end of the manager."""
    manager = DatabaseManager.from_url(f"sqlite:///{tmp_path}/quarry.db")
    async with client_of(health_of(manager)) as client:
        async with manager:
            assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503


async def test_a_busy_pool_is_ready_without_a_wait(postgresql_quarry: Quarry) -> None:
    """All connections leased, callers waiting: readiness neither queues behind them nor says unready."""
    manager = postgresql_quarry.manager
    async with client_of(health_of(manager)) as client:
        leases = [await manager.get_connection() for _ in range(2)]
        try:
            started = time.monotonic()
            ready = await client.get("/health/ready")
            assert time.monotonic() - started < 1.5, "connection_timeout is 2 s"
            assert ready.status_code == 200
        finally:
            for lease in leases:
                lease.release()


async def test_a_storm_of_probes_is_one_check(quarry: Quarry, monkeypatch: pytest.MonkeyPatch) -> None:
    source = quarry.manager.pools["default"]
    checks = 0
    real = source.health_check

    async def counted() -> Any:
        nonlocal checks
        checks += 1
        return await real()

    monkeypatch.setattr(source, "health_check", counted)
    began = time.monotonic()
    async with client_of(health_of(quarry.manager)) as client:
        answers = await asyncio.gather(*(client.get("/health/ready") for _ in range(100)))
    assert {each.status_code for each in answers} == {200}
    assert checks <= 2 + int(time.monotonic() - began)  # an answer is good for a second


async def test_a_server_that_is_gone_or_silent(tmp_path: Path) -> None:
    """Down: 503 with database and reason. Frozen: the answer comes in bounded time all the same. Back: ready again."""
    async with PostgreSQLServer() as server:
        config = load_config(
            environment={},
            overrides={
                "default_database": "main",
                "connection_pools": {"min_connections": 0},
                "databases": {"main": {"url": server.url}, "notes": {"url": f"sqlite:///{tmp_path}/notes.db"}},
            },
        )
        async with DatabaseManager(config) as manager:
            app = health_of(manager)
            optional = health_of(manager, databases=["notes"], show_reasons=False)
            async with client_of(app) as client, client_of(optional) as without_main:

                async def ready_again() -> int:
                    await asyncio.sleep(1.1)  # answers are good for a second
                    return (await client.get("/health/ready")).status_code

                assert (await client.get("/health/ready")).status_code == 200
                await server.freeze()
                await asyncio.sleep(1.1)
                started = time.monotonic()
                silent = await client.get("/health/ready")
                assert time.monotonic() - started < 5
                assert silent.status_code == 503
                assert silent.json()["databases"]["notes"] == {"status": "ready"}
                assert "no answer" in silent.json()["databases"]["main"]["reason"]
                assert (await client.get("/health/live")).status_code == 200
                await server.thaw()

                await server.kill()
                assert await ready_again() == 503
                down = await client.get("/health/ready")
                assert down.json()["databases"]["main"]["status"] == "unready"
                assert down.json()["databases"]["main"]["reason"]
                assert server.password not in down.text
                partly = await without_main.get("/health/ready")
                assert (partly.status_code, partly.json()["status"]) == (200, "ready")
                assert partly.json()["databases"]["main"] == {"status": "unready"}

                await server.start()
                async with asyncio.timeout(30):
                    while await ready_again() != 200:
                        pass


async def test_metrics(quarry: Quarry) -> None:
    app = health_of(quarry.manager)

    @app.get("/one")
    async def one(session: DatabaseSessionDep) -> int:
        return int(await session.fetch_value("SELECT 1"))

    def executions(text: str) -> float:
        return next(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith('sillar_execution_seconds_count{database="default"}')
        )

    async with client_of(app) as client:
        before = await client.get("/metrics")
        for _ in range(3):
            await client.get("/one")
        after = await client.get("/metrics")
    assert before.headers["content-type"].startswith("text/plain; version=")
    assert executions(after.text) - executions(before.text) == 3
    assert 'sillar_pool_leased{database="default"} 0.0' in after.text


async def test_metrics_without_prometheus_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sillar.fastapi.health.find_spec", lambda name: None if name == "prometheus_client" else name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)  # an import of it fails
    with pytest.raises(UsageError, match=r"pip install 'sillar\[prometheus\]'"):
        health_router()
    assert len(health_router(metrics=False).routes) == 2
