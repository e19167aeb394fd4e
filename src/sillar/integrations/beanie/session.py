"""The driver's session for Beanie, inside or outside a transaction of Sillar's."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from sillar.capabilities import Capability
from sillar.errors import UnsupportedCapabilityError
from sillar.execution import DatabaseSession, Transaction
from sillar.integrations.beanie.route import BeanieRoute


class BeanieSession:
    """One session of the server, whose transaction Beanie's calls join by ``session=session.driver_session``.

    Inside a transaction of Sillar's it is that transaction: there :meth:`commit` leaves everything to the block, which
    alone commits. Elsewhere it has a transaction of its own; after :meth:`commit` or :meth:`rollback` the next one
    begins.

    Args:
        route: of the integration.
        transaction: the open one.
        own: the session that the transaction was begun on, where it is this one's own.
    """

    def __init__(self, route: BeanieRoute, transaction: Transaction, own: DatabaseSession | None = None) -> None:
        self._route, self._transaction, self._own = route, transaction, own

    @property
    def driver_session(self) -> Any:
        """PyMongo's ``AsyncClientSession``, with the open transaction.

        Raises:
            UsageError: the transaction has ended, or belongs to another task.
        """
        self._transaction.check_task()
        session = self._transaction.driver_connection.session  # type: ignore[attr-defined]  # MongoDB's has one
        self._route.transactions[session] = self._transaction
        return session

    async def commit(self) -> None:
        """Commit, and begin the next transaction; inside a transaction of Sillar's do nothing.

        Raises:
            UsageError: the session is closed, or its transaction has ended.
        """
        self._transaction.check_task()
        if self._own is not None:
            await self._transaction.commit()
            self._transaction = await self._own.transaction().begin()

    async def rollback(self) -> None:
        """Roll back, and begin the next transaction.

        Raises:
            UnsupportedCapabilityError: inside a transaction of Sillar's; MongoDB cannot undo a part of one.
            UsageError: the session is closed, or its transaction has ended.
        """
        self._transaction.check_task()
        if self._own is None:
            raise UnsupportedCapabilityError(
                Capability.SAVEPOINTS.value,
                engine="MongoDB",
                remedy="this session has joined a transaction; raise an exception out of its block, which undoes all of"
                " it",
            )
        await self._transaction.rollback()
        self._transaction = await self._own.transaction().begin()

    async def close(self) -> None:
        """Undo what was not committed. Once more does nothing; inside a transaction of Sillar's neither."""
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    async def __aenter__(self) -> BeanieSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        own, self._own = self._own, None
        if own is not None:
            await own.__aexit__(kind, error, trace)
