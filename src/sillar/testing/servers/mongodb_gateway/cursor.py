"""Open cursors: DocumentDB's continuation, and the connection of those that PostgreSQL keeps open itself."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sillar.testing.servers.mongodb_gateway.command_error import CommandError
from sillar.testing.servers.mongodb_gateway.session import Transaction

IDLE_SECONDS_MAX = 600.0
_CURSOR_NOT_FOUND, _CURSOR_IN_USE = 43, 12051


@dataclass(eq=False)
class Cursor:
    """One open cursor.

    Attributes:
        continuation: BSON that says how to go on.
        connection: the PostgreSQL connection whose portal it reads; ``None`` if any will do, or the
            transaction's.
        transaction: the transaction it was opened in.
    """

    cursor_id: int
    namespace: str
    continuation: bytes
    lsid: bytes | None
    connection: Any = None
    transaction: Transaction | None = None
    in_use: bool = False
    used: float = field(default_factory=time.monotonic)


class CursorTable:
    """All open cursors."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._cursors: dict[int, Cursor] = {}

    def __len__(self) -> int:
        return len(self._cursors)

    def new_id(self) -> int:
        while (cursor_id := secrets.randbits(62) | 1) in self._cursors:
            pass
        return cursor_id

    def add(self, cursor: Cursor) -> None:
        self._cursors[cursor.cursor_id] = cursor

    def take(self, cursor_id: int, transaction: Transaction | None) -> Cursor:
        """The cursor, marked as in use. Raises 43 (CursorNotFound) or 12051 (CursorInUse)."""
        cursor = self._cursors.get(cursor_id)
        if cursor is None or (cursor.transaction is not None and cursor.transaction is not transaction):
            raise CommandError(_CURSOR_NOT_FOUND, f"cursor id {cursor_id} not found")
        if cursor.in_use:
            raise CommandError(_CURSOR_IN_USE, f"cursor id {cursor_id} is already in use")
        cursor.in_use = True
        return cursor

    def put_back(self, cursor: Cursor, continuation: bytes) -> None:
        cursor.continuation, cursor.in_use, cursor.used = continuation, False, time.monotonic()

    async def drop(self, cursor: Cursor) -> None:
        """Close it and give its connection back; one in use is closed by the operation that uses it."""
        self._cursors.pop(cursor.cursor_id, None)
        connection, cursor.connection = cursor.connection, None
        if connection is not None:
            try:
                if not connection.is_closed():
                    await connection.execute("close all")
            finally:
                await self._pool.release(connection)

    async def kill(self, cursor_ids: list[int]) -> tuple[list[int], list[int]]:
        """Close those that are open and idle. Returns those found (those in use included) and those not found."""
        found = [cursor for cursor_id in cursor_ids if (cursor := self._cursors.get(cursor_id)) is not None]
        missing = [cursor_id for cursor_id in cursor_ids if cursor_id not in self._cursors]
        await self._drop_idle(lambda cursor: cursor in found)
        return [cursor.cursor_id for cursor in found], missing

    async def drop_session(self, lsid: bytes) -> None:
        await self._drop_idle(lambda cursor: cursor.lsid == lsid)

    async def drop_transaction(self, transaction: Transaction) -> None:
        await self._drop_idle(lambda cursor: cursor.transaction is transaction)

    async def drop_all(self) -> None:
        await self._drop_idle(lambda cursor: True)

    async def drop_expired(self) -> None:
        """Close those idle for longer than ``IDLE_SECONDS_MAX`` and those whose transaction has ended."""
        now = time.monotonic()
        await self._drop_idle(
            lambda cursor: (
                now - cursor.used > IDLE_SECONDS_MAX or (cursor.transaction is not None and cursor.transaction.ended)
            )
        )

    async def _drop_idle(self, chosen: Callable[[Cursor], bool]) -> None:
        for cursor in list(self._cursors.values()):
            if not cursor.in_use and chosen(cursor):
                await self.drop(cursor)
