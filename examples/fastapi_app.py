"""A small bank over any SQL database.

    python examples/fastapi_app.py                                       # SQLite, in ./bank.db
    DATABASE_URL=postgresql://me@localhost/bank python examples/fastapi_app.py

Then open http://127.0.0.1:8000/docs, /health/ready and /metrics.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from sillar import DatabaseManager
from sillar.fastapi import (
    DatabaseSessionDep,
    DatabaseTransactionDep,
    FastAPIDatabaseIntegration,
    ManagerDep,
    found,
    health_router,
)

manager = DatabaseManager.from_url(os.environ.get("DATABASE_URL", "sqlite:///bank.db"))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The databases are open here: setup_lifespan opens them before, and closes them after."""
    await manager.session().execute(
        "CREATE TABLE IF NOT EXISTS account"
        " (owner VARCHAR(50) PRIMARY KEY, balance INTEGER NOT NULL, CHECK (balance >= 0))"
    )
    yield


app = FastAPI(title="Bank", lifespan=lifespan)
integration = FastAPIDatabaseIntegration(app, manager)
integration.setup_dependencies()
integration.setup_middleware(deadline_seconds=10)
integration.setup_lifespan()
app.include_router(health_router())


class Account(BaseModel):
    owner: str = Field(min_length=1, max_length=50)
    balance: int = Field(ge=0, le=1_000_000)


class Transfer(BaseModel):
    giver: str
    taker: str
    amount: int = Field(gt=0, le=1_000_000)


@app.post("/accounts", status_code=201)
async def open_account(account: Account, session: DatabaseSessionDep) -> Account:
    """One statement commits by itself. A second account of one owner is a 409."""
    await session.execute("INSERT INTO account (owner, balance) VALUES (:owner, :balance)", account.model_dump())
    return account


@app.get("/accounts/{owner}")
async def show_account(owner: str, session: DatabaseSessionDep) -> Account:
    """An account that does not exist is a 404."""
    row = await session.fetch_one(
        "SELECT owner, balance FROM account WHERE owner = :owner", {"owner": owner}, into=Account
    )
    return found(row, f"the account of {owner}")


@app.post("/transfers")
async def transfer(order: Transfer, session: DatabaseTransactionDep) -> list[Account]:
    """The whole request is one transaction: committed before the response, rolled back if anything raises.

    More than there is breaks the CHECK of the table: a 422, and nothing has moved.
    """
    for owner, change in sorted([(order.giver, -order.amount), (order.taker, order.amount)]):  # one order: no deadlock
        moved = await session.execute(
            "UPDATE account SET balance = balance + :change WHERE owner = :owner", {"change": change, "owner": owner}
        )
        found(moved.rows_affected or None, f"the account of {owner}")
    return await session.fetch_all(
        "SELECT owner, balance FROM account WHERE owner IN (:giver, :taker) ORDER BY owner",
        {"giver": order.giver, "taker": order.taker},
        into=Account,
    )


@app.get("/accounts")
async def export(manager: ManagerDep) -> StreamingResponse:
    """All rows, with bounded memory. The body is sent after the route has returned, so it opens its own session."""

    async def lines() -> AsyncIterator[str]:
        async with manager.session() as session:
            async with session.stream("SELECT owner, balance FROM account ORDER BY owner") as rows:
                async for row in rows:
                    yield json.dumps(row) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=8000)
