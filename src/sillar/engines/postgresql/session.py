"""The private names of asyncpg that Sillar needs, in one place; a contract test holds them at both ends of the
supported range."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
from asyncpg.transaction import Transaction, TransactionState


class GatedConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no annotations for subclassing
    """An asyncpg connection whose cancel requests, each a new socket, pass a gate shared with the handshakes of its
    node.

    It remembers what its users have changed in asyncpg's own objects, so that it can be undone before somebody else has
    it.
    """

    sillar_gate: asyncio.Semaphore | None = None
    sillar_warned_by: str | None = None
    """The server's routine that sent the last warning of the class 01000."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sillar_codecs: set[tuple[str, str]] = set()

    async def set_type_codec(self, typename: str, *, schema: str = "public", **options: Any) -> None:
        self._sillar_codecs.add((typename, schema))
        await super().set_type_codec(typename, schema=schema, **options)

    async def set_builtin_type_codec(self, typename: str, *, schema: str = "public", **options: Any) -> None:
        self._sillar_codecs.add((typename, schema))
        await super().set_builtin_type_codec(typename, schema=schema, **options)

    async def forget_users(self) -> bool:
        """Undo codecs and listeners; whether there were codecs, which outlive in the prepared statements."""
        self._listeners.clear()
        self._log_listeners.clear()
        codecs, self._sillar_codecs = self._sillar_codecs, set()
        for typename, schema in codecs:
            await self.reset_type_codec(typename, schema=schema)
        return bool(codecs)

    def _process_log_message(self, fields: dict[str, str], last_query: str) -> None:
        if fields.get("C") == "01000":
            self.sillar_warned_by = fields.get("R")
        super()._process_log_message(fields, last_query)

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


class PlainTransaction(Transaction):  # type: ignore[misc]  # as above
    """A transaction without options that begins and rolls back straight on the protocol: for an ORM, which does so
    around every read. Inside another transaction it is asyncpg's savepoint."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection, None, False, False)

    async def start(self) -> None:
        """Begin."""
        connection = self._connection
        if connection._top_xact is not None:
            await super().start()
            return
        connection._top_xact = self
        await self._send("BEGIN", TransactionState.STARTED)

    async def rollback(self) -> None:
        """Roll back."""
        if self._nested or self._state is not TransactionState.STARTED:
            await super().rollback()
            return
        forget_transaction(self._connection)
        await self._send("ROLLBACK", TransactionState.ROLLEDBACK)

    async def _send(self, sql: str, state: TransactionState) -> None:
        try:
            await self._connection._protocol.query(sql, None)
        except BaseException:
            self._state = TransactionState.FAILED
            raise
        self._state = state


async def commit(transaction: Transaction) -> str:
    """Commit, and return the server's answer: it says ROLLBACK, and no error, where a statement had failed before."""
    if transaction._state is not TransactionState.STARTED:
        raise asyncpg.InterfaceError(f"cannot commit; the transaction is {transaction._state.name.lower()}")
    connection = transaction._connection
    try:
        status = await connection.execute("COMMIT")
    except BaseException:
        transaction._state = TransactionState.FAILED
        raise
    finally:
        forget_transaction(connection)
    transaction._state = TransactionState.COMMITTED
    return str(status)


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
