"""Sessions and transactions of routes: who finds the manager, and when COMMIT comes."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from tests.fastapi.quarry import DEFERRING_ENGINES, Quarry, application, client_of

from sillar import DatabaseManager, DatabaseSession, load_config
from sillar.errors import UsageError
from sillar.fastapi import (
    DatabaseSessionDep,
    DatabaseTransactionDep,
    FastAPIDatabaseIntegration,
    ManagerDep,
    add_problem_handlers,
    get_database_session,
    session_dependency,
    transaction_dependency,
)

INSERT = "INSERT INTO mason (id, name) VALUES (:id, :name)"


async def test_statements_of_a_session_commit_by_themselves(quarry: Quarry) -> None:
    app = application(quarry.manager)

    @app.post("/masons/{mason_id}")
    async def add(mason_id: int, session: DatabaseSessionDep) -> dict[str, int]:
        await session.execute(INSERT, {"id": mason_id, "name": f"mason {mason_id}"})
        assert quarry.leased == 0, "a connection is held only while a statement runs"
        raise HTTPException(418)

    async with client_of(app) as client:
        assert (await client.post("/masons/1")).status_code == 418
    assert await quarry.names() == ["mason 1"]


async def test_a_transaction_commits_before_the_response_and_rolls_back_when_the_route_raises(quarry: Quarry) -> None:
    app = application(quarry.manager)

    @app.post("/masons/{mason_id}")
    async def add(mason_id: int, session: DatabaseTransactionDep, fail: bool = False) -> dict[str, int]:
        assert quarry.leased == 0, "nothing is leased before the first statement"
        await session.execute(INSERT, {"id": mason_id, "name": f"mason {mason_id}"})
        await session.execute(INSERT, {"id": mason_id + 100, "name": f"mason {mason_id + 100}"})
        assert session.in_transaction
        if fail:
            raise HTTPException(400)
        return {"id": mason_id}

    sent_when_committed: list[list[str]] = []

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        async def watching_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                sent_when_committed.append(await quarry.names())
            await send(message)

        await app(scope, receive, watching_send)

    async with client_of(watched) as client:  # type: ignore[arg-type]
        assert (await client.post("/masons/1")).json() == {"id": 1}
        assert (await client.post("/masons/2?fail=true")).status_code == 400
    assert sent_when_committed == [["mason 1", "mason 101"]] * 2
    assert quarry.leased == 0


async def test_a_result_that_cannot_be_serialised_rolls_back(quarry: Quarry) -> None:
    app = application(quarry.manager)

    @app.post("/masons")
    async def add(session: DatabaseTransactionDep) -> dict[str, int]:
        await session.execute(INSERT, {"id": 1, "name": "Inti"})
        return {"id": "not a number"}  # type: ignore[dict-item]

    async with client_of(app, raise_app_exceptions=False) as client:
        assert (await client.post("/masons")).status_code == 500
    assert await quarry.names() == []


@pytest.mark.parametrize("quarry", DEFERRING_ENGINES, indirect=True)
async def test_a_failing_commit_is_an_error_response(quarry: Quarry) -> None:
    """The deferred reference of a stone to its mason is checked at COMMIT: after the route has returned."""
    app = application(quarry.manager)
    returned = []

    @app.post("/stones")
    async def lay(session: DatabaseTransactionDep) -> dict[str, str]:
        await session.execute("INSERT INTO stone (id, weight, mason_id) VALUES (1, 5, 404)")
        returned.append(True)
        return {"stone": "laid"}

    async with client_of(app) as client:
        response = await client.post("/stones")
    assert returned == [True]
    assert response.status_code == 409
    assert response.json()["type"] == "urn:sillar:problem:reference-violation"
    assert await quarry.manager.session().fetch_value("SELECT count(*) FROM stone") == 0
    assert quarry.leased == 0


async def test_a_client_cannot_choose_the_database(quarry: Quarry) -> None:
    app = application(quarry.manager)

    @app.get("/database")
    async def database(
        plain: Annotated[DatabaseSession, Depends(get_database_session)],
        session: DatabaseSessionDep,
        transaction: DatabaseTransactionDep,
        named: Annotated[DatabaseSession, session_dependency("default")],
        manager: ManagerDep,
    ) -> list[str]:
        assert manager is quarry.manager
        return [each.database_name for each in (plain, session, transaction, named)]

    operation = app.openapi()["paths"]["/database"]["get"]
    assert "parameters" not in operation
    assert "requestBody" not in operation
    async with client_of(app) as client:
        assert (await client.get("/database?database_name=elsewhere&connection=x")).json() == ["default"] * 4


@pytest.fixture
def two_databases(tmp_path: Any) -> DatabaseManager:
    return DatabaseManager(
        load_config(
            environment={},
            overrides={
                "default_database": "main",
                "databases": {name: {"url": f"sqlite:///{tmp_path}/{name}.db"} for name in ("main", "analytics")},
            },
        )
    )


async def test_other_databases_by_name(two_databases: DatabaseManager) -> None:
    """ "default" is the default database, whatever its name; a name that is not configured says what there is."""
    app = application(two_databases)
    Analytics = Annotated[DatabaseSession, session_dependency("analytics")]  # noqa: N806

    @app.get("/names")
    async def names(
        default: DatabaseSessionDep,
        default_transaction: DatabaseTransactionDep,
        analytics: Analytics,
        again: Analytics,
        transaction: Annotated[DatabaseSession, transaction_dependency("analytics")],
    ) -> list[str]:
        assert analytics is again
        assert analytics is not transaction
        return [each.database_name for each in (default, default_transaction, analytics, transaction)]

    @app.get("/misspelt")
    async def misspelt(session: Annotated[DatabaseSession, session_dependency("analitics")]) -> None: ...

    async with two_databases, client_of(app) as client:
        assert (await client.get("/names")).json() == ["main", "main", "analytics", "analytics"]
        response = await client.get("/misspelt")
        assert response.status_code == 500
        assert "analytics" not in response.text


async def test_by_hand_within_a_dependency_of_ones_own(two_databases: DatabaseManager) -> None:
    from fastapi import Request

    app = application(two_databases)

    async def either(request: Request, archive: bool = False) -> Any:
        async for session in get_database_session("analytics" if archive else "default", request):
            yield session

    @app.get("/name")
    async def name(session: Annotated[DatabaseSession, Depends(either)]) -> str:
        return session.database_name

    async with two_databases, client_of(app) as client:
        assert (await client.get("/name")).json() == "main"
        assert (await client.get("/name?archive=true")).json() == "analytics"
        with pytest.raises(UsageError, match="needs the request"):
            await anext(get_database_session("analytics"))


async def test_a_session_ends_with_its_request(quarry: Quarry) -> None:
    app = application(quarry.manager)
    kept: list[DatabaseSession] = []

    @app.get("/begin")
    async def begin(session: DatabaseSessionDep) -> None:
        kept.append(session)
        await session.transaction().begin()
        await session.execute(INSERT, {"id": 1, "name": "Inti"})  # and forgets to commit

    async with client_of(app) as client:
        await client.get("/begin")
    assert quarry.leased == 0
    assert await quarry.names() == []
    with pytest.raises(UsageError, match="closed"):
        await kept[0].execute("SELECT 1")


async def test_an_error_response_that_is_returned_commits_and_rollback_is_explicit(quarry: Quarry) -> None:
    """Only an exception rolls back by itself; that a returned error commits is what the guide says."""
    app = application(quarry.manager)

    @app.post("/masons/{mason_id}")
    async def add(mason_id: int, session: DatabaseTransactionDep, undo: bool = False) -> JSONResponse:
        await session.execute(INSERT, {"id": mason_id, "name": f"mason {mason_id}"})
        if undo:
            await session.rollback()
        return JSONResponse({}, 400)

    async with client_of(app) as client:
        await client.post("/masons/1")
        await client.post("/masons/2?undo=true")
    assert await quarry.names() == ["mason 1"]


async def test_mounted_applications_find_the_manager(quarry: Quarry) -> None:
    app, inner, innermost = application(quarry.manager), FastAPI(), FastAPI()
    inner.mount("/deeper", innermost)
    app.mount("/inner", inner)

    async def count(session: DatabaseTransactionDep) -> int:
        return int(await session.fetch_value("SELECT count(*) FROM mason"))

    inner.get("/count")(count)
    innermost.get("/count")(count)
    async with client_of(app) as client:
        assert (await client.get("/inner/count")).json() == 0
        assert (await client.get("/inner/deeper/count")).json() == 0


async def test_the_lifespan_of_the_manager_is_enough(tmp_path: Any) -> None:
    manager = DatabaseManager.from_url(f"sqlite:///{tmp_path}/quarry.db")
    app = FastAPI(lifespan=manager.lifespan)

    @app.get("/one")
    async def one(session: DatabaseSessionDep) -> int:
        return int(await session.fetch_value("SELECT 1"))

    async with app.router.lifespan_context(app), client_of(app) as client:
        assert (await client.get("/one")).json() == 1


async def test_without_a_manager_the_error_names_the_remedy() -> None:
    app = FastAPI()

    @app.get("/one")
    async def one(session: DatabaseSessionDep) -> None: ...

    async with client_of(app) as client:
        with pytest.raises(UsageError, match=r"lifespan=manager\.lifespan.*setup_dependencies"):
            await client.get("/one")


async def test_two_managers_in_one_application_are_refused(two_databases: DatabaseManager, quarry: Quarry) -> None:
    app = FastAPI()
    FastAPIDatabaseIntegration(app, quarry.manager).setup_dependencies()
    with pytest.raises(UsageError, match="another manager already"):
        FastAPIDatabaseIntegration(app, two_databases).setup_dependencies()


async def test_dependencies_can_be_overridden(quarry: Quarry, two_databases: DatabaseManager) -> None:
    app = FastAPI()
    add_problem_handlers(app)

    @app.get("/name")
    async def name(session: DatabaseSessionDep) -> str:
        return session.database_name

    async def other() -> DatabaseSession:
        return two_databases.session("analytics")

    app.dependency_overrides[get_database_session] = other
    async with two_databases, client_of(app) as client:
        assert (await client.get("/name")).json() == "analytics"


async def test_a_websocket_has_sessions_as_well(quarry: Quarry) -> None:
    app = application(quarry.manager)
    from fastapi import WebSocket

    @app.websocket("/count")
    async def count(websocket: WebSocket, session: DatabaseSessionDep) -> None:
        await websocket.accept()
        await websocket.send_json(await session.fetch_value("SELECT count(*) FROM mason"))
        await websocket.close()

    @app.websocket("/broken")
    async def broken(websocket: WebSocket, session: DatabaseSessionDep) -> None:
        await websocket.accept()
        await session.execute("SELECT nonsense FROM nowhere")

    assert [message["type"] for message in await _websocket(app, "/count")] == [
        "websocket.accept",
        "websocket.send",
        "websocket.close",
    ]
    accepted, closed = await _websocket(app, "/broken")
    assert (b"x-request-id", b"abc") in accepted["headers"]
    assert (closed["type"], closed["code"]) == ("websocket.close", 1011)


async def _websocket(app: FastAPI, path: str) -> list[dict[str, Any]]:
    """What the application sends over a WebSocket to a client that says nothing."""
    sent: list[dict[str, Any]] = []
    headers = [(b"host", b"quarry"), (b"x-request-id", b"abc")]
    scope = {"type": "websocket", "asgi": {"version": "3.0"}, "path": path, "raw_path": path.encode(), "scheme": "ws",
             "query_string": b"", "headers": headers, "subprotocols": [], "root_path": ""}  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
