"""Reading your writes across two services, on replicas, by a signed token in a header.

An orders service writes and answers with a token. A bills service that gets the token reads what the orders service
has written, though a replica that it reads from may be behind. Both are FastAPI applications; here one process runs
both, in real life they are on two machines.
"""

import asyncio
import os
from typing import Annotated

import httpx2
from fastapi import Depends, FastAPI

from sillar import CausalTokens, DatabaseManager, DatabaseSession
from sillar.fastapi import FastAPIDatabaseIntegration, get_database_session

URL = os.environ.get("SILLAR_EXAMPLE_REPLICATED_URL", "postgresql://app@db1,db2,db3/app")
KEY = os.environ.get("CAUSAL_KEY", "keep this secret, and the same everywhere")
Session = Annotated[DatabaseSession, Depends(get_database_session, scope="function")]


def service(manager: DatabaseManager) -> FastAPI:
    app = FastAPI()
    integration = FastAPIDatabaseIntegration(app, manager)
    integration.setup_dependencies()
    integration.setup_middleware(causal_tokens=CausalTokens(manager, KEY))
    return app


def orders(manager: DatabaseManager) -> FastAPI:
    app = service(manager)

    @app.post("/orders/{number}")
    async def order(number: int, session: Session) -> dict[str, int]:
        await session.execute("INSERT INTO customer_order VALUES (:number)", {"number": number})
        return {"number": number}

    return app


def bills(manager: DatabaseManager) -> FastAPI:
    app = service(manager)

    @app.get("/open")
    async def open_orders(session: Session) -> dict[str, int]:
        return {"count": await session.fetch_value("SELECT count(*) FROM customer_order")}

    return app


async def main() -> None:
    async with DatabaseManager.from_url(URL) as ours, DatabaseManager.from_url(URL) as theirs:
        await ours.session().execute("DROP TABLE IF EXISTS customer_order")
        await ours.session().execute("CREATE TABLE customer_order (number int PRIMARY KEY)")
        async with (
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app=orders(ours)), base_url="http://orders") as to_orders,
            httpx2.AsyncClient(transport=httpx2.ASGITransport(app=bills(theirs)), base_url="http://bills") as to_bills,
        ):
            for number in range(1, 51):
                response = await to_orders.post(f"/orders/{number}")
                token = response.headers["X-Causal-Token"]
                answer = await to_bills.get("/open", headers={"X-Causal-Token": token})
                assert answer.json() == {"count": number}, "a stale read"
            print("50 orders, each seen at once by the other service")


asyncio.run(main())
