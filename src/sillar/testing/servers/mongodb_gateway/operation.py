"""Running commands: the table that ``$currentOp`` lists, and how one is stopped on PostgreSQL as well."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg

from sillar.testing.servers.mongodb_gateway.command_error import QUERY_CANCELLED, CommandError, from_sqlstate
from sillar.testing.servers.mongodb_gateway.wire import Request

_CANCEL_AGAIN_SECONDS = 0.05
_INTERRUPTED, _CHANGE_OF_STATE, _MAX_TIME_EXPIRED = 11601, 11602, 50


class Operation:
    """One command while it runs.

    Attributes:
        opid: the number by which ``killOp`` names it.
        name: the command's canonical name; ``command`` has all its fields.
        lsid: the id of the logical session, if the command has one.
        connection: the PostgreSQL connection leased to it; ``None`` before the lease or once it was handed to a cursor.
        interruptible: a client that goes away stops it.
        loses_primary: it is killed because the member is the primary no more.
    """

    def __init__(self, opid: int, name: str, request: Request, client: int) -> None:
        self.opid, self.name, self.request, self.client = opid, name, request, client
        self.command = request.command
        self.database: str = self.command.get("$db", "test")
        self.lsid = bytes(self.command["lsid"]["id"]) if "lsid" in self.command else None
        self.max_time_ms = int(self.command.get("maxTimeMS") or 0)
        self.cursor_id: int | None = None
        self.connection: Any = None
        self.interruptible = not request.more_to_come
        self.started = time.monotonic()
        self.ended = asyncio.Event()
        self.killed = self.loses_primary = False
        self._backend: int | None = None
        self._cancelled = False
        self._lock = asyncio.Lock()

    @property
    def number(self) -> int | None:
        """The ``txnNumber``: of a transaction, or of a retryable write."""
        number = self.command.get("txnNumber")
        return None if number is None else int(number)

    @property
    def in_transaction(self) -> bool:
        return self.command.get("autocommit") is False

    @property
    def namespace(self) -> str:
        target = self.command[next(iter(self.command))]
        return f"{self.database}.{target if isinstance(target, str) else '$cmd'}"

    def check(self) -> None:
        """Raise the error of a killed operation."""
        if self.killed:
            raise self._interrupted()

    def _interrupted(self) -> CommandError:
        if self.loses_primary:
            return CommandError(_CHANGE_OF_STATE, "operation was interrupted: the member is not primary any more")
        return CommandError(_INTERRUPTED, "operation was interrupted")

    @property
    def is_out_of_time(self) -> bool:
        """Whether its ``maxTimeMS`` is over."""
        return bool(self.max_time_ms) and (time.monotonic() - self.started) * 1000 > self.max_time_ms

    def cancelled_error(self) -> CommandError:
        """Why PostgreSQL cancelled the statement: killed, or over its ``maxTimeMS``."""
        if self.max_time_ms and not self.killed:
            return CommandError(_MAX_TIME_EXPIRED, f"operation exceeded time limit of {self.max_time_ms} ms")
        return self._interrupted()

    def translate(self, error: asyncpg.PostgresError) -> CommandError:
        """MongoDB's error for one of PostgreSQL's."""
        sqlstate = error.sqlstate or "XX000"
        return self.cancelled_error() if sqlstate == QUERY_CANCELLED else from_sqlstate(sqlstate, str(error))

    async def fetchrow(self, sql: str, *arguments: Any) -> Any:
        """Run a statement on the leased connection; ``maxTimeMS`` and a kill cancel it."""
        self.check()
        connection = self.connection
        if self.max_time_ms:
            left_ms = self.max_time_ms - int((time.monotonic() - self.started) * 1000)
            await connection.execute(f"set statement_timeout = {max(1, left_ms)}")
        self._backend = connection.get_server_pid()
        try:
            return await connection.fetchrow(sql, *arguments)
        finally:
            async with self._lock:
                self._backend = None
                if self._cancelled:
                    await _absorb_cancel(connection)
            if self.max_time_ms:
                # In a failed transaction this fails as well; its rollback restores the setting.
                with contextlib.suppress(asyncpg.InFailedSQLTransactionError):
                    await connection.execute("set statement_timeout = 0")

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        return (await self.fetchrow(sql, *arguments))[0]

    async def cancel_statement(self, cancel: Callable[[int], Awaitable[None]]) -> None:
        """Ask PostgreSQL to cancel what this operation runs there at this moment, if anything."""
        async with self._lock:
            if self._backend is not None:
                self._cancelled = True
                await cancel(self._backend)


async def _absorb_cancel(connection: Any) -> None:
    """Let a cancel request that came too late hit a harmless statement instead of the next caller's."""
    if not connection.is_closed():
        with contextlib.suppress(asyncpg.QueryCanceledError, asyncpg.InFailedSQLTransactionError):
            await connection.execute("select 1")


class OperationTable:
    """All running operations. ``cancel`` cancels the statement of one PostgreSQL backend."""

    def __init__(self, cancel: Callable[[int], Awaitable[None]]) -> None:
        self._cancel = cancel
        self._operations: dict[int, Operation] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Operation]:
        return iter(list(self._operations.values()))

    def begin(self, name: str, request: Request, client: int) -> Operation:
        operation = Operation(next(self._numbers), name, request, client)
        self._operations[operation.opid] = operation
        return operation

    def end(self, operation: Operation) -> None:
        self._operations.pop(operation.opid, None)
        operation.ended.set()

    def get(self, opid: int) -> Operation | None:
        return self._operations.get(opid)

    def kill(self, operation: Operation) -> None:
        """Stop it: its statement is cancelled, again and again until it has ended (one request can come too early)."""
        if not operation.killed:
            operation.killed = True
            task = asyncio.ensure_future(self._stop(operation))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def kill_session(self, lsid: bytes, but: Operation) -> None:
        """Stop all that run for a logical session, except the operation that asks for it."""
        for operation in self:
            if operation.lsid == lsid and operation is not but:
                self.kill(operation)

    def kill_cursor(self, cursor_id: int) -> None:
        for operation in self:
            if operation.cursor_id == cursor_id:
                self.kill(operation)

    async def kill_all(self, timeout_seconds: float) -> None:
        """Stop all, and wait for them to end, at most so long."""
        for operation in self:
            self.kill(operation)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_seconds)
        for task in self._tasks:
            task.cancel()

    async def _stop(self, operation: Operation) -> None:
        while not operation.ended.is_set():
            await operation.cancel_statement(self._cancel)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(operation.ended.wait(), _CANCEL_AGAIN_SECONDS)
