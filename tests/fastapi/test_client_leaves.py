"""Streams, and clients that leave in the middle, over real sockets."""

import asyncio
import gc
import json
import warnings
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import StreamingResponse
from tests.fastapi.quarry import Quarry, application, client_of, served, until

from sillar import DatabaseSession
from sillar.errors import UsageError
from sillar.fastapi import (
    DatabaseSessionDep,
    DatabaseTransactionDep,
    ManagerDep,
    RequestContextMiddleware,
    request_context,
)
from sillar.testing.servers.port import HOST

SLEEP = "SELECT pg_sleep(60) /* of this test */"


async def sleeping(quarry: Quarry) -> int:
    """How many statements of this kind the server runs."""
    found = await quarry.manager.session().fetch_value(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep%of this test%'"
        " AND pid <> pg_backend_pid() AND datname = current_database()"
    )
    return int(found)


def none_sleeps(quarry: Quarry) -> Any:
    async def check() -> bool:
        return await sleeping(quarry) == 0

    return check


def one_sleeps(quarry: Quarry) -> Any:
    async def check() -> bool:
        return await sleeping(quarry) == 1

    return check


@pytest.fixture
def app(postgresql_quarry: Quarry) -> FastAPI:
    return application(postgresql_quarry.manager)


async def leave(url: str, path: str, when: Any, method: str = "GET") -> None:
    """Send a request, wait for the condition, close the socket without having read the answer."""
    _, writer = await asyncio.open_connection(HOST, int(url.rpartition(":")[2]))
    try:
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: quarry\r\nContent-Length: 0\r\n\r\n".encode())
        await until(when)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_the_statement_of_a_client_that_leaves_is_cancelled(app: FastAPI, postgresql_quarry: Quarry) -> None:
    ended: list[BaseException] = []

    @app.get("/sleep")
    async def sleep(session: DatabaseSessionDep) -> None:
        try:
            await session.execute(SLEEP)
        except BaseException as error:
            ended.append(error)
            raise

    async with served(app) as url:
        await leave(url, "/sleep", one_sleeps(postgresql_quarry))
        await until(none_sleeps(postgresql_quarry))
        await until(lambda: postgresql_quarry.leased == 0)
        assert [type(error) for error in ended] == [asyncio.CancelledError]
        async with httpx2.AsyncClient(base_url=url) as client:  # and the service goes on
            assert (await client.get("/nowhere")).status_code == 404
    assert postgresql_quarry.manager.pools["default"].stats().lost_total == 0


async def test_the_transaction_of_a_client_that_leaves_is_rolled_back(app: FastAPI, postgresql_quarry: Quarry) -> None:
    @app.post("/masons")
    async def add(session: DatabaseTransactionDep) -> None:
        await session.execute("INSERT INTO mason (id, name) VALUES (1, 'Inti')")
        await session.execute(SLEEP)

    async with served(app) as url:
        await leave(url, "/masons", one_sleeps(postgresql_quarry), "POST")
        await until(none_sleeps(postgresql_quarry))
        await until(lambda: postgresql_quarry.leased == 0)
    assert await postgresql_quarry.names() == []


async def test_a_commit_in_flight_comes_to_its_end(app: FastAPI, postgresql_quarry: Quarry) -> None:
    """A deferred trigger makes COMMIT take its time; the client leaves meanwhile, the row is there all the same."""
    session = postgresql_quarry.manager.session()
    await session.execute(
        "CREATE OR REPLACE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$"
    )
    await session.execute(
        "CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON mason DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )

    @app.post("/masons")
    async def add(session: DatabaseTransactionDep) -> None:
        await session.execute("INSERT INTO mason (id, name) VALUES (1, 'Inti')")

    async def committing() -> bool:
        found = await session.fetch_value(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COMMIT%'"
        )
        return bool(found)

    async with served(app) as url:
        await leave(url, "/masons", committing, "POST")
        await asyncio.sleep(0.3)
        assert await postgresql_quarry.names() == []
        await until(lambda: postgresql_quarry.leased == 0)
    assert await postgresql_quarry.names() == ["Inti"]


async def test_leaving_can_be_left_alone(postgresql_quarry: Quarry) -> None:
    app = application(postgresql_quarry.manager, cancel_on_disconnect=False)

    @app.post("/masons")
    async def add(session: DatabaseTransactionDep) -> None:
        await session.execute("SELECT pg_sleep(1) /* of this test */")
        await session.execute("INSERT INTO mason (id, name) VALUES (1, 'Inti')")

    async with served(app) as url:
        await leave(url, "/masons", one_sleeps(postgresql_quarry), "POST")
        await until(postgresql_quarry.names)
    assert await postgresql_quarry.names() == ["Inti"]


async def test_background_tasks_survive_the_client(app: FastAPI, postgresql_quarry: Quarry) -> None:
    """They begin after the response; that the client has then left is the ordinary case."""
    done = asyncio.Event()

    @app.post("/later")
    async def later(tasks: BackgroundTasks, manager: ManagerDep) -> None:
        async def work() -> None:
            await asyncio.sleep(0.4)
            await manager.session().execute("INSERT INTO mason (id, name) VALUES (1, 'Inti')")
            done.set()

        tasks.add_task(work)

    async with served(app) as url:
        async with httpx2.AsyncClient(base_url=url) as client:
            assert (await client.post("/later")).status_code == 200
        await asyncio.wait_for(done.wait(), 10)
    assert await postgresql_quarry.names() == ["Inti"]


async def test_a_body_that_comes_slowly_arrives_whole(app: FastAPI) -> None:
    """The middleware reads ahead; what it has read the application gets in order."""

    @app.post("/length")
    async def length(request: Request, first_sleep: float = 0.0) -> int:
        await asyncio.sleep(first_sleep)
        body = await request.body()
        assert body == bytes(range(256)) * (len(body) // 256)
        await asyncio.sleep(0.3)
        return len(body)

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield bytes(range(256)) * 512
            await asyncio.sleep(0.08)

    async with served(app) as url, httpx2.AsyncClient(base_url=url) as client:
        for path in ("/length", "/length?first_sleep=0.3", "/length?first_sleep=0.8"):
            assert (await client.post(path, content=slowly())).json() == 6 * 512 * 256


class Upload:
    """The server's side of a request with a body of many parts; the client leaves after it."""

    def __init__(self, parts: int) -> None:
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": bytes([number]), "more_body": number < parts - 1}
            for number in range(parts)
        ]
        self.read = 0
        self.overlapped = False
        self._is_reading = False

    async def receive(self) -> Any:
        self.overlapped |= self._is_reading  # servers expect one reader at a time
        self._is_reading = True
        await asyncio.sleep(0.15)
        self._is_reading = False
        if self.read < len(self.messages):
            self.read += 1
            return self.messages[self.read - 1]
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None: ...


async def test_no_body_is_hoarded_and_only_one_reads(app: FastAPI) -> None:
    """While the application does not read, one part waits for it; while it reads, nobody else does."""
    upload = Upload(4)
    seen: list[int | bytes] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.8)
        seen.append(upload.read)
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
        seen.append(body)

    scope = {"type": "http", "headers": [], "path": "/"}
    await RequestContextMiddleware(inner)(scope, upload.receive, upload.send)
    assert seen == [1, bytes([0, 1, 2, 3])]
    assert not upload.overlapped


async def test_who_reads_the_end_is_not_cancelled(app: FastAPI) -> None:
    """An application that waits for the client itself, as streams do, decides itself what follows."""
    upload, ended = Upload(0), []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        ended.append((await receive())["type"])
        await asyncio.sleep(0.5)
        ended.append("in its own time")

    async def inner_that_joins_later(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.2)  # by then the middleware reads
        await inner(scope, receive, send)

    scope = {"type": "http", "headers": [], "path": "/"}
    for each in (inner, inner_that_joins_later):
        await RequestContextMiddleware(each)(scope, upload.receive, upload.send)
    assert ended == ["http.disconnect", "in its own time"] * 2


async def test_a_cancellation_by_somebody_else_goes_through(app: FastAPI) -> None:
    waiting = asyncio.Event()

    @app.get("/wait")
    async def wait() -> None:
        waiting.set()
        await asyncio.Event().wait()

    async with client_of(app) as client:
        task = asyncio.create_task(client.get("/wait"))
        await asyncio.wait_for(waiting.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# --- streams ----------------------------------------------------------------------------------------------------

NUMBERS = "SELECT n, repeat('x', 1000) AS filler FROM generate_series(1, :count) AS n"


def with_streams(app: FastAPI) -> FastAPI:
    @app.get("/own-session")
    async def own_session(manager: ManagerDep, count: int) -> StreamingResponse:
        async def lines() -> AsyncIterator[bytes]:
            async with manager.session() as session, session.stream(NUMBERS, {"count": count}) as rows:
                async for row in rows:
                    yield json.dumps(row).encode() + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    @app.get("/session")
    async def of_session(session: DatabaseSessionDep, count: int) -> StreamingResponse:
        return StreamingResponse(streamed(session, count), media_type="application/x-ndjson")

    @app.get("/transaction")
    async def of_transaction(session: DatabaseTransactionDep, count: int) -> StreamingResponse:
        return StreamingResponse(streamed(session, count), media_type="application/x-ndjson")

    async def streamed(session: DatabaseSession, count: int) -> AsyncIterator[bytes]:
        async with session.stream(NUMBERS, {"count": count}) as rows:
            async for row in rows:
                yield json.dumps(row).encode() + b"\n"

    return app


@pytest.mark.parametrize("path", ["/own-session", "/session"])
async def test_rows_are_streamed(app: FastAPI, postgresql_quarry: Quarry, path: str) -> None:
    async with served(with_streams(app)) as url, httpx2.AsyncClient(base_url=url) as client:
        async with client.stream("GET", f"{path}?count=5000") as response:
            assert response.status_code == 200
            numbers = [json.loads(line)["n"] async for line in response.aiter_lines()]
    assert numbers == list(range(1, 5001))
    assert postgresql_quarry.leased == 0


async def test_a_transaction_of_the_request_is_over_when_the_body_is_sent(app: FastAPI) -> None:
    """The trap that the guide names: the session is closed, and says so."""
    async with client_of(with_streams(app)) as client:
        with pytest.raises(RuntimeError, match="response already started") as caught:
            await client.get("/transaction?count=3")
    assert isinstance(caught.value.__cause__, UsageError)
    assert "this session is closed" in str(caught.value.__cause__)


@pytest.mark.parametrize("path", ["/own-session", "/session"])
async def test_a_client_that_leaves_in_the_middle_of_a_stream(
    app: FastAPI, postgresql_quarry: Quarry, path: str
) -> None:
    pool = postgresql_quarry.manager.pools["default"]
    async with served(with_streams(app)) as url:
        for _ in range(5):
            async with httpx2.AsyncClient(base_url=url) as client:
                async with client.stream("GET", f"{path}?count=1000000") as response:
                    await anext(response.aiter_lines())
                    assert postgresql_quarry.leased == 1
            await until(lambda: pool.stats().leased == 0 and pool.stats().restoring == 0)
        assert await postgresql_quarry.manager.session().fetch_value("SELECT 1") == 1
    assert pool.stats().open <= 2


async def test_a_request_that_ends_as_the_watch_begins_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch is cancelled before its first step: what the server gave is not asked, and nobody warns of it."""
    monkeypatch.setattr(request_context, "_WATCH_AFTER_SECONDS", 0.0)
    asked = []

    async def receive() -> dict[str, Any]:
        asked.append(1)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None: ...

    async def short(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)  # the timer is due now …
        await asyncio.sleep(0)  # … and its task comes after this one

    scope: dict[str, Any] = {"type": "http", "path": "/", "headers": []}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await asyncio.create_task(RequestContextMiddleware(short)(scope, receive, send))
        await asyncio.sleep(0)
        gc.collect()
    assert not [str(each.message) for each in caught]
    assert not asked
