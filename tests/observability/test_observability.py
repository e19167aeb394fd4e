"""Metrics, health, logs and Prometheus from one observation per execution; PostgreSQL for the real thing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from sillar import DatabaseManager, correlation
from sillar.engines.health import PoolHealth
from sillar.errors import ConnectError, StatementSyntaxError
from sillar.observability import DatabaseHealthMonitor
from sillar.observability.prometheus import exposition
from sillar.testing.faults import FaultProxy
from sillar.testing.servers import PostgreSQLServer


class Sink:
    """A metrics object of a host application."""

    def __init__(self) -> None:
        self.observed: list[tuple[str, Mapping[str, str]]] = []

    def count(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        raise AssertionError("nothing is counted one by one")

    def observe(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        assert value >= 0
        self.observed.append((name, labels))


@pytest.fixture
async def manager(postgresql: PostgreSQLServer) -> AsyncIterator[DatabaseManager]:
    async with DatabaseManager.from_url(postgresql.url) as opened:
        yield opened


async def use(manager: DatabaseManager) -> None:
    """Three statements of which one fails, one transaction kept and one rolled back, one cancellation."""
    session = manager.session()
    await session.fetch_value("SELECT 1")
    with pytest.raises(StatementSyntaxError):
        await session.execute("SELEC 1")
    async with session.transaction():
        await session.fetch_value("SELECT 2")
    with pytest.raises(LookupError):
        async with session.transaction():
            raise LookupError
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await session.execute("SELECT pg_sleep(5)")


async def test_the_six_figures(manager: DatabaseManager) -> None:
    before = await manager.monitor.collect_metrics()
    assert (before.query_count, before.query_latency, before.error_rate, before.transaction_count) == (0, 0.0, 0.0, 0)
    assert before.connection_pool_size == 1
    await use(manager)
    async with await manager.get_connection():
        after = await manager.monitor.collect_metrics()
        assert after.active_connections >= 1
    assert after.query_count == 4
    assert after.error_rate == 0.25  # a cancellation is no failure
    assert after.transaction_count == 2
    assert 0 < after.query_latency < 5
    figures = manager.monitor.registry.figures("default")
    assert sum(figures.buckets) == 4
    assert figures.cancelled == 1
    assert dict(figures.errors) == {"StatementSyntaxError": 1}
    assert dict(figures.transactions) == {"commit": 1, "rollback": 1}


async def test_a_metrics_object_of_the_host_gets_every_figure(postgresql: PostgreSQLServer) -> None:
    sink = Sink()
    async with DatabaseManager(_config(postgresql), metrics_sink=sink) as manager:
        await use(manager)
    names = [name for name, _ in sink.observed]
    assert names.count("sillar_execution_seconds") == 4
    assert names.count("sillar_transaction_seconds") == 2
    assert {"database": "default", "outcome": "StatementSyntaxError"} in [labels for _, labels in sink.observed]


def _config(server: PostgreSQLServer, **settings: Any) -> Any:
    from sillar import DatabaseConfig

    return DatabaseConfig.from_url(server.url, overrides=settings)


async def test_prometheus_reads_the_same_figures(manager: DatabaseManager) -> None:
    await use(manager)
    families = {family.name: family for family in text_string_to_metric_families(exposition(manager.monitor).decode())}
    counts = [sample.value for sample in families["sillar_execution_seconds"].samples if sample.name.endswith("_count")]
    assert counts == [4.0]
    buckets = [s.value for s in families["sillar_execution_seconds"].samples if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    [error] = families["sillar_execution_errors"].samples
    assert (error.labels, error.value) == ({"database": "default", "error": "StatementSyntaxError"}, 1.0)
    assert {s.labels["outcome"]: s.value for s in families["sillar_transactions"].samples} == {
        "commit": 1,
        "rollback": 1,
    }
    assert families["sillar_pool_open"].samples[0].value >= 1
    assert families["sillar_pool_connections_max"].samples[0].value == 10
    assert families["sillar_pool_opened"].samples[0].value >= 1
    assert {s.labels["state"]: s.value for s in families["sillar_pool_breaker_state"].samples} == {
        "closed": 1,
        "open": 0,
        "half_open": 0,
        "forced_open": 0,
        "disabled": 0,
    }
    assert families["sillar_pool_breaker_openings"].samples[0].value == 0
    assert families["sillar_pool_shed"].samples[0].value == 0


async def test_logs_carry_the_correlation_id_and_the_fingerprint_and_never_a_value(
    postgresql: PostgreSQLServer,
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with DatabaseManager(_config(postgresql, log_statements="all")) as manager:
            with correlation("request-7"):
                await manager.session().fetch_value("SELECT :value::text || 'literal'", {"value": "my-secret"})
                with pytest.raises(StatementSyntaxError):
                    await manager.session().execute("SELECT 'my-secret' FORM x")
    [statement] = [entry for entry in logs if entry["event"] == "statement"]
    assert statement["correlation_id"] == "request-7"
    assert statement["database"] == "default"
    assert statement["node"] == f"{postgresql.host}:{postgresql.port}"
    assert statement["statement"] == "SELECT ?::text || ?"
    assert statement["seconds"] > 0
    [failed] = [entry for entry in logs if entry["event"] == "statement failed"]
    assert (failed["error"], failed["code"]) == ("StatementSyntaxError", "42601")
    assert "my-secret" not in str(logs)
    assert postgresql.url.split("@")[0].rpartition(":")[2] not in str(logs)


async def test_slow_statements_are_logged_and_the_others_are_not(postgresql: PostgreSQLServer) -> None:
    config = _config(postgresql, databases={"default": {"slow_statement_seconds": 0.5}})
    with structlog.testing.capture_logs() as logs:
        async with DatabaseManager(config) as manager:
            await manager.session().execute("SELECT 1")
            await manager.session().execute("SELECT pg_sleep(0.6)")
    assert [entry["statement"] for entry in logs if "statement" in entry] == ["SELECT pg_sleep(?)"]


async def test_waiting_for_a_connection_does_not_make_a_statement_slow(postgresql: PostgreSQLServer) -> None:
    config = _config(
        postgresql,
        databases={"default": {"slow_statement_seconds": 0.5}},
        connection_pools={"max_connections": 1},
        log_statements="all",
    )
    with structlog.testing.capture_logs() as logs:
        async with DatabaseManager(config) as manager:
            async with await manager.get_connection():
                task = asyncio.create_task(manager.session().execute("SELECT 1"))
                await asyncio.sleep(0.7)
            await task
    [statement] = [entry for entry in logs if entry.get("statement") == "SELECT ?"]
    assert statement["event"] == "statement"
    assert statement["waited_seconds"] > 0.5


async def test_a_closed_manager_is_not_healthy(postgresql: PostgreSQLServer) -> None:
    manager = DatabaseManager.from_url(postgresql.url)
    async with manager:
        assert (await manager.health()).healthy
    assert not (await manager.health()).healthy


async def test_without_metrics_and_logs_nothing_observes(postgresql: PostgreSQLServer) -> None:
    async with DatabaseManager(_config(postgresql, metrics=False, log_statements="off")) as manager:
        await manager.session().execute("SELECT 1")
        assert manager.monitor.metrics.query_count == 0


async def test_health_is_cached_bounded_and_names_the_reason(postgresql: PostgreSQLServer) -> None:
    async with FaultProxy(postgresql.host, postgresql.port) as proxy:
        url = postgresql.url.replace(f":{postgresql.port}/", f":{proxy.port}/")
        async with DatabaseManager.from_url(url) as manager:
            first = await manager.health()
            assert first.healthy
            assert await manager.health() is first
            proxy.black_hole()
            unhealthy = await asyncio.wait_for(manager.health_monitor.check(fresh=True), 15)
            assert not unhealthy.healthy
            assert "no answer within" in unhealthy.databases["default"].reason
            await proxy.refuse()
            proxy.reset()
            await asyncio.sleep(0.1)
            gone = await asyncio.wait_for(manager.health_monitor.check(fresh=True), 15)
            assert not gone.healthy
            await proxy.heal()
            async with asyncio.timeout(30):
                while not (await manager.health_monitor.check(fresh=True)).healthy:
                    await asyncio.sleep(0.05)


async def test_one_check_serves_a_storm_of_probes_and_errors_become_reasons() -> None:
    class Source:
        checks = 0

        async def health_check(self) -> PoolHealth:
            self.checks += 1
            await asyncio.sleep(0.01)
            raise ConnectError("nobody at home")

        def stats(self) -> PoolHealth:
            return PoolHealth("main", healthy=True, leased=3, connections_max=4)

    source = Source()
    monitor = DatabaseHealthMonitor()
    monitor.sources["main"] = source  # type: ignore[assignment]
    answers = await asyncio.gather(*(monitor.check() for _ in range(100)))
    assert source.checks == 1
    assert {answer.databases["main"].reason for answer in answers} == {"nobody at home"}
    assert answers[0].databases["main"].utilisation == 0.75
