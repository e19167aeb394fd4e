"""The end of a watch."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sillar.clock import system_random
from sillar.config import TopologyConfig
from sillar.errors import ConnectError, NodeUnavailableError
from sillar.pool.watch import NodeWatch


class Deaf:
    """Listens to nothing."""

    def answered(self, watch: NodeWatch, status: Any) -> None: ...

    def refused(self, watch: NodeWatch, error: Any) -> None: ...

    def silent(self, watch: NodeWatch) -> None: ...

    def caught_up(self) -> None: ...


async def test_a_watch_ends_although_a_connect_loses_its_cancellation() -> None:
    """A stand-in for `asyncio.wait_for` of Python 3.11 and a connect that fails in the instant of the cancellation."""
    lost = 0

    async def connect() -> Any:
        nonlocal lost
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if lost:
                raise
            lost += 1
            raise ConnectError("refused") from None

    watch = NodeWatch("here", TopologyConfig(), connect, Deaf(), system_random())
    watch.start()
    await asyncio.sleep(0.05)
    await asyncio.wait_for(watch.close(), 10)
    assert lost == 1
    assert watch._task is not None
    assert watch._task.done()


async def test_who_waits_for_a_node_to_catch_up_hears_that_no_connection_could_be_made() -> None:
    """A stand-in for a secrets manager of the host application that fails."""

    async def connect() -> Any:
        raise RuntimeError("no secrets today")

    watch = NodeWatch("here", TopologyConfig(), connect, Deaf(), system_random())
    with pytest.raises(NodeUnavailableError, match="here did not catch up: RuntimeError"):
        await watch.levelling.wait_for(watch.levelling.next_write())
    await watch.close()
