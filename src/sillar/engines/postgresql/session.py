"""The private names of asyncpg that Sillar needs, in one place; a contract test holds them at both ends of the supported range."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction, TransactionState


class GatedConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no annotations for subclassing
    """An asyncpg connection whose cancel requests, each a new socket, pass a gate shared with the handshakes of its node."""

    sillar_gate: asyncio.Semaphore | None = None

    async def _cancel(self, waiter: asyncio.Future[None], cancel_waiter: asyncio.Future[None] | None = None) -> None:
        gate = self.sillar_gate
        if gate is None:
            await super()._cancel(waiter, cancel_waiter)
            return
        try:
            async with gate:
                await super()._cancel(waiter, cancel_waiter)
        finally:
            if not waiter.done():  # cancelled at the gate by a teardown: nobody may wait for ever
                waiter.set_result(None)


class PreludeTransaction(Transaction):  # type: ignore[misc]  # as above
    """A transaction that sends its local settings together with BEGIN, in one round trip."""

    def __init__(self, connection: Any, isolation: str | None, read_only: bool, settings: str) -> None:
        super().__init__(connection, isolation, read_only, False)
        self._settings = settings

    async def start(self) -> None:
        """Begin."""
        connection = self._connection
        connection._top_xact = self
        words = ["BEGIN"]
        if self._isolation:
            words.append(f"ISOLATION LEVEL {self._isolation.replace('_', ' ').upper()}")
        if self._readonly:
            words.append("READ ONLY")
        try:
            await connection.execute(f"{' '.join(words)};{self._settings}")
        except BaseException:
            self._state = TransactionState.FAILED
            raise
        self._state = TransactionState.STARTED


async def settled(connection: asyncpg.Connection) -> None:
    """Return once no cancel request of this connection is on its way."""
    protocol = connection._protocol
    if protocol is not None and protocol._is_cancelling():
        await protocol._wait_for_cancellation()


def forget_transaction(connection: asyncpg.Connection) -> None:
    """Let asyncpg forget a transaction object whose transaction the server has ended."""
    connection._top_xact = None


Execute = Callable[[Any, Sequence[Any], str, int, bool, float | None], Awaitable[tuple[list[Any], bytes | None, bool]]]
"""``(statement state, values, portal, row limit, return status, timeout) → (rows, command tag, all rows fetched)``"""


def executor(connection: asyncpg.Connection) -> Execute:
    """Runs prepared statements without the layers of checks above it, which cost a tenth of a read by key."""
    execute: Execute = connection._protocol.bind_execute
    return execute


def state(statement: Any) -> Any:
    """What :func:`executor` takes for a prepared statement."""
    return statement._state
