"""Logical sessions: their transactions, each on a PostgreSQL connection of its own, and their retried writes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from sillar.testing.servers.mongodb_gateway.command_error import CommandError, from_sqlstate

LOCK_WAIT_MILLISECONDS = 200
TRANSACTION_SECONDS_MAX = 60.0
_DISCONNECT_GRACE_SECONDS = 0.5
_SESSIONS_REMEMBERED = 10_000
_TOO_OLD, _NO_SUCH, _COMMITTED = 225, 251, 256


@dataclass(eq=False)
class Transaction:
    """One open transaction. ``lock`` is held while a command of it runs."""

    lsid: bytes
    number: int
    connection: Any
    client: int
    started: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: bool = False


class Transactions:
    """The open transactions by logical session, and how the last one of each ended."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._open: dict[bytes, Transaction] = {}
        self._ended: OrderedDict[bytes, tuple[int, bool]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._open)

    async def begin(self, lsid: bytes, number: int, client: int) -> Transaction:
        """Open a transaction; an older one that the session left open is aborted, as MongoDB does."""
        previous = self._open.get(lsid)
        newest = max(previous.number if previous else -1, self._ended.get(lsid, (-1, False))[0])
        if number < newest:
            raise CommandError(_TOO_OLD, f"cannot start transaction {number}: the session has seen {newest}")
        if previous is not None:
            await self.end(previous, commit=False)
        connection = await self._pool.acquire()
        transaction = Transaction(lsid, number, connection, client)
        try:
            await connection.execute(
                f"begin isolation level repeatable read; set local lock_timeout = {LOCK_WAIT_MILLISECONDS}"
            )
        except BaseException:
            await self._pool.release(connection)
            raise
        self._open[lsid] = transaction
        return transaction

    def get(self, lsid: bytes, number: int, client: int) -> Transaction:
        """The open transaction of that number. Raises 251 (NoSuchTransaction) or 256 (TransactionCommitted)."""
        transaction = self._open.get(lsid)
        if transaction is None or transaction.number != number:
            if self._ended.get(lsid) == (number, True):
                raise CommandError(_COMMITTED, f"transaction {number} has been committed")
            raise CommandError(
                _NO_SUCH, f"given transaction number {number} does not match any in-progress transactions"
            )
        transaction.client = client
        return transaction

    def committed(self, lsid: bytes, number: int) -> bool:
        """That transaction was the session's last one and was committed: a repeated commit has nothing to do."""
        return self._ended.get(lsid) == (number, True)

    async def end(self, transaction: Transaction, *, commit: bool) -> None:
        """Commit or roll back, once the command that runs in it has ended, and give the connection back."""
        async with transaction.lock:
            await self.end_locked(transaction, commit=commit)

    async def end_locked(self, transaction: Transaction, *, commit: bool) -> None:
        """The same for a caller that holds the lock. Raises ``CommandError`` if the commit fails: it is rolled back."""
        if transaction.ended:
            if commit:
                raise CommandError(_NO_SUCH, f"transaction {transaction.number} has been aborted")
            return
        transaction.ended = True
        if self._open.get(transaction.lsid) is transaction:
            del self._open[transaction.lsid]
        committed = False
        try:
            await transaction.connection.execute("commit" if commit else "rollback")
            committed = commit
        except asyncpg.PostgresError as error:
            raise from_sqlstate(error.sqlstate or "XX000", str(error)) from error
        finally:
            self._ended[transaction.lsid] = (transaction.number, committed)
            self._ended.move_to_end(transaction.lsid)
            if len(self._ended) > _SESSIONS_REMEMBERED:
                self._ended.popitem(last=False)
            await self._pool.release(transaction.connection)

    async def abort_session(self, lsid: bytes) -> None:
        if (transaction := self._open.get(lsid)) is not None:
            await self._abort(transaction)

    async def abort_all(self) -> None:
        for transaction in list(self._open.values()):
            await self._abort(transaction)

    async def abort_expired(self) -> None:
        """Abort those older than ``TRANSACTION_SECONDS_MAX``."""
        for transaction in list(self._open.values()):
            if time.monotonic() - transaction.started > TRANSACTION_SECONDS_MAX:
                await self._abort(transaction)

    def client_left(self, client: int) -> None:
        """Abort what that client's socket used last, unless the session goes on over another socket very soon."""
        for transaction in self._open.values():
            if transaction.client == client:
                task = asyncio.ensure_future(self._abort_left(transaction, client))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _abort_left(self, transaction: Transaction, client: int) -> None:
        await asyncio.sleep(_DISCONNECT_GRACE_SECONDS)
        if transaction.client == client:
            await self._abort(transaction)

    async def _abort(self, transaction: Transaction) -> None:
        # A rollback that fails has lost its connection: PostgreSQL has rolled back by then.
        with contextlib.suppress(CommandError, asyncpg.InterfaceError, OSError):
            await self.end(transaction, commit=False)


class RetryableWrites:
    """Remembers the reply to each session's last retryable write, so that a repeated one is not applied twice."""

    def __init__(self) -> None:
        self._last: OrderedDict[bytes, tuple[int, asyncio.Future[bytes | None]]] = OrderedDict()

    async def once(self, lsid: bytes, number: int, run: Callable[[], Awaitable[bytes]]) -> bytes:
        """Run the write, or give the reply of the same one that ran before; one that failed runs again."""
        while (last := self._last.get(lsid)) is not None and last[0] >= number:
            if last[0] > number:
                raise CommandError(
                    _TOO_OLD, f"retryable write {number} is older than {last[0]}, which the session sent"
                )
            if (reply := await asyncio.shield(last[1])) is not None:
                return reply
            if self._last.get(lsid) is last:
                break
        future: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._last[lsid] = (number, future)
        self._last.move_to_end(lsid)
        if len(self._last) > _SESSIONS_REMEMBERED:
            self._last.popitem(last=False)
        reply = None
        try:
            reply = await run()
        finally:
            future.set_result(reply)
        return reply

    def forget(self, lsid: bytes) -> None:
        self._last.pop(lsid, None)
