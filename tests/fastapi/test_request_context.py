"""Correlation ids and deadlines of requests."""

import re
import time
from typing import Any

import pytest
from fastapi import FastAPI, Response
from tests.fastapi.quarry import Quarry, application, client_of

from sillar.context import current_correlation_id, remaining_seconds
from sillar.fastapi import DatabaseSessionDep, RequestContextMiddleware

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NEW = re.compile(r"[0-9a-f]{32}")


def echo(**options: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(RequestContextMiddleware, **options)

    @app.get("/context")
    async def context() -> dict[str, Any]:
        return {"correlation_id": current_correlation_id(), "seconds": remaining_seconds()}

    @app.get("/own")
    async def own(response: Response) -> None:
        response.headers["x-request-id"] = "of the route"

    return app


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Request-ID": "order-7"}, "order-7"),
        ({"X-Correlation-ID": "a.b:c_d"}, "a.b:c_d"),
        ({"X-Request-ID": "first", "X-Correlation-ID": "second"}, "first"),
        ({"X-Request-ID": "not valid!", "X-Correlation-ID": "second"}, "second"),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
        ({"traceparent": f"cc-{TRACE}-00f067aa0ba902b7-01-more"}, TRACE),
        ({"X-Request-ID": "x" * 128}, "x" * 128),
    ],
)
async def test_the_correlation_id_of_the_client(headers: dict[str, str], expected: str) -> None:
    async with client_of(echo()) as client:
        response = await client.get("/context", headers=headers)
    assert response.json()["correlation_id"] == expected
    assert response.headers.get_list("x-request-id") == [expected]
    assert current_correlation_id() is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Request-ID": "x" * 129},
        {"X-Request-ID": ""},
        {"X-Request-ID": "-leading"},
        {"X-Request-ID": "two words"},
        {"X-Request-ID": "<script>"},
        {"X-Request-ID": b"\xc3\xa4\xc3\xb6"},
        {"traceparent": f"ff-{TRACE}-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"},
        {"traceparent": f"00-{TRACE}-{'0' * 16}-01"},
        {"traceparent": f"00-{TRACE.upper()}-00f067aa0ba902b7-01"},
    ],
)
async def test_what_is_no_correlation_id_is_replaced(headers: dict[str, Any]) -> None:
    async with client_of(echo()) as client:
        first = (await client.get("/context", headers=headers)).json()["correlation_id"]
        second = (await client.get("/context", headers=headers)).json()["correlation_id"]
    assert NEW.fullmatch(first)
    assert NEW.fullmatch(second)
    assert first != second
    assert TRACE not in (first, second)


async def test_ids_of_clients_can_be_refused_and_the_header_is_sent_once() -> None:
    async with client_of(echo(accept_correlation_id=False)) as client:
        assert NEW.fullmatch((await client.get("/context", headers={"X-Request-ID": "mine"})).json()["correlation_id"])
    async with client_of(echo()) as client:
        response = await client.get("/own", headers={"X-Request-ID": "mine"})
        assert response.headers.get_list("x-request-id") == ["mine"]
        assert (await client.get("/nowhere", headers={"X-Request-ID": "mine"})).headers["x-request-id"] == "mine"


async def test_deadlines() -> None:
    async def seconds(app: FastAPI, **headers: str) -> float | None:
        async with client_of(app) as client:
            found: float | None = (await client.get("/context", headers=headers)).json()["seconds"]
            return found

    assert await seconds(echo()) is None
    assert 29 < (await seconds(echo(deadline_seconds=30)) or 0) <= 30
    asks = {"X-Request-Timeout": "12.5"}
    assert 11 < (await seconds(echo(), **asks) or 0) <= 12.5
    assert 11 < (await seconds(echo(deadline_seconds=30), **asks) or 0) <= 12.5
    assert 4 < (await seconds(echo(deadline_max_seconds=5), **asks) or 0) <= 5
    assert await seconds(echo(deadline_header=None), **asks) is None
    assert 1 < (await seconds(echo(deadline_header="Budget"), Budget="2") or 0) <= 2


@pytest.mark.parametrize("value", ["0", "-1", "soon", "", "1e3", "nan", "inf", "1" * 10, "0.0"])
async def test_a_deadline_that_is_none_is_refused(value: str) -> None:
    async with client_of(echo()) as client:
        response = await client.get("/context", headers={"X-Request-Timeout": value, "X-Request-ID": "abc"})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == "abc"
    assert response.json() == {
        "type": "urn:sillar:problem:invalid-deadline",
        "title": "The deadline is not valid",
        "status": 400,
        "detail": "X-Request-Timeout is a positive number of seconds, such as 2.5",
        "instance": "/context",
        "correlation_id": "abc",
    }


async def test_a_deadline_ends_the_statement(postgresql_quarry: Quarry) -> None:
    app = application(postgresql_quarry.manager)

    @app.get("/sleep")
    async def sleep(session: DatabaseSessionDep) -> None:
        await session.execute("SELECT pg_sleep(20)")

    async with client_of(app) as client:
        started = time.monotonic()
        response = await client.get("/sleep", headers={"X-Request-Timeout": "0.3"})
        assert time.monotonic() - started < 10
    assert response.status_code == 504
    assert response.json()["type"] == "urn:sillar:problem:timeout"


async def test_the_correlation_id_reaches_the_logs(quarry: Quarry) -> None:
    import structlog

    app = application(quarry.manager)

    @app.get("/wrong")
    async def wrong(session: DatabaseSessionDep) -> None:
        await session.execute("SELECT nonsense FROM nowhere")

    with structlog.testing.capture_logs() as logs:
        async with client_of(app) as client:
            response = await client.get("/wrong", headers={"X-Request-ID": "abc"})
    assert response.json()["correlation_id"] == "abc"
    events = {each["event"] for each in logs if each.get("correlation_id") == "abc"}
    assert {"statement failed", "request failed"} <= events
