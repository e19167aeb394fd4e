"""The same dependencies, problems and routes over MongoDB."""

from typing import Any

from fastapi import HTTPException
from tests.fastapi.quarry import application, client_of

from sillar import DatabaseManager, load_config
from sillar.fastapi import DatabaseSessionDep, DatabaseTransactionDep, found, health_router
from sillar.testing.servers import MongoDBServer


async def test_documents(mongodb: MongoDBServer) -> None:
    async with DatabaseManager(load_config(url=mongodb.url, environment={})) as manager:
        masons = manager.session().documents("fastapi_mason")
        await masons.delete_many({})
        await masons.insert_one({"_id": 0, "name": "Amaru"})
        app = application(manager)
        app.include_router(health_router())

        @app.post("/masons/{mason_id}")
        async def add(mason_id: int, session: DatabaseTransactionDep, fail: bool = False) -> None:
            await session.documents("fastapi_mason").insert_one({"_id": mason_id, "name": f"mason {mason_id}"})
            if fail:
                raise HTTPException(400)

        @app.get("/masons/{mason_id}")
        async def get(mason_id: int, session: DatabaseSessionDep) -> dict[str, Any]:
            return found(await session.documents("fastapi_mason").find_one({"_id": mason_id}), f"mason {mason_id}")

        async with client_of(app) as client:
            assert (await client.post("/masons/1")).status_code == 200
            conflict = await client.post("/masons/1")
            assert (conflict.status_code, conflict.json()["type"]) == (409, "urn:sillar:problem:unique-violation")
            assert "fastapi_mason" not in conflict.text
            assert (await client.post("/masons/2?fail=true")).status_code == 400
            assert (await client.get("/masons/1")).json() == {"_id": 1, "name": "mason 1"}
            assert (await client.get("/masons/2")).status_code == 404
            assert (await client.get("/health/ready")).status_code == 200
            assert (
                'sillar_transactions_total{database="default",outcome="commit"} 1.0'
                in (await client.get("/metrics")).text
            )
