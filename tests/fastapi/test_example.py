"""The example service does what its routes say, over real sockets."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from tests.fastapi.conftest import url_of
from tests.fastapi.quarry import ENGINES, served

from sillar.testing.servers import ServerFleet

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi_app.py"


@pytest.fixture(params=ENGINES)
async def bank(
    request: pytest.FixtureRequest, fleet: ServerFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FastAPI:
    monkeypatch.setenv("DATABASE_URL", await url_of(request.param, fleet, tmp_path))
    spec = importlib.util.spec_from_file_location("fastapi_app_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    async with module.manager as manager:
        await manager.session().execute("DROP TABLE IF EXISTS account")
    app: FastAPI = module.app
    return app


async def test_the_bank(bank: FastAPI) -> None:
    async with served(bank) as url, httpx2.AsyncClient(base_url=url) as client:

        async def balances() -> dict[str, int]:
            lines = (await client.get("/accounts")).text.splitlines()
            return {row["owner"]: row["balance"] for row in map(json.loads, lines)}

        async def transfer(giver: str, taker: str, amount: int) -> Any:
            return await client.post("/transfers", json={"giver": giver, "taker": taker, "amount": amount})

        for owner, balance in (("Killa", 10), ("Inti", 100)):
            response = await client.post("/accounts", json={"owner": owner, "balance": balance})
            assert (response.status_code, response.json()) == (201, {"owner": owner, "balance": balance})
        again = await client.post("/accounts", json={"owner": "Inti", "balance": 1})
        assert (again.status_code, again.json()["title"]) == (409, "Already exists")
        assert (await client.get("/accounts/Inti")).json() == {"owner": "Inti", "balance": 100}
        missing = await client.get("/accounts/Amaru")
        assert (missing.status_code, missing.json()["detail"]) == (404, "the account of Amaru was not found")

        assert (await transfer("Inti", "Killa", 30)).json() == [
            {"owner": "Inti", "balance": 70},
            {"owner": "Killa", "balance": 40},
        ]
        assert (await transfer("Inti", "Killa", 71)).status_code == 422
        assert (await transfer("Inti", "Nobody", 5)).status_code == 404
        assert (await transfer("Inti", "Killa", -5)).status_code == 422
        assert await balances() == {"Inti": 70, "Killa": 40}
        assert (await client.get("/health/ready")).status_code == 200
        assert "sillar_transactions_total" in (await client.get("/metrics")).text
