"""Batches from asynchronous code, outside of revisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sillar.integrations.orm import IntegrationHost

T = TypeVar("T")


async def run_batched(
    manager: IntegrationHost, work: Callable[..., T], *arguments: Any, database: str | None = None, **options: Any
) -> T:
    """Run `batched_update`, `batched_copy`, `undo_batches` or `forget_batches` on a connection of the manager's, in a
    service or a script; the event loop goes on meanwhile.

    Args:
        manager: open.
        work: one of these functions.
        arguments: its arguments after the first.
        database: configured name of the database; None is the default one.
        options: its keyword arguments. Functions among them are called in the event loop, so they must not block it.

    Raises:
        UsageError: SQLAlchemy's asynchronous part is not installed; and what the function raises.
    """
    from sillar.integrations.sqlalchemy import SQLAlchemyIntegration

    async with SQLAlchemyIntegration(manager, database).engine.connect() as connection:
        return await connection.run_sync(work, *arguments, **options)
