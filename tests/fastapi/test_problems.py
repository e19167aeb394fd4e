"""Errors as problem responses: the right status, a fixed text, and nothing of the inside."""

import asyncio
from typing import Any

import pytest
import structlog
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from tests.fastapi.quarry import Quarry, application, client_of

from sillar import errors
from sillar.errors import DatabaseError
from sillar.fastapi import DatabaseSessionDep, DatabaseTransactionDep, NotFoundError, add_problem_handlers, found

SECRET = "s3cr3t-value"


def masonry(quarry: Quarry) -> FastAPI:
    app = application(quarry.manager)

    @app.post("/masons/{mason_id}")
    async def add(mason_id: int, session: DatabaseTransactionDep, name: str | None = None) -> None:
        await session.execute("INSERT INTO mason (id, name) VALUES (:id, :name)", {"id": mason_id, "name": name})

    @app.get("/masons/{mason_id}")
    async def get(mason_id: int, session: DatabaseSessionDep) -> dict[str, Any]:
        row = await session.fetch_one("SELECT id, name FROM mason WHERE id = :id", {"id": mason_id})
        return found(row, f"mason {mason_id}")

    @app.delete("/masons/{mason_id}")
    async def remove(mason_id: int, session: DatabaseTransactionDep) -> None:
        await session.execute("DELETE FROM mason WHERE id = :id", {"id": mason_id})

    @app.post("/stones")
    async def lay(weight: int, mason_id: int, session: DatabaseTransactionDep) -> None:
        await session.execute(
            "INSERT INTO stone (id, weight, mason_id) VALUES (1, :weight, :mason)",
            {"weight": weight, "mason": mason_id},
        )

    @app.get("/broken")
    async def broken(session: DatabaseSessionDep) -> None:
        await session.execute("SELECT nonsense FROM nowhere WHERE a = :a", {"a": SECRET})

    @app.get("/unparameterised")
    async def unparameterised(session: DatabaseSessionDep) -> None:
        await session.execute("SELECT 1 WHERE 1 = :a", {"b": SECRET})

    return app


async def test_statuses_on_real_errors(quarry: Quarry) -> None:
    app = masonry(quarry)
    async with client_of(app) as client:

        async def problem(method: str, path: str) -> tuple[int, str]:
            response = await client.request(method, path)
            body = response.json()
            assert response.headers["content-type"] == "application/problem+json"
            assert body["status"] == response.status_code
            assert body["correlation_id"] == response.headers["x-request-id"]
            assert body["instance"] == path.partition("?")[0]
            assert body["title"]
            assert body["detail"]
            for inside in (SECRET, "mason_", "stone_", "SELECT", "INSERT", "nowhere", "constraint", "127.0.0.1", ".db"):
                assert inside not in response.text
            return response.status_code, body["type"].removeprefix("urn:sillar:problem:")

        assert (await client.post(f"/masons/1?name={SECRET}")).status_code == 200
        assert await problem("POST", f"/masons/2?name={SECRET}") == (409, "unique-violation")
        assert await problem("POST", "/masons/3") == (422, "invalid-value")
        assert await problem("POST", "/stones?weight=0&mason_id=1") == (422, "invalid-value")
        assert await problem("POST", "/stones?weight=1&mason_id=404") == (409, "reference-violation")
        assert (await client.post("/stones?weight=1&mason_id=1")).status_code == 200
        assert await problem("DELETE", "/masons/1") == (409, "reference-violation")
        assert await problem("GET", f"/masons/{2**80}") == (422, "invalid-value")
        assert await problem("GET", "/masons/404") == (404, "not-found")
        assert await problem("GET", "/broken") == (500, "internal")
        assert await problem("GET", "/unparameterised") == (422, "invalid-value")
    assert quarry.leased == 0


async def test_what_the_client_is_not_told_is_logged_without_values(quarry: Quarry) -> None:
    app = masonry(quarry)
    with structlog.testing.capture_logs() as logs:
        async with client_of(app) as client:
            await client.get("/broken")
            await client.post(f"/masons/1?name={SECRET}")
            await client.post(f"/masons/2?name={SECRET}")
    broken, conflict = (each for each in logs if each["event"] in ("request failed", "request refused"))
    assert (broken["log_level"], broken["error"], broken["route"]) == ("error", "StatementSyntaxError", "/broken")
    assert "nowhere" in broken["message"]
    assert "in broken" in broken["traceback"]
    assert (conflict["log_level"], conflict["status"], conflict["error"]) == ("info", 409, "UniqueViolationError")
    assert "message" not in conflict
    assert SECRET not in repr(logs)


@pytest.mark.parametrize(
    ("error", "status", "name", "retry_after"),
    [
        (errors.SerializationError("x"), 503, "contention", "1"),
        (errors.DeadlockError("x"), 503, "contention", "1"),
        (errors.LockTimeoutError("x"), 503, "contention", "1"),
        (errors.StatementTimeoutError("x"), 504, "timeout", None),
        (errors.UnavailableError("x"), 503, "unavailable", "1"),
        (errors.ConnectError("x"), 503, "unavailable", "1"),
        (errors.AuthenticationError("x"), 503, "unavailable", "1"),
        (errors.ConnectionLostError("x"), 503, "unavailable", "1"),
        (errors.PoolClosedError("x"), 503, "unavailable", "1"),
        (errors.PoolTimeoutError("x"), 503, "overloaded", "1"),
        (errors.PoolExhaustedError("x"), 503, "overloaded", "1"),
        (errors.OverloadedError("x"), 503, "overloaded", "1"),
        (errors.BreakerOpenError("x"), 503, "unavailable", "1"),
        (errors.NoNodeError("x"), 503, "unavailable", "1"),
        (errors.NoPrimaryError("x"), 503, "unavailable", "1"),
        (errors.ReadOnlyError("x"), 503, "unavailable", "1"),
        (errors.DiskFullError("x"), 503, "unavailable", "1"),
        (errors.CommitUnknownError("x"), 500, "commit-unknown", None),
        (errors.UniqueViolationError("x"), 409, "unique-violation", None),
        (errors.IntegrityError("x"), 500, "internal", None),
        (errors.UsageError("x"), 500, "internal", None),
        (errors.NestedAcquireError("x"), 500, "internal", None),
        (errors.ResultError("x"), 500, "internal", None),
        (errors.UnsupportedCapabilityError("x", engine="y", remedy="z"), 500, "internal", None),
        (errors.ConfigurationError([]), 500, "internal", None),
        (DatabaseError("x"), 500, "internal", None),
    ],
)
async def test_the_table(error: DatabaseError, status: int, name: str, retry_after: str | None) -> None:
    app = FastAPI()
    add_problem_handlers(app)

    @app.get("/fail")
    async def fail() -> None:
        raise error

    async with client_of(app) as client:
        response = await client.get("/fail")
    assert (response.status_code, response.json()["type"]) == (status, f"urn:sillar:problem:{name}")
    assert response.headers.get("retry-after") == retry_after
    assert "correlation_id" not in response.json(), "without the middleware there is none"


async def test_retry_after_of_the_error_counts() -> None:
    app = FastAPI()
    add_problem_handlers(app)

    @app.get("/fail")
    async def fail(seconds: float) -> None:
        error = errors.ConnectError("refused")
        error.retry_after_seconds = seconds
        raise error

    async with client_of(app) as client:
        assert (await client.get("/fail?seconds=6.2")).headers["retry-after"] == "7"
        assert (await client.get("/fail?seconds=0.01")).headers["retry-after"] == "1"


async def test_an_exhausted_pool_is_a_503(postgresql_quarry: Quarry) -> None:
    """A pool of two, three requests that hold a transaction: the third is told to come back."""
    app = application(postgresql_quarry.manager)
    release, holding = asyncio.Event(), asyncio.Semaphore(0)

    @app.get("/hold")
    async def hold(session: DatabaseTransactionDep) -> None:
        await session.execute("SELECT 1")
        holding.release()
        await release.wait()

    async with client_of(app) as client:
        held = [asyncio.create_task(client.get("/hold")) for _ in range(2)]
        try:
            async with asyncio.timeout(20):
                await holding.acquire()
                await holding.acquire()
            refused = await client.get("/hold")
        finally:
            release.set()
        assert [(await each).status_code for each in held] == [200, 200]
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:sillar:problem:overloaded")
    assert refused.headers["retry-after"] == "1"
    assert "pool" not in refused.text


class Stone(BaseModel):
    weight: int


def general(everything: bool) -> FastAPI:
    app = FastAPI()
    add_problem_handlers(app, everything=everything)

    @app.post("/stones")
    async def lay(stone: Stone) -> None: ...

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, {"code": 7}, {"X-Spout": "left"})

    @app.get("/unchanged")
    async def unchanged() -> None:
        raise HTTPException(304)

    @app.get("/missing")
    async def missing() -> None:
        raise NotFoundError("stone 7")

    return app


async def test_the_shapes_of_fastapi_stay_unless_everything_is_a_problem() -> None:
    async with client_of(general(everything=False)) as client:
        assert isinstance((await client.post("/stones", json={"weight": SECRET})).json()["detail"], list)
        assert (await client.get("/nowhere")).json() == {"detail": "Not Found"}
        assert (await client.get("/missing")).json()["detail"] == "stone 7 was not found"
    async with client_of(general(everything=True)) as client:
        response = await client.post("/stones", json={"weight": SECRET})
        assert SECRET not in response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json() == {
            "type": "urn:sillar:problem:invalid-request",
            "title": "The request is not valid",
            "status": 422,
            "detail": "1 fault in the request",
            "instance": "/stones",
            "errors": [
                {
                    "where": ["body", "weight"],
                    "problem": "Input should be a valid integer, unable to parse string as an integer",
                    "kind": "int_parsing",
                }
            ],
        }
        nowhere = (await client.get("/nowhere")).json()
        assert nowhere == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "Not Found",
                           "instance": "/nowhere"}  # fmt: skip
        teapot = await client.get("/teapot")
        assert (teapot.json()["errors"], teapot.headers["x-spout"]) == ({"code": 7}, "left")
        unchanged = await client.get("/unchanged")
        assert (unchanged.status_code, unchanged.content) == (304, b"")


async def test_not_found_is_a_404_without_the_handlers() -> None:
    app = FastAPI()

    @app.get("/missing")
    async def missing() -> None:
        found(None)

    async with client_of(app) as client:
        response = await client.get("/missing")
    assert (response.status_code, response.json()) == (404, {"detail": "the resource was not found"})
    assert found(0) == 0
