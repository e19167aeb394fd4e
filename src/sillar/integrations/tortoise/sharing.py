"""Transactions that Tortoise's own code has begun, which the tasks started inside them may use."""

from __future__ import annotations

import asyncio

from sillar.execution import Executor, Transaction

_KEY = "tortoise transactions"


class SharedTransactions:
    """The open transactions of one database that began with Tortoise's ``in_transaction()``.

    Tortoise lets tasks that were started in such a block (``asyncio.gather``) work on its connection, one statement at
    a time; so do these, while a transaction that began as Sillar's belongs to its task alone.
    """

    __slots__ = ("locks",)

    def __init__(self) -> None:
        self.locks: dict[Transaction, asyncio.Lock] = {}

    @classmethod
    def of(cls, executor: Executor) -> SharedTransactions:
        """Those of a database."""
        found = executor.integrations.get(_KEY)
        if found is None:
            found = executor.integrations[_KEY] = cls()
        assert isinstance(found, SharedTransactions)
        return found

    def add(self, transaction: Transaction) -> None:
        """Let all tasks use an outermost transaction until it ends."""
        self.locks[transaction] = asyncio.Lock()
        transaction.accompany(_Forgetting(self.locks, transaction))

    def lock(self, transaction: Transaction) -> asyncio.Lock | None:
        """What keeps its statements in order; None where it belongs to one task anyway."""
        return self.locks.get(transaction.outermost) if self.locks else None


class _Forgetting:
    """Companion of a shared transaction."""

    __slots__ = ("_locks", "_transaction")

    def __init__(self, locks: dict[Transaction, asyncio.Lock], transaction: Transaction) -> None:
        self._locks, self._transaction = locks, transaction

    async def before_commit(self) -> None:
        """Nothing is pending."""

    async def ended(self) -> None:
        """It is over."""
        self._locks.pop(self._transaction, None)
