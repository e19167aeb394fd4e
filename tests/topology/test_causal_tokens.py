"""Reading in one service what another one has written."""

from __future__ import annotations

import asyncio
from typing import Annotated

import httpx2 as httpx
import pytest
from fastapi import Depends, FastAPI
from tests.replicated import Replicated
from tests.topology.conftest import known_to_have_all, node_of, paused, pool_of

from sillar import CausalTokens, DatabaseManager, DatabaseSession
from sillar.errors import NodeUnavailableError, UsageError
from sillar.fastapi import FastAPIDatabaseIntegration, get_database_session

KEY = "a key that is long enough for this"


async def _count(manager: DatabaseManager, text: str) -> int:
    async with manager.session() as session:
        return int(await session.fetch_value("select count(*) from note where text = :text", {"text": text}))


async def _write(manager: DatabaseManager, number: int, text: str) -> str | None:
    async with manager.session() as session:
        await session.execute("insert into note values (:id, :text)", {"id": number, "text": text})
    return await CausalTokens(manager, KEY).issue()


async def test_another_service_reads_what_the_token_stands_for(replicated: Replicated) -> None:
    async with DatabaseManager.from_url(replicated.url) as orders, DatabaseManager.from_url(replicated.url) as bills:
        tokens = CausalTokens(bills, KEY)
        await replicated.caught_up()
        async with paused(*replicated.replicas):
            token = await asyncio.create_task(_write(orders, 10_001, "order"))
            assert token is not None

            async def without() -> int:
                return await _count(bills, "order")

            async def with_token() -> int:
                tokens.accept(token)
                return await _count(bills, "order")

            assert await asyncio.create_task(without()) == 0
            assert await asyncio.create_task(with_token()) == 1
        await known_to_have_all(bills, replicated)
        before = node_of(bills, replicated.primary).pool.stats().acquired_total
        assert await asyncio.create_task(with_token()) == 1
        assert node_of(bills, replicated.primary).pool.stats().acquired_total == before  # from a replica by now


async def test_a_database_may_have_another_name_elsewhere(manager: DatabaseManager) -> None:
    ours, theirs = CausalTokens(manager, KEY, names={"default": "shop"}), CausalTokens(manager, KEY)

    async def write() -> str | None:
        async with manager.session() as session:
            await session.execute("insert into note values (10101, 'named')")
        return await ours.issue()

    token = await asyncio.create_task(write())
    assert token is not None

    async def marks(tokens: CausalTokens) -> list[str]:
        from sillar.consistency import current_causality

        tokens.accept(token)
        return list(current_causality().marks)

    assert await asyncio.create_task(marks(ours)) == ["default"]
    assert await asyncio.create_task(marks(theirs)) == []


async def test_nothing_written_needs_no_token(manager: DatabaseManager) -> None:
    async def read() -> str | None:
        await _count(manager, "nothing")
        return await CausalTokens(manager, KEY).issue()

    assert await asyncio.create_task(read()) is None


async def test_a_token_that_is_not_ours_is_refused(manager: DatabaseManager) -> None:
    tokens = CausalTokens(manager, KEY)
    token = await _write(manager, 10_201, "signed")
    assert token is not None
    body, _, signature = token.partition(".")
    for forged in (
        "",
        ".",
        body,
        f"{body}.",
        f"{body[:-2]}AA.{signature}",
        f"{body}.{signature[:-2]}",
        "é" * 9,
        "a" * 9000,
    ):
        with pytest.raises(UsageError, match="causal token"):
            tokens.accept(forged)
    with pytest.raises(UsageError, match="not issued with our key"):
        CausalTokens(manager, "another key, also long enough").accept(token)
    with pytest.raises(UsageError, match="needs 16"):
        CausalTokens(manager, "short")
    assert KEY not in repr(tokens)
    tokens.accept(token)


async def test_what_was_received_is_passed_on_with_what_was_written(manager: DatabaseManager) -> None:
    tokens = CausalTokens(manager, KEY)
    first = await asyncio.create_task(_write(manager, 10_301, "first"))
    second = await asyncio.create_task(_write(manager, 10_302, "second"))
    assert first is not None
    assert second is not None

    async def both() -> str | None:
        tokens.accept(second)
        tokens.accept(first)  # the older one changes nothing
        return await tokens.issue()

    assert await asyncio.create_task(both()) == second


async def test_a_primary_that_is_gone_gives_no_token(replicated: Replicated) -> None:
    async with DatabaseManager.from_url(replicated.url) as manager:
        tokens = CausalTokens(manager, KEY)
        await _write(manager, 10_401, "soon gone")
        node = node_of(manager, replicated.primary)
        await node.watch.close()
        async with manager.session() as session:
            await session.execute("delete from note where id = 10401")
        with pytest.raises((NodeUnavailableError, TimeoutError)):
            await tokens.issue()


Session = Annotated[DatabaseSession, Depends(get_database_session, scope="function")]


def application(manager: DatabaseManager) -> FastAPI:
    app = FastAPI()
    integration = FastAPIDatabaseIntegration(app, manager)
    integration.setup_dependencies()
    integration.setup_middleware(causal_tokens=CausalTokens(manager, KEY))

    @app.post("/notes/{number}")
    async def write(number: int, session: Session) -> dict[str, int]:
        await session.execute("insert into note values (:id, 'web')", {"id": number})
        return {"id": number}

    @app.get("/notes")
    async def read() -> dict[str, int]:
        return {"count": await _count(manager, "web")}

    @app.post("/background/{number}")
    async def in_a_task(number: int) -> dict[str, int]:
        async def work() -> None:
            async with manager.session() as session:
                await session.execute("insert into note values (:id, 'web')", {"id": number})

        await asyncio.create_task(work())
        return {"count": await _count(manager, "web")}  # in the request all tasks are one line of work

    return app


async def test_the_token_travels_in_a_header(manager: DatabaseManager, replicated: Replicated) -> None:
    transport = httpx.ASGITransport(app=application(manager))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        response = await client.get("/notes")
        assert "x-causal-token" not in response.headers
        before = response.json()["count"]
        async with paused(*replicated.replicas):
            response = await client.post("/notes/10501")
            assert response.status_code == 200
            token = response.headers["x-causal-token"]
            with_token = await client.get("/notes", headers={"X-Causal-Token": token})
            assert with_token.json()["count"] == before + 1
            assert with_token.headers["x-causal-token"] == token  # for whoever comes next
            assert (await client.get("/notes")).json()["count"] == before
            assert (await client.post("/background/10502")).json()["count"] == before + 2
        await replicated.caught_up()
        refused = await client.get("/notes", headers={"X-Causal-Token": "forged"})
        assert refused.status_code == 400
        assert refused.json()["title"] == "The causal token is not valid"


async def test_a_response_is_sent_without_a_token_that_cannot_be_had(replicated: Replicated) -> None:
    async with DatabaseManager.from_url(replicated.url) as manager:
        await manager.session().execute("insert into note values (10600, 'x')")
        await node_of(manager, replicated.primary).watch.close()
        transport = httpx.ASGITransport(app=application(manager))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            response = await client.post("/notes/10601")
        assert response.status_code == 200
        assert "x-causal-token" not in response.headers
        assert pool_of(manager).topology.primary is not None
