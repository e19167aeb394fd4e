"""The service: every route of the API, and the page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.codeatlas.test_store import SOURCES, filled

from codeatlas.rules import RULES
from codeatlas.stores import store_for
from codeatlas.web import create_app
from sillar import DatabaseManager


def client_of(app: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://atlas")


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """The service over two projects, started and stopped as a server does it."""
    app = create_app(DatabaseManager.from_url(database_url))
    async with app.router.lifespan_context(app):
        store = store_for(app.state.database_manager)
        await filled(store)
        await filled(store, project="other", root="/other")
        async with client_of(app) as client:
            yield client


@pytest.fixture
async def sqlite_client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """The same on one engine, for what does not depend on it."""
    app = create_app(DatabaseManager.from_url(f"sqlite:///{tmp_path / 'atlas.db'}"))
    async with app.router.lifespan_context(app):
        await filled(store_for(app.state.database_manager))
        async with client_of(app) as client:
            yield client


async def get(client: httpx2.AsyncClient, path: str, **query: Any) -> Any:
    response = await client.get(f"/api/{path}", params=query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    return response.json()


async def quarry(client: httpx2.AsyncClient) -> int:
    projects = (await get(client, "projects"))["projects"]
    return next(int(project["id"]) for project in projects if project["name"] == "quarry")


async def test_the_whole_api_on_every_engine(client: httpx2.AsyncClient) -> None:
    projects = await get(client, "projects")
    assert [project["name"] for project in projects["projects"]] == ["other", "quarry"]
    assert projects["next"] is None
    base = f"projects/{await quarry(client)}"

    overview = await get(client, base)
    assert overview["roots"] == ["/quarry"]
    assert (overview["totals"]["files"], overview["run"]["status"]) == (4, "finished")
    assert overview["packages"][0]["name"] in ("(top level)", "net")
    (point,) = (await get(client, f"{base}/trends"))["trends"]
    assert point["totals"] == overview["totals"]

    files = (await get(client, f"{base}/files"))["files"]
    assert [file["path"] for file in files] == sorted(SOURCES)
    named = (await get(client, f"{base}/files", name="sock"))["files"]
    assert [file["path"] for file in named] == ["net/Socket.py"]
    having = (await get(client, f"{base}/files", text="parse os"))["files"]
    assert {file["path"]: file["score"] for file in having} == {"net/Socket.py": 8, "parser.py": 8}
    symbols = (await get(client, f"{base}/symbols", prefix="parse_a"))["symbols"]
    assert [symbol["name"] for symbol in symbols] == ["parse_address", "Parser.parse_args"]
    functions = (await get(client, f"{base}/functions"))["functions"]
    assert [(function["name"], function["complexity"]) for function in functions][:2] == [
        ("Parser.parse_args", 5),
        ("parse_address", 3),
    ]
    (finding,) = (await get(client, f"{base}/findings", rule="bare-except"))["findings"]
    assert (finding["path"], finding["line"]) == ("net/Socket.py", 7)

    detail = await get(client, f"files/{named[0]['id']}")
    assert detail["facts"]["path"] == "net/Socket.py"
    assert [len(detail[part]) for part in ("symbols", "imports", "findings", "history")] == [2, 2, 4, 1]

    state = await get(client, "databases")
    (pool,) = state["pools"]
    assert pool["healthy"] is True
    assert pool["executions"] == sum(pool["latency"]["counts"]) > 20
    assert state["metrics"]["query_count"] == pool["executions"]
    assert len(pool["latency"]["counts"]) == len(pool["latency"]["bounds_seconds"]) + 1


@pytest.mark.parametrize("name", ["files", "functions", "findings", "projects"])
async def test_lists_go_on_where_a_page_ended(sqlite_client: httpx2.AsyncClient, name: str) -> None:
    path = "projects" if name == "projects" else f"projects/{await quarry(sqlite_client)}/{name}"
    query = {"rule": "unused-import"} if name == "findings" else {}
    whole = await get(sqlite_client, path, **query)
    assert whole["next"] is None
    entries: list[Any] = []
    following: str | None = ""
    while following is not None:
        after = {"after": following} if following else {}
        page = await get(sqlite_client, path, limit="1", **query, **after)
        entries += page[name]
        following = page["next"]
    assert entries == whole[name]
    assert len(entries) >= 1


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("projects/77", 404, "project 77 was not found"),
        ("projects/0", 422, None),
        ("projects/x", 422, None),
        ("files/77", 404, "file 77 was not found"),
        (f"files/{2**63}", 422, None),
        ("projects/1/findings", 422, None),
        ("projects/1/findings?rule=nothing", 404, "rule nothing was not found"),
        ("projects/1/findings?rule=bare-except&after=1", 422, None),
        ("projects/1/functions?after=1~2", 422, None),
        ("projects/1/functions?after=1~2~x", 422, None),
        (f"projects/1/functions?after=1~2~{2**63}", 422, None),
        ("projects/1/functions?limit=0", 422, None),
        ("projects/1/functions?limit=201", 422, None),
        ("projects/1/files?after=x", 422, None),
        ("projects/1/files?name=a&text=b", 422, None),
        ("projects/1/files?name=", 422, None),
        (f"projects/1/files?name={'a' * 201}", 422, None),
        ("projects/1/symbols", 422, None),
    ],
)
async def test_what_is_not_there_or_makes_no_sense(
    sqlite_client: httpx2.AsyncClient, path: str, status: int, detail: str | None
) -> None:
    response = await sqlite_client.get(f"/api/{path}")
    assert response.status_code == status
    if detail is not None:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["detail"] == detail


async def test_searches_take_whatever_is_typed(client: httpx2.AsyncClient) -> None:
    base = f"projects/{await quarry(client)}"
    files = (await get(client, f"{base}/files"))["files"]
    for text in ("'", '"; DROP TABLE atlas_files; --', "%", "_", "\\", "é", "\x7f", "𝔵", "(", "$ne", "a" * 100, " "):
        found = (await get(client, f"{base}/files", name=text))["files"]
        assert [file["path"] for file in found] == [file["path"] for file in files if text in file["path"]]
        assert "files" in await get(client, f"{base}/files", text=text)
        assert "symbols" in await get(client, f"{base}/symbols", prefix=text)
    assert (await get(client, f"{base}/files"))["files"] == files
    for query in ({"name": "a\0"}, {"text": "a\0"}):
        assert (await client.get(f"/api/{base}/files", params=query)).status_code == 422
    assert (await client.get(f"/api/{base}/symbols", params={"prefix": "a\0"})).status_code == 422
    assert (await client.get(f"/api/{base}/files", params={"after": "a\0~1"})).status_code == 422
    assert (await client.get("/api/projects", params={"after": "a\0"})).status_code == 422


async def test_the_catalogue_of_rules(sqlite_client: httpx2.AsyncClient) -> None:
    rules = (await get(sqlite_client, "rules"))["rules"]
    assert {rule["id"] for rule in rules} == set(RULES)
    assert all(rule["title"] and rule["remedy"] and rule["severity"] for rule in rules)


async def test_health_and_metrics_are_there(sqlite_client: httpx2.AsyncClient) -> None:
    assert (await sqlite_client.get("/health/live")).status_code == 200
    assert (await sqlite_client.get("/health/ready")).json()["status"] == "ready"
    metrics = (await sqlite_client.get("/metrics")).text
    assert re.search(r"^sillar_\w+.*\d$", metrics, re.MULTILINE)


async def test_the_page_needs_nothing_from_elsewhere(sqlite_client: httpx2.AsyncClient) -> None:
    """Every file that a file of the page refers to is served, and nothing refers to another host."""
    page = await sqlite_client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    waiting, seen = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text), set()
    assert len(waiting) >= 4
    texts = [page.text]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        response = await sqlite_client.get(path)
        assert response.status_code == 200, path
        texts.append(response.text)
        waiting += [f"/static/{name}" for name in re.findall(r'from "\./([^"]+)"', response.text)]
    assert {Path(path).suffix for path in seen} == {".css", ".js", ".svg"}
    for text in texts:
        assert not re.search(r"https?://(?!www\.w3\.org/)", text)
        assert "innerHTML" not in text


async def test_the_description_of_the_api_lists_its_routes(sqlite_client: httpx2.AsyncClient) -> None:
    description = (await sqlite_client.get("/openapi.json")).json()
    assert {path for path in description["paths"] if not path.startswith("/api/projects/{project_id}")} == {
        "/api/projects",
        "/api/files/{file_id}",
        "/api/rules",
        "/api/databases",
    }
    assert (await sqlite_client.get("/docs")).status_code == 404
