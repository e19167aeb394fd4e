"""SQLAlchemy inside a transaction of Sillar's: the same physical connection, the same transaction.

All sessions that join one transaction share one connection object of SQLAlchemy's, and so one order of savepoints. What
a session commits there is a savepoint; the transaction itself is ended by Sillar alone.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ReleaseSavepointClause, RollbackToSavepointClause, SavepointClause

from sillar.errors import UsageError
from sillar.execution import Transaction
from sillar.integrations.sqlalchemy.engine import SharedEngine
from sillar.integrations.sqlalchemy.lent import Lent
from sillar.integrations.sqlalchemy.private import greenlet_spawn

_MEMBER: Final = "sillar_member"
_ENDS_SAVEPOINT: Final = (ReleaseSavepointClause, RollbackToSavepointClause)


class JoiningSession(Session):
    """A stock session, except that it looks whether its transaction is still the one to work in."""

    def get_bind(self, *args: Any, **options: Any) -> Any:
        member: _Member = self.info[_MEMBER]
        member.check(self)
        return super().get_bind(*args, **options)


class JoinedTransaction:
    """One transaction of Sillar's as SQLAlchemy sees it.

    Args:
        shared: the engine.
        transaction: the outermost one.
    """

    def __init__(self, shared: SharedEngine, transaction: Transaction) -> None:
        self._shared = shared
        self._transaction = transaction
        self._physical = transaction.driver_connection
        self._members: dict[Transaction, _Member] = {}
        self._savepoints: list[tuple[str, Session | None, Transaction]] = []
        self._connection: Connection
        self._lent: Lent
        self._rolls_back = False
        self.using: Session | None = None
        self.async_connection: AsyncConnection

    @classmethod
    async def of(cls, shared: SharedEngine, transaction: Transaction) -> JoinedTransaction:
        """The one for the outermost transaction that ``transaction`` is or is nested in."""
        outermost = transaction.outermost
        kept = transaction.driver_connection.kept
        found: JoinedTransaction | None = kept.get(shared.joined_key)
        if found is None or found._transaction is not outermost:
            found = cls(shared, outermost)
            await greenlet_spawn(found._join)
            kept[shared.joined_key] = found
        return found

    def member(self, transaction: Transaction) -> _Member:
        """Those who have joined at one level."""
        found = self._members.get(transaction)
        if found is None:
            found = self._members[transaction] = _Member(self, transaction)
            transaction.accompany(found)
        return found

    # --- for its members ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise if the transaction has ended, or another task asks; a session may be closed by any (leaving ``async
        with`` does it in a task of its own)."""
        if not self._transaction.is_open:
            raise UsageError(
                "the transaction that this SQLAlchemy session had joined has ended; ask the integration for a new one"
            )
        if not self._rolls_back:
            self._transaction.check_task()

    def innermost_savepoint(self) -> Session | None:
        """Whose savepoint is the innermost one."""
        return self._savepoints[-1][1] if self._savepoints else None

    async def close(self, sessions: list[AsyncSession], *, all_of_it: bool) -> None:
        """Have sessions let go. Nothing is sent."""
        self._lent.silent = True
        try:
            for session in reversed(sessions):
                await session.close()
        finally:
            self._lent.silent = False
            if all_of_it:
                self._lent.detach()
                self._lent.check = None
                self._physical.kept.pop(self._shared.joined_key, None)
                self._connection.invalidate()

    # --- in SQLAlchemy's greenlet -------------------------------------------------------------------------------------

    def _join(self) -> None:
        self._connection, self._lent = self._shared.connection(self._physical)
        self._lent.attach()
        self._lent.joined = True
        self._lent.check = self.check
        self._connection.begin()
        event.listen(self._connection, "before_execute", self._before_execute)
        event.listen(self._connection, "after_execute", self._after_execute)
        self.async_connection = AsyncConnection(self._shared.engine, sync_connection=self._connection)

    def _before_execute(self, connection: Any, clause: Any, *rest: Any) -> None:
        if self._lent.silent:
            return
        self._rolls_back = isinstance(clause, RollbackToSavepointClause)
        self.check()
        if not isinstance(clause, _ENDS_SAVEPOINT):
            return
        name, _, level = self._savepoints[-1] if self._savepoints else ("", None, self._transaction)
        if name != clause.ident:
            raise UsageError(
                f"savepoints out of order: the innermost one is {name!r}, and {clause.ident!r} was to be ended; end the"
                " SQLAlchemy session that began last first"
            )
        if level is not level.owning_transaction:
            raise UsageError(
                "a nested transaction was opened after this SQLAlchemy session had begun its work: end that one first"
            )

    def _after_execute(self, connection: Any, clause: Any, *rest: Any) -> None:
        self._rolls_back = False
        if isinstance(clause, SavepointClause):
            level = self._transaction.owning_transaction or self._transaction
            self._savepoints.append((str(clause.ident), self.using, level))
        elif isinstance(clause, _ENDS_SAVEPOINT):
            self._savepoints = [each for each in self._savepoints if each[0] != clause.ident]


class _Member:
    """The sessions that have joined at one level: the outermost transaction, or one savepoint of Sillar's."""

    def __init__(self, joined: JoinedTransaction, transaction: Transaction) -> None:
        self._joined, self._transaction = joined, transaction
        self.sessions: list[AsyncSession] = []

    def check(self, session: Session) -> None:
        """Called before each use of a session.

        Raises:
            UsageError: the transaction is over or another task's, or a nested one was opened before the session began.
        """
        self._joined.check()
        if not self._transaction.is_open:
            raise UsageError(
                "the nested transaction that this SQLAlchemy session had joined has ended; ask the integration for a"
                " new one"
            )
        if self._transaction.owning_transaction is not self._transaction and not session.in_nested_transaction():
            raise UsageError(
                "this SQLAlchemy session joined an outer transaction, and a nested one is open now: create a session"
                " inside it, or leave it first"
            )
        self._joined.using = session

    def join(self, session_class: type[Session], options: dict[str, Any]) -> AsyncSession:
        """A stock session in this transaction."""
        info = {**options.pop("info", {}), _MEMBER: self}
        session = AsyncSession(
            bind=self._joined.async_connection,
            sync_session_class=session_class,
            join_transaction_mode="create_savepoint",
            info=info,
            **options,
        )
        self.sessions.append(session)
        return session

    async def before_commit(self) -> None:
        """Send what is pending, and release the savepoints of its sessions, the innermost first."""
        for session in self.sessions:
            if session.in_transaction():
                await session.flush()
        own = {session.sync_session: session for session in self.sessions}
        while (innermost := self._joined.innermost_savepoint()) in own:
            await own[innermost].commit()
        for session in self.sessions:  # without a savepoint: nothing was sent
            if session.in_transaction():
                await session.commit()

    async def ended(self) -> None:
        """Let go."""
        sessions, self.sessions = self.sessions, []
        outermost = self._transaction is self._joined._transaction
        self._joined._members.pop(self._transaction, None)
        await self._joined.close(sessions, all_of_it=outermost)


async def join(
    shared: SharedEngine, transaction: Transaction, session_class: type[Session], options: dict[str, Any]
) -> AsyncSession:
    """A session in a transaction of Sillar's.

    Args:
        shared: the engine.
        transaction: the innermost one that is open.
        session_class: a subclass of :class:`JoiningSession`.
        options: for ``AsyncSession``.
    """
    joined = await JoinedTransaction.of(shared, transaction)
    joined.member(transaction.outermost)  # so that it hears of the end
    return joined.member(transaction).join(session_class, options)
