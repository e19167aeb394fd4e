"""The types of FastAPI dependencies, read by mypy and pyright and never run: what a route gets is what it declares."""

from __future__ import annotations

from typing import Annotated, assert_type

from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel

from sillar import DatabaseManager, DatabaseSession
from sillar.fastapi import (
    DatabaseSessionDep,
    DatabaseTransactionDep,
    FastAPIDatabaseIntegration,
    ManagerDep,
    found,
    get_database_session,
    health_router,
    session_dependency,
    transaction_dependency,
)

AnalyticsSession = Annotated[DatabaseSession, session_dependency("analytics")]
AnalyticsTransaction = Annotated[DatabaseSession, transaction_dependency("analytics")]


class Item(BaseModel):
    id: int


async def route(
    session: DatabaseSessionDep,
    transaction: DatabaseTransactionDep,
    manager: ManagerDep,
    analytics: AnalyticsSession,
    archive: AnalyticsTransaction,
    plain: Annotated[DatabaseSession, Depends(get_database_session)],
) -> None:
    assert_type(session, DatabaseSession)
    assert_type(transaction, DatabaseSession)
    assert_type(manager, DatabaseManager)
    assert_type(analytics, DatabaseSession)
    assert_type(archive, DatabaseSession)
    assert_type(plain, DatabaseSession)
    assert_type(found(await session.fetch_one("SELECT 1", into=Item), "item 1"), Item)


def application(app: FastAPI, manager: DatabaseManager) -> None:
    integration = FastAPIDatabaseIntegration(app, manager)
    assert_type(integration.app, FastAPI)
    assert_type(integration.db_manager, DatabaseManager)
    assert_type(health_router(prefix="/internal"), APIRouter)
    integration.setup_middleware(deadline="soon")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
