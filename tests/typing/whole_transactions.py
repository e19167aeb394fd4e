"""The types of transactions that are run again, read by mypy and pyright and never run."""

from __future__ import annotations

from typing import assert_type

from sqlalchemy.ext.asyncio import AsyncSession

from sillar import DatabaseSession, Transaction
from sillar.execution.commit_outcome import CommitResolution
from sillar.integrations.sqlalchemy import SQLAlchemyIntegration
from sillar.integrations.tortoise import TortoiseIntegration


async def counted(tx: Transaction) -> int:
    return await tx.fetch_value("SELECT 1", into=int) or 0


async def named(session: AsyncSession) -> str:
    return "basalt"


async def results(session: DatabaseSession, sqlalchemy: SQLAlchemyIntegration, tortoise: TortoiseIntegration) -> None:
    assert_type(await session.run_in_transaction(counted), int)
    assert_type(await session.run_in_transaction(lambda tx: tx.execute_many("DELETE FROM stone", [])), int)
    assert_type(await session.run_in_transaction(counted, resolve_commit=True), int)
    assert_type(await session.run_in_transaction(counted, resolve_commit=CommitResolution.MARKER), int)
    assert_type(await sqlalchemy.run_in_transaction(counted), int)
    assert_type(await sqlalchemy.run_in_session(named), str)
    assert_type(await tortoise.run_in_transaction(counted, attempts_max=3), int)


async def refused(session: DatabaseSession) -> None:
    await session.run_in_transaction(named)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await session.run_in_transaction(counted, resolve_commit="marker")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
