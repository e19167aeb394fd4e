"""What several tests of the pool share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sillar import ConnectionPool
from sillar.errors import NodeUnavailableError

OpenPool = Callable[..., Awaitable[ConnectionPool]]


async def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def out_of_service() -> NodeUnavailableError:
    """The error of a node that a topology took out of service."""
    return NodeUnavailableError("the node is out of service: it is being repaired")
